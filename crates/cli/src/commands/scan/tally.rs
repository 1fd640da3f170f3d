//! What is added up of all sightings, in any order: who tried what, how often,
//! from when to when.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::fast::{FixedState, RandomState};
use palisade_event::{EventKind, Outcome, Timestamp};
use palisade_rules::Sighting;

use super::pieces::Pieces;

/// Login names of an address that are counted exactly; beyond them their number
/// is estimated from the smallest hashes (the k-minimum-values sketch).
const EXACT_USERS: usize = 64;
/// Login names of an address that are kept as text.
pub(super) const KEPT_USERS: usize = 8;
/// Longest part of a login name that is kept, in bytes.
const MAX_USER_BYTES: usize = 64;
/// Places that a list of names grows by.
const MORE_USERS: usize = 8;
/// Most addresses; more are counted and left out.
const MAX_ADDRESSES: usize = 2_000_000;

/// Sightings that are added together: memory is asked for all of them at once.
const TOGETHER: usize = 64;

/// Where the sums of an address are. Whose addresses they are, the seed of the
/// hash is not for them to know.
#[derive(Default)]
struct Places {
    v4: HashMap<u32, u32, RandomState>,
    v6: HashMap<u128, u32, RandomState>,
}

impl Places {
    #[inline]
    fn get(&self, address: IpAddr) -> Option<usize> {
        let place = match address {
            IpAddr::V4(v4) => self.v4.get(&v4.to_bits()),
            IpAddr::V6(v6) => self.v6.get(&v6.to_bits()),
        };
        place.map(|place| *place as usize)
    }

    fn insert(&mut self, address: IpAddr, place: usize) {
        // There are at most MAX_ADDRESSES.
        let place = place as u32;
        match address {
            IpAddr::V4(v4) => self.v4.insert(v4.to_bits(), place),
            IpAddr::V6(v6) => self.v6.insert(v6.to_bits(), place),
        };
    }
}

/// What a login name is told by: two that share it count as one.
#[inline]
fn hash(user: &[u8]) -> u32 {
    (FixedState::default().hash_one(user) >> 32) as u32
}

/// Login names by their hash: those that some address shows. `None` where two
/// share it: neither is shown, whichever came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(HashMap<u32, Option<Box<[u8]>>, FixedState>);

impl Names {
    fn keep(&mut self, hash: u32, kept: &[u8]) {
        let known = self.0.entry(hash).or_insert_with(|| Some(kept.into()));
        known.take_if(|known| **known != *kept);
    }

    fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (hash, name) in other.0 {
            let known = self.0.entry(hash).or_insert_with(|| name.clone());
            known.take_if(|known| name.as_ref() != Some(known));
        }
    }
}

/// Sums over a log.
#[derive(Default)]
pub(super) struct Tally {
    places: Places,
    attackers: Pieces<Attacker>,
    pub(super) names: Names,
    pub(super) lines: u64,
    pub(super) unparsed: u64,
    pub(super) sightings: u64,
    pub(super) left_out: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    waiting: Waiting,
}

/// Sightings that are not added yet.
#[derive(Default)]
struct Waiting {
    notes: Vec<Note>,
    /// Login names of them, one after the other.
    text: Vec<u8>,
}

/// What is added of a sighting.
#[derive(Clone, Copy)]
struct Note {
    address: IpAddr,
    at: Timestamp,
    times: u32,
    what: What,
    /// Its hash, and the bytes that would be kept.
    user: Option<(u32, (u32, u32))>,
}

/// What a sighting is counted as.
#[derive(Clone, Copy)]
enum What {
    Failed,
    Accepted,
    Probe,
    Request,
}

/// How many of each. Which it is differs from one sighting to the next, so that
/// it is a place and not a choice: a processor takes the wrong one of four often.
#[derive(Clone, Copy, Debug, Default)]
struct Each([u64; 4]);

impl Each {
    #[inline]
    fn of(&self, what: What) -> u64 {
        self.0.get(what as usize).copied().unwrap_or(0)
    }

    #[inline]
    fn add(&mut self, what: What, times: u64) {
        if let Some(count) = self.0.get_mut(what as usize) {
            *count += times;
        }
    }
}

impl What {
    fn of(sighting: &Sighting<'_>) -> Self {
        match (sighting.kind, sighting.outcome) {
            (EventKind::AuthAttempted, Some(Outcome::Accepted)) => Self::Accepted,
            (EventKind::AuthAttempted, _) => Self::Failed,
            (EventKind::HttpRequested | EventKind::RequestAnswered, _) => Self::Request,
            _ => Self::Probe,
        }
    }
}

/// What one address did.
#[derive(Clone, Debug)]
pub(super) struct Attacker {
    pub(super) address: IpAddr,
    counts: Each,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) users: Users,
}

impl Attacker {
    fn new(address: IpAddr, at: Timestamp) -> Self {
        Self { address, counts: Each::default(), first: at, last: at, users: Users::default() }
    }

    /// Failed logins.
    pub(super) fn failed(&self) -> u64 {
        self.counts.of(What::Failed)
    }

