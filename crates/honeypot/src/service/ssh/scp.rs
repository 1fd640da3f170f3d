//! The old copy protocol behind `scp -t` and `scp -f`, over the files that
//! shells see. Bytes in, bytes out, no I/O.

use crate::shell::Shell;
use crate::shell::vfs::{Files, absolute};

/// Longest control line.
const MAX_LINE_BYTES: usize = 4_096;
/// Longest file that is taken; what is behind it is read and dropped.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Most files sent of a directory.
const MAX_FILES: usize = 1_000;
/// Most bytes of a file that are sent: what may wait for a client, with room for
/// the lines around it.
const MAX_SENT_BYTES: usize = super::channel::MAX_PENDING_BYTES - 64 * 1024;

/// One copy.
#[derive(Debug)]
pub(super) struct Scp {
    shell: Shell,
    work: Work,
    inbox: Vec<u8>,
    failed: bool,
}

#[derive(Debug)]
enum Work {
    /// The client sends.
    Sink { target: String, inside: Vec<String>, state: State },
    /// We send; each part waits for a zero byte of the client.
    Source { parts: std::vec::IntoIter<Part> },
}

/// What is sent between two answers of the client.
#[derive(Debug)]
enum Part {
    Line(Vec<u8>),
    /// So many bytes of a file, read when it is their turn: a folder may have
    /// more than there is memory.
    File(String, usize),
}

#[derive(Debug)]
enum State {
    Line,
    Data {
        path: String,
        left: u64,
        kept: Vec<u8>,
        mode: u32,
    },
    /// The zero behind a file.
    Mark {
        path: String,
        kept: Vec<u8>,
        mode: u32,
    },
}

/// The arguments of an `scp` that was started by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    sink: bool,
    recursive: bool,
    pub(super) path: String,
}

impl Command {
    /// `None` where the line starts something else.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace();
        if words.next()?.rsplit('/').next()? != "scp" {
            return None;
        }
        let (mut sink, mut source, mut recursive, mut path) = (false, false, false, None);
        for word in words {
            match word.strip_prefix('-').filter(|_| path.is_none()) {
                Some("-") => {}
                Some(flags) => {
                    sink |= flags.contains('t');
                    source |= flags.contains('f');
                    recursive |= flags.contains('r');
                }
                None if path.is_none() => path = Some(word.trim_matches(['\'', '"'])),
                // More than a path: the shell knows better.
                None => return None,
            }
        }
        (sink != source).then_some(())?;
        Some(Self { sink, recursive, path: path?.to_owned() })
    }
}

impl Scp {
    /// Begins a copy; what is sent first is appended to `out`.
    pub(super) fn new(shell: Shell, home: &str, command: &Command, out: &mut Vec<u8>) -> Self {
        let path = command.path.strip_prefix("~/").unwrap_or(&command.path);
        let path = if path == "~" { home.to_owned() } else { absolute(home, path) };
        let mut failed = false;
        let work = if command.sink {
            out.push(0);
            Work::Sink { target: path, inside: Vec::new(), state: State::Line }
        } else {
            let mut parts = Vec::new();
            if let Err(text) = collect(shell.files(), &path, command.recursive, &mut parts) {
                failed = true;
                parts = vec![Part::Line(complaint(&text))];
            }
            Work::Source { parts: parts.into_iter() }
        };
        Self { shell, work, inbox: Vec::new(), failed }
    }

    /// The shell, for what it has to tell at the end.
    pub(super) fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    /// What `scp` ends with.
    pub(super) fn status(&self) -> u32 {
        u32::from(self.failed)
    }

