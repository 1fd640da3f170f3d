//! The most frequent values over many segments without adding up all.
//!
//! What has a count below a threshold in every list of counts cannot be among
//! the largest, so only values with a larger count in some list are looked at
//! (TPUT: Cao and Wang, "Efficient top-k query calculation in distributed
//! networks", 2004). Every segment's file is such a list; all events that are
//! counted one by one make up another one. Where the counts are so even that
//! this would look at too much, all are added up as if there was no threshold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};

use super::super::aggregate::View;
use super::super::dimension::{Dimension, Raw, Source};
use super::super::lock;
use super::super::quick::HashMap;
use super::super::rank::Ranked;
use super::super::segment::Segment;
use super::super::tally::{Asked, Stop, Tally, part_of};
use super::super::threads::both;
use super::cover::{Cover, Part, cover};
use super::listed::{Ident, List};
use crate::query::{Field, Query, TimeRange};
use crate::{Key, QueryError};

/// Most counts that are compared before all are added up instead.
const MAX_COMPARED: usize = 300_000;
/// Most values that are looked up in lists, times lists.
const MAX_LOOKUPS: u64 = 60_000;
/// Most values whose counts are looked up; with more, such as many equal ones,
/// all counts are added up.
const MAX_SURVIVORS: usize = 10_000;
/// Least counts that are compared first in each list.
const FIRST_COMPARED: usize = 64;

type Answer = (Vec<Ranked>, u64);

/// The `k` most frequent combinations of the fields, and how many events the
/// others had; `None` where all must be added up.
pub(in crate::embedded) fn top(
    view: &View<'_>,
    asked: &Asked<'_>,
    fields: &[Field],
    k: usize,
) -> Result<Option<Answer>, QueryError> {
    let Some(ask) = &asked.ask else { return Ok(None) };
    let (mut parts, mut rest, mut missed, mut counts) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for segment in view.segments(asked.query.range) {
        match cover(ask, asked.query.range, None, segment, view.desk) {
            Some(Cover::Narrow) => {
                rest.push(Work::Count(Arc::clone(segment), asked.query.range));
            }
            None => {
                missed.push(Arc::clone(segment));
                rest.push(Work::Count(Arc::clone(segment), asked.query.range));
            }
            Some(Cover::Nothing) => {}
            Some(Cover::Part(part)) => {
                let Some((sum, len)) = part.size() else { return Ok(None) };
                counts += len;
                let edges = part.edges.iter();
                rest.extend(edges.map(|edge| Work::Count(Arc::clone(segment), *edge)));
                if sum > 0 {
                    parts.push((Arc::clone(segment), part));
                }
            }
        }
    }
    if counts < view.desk.options.few_counts {
        return Ok(None);
    }
    missed.iter().for_each(|segment| asked.scans(segment));
    parts.iter().for_each(|_| asked.desk.answered());
    let work = rest.into_iter().chain(parts.into_iter().map(|(s, p)| Work::List(s, p))).collect();
    let lists = match lists(asked, fields, work) {
        Ok(Some(lists)) => lists,
        Ok(None) | Err(Stop::TooMany(_)) => return Ok(None),
        Err(Stop::Failed(error)) => return Err(error),
    };
    lists.top(k)
}

enum Work {
    Count(Arc<Segment>, TimeRange),
    List(Arc<Segment>, Part),
}

/// What one thread made.
struct Made {
    rest: Tally,
    lists: Vec<List>,
    damaged: bool,
}

fn tally(fields: &[Field]) -> Tally {
    Tally::new(fields.iter().copied().map(Source::Field).map(Dimension::new).collect(), None)
}

/// Makes the lists on two threads; `None` where a file is damaged.
fn lists<'a>(
    asked: &Asked<'_>,
    fields: &'a [Field],
    work: Vec<Work>,
) -> Result<Option<Lists<'a>>, Stop> {
    let queue = Mutex::new(work.into_iter());
    let make = |rest: Tally| {
        let mut made = Made { rest, lists: Vec::new(), damaged: false };
        loop {
            let next = lock(&queue).next();
            match next {
                None => return Ok(made),
                Some(Work::Count(segment, range)) => {
                    let query = Query { range, filter: asked.query.filter.clone() };
                    made.rest.scan(asked, &query, &segment)?;
                    made.rest.checked(asked)?;
                }
                Some(Work::List(segment, part)) => match List::new(segment, part) {
                    Some(list) => made.lists.push(list),
                    None => made.damaged = true,
                },
            }
        }
    };
    let (mine, others) = (tally(fields), tally(fields));
    let (mine, others): (Result<Made, Stop>, _) = both(|| make(mine), || make(others));
    let (mut mine, others) = (mine?, others?);
    mine.rest.absorb(others.rest, asked)?;
    mine.lists.extend(others.lists);
    if mine.damaged || others.damaged {
        return Ok(None);
    }
    let counts = mine.rest.counted();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let rest = Rest { tally: mine.rest, counts, most };
    Ok(Some(Lists { fields, stored: mine.lists, rest }))
}

