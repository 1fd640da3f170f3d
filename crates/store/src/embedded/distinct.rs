//! How many different values: exactly up to a bound, past it by a sample.

use std::sync::{Arc, OnceLock};

use foldhash::quality::RandomState;
use std::hash::BuildHasher as _;

use super::dimension::{numbers, read_texts, text_hash};
use super::filter::Ready;
use super::quick::HashSet;
use super::ready::{self, Cover, Part};
use super::scan::for_each_chunk;
use super::segment::{AnyColumn, Segment};
use super::tally::Asked;
use crate::query::{Field, Query};
use crate::{Aggregated, QueryError};

/// Most different values that are counted exactly.
const MAX_DISTINCT: usize = 1_000_000;
/// Dictionary entries that are read together.
const READ_TEXTS: usize = 65_536;

/// Lists with fewer values than this part of what is listed are added value by
/// value.
const SHORT_LIST: usize = 8;

/// Values seen so far; past [`MAX_DISTINCT`] a sample of them.
pub(super) struct Distinct {
    /// Fixed-size values that lists had, ascending: joining lists is faster than
    /// adding each value.
    listed: Vec<u128>,
    /// Others, none of them listed: fixed-size values, or hashes of texts.
    seen: HashSet<u128>,
    /// Only values whose mark has so many low zero bits are kept.
    level: u32,
    most: usize,
}

/// What decides whether a value is in a sample; the same in every thread.
fn mark(value: u128) -> u32 {
    static RANDOM: OnceLock<RandomState> = OnceLock::new();
    RANDOM.get_or_init(RandomState::default).hash_one(value).trailing_zeros()
}

impl Distinct {
    pub(super) fn new() -> Self {
        Self::with_most(MAX_DISTINCT)
    }

    fn with_most(most: usize) -> Self {
        Self { listed: Vec::new(), seen: HashSet::default(), level: 0, most }
    }

    fn insert(&mut self, value: u128) {
        if self.level > 0 && mark(value) < self.level {
            return;
        }
        if self.listed.is_empty() || self.listed.binary_search(&value).is_err() {
            self.seen.insert(value);
            self.thin_out();
        }
    }

    /// Adds ascending values.
    fn list(&mut self, values: Vec<u128>) {
        if values.len() < self.listed.len() / SHORT_LIST {
            return values.into_iter().for_each(|value| self.insert(value));
        }
        self.listed = joined(std::mem::take(&mut self.listed), values);
        self.keep_from(self.level);
        let listed = &self.listed;
        self.seen.retain(|value| listed.binary_search(value).is_err());
        self.thin_out();
    }

    fn keep_from(&mut self, level: u32) {
        self.level = level;
        if level > 0 {
            self.listed.retain(|value| mark(*value) >= level);
            self.seen.retain(|value| mark(*value) >= level);
        }
    }

    fn thin_out(&mut self) {
        while self.listed.len() + self.seen.len() > self.most {
            self.keep_from(self.level + 1);
        }
    }

    /// Adds the values of a segment's matching documents.
    pub(super) fn read(
        &mut self,
        asked: &Asked<'_>,
        field: Field,
        segment: &Arc<Segment>,
    ) -> Result<(), QueryError> {
        let ask = asked.ask.as_ref();
        match ask.and_then(|ask| ready::cover(ask, asked.query.range, None, segment, asked.desk)) {
            Some(Cover::Nothing) => return Ok(()),
            Some(Cover::Part(part)) => {
                if self.take(&part, field, segment)? {
                    asked.desk.answered();
                    return part.edges.iter().try_for_each(|edge| {
                        let query = Query { range: *edge, filter: asked.query.filter.clone() };
                        self.scan(&query, field, segment)
                    });
                }
                part.damaged(segment);
                asked.scans(segment);
            }
            Some(Cover::Narrow) => {}
            None => asked.scans(segment),
        }
        self.scan(asked.query, field, segment)
    }

    /// Adds the values that a file has; `false` where it is damaged.
    fn take(
        &mut self,
        part: &Part,
        field: Field,
        segment: &Arc<Segment>,
    ) -> Result<bool, QueryError> {
        let (Some(section), Some(counts)) = (part.section(), part.counts(None)) else {
            return Ok(false);
        };
        if field.is_text() {
            let AnyColumn::Text(column) = segment.column(field)? else { return Ok(true) };
            let ordinals: Vec<u64> = counts.iter().map(|(code, _)| u64::from(*code)).collect();
            read_texts(column, &ordinals, |text| self.insert(text_hash(text)))?;
            return Ok(true);
        }
        let Some(values) = section.dictionary(0).and_then(|values| values.all()) else {
            return Ok(false);
        };
        let value = |(code, _): (u32, u64)| values.get(code as usize).copied();
        self.list(counts.into_iter().filter_map(value).collect());
        Ok(true)
    }

