//! A disk that loses at a power cut what was not synced, in memory.
//!
//! The model, strict as POSIX allows:
//! - bytes and length of a file are durable after fsync or fdatasync of it;
//! - a name (of a file, a directory, a renamed file) is durable after fsync of
//!   the directory that holds it, and of nothing else: not of the file itself,
//!   though ext4 and XFS do that too;
//! - a rename within a directory is one step; between two directories each has
//!   its half;
//! - what was not synced may be there all the same, in part: a power cut takes
//!   for each file and directory nothing of it, all of it, the first steps of
//!   it, or any steps. Pages of 4 KiB have any of the contents they had since
//!   the last sync, torn between two of them at sectors of 512 bytes.
//!
//! After the cut every operation fails, so that nothing becomes durable late.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use crate::generate::Random;

pub(super) const PAGE: u64 = 4_096;
const SECTOR: usize = 512;
/// Number of the top directory.
pub(super) const ROOT: u64 = 1;

type Page = Arc<[u8]>;

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The power is off.
    Off,
    Missing,
    Exists,
    NotDirectory,
    IsDirectory,
    NotEmpty,
}

/// Bytes of a file.
#[derive(Clone, Default)]
struct Content {
    size: u64,
    pages: BTreeMap<u64, Page>,
}

/// A change of a file since its last sync.
enum Change {
    /// A page as it is after a write, and the length then.
    Page(u64, Page, u64),
    /// A new length.
    Resize(u64),
}

/// A change of a directory since its last sync.
enum Step {
    Set(OsString, u64),
    Remove(OsString),
    Move { from: OsString, to: OsString, node: u64 },
}

enum Body {
    File {
        now: Content,
        durable: Content,
        unsynced: Vec<Change>,
    },
    Directory {
        now: BTreeMap<OsString, u64>,
        durable: BTreeMap<OsString, u64>,
        unsynced: Vec<Step>,
    },
    Socket,
}

/// A file, directory or socket.
struct Node {
    body: Body,
    mode: u16,
    links: u32,
}

/// What `stat` says.
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u16,
    pub(super) links: u32,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Socket,
}

/// The disk.
pub(super) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    off: bool,
    /// How many syncs it has done, for the report.
    pub(super) syncs: u64,
}

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// Nothing, everywhere.
    Nothing,
    /// For each file and directory one of: nothing, all, the first steps, any steps.
    Some,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Page(number, page, size) => {
                self.pages.insert(*number, Arc::clone(page));
                self.size = self.size.max(*size);
            }
            Change::Resize(size) => self.resize(*size),
        }
    }

    fn resize(&mut self, size: u64) {
        if size < self.size {
            let keep = size.div_ceil(PAGE);
            self.pages.split_off(&keep);
            let used = (size % PAGE) as usize;
            if used > 0
                && let Some(last) = self.pages.get_mut(&(keep - 1))
            {
                let mut bytes = last.to_vec();
                bytes.iter_mut().skip(used).for_each(|byte| *byte = 0);
                *last = bytes.into();
            }
        }
        self.size = size;
    }

    fn page(&self, number: u64) -> Vec<u8> {
        self.pages.get(&number).map_or_else(|| vec![0; PAGE as usize], |page| page.to_vec())
    }

    fn read(&self, offset: u64, size: u64) -> Vec<u8> {
        let end = (offset + size).min(self.size);
        let mut out = Vec::new();
        let mut at = offset;
        while at < end {
            let within = (at % PAGE) as usize;
            let length = ((PAGE as usize) - within).min((end - at) as usize);
            match self.pages.get(&(at / PAGE)) {
                Some(page) => out.extend(page.iter().skip(within).take(length)),
                None => out.resize(out.len() + length, 0),
            }
            at += length as u64;
        }
        out
    }
}

