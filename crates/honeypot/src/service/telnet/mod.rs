//! A device's telnet login and shell, after BusyBox `telnetd` and `login`.
//! Records every login and every command line.

mod line;
mod negotiation;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use palisade_event::{Credentials, EventKind, MAX_TEXT_BYTES, Outcome, Timestamp, Untrusted};

pub use self::line::{Echo, LineEditor};
pub use self::negotiation::{Decoder, Item, MAX_SUBNEGOTIATION_BYTES};
use self::negotiation::{Negotiation, OPENING};
use super::guess;
use super::record;
use crate::shell::editor::{Editor, Input};
use crate::shell::{Door, Reply, Shell, Who};
use crate::{Accept, Closed, Session, Stream, TelnetConfig};

/// Most bytes of one read.
const READ_BYTES: usize = 4_096;
/// Empty login names before the connection ends, as BusyBox has it.
const EMPTY_NAMES: u32 = 10;
/// From the first bytes to the prompt: a device has to start its login program
/// first. Clients that try passwords take one segment for negotiation alone.
const LOGIN_START: Duration = Duration::from_millis(2);
/// Time for one login, as BusyBox has it.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Factory passwords that worms try, let in with `weak_credentials`. Common
/// knowledge since 2016; short on purpose, each entry is one more device we
/// could be.
const WEAK: [(&[u8], &[u8]); 16] = [
    (b"root", b"root"),
    (b"root", b"admin"),
    (b"root", b"12345"),
    (b"root", b"123456"),
    (b"root", b"password"),
    (b"root", b"default"),
    (b"root", b"xc3511"),
    (b"root", b"vizxv"),
    (b"root", b"888888"),
    (b"root", b"xmhdipc"),
    (b"root", b"juantech"),
    (b"admin", b"admin"),
    (b"admin", b"1234"),
    (b"admin", b"password"),
    (b"support", b"support"),
    (b"user", b"user"),
];

/// The telnet service.
#[derive(Debug)]
pub(crate) struct Telnet {
    config: TelnetConfig,
}

/// Where the dialogue is.
enum Stage {
    Name,
    Password { name: Vec<u8> },
    Shell(Box<Terminal>),
}

/// A shell and the keys in front of it.
struct Terminal {
    shell: Shell,
    editor: Editor,
}

/// One client's dialogue.
struct Dialogue<'a> {
    config: &'a TelnetConfig,
    session: &'a mut Session,
    stream: &'a mut Stream,
    stage: Stage,
    editor: LineEditor,
    out: Vec<u8>,
    failures: u32,
    empty_names: u32,
    // The client speaks another protocol: answered as a device would, without
    // taking its lines for logins.
    foreign: bool,
}

/// Whether the dialogue goes on.
enum Next {
    Continue,
    End,
}

impl Telnet {
    pub(crate) fn new(config: TelnetConfig) -> Self {
        Self { config }
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        stream.write(OPENING).await?;
        stream.pause(LOGIN_START).await?;
        stream.write(prompt_for_name(session).as_bytes()).await?;
        let mut dialogue = Dialogue {
            config: &self.config,
            session,
            stream,
            stage: Stage::Name,
            editor: LineEditor::default(),
            out: Vec::new(),
            failures: 0,
            empty_names: 0,
            foreign: false,
        };
        let ended = dialogue.hold().await;
        dialogue.record_rest().await?;
        ended
    }
}

fn prompt_for_name(session: &Session) -> String {
    format!("{} login: ", session.persona().hostname)
}

