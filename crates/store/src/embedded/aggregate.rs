//! Answers aggregations exactly: reads the segments on two threads, adds up,
//! and makes the text of what is listed.
//!
//! Memory is bounded: at most [`MAX_RUNNING`] aggregations run at once, and what
//! one counts is divided into shares that are counted one after another where
//! there is too much of it. Together they take at most about 256 MB.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use palisade_event::{Day, Timestamp};

use super::day::Segments;
use super::dimension::{Dimension, Raw, Share, Source};
use super::distinct::Distinct;
use super::filter::Ready;
use super::quick::{HashMap, HashSet};
use super::rank::{self, Ranked};
use super::ready::{self, Ask, Cover, Desk};
use super::scan::for_each_chunk;
use super::segment::{self, Segment};
use super::tally::{self, Asked, Counted, Stop, Tally};
use super::{Embedded, lock, threads};
use crate::query::{Aggregation, Buckets, Field, Interval, MAX_GROUPS, Query, TimeRange};
use crate::{Aggregated, Bucket, Key, QueryError};

/// Aggregations that run at once; others wait.
pub(super) const MAX_RUNNING: usize = 2;
/// Most shares that values are divided into.
const MAX_SHARES: u64 = 16;
/// A histogram of tops is answered bucket by bucket where it would add up this
/// many times the counts that are few.
const MANY: usize = 5;
/// Most buckets that are answered one by one.
const MAX_SINGLE_BUCKETS: i64 = 1000;

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
    let _turn = store.ready.turn();
    threads::answer(|| answer(store, query, aggregation))
}

fn answer(
    store: &Embedded,
    query: &Query,
    aggregation: &Aggregation,
) -> Result<Aggregated, QueryError> {
    let view = &View::new(store, query)?;
    let sub = match aggregation {
        Aggregation::Count => return count(view, query),
        Aggregation::Distinct(field) => return distinct(view, query, *field),
        Aggregation::Histogram(_, sub) | Aggregation::Top(_, _, sub) => sub.as_deref(),
    };
    let buckets = match (aggregation, sub) {
        (Aggregation::Histogram(interval, _), _)
        | (_, Some(Aggregation::Histogram(interval, _))) => span(view, query, *interval)?,
        _ => None,
    };
    let (groups, other) = match aggregation {
        Aggregation::Top(fields, k, _) => top(view, query, fields, *k)?,
        _ => histogram(view, query, buckets)?,
    };
    let subs = match sub {
        None => Vec::new(),
        Some(Aggregation::Count) => {
            groups.iter().map(|group| Aggregated::Count { count: group.count }).collect()
        }
        Some(sub) => nested(view, query, aggregation, &groups, sub, buckets)?,
    };
    let mut subs = subs.into_iter();
    let bucket = |group: Ranked| Bucket {
        key: group.keys,
        count: group.count,
        sub: subs.next().map(Box::new),
    };
    Ok(Aggregated::Buckets { buckets: groups.into_iter().map(bucket).collect(), other })
}

/// Asks for the counts of the values of some fields, and notes what was asked.
fn asking<T>(
    view: &View<'_>,
    query: &Query,
    fields: Vec<Field>,
    answer: impl FnOnce(&Asked<'_>) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let ask = Ask::new(&query.filter, fields);
    let asked = Asked { query, ask, desk: view.desk, missed: AtomicBool::new(false) };
    let began = Instant::now();
    let answered = answer(&asked)?;
    if let Some(ask) = asked.ask.filter(|_| asked.missed.load(Ordering::Relaxed)) {
        view.desk.note(ask, query.range, began.elapsed());
    }
    Ok(answered)
}

/// Counts, share by share where all at once would take too much memory.
fn tallies<T: Default>(
    view: &View<'_>,
    asked: &Asked<'_>,
    new: impl Fn() -> Tally,
    fold: impl Fn(&mut T, Tally) -> Result<(), QueryError>,
) -> Result<T, QueryError> {
    let (mut of, mut place) = (1, 0);
    loop {
        match in_shares(view, asked, &new, &fold, (of, place)) {
            Ok(folded) => return Ok(folded),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::TooMany(at)) if of < MAX_SHARES => (of, place) = (of * 4, at),
            Err(Stop::TooMany(_)) => {
                let reason = "there are too many different values to count; use a shorter time \
                              range or a narrower filter";
                return Err(QueryError::Unsupported(reason.to_owned()));
            }
        }
    }
}

