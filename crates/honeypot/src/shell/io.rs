//! Descriptors: where output goes and input comes from. Files are the
//! overlay's, pipes are buffers; both are bounded.

use std::sync::Arc;

use super::ast::{Redirect, RedirectTo};
use super::budget::{MAX_OUTPUT_BYTES, MAX_PIPE_BYTES};
use super::vfs::Errno;
use super::{Flavor, Flow, Shell};

/// Descriptors a script may use beside 0: 1 to 9.
const DESCRIPTORS: usize = 9;

/// Where a descriptor leads.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The buffer of that number: 0 and 1 are what the attacker sees.
    Buffer(usize),
    File(Arc<str>),
    Null,
}

/// What commands read.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) at: usize,
    /// Whether it is the terminal, where nothing more has been typed.
    pub(super) terminal: bool,
}

/// Descriptors and input, to come back to.
pub(super) struct SavedIo {
    fds: Vec<Target>,
    stdin: Option<Input>,
}

/// A buffer that output is collected in.
pub(super) struct Capture {
    before: Option<Target>,
}

impl Shell {
    pub(super) fn standard_fds(tty: bool) -> Vec<Target> {
        let mut fds = vec![Target::Null; DESCRIPTORS];
        for (fd, buffer) in fds.iter_mut().zip([0, usize::from(!tty)]) {
            *fd = Target::Buffer(buffer);
        }
        fds
    }

