//! The files an attacker sees: the machine's own, and over them what this
//! attacker has changed. No file of the host is ever touched. Shells, SFTP and
//! SCP share this interface; paths are absolute, links are followed as Linux
//! does.

mod change;
mod node;
mod overlay;
mod proc;
mod tree;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::node::{Content, Kind, Node};
pub use self::node::{Errno, FileKind, Stat};
pub use self::overlay::{
    Capture, MAX_ATTACKERS, MAX_ENTRIES, MAX_REMEMBERED_BYTES, MAX_STORED_BYTES, REMEMBERED_SECS,
    Visitors,
};
use self::overlay::{Entry, Overlay};
pub(crate) use self::proc::{Seat, cpu_seconds, processes};
pub(crate) use self::tree::Tree;
use crate::persona::hash;
use crate::shell::World;

/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 1_024;
/// Longest name in it, as Linux has it.
const MAX_NAME_BYTES: usize = 255;
/// Most names in a path.
const MAX_DEPTH: usize = 64;
/// Most links followed for one path, as Linux has it.
const MAX_LINKS: usize = 40;
/// Most bytes that are made up at once: of a program, a device or noise.
pub const MAX_READ_BYTES: usize = 2 * 1024 * 1024;

/// The files an attacker sees, by one session.
#[derive(Clone, Debug)]
pub struct Files {
    world: Arc<World>,
    overlay: Arc<Mutex<Overlay>>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) now: i64,
    pub(crate) uid: u32,
}

/// Where a path leads.
struct Found<'a> {
    path: String,
    node: Option<&'a Node>,
    /// Whether what the machine has below shows.
    base: bool,
}

/// `path` from `cwd`, without `.` and `..` (links are not looked at).
pub(crate) fn absolute(cwd: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { cwd };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory == "/" { format!("/{name}") } else { format!("{directory}/{name}") }
}

impl Files {
    pub(crate) fn new(
        world: Arc<World>,
        overlay: Arc<Mutex<Overlay>>,
        seat: Arc<Seat>,
        now: i64,
        uid: u32,
    ) -> Self {
        Self { world, overlay, seat, now, uid }
    }

