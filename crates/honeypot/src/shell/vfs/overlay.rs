//! What one attacker has changed, in memory and bounded; and the attackers
//! that are remembered for a day.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::node::{Errno, Kind, Node};

/// Most bytes an attacker can store in files: one that was fetched, and what it
/// is unpacked to.
pub const MAX_STORED_BYTES: usize = 6 * 1024 * 1024;
/// Most files and directories an attacker can make, change or remove.
pub const MAX_ENTRIES: usize = 4_096;
/// Most attackers whose files are remembered; beyond, the one that was away
/// longest is forgotten.
pub const MAX_ATTACKERS: usize = 1_024;
/// Most bytes of all their files together; beyond, as above.
pub const MAX_REMEMBERED_BYTES: usize = 64 * 1024 * 1024;
/// How long an attacker's files are remembered, in seconds: a day.
pub const REMEMBERED_SECS: i64 = 86_400;
/// Most captured files that wait to be told.
const MAX_CAPTURED: usize = 64;

/// A file as it was when it was run, removed, or when the session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Where it was.
    pub path: String,
    /// What was in it.
    pub bytes: Arc<Vec<u8>>,
}

/// One entry of an overlay.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Node(Node),
    /// A directory that was made where the machine has, or had, one: nothing
    /// of the machine's shows in it.
    Gone,
}

/// What one attacker has changed.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Directories that hide what the machine has below them.
    pub(super) opaque: BTreeSet<String>,
    held: usize,
    /// Files written since they were last captured.
    touched: BTreeSet<String>,
    captured: Vec<Capture>,
    /// New passwords by user.
    pub(crate) passwords: BTreeMap<String, Vec<u8>>,
    last_seen: i64,
}

impl Overlay {
    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(super) fn put(&mut self, path: &str, node: Node) -> Result<(), Errno> {
        let before = match self.entries.get(path) {
            Some(Entry::Node(old)) => old.held(),
            Some(Entry::Gone) => 0,
            None if self.entries.len() >= MAX_ENTRIES => return Err(Errno::NoSpace),
            None => 0,
        };
        let after = self.held - before + node.held();
        if after > MAX_STORED_BYTES {
            return Err(Errno::NoSpace);
        }
        self.held = after;
        self.entries.insert(path.to_owned(), Entry::Node(node));
        Ok(())
    }

    /// Whether so many entries and bytes more fit.
    pub(super) fn has_room(&self, entries: usize, bytes: usize) -> bool {
        self.entries.len() + entries <= MAX_ENTRIES && self.held + bytes <= MAX_STORED_BYTES
    }

    /// Appends to a file of the overlay's own, without copying it.
    pub(super) fn append(
        &mut self,
        path: &str,
        bytes: &[u8],
        now: i64,
    ) -> Option<Result<(), Errno>> {
        let Some(Entry::Node(node)) = self.entries.get_mut(path) else { return None };
        let Kind::File(super::node::Content::Bytes(data)) = &mut node.kind else { return None };
        if self.held + bytes.len() > MAX_STORED_BYTES {
            return Some(Err(Errno::NoSpace));
        }
        self.held += bytes.len();
        Arc::make_mut(data).extend_from_slice(bytes);
        node.modified = now;
        Some(Ok(()))
    }

    /// Takes a path and all below it out; `hide` where the machine has it.
    pub(super) fn remove(&mut self, path: &str, hide: bool) -> Result<(), Errno> {
        if hide && !self.entries.contains_key(path) && self.entries.len() >= MAX_ENTRIES {
            return Err(Errno::NoSpace);
        }
        let below = format!("{path}/");
        let inside: Vec<String> = self
            .entries
            .range(below.clone()..)
            .take_while(|(other, _)| other.starts_with(&below))
            .map(|(other, _)| other.clone())
            .collect();
        for other in inside.iter().map(String::as_str).chain([path]) {
            if self.touched.contains(other) {
                self.capture(other);
            }
            if let Some(Entry::Node(node)) = self.entries.remove(other) {
                self.held -= node.held();
            }
            self.opaque.remove(other);
        }
        if hide {
            self.entries.insert(path.to_owned(), Entry::Gone);
        }
        Ok(())
    }

    /// Notes that a file's contents are new.
    pub(super) fn touch(&mut self, path: &str) {
        self.touched.insert(path.to_owned());
    }

    /// Takes back that a file's contents are new: a command of ours wrote it.
    pub(crate) fn forget(&mut self, path: &str) {
        self.touched.remove(path);
    }

