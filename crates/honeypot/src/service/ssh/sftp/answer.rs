//! Answers as bytes: a status, names, attributes.

use super::Sftp;
use crate::service::ssh::wire::Put as _;
use crate::shell::vfs::{Errno, FileKind, Stat};

/// Bits that say which attributes follow.
pub(super) const SIZE: u32 = 1;
pub(super) const OWNER: u32 = 2;
pub(super) const PERMISSIONS: u32 = 4;
pub(super) const TIMES: u32 = 8;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
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

impl Sftp {
    pub(super) fn put_names(&self, out: &mut Vec<u8>, id: u32, listed: &[(String, Stat)]) {
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

pub(super) fn put_status(out: &mut Vec<u8>, id: u32, status: Status) {
    out.put_u8(101);
    out.put_u32(id);
    out.put_u32(status as u32);
    out.put_string(status.text());
    out.put_string(b"");
}

pub(super) fn put_name(out: &mut Vec<u8>, id: u32, path: &str) {
    out.put_u8(104);
    out.put_u32(id);
    out.put_u32(1);
    out.put_string(path.as_bytes());
    out.put_string(path.as_bytes());
    out.put_u32(0);
}

pub(super) fn put_attributes(out: &mut Vec<u8>, id: u32, stat: &Stat) {
    out.put_u8(105);
    out.put_u32(id);
    put_stat(out, stat);
}

pub(super) fn put_stat(out: &mut Vec<u8>, stat: &Stat) {
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
