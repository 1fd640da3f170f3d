//! What a path can be, and why an operation on it fails.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Why an operation failed, as Linux says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// ENOENT.
    NoEntry,
    /// ENOTDIR.
    NotDirectory,
    /// EISDIR.
    IsDirectory,
    /// EEXIST.
    Exists,
    /// EACCES.
    Denied,
    /// EPERM.
    NotPermitted,
    /// ENOTEMPTY.
    NotEmpty,
    /// ENOSPC.
    NoSpace,
    /// EINVAL.
    Invalid,
    /// ENAMETOOLONG.
    NameTooLong,
    /// ELOOP.
    Loop,
    /// EBUSY.
    Busy,
    /// ETXTBSY.
    TextBusy,
}

impl Errno {
    /// The message of `strerror`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NoEntry => "No such file or directory",
            Self::NotDirectory => "Not a directory",
            Self::IsDirectory => "Is a directory",
            Self::Exists => "File exists",
            Self::Denied => "Permission denied",
            Self::NotPermitted => "Operation not permitted",
            Self::NotEmpty => "Directory not empty",
            Self::NoSpace => "No space left on device",
            Self::Invalid => "Invalid argument",
            Self::NameTooLong => "File name too long",
            Self::Loop => "Too many levels of symbolic links",
            Self::Busy => "Device or resource busy",
            Self::TextBusy => "Text file busy",
        }
    }
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A plain file.
    File,
    /// A symbolic link with its target.
    Link(String),
    /// A device: block or not, major and minor number.
    Device(bool, u32, u32),
    /// A pipe with a name.
    Pipe,
}

/// What `stat` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permissions, the low twelve bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 when its contents last changed.
    pub modified: i64,
    /// Names it has.
    pub links: u32,
    /// Its number.
    pub inode: u64,
    /// Whether `chattr +i` holds it.
    pub immutable: bool,
}

impl Stat {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// `drwxr-xr-x`.
    #[must_use]
    pub fn permissions(&self) -> String {
        let mut text = String::with_capacity(10);
        text.push(match self.kind {
            FileKind::Directory => 'd',
            FileKind::File => '-',
            FileKind::Link(_) => 'l',
            FileKind::Device(true, ..) => 'b',
            FileKind::Device(false, ..) => 'c',
            FileKind::Pipe => 'p',
        });
        for shift in [6u32, 3, 0] {
            let bits = (self.mode >> shift) & 7;
            let special = self.mode & (0o1000 << (shift / 3)) != 0;
            text.push(if bits & 4 == 0 { '-' } else { 'r' });
            text.push(if bits & 2 == 0 { '-' } else { 'w' });
            text.push(match (bits & 1 != 0, special, shift) {
                (true, true, 0) => 't',
                (false, true, 0) => 'T',
                (true, true, _) => 's',
                (false, true, _) => 'S',
                (true, false, _) => 'x',
                (false, false, _) => '-',
            });
        }
        text
    }
}

/// A node, of the base or of the overlay.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: i64,
    pub(crate) immutable: bool,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The names in it; an overlay's directory has none of its own here.
    Directory(BTreeSet<Box<str>>),
    File(Content),
    Link(Box<str>),
    Device(bool, u32, u32),
    Pipe,
}

/// Where a file's bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Arc<Vec<u8>>),
    /// A program of the machine: the beginning of an ELF file, then noise.
    Program {
        name: Box<str>,
        size: u64,
    },
    /// Bytes without meaning.
    Noise {
        salt: u64,
        size: u64,
    },
    /// Made when it is read (/proc).
    Live,
}

impl Node {
    pub(crate) fn new(kind: Kind, mode: u32, modified: i64) -> Self {
        Self { kind, mode, uid: 0, gid: 0, modified, immutable: false }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    /// The bytes it keeps in memory.
    pub(crate) fn held(&self) -> usize {
        match &self.kind {
            Kind::File(Content::Bytes(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}
