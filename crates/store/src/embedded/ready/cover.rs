//! What of a question a segment's file answers, and what is left to count.

use std::ops::Range;
use std::sync::Arc;

use palisade_event::Timestamp;

use super::super::segment::{Segment, span};
use super::file::{File, Found, Section};
use super::narrow::Narrowed;
use super::slice::{self, Slice};
use super::{Ask, Desk};
use crate::query::{Buckets, Interval, TimeRange};

/// Where the answer to a question on one segment is.
pub(in crate::embedded) enum Cover {
    /// No event matches.
    Nothing,
    /// In a file, but for some edges of the range.
    Part(Part),
    /// In a file, but the range or the buckets are finer than its units: the
    /// events are counted.
    Narrow,
}

/// What of a file answers a question.
pub(in crate::embedded) struct Part {
    file: Arc<File>,
    place: usize,
    /// Whether the range covers the segment.
    whole: bool,
    /// The units that the range covers.
    units: Range<usize>,
    /// What of the range is before these and begins at a full minute.
    slice: Option<Arc<Slice>>,
    /// What is left of the range.
    pub(in crate::embedded) edges: Vec<TimeRange>,
}

/// Finds what answers a question in a range, bucket by bucket where there are
/// buckets; `None` where the events must be counted.
pub(in crate::embedded) fn cover(
    ask: &Ask,
    range: TimeRange,
    buckets: Option<Buckets>,
    segment: &Segment,
    desk: &Desk,
) -> Option<Cover> {
    let (first, last) = span(segment);
    if range.from.is_some_and(|from| last < from) || range.to.is_some_and(|to| to <= first) {
        return Some(Cover::Nothing);
    }
    let narrowed = segment.parts.narrowed(ask, segment, desk);
    let ask = match &*narrowed {
        Narrowed::Nothing => return Some(Cover::Nothing),
        Narrowed::Same => ask,
        Narrowed::Simpler(other) => other,
    };
    let files = segment.parts.files();
    let in_files = covered(ask, range, buckets, segment, &files, desk);
    if in_files.is_some() || !desk.remembers(segment) {
        return in_files;
    }
    let remembered = segment.parts.remembered(ask, segment, desk)?;
    covered(ask, range, buckets, segment, &[remembered], desk)
}

/// Finds what in these files answers a question.
fn covered(
    ask: &Ask,
    range: TimeRange,
    buckets: Option<Buckets>,
    segment: &Segment,
    files: &[Arc<File>],
    desk: &Desk,
) -> Option<Cover> {
    let (first, last) = span(segment);
    let mut narrow = None;
    for file in files {
        let place = match file.find(&ask.text, &ask.fields) {
            None => continue,
            Some(Found::Nothing) => return Some(Cover::Nothing),
            Some(Found::Section(place)) => place,
        };
        let Some(section) = file.section(place) else {
            segment.parts.drop_file(file);
            continue;
        };
        let whole = range.contains(first) && range.contains(last);
        let one_bucket = |buckets: Buckets| {
            whole && buckets.number(first.as_millis()) == buckets.number(last.as_millis())
        };
        let aligned = |buckets: Buckets| match buckets.width {
            Interval::Millis(width) => width % section.unit_ms == 0,
            Interval::Month => true,
            Interval::Auto => false,
        };
        if buckets.is_some_and(|buckets| !aligned(buckets) && !one_bucket(buckets)) {
            narrow = Some(Cover::Narrow);
            continue;
        }
        let (units, mut edges) = match whole {
            true => (0..section.units(), Vec::new()),
            false => match inside(&section, range, first, last) {
                Some(inside) => inside,
                None => return Some(Cover::Narrow),
            },
        };
        let slice = sliced(&mut edges, range, last, |range| {
            let of = || segment.parts.slice(ask, range, segment, file, place, desk);
            if desk.slices(segment) { of() } else { None }
        });
        let file = Arc::clone(file);
        return Some(Cover::Part(Part { file, place, whole, units, slice, edges }));
    }
    narrow
}

/// Takes what begins at a full minute out of the edge where a range begins.
fn sliced(
    edges: &mut [TimeRange],
    range: TimeRange,
    last: Timestamp,
    slice: impl FnOnce(TimeRange) -> Option<Arc<Slice>>,
) -> Option<Arc<Slice>> {
    let from = range.from?;
    let edge = edges.iter_mut().find(|edge| edge.from == Some(from))?;
    let begin = slice::minute(from);
    let to = edge.to.filter(|to| *to <= last);
    // A range that also ends in here moves on both sides.
    let is_open = to.is_none() || to != range.to;
    if !is_open || last < begin || to.is_some_and(|to| to <= begin) {
        return None;
    }
    let found = slice(TimeRange { from: Some(begin), to })?;
    edge.to = Some(begin);
    Some(found)
}

