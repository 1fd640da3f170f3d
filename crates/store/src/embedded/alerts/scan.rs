//! Counts the alerts of a range of time one by one: those of the units that a
//! range cuts. Documents lie about in the order of their receipt, so first and
//! last instant of each chunk leave out nearly all of a long segment.

use tantivy::TantivyError;
use tantivy::columnar::Column;

use super::super::dimension::{ABSENT, firsts};
use super::super::quick::HashMap;
use super::super::scan::CHUNK_DOCS;
use super::super::segment::{AnyColumn, Segment};
use super::Columns;
use super::table::Entry;
use crate::AlertField;
use crate::alert::{AlertQuestion, Clock, Domains};

/// First and last instant of each chunk of documents.
#[derive(Default)]
pub(super) struct Zones(Vec<(i64, i64)>);

/// The first and the last instant of a segment's events.
pub(super) fn span(segment: &Segment, clock: Clock) -> Result<Option<(i64, i64)>, TantivyError> {
    let times = times(segment, clock)?;
    Ok(times.map(|times| (times.min_value(), times.max_value())))
}

fn times(segment: &Segment, clock: Clock) -> Result<Option<&Column<i64>>, TantivyError> {
    Ok(match segment.column(clock.field())? {
        AnyColumn::Number(column) => Some(column),
        _ => None,
    })
}

impl Zones {
    pub(super) fn read(segment: &Segment, clock: Clock) -> Result<Self, TantivyError> {
        let Some(times) = times(segment, clock)? else { return Ok(Self::default()) };
        let zone = |start: u32| {
            let end = start.saturating_add(CHUNK_DOCS).min(segment.docs());
            let docs: Vec<u32> = (start..end).collect();
            let fold = |(low, high): (i64, i64), at: i64| (low.min(at), high.max(at));
            firsts(times, &docs).into_iter().flatten().fold((i64::MAX, i64::MIN), fold)
        };
        Ok(Self((0..segment.docs()).step_by(CHUNK_DOCS as usize).map(zone).collect()))
    }

    /// What is known of the chunk that begins with a document.
    fn of(&self, start: u32) -> (i64, i64) {
        let zone = self.0.get((start / CHUNK_DOCS) as usize);
        zone.copied().unwrap_or((i64::MIN, i64::MAX))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(i64, i64)>()
    }
}

/// Counts the alerts of some ranges, by key.
pub(super) fn count(
    question: &AlertQuestion,
    segment: &Segment,
    ranges: &[(i64, i64)],
    zones: &Zones,
) -> Result<Vec<Entry>, TantivyError> {
    let columns = Columns::open(question.by, segment)?;
    let Some(times) = times(segment, question.clock)? else { return Ok(Vec::new()) };
    let mut codes: HashMap<u32, u32> = HashMap::default();
    let mut addresses: HashMap<u128, u32> = HashMap::default();
    let mut docs = Vec::with_capacity(CHUNK_DOCS as usize);
    let mut start = 0;
    while start < segment.docs() {
        let end = start.saturating_add(CHUNK_DOCS).min(segment.docs());
        let (low, high) = zones.of(start);
        if ranges.iter().any(|(from, to)| low < *to && *from <= high) {
            docs.clear();
            columns.alerts.scan(start..end, &mut docs);
            let is_inside = ranges.iter().any(|(from, to)| *from <= low && high < *to);
            if !is_inside {
                let mut at = firsts(times, &docs).into_iter();
                docs.retain(|_| {
                    let at = at.next().flatten();
                    at.is_some_and(|at| ranges.iter().any(|(from, to)| (*from..*to).contains(&at)))
                });
            }
            if question.domains != Domains::Both {
                let wanted = question.domains == Domains::Community;
                let mut community = columns.communities(&docs).into_iter();
                docs.retain(|_| community.next() == Some(wanted));
            }
            if question.by == AlertField::Source {
                for address in columns.addresses(&docs)?.into_iter().flatten() {
                    *addresses.entry(address).or_insert(0) += 1;
                }
            } else {
                for code in columns.codes(&docs)? {
                    if code != ABSENT || columns.counts_unknown() {
                        *codes.entry(code).or_insert(0) += 1;
                    }
                }
            }
        }
        start = end;
    }
    if question.by == AlertField::Source {
        return Ok(addresses.into_iter().map(|(key, count)| Entry::new(key, 0, count)).collect());
    }
    let mut codes: Vec<(u32, u32)> = codes.into_iter().collect();
    codes.sort_unstable();
    let keys = columns.keys(&codes.iter().map(|(code, _)| *code).collect::<Vec<u32>>())?;
    Ok(keys.into_iter().zip(codes).map(|(key, (code, n))| Entry::new(key, code, n)).collect())
}