impl Dialogue<'_> {
    async fn hold(&mut self) -> Result<(), Closed> {
        let mut decoder = Decoder::default();
        let mut negotiation = Negotiation::default();
        let mut first = true;
        self.stream.set_step(Some(LOGIN_TIMEOUT));
        loop {
            self.session.tell_recording().await?;
            let mut chunk = Vec::new();
            self.stream.wake_at(self.session.recording_due());
            if self.stream.read(&mut chunk, READ_BYTES).await? == 0 {
                continue;
            }
            if std::mem::take(&mut first) {
                self.record_foreign(&chunk).await?;
            }
            for byte in chunk {
                let input = match decoder.push(byte) {
                    Some(Item::Data(byte)) => self.edit(byte),
                    Some(Item::Stray(byte)) => {
                        // 255 ends no line.
                        self.edit(u8::MAX);
                        self.edit(byte)
                    }
                    Some(item) => {
                        negotiation.take(&item, &mut self.out, self.session);
                        None
                    }
                    None => None,
                };
                if let Some(input) = input
                    && matches!(self.answer(input).await?, Next::End)
                {
                    return self.flush().await;
                }
            }
            self.flush().await?;
        }
    }

    fn edit(&mut self, byte: u8) -> Option<Input> {
        let echo = match &mut self.stage {
            Stage::Name => Echo::Cooked,
            Stage::Password { .. } => Echo::Off,
            // The password's line end came in two pieces.
            Stage::Shell(_) if self.editor.ends_line(byte) => return None,
            Stage::Shell(terminal) => {
                self.session.record_input(&[byte]);
                let shown = self.out.len();
                let input = terminal.editor.push(byte, &mut self.out);
                self.record_from(shown);
                return input;
            }
        };
        self.editor.push(byte, echo, &mut self.out)
    }

    /// Records what has been put into the output since it had `shown` bytes.
    fn record_from(&mut self, shown: usize) {
        self.session.record_output(self.out.get(shown..).unwrap_or_default());
    }

    /// Shows what the shell printed, and records it.
    fn print(&mut self, text: &[u8]) {
        let text = lines(text);
        self.session.record_output(&text);
        escape_into(&text, &mut self.out);
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let out = std::mem::take(&mut self.out);
        self.stream.write(&out).await
    }

    async fn record_foreign(&mut self, first: &[u8]) -> Result<(), Closed> {
        let Some(protocol) = guess::protocol(first).filter(|name| *name != "telnet") else {
            return Ok(());
        };
        self.foreign = true;
        let mut event = self.session.event(EventKind::DataReceived).with("protocol", protocol);
        event.request = Some(first.into());
        self.session.emit(event).await
    }

    /// Takes one line or key.
    async fn answer(&mut self, input: Input) -> Result<Next, Closed> {
        match (std::mem::replace(&mut self.stage, Stage::Name), input) {
            (Stage::Shell(terminal), Input::Line { bytes, truncated }) => {
                return self.command(terminal, bytes, truncated).await;
            }
            (Stage::Shell(mut terminal), Input::Interrupt) => {
                terminal.shell.interrupt();
                terminal.editor.set_hidden(false);
                self.print(&terminal.shell.prompt());
                self.stage = Stage::Shell(terminal);
            }
            (Stage::Shell(mut terminal), Input::Complete) => {
                let more = terminal.shell.completion(terminal.editor.before_cursor());
                let shown = self.out.len();
                terminal.editor.insert(&more, &mut self.out);
                self.record_from(shown);
                self.stage = Stage::Shell(terminal);
            }
            (Stage::Shell(mut terminal), Input::EndOfFile) => {
                let reply = terminal.shell.end_of_input(now());
                return self.show(terminal, reply).await;
            }
            (Stage::Name | Stage::Password { .. }, Input::EndOfFile) => return Ok(Next::End),
            (
                stage @ (Stage::Name | Stage::Password { .. }),
                Input::Complete | Input::Interrupt,
            ) => self.stage = stage,
            (Stage::Name, Input::Line { bytes, .. }) if bytes.is_empty() => {
                self.empty_names += 1;
                if self.empty_names >= EMPTY_NAMES {
                    return Ok(Next::End);
                }
                self.ask_name();
            }
            (Stage::Name, Input::Line { bytes, .. }) => {
                self.out.extend_from_slice(b"Password: ");
                self.stage = Stage::Password { name: bytes };
            }
            (Stage::Password { name }, Input::Line { bytes, .. }) => {
                return self.login(name, bytes).await;
            }
        }
        Ok(Next::Continue)
    }

    fn ask_name(&mut self) {
        self.out.extend_from_slice(prompt_for_name(self.session).as_bytes());
    }

    async fn login(&mut self, name: Vec<u8>, password: Vec<u8>) -> Result<Next, Closed> {
        let accepted = !self.foreign && self.lets_in(&name, &password);
        let user = name.clone();
        if !self.foreign {
            let outcome = if accepted { Outcome::Accepted } else { Outcome::Failed };
            let mut event = self.session.event(EventKind::AuthAttempted).with("method", "telnet");
            event.credentials = Some(Credentials {
                username: Some(Untrusted::new(name)),
                password: Some(Untrusted::new(password)),
                outcome: Some(outcome),
            });
            self.session.emit(event).await?;
        }
        if accepted {
            self.stream.set_step(None);
            let peer = self.session.peer();
            let who = Who {
                user: name_of(&user),
                address: peer.address,
                port: peer.port.unwrap_or(0),
                door: Door::Telnet,
                tty: true,
            };
            let (world, visitors) = self.session.device();
            let mut shell = Shell::new(world, visitors, &who, now());
            if let Some(fetcher) = self.session.fetcher() {
                shell.set_fetcher(Arc::clone(fetcher));
            }
            self.print(&[b"\n\n", shell.banner().as_bytes(), &shell.prompt()].concat());
            self.stage = Stage::Shell(Box::new(Terminal { shell, editor: Editor::default() }));
            return Ok(Next::Continue);
        }
        self.failures += 1;
        if self.config.fail_delay_ms > 0 {
            self.flush().await?;
            self.stream.pause(Duration::from_millis(self.config.fail_delay_ms)).await?;
        }
        self.out.extend_from_slice(b"Login incorrect\r\n");
        if self.failures >= self.config.attempts {
            return Ok(Next::End);
        }
        self.ask_name();
        self.stream.set_step(Some(LOGIN_TIMEOUT));
        Ok(Next::Continue)
    }

    fn lets_in(&self, name: &[u8], password: &[u8]) -> bool {
        let weak = self.config.weak_credentials && WEAK.contains(&(name, password));
        weak || match self.config.accept {
            Accept::Never => false,
            Accept::Always => true,
            Accept::After(tries) => self.failures + 1 >= tries,
        }
    }

    async fn command(
        &mut self,
        mut terminal: Box<Terminal>,
        line: Vec<u8>,
        truncated: bool,
    ) -> Result<Next, Closed> {
        if !line.iter().all(u8::is_ascii_whitespace) {
            let mut event = self.session.event(EventKind::CommandEntered);
            if truncated {
                event = event.with("truncated", true);
            }
            event.request = Some(line.as_slice().into());
            self.session.emit(event).await?;
        }
        if self.session.fetcher().is_none() {
            let reply = terminal.shell.run(&line, now());
            return self.show(terminal, reply).await;
        }
        // It may wait for a file from elsewhere.
        let ran = tokio::task::spawn_blocking(move || {
            let reply = terminal.shell.run(&line, now());
            (terminal, reply)
        });
        match ran.await {
            Ok((terminal, reply)) => self.show(terminal, reply).await,
            Err(error) => Err(Closed::Error(std::io::Error::other(error))),
        }
    }

    /// Records and shows what a line brought about.
    async fn show(&mut self, mut terminal: Box<Terminal>, reply: Reply) -> Result<Next, Closed> {
        record::acts(self.session, reply.acts).await?;
        self.flush().await?;
        self.stream.pause(reply.pause).await?;
        self.print(&reply.output);
        if reply.ended {
            self.stage = Stage::Shell(terminal);
            return Ok(Next::End);
        }
        self.print(&terminal.shell.prompt());
        terminal.editor.set_hidden(terminal.shell.hides_input());
        self.stage = Stage::Shell(terminal);
        // Written before the next line of the same packet is looked at, so
        // that answers to a long paste do not pile up.
        self.flush().await?;
        Ok(Next::Continue)
    }

    /// Records what was typed and not sent off when the session ended, and
    /// the files that were left.
    async fn record_rest(&mut self) -> Result<(), Closed> {
        let Stage::Shell(terminal) = &mut self.stage else { return Ok(()) };
        let (rest, acts) = (terminal.editor.take(), terminal.shell.finish());
        if !rest.is_empty() && rest.len() <= MAX_TEXT_BYTES {
            let mut event = self.session.event(EventKind::CommandEntered).with("unfinished", true);
            event.request = Some(Untrusted::new(rest));
            self.session.emit(event).await?;
        }
        record::acts(self.session, acts).await
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// A login name as the shell shows it.
fn name_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Line ends as a terminal in raw mode needs them.
fn lines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    for byte in text {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

/// Appends `text` with 255 doubled (RFC 854).
fn escape_into(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    for byte in text {
        if *byte == 0xff {
            out.push(0xff);
        }
        out.push(*byte);
    }
}