/// What was counted one by one.
struct Rest {
    tally: Tally,
    counts: Vec<(u128, u64)>,
    most: u64,
}

impl Rest {
    fn ident(&self, key: u128) -> Ident {
        let dimensions = &self.tally.dimensions;
        let value = |place: usize| {
            let dimension = dimensions.get(place)?;
            dimension.value_of(part_of(key, dimensions.len() - 1 - place))
        };
        [value(0).unwrap_or(0), value(1).unwrap_or(0)]
    }

    fn raw(&self, key: u128) -> Result<Vec<Raw>, QueryError> {
        let dimensions = &self.tally.dimensions;
        let mut values = Vec::new();
        for (place, dimension) in dimensions.iter().enumerate() {
            let code = part_of(key, dimensions.len() - 1 - place);
            let found = dimension.smallest(std::iter::once(code), 1)?;
            values.extend(found.first().map(|(key, code)| dimension.raw(*code, key)));
        }
        Ok(values)
    }

    fn largest(&self, most: usize) -> Vec<(u128, u64)> {
        let mut counts = self.counts.clone();
        if counts.len() > most {
            counts.select_nth_unstable_by_key(most, |(_, count)| Reverse(*count));
            counts.truncate(most);
        }
        counts
    }
}

/// Where a value was seen first.
#[derive(Clone, Copy)]
enum Origin {
    List(usize, u32),
    Rest(u128),
}

/// A value that may be among the largest.
struct Candidate {
    origin: Origin,
    /// Events in the lists that it was seen in.
    sum: u64,
    /// These lists; the rest is behind the last.
    seen: Vec<u16>,
}

type Candidates = HashMap<Ident, Candidate>;

struct Lists<'a> {
    fields: &'a [Field],
    stored: Vec<List>,
    rest: Rest,
}