    /// Successful logins.
    pub(super) fn accepted(&self) -> u64 {
        self.counts.of(What::Accepted)
    }

    /// Names probed, connections without a login.
    pub(super) fn probes(&self) -> u64 {
        self.counts.of(What::Probe)
    }

    /// Requests to web servers.
    pub(super) fn requests(&self) -> u64 {
        self.counts.of(What::Request)
    }

    /// Whether anything of it is what an attacker does.
    pub(super) fn is_suspect(&self) -> bool {
        self.failed() > 0 || self.probes() > 0
    }

    #[inline]
    fn add(&mut self, note: &Note, text: &[u8], names: &mut Names) {
        self.first = self.first.min(note.at);
        self.last = self.last.max(note.at);
        self.counts.add(note.what, u64::from(note.times));
        if let Some((hash, (from, to))) = note.user {
            self.users.note(hash, text.get(from as usize..to as usize).unwrap_or_default(), names);
        }
    }

    fn merge(&mut self, other: Self) {
        for what in [What::Failed, What::Accepted, What::Probe, What::Request] {
            self.counts.add(what, other.counts.of(what));
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.users.merge(other.users);
    }
}

impl Tally {
    /// Notes a sighting; `is_hit` where a scenario looks at it. Who asks a web
    /// server for what is there is no attacker and not remembered. It is added
    /// with others, by [`Tally::add`] at the latest.
    #[inline]
    pub(super) fn note(&mut self, sighting: &Sighting<'_>, is_hit: bool) {
        self.sightings += 1;
        let at = sighting.at;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let Some(address) = sighting.source else { return };
        if sighting.kind == EventKind::RequestAnswered && !is_hit {
            return;
        }
        let what = What::of(sighting);
        let user = sighting.user.filter(|_| !matches!(what, What::Accepted)).map(|user| {
            let from = self.waiting.text.len() as u32;
            self.waiting.text.extend_from_slice(user.get(..MAX_USER_BYTES).unwrap_or(user));
            (hash(user), (from, self.waiting.text.len() as u32))
        });
        self.waiting.notes.push(Note { address, at, times: sighting.repeat, what, user });
        if self.waiting.notes.len() >= TOGETHER {
            self.add();
        }
    }

    /// Adds what was noted: first all look for their places, then for the sums
    /// there, so that each waits for memory while the others do.
    pub(super) fn add(&mut self) {
        let Waiting { mut notes, mut text } = std::mem::take(&mut self.waiting);
        let mut places = [None; TOGETHER];
        for (place, note) in places.iter_mut().zip(&notes) {
            *place = self.places.get(note.address);
        }
        let mut seen = 0;
        let known = |place: &Option<usize>| place.and_then(|place| self.attackers.get(place));
        // Nothing is decided by what is read here: that would wait for it.
        for attacker in places.iter().filter_map(known) {
            seen ^= attacker.failed() as u32 ^ attacker.users.bound;
        }
        for (place, note) in places.iter().zip(&notes) {
            if let (Some(attacker), Some((hash, _))) = (known(place), note.user) {
                seen ^= attacker.users.touch(hash);
            }
        }
        // What was touched must not look unused.
        std::hint::black_box(seen);
        for (place, note) in places.into_iter().zip(&notes) {
            // A new address may be there twice.
            let known = place.or_else(|| self.places.get(note.address));
            let place = match known {
                Some(place) => place,
                None if self.attackers.len() >= MAX_ADDRESSES => {
                    self.left_out += 1;
                    continue;
                }
                None => self.place_of_new(Attacker::new(note.address, note.at)),
            };
            if let Some(attacker) = self.attackers.get_mut(place) {
                attacker.add(note, &text, &mut self.names);
            }
        }
        notes.clear();
        text.clear();
        self.waiting = Waiting { notes, text };
    }

    fn place_of_new(&mut self, attacker: Attacker) -> usize {
        let place = self.attackers.len();
        self.places.insert(attacker.address, place);
        self.attackers.push(attacker);
        place
    }

    /// The place of what an address did.
    pub(super) fn place_of(&self, address: IpAddr) -> Option<usize> {
        self.places.get(address)
    }