/// Counts so many shares of the values of the dimension at a place.
fn in_shares<T: Default>(
    view: &View<'_>,
    asked: &Asked<'_>,
    new: &impl Fn() -> Tally,
    fold: &impl Fn(&mut T, Tally) -> Result<(), QueryError>,
    (of, place): (u64, usize),
) -> Result<T, Stop> {
    let mut folded = T::default();
    for number in 0..of {
        let new = || {
            let mut tally = new();
            if of > 1 {
                tally.shared(place, Share { number, of });
            }
            tally
        };
        let read = |tally: &mut Tally, segment: &Arc<Segment>| tally.read(asked, segment);
        let absorb = |tally: &mut Tally, other| tally.absorb(other, asked);
        fold(&mut folded, gather(view, asked.query, new, read, absorb)?)?;
    }
    Ok(folded)
}

/// The most frequent combinations of fields, and how many events the others had.
fn top(
    view: &View<'_>,
    query: &Query,
    fields: &[Field],
    k: usize,
) -> Result<(Vec<Ranked>, u64), QueryError> {
    asking(view, query, fields.to_vec(), |asked| {
        if let Some(found) = ready::top(view, asked, fields, k)? {
            return Ok(found);
        }
        let new = || Tally::new(dimensions_of(fields), None);
        let (mut groups, total) = tallies(view, asked, new, |(groups, total), tally| {
            collect(groups, total, rank::top(&tally.dimensions, tally.counted(), k)?);
            Ok(())
        })?;
        Ok(ranked(&mut groups, total, k))
    })
}

fn collect(groups: &mut Vec<Ranked>, total: &mut u64, (some, other): (Vec<Ranked>, u64)) {
    *total += other + some.iter().map(|group| group.count).sum::<u64>();
    groups.extend(some);
}

/// The largest of the groups of all shares.
fn ranked(groups: &mut Vec<Ranked>, total: u64, k: usize) -> (Vec<Ranked>, u64) {
    groups.sort_by(Ranked::before);
    groups.truncate(k);
    let listed: u64 = groups.iter().map(|group| group.count).sum();
    (std::mem::take(groups), total - listed)
}

fn histogram(
    view: &View<'_>,
    query: &Query,
    buckets: Option<Buckets>,
) -> Result<(Vec<Ranked>, u64), QueryError> {
    let Some(spanned) = buckets else { return Ok((Vec::new(), 0)) };
    asking(view, query, Vec::new(), |asked| {
        let new = || Tally::new(vec![Dimension::new(Source::Time(buckets))], None);
        let counted = tallies(view, asked, new, |counted: &mut Vec<Counted>, tally| {
            counted.extend(tally.counted());
            Ok(())
        })?;
        Ok((in_buckets(spanned, counted), 0))
    })
}

/// One group a bucket, also where there is no event.
fn in_buckets(buckets: Buckets, counted: Vec<Counted>) -> Vec<Ranked> {
    let counts: HashMap<u128, u64> = counted.into_iter().collect();
    let group = |number: i64| {
        let start = Timestamp::from_millis(buckets.start(number));
        let code = u32::try_from(number).unwrap_or(u32::MAX);
        let count = counts.get(&u128::from(code)).copied().unwrap_or(0);
        Ranked { keys: vec![Key::Text(start.to_string())], raw: vec![Raw::Bucket(code)], count }
    };
    (0..buckets.count).map(group).collect()
}

/// What one question sees: the segments of its days as they were when it began.
/// A question looks more than once, and must not see a commit in between.
pub(super) struct View<'a> {
    pub(super) desk: &'a Desk,
    days: Vec<(Day, Segments)>,
}

impl<'a> View<'a> {
    pub(super) fn new(store: &'a Embedded, query: &Query) -> Result<Self, QueryError> {
        let mut days = Vec::new();
        for day in store.days_of(query) {
            days.extend(store.segments(day)?.map(|segments| (day, segments)));
        }
        Ok(Self { desk: &store.ready, days })
    }

    /// The segments of each day that a part of the question may find something in.
    pub(super) fn days(&self, range: TimeRange) -> impl Iterator<Item = &Segments> {
        let days = self.days.iter().filter(move |(day, _)| range.reaches(*day));
        days.map(|(_, segments)| segments)
    }

