//! What is asked of the ready aggregates: which questions are always kept, which
//! are asked again and again, and how often files answered.

use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use palisade_event::{Day, Domain};
use siphasher::sip::SipHasher13;

use super::super::aggregate::MAX_RUNNING;
use super::super::lock;
use super::super::segment::Segment;
use super::Ask;
use super::keep::Kept;
use super::memory::Budget;
use crate::query::{Field, Filter, TimeRange};

/// Questions that are remembered to see which come again.
const MAX_WISHES: usize = 256;
/// How often a question must have been slow before its answers are kept.
const ASKED_AGAIN: u32 = 2;

/// When answers are kept. Not a setting: tests use small numbers.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct ReadyOptions {
    /// Segments with fewer events are counted faster than looked up.
    pub min_events: u32,
    /// A question is slow from here on, in milliseconds.
    pub slow_ms: u64,
    /// Of segments with fewer events than this nothing is remembered either.
    pub min_remembered: u32,
    /// Of segments with fewer events than this the part that a range cuts is
    /// counted each time.
    pub min_sliced: u32,
    /// Bytes of memory that answers of smaller segments, and of parts of larger
    /// ones, may take.
    pub memory_bytes: u64,
    /// Bytes on disk that answers to questions that came again may take.
    pub max_asked_bytes: u64,
    /// Fewer counts than this are all added up, as fast as finding the largest.
    pub few_counts: usize,
    /// Bytes that one of the two threads of an aggregation may take for what it
    /// counts, before that is divided into shares.
    pub tally_bytes: usize,
}

impl Default for ReadyOptions {
    fn default() -> Self {
        Self {
            min_events: 50_000,
            slow_ms: 20,
            min_remembered: 64,
            min_sliced: 20_000,
            memory_bytes: 48 * 1024 * 1024,
            max_asked_bytes: 256 * 1024 * 1024,
            few_counts: 20_000,
            tally_bytes: 40 * 1024 * 1024,
        }
    }
}

/// A question that was slow.
struct Wish {
    ask: Ask,
    times: u32,
    used: u64,
    range: TimeRange,
}

#[derive(Default)]
struct Wishes {
    all: Vec<Wish>,
    clock: u64,
}

/// Where questions come in.
pub(in crate::embedded) struct Desk {
    pub(in crate::embedded) options: ReadyOptions,
    running: Mutex<usize>,
    ended: Condvar,
    answered: AtomicU64,
    scanned: AtomicU64,
    wishes: Mutex<Wishes>,
    /// What small segments remember.
    pub(super) memory: Arc<Budget>,
    /// What is on disk; held while a file is made.
    pub(super) kept: Mutex<Kept>,
    pub(super) bytes: AtomicU64,
    /// Raised when a question becomes one that is kept.
    pub(super) news: AtomicU64,
}

/// A turn to aggregate; ends when it is dropped.
pub(in crate::embedded) struct Turn<'a>(&'a Desk);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.ended.notify_one();
    }
}

impl Desk {
    pub(in crate::embedded) fn new(options: ReadyOptions) -> Self {
        Self {
            options,
            running: Mutex::new(0),
            ended: Condvar::new(),
            answered: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            wishes: Mutex::default(),
            memory: Arc::default(),
            kept: Mutex::default(),
            bytes: AtomicU64::new(0),
            news: AtomicU64::new(0),
        }
    }

    /// Waits for a turn to aggregate.
    pub(in crate::embedded) fn turn(&self) -> Turn<'_> {
        let mut running = lock(&self.running);
        while *running >= MAX_RUNNING {
            running = self.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Turn(self)
    }

    /// Counts a segment that a file answered for.
    pub(in crate::embedded) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a segment whose events are counted; `false` where it is too small
    /// for a file.
    pub(in crate::embedded) fn scanned(&self, segment: &Segment) -> bool {
        let is_large = segment.docs() >= self.options.min_events;
        if is_large {
            self.scanned.fetch_add(1, Ordering::Relaxed);
        }
        is_large
    }