    /// Keeps a file as it is now, where its contents are new.
    pub(crate) fn capture(&mut self, path: &str) {
        if !self.touched.remove(path) || self.captured.len() >= MAX_CAPTURED {
            return;
        }
        if let Some(Entry::Node(Node {
            kind: Kind::File(super::node::Content::Bytes(bytes)), ..
        })) = self.entries.get(path)
            && !bytes.is_empty()
        {
            self.captured.push(Capture { path: path.to_owned(), bytes: Arc::clone(bytes) });
        }
    }

    /// Files whose contents are new.
    pub(crate) fn touched(&self) -> Vec<String> {
        self.touched.iter().cloned().collect()
    }

    pub(crate) fn moved(&mut self, from: &str, to: &str) {
        if self.touched.remove(from) {
            self.touched.insert(to.to_owned());
        }
    }

    pub(crate) fn take_captured(&mut self) -> Vec<Capture> {
        std::mem::take(&mut self.captured)
    }

    /// Bytes it keeps.
    pub(crate) fn held(&self) -> usize {
        self.held + self.entries.len() * 160
    }
}

/// The overlays of all attackers of the last day, kept in memory: a restart
/// forgets them.
#[derive(Debug, Default)]
pub struct Visitors {
    known: Mutex<HashMap<IpAddr, Arc<Mutex<Overlay>>>>,
}

impl Visitors {
    /// The overlay of an address (an IPv6 /64 counts as one).
    pub(crate) fn overlay(&self, address: IpAddr, now: i64) -> Arc<Mutex<Overlay>> {
        let key = match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(overlay) = known.get(&key) {
            let mut found = overlay.lock().unwrap_or_else(PoisonError::into_inner);
            if now - found.last_seen < REMEMBERED_SECS {
                found.last_seen = now;
                drop(found);
                return Arc::clone(overlay);
            }
        }
        let overlay = Arc::new(Mutex::new(Overlay { last_seen: now, ..Overlay::default() }));
        known.insert(key, Arc::clone(&overlay));
        make_room(&mut known, &overlay, now);
        overlay
    }

    /// How many attackers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Forgets who was away too long, and above the bounds who was away longest.
/// Whoever is connected keeps files until the session ends.
fn make_room(
    known: &mut HashMap<IpAddr, Arc<Mutex<Overlay>>>,
    new: &Arc<Mutex<Overlay>>,
    now: i64,
) {
    let mut all: Vec<(i64, usize, IpAddr)> = Vec::with_capacity(known.len());
    for (address, overlay) in known.iter().filter(|(_, other)| !Arc::ptr_eq(other, new)) {
        // Nobody holds an overlay's lock and waits for this one.
        let overlay = overlay.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((overlay.last_seen, overlay.held(), *address));
    }
    let mut bytes: usize = all.iter().map(|(_, held, _)| held).sum();
    let mut count = all.len() + 1;
    all.sort_unstable();
    for (seen, held, address) in all {
        if now - seen < REMEMBERED_SECS && count <= MAX_ATTACKERS && bytes <= MAX_REMEMBERED_BYTES {
            break;
        }
        known.remove(&address);
        count -= 1;
        bytes -= held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn attackers_are_remembered_for_a_day_and_bounded() {
        let visitors = Visitors::default();
        let first = visitors.overlay(address(1), 0);
        assert!(Arc::ptr_eq(&first, &visitors.overlay(address(1), REMEMBERED_SECS - 1)));
        assert!(!Arc::ptr_eq(&first, &visitors.overlay(address(1), 2 * REMEMBERED_SECS)));
        for number in 2..3_000 {
            visitors.overlay(address(number), 3 * REMEMBERED_SECS);
        }
        assert!(visitors.len() <= MAX_ATTACKERS);
        let six = |text: &str| visitors.overlay(text.parse().unwrap(), 0);
        assert!(Arc::ptr_eq(&six("2001:db8::1"), &six("2001:db8::2")));
    }

    #[test]
    fn the_bytes_of_all_are_bounded() {
        let visitors = Visitors::default();
        for number in 0..40 {
            let overlay = visitors.overlay(address(number), i64::from(number));
            let content = super::super::node::Content::Bytes(Arc::new(vec![0; 3 * 1024 * 1024]));
            let node = Node::new(Kind::File(content), 0o644, 0);
            overlay.lock().unwrap().put("/tmp/x", node).unwrap();
        }
        assert!(visitors.len() < 25, "{}", visitors.len());
    }
}
