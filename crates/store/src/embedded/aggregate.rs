//! Answers aggregations exactly: reads the segments on two threads, adds up,
//! and makes the text of what is listed.

use std::sync::{Arc, Mutex};

use palisade_event::{Day, Timestamp};

use super::dimension::{Dimension, Source};
use super::distinct::Distinct;
use super::filter::{Ready, for_each_chunk};
use super::quick::{HashMap, HashSet};
use super::segment::{self, Segment};
use super::tally::{self, Counted, Tally};
use super::{Embedded, lock};
use crate::query::{Aggregation, Buckets, Field, Interval, MAX_GROUPS, Query};
use crate::{Aggregated, Bucket, Key, QueryError};

impl From<tantivy::TantivyError> for QueryError {
    fn from(error: tantivy::TantivyError) -> Self {
        super::query_error(error)
    }
}

pub(super) fn aggregate(
    store: &Embedded,
    query: &Query,
    aggregation: &Aggregation,
) -> Result<Aggregated, QueryError> {
    aggregation.validate()?;
    let sub = match aggregation {
        Aggregation::Count => return count(store, query),
        Aggregation::Distinct(field) => return distinct(store, query, *field),
        Aggregation::Histogram(_, sub) | Aggregation::Top(_, _, sub) => sub.as_deref(),
    };
    let buckets = match (aggregation, sub) {
        (Aggregation::Histogram(interval, _), _)
        | (_, Some(Aggregation::Histogram(interval, _))) => span(store, query, *interval)?,
        _ => None,
    };
    let tally = gather(
        store,
        query,
        || Tally::new(dimensions(aggregation, buckets), None),
        |tally, segment| tally.read(query, segment),
        Tally::absorb,
    )?;
    let (groups, other) = groups(aggregation, &tally.dimensions, tally.counted(), buckets)?;
    let subs = match sub {
        None => Vec::new(),
        Some(Aggregation::Count) => {
            groups.iter().map(|group| Aggregated::Count { count: group.count }).collect()
        }
        Some(sub) => nested(store, query, &tally.dimensions, &groups, sub, buckets)?,
    };
    let mut subs = subs.into_iter();
    let bucket = |group: Group| Bucket {
        key: group.keys,
        count: group.count,
        sub: subs.next().map(Box::new),
    };
    Ok(Aggregated::Buckets { buckets: groups.into_iter().map(bucket).collect(), other })
}

/// The segments that a query may find something in, day by day.
struct Feed<'a> {
    store: &'a Embedded,
    days: std::vec::IntoIter<Day>,
    segments: std::vec::IntoIter<Arc<Segment>>,
}

impl Feed<'_> {
    fn next(&mut self) -> Result<Option<Arc<Segment>>, QueryError> {
        loop {
            if let Some(segment) = self.segments.next() {
                return Ok(Some(segment));
            }
            let Some(day) = self.days.next() else { return Ok(None) };
            let segments = self.store.segments(day)?.unwrap_or_default();
            let mut segments: Vec<_> = segments.iter().cloned().collect();
            // The largest first, so that both threads end at about the same time.
            segments.sort_by_key(|segment| std::cmp::Reverse(segment.docs()));
            self.segments = segments.into_iter();
        }
    }
}

/// Reads the segments on this thread and, where there are several, another one.
fn gather<S: Send>(
    store: &Embedded,
    query: &Query,
    new: impl Fn() -> S,
    read: impl Fn(&mut S, &Arc<Segment>) -> Result<(), QueryError> + Sync,
    absorb: impl FnOnce(&mut S, S) -> Result<(), QueryError>,
) -> Result<S, QueryError> {
    let days = store.days_of(query);
    let several = store.segments_of(&days) > 1;
    let segments = Vec::new().into_iter();
    let feed = Mutex::new(Feed { store, days: days.into_iter(), segments });
    let work = |mut state: S| {
        loop {
            let next = lock(&feed).next()?;
            let Some(segment) = next else { return Ok(state) };
            read(&mut state, &segment)?;
        }
    };
    if !several {
        return work(new());
    }
    let (mine, others) = (new(), new());
    let (mine, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| work(others));
        (work(mine), others.join())
    });
    let failed = || QueryError::Failed("a thread that read the store ended early".to_owned());
    let mut all = mine?;
    absorb(&mut all, others.map_err(|_| failed())??)?;
    Ok(all)
}