    /// How often a file answered for a segment, how often the events of one that
    /// is large enough for a file were counted, and bytes of all files.
    pub(in crate::embedded) fn figures(&self) -> (u64, u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (read(&self.answered), read(&self.scanned), read(&self.bytes))
    }

    /// Remembers a question that no file answered.
    pub(in crate::embedded) fn note(&self, ask: Ask, range: TimeRange, took: Duration) {
        if took < Duration::from_millis(self.options.slow_ms) {
            return;
        }
        let mut wishes = lock(&self.wishes);
        wishes.clock += 1;
        let clock = wishes.clock;
        let is_same = |wish: &&mut Wish| wish.ask.is_same(&ask);
        if let Some(wish) = wishes.all.iter_mut().find(is_same) {
            wish.times += 1;
            wish.used = clock;
            wish.range = TimeRange {
                from: wish.range.from.zip(range.from).map(|(a, b)| a.min(b)),
                to: wish.range.to.zip(range.to).map(|(a, b)| a.max(b)),
            };
            if wish.times >= ASKED_AGAIN {
                self.news.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        if wishes.all.len() >= MAX_WISHES {
            let oldest = wishes.all.iter().enumerate().min_by_key(|(_, wish)| wish.used);
            if let Some(place) = oldest.map(|(place, _)| place) {
                wishes.all.swap_remove(place);
            }
        }
        wishes.all.push(Wish { ask, times: 1, used: clock, range });
    }

    /// The questions that came again and whose range reaches into a day.
    pub(super) fn wanted(&self, day: Day) -> Vec<Ask> {
        let wishes = lock(&self.wishes);
        let wanted =
            wishes.all.iter().filter(|wish| wish.times >= ASKED_AGAIN && wish.range.reaches(day));
        wanted.map(|wish| wish.ask.clone()).collect()
    }

    /// Of these questions, the one that was not slow for longest.
    pub(super) fn oldest<'a>(&self, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let wishes = lock(&self.wishes);
        let used = |name: &&str| {
            wishes.all.iter().find(|wish| wish.ask.name() == **name).map_or(0, |wish| wish.used)
        };
        names.min_by_key(used)
    }

    /// Forgets a question.
    pub(super) fn forget(&self, name: &str) {
        lock(&self.wishes).all.retain(|wish| wish.ask.name() != name);
    }
}

impl Ask {
    fn is_same(&self, other: &Self) -> bool {
        self.text == other.text && self.fields == other.fields
    }

    /// A short name for files.
    pub(super) fn name(&self) -> String {
        let mut hasher = SipHasher13::new();
        hasher.write(self.text.as_bytes());
        for field in &self.fields {
            hasher.write(b"\0");
            hasher.write(field.name().as_bytes());
        }
        format!("{:016x}", hasher.finish())
    }
}

/// The questions that are always kept: those of the page, and for who sees the
/// community's events only, those of the old dialects. Others are kept once they
/// were asked again.
pub(super) fn always() -> Vec<Ask> {
    let everybody = [
        Field::Kind,
        Field::Domain,
        Field::Category,
        Field::Sensor,
        Field::Host,
        Field::Country,
        Field::TargetCountry,
        Field::Location,
        Field::Port,
        Field::Transport,
        Field::Outcome,
        Field::Request,
    ];
    let page =
        [Field::Asn, Field::Cve, Field::Ip, Field::User, Field::Password, Field::Client].as_slice();
    let community = Filter::In(Field::Domain, vec![Domain::Community.as_str().to_owned()]);
    let web = Filter::In(Field::Category, vec!["Webpage".to_owned()]);
    let mut asks = Vec::new();
    for (filter, more) in [(Filter::All, page), (community.clone(), &[])] {
        let singles = everybody.iter().chain(more).map(|field| vec![*field]);
        let others = [Vec::new(), vec![Field::Category, Field::Host]];
        asks.extend(singles.chain(others).filter_map(|fields| Ask::new(&filter, fields)));
    }
    asks.extend(Ask::new(&Filter::All, vec![Field::User, Field::Password]));
    asks.extend(Ask::new(&Filter::And(vec![community, web]), vec![Field::Request]));
    asks
}
