//! What is added up of all sightings, in any order: who tried what, how often,
//! from when to when.

use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::RandomState;
use palisade_event::{EventKind, Outcome, Timestamp};
use palisade_rules::{Index, Sighting};

use super::pieces::Pieces;
use super::users::{self, Lists, Users};

/// Longest part of a login name that is kept, in bytes.
const MAX_USER_BYTES: usize = 64;
/// Most addresses; more are counted and left out.
const MAX_ADDRESSES: usize = 2_000_000;
/// Sightings that are added together: memory is asked for ahead.
const TOGETHER: usize = 256;
/// Sightings that take a step of being added one right after the other. While so many
/// are added, memory has answered the next ones.
const STEP: usize = 8;

/// Sums over a log.
#[derive(Default)]
pub(super) struct Tally {
    /// Places of addresses. Whose they are, the seed of the hash is not for them to
    /// know.
    places: Index,
    seed: RandomState,
    attackers: Pieces<Attacker>,
    lists: Lists,
    pub(super) lines: u64,
    pub(super) unparsed: u64,
    pub(super) sightings: u64,
    /// What addresses did that are left out, because there are too many.
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
    key: u128,
    /// Of the key.
    hash: u64,
    /// Where the sums may be.
    guess: Option<u32>,
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
/// Four billion are as many as there can be.
#[derive(Clone, Copy, Debug, Default)]
struct Each([u32; 4]);

impl Each {
    #[inline]
    fn of(&self, what: What) -> u64 {
        self.0.get(what as usize).copied().unwrap_or(0).into()
    }