    /// Takes bytes and appends answers to `out`; whether it goes on.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        match &mut self.work {
            Work::Source { parts } => {
                for byte in bytes {
                    // 1 is a warning, 2 the end.
                    if *byte > 1 {
                        return false;
                    }
                    let Some(part) = parts.next() else { return false };
                    match part {
                        Part::Line(line) => out.extend_from_slice(&line),
                        Part::File(path, length) => {
                            // As long as was said, whatever became of it since.
                            let data = self.shell.files().read(&path, 0, length);
                            let mut data = data.unwrap_or_default();
                            data.resize(length, 0);
                            data.push(0);
                            out.append(&mut data);
                        }
                    }
                    if self.failed {
                        // The complaint was all; nothing answers it.
                        return false;
                    }
                }
                true
            }
            Work::Sink { .. } => {
                self.inbox.extend_from_slice(bytes);
                let inbox = std::mem::take(&mut self.inbox);
                let mut rest = inbox.as_slice();
                while !rest.is_empty() {
                    let before = rest.len();
                    if !self.sink(&mut rest, out) {
                        return false;
                    }
                    if rest.len() == before {
                        break;
                    }
                }
                self.inbox = rest.to_vec();
                true
            }
        }
    }

    fn sink(&mut self, rest: &mut &[u8], out: &mut Vec<u8>) -> bool {
        let Work::Sink { target, inside, state } = &mut self.work else { return false };
        let files = self.shell.files();
        match std::mem::replace(state, State::Line) {
            State::Line => {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                    return rest.len() <= MAX_LINE_BYTES;
                };
                let line =
                    String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
                *rest = rest.get(end + 1..).unwrap_or_default();
                let directory = inside.last().unwrap_or(target).clone();
                match line.as_bytes().first() {
                    Some(b'T') => out.push(0),
                    Some(b'E') => {
                        inside.pop();
                        out.push(0);
                    }
                    Some(kind @ (b'C' | b'D')) => {
                        let Some((mode, size, name)) = header(&line) else {
                            out.extend_from_slice(&complaint("protocol error: bad mode"));
                            self.failed = true;
                            return false;
                        };
                        let into = files.is_directory(&directory);
                        let path = if into { absolute(&directory, name) } else { directory };
                        if *kind == b'C' {
                            *state = State::Data { path, left: size, kept: Vec::new(), mode };
                            out.push(0);
                        } else {
                            let made = files.is_directory(&path)
                                || files.make_directory(&path, mode & 0o7777).is_ok();
                            if made && inside.len() < 32 {
                                inside.push(path);
                                out.push(0);
                            } else {
                                self.failed = true;
                                out.extend_from_slice(&complaint(&format!(
                                    "{path}: Permission denied"
                                )));
                            }
                        }
                    }
                    // The client's own complaint, or an end.
                    Some(1 | 2) => return line.as_bytes().first() == Some(&1),
                    _ => {
                        out.extend_from_slice(&complaint(
                            "protocol error: expected control record",
                        ));
                        self.failed = true;
                        return false;
                    }
                }
            }
            State::Data { path, left, mut kept, mode } => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (now, after) = rest.split_at(take);
                *rest = after;
                if kept.len() as u64 + take as u64 <= MAX_FILE_BYTES {
                    kept.extend_from_slice(now);
                }
                let left = left - take as u64;
                *state = if left == 0 {
                    State::Mark { path, kept, mode }
                } else {
                    State::Data { path, left, kept, mode }
                };
            }
            State::Mark { path, kept, mode } => {
                *rest = rest.get(1..).unwrap_or_default();
                match files.write(&path, &kept, false) {
                    Ok(()) => {
                        // It was just written; it may be.
                        let _ = files.set_mode(&path, mode & 0o7777);
                        files.capture(&path);
                        out.push(0);
                    }
                    Err(error) => {
                        self.failed = true;
                        out.extend_from_slice(&complaint(&format!("{path}: {}", error.text())));
                    }
                }
            }
        }
        // A file of no bytes has no data to wait for.
        if let Work::Sink { state, .. } = &mut self.work
            && let State::Data { left: 0, .. } = state
            && let State::Data { path, kept, mode, .. } = std::mem::replace(state, State::Line)
        {
            *state = State::Mark { path, kept, mode };
        }
        true
    }
}

fn complaint(text: &str) -> Vec<u8> {
    format!("\u{1}scp: {text}\n").into_bytes()
}

/// `C0644 12 name`.
fn header(line: &str) -> Option<(u32, u64, &str)> {
    let mut parts = line.get(1..)?.splitn(3, ' ');
    let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
    let size = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    plain.then_some((mode, size, name))
}