    /// The same segments one by one.
    pub(super) fn segments(&self, range: TimeRange) -> impl Iterator<Item = &Arc<Segment>> {
        self.days(range).flat_map(|segments| segments.iter())
    }
}

/// Reads the segments on this thread and, where there are several, another one.
pub(super) fn gather<S: Send, E: From<QueryError> + Send>(
    view: &View<'_>,
    query: &Query,
    new: impl Fn() -> S,
    read: impl Fn(&mut S, &Arc<Segment>) -> Result<(), E> + Sync,
    absorb: impl FnOnce(&mut S, S) -> Result<(), E>,
) -> Result<S, E> {
    // The largest of a day first, so that both threads end at about the same time.
    let mut all = Vec::new();
    for segments in view.days(query.range) {
        let begin = all.len();
        all.extend(segments.iter());
        let of_day = all.get_mut(begin..).unwrap_or_default();
        of_day.sort_by_key(|segment| std::cmp::Reverse(segment.docs()));
    }
    let several = all.len() > 1;
    let feed = Mutex::new(all.into_iter());
    let work = |mut state: S| -> Result<S, E> {
        loop {
            let next = lock(&feed).next();
            let Some(segment) = next else { return Ok(state) };
            read(&mut state, segment)?;
        }
    };
    if !several {
        return work(new());
    }
    let (mine, others) = (new(), new());
    let (mine, others) = threads::both(|| work(mine), || work(others));
    let mut all = mine?;
    absorb(&mut all, others?)?;
    Ok(all)
}

fn count(view: &View<'_>, query: &Query) -> Result<Aggregated, QueryError> {
    let all = |query: &Query, segment: &Arc<Segment>| {
        let ready = Ready::query(query, segment)?;
        if matches!(ready, Ready::All) {
            return Ok(u64::from(segment.docs()));
        }
        let mut count = 0;
        for_each_chunk(&ready, segment, |docs| {
            count += docs.len() as u64;
            Ok::<_, QueryError>(())
        })?;
        Ok::<_, QueryError>(count)
    };
    asking(view, query, Vec::new(), |asked| {
        let read = |count: &mut u64, segment: &Arc<Segment>| {
            let ask = asked.ask.as_ref();
            match ask.and_then(|ask| ready::cover(ask, query.range, None, segment, asked.desk)) {
                Some(Cover::Nothing) => return Ok(()),
                Some(Cover::Part(part)) => match part.size() {
                    Some((sum, _)) => {
                        asked.desk.answered();
                        *count += sum;
                        for edge in &part.edges {
                            let filter = query.filter.clone();
                            *count += all(&Query { range: *edge, filter }, segment)?;
                        }
                        return Ok(());
                    }
                    None => {
                        part.damaged(segment);
                        asked.scans(segment);
                    }
                },
                Some(Cover::Narrow) => {}
                None => asked.scans(segment),
            }
            *count += all(query, segment)?;
            Ok(())
        };
        let add = |count: &mut u64, other| {
            *count += other;
            Ok::<_, QueryError>(())
        };
        Ok(Aggregated::Count { count: gather(view, query, || 0, read, add)? })
    })
}

fn distinct(view: &View<'_>, query: &Query, field: Field) -> Result<Aggregated, QueryError> {
    asking(view, query, vec![field], |asked| {
        let read =
            |distinct: &mut Distinct, segment: &Arc<Segment>| distinct.read(asked, field, segment);
        let absorb = |distinct: &mut Distinct, other| {
            distinct.absorb(other);
            Ok::<_, QueryError>(())
        };
        Ok(gather(view, query, Distinct::new, read, absorb)?.answer())
    })
}

/// Which end of what matches.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// The buckets of a histogram: over the range, or over the data where it is open.
fn span(view: &View<'_>, query: &Query, interval: Interval) -> Result<Option<Buckets>, QueryError> {
    let ends = |end: End| -> Result<Option<i64>, QueryError> {
        match end {
            End::First => query.range.from.map(Timestamp::as_millis),
            End::Last => query.range.to.map(|to| to.as_millis() - 1),
        }
        .map_or_else(|| outermost(view, query, end), |known| Ok(Some(known)))
    };
    match (ends(End::First)?, ends(End::Last)?) {
        (Some(low), Some(high)) if low <= high => interval.buckets(low, high).map(Some),
        _ => Ok(None),
    }
}