/// The units that lie in a range, and what else lies in it.
fn inside(
    section: &Section<'_>,
    range: TimeRange,
    first: Timestamp,
    last: Timestamp,
) -> Option<(Range<usize>, Vec<TimeRange>)> {
    let unit = section.unit_ms;
    let at = |number: i64| Some(Timestamp::from_millis(number * unit));
    let mut edges = Vec::new();
    let (mut low, mut high) = (i64::MIN, i64::MAX);
    if let Some(from) = range.from.filter(|from| first < *from) {
        low = -(-from.as_millis()).div_euclid(unit);
        if low * unit != from.as_millis() {
            // What ends after the last event has no end: the calendar may stop before it.
            let to = if low * unit > last.as_millis() { range.to } else { at(low) };
            edges.push(TimeRange { from: Some(from), to });
        }
    }
    if let Some(to) = range.to.filter(|to| *to <= last) {
        high = to.as_millis().div_euclid(unit);
        if high * unit != to.as_millis() {
            edges.push(TimeRange { from: at(high), to: Some(to) });
        }
    }
    if low > high {
        return None;
    }
    let before = |wanted: i64| {
        let (mut from, mut to) = (0, section.units());
        while from < to {
            let middle = from.midpoint(to);
            if section.unit_number(middle)? < wanted { from = middle + 1 } else { to = middle }
        }
        Some(from)
    };
    Some((before(low)?..before(high)?, edges))
}

/// Adds up counts by code.
#[derive(Default)]
struct Sum {
    counts: Vec<u64>,
    touched: Vec<u32>,
}

impl Sum {
    fn add(&mut self, code: u32, count: u64) {
        let place = code as usize;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        if let Some(slot) = self.counts.get_mut(place) {
            if *slot == 0 {
                self.touched.push(code);
            }
            *slot = slot.wrapping_add(count);
        }
    }

    /// Gives what was added up, by ascending code, and begins anew.
    fn drain(&mut self, mut each: impl FnMut(u32, u64)) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        for code in touched {
            match self.counts.get_mut(code as usize).map_or(0, std::mem::take) {
                0 => {}
                count => each(code, count),
            }
        }
    }
}

/// Codes past this are no codes: a segment has no more values than events.
fn sound(code: u32, docs: u32) -> Option<()> {
    (code < docs).then_some(())
}