/// What is sent for a path, a part for each answer of the client.
fn collect(
    files: &Files,
    path: &str,
    recursive: bool,
    parts: &mut Vec<Part>,
) -> Result<(), String> {
    let stat = files.stat(path, true).map_err(|error| format!("{path}: {}", error.text()))?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
    if stat.is_directory() {
        if !recursive {
            return Err(format!("{path}: not a regular file"));
        }
        parts.push(Part::Line(format!("D{:04o} 0 {name}\n", stat.mode).into_bytes()));
        for name in files.list(path).map_err(|error| format!("{path}: {}", error.text()))? {
            if parts.len() < MAX_FILES {
                // What cannot be read is left out, as after a warning.
                let _ = collect(files, &absolute(path, &name), recursive, parts);
            }
        }
        parts.push(Part::Line(b"E\n".to_vec()));
        return Ok(());
    }
    // Whether it may be read at all.
    files.read(path, 0, 1).map_err(|error| format!("{path}: {}", error.text()))?;
    let length = usize::try_from(stat.size).unwrap_or(usize::MAX).min(MAX_SENT_BYTES);
    parts.push(Part::Line(format!("C{:04o} {length} {name}\n", stat.mode).into_bytes()));
    parts.push(Part::File(path.to_owned(), length));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_copy_that_was_started_by_another_is_one() {
        let command = Command::parse(b"scp -r -p -t /tmp").unwrap();
        assert!(command.sink && command.recursive && command.path == "/tmp");
        assert!(!Command::parse(b"/usr/bin/scp -f -- '/etc/passwd'").unwrap().sink);
        for other in ["scp a b:c", "scp -t", "uname", "scp -t /tmp; id", ""] {
            assert_eq!(Command::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_folder_is_read_file_by_file_as_the_client_takes_it() {
        use crate::shell::{Door, Who, World, vfs::Visitors};
        let config = crate::PersonaConfig { seed: Some(7), ..Default::default() };
        let sensor = palisade_event::SensorId::new("a").unwrap();
        let persona = crate::Persona::new(&config, &sensor);
        let world = std::sync::Arc::new(World::server(&persona, &config).unwrap());
        let (user, address) = ("root".to_owned(), "192.0.2.1".parse().unwrap());
        let who = Who { user, address, port: 1, door: Door::Ssh, tty: false };
        let now = palisade_event::Timestamp::from_millis(1_767_871_234_000);
        let shell = Shell::new(&world, &Visitors::default(), &who, now);
        shell.files().make_directory("/tmp/d", 0o755).unwrap();
        let large = vec![7; 3 * 1024 * 1024];
        shell.files().write("/tmp/d/large", &large, false).unwrap();
        shell.files().write("/tmp/d/small", b"hello", false).unwrap();
        let command = Command::parse(b"scp -r -f /tmp/d").unwrap();
        let mut out = Vec::new();
        let mut scp = Scp::new(shell, "/root", &command, &mut out);
        assert_eq!(out, b"");
        let mut sent = Vec::new();
        while scp.feed(&[0], &mut out) {
            sent.push(std::mem::take(&mut out));
        }
        assert_eq!(sent[0], b"D0755 0 d\n");
        assert_eq!(sent[1], format!("C0644 {MAX_SENT_BYTES} large\n").as_bytes());
        assert_eq!(sent[2].len(), MAX_SENT_BYTES + 1);
        assert_eq!(sent[3..], [&b"C0644 5 small\n"[..], b"hello\0", b"E\n"]);
        // All of /usr is no more than its names before it is asked for.
        let shell = Shell::new(&world, &Visitors::default(), &who, now);
        let command = Command::parse(b"scp -r -f /usr").unwrap();
        let scp = Scp::new(shell, "/root", &command, &mut out);
        let Work::Source { parts } = scp.work else { unreachable!() };
        assert!(parts.len() > 100);
        let held: usize = parts
            .map(|part| match part {
                Part::Line(line) => line.len(),
                Part::File(path, _) => path.len(),
            })
            .sum();
        assert!(held < 256 * 1024, "{held}");
    }

    #[test]
    fn names_with_directories_are_refused() {
        assert_eq!(header("C0644 3 a b"), Some((0o644, 3, "a b")));
        for bad in ["C0644 3 ../a", "C0644 3 ", "C0644 -1 a", "Cx 1 a", "C", "D0755 0 .."] {
            assert_eq!(header(bad), None, "{bad}");
        }
    }
}