    fn scan(
        &mut self,
        query: &Query,
        field: Field,
        segment: &Arc<Segment>,
    ) -> Result<(), QueryError> {
        let ready = Ready::query(query, segment)?;
        if !field.is_text() {
            return for_each_chunk(&ready, segment, |docs| {
                for value in numbers(field, segment, docs)?.into_iter().flatten() {
                    self.insert(value);
                }
                Ok(())
            });
        }
        let AnyColumn::Text(column) = segment.column(field)? else { return Ok(()) };
        let terms = column.num_terms();
        // No event is ever removed from a segment, so each term has one.
        let all = matches!(ready, Ready::All);
        let mut hit = vec![all; terms];
        if !all {
            for_each_chunk(&ready, segment, |docs| -> Result<(), QueryError> {
                for ordinal in numbers(field, segment, docs)?.into_iter().flatten() {
                    if let Some(hit) = hit.get_mut(ordinal as usize) {
                        *hit = true;
                    }
                }
                Ok(())
            })?;
        }
        let new = hit.iter().filter(|hit| **hit).count();
        self.seen.reserve(new.min(self.most.saturating_sub(self.seen.len())));
        let mut ordinals = Vec::with_capacity(new.min(READ_TEXTS));
        for (part, hit) in (0u64..).step_by(READ_TEXTS).zip(hit.chunks(READ_TEXTS)) {
            ordinals.clear();
            let found = (part..).zip(hit).filter(|(_, hit)| **hit);
            ordinals.extend(found.map(|(ordinal, _)| ordinal));
            read_texts(column, &ordinals, |text| self.insert(text_hash(text)))?;
        }
        Ok(())
    }

    /// Takes over what another saw.
    pub(super) fn absorb(&mut self, mut other: Self) {
        if other.seen.len() > self.seen.len() {
            std::mem::swap(self, &mut other);
        }
        // A sample is joined at the coarser level of both.
        self.keep_from(self.level.max(other.level));
        self.list(other.listed);
        for value in other.seen {
            self.insert(value);
        }
    }

    pub(super) fn answer(self) -> Aggregated {
        let count = ((self.listed.len() + self.seen.len()) as u64) << self.level;
        Aggregated::Distinct { count, exact: self.level == 0 }
    }
}

/// Two ascending lists as one, each value once.
fn joined(a: Vec<u128>, b: Vec<u128>) -> Vec<u128> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek().copied(), b.peek().copied()) {
        all.push(x.min(y));
        if x <= y {
            a.next();
        }
        if y <= x {
            b.next();
        }
    }
    all.extend(a.chain(b));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: impl Iterator<Item = u128>, most: usize) -> (u64, bool) {
        let mut distinct = Distinct::with_most(most);
        values.for_each(|value| distinct.insert(value));
        match distinct.answer() {
            Aggregated::Distinct { count, exact } => (count, exact),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn up_to_the_bound_it_is_exact_and_past_it_an_estimate() {
        assert_eq!(counted((0..4096).chain(0..4096), 4096), (4096, true));
        let (count, exact) = counted(0..200_000, 4096);
        assert!(!exact);
        // Five standard deviations of a sample of at least 2048 are 11 %.
        assert!((178_000..222_000).contains(&count), "{count}");
    }

    #[test]
    fn an_estimate_does_not_depend_on_order_or_on_how_it_was_divided() {
        let whole = counted(0..50_000, 1000);
        assert_eq!(counted((0..50_000).rev(), 1000), whole);
        let (mut left, mut right) = (Distinct::with_most(1000), Distinct::with_most(1000));
        (0..49_900).for_each(|value| left.insert(value));
        (49_800..50_000).for_each(|value| right.insert(value));
        right.absorb(left);
        assert_eq!(right.answer(), Aggregated::Distinct { count: whole.0, exact: whole.1 });
    }

    #[test]
    fn lists_and_single_values_are_counted_once_whichever_came_first() {
        let list = |values: std::ops::Range<u128>| values.collect::<Vec<u128>>();
        let mut distinct = Distinct::with_most(10_000);
        (0..200).step_by(3).for_each(|value| distinct.insert(value));
        distinct.list(list(100..1_000));
        // A short one.
        distinct.list(list(990..1_010));
        distinct.list(list(900..2_000));
        (1_990..2_003).for_each(|value| distinct.insert(value));
        let mut other = Distinct::with_most(10_000);
        other.list(list(0..50));
        other.insert(2_100);
        distinct.absorb(other);
        // 0 to 49, of 50 to 99 every third, 100 to 2,002, and 2,100.
        let expected = 50 + 17 + 1_903 + 1;
        assert_eq!(distinct.answer(), Aggregated::Distinct { count: expected, exact: true });
    }

    #[test]
    fn a_sample_of_lists_is_that_of_their_values() {
        let whole = counted(0..50_000, 1000);
        let mut distinct = Distinct::with_most(1000);
        for from in [20_000, 0, 10_000] {
            distinct.list((from..from + 30_000).collect());
        }
        assert_eq!(distinct.answer(), Aggregated::Distinct { count: whole.0, exact: whole.1 });
    }
}
