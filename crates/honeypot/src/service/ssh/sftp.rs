//! An SFTP server, version 3 (draft-ietf-secsh-filexfer-02), after OpenSSH's,
//! over the files that shells see. Bytes in, bytes out, no I/O. What it was
//! asked is told by [`Sftp::take_log`].

mod answer;
mod extended;

use super::wire::{Put as _, Reader};
use crate::shell::Shell;
use crate::shell::vfs::{Errno, FileKind, Files, Stat, absolute};
use answer::{OWNER, PERMISSIONS, SIZE, Status, TIMES, put_attributes, put_name, put_status};

/// Longest message, as OpenSSH has it.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Most bytes of one read.
const MAX_READ_BYTES: usize = MAX_MESSAGE_BYTES - 1_024;
/// Answers at once; the rest of what was asked waits for the next call.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Most bytes of requests that wait.
const MAX_WAITING_BYTES: usize = 1024 * 1024;
/// Most open handles of a client.
const MAX_HANDLES: usize = 64;
/// Names in one answer to a listing, as OpenSSH has it.
const NAMES_AT_ONCE: usize = 100;
/// Most lines of the log that wait.
const MAX_LOG: usize = 1_000;

/// What OpenSSH 9.2 says it can do beside the draft.
const EXTENSIONS: [(&str, &str); 11] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];

#[derive(Debug)]
enum Handle {
    File { path: String, read: bool, write: bool, append: bool },
    Directory { path: String, names: Vec<String> },
}

/// What a request asks for, taken apart.
#[derive(Debug, Default)]
struct Attributes {
    size: Option<u64>,
    owner: Option<(u32, u32)>,
    mode: Option<u32>,
    modified: Option<u32>,
}

/// One client's file transfer.
#[derive(Debug)]
pub struct Sftp {
    shell: Shell,
    home: String,
    users: Vec<(u32, String)>,
    now: i64,
    inbox: Vec<u8>,
    waits: bool,
    begun: bool,
    handles: Vec<Option<Handle>>,
    log: Vec<Vec<u8>>,
}

impl Sftp {
    /// Over the files of `shell`, whose user has his `home`.
    #[must_use]
    pub fn new(shell: Shell, home: String) -> Self {
        let users = &shell.world().machine.users;
        let users = users.iter().map(|user| (user.uid, user.name.clone())).collect();
        let (inbox, handles, log) = (Vec::new(), Vec::new(), Vec::new());
        Self { shell, home, users, now: 0, inbox, waits: false, begun: false, handles, log }
    }

