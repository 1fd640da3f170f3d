//! Changes: all go into the overlay.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::overlay::{Entry, MAX_ENTRIES, MAX_STORED_BYTES, Overlay};
use super::{Content, Errno, Files, Found, Kind, MAX_PATH_BYTES, Node, join, parent, proc, tree};

impl Files {
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
        if offset.saturating_add(bytes.len()) > MAX_STORED_BYTES {
            return Err(Errno::NoSpace);
        }
        let mut data = if size == 0 { Vec::new() } else { self.read(path, 0, MAX_STORED_BYTES)? };
        if (data.len() as u64) < size {
            return Err(Errno::NoSpace);
        }
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
        // What was the attacker's before takes no more room than it did.
        let news = moves.iter().filter(|(old, ..)| !matches!(over.get(old), Some(Entry::Node(_))));
        let bytes = news.map(|(_, _, node)| node.held()).sum();
        if !over.has_room(moves.len() + 1, bytes) {
            return Err(Errno::NoSpace);
        }
        over.remove(&to, self.machine(&to).is_some())?;
        for (old, new, _) in &moves {
            over.moved(old, new);
        }
        over.remove(&from, self.machine(&from).is_some())?;
        for (_, new, node) in moves {
            let directory = node.is_directory();
            over.put(&new, node)?;
            if directory {
                over.opaque.insert(new);
            }
        }
        Ok(())
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