impl Lists<'_> {
    fn top(&self, k: usize) -> Result<Option<Answer>, QueryError> {
        if self.stored.len() >= usize::from(u16::MAX) {
            return Ok(None);
        }
        let first = k.max(FIRST_COMPARED);
        let some = |list: &List| list.largest(first);
        let Some(seen) = self.candidates(some, self.rest.largest(first))? else { return Ok(None) };
        // What the k-th largest has at least.
        let mut floor = kth(seen.values().map(|candidate| candidate.sum), k);
        let mut least = self.threshold(floor);
        loop {
            let some = |list: &List| list.at_least(least);
            let rest = self.rest.counts.iter().filter(|(_, count)| *count >= least);
            let Some(seen) = self.candidates(some, rest.copied().collect())? else {
                return Ok(None);
            };
            floor = floor.max(kth(seen.values().map(|candidate| candidate.sum), k));
            // Most events that a value may have in a list that it was not seen in.
            let unseen = |list: usize| self.most(list).min(least.saturating_sub(1));
            let all: u64 = (0..=self.stored.len()).map(unseen).sum();
            let upper = |candidate: &Candidate| {
                let here: u64 = candidate.seen.iter().map(|list| unseen(usize::from(*list))).sum();
                candidate.sum + all - here
            };
            let survivors = seen.into_iter().map(|(ident, found)| (upper(&found), ident, found));
            let survivors: Vec<_> = survivors.filter(|(upper, ..)| *upper >= floor).collect();
            if survivors.len() > MAX_SURVIVORS {
                if least == 1 {
                    return Ok(None);
                }
                least = (least / 4).max(1);
                continue;
            }
            let absent = |found: &Candidate| (self.stored.len() + 1 - found.seen.len()) as u64;
            let look_ups: u64 = survivors.iter().map(|(_, _, found)| absent(found)).sum();
            if least > 1 && look_ups > MAX_LOOKUPS {
                least = (least / 4).max(1);
                continue;
            }
            return self.settle(survivors, least, k);
        }
    }

    /// The most that one value has in a list.
    fn most(&self, list: usize) -> u64 {
        self.stored.get(list).map_or(self.rest.most, |list| list.most)
    }

    /// The largest count such that a value that has less in every list has less
    /// than `floor` together.
    fn threshold(&self, floor: u64) -> u64 {
        let together = |least: u64| -> u64 {
            (0..=self.stored.len()).map(|list| self.most(list).min(least - 1)).sum()
        };
        let (mut low, mut high) = (1, floor.max(1));
        while low < high {
            let middle = high - (high - low) / 2;
            if together(middle) < floor { low = middle } else { high = middle - 1 }
        }
        low
    }

    /// The values of some counts of each list; `None` where there are too many.
    fn candidates(
        &self,
        some: impl Fn(&List) -> Option<Vec<(u32, u64)>> + Sync,
        rest: Vec<(u128, u64)>,
    ) -> Result<Option<Candidates>, QueryError> {
        let mut room = MAX_COMPARED.saturating_sub(rest.len());
        let mut chosen = Vec::new();
        for list in &self.stored {
            let Some(counts) = some(list) else { return Ok(None) };
            let Some(left) = room.checked_sub(counts.len()) else { return Ok(None) };
            room = left;
            chosen.push(counts);
        }
        let next = Mutex::new(self.stored.iter().zip(&chosen).enumerate());
        let read = || {
            let mut found = Vec::new();
            loop {
                let next = lock(&next).next();
                let Some((number, (list, counts))) = next else { return Ok(Some(found)) };
                let codes: Vec<u32> = counts.iter().map(|(code, _)| *code).collect();
                match list.idents(self.fields, &codes)? {
                    Some(idents) => found.push((number, counts, idents)),
                    None => return Ok(None),
                }
            }
        };
        let (mine, others): (Result<_, QueryError>, _) = both(read, read);
        let (Some(mine), Some(others)) = (mine?, others?) else { return Ok(None) };
        let mut seen = Candidates::default();
        let mut add = |ident: Ident, list: usize, count: u64, origin: Origin| {
            let new = || Candidate { origin, sum: 0, seen: Vec::new() };
            let candidate = seen.entry(ident).or_insert_with(new);
            candidate.sum += count;
            candidate.seen.push(list as u16);
        };
        for (number, counts, idents) in mine.into_iter().chain(others) {
            for ((code, count), ident) in counts.iter().zip(idents) {
                add(ident, number, *count, Origin::List(number, *code));
            }
        }
        for (key, count) in rest {
            add(self.rest.ident(key), self.stored.len(), count, Origin::Rest(key));
        }
        Ok(Some(seen))
    }

    fn raw(&self, origin: Origin) -> Result<Option<Vec<Raw>>, QueryError> {
        match origin {
            Origin::Rest(key) => self.rest.raw(key).map(Some),
            Origin::List(list, code) => match self.stored.get(list) {
                Some(list) => list.raw(self.fields, code),
                None => Ok(None),
            },
        }
    }

    /// Looks up what is not known yet of those that may be among the largest,
    /// the most promising first, and lists the largest.
    fn settle(
        &self,
        mut survivors: Vec<(u64, Ident, Candidate)>,
        least: u64,
        k: usize,
    ) -> Result<Option<Answer>, QueryError> {
        survivors.sort_by_key(|(upper, ..)| Reverse(*upper));
        let codes: HashMap<u128, u64> = self.rest.counts.iter().copied().collect();
        let next = Mutex::new(survivors.iter());
        let read = || {
            let mut found = Vec::new();
            // The k largest so far; the least of them on top.
            let mut largest: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
            loop {
                let next = lock(&next).next();
                let Some((upper, ident, candidate)) = next else { return Ok(Some(found)) };
                let enough = largest.peek().filter(|_| largest.len() >= k);
                if enough.is_some_and(|least| *upper < least.0) {
                    return Ok(Some(found));
                }
                let Some(raw) = self.raw(candidate.origin)? else { return Ok(None) };
                let mut sum = candidate.sum;
                for (number, list) in self.stored.iter().enumerate() {
                    if least > 1 && !candidate.seen.contains(&(number as u16)) {
                        match list.look_up(self.fields, &raw)? {
                            Some(count) => sum += count,
                            None => return Ok(None),
                        }
                    }
                }
                if !candidate.seen.contains(&(self.stored.len() as u16)) {
                    sum += self.in_rest(ident, &codes);
                }
                largest.push(Reverse(sum));
                if largest.len() > k {
                    largest.pop();
                }
                found.push((sum, raw));
            }
        };
        let (mine, others): (Result<_, QueryError>, _) = both(read, read);
        let (Some(mut found), Some(others)) = (mine?, others?) else { return Ok(None) };
        found.extend(others);
        let floor = kth(found.iter().map(|(sum, _)| *sum), k);
        let ranked = |(count, raw): (u64, Vec<Raw>)| {
            let keys: Vec<Key> =
                raw.iter().zip(self.fields).map(|(raw, field)| raw.key(*field)).collect();
            Ranked { keys, raw, count }
        };
        let largest = found.into_iter().filter(|(sum, _)| *sum >= floor && *sum > 0);
        let mut groups: Vec<Ranked> = largest.map(ranked).collect();
        groups.sort_by(Ranked::before);
        groups.truncate(k);
        let total: u64 = self.stored.iter().map(|list| list.sum).sum::<u64>()
            + self.rest.counts.iter().map(|(_, count)| count).sum::<u64>();
        let listed: u64 = groups.iter().map(|group| group.count).sum();
        Ok(Some((groups, total - listed)))
    }

    fn in_rest(&self, ident: &Ident, counts: &HashMap<u128, u64>) -> u64 {
        let mut key = 0u128;
        for (dimension, value) in self.rest.tally.dimensions.iter().zip(ident) {
            match dimension.find(*value) {
                Some(code) => key = key << 32 | u128::from(code),
                None => return 0,
            }
        }
        counts.get(&key).copied().unwrap_or(0)
    }
}