    /// What each address did.
    pub(super) fn attackers(&self) -> &Pieces<Attacker> {
        &self.attackers
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: Self) {
        self.names.merge(other.names);
        if self.attackers.len() == 0 {
            (self.places, self.attackers) = (other.places, other.attackers);
        } else {
            for attacker in other.attackers {
                let place = self.places.get(attacker.address);
                match place.and_then(|place| self.attackers.get_mut(place)) {
                    Some(known) => known.merge(attacker),
                    None => {
                        self.place_of_new(attacker);
                    }
                }
            }
        }
        self.lines += other.lines;
        self.unparsed += other.unparsed;
        self.sightings += other.sightings;
        self.left_out += other.left_out;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = [self.last, other.last].into_iter().flatten().max();
    }
}

/// Different login names: those with the smallest hashes, so that the same names
/// give the same answer in whatever order they come.
#[derive(Clone, Debug)]
pub(super) struct Users {
    /// The name before this one; many try the same one again.
    last: Option<u32>,
    /// Hashes from here on are not kept: there are enough smaller ones.
    bound: u32,
    /// In their order. The texts of the first [`KEPT_USERS`] are kept.
    hashes: Vec<u32>,
}

impl Default for Users {
    fn default() -> Self {
        Self { last: None, bound: u32::MAX, hashes: Vec::new() }
    }
}

impl Users {
    /// Notes a name by its hash; `kept` is the part of it that would be kept.
    #[inline]
    fn note(&mut self, hash: u32, kept: &[u8], names: &mut Names) {
        if self.last == Some(hash) || hash >= self.bound {
            return;
        }
        self.last = Some(hash);
        if self.insert(hash).is_some_and(|place| place < KEPT_USERS) {
            names.keep(hash, kept);
        }
    }

    /// Reads where a name would be looked for; means nothing.
    #[inline]
    fn touch(&self, hash: u32) -> u32 {
        if self.last == Some(hash) || hash >= self.bound {
            return 0;
        }
        self.hashes.get(self.hashes.len() / 2).copied().unwrap_or(0)
    }

    /// The place of a hash that was not there.
    #[inline]
    fn insert(&mut self, hash: u32) -> Option<usize> {
        let place = self.hashes.binary_search(&hash).err()?;
        if place >= EXACT_USERS {
            return None;
        }
        if self.hashes.len() >= EXACT_USERS {
            self.hashes.pop();
        }
        if self.hashes.len() == self.hashes.capacity() {
            // There are many such lists: what is twice as long is half empty.
            self.hashes.reserve_exact(MORE_USERS);
        }
        self.hashes.insert(place, hash);
        if self.hashes.len() >= EXACT_USERS {
            self.bound = self.hashes.last().copied().unwrap_or(u32::MAX);
        }
        Some(place)
    }

    fn merge(&mut self, other: Self) {
        for hash in other.hashes {
            self.insert(hash);
        }
    }

    /// How many; exact up to [`EXACT_USERS`], about right beyond.
    pub(super) fn count(&self) -> u64 {
        match self.hashes.last() {
            Some(largest) if self.hashes.len() >= EXACT_USERS => {
                let part = (f64::from(*largest) + 1.0) / f64::from(u32::MAX);
                ((EXACT_USERS - 1) as f64 / part).round() as u64
            }
            _ => self.hashes.len() as u64,
        }
    }

    /// Some of them, in the order of the alphabet.
    pub(super) fn names<'n>(&self, names: &'n Names) -> Vec<&'n [u8]> {
        let kept = self.hashes.iter().take(KEPT_USERS);
        let mut names: Vec<&[u8]> = kept.filter_map(|hash| names.0.get(hash)?.as_deref()).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panic")]

    use super::*;

    fn users(range: impl Iterator<Item = u32>) -> (Users, Names) {
        let (mut users, mut names) = (Users::default(), Names::default());
        range.for_each(|n| {
            let name = format!("user{n}");
            users.note(hash(name.as_bytes()), name.as_bytes(), &mut names);
        });
        (users, names)
    }

    #[test]
    fn the_same_names_give_the_same_answer_in_any_order() {
        let (whole, names) = users(0..500);
        let (backwards, other) = users((0..500).rev());
        assert_eq!(backwards.hashes, whole.hashes);
        assert_eq!(backwards.names(&other), whole.names(&names));
        let (mut parts, mut known) = users(300..500);
        let (more, others) = users(0..301);
        parts.merge(more);
        known.merge(others);
        assert_eq!(parts.hashes, whole.hashes);
        assert_eq!(parts.names(&known), whole.names(&names));
        assert_eq!(whole.names(&names).len(), KEPT_USERS);
    }

    #[test]
    fn of_two_names_that_cannot_be_told_apart_neither_is_shown() {
        let keep = |all: &[(u32, &[u8])]| {
            let mut names = Names::default();
            all.iter().for_each(|(hash, name)| names.keep(*hash, name));
            names
        };
        let users = Users { hashes: vec![3, 7], ..Users::default() };
        let one = keep(&[(7, b"root"), (3, b"admin"), (7, b"root")]);
        assert_eq!(users.names(&one), [&b"admin"[..], b"root"]);
        let both = keep(&[(7, b"root"), (7, b"git"), (7, b"root"), (3, b"admin")]);
        assert_eq!(users.names(&both), [b"admin"]);
        let mut merged = one;
        merged.merge(keep(&[(7, b"git")]));
        assert_eq!(merged, both);
        merged.merge(keep(&[(7, b"git"), (3, b"admin")]));
        assert_eq!(merged, both);
    }

    #[test]
    fn few_names_are_counted_exactly_and_many_about() {
        assert_eq!(users(0..0).0.count(), 0);
        assert_eq!(users((0..63).chain(0..63)).0.count(), 63);
        let many = users(0..10_000).0.count();
        assert!((6_000..15_000).contains(&many), "{many}");
    }
}