/// The first or the last instant of what matches. The segment that may have it is
/// looked at first, and none that cannot have a better one.
fn outermost(view: &View<'_>, query: &Query, end: End) -> Result<Option<i64>, QueryError> {
    let ask = Ask::new(&query.filter, Vec::new());
    // So that the larger number is the better one.
    let outward = |at: i64| match end {
        End::First => at.saturating_neg(),
        End::Last => at,
    };
    let reach = |segment: &Segment| {
        let (first, last) = segment::span(segment);
        outward(match end {
            End::First => first.as_millis(),
            End::Last => last.as_millis(),
        })
    };
    let mut segments: Vec<&Arc<Segment>> = view.segments(query.range).collect();
    segments.sort_by_cached_key(|segment| std::cmp::Reverse(reach(segment)));
    let mut best: Option<i64> = None;
    for segment in segments {
        if best.is_some_and(|best| reach(segment) <= best) {
            break;
        }
        let mut scan = |range: TimeRange| {
            let query = Query { range, filter: query.filter.clone() };
            let ready = Ready::query(&query, segment)?;
            if matches!(ready, Ready::All) {
                best = best.max(Some(reach(segment)));
                return Ok(());
            }
            for_each_chunk(&ready, segment, |docs| {
                best = docs.iter().map(|doc| Some(outward(segment.at(*doc)))).fold(best, Ord::max);
                Ok::<_, QueryError>(())
            })
        };
        let cover =
            ask.as_ref().and_then(|ask| ready::cover(ask, query.range, None, segment, view.desk));
        let ranges = match cover {
            Some(Cover::Nothing) => Some(Vec::new()),
            Some(Cover::Part(part)) => match part.ends() {
                Some(mut ranges) => {
                    ranges.extend(&part.edges);
                    Some(ranges)
                }
                None => {
                    part.damaged(segment);
                    None
                }
            },
            Some(Cover::Narrow) | None => None,
        };
        ranges.unwrap_or_else(|| vec![query.range]).into_iter().try_for_each(&mut scan)?;
    }
    Ok(best.map(outward))
}

fn dimensions_of(fields: &[Field]) -> Vec<Dimension> {
    fields.iter().copied().map(Source::Field).map(Dimension::new).collect()
}

fn sources(aggregation: &Aggregation, buckets: Option<Buckets>) -> Vec<Source> {
    match aggregation {
        Aggregation::Count => Vec::new(),
        Aggregation::Distinct(field) => vec![Source::Field(*field)],
        Aggregation::Histogram(..) => vec![Source::Time(buckets)],
        Aggregation::Top(fields, ..) => fields.iter().copied().map(Source::Field).collect(),
    }
}

/// What the inside of one group is made of.
#[derive(Default)]
struct Inside {
    groups: Vec<Ranked>,
    /// Events of all groups, or how many different values.
    total: u64,
}

