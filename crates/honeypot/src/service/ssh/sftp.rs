//! An SFTP server, version 3 (draft-ietf-secsh-filexfer-02), after OpenSSH's,
//! over the files that shells see. Bytes in, bytes out, no I/O. What it was
//! asked is told by [`Sftp::take_log`].

use super::wire::{Put as _, Reader};
use crate::persona::User;
use crate::shell::Shell;
use crate::shell::vfs::{Errno, FileKind, Files, Stat, absolute};

/// Longest message, as OpenSSH has it.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Most bytes of one read.
const MAX_READ_BYTES: usize = MAX_MESSAGE_BYTES - 1_024;
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

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok = 0,
    EndOfFile = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

impl Status {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Ok => b"Success",
            Self::EndOfFile => b"End of file",
            Self::NoSuchFile => b"No such file",
            Self::PermissionDenied => b"Permission denied",
            Self::Failure => b"Failure",
            Self::BadMessage => b"Bad message",
            Self::Unsupported => b"Operation unsupported",
        }
    }
}

impl From<Errno> for Status {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NoEntry | Errno::NotDirectory | Errno::Loop => Self::NoSuchFile,
            Errno::Denied | Errno::NotPermitted => Self::PermissionDenied,
            Errno::NameTooLong | Errno::Invalid => Self::BadMessage,
            _ => Self::Failure,
        }
    }
}

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
    begun: bool,
    handles: Vec<Option<Handle>>,
    log: Vec<Vec<u8>>,
}

impl Sftp {
    /// Over the files of `shell`, whose user has his `home`.
    pub(crate) fn new(shell: Shell, home: String, users: &[User]) -> Self {
        let users = users.iter().map(|user| (user.uid, user.name.clone())).collect();
        let (inbox, handles, log) = (Vec::new(), Vec::new(), Vec::new());
        Self { shell, home, users, now: 0, inbox, begun: false, handles, log }
    }