fn count(store: &Embedded, query: &Query) -> Result<Aggregated, QueryError> {
    let read = |count: &mut u64, segment: &Arc<Segment>| {
        let ready = Ready::query(query, segment)?;
        if matches!(ready, Ready::All) {
            *count += u64::from(segment.docs());
            return Ok(());
        }
        for_each_chunk(&ready, segment, |docs| {
            *count += docs.len() as u64;
            Ok(())
        })
    };
    let add = |count: &mut u64, other| {
        *count += other;
        Ok(())
    };
    Ok(Aggregated::Count { count: gather(store, query, || 0, read, add)? })
}

fn distinct(store: &Embedded, query: &Query, field: Field) -> Result<Aggregated, QueryError> {
    let read =
        |distinct: &mut Distinct, segment: &Arc<Segment>| distinct.read(query, field, segment);
    let absorb = |distinct: &mut Distinct, other| {
        distinct.absorb(other);
        Ok(())
    };
    Ok(gather(store, query, Distinct::new, read, absorb)?.answer())
}

/// The buckets of a histogram: over the range, or over the data where it is open.
fn span(
    store: &Embedded,
    query: &Query,
    interval: Interval,
) -> Result<Option<Buckets>, QueryError> {
    let mut low = query.range.from.map(Timestamp::as_millis);
    let mut high = query.range.to.map(|to| to.as_millis() - 1);
    if low.is_none() || high.is_none() {
        let widen = |span: &mut Option<(i64, i64)>, (low, high): (i64, i64)| {
            *span = Some(span.map_or((low, high), |span| (span.0.min(low), span.1.max(high))));
        };
        let read = |found: &mut Option<(i64, i64)>, segment: &Arc<Segment>| {
            let ready = Ready::query(query, segment)?;
            if matches!(ready, Ready::All) {
                let (first, last) = segment::span(segment);
                widen(found, (first.as_millis(), last.as_millis()));
                return Ok(());
            }
            for_each_chunk(&ready, segment, |docs| {
                docs.iter().map(|doc| segment.at(*doc)).for_each(|at| widen(found, (at, at)));
                Ok(())
            })
        };
        let absorb = |found: &mut Option<(i64, i64)>, other: Option<(i64, i64)>| {
            other.into_iter().for_each(|other| widen(found, other));
            Ok(())
        };
        let found = gather(store, query, || None, read, absorb)?;
        low = low.or(found.map(|(low, _)| low));
        high = high.or(found.map(|(_, high)| high));
    }
    match (low, high) {
        (Some(low), Some(high)) if low <= high => interval.buckets(low, high).map(Some),
        _ => Ok(None),
    }
}

fn dimensions(aggregation: &Aggregation, buckets: Option<Buckets>) -> Vec<Dimension> {
    let sources = match aggregation {
        Aggregation::Count => Vec::new(),
        Aggregation::Distinct(field) => vec![Source::Field(*field)],
        Aggregation::Histogram(..) => vec![Source::Time(buckets)],
        Aggregation::Top(fields, ..) => fields.iter().copied().map(Source::Field).collect(),
    };
    sources.into_iter().map(Dimension::new).collect()
}

/// One group of an answer.
struct Group {
    keys: Vec<Key>,
    count: u64,
    /// Its combination of codes.
    code: u128,
}