    #[inline]
    fn add(&mut self, what: What, times: u32) {
        if let Some(count) = self.0.get_mut(what as usize) {
            *count = count.saturating_add(times);
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

/// What one address did: a line of the processor's cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Attacker {
    key: u128,
    counts: Each,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    users: Users,
}

const _: () = assert!(size_of::<Attacker>() == 64);

/// An address as a number: IPv4 as IPv6 has it (RFC 4291, 2.5.5.2).
#[inline]
fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Attacker {
    fn new(key: u128, at: Timestamp) -> Self {
        Self { key, counts: Each::default(), first: at, last: at, users: Users::default() }
    }

    pub(super) fn address(&self) -> IpAddr {
        Ipv6Addr::from_bits(self.key).to_canonical()
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

    /// Adds another sum of the same address, whose users are in other lists.
    fn merge(&mut self, lists: &mut Lists, (others, other): (&Lists, &Self)) {
        for (sum, other) in self.counts.0.iter_mut().zip(other.counts.0) {
            *sum = sum.saturating_add(other);
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        lists.merge(&mut self.users, (others, &other.users));
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
            (users::hash(user), (from, self.waiting.text.len() as u32))
        });
        let key = key(address);
        let hash = self.seed.hash_one(key);
        self.places.ask(hash);
        let times = sighting.repeat;
        self.waiting.notes.push(Note { key, hash, guess: None, at, times, what, user });
        if self.waiting.notes.len() >= TOGETHER {
            self.add();
        }
    }

    /// Adds what was noted: while some are added, the lists of users of the next ones
    /// come from memory, and the sums of those after them. Nobody waits.
    pub(super) fn add(&mut self) {
        let Waiting { mut notes, mut text } = std::mem::take(&mut self.waiting);
        let end = notes.len();
        for from in (0..end + 2 * STEP).step_by(STEP) {
            let step = |behind: usize| {
                let from = from.checked_sub(behind * STEP)?;
                Some(from..(from + STEP).min(end))
            };
            for note in step(0).and_then(|step| notes.get_mut(step)).unwrap_or_default() {
                note.guess = self.places.guess(note.hash);
                if let Some(place) = note.guess {
                    self.attackers.ask(place as usize);
                }
            }
            for note in step(1).and_then(|step| notes.get(step)).unwrap_or_default() {
                let attacker = note.guess.and_then(|place| self.attackers.get(place as usize));
                if let (Some((hash, _)), Some(attacker)) = (note.user, attacker) {
                    self.lists.ask(&attacker.users, hash);
                }
            }
            for note in step(2).and_then(|step| notes.get(step)).unwrap_or_default() {
                self.add_one(note, &text);
            }
        }
        notes.clear();
        text.clear();
        self.waiting = Waiting { notes, text };
    }

    #[inline]
    fn add_one(&mut self, note: &Note, text: &[u8]) {
        let guess = note.guess.filter(|place| self.is_at(*place, note.key));
        // A new address may be there twice.
        let place = match guess.or_else(|| self.place(note.key, note.hash)) {
            Some(place) => place as usize,
            None if self.attackers.len() >= MAX_ADDRESSES => {
                self.left_out += u64::from(note.times);
                return;
            }
            None => self.push(note.hash, Attacker::new(note.key, note.at)),
        };
        let Some(attacker) = self.attackers.get_mut(place) else { return };
        attacker.first = attacker.first.min(note.at);
        attacker.last = attacker.last.max(note.at);
        attacker.counts.add(note.what, note.times);
        if let Some((hash, (from, to))) = note.user {
            let kept = text.get(from as usize..to as usize).unwrap_or_default();
            self.lists.note(&mut attacker.users, hash, kept);
        }
    }

    /// Puts in sums of an address that has none; gives their place.
    fn push(&mut self, hash: u64, attacker: Attacker) -> usize {
        let place = self.attackers.len();
        // There are at most MAX_ADDRESSES.
        let number = place as u32;
        if !self.places.has_room(number) {
            let hashes = self.attackers.iter().map(|known| self.seed.hash_one(known.key));
            self.places.grow(hashes.zip(0..));
        }
        self.places.insert(hash, number);
        self.attackers.push(attacker);
        place
    }

    /// The place of what an address did.
    pub(super) fn place_of(&self, address: IpAddr) -> Option<usize> {
        let key = key(address);
        self.place(key, self.seed.hash_one(key)).map(|place| place as usize)
    }

    #[inline]
    fn place(&self, key: u128, hash: u64) -> Option<u32> {
        self.places.find(hash, |place| self.is_at(place, key))
    }

    #[inline]
    fn is_at(&self, place: u32, key: u128) -> bool {
        self.attackers.get(place as usize).is_some_and(|known| known.key == key)
    }

    /// What each address did.
    pub(super) fn attackers(&self) -> &Pieces<Attacker> {
        &self.attackers
    }

    /// How many different login names an address tried; about right where they are
    /// many.
    pub(super) fn count_users(&self, attacker: &Attacker) -> u64 {
        self.lists.count(&attacker.users)
    }

    /// Some of the login names that an address tried, in the order of the alphabet.
    pub(super) fn users(&self, attacker: &Attacker) -> Vec<&[u8]> {
        self.lists.names(&attacker.users)
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, mut other: Self) {
        if self.attackers.len() == 0 {
            std::mem::swap(&mut self.places, &mut other.places);
            std::mem::swap(&mut self.seed, &mut other.seed);
            std::mem::swap(&mut self.attackers, &mut other.attackers);
            std::mem::swap(&mut self.lists, &mut other.lists);
        }
        self.lists.merge_names(std::mem::take(&mut other.lists.names));
        for theirs in other.attackers.iter() {
            let hash = self.seed.hash_one(theirs.key);
            let place = match self.place(theirs.key, hash) {
                Some(place) => place as usize,
                None if self.attackers.len() >= MAX_ADDRESSES => {
                    self.left_out += theirs.counts.0.iter().copied().map(u64::from).sum::<u64>();
                    continue;
                }
                None => self.push(hash, Attacker::new(theirs.key, theirs.first)),
            };
            if let Some(attacker) = self.attackers.get_mut(place) {
                attacker.merge(&mut self.lists, (&other.lists, theirs));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panic")]

    use std::collections::BTreeMap;

    use super::*;

    fn failed(address: IpAddr, user: &[u8], at: i64) -> Sighting<'_> {
        Sighting {
            source: Some(address),
            user: Some(user),
            outcome: Some(Outcome::Failed),
            ..Sighting::new(EventKind::AuthAttempted, Timestamp::from_millis(at), "sshd")
        }
    }

    /// Address, how often, from when to when, different login names and some of them.
    type Sums = BTreeMap<IpAddr, (u64, i64, i64, u64, Vec<Vec<u8>>)>;

    fn sums(tally: &Tally) -> Sums {
        let sums = tally.attackers().iter().map(|one| {
            assert_eq!(
                tally.attackers().get(tally.place_of(one.address()).unwrap()).unwrap().key,
                one.key
            );
            let names = tally.users(one).into_iter().map(<[u8]>::to_vec).collect();
            let (first, last) = (one.first.as_millis(), one.last.as_millis());
            (one.address(), (one.failed(), first, last, tally.count_users(one), names))
        });
        sums.collect()
    }

    #[test]
    fn what_is_added_together_or_by_several_is_what_one_by_one_makes() {
        let (mut together, mut single) = (Tally::default(), Tally::default());
        let mut several = [Tally::default(), Tally::default(), Tally::default()];
        for turn in 0..9_000_u32 {
            let number = turn.wrapping_mul(2_654_435_761) >> 21;
            let address = match number % 3 {
                0 => Ipv6Addr::from_bits(1 << 100 | u128::from(number)).into(),
                _ => std::net::Ipv4Addr::from_bits(number).into(),
            };
            let user = format!("user{}", turn % 70).into_bytes();
            let sighting = failed(address, &user, i64::from(turn ^ 64));
            together.note(&sighting, true);
            single.note(&sighting, true);
            single.add();
            several[turn as usize % 3].note(&sighting, true);
        }
        together.add();
        let mut merged = Tally::default();
        for mut one in several {
            one.add();
            merged.merge(one);
        }
        let expected = sums(&single);
        assert_eq!(expected.values().map(|one| one.0).sum::<u64>(), 9_000);
        assert!(expected.len() > 1_000, "{}", expected.len());
        assert_eq!(sums(&together), expected);
        assert_eq!(sums(&merged), expected);
        assert_eq!(merged.sightings, 9_000);
    }

    #[test]
    fn an_address_is_the_same_in_both_ways_to_write_it() {
        let mut tally = Tally::default();
        let [v4, mapped] = ["203.0.113.9", "::ffff:203.0.113.9"].map(|text| text.parse().unwrap());
        tally.note(&failed(v4, b"root", 1), true);
        tally.note(&failed(mapped, b"root", 2), true);
        tally.add();
        assert_eq!(sums(&tally), BTreeMap::from([(v4, (2, 1, 2, 1, vec![b"root".to_vec()]))]));
        assert_eq!(tally.place_of(mapped), Some(0));
    }

    #[test]
    fn sums_end_at_their_largest_number() {
        let mut tally = Tally::default();
        let address = "203.0.113.9".parse().unwrap();
        for _ in 0..3 {
            tally.note(&Sighting { repeat: u32::MAX / 2, ..failed(address, b"root", 1) }, true);
        }
        tally.add();
        assert_eq!(tally.attackers().get(0).unwrap().failed(), u64::from(u32::MAX));
    }
}