/// The nested answer of each outer group.
fn nested(
    view: &View<'_>,
    query: &Query,
    outer: &Aggregation,
    groups: &[Ranked],
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
    if groups.len().saturating_mul(each) > MAX_GROUPS {
        let reason = format!("the answer would have more than {MAX_GROUPS} groups; ask for fewer");
        return Err(QueryError::Unsupported(reason));
    }
    let (outer, inner) = (sources(outer, buckets), sources(sub, buckets));
    let fields = outer.iter().chain(&inner).filter_map(|source| match source {
        Source::Field(field) => Some(*field),
        Source::Time(_) => None,
    });
    let fields: Vec<Field> = fields.collect();
    if let ([Source::Time(Some(buckets))], Aggregation::Top(fields, k, _)) = (outer.as_slice(), sub)
        && buckets.count <= MAX_SINGLE_BUCKETS
        && many_counts(view, query, fields, *buckets)?
    {
        return (0..buckets.count)
            .map(|number| {
                let (groups, other) = top(view, &within(query, *buckets, number), fields, *k)?;
                Ok(Aggregated::Buckets { buckets: plain(groups), other })
            })
            .collect();
    }
    // The values of the listed groups get numbers of their own.
    let mut codes = vec![0u128; groups.len()];
    let mut chosen = Vec::new();
    for place in 0..outer.len() {
        let mut values: Vec<&Raw> = Vec::new();
        let mut numbers: std::collections::HashMap<&Raw, u32> = Default::default();
        for (group, code) in groups.iter().zip(&mut codes) {
            let number = match group.raw.get(place) {
                Some(Raw::Bucket(number)) => *number,
                Some(raw) => *numbers.entry(raw).or_insert_with(|| {
                    values.push(raw);
                    u32::try_from(values.len() - 1).unwrap_or(u32::MAX)
                }),
                None => u32::MAX,
            };
            *code = tally::joined([*code as u32, number].into_iter());
        }
        chosen.push(values);
    }
    let wanted: Arc<HashSet<u128>> = Arc::new(codes.iter().copied().collect());
    let new = || {
        let only =
            outer.iter().zip(&chosen).map(|(source, values)| Dimension::only(*source, values));
        let all = only.chain(inner.iter().copied().map(Dimension::new)).collect();
        Tally::new(all, Some((Arc::clone(&wanted), inner.len())))
    };
    let fold = |inside: &mut HashMap<u128, Inside>, tally: Tally| {
        let mut counted: HashMap<u128, Vec<Counted>> = HashMap::default();
        for (key, count) in tally.counted() {
            let (group, rest) = tally::divided(key, inner.len());
            counted.entry(group).or_default().push((rest, count));
        }
        let dimensions = tally.dimensions.get(outer.len()..).unwrap_or_default();
        for (group, counted) in counted {
            let inside = inside.entry(group).or_default();
            match (sub, buckets) {
                (Aggregation::Top(_, k, _), _) => {
                    let some = rank::top(dimensions, counted, *k)?;
                    collect(&mut inside.groups, &mut inside.total, some);
                }
                (Aggregation::Histogram(..), Some(buckets)) => {
                    inside.groups = in_buckets(buckets, counted);
                }
                _ => inside.total += counted.len() as u64,
            }
        }
        Ok(())
    };
    let mut inside = asking(view, query, fields, |asked| tallies(view, asked, new, fold))?;
    let answer = |code: u128| {
        let mut inside = inside.remove(&code).unwrap_or_default();
        match (sub, buckets) {
            (Aggregation::Top(_, k, _), _) => {
                let (groups, other) = ranked(&mut inside.groups, inside.total, *k);
                Aggregated::Buckets { buckets: plain(groups), other }
            }
            (Aggregation::Histogram(..), Some(buckets)) => {
                if inside.groups.is_empty() {
                    inside.groups = in_buckets(buckets, Vec::new());
                }
                Aggregated::Buckets { buckets: plain(inside.groups), other: 0 }
            }
            (Aggregation::Histogram(..), None) => {
                Aggregated::Buckets { buckets: Vec::new(), other: 0 }
            }
            _ => Aggregated::Distinct { count: inside.total, exact: true },
        }
    };
    Ok(codes.into_iter().map(answer).collect())
}

fn plain(groups: Vec<Ranked>) -> Vec<Bucket> {
    let plain = |group: Ranked| Bucket { key: group.keys, count: group.count, sub: None };
    groups.into_iter().map(plain).collect()
}

/// The part of a query that lies in one bucket.
fn within(query: &Query, buckets: Buckets, number: i64) -> Query {
    let TimeRange { from, to } = query.range;
    let start = (number > 0).then(|| Timestamp::from_millis(buckets.start(number)));
    let end = buckets.start(number + 1);
    // The calendar's last bucket has no end.
    let end = Some(Timestamp::from_millis(end)).filter(|at| at.as_millis() == end);
    let to = match (end, to) {
        (Some(end), Some(to)) => Some(end.min(to)),
        (end, to) => end.or(to),
    };
    Query { range: TimeRange { from: from.max(start), to }, filter: query.filter.clone() }
}

/// Whether the ready aggregates of a histogram of tops have so many counts that
/// it is better not to add up all.
fn many_counts(
    view: &View<'_>,
    query: &Query,
    fields: &[Field],
    buckets: Buckets,
) -> Result<bool, QueryError> {
    let Some(ask) = Ask::new(&query.filter, fields.to_vec()) else { return Ok(false) };
    let mut counts = 0;
    for segments in view.days(query.range) {
        for segment in segments.iter() {
            let cover = ready::cover(&ask, query.range, Some(buckets), segment, view.desk);
            if let Some(Cover::Part(part)) = cover {
                let one = part.bucket(buckets, segment).and_then(|_| part.size());
                let all = one.map(|(_, counts)| counts).or_else(|| part.unit_counts());
                counts += all.unwrap_or(0);
            }
        }
        if counts > MANY * view.desk.options.few_counts {
            return Ok(true);
        }
    }
    Ok(false)
}