    /// The shell, for what it has to tell at the end.
    pub(crate) fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    /// What was asked since the last call, a line each: `get /etc/passwd`.
    pub(crate) fn take_log(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.log)
    }

    /// Whether requests wait that the next call of [`Self::feed`] answers.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Takes bytes and appends answers to `out`, until there are more than a
    /// client should have to read at once; `None` where the client does not
    /// speak SFTP, or asks too far ahead, and the server ends.
    pub fn feed(&mut self, bytes: &[u8], now: i64, out: &mut Vec<u8>) -> Option<()> {
        self.now = now;
        self.inbox.extend_from_slice(bytes);
        let (mut taken, begin) = (0, out.len());
        self.waits = false;
        loop {
            let mut reader = Reader::new(self.inbox.get(taken..)?);
            let Some(length) = reader.u32() else { break };
            let length = usize::try_from(length).ok()?;
            if length == 0 || length > MAX_MESSAGE_BYTES {
                return None;
            }
            let Some(message) = reader.bytes(length) else { break };
            if out.len() - begin >= MAX_ANSWER_BYTES {
                self.waits = true;
                break;
            }
            taken += 4 + length;
            let message = message.to_vec();
            let mut answer = Vec::new();
            self.message(&message, &mut answer)?;
            out.put_string(&answer);
        }
        self.inbox.drain(..taken);
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        (self.inbox.len() <= MAX_WAITING_BYTES).then_some(())
    }

    fn message(&mut self, message: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (kind, body) = message.split_first()?;
        let mut reader = Reader::new(body);
        if *kind == 1 {
            self.begun = true;
            out.put_u8(2);
            out.put_u32(3);
            for (name, value) in EXTENSIONS {
                out.put_string(name.as_bytes());
                out.put_string(value.as_bytes());
            }
            return Some(());
        }
        let id = reader.u32()?;
        if !self.begun || !matches!(kind, 3..=20 | 200) {
            return None;
        }
        let done = self.request(*kind, id, &mut reader, out);
        if let Err(status) = done {
            out.clear();
            put_status(out, id, status);
        }
        Some(())
    }

    fn files(&self) -> Files {
        let mut files = self.shell.files().clone();
        files.set_now(self.now);
        files
    }

    fn path(&self, reader: &mut Reader<'_>) -> Result<String, Status> {
        let path = reader.string().ok_or(Status::BadMessage)?;
        Ok(self.absolute(&String::from_utf8_lossy(path)))
    }

    fn absolute(&self, path: &str) -> String {
        absolute(&self.home, path)
    }

    fn note(&mut self, what: &str, path: &str) {
        if self.log.len() < MAX_LOG {
            self.log.push(format!("{what} {path}").into_bytes());
        }
    }

    fn handle(&self, reader: &mut Reader<'_>) -> Result<(usize, &Handle), Status> {
        let name = reader.string().ok_or(Status::BadMessage)?;
        let index = Reader::new(name).u32().and_then(|index| usize::try_from(index).ok());
        let index = index.filter(|_| name.len() == 4).ok_or(Status::NoSuchFile)?;
        let handle = self.handles.get(index).and_then(Option::as_ref);
        Ok((index, handle.ok_or(Status::NoSuchFile)?))
    }

    fn request(
        &mut self,
        kind: u8,
        id: u32,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let files = self.files();
        match kind {
            3 => return self.open(id, reader, out),
            4 => {
                let (index, handle) = self.handle(reader)?;
                if let Handle::File { path, write: true, .. } = handle {
                    files.capture(path);
                }
                if let Some(slot) = self.handles.get_mut(index) {
                    *slot = None;
                }
            }
            5 => {
                let (_, handle) = self.handle(reader)?;
                let Handle::File { path, read: true, .. } = handle else {
                    return Err(Status::Failure);
                };
                let (offset, length) = (reader.u64(), reader.u32());
                let (Some(offset), Some(length)) = (offset, length) else {
                    return Err(Status::BadMessage);
                };
                let most = usize::try_from(length).unwrap_or(usize::MAX).min(MAX_READ_BYTES);
                let data = files.read(path, offset, most)?;
                if data.is_empty() && most > 0 {
                    return Err(Status::EndOfFile);
                }
                out.put_u8(103);
                out.put_u32(id);
                out.put_string(&data);
                return Ok(());
            }
            6 => {
                let (_, handle) = self.handle(reader)?;
                let Handle::File { path, write: true, append, .. } = handle else {
                    return Err(Status::Failure);
                };
                let offset = reader.u64().ok_or(Status::BadMessage)?;
                let data = reader.string().ok_or(Status::BadMessage)?;
                if *append {
                    files.write(path, data, true)?;
                } else {
                    files.write_at(path, offset, data)?;
                }
            }
            7 | 17 => {
                let path = self.path(reader)?;
                put_attributes(out, id, &files.stat(&path, kind == 17)?);
                return Ok(());
            }
            8 => {
                let (_, handle) = self.handle(reader)?;
                let (Handle::File { path, .. } | Handle::Directory { path, .. }) = handle;
                put_attributes(out, id, &files.stat(path, true)?);
                return Ok(());
            }
            9 | 10 => {
                let path = if kind == 9 {
                    self.path(reader)?
                } else {
                    let (_, handle) = self.handle(reader)?;
                    let (Handle::File { path, .. } | Handle::Directory { path, .. }) = handle;
                    path.clone()
                };
                set(&files, &path, &attributes(reader)?)?;
            }
            11 => {
                let path = self.path(reader)?;
                let mut names = files.list(&path)?;
                names.splice(0..0, [".".to_owned(), "..".to_owned()]);
                self.note("ls", &path);
                // Taken from the end.
                names.reverse();
                return self.add(id, Handle::Directory { path, names }, out);
            }
            12 => {
                let (index, _) = self.handle(reader)?;
                let Some(Some(Handle::Directory { path, names })) = self.handles.get_mut(index)
                else {
                    return Err(Status::Failure);
                };
                let path = path.clone();
                let rest = names.len().saturating_sub(NAMES_AT_ONCE);
                let mut now = names.split_off(rest);
                now.reverse();
                if now.is_empty() {
                    return Err(Status::EndOfFile);
                }
                let listed: Vec<(String, Stat)> = now
                    .into_iter()
                    .filter_map(|name| {
                        let stat = files.stat(&absolute(&path, &name), false).ok()?;
                        Some((name, stat))
                    })
                    .collect();
                self.put_names(out, id, &listed);
                return Ok(());
            }
            13 | 15 => {
                let path = self.path(reader)?;
                self.note(if kind == 13 { "rm" } else { "rmdir" }, &path);
                files.remove(&path, kind == 15)?;
            }
            14 => {
                let path = self.path(reader)?;
                let mode = attributes(reader)?.mode.unwrap_or(0o777) & 0o777 & !0o022;
                self.note("mkdir", &path);
                files.make_directory(&path, mode)?;
            }
            16 => {
                let path = self.path(reader)?;
                let path = files.canonical(&path)?;
                put_name(out, id, &path);
                return Ok(());
            }
            18 => self.rename(reader, true)?,
            19 => {
                let path = self.path(reader)?;
                let FileKind::Link(target) = files.stat(&path, false)?.kind else {
                    return Err(Status::BadMessage);
                };
                put_name(out, id, &target);
                return Ok(());
            }
            20 => {
                // OpenSSH has the two the other way round than the draft.
                let target = reader.string().ok_or(Status::BadMessage)?;
                let target = String::from_utf8_lossy(target).into_owned();
                let path = self.path(reader)?;
                self.note("ln -s", &format!("{target} {path}"));
                files.make_link(&path, &target)?;
            }
            200 => return self.extended(id, reader, out),
            _ => return Err(Status::Unsupported),
        }
        put_status(out, id, Status::Ok);
        Ok(())
    }

    fn rename(&mut self, reader: &mut Reader<'_>, keep: bool) -> Result<(), Status> {
        let (from, to) = (self.path(reader)?, self.path(reader)?);
        let files = self.files();
        self.note("rename", &format!("{from} {to}"));
        if keep && files.exists(&to) {
            return Err(Status::Failure);
        }
        Ok(files.rename(&from, &to)?)
    }

    fn open(&mut self, id: u32, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Status> {
        let path = self.path(reader)?;
        let flags = reader.u32().ok_or(Status::BadMessage)?;
        let wanted = attributes(reader)?;
        let has = |bit: u32| flags & bit != 0;
        let (read, write, append) = (has(1), has(2), has(4));
        let (create, truncate, exclusive) = (has(8), has(16), has(32));
        let files = self.files();
        self.note(if write { "put" } else { "get" }, &path);
        match files.stat(&path, true) {
            Ok(_) if create && exclusive => return Err(Status::Failure),
            Ok(_) if truncate => files.write(&path, b"", false)?,
            // Whether it may be written is asked by writing nothing.
            Ok(stat) if write && !stat.is_directory() => files.write(&path, b"", true)?,
            Ok(stat) if stat.is_directory() && write => return Err(Status::Failure),
            Ok(_) => {
                files.read(&path, 0, 0).or_else(|error| match error {
                    Errno::IsDirectory => Ok(Vec::new()),
                    other => Err(other),
                })?;
            }
            Err(Errno::NoEntry) if create => {
                files.write(&path, b"", false)?;
                files.set_mode(&path, wanted.mode.unwrap_or(0o666) & 0o777 & !0o022)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.add(id, Handle::File { path, read, write, append }, out)
    }

    fn add(&mut self, id: u32, handle: Handle, out: &mut Vec<u8>) -> Result<(), Status> {
        let free = self.handles.iter().position(Option::is_none).unwrap_or(self.handles.len());
        if free >= MAX_HANDLES {
            return Err(Status::Failure);
        }
        match self.handles.get_mut(free) {
            Some(slot) => *slot = Some(handle),
            None => self.handles.push(Some(handle)),
        }
        out.put_u8(102);
        out.put_u32(id);
        out.put_string(&u32::try_from(free).unwrap_or(0).to_be_bytes());
        Ok(())
    }
}

fn attributes(reader: &mut Reader<'_>) -> Result<Attributes, Status> {
    let read = |reader: &mut Reader<'_>| {
        let flags = reader.u32()?;
        let mut all = Attributes::default();
        if flags & SIZE != 0 {
            all.size = Some(reader.u64()?);
        }
        if flags & OWNER != 0 {
            all.owner = Some((reader.u32()?, reader.u32()?));
        }
        if flags & PERMISSIONS != 0 {
            all.mode = Some(reader.u32()?);
        }
        if flags & TIMES != 0 {
            reader.u32()?;
            all.modified = Some(reader.u32()?);
        }
        Some(all)
    };
    read(reader).ok_or(Status::BadMessage)
}

fn set(files: &Files, path: &str, wanted: &Attributes) -> Result<(), Status> {
    if let Some(size) = wanted.size {
        let now = files.stat(path, true)?.size;
        if size > now {
            files.write_at(path, size - 1, &[0])?;
        } else if size < now {
            let most = usize::try_from(size).unwrap_or(0);
            let kept = files.read(path, 0, most)?;
            files.write(path, &kept, false)?;
        }
    }
    if let Some(mode) = wanted.mode {
        files.set_mode(path, mode & 0o7777)?;
    }
    if let Some((uid, gid)) = wanted.owner {
        files.set_owner(path, Some(uid), Some(gid))?;
    }
    if let Some(modified) = wanted.modified {
        files.set_modified(path, i64::from(modified))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_event::{SensorId, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::shell::vfs::Visitors;
    use crate::shell::{Door, Who, World};
    use crate::{Persona, PersonaConfig};

    fn sftp() -> Sftp {
        static WORLD: std::sync::LazyLock<Arc<World>> = std::sync::LazyLock::new(|| {
            let config = PersonaConfig { seed: Some(1), ..PersonaConfig::default() };
            let persona = Persona::new(&config, &SensorId::new("a").unwrap());
            Arc::new(World::server(&persona, &config).unwrap())
        });
        let who = Who {
            user: "root".to_owned(),
            address: [192, 0, 2, 1].into(),
            port: 1,
            door: Door::Ssh,
            tty: false,
        };
        let now = Timestamp::from_millis(1_790_000_000_000);
        let shell = Shell::new(&WORLD, &Visitors::default(), &who, now);
        Sftp::new(shell, "/root".to_owned())
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        message.put_string(&[&[kind][..], body].concat());
        message
    }

    #[test]
    fn nothing_is_answered_before_the_version() {
        let mut out = Vec::new();
        assert_eq!(sftp().feed(&message(17, &[0; 8]), 0, &mut out), None);
        assert_eq!(sftp().feed(&[0xff; 8], 0, &mut out), None);
        assert_eq!(sftp().feed(&message(1, &[0, 0, 0, 3]), 0, &mut out), Some(()));
        assert_eq!(out.get(4..9), Some(&[2, 0, 0, 0, 3][..]));
    }

    #[test]
    fn who_asks_for_much_and_reads_little_is_answered_bit_by_bit() {
        let mut sftp = sftp();
        let mut out = Vec::new();
        sftp.feed(&message(1, &[0, 0, 0, 3]), 0, &mut out);
        sftp.shell.files().write("/tmp/much", &[b'x'; 200_000], false).unwrap();
        let mut open = vec![0, 0, 0, 1];
        open.put_string(b"/tmp/much");
        open.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        sftp.feed(&message(3, &open), 0, &mut out);
        let mut read = vec![0, 0, 0, 2];
        read.put_string(&[0; 4]);
        read.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]);
        let asked = message(5, &read).repeat(50);
        let (mut bytes, mut all) = (asked.as_slice(), 0);
        loop {
            let mut out = Vec::new();
            assert_eq!(sftp.feed(bytes, 0, &mut out), Some(()));
            assert!(out.len() <= MAX_ANSWER_BYTES + MAX_MESSAGE_BYTES);
            all += out.len();
            bytes = &[];
            if !sftp.waits() {
                break;
            }
        }
        assert_eq!(all, 50 * (0x0003_0000 + 4 + 1 + 4 + 4));
        let far_ahead = message(5, &read).repeat(MAX_WAITING_BYTES / 20);
        assert_eq!(sftp.feed(&far_ahead, 0, &mut Vec::new()), None);
    }

    proptest! {
        #[test]
        fn any_request_is_answered_or_ends_it(
            requests in proptest::collection::vec(
                (3u8..21, proptest::sample::select(vec![
                    &b"/etc/passwd"[..], b"/tmp/x", b"..", b"\0\0\0\0", b"", b"/proc/1/maps", b"\xff",
                ]), proptest::collection::vec(any::<u8>(), 0..40)), 0..30),
        ) {
            let mut sftp = sftp();
            let mut out = Vec::new();
            sftp.feed(&message(1, &[0, 0, 0, 3]), 0, &mut out);
            for (kind, path, rest) in requests {
                let mut body = vec![0, 0, 0, 9];
                body.put_string(path);
                body.extend_from_slice(&rest);
                let before = out.len();
                let done = sftp.feed(&message(kind, &body), 1_790_000_000, &mut out);
                prop_assert!(done.is_some() && out.len() > before);
            }
        }
    }
}