    /// The shell, for what it has to tell at the end.
    pub(crate) fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    /// What was asked since the last call, a line each: `get /etc/passwd`.
    pub(crate) fn take_log(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.log)
    }

    /// Takes bytes and appends answers to `out`; `None` where the client does
    /// not speak SFTP and the server ends.
    pub fn feed(&mut self, bytes: &[u8], now: i64, out: &mut Vec<u8>) -> Option<()> {
        self.now = now;
        self.inbox.extend_from_slice(bytes);
        let mut taken = 0;
        loop {
            let mut reader = Reader::new(self.inbox.get(taken..)?);
            let Some(length) = reader.u32() else { break };
            let length = usize::try_from(length).ok()?;
            if length == 0 || length > MAX_MESSAGE_BYTES {
                return None;
            }
            let Some(message) = reader.bytes(length) else { break };
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
        Some(())
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

    fn extended(
        &mut self,
        id: u32,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let name = reader.string().ok_or(Status::BadMessage)?;
        match name {
            b"posix-rename@openssh.com" => self.rename(reader, false)?,
            b"fsync@openssh.com" => {
                self.handle(reader)?;
            }
            b"lsetstat@openssh.com" => {
                let path = self.path(reader)?;
                set(&self.files(), &path, &attributes(reader)?)?;
            }
            b"limits@openssh.com" => {
                out.put_u8(201);
                out.put_u32(id);
                for limit in [MAX_MESSAGE_BYTES, MAX_READ_BYTES, MAX_READ_BYTES, 1_019] {
                    out.put_u64(limit as u64);
                }
                return Ok(());
            }
            b"expand-path@openssh.com" => {
                let path = reader.string().ok_or(Status::BadMessage)?;
                let path = String::from_utf8_lossy(path).into_owned();
                let path = match path.strip_prefix('~') {
                    Some(rest) => format!("{}{rest}", self.home),
                    None => path,
                };
                let path = self.files().canonical(&self.absolute(&path))?;
                put_name(out, id, &path);
                return Ok(());
            }
            b"home-directory" => {
                put_name(out, id, &self.home);
                return Ok(());
            }
            b"statvfs@openssh.com" | b"fstatvfs@openssh.com" => {
                out.put_u8(201);
                out.put_u32(id);
                // Blocks of 4 KiB on a disk of 40 GB, half of it free.
                for value in [4_096, 4_096, 10_255_636, 5_471_031, 4_934_311, 2_621_440, 2_540_122]
                {
                    out.put_u64(value);
                }
                for value in [2_540_122, 0x0a1f_53c2_77d0_e6b1, 0, 255] {
                    out.put_u64(value);
                }
                return Ok(());
            }
            b"users-groups-by-id@openssh.com" => {
                out.put_u8(201);
                out.put_u32(id);
                for _ in 0..2 {
                    let ids = reader.string().ok_or(Status::BadMessage)?;
                    let mut names = Vec::new();
                    for id in ids.chunks_exact(4).take(NAMES_AT_ONCE * 2) {
                        let id = Reader::new(id).u32().unwrap_or(0);
                        let known = self.users.iter().find(|(known, _)| *known == id);
                        names.put_string(known.map_or(b"", |(_, name)| name.as_bytes()));
                    }
                    out.put_string(&names);
                }
                return Ok(());
            }
            b"hardlink@openssh.com" => {
                let (from, to) = (self.path(reader)?, self.path(reader)?);
                self.note("ln", &format!("{from} {to}"));
                self.files().copy(&from, &to)?;
            }
            _ => return Err(Status::Unsupported),
        }
        put_status(out, id, Status::Ok);
        Ok(())
    }

    fn put_names(&self, out: &mut Vec<u8>, id: u32, listed: &[(String, Stat)]) {
        out.put_u8(104);
        out.put_u32(id);
        out.put_u32(u32::try_from(listed.len()).unwrap_or(0));
        for (name, stat) in listed {
            out.put_string(name.as_bytes());
            out.put_string(self.long_name(name, stat).as_bytes());
            put_stat(out, stat);
        }
    }

    /// A line as `ls -l` has it.
    fn long_name(&self, name: &str, stat: &Stat) -> String {
        let who = |uid: u32| {
            let known = self.users.iter().find(|(known, _)| *known == uid);
            known.map_or_else(|| uid.to_string(), |(_, name)| name.clone())
        };
        let (user, group) = (who(stat.uid), who(stat.gid));
        let modified = jiff::Timestamp::from_second(stat.modified).unwrap_or_default();
        let old = self.now.abs_diff(stat.modified) > 365 * 86_400 / 2;
        let modified = modified.to_zoned(jiff::tz::TimeZone::UTC);
        let shown = modified.strftime(if old { "%b %e  %Y" } else { "%b %e %H:%M" });
        let (permissions, links, size) = (stat.permissions(), stat.links, stat.size);
        format!("{permissions} {links:>4} {user:<8} {group:<8} {size:>8} {shown} {name}")
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

fn put_status(out: &mut Vec<u8>, id: u32, status: Status) {
    out.put_u8(101);
    out.put_u32(id);
    out.put_u32(status as u32);
    out.put_string(status.text());
    out.put_string(b"");
}

fn put_name(out: &mut Vec<u8>, id: u32, path: &str) {
    out.put_u8(104);
    out.put_u32(id);
    out.put_u32(1);
    out.put_string(path.as_bytes());
    out.put_string(path.as_bytes());
    out.put_u32(0);
}

fn put_attributes(out: &mut Vec<u8>, id: u32, stat: &Stat) {
    out.put_u8(105);
    out.put_u32(id);
    put_stat(out, stat);
}

fn put_stat(out: &mut Vec<u8>, stat: &Stat) {
    let kind = match stat.kind {
        FileKind::Directory => 0o040_000,
        FileKind::File => 0o100_000,
        FileKind::Link(_) => 0o120_000,
        FileKind::Device(true, ..) => 0o060_000,
        FileKind::Device(false, ..) => 0o020_000,
        FileKind::Pipe => 0o010_000,
    };
    out.put_u32(SIZE | OWNER | PERMISSIONS | TIMES);
    out.put_u64(stat.size);
    out.put_u32(stat.uid);
    out.put_u32(stat.gid);
    out.put_u32(kind | stat.mode);
    let time = u32::try_from(stat.modified).unwrap_or(0);
    out.put_u32(time);
    out.put_u32(time);
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
        Sftp::new(shell, "/root".to_owned(), &WORLD.machine.users)
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
