//! The files an attacker sees: the machine's own, and over them what this
//! attacker has changed. No file of the host is ever touched. Shells, SFTP and
//! SCP share this interface; paths are absolute, links are followed as Linux
//! does.

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
/// Most bytes of one file that are read at once.
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
        let most = most.min(MAX_READ_BYTES);
        let part = |bytes: &[u8]| {
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
            let rest = bytes.get(from..).unwrap_or_default();
            rest.get(..most).unwrap_or(rest).to_vec()
        };
        match &node.kind {
            Kind::Directory(_) => Err(Errno::IsDirectory),
            Kind::File(Content::Bytes(bytes)) => Ok(part(bytes)),
            Kind::File(Content::Program { name, size }) => {
                Ok(tree::program(self.world.machine.elf, name, *size, from, most))
            }
            Kind::File(Content::Noise { salt, size }) => {
                Ok(tree::window(&[], *salt, *size, from, most))
            }
            Kind::File(Content::Live) => {
                Ok(part(&proc::read(&self.world.machine, &self.seat, &found.path, self.now)))
            }
            Kind::Device(false, 1, 5) => Ok(vec![0; most]),
            Kind::Device(false, 1, 8 | 9) => {
                let salt = hash(&self.now.to_le_bytes()) ^ self.world.machine.seed;
                Ok(tree::window(&[], salt ^ from, u64::MAX, from, most))
            }
            Kind::Device(..) | Kind::Pipe | Kind::Link(_) => Ok(Vec::new()),
        }
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

    /// Whether something may be made, changed or removed in the directory of `path`.
    fn may_change(&self, over: &Overlay, path: &str) -> Result<(), Errno> {
        let under = |root: &str| {
            path.strip_prefix(root).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        if under("/proc") {
            return Err(Errno::NoEntry);
        }
        if under("/sys") || under("/dev/pts") {
            return Err(Errno::Denied);
        }
        let directory = self.walk(over, parent(path), true)?;
        match directory.node {
            None => Err(Errno::NoEntry),
            Some(node) if !node.is_directory() => Err(Errno::NotDirectory),
            Some(node) if self.uid != 0 && !self.allowed(node, 2) => Err(Errno::Denied),
            Some(node) if node.immutable => Err(Errno::NotPermitted),
            Some(_) => Ok(()),
        }
    }

    /// Writes a file: in the place of what it held, or behind it.
    ///
    /// # Errors
    /// As `open` and `write` have it.
    pub fn write(&self, path: &str, bytes: &[u8], append: bool) -> Result<(), Errno> {
        let mut over = self.overlay();
        let found = self.walk(&over, path, true)?;
        let (path, mut node) = match found.node {
            Some(node) if node.is_directory() => return Err(Errno::IsDirectory),
            Some(Node { kind: Kind::Device(..) | Kind::Pipe, .. }) => return Ok(()),
            Some(Node { kind: Kind::File(Content::Live), .. }) => {
                let sysctl = found.path.starts_with("/proc/sys/") && self.uid == 0;
                return if sysctl { Ok(()) } else { Err(Errno::Denied) };
            }
            Some(node) if node.immutable => return Err(Errno::NotPermitted),
            Some(node) if self.uid != 0 && !self.allowed(node, 2) => return Err(Errno::Denied),
            Some(node) if found.path.starts_with("/sys/") => {
                let _ = node;
                return Err(Errno::Denied);
            }
            Some(node) => (found.path, node.clone()),
            None => {
                self.may_change(&over, &found.path)?;
                let content = Content::Bytes(Arc::default());
                let mut node = Node::new(Kind::File(content), 0o644, self.now);
                (node.uid, node.gid) = (self.uid, self.uid);
                (found.path, node)
            }
        };
        if append
            && matches!(over.get(&path), Some(Entry::Node(_)))
            && let Some(done) = over.append(&path, bytes, self.now)
        {
            over.touch(&path);
            return done;
        }
        let mut data = if append { self.whole(&node, &path)? } else { Vec::new() };
        data.extend_from_slice(bytes);
        node.kind = Kind::File(Content::Bytes(Arc::new(data)));
        node.modified = self.now;
        over.put(&path, node)?;
        over.touch(&path);
        Ok(())
    }

    fn whole(&self, node: &Node, _path: &str) -> Result<Vec<u8>, Errno> {
        let too_large = |size: u64| size > MAX_STORED_BYTES as u64;
        match &node.kind {
            Kind::File(Content::Bytes(bytes)) => Ok(bytes.to_vec()),
            Kind::File(Content::Program { name, size }) if !too_large(*size) => {
                Ok(tree::program(self.world.machine.elf, name, *size, 0, MAX_STORED_BYTES))
            }
            Kind::File(Content::Noise { salt, size }) if !too_large(*size) => {
                Ok(tree::window(&[], *salt, *size, 0, MAX_STORED_BYTES))
            }
            Kind::File(_) => Err(Errno::NoSpace),
            _ => Err(Errno::Invalid),
        }
    }

    /// Writes at a place of a file that is there or is made, as SFTP does.
    ///
    /// # Errors
    /// As `write` has it; [`Errno::NoSpace`] also for holes beyond the bound.
    pub fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let size = match self.stat(path, true) {
            Ok(stat) => stat.size,
            Err(Errno::NoEntry) => 0,
            Err(other) => return Err(other),
        };
        if offset == size {
            return self.write(path, bytes, true);
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::NoSpace)?;
        if offset.saturating_add(bytes.len()) > MAX_STORED_BYTES || size > MAX_READ_BYTES as u64 {
            return Err(Errno::NoSpace);
        }
        let mut data = if size == 0 { Vec::new() } else { self.read(path, 0, MAX_READ_BYTES)? };
        data.resize(data.len().max(offset + bytes.len()), 0);
        if let Some(place) = data.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.write(path, &data, false)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As `mkdir` has it.
    pub fn make_directory(&self, path: &str, mode: u32) -> Result<(), Errno> {
        self.make(path, Node::new(Kind::Directory(BTreeSet::new()), mode, self.now))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As `symlink` has it.
    pub fn make_link(&self, path: &str, target: &str) -> Result<(), Errno> {
        self.make(path, Node::new(Kind::Link(target.into()), 0o777, self.now))
    }

    /// Makes a pipe with a name.
    pub(crate) fn make_pipe(&self, path: &str) -> Result<(), Errno> {
        self.make(path, Node::new(Kind::Pipe, 0o644, self.now))
    }

    fn make(&self, path: &str, mut node: Node) -> Result<(), Errno> {
        let mut over = self.overlay();
        let found = self.walk(&over, path, false)?;
        if found.node.is_some() {
            return Err(Errno::Exists);
        }
        let path = found.path;
        self.may_change(&over, &path)?;
        (node.uid, node.gid) = (self.uid, self.uid);
        let hides = node.is_directory() && matches!(over.get(&path), Some(Entry::Gone));
        over.put(&path, node)?;
        if hides {
            over.opaque.insert(path);
        }
        Ok(())
    }

    /// Removes a file, or a directory that is empty where `directory`.
    ///
    /// # Errors
    /// As `unlink` and `rmdir` have it.
    pub fn remove(&self, path: &str, directory: bool) -> Result<(), Errno> {
        let mut over = self.overlay();
        let found = self.removable(&over, path)?;
        match (found.node.is_some_and(Node::is_directory), directory) {
            (true, false) => return Err(Errno::IsDirectory),
            (false, true) => return Err(Errno::NotDirectory),
            (true, true) if !self.names(&over, &found).is_empty() => return Err(Errno::NotEmpty),
            _ => {}
        }
        let (path, hide) = (found.path.clone(), self.machine(&found.path).is_some());
        over.remove(&path, hide)
    }

    /// Removes a path and all below it.
    ///
    /// # Errors
    /// As above, for the path itself.
    pub fn remove_tree(&self, path: &str) -> Result<(), Errno> {
        let mut over = self.overlay();
        let found = self.removable(&over, path)?;
        let (path, hide) = (found.path.clone(), self.machine(&found.path).is_some());
        over.remove(&path, hide)
    }

    fn removable<'a>(&'a self, over: &'a Overlay, path: &str) -> Result<Found<'a>, Errno> {
        let found = self.walk(over, path, false)?;
        let node = found.node.ok_or(Errno::NoEntry)?;
        if node.immutable {
            return Err(Errno::NotPermitted);
        }
        if matches!(
            found.path.as_str(),
            "/" | "/proc" | "/sys" | "/dev" | "/dev/pts" | "/dev/shm" | "/run"
        ) {
            return Err(Errno::Busy);
        }
        match self.may_change(over, &found.path) {
            Err(Errno::NoEntry) if found.path.starts_with("/proc/") => Err(Errno::NotPermitted),
            other => other.map(|()| found),
        }
    }

    /// Moves a path.
    ///
    /// # Errors
    /// As `rename` has it.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let mut over = self.overlay();
        let source = self.removable(&over, from)?;
        let goal = self.walk(&over, to, false)?;
        let node = source.node.ok_or(Errno::NoEntry)?.clone();
        if source.path == goal.path {
            return Ok(());
        }
        if goal.path.starts_with(&format!("{}/", source.path)) {
            return Err(Errno::Invalid);
        }
        if let Some(old) = goal.node {
            match (old.is_directory(), node.is_directory()) {
                (true, false) => return Err(Errno::IsDirectory),
                (false, true) => return Err(Errno::NotDirectory),
                (true, true) if !self.names(&over, &goal).is_empty() => {
                    return Err(Errno::NotEmpty);
                }
                _ if old.immutable => return Err(Errno::NotPermitted),
                _ => {}
            }
        }
        self.may_change(&over, &goal.path)?;
        let (from, to) = (source.path.clone(), goal.path.clone());
        let mut moves = Vec::new();
        self.collect(&over, &source, &from, &to, &mut moves)?;
        over.remove(&to, self.machine(&to).is_some())?;
        for (old, new, node) in &moves {
            over.moved(old, new);
            let directory = node.is_directory();
            over.put(new, node.clone())?;
            if directory {
                over.opaque.insert(new.clone());
            }
        }
        over.remove(&from, self.machine(&from).is_some())
    }

    /// All nodes at and below a path with their new paths, bounded.
    fn collect(
        &self,
        over: &Overlay,
        found: &Found<'_>,
        from: &str,
        to: &str,
        moves: &mut Vec<(String, String, Node)>,
    ) -> Result<(), Errno> {
        let Some(node) = found.node else { return Ok(()) };
        if moves.len() >= MAX_ENTRIES / 4 || found.path.len() > MAX_PATH_BYTES {
            return Err(Errno::NoSpace);
        }
        let rest = found.path.strip_prefix(from).unwrap_or_default();
        let copy = match &node.kind {
            Kind::Directory(_) => Node { kind: Kind::Directory(BTreeSet::new()), ..node.clone() },
            _ => node.clone(),
        };
        moves.push((found.path.clone(), format!("{to}{rest}"), copy));
        if node.is_directory() {
            for name in self.names(over, found) {
                let child = self.child(over, found, join(&found.path, &name));
                self.collect(over, &child, from, to, moves)?;
            }
        }
        Ok(())
    }

    /// Copies a file; programs of the machine stay such.
    ///
    /// # Errors
    /// As `open`, `read` and `write` have it.
    pub fn copy(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (node, live) = {
            let over = self.overlay();
            let found = self.walk(&over, from, true)?;
            let node = found.node.ok_or(Errno::NoEntry)?;
            if self.uid != 0 && !self.allowed(node, 4) {
                return Err(Errno::Denied);
            }
            match &node.kind {
                Kind::Directory(_) => return Err(Errno::IsDirectory),
                Kind::File(Content::Live) => {
                    let text = proc::read(&self.world.machine, &self.seat, &found.path, self.now);
                    (node.clone(), Some(text))
                }
                Kind::Device(..) | Kind::Pipe => (node.clone(), Some(Vec::new())),
                _ => (node.clone(), None),
            }
        };
        if let Some(text) = live {
            return self.write(to, &text, false);
        }
        // An existing file keeps its mode; all checks of writing apply.
        let before = self.stat(to, true).ok();
        self.write(to, &[], false)?;
        let mut over = self.overlay();
        let path = self.walk(&over, to, true)?.path;
        let Some(Entry::Node(old)) = over.get(&path) else { return Ok(()) };
        let mode = before.map_or(node.mode & 0o777, |stat| stat.mode);
        let copy = Node { kind: node.kind, mode, modified: self.now, ..old.clone() };
        let own = matches!(copy.kind, Kind::File(Content::Bytes(_)));
        over.put(&path, copy)?;
        if own {
            over.touch(&path);
        }
        Ok(())
    }

    /// Changes a node's permissions, owner, date or flag.
    fn change(&self, path: &str, edit: impl FnOnce(&mut Node)) -> Result<(), Errno> {
        let mut over = self.overlay();
        let found = self.walk(&over, path, true)?;
        let node = found.node.ok_or(Errno::NoEntry)?;
        if ["/proc", "/sys"].iter().any(|root| found.path.starts_with(root))
            || self.uid != 0 && node.uid != self.uid
        {
            return Err(Errno::NotPermitted);
        }
        let mut copy = match &node.kind {
            Kind::Directory(_) => Node { kind: Kind::Directory(BTreeSet::new()), ..node.clone() },
            _ => node.clone(),
        };
        let was = copy.immutable;
        edit(&mut copy);
        if was && copy.immutable {
            return Err(Errno::NotPermitted);
        }
        let path = found.path;
        over.put(&path, copy)
    }

    /// Sets the permissions.
    ///
    /// # Errors
    /// As `chmod` has it.
    pub fn set_mode(&self, path: &str, mode: u32) -> Result<(), Errno> {
        self.change(path, |node| node.mode = mode & 0o7777)
    }

    /// Sets owner and group.
    ///
    /// # Errors
    /// As `chown` has it.
    pub fn set_owner(&self, path: &str, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        self.change(path, |node| {
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
        })
    }

    /// Sets the date of the last change.
    ///
    /// # Errors
    /// As `utimes` has it.
    pub fn set_modified(&self, path: &str, modified: i64) -> Result<(), Errno> {
        self.change(path, |node| node.modified = modified)
    }

    /// Sets or takes away `chattr +i`.
    pub(crate) fn set_immutable(&self, path: &str, immutable: bool) -> Result<(), Errno> {
        let already = self.stat(path, true)?.immutable == immutable;
        if already { Ok(()) } else { self.change(path, |node| node.immutable = immutable) }
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

impl Files {
    /// A file of so many bytes that nobody keeps, as `dd if=/dev/zero` makes.
    pub(crate) fn write_zeros(&self, path: &str, size: u64) -> Result<(), Errno> {
        self.write(path, &[], false)?;
        let mut over = self.overlay();
        let path = self.walk(&over, path, true)?.path;
        let Some(Entry::Node(node)) = over.get(&path) else { return Ok(()) };
        let content = Content::Noise { salt: 0, size };
        let node = Node { kind: Kind::File(content), ..node.clone() };
        over.put(&path, node)
    }
}