/// The groups of an answer in their order, and how many events were cut off.
fn groups(
    aggregation: &Aggregation,
    dimensions: &[Dimension],
    counted: Vec<Counted>,
    buckets: Option<Buckets>,
) -> Result<(Vec<Group>, u64), QueryError> {
    if let Aggregation::Top(_, k, _) = aggregation {
        let (ranked, other) = tally::top(dimensions, counted, *k)?;
        let group = |ranked: tally::Ranked| Group {
            keys: ranked.keys,
            count: ranked.count,
            code: ranked.code,
        };
        return Ok((ranked.into_iter().map(group).collect(), other));
    }
    let Some(buckets) = buckets else { return Ok((Vec::new(), 0)) };
    let counts: HashMap<u128, u64> = counted.into_iter().collect();
    let group = |number: i64| {
        let start = Timestamp::from_millis((buckets.first + number) * buckets.width);
        let code = u128::from(number.unsigned_abs());
        let count = counts.get(&code).copied().unwrap_or(0);
        Group { keys: vec![Key::Text(start.to_string())], count, code }
    };
    Ok(((0..buckets.count).map(group).collect(), 0))
}

/// The nested answer of each outer group.
fn nested(
    store: &Embedded,
    query: &Query,
    outer: &[Dimension],
    groups_of: &[Group],
    sub: &Aggregation,
    buckets: Option<Buckets>,
) -> Result<Vec<Aggregated>, QueryError> {
    let each = match sub {
        Aggregation::Histogram(..) => {
            usize::try_from(buckets.map_or(0, |b| b.count)).unwrap_or(usize::MAX)
        }
        Aggregation::Top(_, k, _) => *k,
        Aggregation::Count | Aggregation::Distinct(_) => 1,
    };
    if groups_of.len().saturating_mul(each) > MAX_GROUPS {
        let reason = format!("the answer would have more than {MAX_GROUPS} groups; ask for fewer");
        return Err(QueryError::Unsupported(reason));
    }
    // The values of the listed groups get numbers of their own.
    let mut codes = vec![0u128; groups_of.len()];
    let mut chosen = Vec::new();
    for (place, dimension) in outer.iter().enumerate() {
        let mut values: Vec<(u32, &Key)> = Vec::new();
        let mut numbers: HashMap<u32, u32> = HashMap::default();
        for (group, code) in groups_of.iter().zip(&mut codes) {
            let old = tally::part(group.code, outer.len() - 1 - place);
            let number = match (dimension.source, group.keys.get(place)) {
                (Source::Field(_), Some(key)) => *numbers.entry(old).or_insert_with(|| {
                    values.push((old, key));
                    u32::try_from(values.len() - 1).unwrap_or(u32::MAX)
                }),
                _ => old,
            };
            *code = tally::joined([*code as u32, number].into_iter());
        }
        chosen.push(values);
    }
    let inner = dimensions(sub, buckets).len();
    let wanted: Arc<HashSet<u128>> = Arc::new(codes.iter().copied().collect());
    let new = || {
        let only = outer.iter().zip(&chosen).map(|(dimension, values)| dimension.only(values));
        let all = only.chain(dimensions(sub, buckets)).collect();
        Tally::new(all, Some((Arc::clone(&wanted), inner)))
    };
    let read = |tally: &mut Tally, segment: &Arc<Segment>| tally.read(query, segment);
    let tally = gather(store, query, new, read, Tally::absorb)?;
    let mut inside: HashMap<u128, Vec<Counted>> = HashMap::default();
    for (key, count) in tally.counted() {
        let (group, rest) = tally::divided(key, inner);
        inside.entry(group).or_default().push((rest, count));
    }
    let dimensions = tally.dimensions.get(outer.len()..).unwrap_or_default();
    let answer = |code: u128| {
        let counted = inside.remove(&code).unwrap_or_default();
        if let Aggregation::Distinct(_) = sub {
            return Ok(Aggregated::Distinct { count: counted.len() as u64, exact: true });
        }
        let (groups, other) = groups(sub, dimensions, counted, buckets)?;
        let plain = |group: Group| Bucket { key: group.keys, count: group.count, sub: None };
        Ok(Aggregated::Buckets { buckets: groups.into_iter().map(plain).collect(), other })
    };
    codes.into_iter().map(answer).collect()
}
