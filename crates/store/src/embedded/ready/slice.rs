//! The part of a segment that a range cuts where no unit begins: `since:24h` cuts
//! one at another moment each time it is asked. What lies between a full minute
//! and the next unit (or the segment's end, where it has no units) is counted
//! once and remembered; as the cut moves on, the events of the minutes that it
//! passed are taken away.

use std::cmp::Reverse;
use std::sync::Arc;

use palisade_event::Timestamp;
use tantivy::TantivyError;

use super::super::dimension::numbers;
use super::super::lock;
use super::super::quick::HashMap;
use super::super::segment::Segment;
use super::build::{MAX_ORDER, chunks};
use super::file::{File, Section};
use super::list::Values;
use super::memory::Claim;
use super::{Ask, Desk, Parts};
use crate::query::{Field, TimeRange};

/// Slices begin at multiples of this, in milliseconds.
const MINUTE: i64 = 60_000;
/// A slice that begins so much later than a known one is counted anew.
const FAR_MS: i64 = 2 * 60 * MINUTE;
/// Most slices of a segment; the one unused for longest goes.
const MAX_SLICES: usize = 32;

/// Counts by ascending code, and the largest of them.
pub(super) struct Slice {
    pub(super) range: TimeRange,
    pub(super) counts: Vec<(u32, u64)>,
    /// The largest first, as far as they are kept.
    order: Vec<(u32, u64)>,
    /// All counts together.
    pub(super) sum: u64,
}

impl Slice {
    pub(super) fn new(range: TimeRange, counts: Vec<(u32, u64)>) -> Self {
        let by_count = |entry: &(u32, u64)| (Reverse(entry.1), entry.0);
        let mut order = counts.clone();
        if order.len() > MAX_ORDER {
            order.select_nth_unstable_by_key(MAX_ORDER, by_count);
            order.truncate(MAX_ORDER);
        }
        order.sort_unstable_by_key(by_count);
        order.shrink_to_fit();
        let sum = counts.iter().map(|(_, count)| count).sum();
        Self { range, counts, order, sum }
    }

    /// The count of a code.
    pub(super) fn get(&self, code: u32) -> u64 {
        let place = self.counts.binary_search_by_key(&code, |(code, _)| *code).ok();
        place.and_then(|place| self.counts.get(place)).map_or(0, |(_, count)| *count)
    }

    /// The largest count.
    pub(super) fn most(&self) -> u64 {
        self.order.first().map_or(0, |(_, count)| *count)
    }

    /// Some of the largest counts.
    pub(super) fn largest(&self, most: usize) -> Vec<(u32, u64)> {
        self.order.get(..most).unwrap_or(&self.order).to_vec()
    }

    /// The counts that are at least so large.
    pub(super) fn at_least(&self, least: u64) -> Vec<(u32, u64)> {
        let end = self.order.partition_point(|(_, count)| *count >= least);
        if end < self.order.len() || self.order.len() == self.counts.len() {
            return self.order.get(..end).unwrap_or_default().to_vec();
        }
        self.counts.iter().filter(|(_, count)| *count >= least).copied().collect()
    }

    fn bytes(&self) -> u64 {
        ((self.counts.capacity() + self.order.capacity()) * size_of::<(u32, u64)>()) as u64
    }

    /// The same from a later minute on, where `gone` was counted between.
    fn without(&self, range: TimeRange, gone: &[(u32, u64)]) -> Self {
        let mut gone = gone.iter().peekable();
        let mut left = Vec::with_capacity(self.counts.len());
        for (code, count) in &self.counts {
            while gone.next_if(|(other, _)| other < code).is_some() {}
            let less = gone.next_if(|(other, _)| other == code).map_or(0, |(_, count)| *count);
            if *count > less {
                left.push((*code, count - less));
            }
        }
        left.shrink_to_fit();
        Self::new(range, left)
    }
}

/// A slice that is remembered: of a filter's text and fields, up to an instant.
pub(super) struct Remembered {
    text: String,
    fields: Vec<Field>,
    slice: Arc<Slice>,
    _claim: Claim,
}

/// The first full minute from an instant on.
pub(super) fn minute(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(-(-at.as_millis()).div_euclid(MINUTE) * MINUTE)
}

impl Desk {
    /// Whether the cuts of a segment are worth remembering.
    pub(super) fn slices(&self, segment: &Segment) -> bool {
        segment.docs() >= self.options.min_sliced && self.memory.taken() < self.options.memory_bytes
    }
}