    /// Tells the time, in seconds since 1970; changes get it as their date.
    pub fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    pub(crate) fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node of the machine's own, as this session sees /proc.
    fn machine(&self, path: &str) -> Option<&Node> {
        let own = path.strip_prefix(self.seat.directory.as_str());
        match own.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some(rest) => self.world.tree.get(&format!("/proc/1{rest}")),
            None => self.world.tree.get(path),
        }
    }

    fn target<'a>(&'a self, path: &str, target: &'a str) -> &'a str {
        if path == "/proc/self" {
            return self.seat.directory.trim_start_matches("/proc/");
        }
        match path.strip_prefix(self.seat.directory.as_str()) {
            Some("/exe") => self.seat.program.as_str(),
            _ => target,
        }
    }

    /// Follows a path. A missing last name is found as nothing.
    fn walk<'a>(&'a self, over: &'a Overlay, path: &str, follow: bool) -> Result<Found<'a>, Errno> {
        if path.len() > MAX_PATH_BYTES {
            return Err(Errno::NameTooLong);
        }
        let mut left: Vec<String> =
            path.split('/').rev().filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if left.len() > MAX_DEPTH {
            return Err(Errno::NameTooLong);
        }
        let mut links = 0;
        let mut at = Found { path: "/".to_owned(), node: self.world.tree.get("/"), base: true };
        while let Some(name) = left.pop() {
            if name.len() > MAX_NAME_BYTES {
                return Err(Errno::NameTooLong);
            }
            match at.node {
                None => return Err(Errno::NoEntry),
                Some(node) if !node.is_directory() => return Err(Errno::NotDirectory),
                Some(_) => {}
            }
            if name == "." {
                continue;
            }
            if name == ".." {
                let up = parent(&at.path).to_owned();
                at = self.step(over, &up)?;
                continue;
            }
            let path = join(&at.path, &name);
            let next = self.child(over, &at, path);
            if let Some(Node { kind: Kind::Link(target), .. }) = next.node
                && (follow || !left.is_empty())
            {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::Loop);
                }
                let target = self.target(&next.path, target);
                if target.starts_with('/') {
                    at = self.step(over, "/")?;
                }
                left.extend(target.split('/').rev().filter(|n| !n.is_empty()).map(str::to_owned));
                if left.len() > MAX_DEPTH {
                    return Err(Errno::Loop);
                }
                continue;
            }
            at = next;
        }
        Ok(at)
    }

    /// A directory that was already walked to.
    fn step<'a>(&'a self, over: &'a Overlay, path: &str) -> Result<Found<'a>, Errno> {
        if path == "/" {
            return Ok(Found { path: "/".to_owned(), node: self.world.tree.get("/"), base: true });
        }
        let up = self.step(over, parent(path))?;
        Ok(self.child(over, &up, path.to_owned()))
    }

    fn child<'a>(&'a self, over: &'a Overlay, at: &Found<'_>, path: String) -> Found<'a> {
        let below = if at.base { self.machine(&path) } else { None };
        match over.get(&path) {
            Some(Entry::Gone) => Found { path, node: None, base: false },
            Some(Entry::Node(node)) => {
                let base = below.is_some_and(Node::is_directory)
                    && node.is_directory()
                    && !over.opaque.contains(&path);
                Found { path, node: Some(node), base }
            }
            None => Found { path, node: below, base: below.is_some() },
        }
    }

    fn describe(&self, over: &Overlay, found: &Found<'_>, node: &Node) -> Stat {
        let (kind, size) = match &node.kind {
            Kind::Directory(_) => {
                (FileKind::Directory, if found.path.starts_with("/proc") { 0 } else { 4_096 })
            }
            Kind::File(content) => (FileKind::File, self.size(content)),
            Kind::Link(target) => {
                let target = self.target(&found.path, target).to_owned();
                let size = target.len() as u64;
                (FileKind::Link(target), size)
            }
            Kind::Device(block, major, minor) => (FileKind::Device(*block, *major, *minor), 0),
            Kind::Pipe => (FileKind::Pipe, 0),
        };
        let links = if node.is_directory() {
            let names = self.names(over, found);
            let directories = names.iter().filter(|name| {
                let child = self.child(over, found, join(&found.path, name));
                child.node.is_some_and(Node::is_directory)
            });
            2 + u32::try_from(directories.count()).unwrap_or(0)
        } else {
            1
        };
        let live = found.path.starts_with("/proc/");
        Stat {
            kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size,
            modified: if live { self.now } else { node.modified },
            links,
            inode: 131_072 + hash(found.path.as_bytes()) % 1_048_576,
            immutable: node.immutable,
        }
    }

    fn size(&self, content: &Content) -> u64 {
        match content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Program { size, .. } | Content::Noise { size, .. } => *size,
            Content::Live => 0,
        }
    }

    /// What a path is.
    ///
    /// # Errors
    /// As `stat` has it; `lstat` without `follow`.
    pub fn stat(&self, path: &str, follow: bool) -> Result<Stat, Errno> {
        let over = self.overlay();
        let found = self.walk(&over, path, follow)?;
        let node = found.node.ok_or(Errno::NoEntry)?;
        Ok(self.describe(&over, &found, node))
    }

    /// Whether a path leads to a directory; cheaper than [`Self::stat`].
    #[must_use]
    pub fn is_directory(&self, path: &str) -> bool {
        let over = self.overlay();
        self.walk(&over, path, true).is_ok_and(|found| found.node.is_some_and(Node::is_directory))
    }

    /// Whether a path leads to anything.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        let over = self.overlay();
        self.walk(&over, path, true).is_ok_and(|found| found.node.is_some())
    }

    /// The path without links.
    ///
    /// # Errors
    /// Where a directory on the way is not there.
    pub fn canonical(&self, path: &str) -> Result<String, Errno> {
        let over = self.overlay();
        Ok(self.walk(&over, path, true)?.path)
    }

    /// The program a path leads to: one of the machine's, by name.
    pub(crate) fn program(&self, path: &str) -> Option<String> {
        let over = self.overlay();
        let found = self.walk(&over, path, true).ok()?;
        match &found.node?.kind {
            Kind::File(Content::Program { name, .. }) => Some(name.to_string()),
            _ => None,
        }
    }

    /// Up to `most` bytes of a file from `from`.
    ///
    /// # Errors
    /// As `open` and `read` have it.
    pub fn read(&self, path: &str, from: u64, most: usize) -> Result<Vec<u8>, Errno> {
        let over = self.overlay();
        let found = self.walk(&over, path, true)?;
        let node = found.node.ok_or(Errno::NoEntry)?;
        if self.uid != 0 && !self.allowed(node, 4) {
            return Err(Errno::Denied);
        }
        let part = |bytes: &[u8]| {
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
            let rest = bytes.get(from..).unwrap_or_default();
            rest.get(..most).unwrap_or(rest).to_vec()
        };
        let made = most.min(MAX_READ_BYTES);
        match &node.kind {
            Kind::Directory(_) => Err(Errno::IsDirectory),
            Kind::File(Content::Bytes(bytes)) => Ok(part(bytes)),
            Kind::File(Content::Program { name, size }) => {
                Ok(tree::program(self.world.machine.elf, name, *size, from, made))
            }
            Kind::File(Content::Noise { salt, size }) => {
                Ok(tree::window(&[], *salt, *size, from, made))
            }
            Kind::File(Content::Live) => {
                Ok(part(&proc::read(&self.world.machine, &self.seat, &found.path, self.now)))
            }
            Kind::Device(false, 1, 5) => Ok(vec![0; made]),
            Kind::Device(false, 1, 8 | 9) => {
                let salt = hash(&self.now.to_le_bytes()) ^ self.world.machine.seed;
                Ok(tree::window(&[], salt ^ from, u64::MAX, from, made))
            }
            Kind::Device(..) | Kind::Pipe | Kind::Link(_) => Ok(Vec::new()),
        }
    }

    /// The beginning of a file, at most `most` bytes; without a copy, and whole,
    /// where an attacker made it.
    ///
    /// # Errors
    /// As `open` and `read` have it.
    pub(crate) fn open(&self, path: &str, most: usize) -> Result<Arc<Vec<u8>>, Errno> {
        {
            let over = self.overlay();
            let found = self.walk(&over, path, true)?;
            if let Some(node) = found.node
                && let Kind::File(Content::Bytes(bytes)) = &node.kind
            {
                let denied = self.uid != 0 && !self.allowed(node, 4);
                return if denied { Err(Errno::Denied) } else { Ok(Arc::clone(bytes)) };
            }
        }
        let mut all = self.read(path, 0, most)?;
        // What is made up comes in parts.
        while all.len() < most && all.len().is_multiple_of(MAX_READ_BYTES) && !all.is_empty() {
            let part = self.read(path, all.len() as u64, most - all.len())?;
            if part.is_empty() {
                break;
            }
            all.extend(part);
        }
        Ok(Arc::new(all))
    }

    fn allowed(&self, node: &Node, access: u32) -> bool {
        let shift = if node.uid == self.uid { 6 } else { 0 };
        (node.mode >> shift) & access == access
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// As `opendir` has it.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        let over = self.overlay();
        let found = self.walk(&over, path, true)?;
        let node = found.node.ok_or(Errno::NoEntry)?;
        if !node.is_directory() {
            return Err(Errno::NotDirectory);
        }
        if self.uid != 0 && !self.allowed(node, 4) {
            return Err(Errno::Denied);
        }
        Ok(self.names(&over, &found).into_iter().collect())
    }

    fn names(&self, over: &Overlay, found: &Found<'_>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if found.base
            && let Some(Node { kind: Kind::Directory(base), .. }) = self.machine(&found.path)
        {
            names.extend(base.iter().map(|name| name.to_string()));
            if found.path == "/proc" {
                names.insert(self.seat.directory.trim_start_matches("/proc/").to_owned());
            }
        }
        let prefix = join(&found.path, "");
        let mut from = prefix.clone();
        while let Some((path, entry)) = over.entries.range(from.clone()..).next() {
            let Some(rest) = path.strip_prefix(&prefix) else { break };
            let name = rest.split('/').next().unwrap_or(rest);
            if rest.len() == name.len() {
                match entry {
                    Entry::Gone => names.remove(name),
                    Entry::Node(_) => names.insert(name.to_owned()),
                };
            }
            // The next one behind all below this name ('0' follows '/').
            from = if rest.len() == name.len() {
                format!("{path}\0")
            } else {
                format!("{prefix}{name}0")
            };
        }
        names
    }

    /// Keeps a file as it is now where it is new: it is about to be run.
    pub(crate) fn capture(&self, path: &str) {
        let mut over = self.overlay();
        let canonical = self.walk(&over, path, true).map(|found| found.path);
        if let Ok(path) = canonical {
            over.capture(&path);
        }
    }
}
