//! A shell behind an SSH session: keys or lines in, output out, with a
//! terminal or without. The only file here that knows the shell's interface.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use palisade_event::Timestamp;

use crate::shell::editor::{Editor, Input};
use crate::shell::{Act, Door, Reply, Shell, Who};
use crate::{Closed, Session};

/// Longest line of input without a terminal.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// A shell, with a terminal or without.
pub(super) struct Desk {
    shell: Shell,
    editor: Option<Editor>,
    line: Vec<u8>,
}

/// What a line brought about.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) output: Vec<u8>,
    pub(super) errors: Vec<u8>,
    pub(super) pause: Duration,
    pub(super) ended: bool,
    pub(super) status: u32,
    pub(super) acts: Vec<Act>,
}

/// What was typed.
pub(super) enum Typed {
    Line(Vec<u8>),
    Interrupt,
    EndOfFile,
    Complete,
}

/// The present time, as shells take it.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// A shell of the server for the client of `session`.
pub(super) fn shell(session: &Session, user: &[u8], tty: bool) -> Shell {
    let peer = session.peer();
    let who = Who {
        user: String::from_utf8_lossy(user).into_owned(),
        address: peer.address,
        port: peer.port.unwrap_or(0),
        door: Door::Ssh,
        tty,
    };
    let (world, visitors) = session.server();
    let mut shell = Shell::new(world, visitors, &who, now());
    if let Some(fetcher) = session.fetcher() {
        shell.set_fetcher(Arc::clone(fetcher));
    }
    shell
}

impl Desk {
    pub(super) fn new(session: &Session, user: &[u8], tty: bool) -> Self {
        let editor = tty.then(Editor::default);
        Self { shell: shell(session, user, tty), editor, line: Vec::new() }
    }

    /// What a login shell shows first: the message of the day and a prompt.
    pub(super) fn opening(&self, session: &Session, user: &[u8]) -> Vec<u8> {
        if self.editor.is_none() {
            return Vec::new();
        }
        let motd = b"uname -snrvm; cat /etc/motd";
        let mut text = shell(session, user, false).exec(motd, Vec::new(), now()).output;
        text.extend_from_slice(self.shell.banner().as_bytes());
        text.extend_from_slice(&self.shell.prompt());
        self.wire(text)
    }

    /// Takes a byte; its echo goes to `echo`.
    pub(super) fn push(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Typed> {
        let Some(editor) = &mut self.editor else {
            if byte == b'\n' || self.line.len() >= MAX_LINE_BYTES {
                return Some(Typed::Line(std::mem::take(&mut self.line)));
            }
            self.line.push(byte);
            return None;
        };
        Some(match editor.push(byte, echo)? {
            Input::Line { bytes, .. } => Typed::Line(bytes),
            Input::Interrupt => Typed::Interrupt,
            Input::EndOfFile => Typed::EndOfFile,
            Input::Complete => Typed::Complete,
        })
    }

    /// What was typed and not sent off.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        match &mut self.editor {
            Some(editor) => editor.take(),
            None => std::mem::take(&mut self.line),
        }
    }

    /// Files and the like that are to be told when the session ends.
    pub(super) fn finish(&mut self) -> Vec<Act> {
        self.shell.finish()
    }

    /// Fills in what the tab key asks for.
    pub(super) fn complete(&mut self, echo: &mut Vec<u8>) {
        if let Some(editor) = &mut self.editor {
            let more = self.shell.completion(editor.before_cursor());
            editor.insert(&more, echo);
        }
    }

    pub(super) fn interrupt(&mut self) -> Vec<u8> {
        self.shell.interrupt();
        match &mut self.editor {
            Some(editor) => {
                editor.set_hidden(false);
                let prompt = self.shell.prompt();
                self.wire(prompt)
            }
            None => Vec::new(),
        }
    }

    pub(super) fn end_of_file(&mut self) -> Answer {
        let reply = self.shell.end_of_input(now());
        self.answer(reply)
    }

    /// Runs a line.
    pub(super) async fn line(
        self: Box<Self>,
        session: &Session,
        line: Vec<u8>,
    ) -> Result<(Box<Self>, Answer), Closed> {
        self.act(session, move |shell| shell.run(&line, now())).await
    }

    /// Runs a command with its whole input; the shell is left after it.
    pub(super) async fn command(
        self: Box<Self>,
        session: &Session,
        command: Vec<u8>,
        input: Vec<u8>,
    ) -> Result<(Box<Self>, Answer), Closed> {
        self.act(session, move |shell| shell.exec(&command, input, now())).await
    }

    async fn act(
        mut self: Box<Self>,
        session: &Session,
        run: impl FnOnce(&mut Shell) -> Reply + Send + 'static,
    ) -> Result<(Box<Self>, Answer), Closed> {
        if session.fetcher().is_none() {
            let reply = run(&mut self.shell);
            let answer = self.answer(reply);
            return Ok((self, answer));
        }
        // It may wait for a file from elsewhere.
        let ran = tokio::task::spawn_blocking(move || {
            let reply = run(&mut self.shell);
            (self, reply)
        });
        match ran.await {
            Ok((mut desk, reply)) => {
                let answer = desk.answer(reply);
                Ok((desk, answer))
            }
            Err(error) => Err(Closed::Error(std::io::Error::other(error))),
        }
    }

    fn answer(&mut self, reply: Reply) -> Answer {
        let mut output = reply.output;
        if let Some(editor) = &mut self.editor
            && !reply.ended
        {
            output.extend_from_slice(&self.shell.prompt());
            editor.set_hidden(self.shell.hides_input());
        }
        Answer {
            output: self.wire(output),
            errors: reply.errors,
            pause: reply.pause,
            ended: reply.ended,
            status: u32::from(reply.status),
            acts: reply.acts,
        }
    }

    /// As a terminal needs it, where there is one.
    fn wire(&self, text: Vec<u8>) -> Vec<u8> {
        if self.editor.is_none() { text } else { lines(&text) }
    }
}

/// Line ends as a terminal shows them.
pub(super) fn lines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    for byte in text {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}