impl Part {
    pub(in crate::embedded) fn section(&self) -> Option<Section<'_>> {
        self.file.section(self.place)
    }

    /// Whether the range covers the segment.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The bucket that all of it lies in, if it lies in one.
    pub(in crate::embedded) fn bucket(&self, buckets: Buckets, segment: &Segment) -> Option<i64> {
        let (first, last) = span(segment);
        let bucket = buckets.number(first.as_millis());
        (self.whole && bucket == buckets.number(last.as_millis())).then_some(bucket)
    }

    /// Says that it could not be read.
    pub(in crate::embedded) fn damaged(&self, segment: &Segment) {
        segment.parts.drop_file(&self.file);
    }

    /// Counts of what is covered, by ascending code, of all codes or those
    /// wanted (ascending); `None` where the file is damaged.
    pub(in crate::embedded) fn counts(&self, wanted: Option<&[u32]>) -> Option<Vec<(u32, u64)>> {
        let section = self.section()?;
        if let (Some(wanted), true) = (wanted, self.whole) {
            let count = |code: &u32| Some((*code, section.total.get(*code)?));
            return wanted.iter().map(count).collect();
        }
        let docs = self.file.table().docs;
        let mut sum = Sum::default();
        let mut failed = false;
        let mut add = |code, count: u64| match sound(code, docs) {
            Some(()) => sum.add(code, count),
            None => failed = true,
        };
        if wanted.is_some() {
            self.by_unit(wanted, |_, code, count| add(code, count))?;
        } else if self.whole {
            section.total.for_each(&mut add)?;
        } else {
            let len = |units: Range<usize>| -> Option<usize> {
                units.map(|unit| section.unit(unit).map(|unit| unit.len())).sum()
            };
            let before = 0..self.units.start;
            let behind = self.units.end..section.units();
            let outside = len(before.clone())? + len(behind.clone())?;
            if len(self.units.clone())? <= section.total.len() + outside {
                self.by_unit(None, |_, code, count| add(code, count))?;
            } else {
                // What lies outside is less: take it away from the whole.
                section.total.for_each(&mut add)?;
                for unit in before.chain(behind) {
                    section.unit(unit)?.for_each(|code, count| add(code, count.wrapping_neg()))?;
                }
                let slice = self.slice.iter().flat_map(|slice| &slice.counts);
                slice.for_each(|(code, count)| add(*code, *count));
            }
        }
        let mut counts = Vec::with_capacity(sum.touched.len());
        sum.drain(|code, count| counts.push((code, count)));
        (!failed).then_some(counts)
    }

    /// Calls `each` with bucket, code and count of what is covered, of all codes
    /// or those wanted (ascending).
    pub(in crate::embedded) fn by_bucket(
        &self,
        buckets: Buckets,
        wanted: Option<&[u32]>,
        mut each: impl FnMut(u32, u32, u64),
    ) -> Option<()> {
        let docs = self.file.table().docs;
        let mut sum = Sum::default();
        let mut last = None;
        let mut failed = false;
        self.by_unit(wanted, |at, code, count| {
            let bucket = buckets.number(at);
            if last != Some(bucket) {
                if let Some(last) = last.and_then(|last| buckets.code(last)) {
                    sum.drain(|code, count| each(last, code, count));
                }
                sum.drain(|_, _| {});
                last = Some(bucket);
            }
            match sound(code, docs) {
                Some(()) => sum.add(code, count),
                None => failed = true,
            }
        })?;
        if let Some(last) = last.and_then(|last| buckets.code(last)) {
            sum.drain(|code, count| each(last, code, count));
        }
        (!failed).then_some(())
    }

    /// Every unit that is covered and has events, with its counts' codes, or
    /// only those wanted: calls `each` with the instant it begins at.
    fn by_unit(&self, wanted: Option<&[u32]>, mut each: impl FnMut(i64, u32, u64)) -> Option<()> {
        let section = self.section()?;
        if let Some(slice) = &self.slice {
            let at = slice.range.from?.as_millis();
            match wanted {
                None => slice.counts.iter().for_each(|(code, count)| each(at, *code, *count)),
                Some(codes) => {
                    let counts = codes.iter().map(|code| (*code, slice.get(*code)));
                    counts.filter(|(_, count)| *count > 0).for_each(|(code, n)| each(at, code, n));
                }
            }
        }
        for place in self.units.clone() {
            let at = section.unit_number(place)?.checked_mul(section.unit_ms)?;
            let unit = section.unit(place)?;
            match wanted {
                None => unit.for_each(|code, count| each(at, code, count))?,
                Some(codes) => {
                    for code in codes {
                        match unit.get(*code)? {
                            0 => {}
                            count => each(at, *code, count),
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// The first and the last unit that is covered and has events, as ranges.
    pub(in crate::embedded) fn ends(&self) -> Option<Vec<TimeRange>> {
        let section = self.section()?;
        let range = |place: usize| {
            let number = section.unit_number(place)?;
            let from = number.checked_mul(section.unit_ms)?;
            let to = from.checked_add(section.unit_ms)?;
            let at = Timestamp::from_millis;
            // The calendar's last unit has no end.
            let to = Some(at(to)).filter(|end| end.as_millis() == to);
            Some(TimeRange { from: Some(at(from)), to })
        };
        let mut ends: Vec<TimeRange> = self.slice.iter().map(|slice| slice.range).collect();
        if let Some(last) = self.units.clone().last() {
            ends.push(range(self.units.start)?);
            if last != self.units.start {
                ends.push(range(last)?);
            }
        }
        Some(ends)
    }

    /// All counts of what is covered, and how many there are at most.
    pub(in crate::embedded) fn size(&self) -> Option<(u64, usize)> {
        let section = self.section()?;
        if self.whole {
            return Some((section.total.sum(), section.total.len()));
        }
        let mut size = self.slice.as_ref().map_or((0, 0), |slice| (slice.sum, slice.counts.len()));
        for unit in self.units.clone() {
            let unit = section.unit(unit)?;
            size = (size.0.saturating_add(unit.sum()), size.1 + unit.len());
        }
        Some((size.0, size.1.min(section.total.len())))
    }

    /// How many counts its units have together.
    pub(in crate::embedded) fn unit_counts(&self) -> Option<usize> {
        let section = self.section()?;
        let slice = self.slice.as_ref().map_or(0, |slice| slice.counts.len());
        let units = self.units.clone().map(|unit| section.unit(unit).map(|unit| unit.len()));
        units.sum::<Option<usize>>().map(|units| units + slice)
    }

    /// The counts of what is covered, with the largest at hand; `None` where the
    /// file is damaged.
    pub(super) fn summed(&self) -> Option<Arc<Slice>> {
        match &self.slice {
            Some(slice) if self.units.is_empty() => Some(Arc::clone(slice)),
            _ => Some(Arc::new(Slice::new(TimeRange::default(), self.counts(None)?))),
        }
    }
}
