//! The files of a machine: of this one, or of another one's root folder.
//!
//! Of another root nothing is executed, its absolute links lead to places inside
//! it, and what only a running kernel knows is not seen. Every read is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::tool::{Tool, Tools};

/// Largest file that is read as a whole, in bytes; settings are far smaller.
pub(crate) const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Most entries of a folder that are looked at.
pub(crate) const MAX_ENTRIES: usize = 65_536;
/// Most paths that a pattern stands for.
const MAX_MATCHES: usize = 4_096;

/// Why something was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// There is no such file.
    Missing,
    /// We may not read it; root may.
    Denied(String),
    /// Only a running system knows, and a folder is looked at.
    NotRunning,
    /// Anything else, in a few words.
    Other(String),
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not there"),
            Self::Denied(what) => write!(f, "{what} may be read by root alone"),
            Self::NotRunning => f.write_str("only the running system knows"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Type of the file.
    pub(crate) kind: FileType,
    /// The twelve bits of rights.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Device of the file system.
    pub(crate) device: u64,
    /// Inode.
    pub(crate) inode: u64,
    /// Last change of the content, seconds since 1970.
    pub(crate) modified: i64,
    /// Last change of content, rights or owner, nanoseconds since 1970.
    pub(crate) touched_ns: i64,
}

impl From<Stat> for Meta {
    fn from(stat: Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            device: stat.st_dev,
            inode: stat.st_ino,
            modified: stat.st_mtime,
            touched_ns: (stat.st_ctime)
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

impl Meta {
    /// Whether it is a folder.
    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it is a plain file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }
}

/// What a file is said to be in the place of what it is: rights and owner that
/// a test cannot give to a file without being root.
pub(crate) type Pretended = BTreeMap<String, (u32, u32, u32)>;

/// The files of a machine.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// The folder that stands for `/`; none: `/` itself.
    folder: Option<OwnedFd>,
    /// Whether the kernel of these files is running, so that /proc and /sys tell.
    running: bool,
    tools: Tools,
    pretended: Option<Pretended>,
}

impl Root {
    /// This machine.
    pub(crate) fn here() -> Self {
        Self {
            path: PathBuf::from("/"),
            folder: None,
            running: true,
            tools: Tools::Run,
            pretended: None,
        }
    }

    /// A folder that holds the files of another machine.
    ///
    /// # Errors
    /// It cannot be opened, or this kernel is older than Linux 5.6.
    pub(crate) fn folder(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        // Links of that machine must not lead to files of this one.
        rustix::fs::openat2(&folder, ".", flags, Mode::empty(), ResolveFlags::IN_ROOT).map_err(
            |error| match error {
                Errno::NOSYS => {
                    io::Error::other("looking into another root needs Linux 5.6 or newer")
                }
                error => error.into(),
            },
        )?;
        Ok(Self {
            path: path.to_owned(),
            folder: Some(folder),
            running: false,
            tools: Tools::Nothing,
            pretended: None,
        })
    }

