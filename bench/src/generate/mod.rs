//! Attacks as honeypots and servers see them, made up but in the proportions
//! of real ones, the same for every run: event `i` is a function of seed,
//! number of events and `i` alone, so any part can be made by itself.
//!
//! `rhythm` says when, `places` from where, `words` with what; [`Attacks::draft`]
//! draws an event as numbers, `event` makes the [`Event`] of it, `rows` the line
//! that other databases load.

mod access;
mod event;
mod log;
mod places;
mod rhythm;
pub(crate) mod rows;
mod sessions;
mod words;

use palisade_event::{Event, EventKind, Timestamp};

pub(crate) use access::access_log;
pub(crate) use log::{auth_log, mixed_log};
use places::Places;
use rhythm::Rhythm;
pub(crate) use sessions::auth_log as auth_sessions;
pub(crate) use words::RARE;
use words::{CATEGORIES, Flow, Words};

/// Addresses that are at work at one time.
const SOURCES: u64 = 200_000;
/// Longest life of an address in days; then another takes its place.
const MAX_LIFE_DAYS: u64 = 30;
/// Sensors; one in five is private.
const SENSORS: u64 = 60;
/// Sessions that go on at the same time, one a lane.
const LANES: u64 = 64;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, 2014): small, seeded, good enough for skew.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finish(self.0)
    }

    /// Below `n`, small values much more often.
    pub(crate) fn skewed(&mut self, n: u64) -> u64 {
        let unit = unit(self.next());
        ((unit * unit * unit) * n as f64) as u64
    }
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Two numbers, well mixed.
fn mix(a: u64, b: u64) -> u64 {
    finish(a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ finish(b.wrapping_add(0x632b_e59b_d9b4_e019)))
}

/// In `[0, 1)`.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// A rank below `n` by Zipf's law with exponent 1: rank `r` about as often as `1 / (r + 1)`.
fn zipf(random: u64, n: u64) -> u64 {
    let rank = ((n as f64 + 1.0).ln() * unit(random)).exp() as u64;
    rank.saturating_sub(1).min(n.saturating_sub(1))
}

/// An event as numbers.
#[derive(Clone, Copy)]
pub(crate) struct Draft {
    pub(super) at: i64,
    pub(super) delay_ms: i64,
    pub(super) session: u64,
    pub(super) step: u64,
    pub(super) last: bool,
    pub(super) kind: EventKind,
    pub(super) sensor: u64,
    pub(super) category: u64,
    pub(super) identity: u64,
    pub(super) random: u64,
}

/// Thirty days, or others, of attacks.
pub(crate) struct Attacks {
    seed: u64,
    total: u64,
    rhythm: Rhythm,
    places: Places,
    words: Words,
}

impl Attacks {
    /// `total` events over the `days` before `end`.
    pub(crate) fn new(seed: u64, total: u64, end: Timestamp, days: u32) -> anyhow::Result<Self> {
        Ok(Self {
            seed,
            total: total.max(1),
            rhythm: Rhythm::new(seed, end, days),
            places: Places::new(),
            words: Words::new()?,
        })
    }

    /// Event number `i` as numbers.
    pub(crate) fn draft(&self, i: u64) -> Draft {
        let when = |i: u64| self.rhythm.at(i as f64 / self.total as f64);
        let (lane, turn) = (i % LANES, i / LANES);
        // Most sessions are a lone probe, few go on for hundreds of attempts.
        let length = match lane {
            0..24 => 1,
            24..40 => 3,
            40..54 => 8,
            54..62 => 24,
            _ => 200,
        };
        let (number, step) = (turn / length, turn % length);
        let session = mix(self.seed ^ lane, number);
        let random = mix(self.seed.rotate_left(17), i);
        let begun = when(number * length * LANES + lane);
        let rank = zipf(mix(session, 1), SOURCES);
        let life = 1 + mix(rank, 2) % MAX_LIFE_DAYS;
        let day = begun.div_euclid(86_400_000) as u64;
        let identity = mix(rank, 3 + (day + rank % life) / life);
        // What an attacker does depends on who it is, most of the time.
        let taste = if mix(session, 4).is_multiple_of(4) { session } else { identity };
        let category = zipf(mix(taste, 5), CATEGORIES.len() as u64);
        let flow = CATEGORIES.get(category as usize).map_or(Flow::Probe, |kind| kind.flow);
        let last = step + 1 == length;
        Draft {
            at: when(i),
            delay_ms: 5 + (zipf(random, 2_000) as i64),
            session,
            step,
            last,
            kind: flow.kind(step, last, length),
            sensor: zipf(mix(session, 6), SENSORS),
            category,
            identity,
            random,
        }
    }

    /// Event number `i`.
    pub(crate) fn event(&self, i: u64) -> Option<Event> {
        event::make(&self.draft(i), &self.places, &self.words)
    }

    /// Events of a range, in order of time.
    pub(crate) fn events(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = Event> + '_ {
        range.filter_map(|i| self.event(i))
    }
}