impl Step {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            Self::Set(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Move { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

fn directory(names: BTreeMap<OsString, u64>) -> Body {
    Body::Directory { durable: names.clone(), now: names, unsynced: Vec::new() }
}

fn file(content: Content) -> Body {
    Body::File { durable: content.clone(), now: content, unsynced: Vec::new() }
}

/// Some of the steps, in order: none, all, the first, or any.
fn chosen<'a, T>(steps: &'a [T], random: &mut Random) -> Vec<&'a T> {
    match random.next() % 4 {
        0 => Vec::new(),
        1 => steps.iter().collect(),
        2 => steps.iter().take((random.next() % (steps.len() as u64 + 1)) as usize).collect(),
        _ => steps.iter().filter(|_| random.next().is_multiple_of(2)).collect(),
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        let top = Node { body: directory(BTreeMap::new()), mode: 0o755, links: 2 };
        Self { nodes: BTreeMap::from([(ROOT, top)]), next: ROOT + 1, off: false, syncs: 0 }
    }

    /// The power goes: what is on the disk afterwards. This one is off.
    pub(super) fn cut(&mut self, leftover: Leftover, random: &mut Random) -> Self {
        self.off = true;
        let mut after = Self::new();
        after.next = self.next;
        self.survive(ROOT, leftover, random, &mut after);
        after
    }

    fn survive(&self, number: u64, leftover: Leftover, random: &mut Random, after: &mut Self) {
        let Some(node) = self.nodes.get(&number) else { return };
        let (body, links) = match &node.body {
            Body::Directory { durable, unsynced, .. } => {
                let mut names = durable.clone();
                if leftover == Leftover::Some && !unsynced.is_empty() {
                    chosen(unsynced, random).into_iter().for_each(|step| step.apply(&mut names));
                }
                names.values().for_each(|child| self.survive(*child, leftover, random, after));
                (directory(names), 2)
            }
            Body::File { durable, unsynced, .. } => {
                let mut content = durable.clone();
                if leftover == Leftover::Some && !unsynced.is_empty() {
                    let before = durable.clone();
                    for change in chosen(unsynced, random) {
                        let old = match change {
                            Change::Page(number, ..) => Some((*number, content.page(*number))),
                            Change::Resize(_) => None,
                        };
                        content.apply(change);
                        if let Some((number, old)) = old
                            && random.next().is_multiple_of(8)
                        {
                            content.tear(number, &old, random);
                        }
                    }
                    // The length may have come to the disk without the bytes, or not at all.
                    if random.next().is_multiple_of(8) {
                        content.resize(before.size.min(content.size));
                    }
                }
                (file(content), 1)
            }
            Body::Socket => (Body::Socket, 1),
        };
        after.nodes.insert(number, Node { body, mode: node.mode, links });
    }

    fn node(&self, number: u64) -> Result<&Node, Failure> {
        if self.off { Err(Failure::Off) } else { self.nodes.get(&number).ok_or(Failure::Missing) }
    }

    fn node_mut(&mut self, number: u64) -> Result<&mut Node, Failure> {
        if self.off {
            return Err(Failure::Off);
        }
        self.nodes.get_mut(&number).ok_or(Failure::Missing)
    }

    fn names(&self, number: u64) -> Result<&BTreeMap<OsString, u64>, Failure> {
        match &self.node(number)?.body {
            Body::Directory { now, .. } => Ok(now),
            _ => Err(Failure::NotDirectory),
        }
    }

    fn change_names(&mut self, number: u64, step: Step) -> Result<(), Failure> {
        match &mut self.node_mut(number)?.body {
            Body::Directory { now, unsynced, .. } => {
                step.apply(now);
                unsynced.push(step);
                Ok(())
            }
            _ => Err(Failure::NotDirectory),
        }
    }

    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Result<u64, Failure> {
        self.names(parent)?.get(name).copied().ok_or(Failure::Missing)
    }

    pub(super) fn facts(&self, number: u64) -> Result<Facts, Failure> {
        let node = self.node(number)?;
        let (kind, size) = match &node.body {
            Body::File { now, .. } => (Kind::File, now.size),
            Body::Directory { .. } => (Kind::Directory, PAGE),
            Body::Socket => (Kind::Socket, 0),
        };
        Ok(Facts { kind, size, mode: node.mode, links: node.links })
    }

    /// Names, nodes and kinds in a directory.
    pub(super) fn list(&self, number: u64) -> Result<Vec<(OsString, u64, Kind)>, Failure> {
        let names = self.names(number)?.clone();
        names.into_iter().map(|(name, child)| Ok((name, child, self.facts(child)?.kind))).collect()
    }

    /// Makes a node; its number.
    pub(super) fn make(
        &mut self,
        parent: u64,
        name: &OsStr,
        kind: Kind,
        mode: u16,
    ) -> Result<u64, Failure> {
        if self.names(parent)?.contains_key(name) {
            return Err(Failure::Exists);
        }
        let number = self.next;
        self.next += 1;
        let (body, links) = match kind {
            Kind::File => (file(Content::default()), 1),
            Kind::Directory => (directory(BTreeMap::new()), 2),
            Kind::Socket => (Body::Socket, 1),
        };
        self.nodes.insert(number, Node { body, mode, links });
        self.change_names(parent, Step::Set(name.to_owned(), number))?;
        Ok(number)
    }

    /// Removes a name. The node stays for who has it open, and for the case
    /// that the removal is not durable.
    pub(super) fn remove(&mut self, parent: u64, name: &OsStr, kind: Kind) -> Result<(), Failure> {
        let number = self.lookup(parent, name)?;
        let is_directory = self.facts(number)?.kind == Kind::Directory;
        match (is_directory, kind == Kind::Directory) {
            (true, false) => return Err(Failure::IsDirectory),
            (false, true) => return Err(Failure::NotDirectory),
            (true, true) if !self.names(number)?.is_empty() => return Err(Failure::NotEmpty),
            _ => {}
        }
        self.change_names(parent, Step::Remove(name.to_owned()))?;
        self.node_mut(number)?.links = 0;
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        (from_dir, from): (u64, &OsStr),
        (to_dir, to): (u64, &OsStr),
    ) -> Result<(), Failure> {
        let node = self.lookup(from_dir, from)?;
        if let Ok(replaced) = self.lookup(to_dir, to) {
            if replaced == node {
                return Ok(());
            }
            if self.names(replaced).is_ok_and(|names| !names.is_empty()) {
                return Err(Failure::NotEmpty);
            }
            self.node_mut(replaced)?.links = 0;
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        if from_dir == to_dir {
            return self.change_names(from_dir, Step::Move { from, to, node });
        }
        self.change_names(from_dir, Step::Remove(from))?;
        self.change_names(to_dir, Step::Set(to, node))
    }

    pub(super) fn read(&self, number: u64, offset: u64, size: u64) -> Result<Vec<u8>, Failure> {
        match &self.node(number)?.body {
            Body::File { now, .. } => Ok(now.read(offset, size)),
            _ => Err(Failure::IsDirectory),
        }
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let Body::File { now, unsynced, .. } = &mut self.node_mut(number)?.body else {
            return Err(Failure::IsDirectory);
        };
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (number, within) = (at / PAGE, (at % PAGE) as usize);
            let (part, left) = rest.split_at(rest.len().min(PAGE as usize - within));
            let mut page = now.page(number);
            if let Some(place) = page.get_mut(within..within + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len() as u64;
            let change = Change::Page(number, page.into(), at);
            now.apply(&change);
            unsynced.push(change);
            rest = left;
        }
        Ok(())
    }

    pub(super) fn resize(&mut self, number: u64, size: u64) -> Result<(), Failure> {
        let Body::File { now, unsynced, .. } = &mut self.node_mut(number)?.body else {
            return Err(Failure::IsDirectory);
        };
        now.resize(size);
        unsynced.push(Change::Resize(size));
        Ok(())
    }

    pub(super) fn set_mode(&mut self, number: u64, mode: u16) -> Result<(), Failure> {
        self.node_mut(number)?.mode = mode;
        Ok(())
    }

    /// fsync of a file or of a directory.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Failure> {
        match &mut self.node_mut(number)?.body {
            Body::File { durable, unsynced, .. } => {
                unsynced.drain(..).for_each(|change| durable.apply(&change));
            }
            Body::Directory { durable, unsynced, .. } => {
                unsynced.drain(..).for_each(|step| step.apply(durable));
            }
            Body::Socket => {}
        }
        self.syncs += 1;
        Ok(())
    }

    /// Bytes of all files, as far as they are still named.
    pub(super) fn bytes(&self) -> u64 {
        let named = self.nodes.values().filter(|node| node.links > 0);
        named
            .map(|node| match &node.body {
                Body::File { now, .. } => now.size,
                _ => 0,
            })
            .sum()
    }
}

impl Content {
    /// Puts the old content back into the end of a page, from some sector on.
    fn tear(&mut self, number: u64, old: &[u8], random: &mut Random) {
        let Some(page) = self.pages.get_mut(&number) else { return };
        let sectors = PAGE as usize / SECTOR;
        let kept = (random.next() % sectors as u64) as usize * SECTOR;
        let torn: Vec<u8> = page.iter().take(kept).chain(old.iter().skip(kept)).copied().collect();
        *page = torn.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(disk: &mut Disk) -> Disk {
        disk.cut(Leftover::Nothing, &mut Random::new(1))
    }

    fn content(disk: &Disk, name: &str) -> Result<Vec<u8>, Failure> {
        disk.read(disk.lookup(ROOT, name.as_ref())?, 0, 1 << 20)
    }

    #[test]
    fn bytes_need_a_sync_of_the_file_and_names_one_of_the_directory() {
        let mut disk = Disk::new();
        let a = disk.make(ROOT, "a".as_ref(), Kind::File, 0o600).unwrap();
        disk.write(a, 0, b"one").unwrap();
        disk.sync(a).unwrap();
        assert_eq!(content(&cut(&mut disk), "a"), Err(Failure::Missing));
        disk.off = false;
        disk.sync(ROOT).unwrap();
        disk.write(a, 3, b"two").unwrap();
        let mut after = cut(&mut disk);
        assert_eq!(content(&after, "a").unwrap(), b"one");
        after.rename((ROOT, "a".as_ref()), (ROOT, "b".as_ref())).unwrap();
        assert_eq!(content(&after, "b").unwrap(), b"one");
        assert_eq!(content(&cut(&mut after), "a").unwrap(), b"one");
        assert_eq!(content(&after, "b"), Err(Failure::Off));
    }

    #[test]
    fn what_was_synced_survives_whatever_is_left_of_the_rest() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut disk = Disk::new();
            let a = disk.make(ROOT, "a".as_ref(), Kind::File, 0o600).unwrap();
            let old: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
            disk.write(a, 0, &old).unwrap();
            disk.sync(a).unwrap();
            disk.sync(ROOT).unwrap();
            disk.write(a, 10_000, &[7; 5_000]).unwrap();
            disk.make(ROOT, "b".as_ref(), Kind::File, 0o600).unwrap();
            let after = disk.cut(Leftover::Some, &mut random);
            let found = content(&after, "a").unwrap();
            assert_eq!(found.get(..10_000), old.get(..), "seed {seed}");
        }
    }

    #[test]
    fn a_shorter_file_forgets_what_was_behind_its_end() {
        let mut disk = Disk::new();
        let a = disk.make(ROOT, "a".as_ref(), Kind::File, 0o600).unwrap();
        disk.write(a, 0, &[1; 9_000]).unwrap();
        disk.resize(a, 5_000).unwrap();
        disk.resize(a, 9_000).unwrap();
        let bytes = content(&disk, "a").unwrap();
        assert_eq!((bytes.len(), bytes.iter().filter(|byte| **byte == 1).count()), (9_000, 5_000));
    }
}