/// The k-th largest, 0 where there are fewer.
fn kth(counts: impl Iterator<Item = u64>, k: usize) -> u64 {
    let mut counts: Vec<u64> = counts.collect();
    if counts.len() < k || k == 0 {
        return 0;
    }
    *counts.select_nth_unstable_by_key(k - 1, |count| Reverse(*count)).1
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use palisade_event::{
        Credentials, Endpoint, Event, EventId, EventKind, SensorId, Timestamp, Untrusted,
    };

    use super::super::super::Embedded;
    use super::super::{Ask, ReadyOptions};
    use super::*;
    use crate::Config;
    use crate::query::Filter;

    const NOON: i64 = 1_795_132_800_000 + 12 * 3_600_000;

    fn event(n: u64) -> Arc<Event> {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let at = Timestamp::from_millis(NOON - (n % 2) as i64 * 86_400_000);
        let sensor = SensorId::new("edge").unwrap();
        let id = EventId::new(at, n.into());
        let mut event = Event::new(id, EventKind::AuthAttempted, at, sensor);
        let word = |n: u64| Some(Untrusted::from(format!("{n:x}")));
        event.credentials = Some(Credentials {
            username: word(mixed % 7),
            password: word(mixed % (1 + mixed / 3 % 400)),
            outcome: None,
        });
        event.source = Some(Endpoint {
            address: std::net::Ipv4Addr::from_bits((mixed % (1 + mixed / 11 % 900)) as u32).into(),
            port: None,
            transport: None,
        });
        Arc::new(event)
    }

    #[test]
    fn thresholds_find_the_largest_and_how_many_the_others_had() {
        let dir = tempfile::tempdir().unwrap();
        let ready = ReadyOptions { min_events: 1, few_counts: 0, ..ReadyOptions::default() };
        let store = Embedded::open(dir.path(), &Config { ready, ..Config::default() }).unwrap();
        let batch: Vec<_> = (0..4000).map(event).collect();
        store.append(&batch).unwrap();
        store.commit().unwrap();
        while store.maintain(Timestamp::from_millis(NOON)).unwrap() {}
        for fields in [vec![Field::Password], vec![Field::Ip], vec![Field::Password, Field::User]] {
            let mut counts = HashMap::<Vec<String>, u64>::default();
            for event in &batch {
                let login = event.credentials.as_ref().unwrap();
                let text =
                    |text: &Option<Untrusted>| text.as_ref().unwrap().to_lossy().into_owned();
                let key = fields.iter().map(|field| match field {
                    Field::Password => text(&login.password),
                    Field::User => text(&login.username),
                    _ => event.source.unwrap().address.to_string(),
                });
                *counts.entry(key.collect()).or_default() += 1;
            }
            let mut expected: Vec<(u64, Vec<String>)> =
                counts.into_iter().map(|(key, count)| (count, key)).collect();
            expected.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            for k in [1, 10, 60] {
                let asked = Asked {
                    query: &Query::ALL,
                    ask: Ask::new(&Filter::All, fields.clone()),
                    desk: &store.ready,
                    missed: AtomicBool::new(false),
                };
                let view = View::new(&store, &Query::ALL).unwrap();
                let (groups, other) = top(&view, &asked, &fields, k).unwrap().unwrap();
                let text = |key: &Key| match key {
                    Key::Text(text) => text.clone(),
                    Key::Integer(number) => number.to_string(),
                };
                let found: Vec<(u64, Vec<String>)> = groups
                    .iter()
                    .map(|group| (group.count, group.keys.iter().map(text).collect()))
                    .collect();
                assert_eq!(found, expected[..k]);
                assert_eq!(other, expected[k..].iter().map(|(count, _)| count).sum::<u64>());
            }
        }
    }
}