impl Parts {
    /// The counts of a section in a range that begins at a full minute; `None`
    /// where the file is damaged or the events cannot be read.
    pub(super) fn slice(
        &self,
        ask: &Ask,
        range: TimeRange,
        segment: &Segment,
        file: &File,
        place: usize,
        desk: &Desk,
    ) -> Option<Arc<Slice>> {
        let section = file.section(place)?;
        let text = file.filter_of(place)?;
        // Held while counting: whoever comes meanwhile wants the same.
        let mut slices = lock(&self.slices);
        let is_it = |known: &Remembered| {
            known.text == text && known.fields == section.fields && known.slice.range.to == range.to
        };
        let known = slices.iter().position(is_it).map(|place| slices.remove(place));
        let slice = match known {
            Some(known) if known.slice.range == range => {
                let slice = Arc::clone(&known.slice);
                slices.push(known);
                return Some(slice);
            }
            Some(known) if is_near(known.slice.range, range) => {
                let between = TimeRange { from: known.slice.range.from, to: range.from };
                let gone = count(ask, between, segment, &section).ok()??;
                known.slice.without(range, &gone)
            }
            _ => Slice::new(range, count(ask, range, segment, &section).ok()??),
        };
        let slice = Arc::new(slice);
        if slices.len() >= MAX_SLICES {
            slices.remove(0);
        }
        slices.push(Remembered {
            text: text.to_owned(),
            fields: section.fields.to_vec(),
            slice: Arc::clone(&slice),
            _claim: Claim::new(&desk.memory, slice.bytes()),
        });
        Some(slice)
    }
}

/// Whether a known range begins a little earlier.
fn is_near(known: TimeRange, wanted: TimeRange) -> bool {
    known.from.zip(wanted.from).is_some_and(|(known, wanted)| {
        (0..=FAR_MS).contains(&wanted.as_millis().saturating_sub(known.as_millis()))
    })
}

/// Counts by ascending code of a section; inside `None` where it is damaged.
fn count(
    ask: &Ask,
    range: TimeRange,
    segment: &Segment,
    section: &Section<'_>,
) -> Result<Option<Vec<(u32, u64)>>, TantivyError> {
    let mut found: HashMap<u128, u64> = HashMap::default();
    let mut damaged = false;
    chunks(ask, range, segment, |docs| {
        match section.fields {
            [] => *found.entry(0).or_default() += docs.len() as u64,
            [field] => {
                for value in numbers(*field, segment, docs)?.into_iter().flatten() {
                    *found.entry(value).or_default() += 1;
                }
            }
            [first, second, ..] => {
                let pairs = numbers(*first, segment, docs)?
                    .into_iter()
                    .zip(numbers(*second, segment, docs)?);
                for (a, b) in pairs.filter_map(|(a, b)| a.zip(b)) {
                    let code = |place, value| match section.dictionary(place) {
                        Some(values) => values.find(value)?.map(u128::from),
                        None => Some(value),
                    };
                    match code(0, a).zip(code(1, b)) {
                        Some((a, b)) => *found.entry(a << 32 | b).or_default() += 1,
                        None => damaged = true,
                    }
                }
            }
        }
        Ok(())
    })?;
    let mut found: Vec<(u128, u64)> = found.into_iter().collect();
    found.sort_unstable();
    let values = section.pairs().or(section.dictionary(0));
    let codes = match values.filter(|_| !section.fields.is_empty()) {
        Some(values) => codes_of(values, &found),
        None => found.iter().map(|(value, _)| u32::try_from(*value).ok()).collect(),
    };
    let Some(codes) = codes.filter(|_| !damaged) else { return Ok(None) };
    let counts = codes.into_iter().zip(found).map(|(code, (_, count))| (code, count));
    Ok(Some(counts.collect()))
}

/// The codes of ascending values that are all there; ascending too.
fn codes_of(values: &Values<'_>, found: &[(u128, u64)]) -> Option<Vec<u32>> {
    if found.len() < values.len() / 16 {
        return found.iter().map(|(value, _)| values.find(*value)?).collect();
    }
    let all = values.all()?;
    let mut place = 0;
    let code = |(value, _): &(u128, u64)| {
        while all.get(place)? < value {
            place += 1;
        }
        (all.get(place) == Some(value)).then_some(place as u32)
    };
    found.iter().map(code).collect()
}