    /// A folder that stands for a running machine, its tools' output and its
    /// files' owners given.
    #[cfg(test)]
    pub(crate) fn pretend(
        path: &Path,
        running: bool,
        outputs: BTreeMap<String, String>,
        pretended: Pretended,
    ) -> io::Result<Self> {
        let tools = if running { Tools::Given(outputs) } else { Tools::Nothing };
        Ok(Self { running, tools, pretended: Some(pretended), ..Self::folder(path)? })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel of these files is running.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    /// What a tool says that only reads.
    pub(crate) fn ask(&self, tool: Tool) -> Result<String, Unseen> {
        self.tools.ask(tool)
    }

    fn open_as(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Unseen> {
        let of_kernel = ["/proc", "/sys", "/run", "/dev"]
            .iter()
            .any(|top| path == *top || path.strip_prefix(top).is_some_and(|r| r.starts_with('/')));
        if of_kernel && !self.running {
            return Err(Unseen::NotRunning);
        }
        // What is only looked at is not opened, and must not be said how.
        let flags = match flags.contains(OFlags::PATH) {
            true => flags | OFlags::CLOEXEC,
            false => flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let opened = match &self.folder {
            None => rustix::fs::open(path, flags, Mode::empty()),
            Some(folder) => {
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let inside = path.trim_start_matches('/');
                let inside = if inside.is_empty() { "." } else { inside };
                rustix::fs::openat2(folder, inside, flags, Mode::empty(), resolve)
            }
        };
        opened.map_err(|error| unseen(path, error))
    }

    /// Opens a plain file to read it piece by piece.
    pub(crate) fn open(&self, path: &str) -> Result<File, Unseen> {
        let file = self.open_as(path, OFlags::RDONLY)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| unseen(path, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(Unseen::Other(format!("{path} is no plain file"))),
        }
    }

    /// The whole file, as bytes.
    pub(crate) fn read_bytes(&self, path: &str) -> Result<Vec<u8>, Unseen> {
        let mut bytes = Vec::new();
        let read = self.open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unseen::Denied(path.to_owned()),
            _ => Unseen::Other(format!("{path} cannot be read: {error}")),
        })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Unseen::Other(format!("{path} is larger than {MAX_FILE_BYTES} bytes")));
        }
        Ok(bytes)
    }

    /// The whole file, what is no UTF-8 in it replaced.
    pub(crate) fn read(&self, path: &str) -> Result<String, Unseen> {
        let bytes = self.read_bytes(path)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// A short file of the kernel: its first line without spaces around it.
    pub(crate) fn read_value(&self, path: &str) -> Result<String, Unseen> {
        let text = self.read(path)?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    fn meta_as(&self, path: &str, flags: OFlags) -> Result<Meta, Unseen> {
        let file = self.open_as(path, flags | OFlags::PATH)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| unseen(path, error))?;
        Ok(self.pretend_meta(stat.into(), || path.to_owned()))
    }

    fn pretend_meta(&self, meta: Meta, path: impl FnOnce() -> String) -> Meta {
        let Some(pretended) = &self.pretended else { return meta };
        let usual = if meta.is_dir() { 0o755 } else { 0o644 };
        let (mode, uid, gid) = pretended.get(&path()).copied().unwrap_or((usual, 0, 0));
        Meta { mode, uid, gid, ..meta }
    }

    /// Type, rights and owner of what a path leads to. A folder without any rights is
    /// one that systemd has hidden from us (ProtectHome= of systemd.exec(5)).
    pub(crate) fn meta(&self, path: &str) -> Result<Meta, Unseen> {
        let meta = self.meta_as(path, OFlags::empty())?;
        if meta.is_dir() && meta.mode == 0 {
            return Err(Unseen::Other(format!("{path} is hidden from this process")));
        }
        Ok(meta)
    }

    /// The same of a link itself.
    pub(crate) fn link_meta(&self, path: &str) -> Result<Meta, Unseen> {
        self.meta_as(path, OFlags::NOFOLLOW)
    }

    /// Whether something is there; what may not be looked at is.
    pub(crate) fn exists(&self, path: &str) -> bool {
        !matches!(self.link_meta(path), Err(Unseen::Missing | Unseen::NotRunning))
    }

    /// Where a link points to, as it is written.
    pub(crate) fn link_target(&self, path: &str) -> Result<String, Unseen> {
        let file = self.open_as(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = rustix::fs::readlinkat(&file, "", Vec::new());
        let target = target.map_err(|error| unseen(path, error))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// Names and types of what is in a folder, by name, and how many were left out.
    pub(crate) fn list(&self, path: &str) -> Result<(Vec<(String, FileType)>, usize), Unseen> {
        let folder = self.open_as(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = Dir::new(folder).map_err(|error| unseen(path, error))?;
        let (mut names, mut left_out) = (Vec::new(), 0);
        for entry in entries {
            let Ok(entry) = entry else { break };
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            if names.len() >= MAX_ENTRIES {
                left_out += 1;
                continue;
            }
            names.push((name.into_owned(), entry.file_type()));
        }
        names.sort_by(|one, other| one.0.cmp(&other.0));
        Ok((names, left_out))
    }

    /// Hands each entry of a folder to `take`: its name, and type, rights and owner
    /// of itself.
    pub(crate) fn each(&self, path: &str, mut take: impl FnMut(&str, Meta)) -> Result<(), Unseen> {
        let folder = self.open_as(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Dir::read_from(&folder).map_err(|error| unseen(path, error))?;
        for entry in entries.by_ref() {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            // Gone since, or on a file system that does not answer.
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let name = name.to_string_lossy();
            let whole = || format!("{}/{name}", path.trim_end_matches('/'));
            take(&name, self.pretend_meta(stat.into(), whole));
        }
        Ok(())
    }

    /// The paths that a pattern stands for (`*`, `?`, `[…]` within one name), in
    /// order. A pattern without these stands for itself, where it is there.
    /// What may not be looked into comes with its reason.
    pub(crate) fn glob(&self, pattern: &str) -> (Vec<String>, Option<Unseen>) {
        let (mut found, mut hidden) = (vec![String::new()], None);
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            let wild = part.contains(['*', '?', '[']).then(|| glob::Pattern::new(part).ok());
            for folder in &found {
                match &wild {
                    None => next.push(format!("{folder}/{part}")),
                    Some(None) => {}
                    Some(Some(wild)) => {
                        let top = if folder.is_empty() { "/" } else { folder };
                        match self.list(top) {
                            Ok((names, _)) => {
                                // As a shell: what begins with a dot only where it is asked for.
                                let plain =
                                    |name: &str| part.starts_with('.') || !name.starts_with('.');
                                let names = names.into_iter().map(|(name, _)| name);
                                let names = names.filter(|n| plain(n) && wild.matches(n));
                                next.extend(names.map(|name| format!("{folder}/{name}")));
                            }
                            Err(Unseen::Missing) => {}
                            Err(reason) => hidden = Some(reason),
                        }
                    }
                }
            }
            next.truncate(MAX_MATCHES);
            found = next;
        }
        let mut there = Vec::new();
        for path in found {
            match self.link_meta(&path) {
                Ok(_) => there.push(path),
                Err(Unseen::Missing) => {}
                Err(reason) => hidden = Some(reason),
            }
        }
        (there, hidden)
    }
}

fn unseen(path: &str, error: Errno) -> Unseen {
    match error {
        Errno::NOENT | Errno::NOTDIR => Unseen::Missing,
        Errno::ACCESS | Errno::PERM => Unseen::Denied(path.to_owned()),
        error => Unseen::Other(format!("{path} cannot be opened: {}", io::Error::from(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_another_root_stay_inside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/inside"), "ours").unwrap();
        std::os::unix::fs::symlink("/etc/inside", folder.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/inside", folder.path().join("up")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("etc/out")).unwrap();
        let root = Root::folder(folder.path()).unwrap();
        assert_eq!(root.read("/absolute").unwrap(), "ours");
        assert_eq!(root.read("/up").unwrap(), "ours");
        assert_eq!(root.read("/etc/out"), Err(Unseen::Missing));
        assert_eq!(root.link_target("/etc/out").unwrap(), "/etc/passwd");
    }

    #[test]
    fn what_only_a_kernel_knows_is_not_seen_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("proc/sys")).unwrap();
        std::fs::write(folder.path().join("proc/sys/x"), "1").unwrap();
        let root = Root::folder(folder.path()).unwrap();
        assert_eq!(root.read("/proc/sys/x"), Err(Unseen::NotRunning));
        assert_eq!(root.ask(Tool::Sshd), Err(Unseen::NotRunning));
    }

    #[test]
    fn patterns_stand_for_what_is_there_and_a_pipe_does_not_hold_us_up() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::folder(folder.path()).unwrap();
        assert_eq!(root.glob("/*.conf").0, ["/a.conf", "/b.conf"]);
        assert_eq!(root.glob("/c.txt").0, ["/c.txt"]);
        assert!(root.glob("/none*/x").0.is_empty());
        assert_eq!(root.read("/pipe"), Err(Unseen::Other("/pipe is no plain file".into())));
    }
}