    /// Writes to standard output.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.write_to(1, bytes);
    }

    /// Writes to standard error.
    pub(super) fn err(&mut self, bytes: &[u8]) {
        self.write_to(2, bytes);
    }

    pub(super) fn write_to(&mut self, fd: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let target = fd.checked_sub(1).and_then(|index| self.fds.get(index)).cloned();
        match target {
            Some(Target::Buffer(index)) => {
                // What the attacker sees apart, all pipes of a line together.
                let (most, held) = if index < 2 {
                    (MAX_OUTPUT_BYTES, self.buffers.get(index).map_or(0, Vec::len))
                } else {
                    (MAX_PIPE_BYTES, self.buffers.iter().skip(2).map(Vec::len).sum())
                };
                let Some(buffer) = self.buffers.get_mut(index) else { return };
                let room = most.saturating_sub(held);
                buffer.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                let full = bytes.len() > room;
                if full || !self.budget.work(bytes.len() / 4) {
                    self.budget.spend();
                }
            }
            Some(Target::File(path)) => {
                if !self.budget.work(bytes.len()) {
                    return;
                }
                if let Err(Errno::NoSpace) = self.files.write(&path, bytes, true) {
                    self.status = 1;
                    self.budget.spend();
                }
            }
            Some(Target::Null) | None => {}
        }
    }

    pub(super) fn begin_capture(&mut self) -> Capture {
        let index = self.buffers.len();
        self.buffers.push(Vec::new());
        let before = self.fds.first_mut().map(|fd| std::mem::replace(fd, Target::Buffer(index)));
        Capture { before }
    }

    pub(super) fn end_capture(&mut self, capture: Capture) -> Vec<u8> {
        if let (Some(fd), Some(before)) = (self.fds.first_mut(), capture.before) {
            *fd = before;
        }
        self.buffers.pop().unwrap_or_default()
    }

    /// Gives commands `bytes` to read; returns what they read before.
    pub(super) fn swap_stdin(&mut self, bytes: impl Into<Arc<Vec<u8>>>) -> Input {
        let input = Input { bytes: bytes.into(), at: 0, terminal: false };
        std::mem::replace(&mut self.stdin, input)
    }

    /// Standard input as it is, without copying it; nothing is left of it.
    pub(super) fn take_input(&mut self) -> Input {
        let taken = self.stdin.clone();
        self.stdin.at = self.stdin.bytes.len();
        taken
    }

    /// All that is left of standard input.
    pub(super) fn read_all(&mut self) -> Vec<u8> {
        let rest = self.stdin.bytes.get(self.stdin.at..).unwrap_or_default().to_vec();
        self.stdin.at = self.stdin.bytes.len();
        self.budget.work(rest.len());
        rest
    }

    /// The next line of standard input with its end; `None` at the end.
    pub(super) fn read_line(&mut self) -> Option<Vec<u8>> {
        let rest = self.stdin.bytes.get(self.stdin.at..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let length = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
        let line = rest.get(..length).unwrap_or_default().to_vec();
        self.stdin.at += length;
        self.budget.work(length);
        Some(line)
    }

    pub(super) fn save_io(&self) -> SavedIo {
        SavedIo { fds: self.fds.clone(), stdin: None }
    }

    pub(super) fn restore_io(&mut self, saved: SavedIo) {
        self.fds = saved.fds;
        if let Some(stdin) = saved.stdin.or_else(|| self.replaced.pop().flatten()) {
            self.stdin = stdin;
        }
    }

    /// Applies redirections; `Err(None)` where one failed and said so.
    pub(super) fn redirect(&mut self, redirects: &[Redirect]) -> Result<(), Option<Flow>> {
        self.replaced.push(None);
        for redirect in redirects {
            self.redirect_one(redirect)?;
        }
        Ok(())
    }

    fn redirect_one(&mut self, redirect: &Redirect) -> Result<(), Option<Flow>> {
        let word = match &redirect.to {
            RedirectTo::Read(word)
            | RedirectTo::Write(word)
            | RedirectTo::Append(word)
            | RedirectTo::ReadWrite(word)
            | RedirectTo::Duplicate(word)
            | RedirectTo::Both(word, _)
            | RedirectTo::HereString(word) => Some(word),
            RedirectTo::Here(slot) => slot.get(),
        };
        let text = match word {
            Some(word) => self.one(word).map_err(Some)?,
            None => Vec::new(),
        };
        let name = String::from_utf8_lossy(&text).into_owned();
        let fd = usize::from(redirect.fd.unwrap_or(1));
        match &redirect.to {
            RedirectTo::Here(_) => self.feed(text),
            RedirectTo::HereString(_) => self.feed([text, b"\n".to_vec()].concat()),
            RedirectTo::Read(_) => self.open_for_reading(&name)?,
            RedirectTo::ReadWrite(_) if fd == 0 => self.open_for_reading(&name)?,
            RedirectTo::ReadWrite(_) | RedirectTo::Append(_) => self.open(fd, &name, true)?,
            RedirectTo::Write(_) => self.open(fd, &name, false)?,
            RedirectTo::Both(_, append) => {
                self.open(1, &name, *append)?;
                self.duplicate(2, 1);
            }
            RedirectTo::Duplicate(_) if name == "-" => self.point(fd, Target::Null),
            RedirectTo::Duplicate(_) => match name.parse::<usize>() {
                Ok(0) => {}
                Ok(from) if from <= DESCRIPTORS => self.duplicate(fd, from),
                Ok(_) => {
                    self.complain(format!("{name}: Bad file descriptor").as_bytes());
                    return Err(None);
                }
                Err(_) => {
                    self.open(1, &name, false)?;
                    self.duplicate(2, 1);
                }
            },
        }
        Ok(())
    }

    fn feed(&mut self, bytes: impl Into<Arc<Vec<u8>>>) {
        let before = self.swap_stdin(bytes);
        if let Some(slot) = self.replaced.last_mut()
            && slot.is_none()
        {
            *slot = Some(before);
        }
    }

    fn open_for_reading(&mut self, name: &str) -> Result<(), Option<Flow>> {
        if matches!(name, "/dev/tty" | "/dev/stdin") {
            return Ok(());
        }
        if name.starts_with("/dev/tcp/") || name.starts_with("/dev/udp/") {
            return self.open_socket(name);
        }
        let path = self.path(name);
        let most = if path.starts_with("/dev/") { 64 * 1024 } else { MAX_PIPE_BYTES };
        match self.files.open(&path, most) {
            Ok(bytes) => {
                self.feed(bytes);
                Ok(())
            }
            // A directory opens, and reads as nothing.
            Err(Errno::IsDirectory) => {
                self.feed(Vec::new());
                Ok(())
            }
            Err(why) => {
                let message = match self.flavor {
                    Flavor::Bash => format!("{name}: {}", why.text()),
                    Flavor::Dash => format!("cannot open {name}: {}", dash(why, "No such file")),
                    Flavor::Ash => format!("can't open {name}: {}", dash(why, "no such file")),
                };
                self.complain(message.as_bytes());
                Err(None)
            }
        }
    }

    fn open(&mut self, fd: usize, name: &str, append: bool) -> Result<(), Option<Flow>> {
        match name {
            "/dev/null" => {
                self.point(fd, Target::Null);
                return Ok(());
            }
            "/dev/stdout" => {
                self.duplicate(fd, 1);
                return Ok(());
            }
            "/dev/stderr" => {
                self.duplicate(fd, 2);
                return Ok(());
            }
            "/dev/tty" => {
                self.point(fd, Target::Buffer(0));
                return Ok(());
            }
            _ => {}
        }
        if name.starts_with("/dev/tcp/") || name.starts_with("/dev/udp/") {
            return self.open_socket(name);
        }
        let path = self.path(name);
        match self.files.write(&path, &[], append) {
            Ok(()) => {
                self.point(fd, Target::File(path.into()));
                Ok(())
            }
            Err(why) => {
                let message = match self.flavor {
                    Flavor::Bash if name.is_empty() => format!(": {}", why.text()),
                    Flavor::Bash => format!("{name}: {}", why.text()),
                    Flavor::Dash => {
                        format!("cannot create {name}: {}", dash(why, "Directory nonexistent"))
                    }
                    Flavor::Ash => {
                        format!("can't create {name}: {}", dash(why, "nonexistent directory"))
                    }
                };
                self.complain(message.as_bytes());
                Err(None)
            }
        }
    }

    /// bash's sockets: the connection is noted and refused.
    fn open_socket(&mut self, name: &str) -> Result<(), Option<Flow>> {
        let mut parts = name.split('/').skip(2);
        let (kind, host, port) =
            (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let url = format!("{kind}://{host}:{port}");
        self.note_fetch("bash", &url, "refused");
        self.complain(
            format!("connect: Connection refused\n{}: {name}: Connection refused", self.prefix())
                .as_bytes(),
        );
        Err(None)
    }

    fn point(&mut self, fd: usize, target: Target) {
        if let Some(slot) = fd.checked_sub(1).and_then(|index| self.fds.get_mut(index)) {
            *slot = target;
        }
    }

    fn duplicate(&mut self, fd: usize, from: usize) {
        let target = from.checked_sub(1).and_then(|index| self.fds.get(index)).cloned();
        self.point(fd, target.unwrap_or(Target::Null));
    }
}

fn dash(why: Errno, missing: &'static str) -> &'static str {
    if why == Errno::NoEntry { missing } else { why.text() }
}
