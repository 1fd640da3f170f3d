//! What is added up of all sightings, in any order: who tried what, how often,
//! from when to when.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::net::IpAddr;

use foldhash::fast::{FixedState, RandomState};
use palisade_event::{EventKind, Outcome, Timestamp};
use palisade_rules::Sighting;

/// Login names of an address that are counted exactly; beyond them their number
/// is estimated from the smallest hashes (the k-minimum-values sketch).
const EXACT_USERS: usize = 64;
/// Login names of an address that are kept as text.
pub(super) const KEPT_USERS: usize = 8;
/// Longest part of a login name that is kept, in bytes.
const MAX_USER_BYTES: usize = 64;
/// Most addresses; more are counted and left out.
const MAX_ADDRESSES: usize = 2_000_000;

/// An address, hashed as a number or two. Whose addresses they are, the seed of
/// the hash is not for them to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) IpAddr);

impl Hash for Address {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpAddr::V4(v4) => state.write_u32(v4.to_bits()),
            IpAddr::V6(v6) => state.write_u128(v6.to_bits()),
        }
    }
}

/// Login names by their hash: those that some address shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(HashMap<u64, Box<[u8]>, FixedState>);

impl Names {
    fn keep(&mut self, hash: u64, name: &[u8]) {
        let kept = name.get(..MAX_USER_BYTES).unwrap_or(name);
        self.0.entry(hash).or_insert_with(|| kept.into());
    }

    fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (hash, name) in other.0 {
            self.0.entry(hash).or_insert(name);
        }
    }
}

/// Sums over a log.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) addresses: HashMap<Address, Attacker, RandomState>,
    pub(super) names: Names,
    pub(super) lines: u64,
    pub(super) unparsed: u64,
    pub(super) sightings: u64,
    pub(super) left_out: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

/// What one address did.
#[derive(Clone, Debug)]
pub(super) struct Attacker {
    /// Failed logins.
    pub(super) failed: u64,
    /// Successful logins.
    pub(super) accepted: u64,
    /// Names probed, connections without a login.
    pub(super) probes: u64,
    /// Requests to web servers.
    pub(super) requests: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) users: Users,
}

impl Attacker {
    fn new(at: Timestamp) -> Self {
        Self {
            failed: 0,
            accepted: 0,
            probes: 0,
            requests: 0,
            first: at,
            last: at,
            users: Users::default(),
        }
    }

    /// Whether anything of it is what an attacker does.
    pub(super) fn is_suspect(&self) -> bool {
        self.failed > 0 || self.probes > 0
    }

    fn merge(&mut self, other: Self) {
        self.failed += other.failed;
        self.accepted += other.accepted;
        self.probes += other.probes;
        self.requests += other.requests;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.users.merge(other.users);
    }
}

impl Tally {
    /// Adds a sighting; `is_hit` where a scenario looks at it. Who asks a web
    /// server for what is there is no attacker and not remembered.
    #[inline]
    pub(super) fn note(&mut self, sighting: &Sighting<'_>, is_hit: bool) {
        self.sightings += 1;
        let at = sighting.at;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let Some(source) = sighting.source else { return };
        if sighting.kind == EventKind::RequestAnswered && !is_hit {
            return;
        }
        let source = Address(source);
        let full = self.addresses.len() >= MAX_ADDRESSES;
        let attacker = match self.addresses.get_mut(&source) {
            Some(attacker) => attacker,
            None if full => {
                self.left_out += 1;
                return;
            }
            None => self.addresses.entry(source).or_insert_with(|| Attacker::new(at)),
        };
        attacker.first = attacker.first.min(at);
        attacker.last = attacker.last.max(at);
        let times = u64::from(sighting.repeat);
        match (sighting.kind, sighting.outcome) {
            (EventKind::AuthAttempted, Some(Outcome::Accepted)) => attacker.accepted += times,
            (EventKind::AuthAttempted, _) => attacker.failed += times,
            (EventKind::HttpRequested | EventKind::RequestAnswered, _) => {
                attacker.requests += times
            }
            _ => attacker.probes += times,
        }
        if let Some(user) = sighting.user
            && sighting.outcome != Some(Outcome::Accepted)
        {
            attacker.users.note(user, &mut self.names);
        }
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: Self) {
        self.names.merge(other.names);
        if self.addresses.is_empty() {
            self.addresses = other.addresses;
        } else {
            for (address, attacker) in other.addresses {
                match self.addresses.get_mut(&address) {
                    Some(known) => known.merge(attacker),
                    None => {
                        self.addresses.insert(address, attacker);
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
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    /// The name before this one; many try the same one again.
    last: Option<u64>,
    /// In their order. The texts of the first [`KEPT_USERS`] are kept.
    hashes: Vec<u64>,
}

impl Users {
    #[inline]
    fn note(&mut self, user: &[u8], names: &mut Names) {
        let hash = FixedState::default().hash_one(user);
        if self.last == Some(hash) {
            return;
        }
        self.last = Some(hash);
        if self.insert(hash).is_some_and(|place| place < KEPT_USERS) {
            names.keep(hash, user);
        }
    }

    /// The place of a hash that was not there.
    #[inline]
    fn insert(&mut self, hash: u64) -> Option<usize> {
        let place = self.hashes.binary_search(&hash).err()?;
        if place >= EXACT_USERS {
            return None;
        }
        if self.hashes.len() >= EXACT_USERS {
            self.hashes.pop();
        }
        self.hashes.insert(place, hash);
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
                let part = (*largest as f64 + 1.0) / (u64::MAX as f64);
                ((EXACT_USERS - 1) as f64 / part).round() as u64
            }
            _ => self.hashes.len() as u64,
        }
    }

    /// Some of them, in the order of the alphabet.
    pub(super) fn names<'n>(&self, names: &'n Names) -> Vec<&'n [u8]> {
        let kept = self.hashes.iter().take(KEPT_USERS);
        let mut names: Vec<&[u8]> =
            kept.filter_map(|hash| names.0.get(hash).map(|name| &**name)).collect();
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
        range.for_each(|n| users.note(format!("user{n}").as_bytes(), &mut names));
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
    fn few_names_are_counted_exactly_and_many_about() {
        assert_eq!(users(0..0).0.count(), 0);
        assert_eq!(users((0..63).chain(0..63)).0.count(), 63);
        let many = users(0..10_000).0.count();
        assert!((6_000..15_000).contains(&many), "{many}");
    }
}
