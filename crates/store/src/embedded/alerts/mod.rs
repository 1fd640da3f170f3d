//! Counts alerts by either of an event's times.
//!
//! A day of the store holds what was *observed* on it; these questions mostly go
//! by *receipt*. So each segment says from when to when its events were received:
//! one that lies outside a range is left out, one that lies inside answers with
//! a table of all its alerts, and only one that the range cuts is looked at more
//! closely: a table by units of time answers for whole units, and the events of
//! the cut unit are counted (`scan`). Tables are counted when first asked for and
//! kept in memory (`cache`); a segment never changes, so neither does a table,
//! and an event that is late, sent again or expired needs no thought here.
//! `table` counts them, `columns` reads the values, `honeypots` counts different
//! hosts and daemons.

mod cache;
mod columns;
mod honeypots;
mod scan;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_event::Day;
use tantivy::TantivyError;

pub(super) use self::cache::Cache;
use self::columns::{Columns, key_of};
use self::scan::{Zones, span};
use self::table::{Entry, Table};
use super::quick::HashMap;
use super::segment::Segment;
use super::{Embedded, lock};
use crate::alert::{AlertGroup, AlertOptions, AlertQuestion, Clock, MS_PER_DAY};
use crate::{AlertField, Domains, QueryError};

/// Widths of a unit of time that a range may be cut at, in milliseconds.
const WIDTHS: [i64; 5] = [MS_PER_DAY, 6 * HOUR, HOUR, 10 * MINUTE, MINUTE];
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Events of missing tables that one thread counts.
const FEW_MISSING: u64 = 65_536;
/// Most events of a segment whose addresses are tabled by units of time.
const MAX_WIDE_DOCS: u32 = 1_000_000;
/// Threads that count tables.
const THREADS: usize = 2;

/// How a segment answers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    /// The table that answers for `[first, end)` of its units; none where all of
    /// the range is counted.
    table: Option<(Unit, i64, i64)>,
    /// Ranges of time whose events are counted, half-open.
    edges: Vec<(i64, i64)>,
}

/// What a table is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    /// Nothing: the whole segment.
    Whole,
    /// Units of time of so many milliseconds.
    Millis(i64),
}

impl Plan {
    /// For a segment of so many events with times in `[low, high]`; `None` where
    /// none of them lies in the range.
    fn new(
        question: &AlertQuestion,
        (low, high): (i64, i64),
        docs: u32,
        options: AlertOptions,
    ) -> Option<Self> {
        let (from, to) = (question.from.as_millis(), question.to.as_millis());
        if high < from || to <= low || to <= from {
            return None;
        }
        let whole = Self { table: Some((Unit::Whole, i64::MIN, i64::MAX)), edges: Vec::new() };
        let is_inside = from <= low && high < to;
        let part = (from.max(low), to.min(high.saturating_add(1)));
        if let Some(width) = question.bucket_ms {
            if is_inside && low.div_euclid(width) == high.div_euclid(width) {
                return Some(whole);
            }
            let units = (from.div_euclid(width), to.div_euclid(width));
            return Some(Self {
                table: Some((Unit::Millis(width), units.0, units.1)),
                edges: Vec::new(),
            });
        }
        if is_inside {
            return Some(whole);
        }
        // Addresses are nearly as many as alerts: their table by units of a long
        // segment would be larger than what it saves.
        let is_wide = question.by == AlertField::Source && docs > MAX_WIDE_DOCS;
        if docs <= options.few_events || is_wide {
            return Some(Self { table: None, edges: vec![part] });
        }
        let cuts = [(from > low).then_some(from), (to <= high).then_some(to)];
        let is_even = |width: &i64| cuts.iter().flatten().all(|cut| cut % width == 0);
        let is_short = |width: &i64| {
            let units = (high - low) / width + 1;
            *width <= HOUR && i64::from(docs) / units <= options.unit_events
        };
        let width = WIDTHS.into_iter().find(is_even);
        let width = width.or_else(|| WIDTHS.into_iter().find(is_short)).unwrap_or(MINUTE);
        let first = if from > low {
            from.div_euclid(width) + i64::from(from % width != 0)
        } else {
            low.div_euclid(width)
        };
        let end = if to <= high { to.div_euclid(width) } else { high.div_euclid(width) + 1 };
        if first >= end {
            return Some(Self { table: None, edges: vec![part] });
        }
        let edges = [(part.0, first * width), (end * width, part.1)];
        let edges = edges.into_iter().filter(|(from, to)| from < to).collect();
        Some(Self { table: Some((Unit::Millis(width), first, end)), edges })
    }
}

/// What one segment answers.
struct Part {
    segment: Arc<Segment>,
    /// First instant of its events.
    low: i64,
    table: Option<(Arc<Table>, Unit, i64, i64)>,
    /// What was counted one by one.
    counted: Vec<Entry>,
}

impl Part {
    /// Calls `each` with the entries of a unit and the instant that it begins at.
    fn for_each_unit(&self, domains: Domains, mut each: impl FnMut(i64, &[Entry])) {
        if !self.counted.is_empty() {
            each(self.low, &self.counted);
        }
        let Some((table, unit, first, end)) = &self.table else { return };
        table.for_each_unit(domains, |number, entries| match unit {
            Unit::Whole => each(self.low, entries),
            Unit::Millis(width) if (first..end).contains(&&number) => {
                each(number.saturating_mul(*width), entries);
            }
            Unit::Millis(_) => {}
        });
    }
}

/// One group while it is counted, and where its value can be read.
struct Found {
    count: u64,
    part: usize,
    code: u32,
}

impl Embedded {
    pub(crate) fn count_alerts(
        &self,
        question: &AlertQuestion,
    ) -> Result<Vec<AlertGroup>, QueryError> {
        let buckets = question.buckets()?;
        let parts = self.parts(question)?;
        let mut found: HashMap<u128, Found> = HashMap::default();
        for (number, part) in parts.iter().enumerate() {
            part.for_each_unit(question.domains, |_, entries| {
                for entry in entries {
                    let new = || Found { count: 0, part: number, code: entry.code };
                    found.entry(entry.key()).or_insert_with(new).count += u64::from(entry.count);
                }
            });
        }
        let mut found: Vec<(u128, Found)> = found.into_iter().collect();
        if let Some(most) = question.most.filter(|most| *most < found.len()) {
            // Those that are as frequent as the last one stay; their values decide.
            let least = most.checked_sub(1).map_or(u64::MAX, |last| {
                let by_count = |a: &(u128, Found), b: &(u128, Found)| b.1.count.cmp(&a.1.count);
                found.select_nth_unstable_by(last, by_count).1.1.count
            });
            found.retain(|(_, found)| found.count >= least);
        }
        let mut places: HashMap<u128, usize> = HashMap::default();
        let mut groups = Vec::with_capacity(found.len());
        for (key, Found { count, part, code }) in found {
            let Some(part) = parts.get(part) else { continue };
            let value = key_of(question.by, key, code, &part.segment)?;
            places.insert(key, groups.len());
            groups.push(AlertGroup { key: value, count, buckets: vec![0; buckets] });
        }
        if let Some(width) = question.bucket_ms {
            let from = question.from.as_millis();
            for part in &parts {
                part.for_each_unit(question.domains, |at, entries| {
                    let bucket = usize::try_from((at - from).div_euclid(width)).ok();
                    let mut add = |key: u128, count: u32| {
                        let group = places.get(&key).and_then(|place| groups.get_mut(*place));
                        let bucket = bucket.and_then(|at| group?.buckets.get_mut(at));
                        if let Some(bucket) = bucket {
                            *bucket += u64::from(count);
                        }
                    };
                    // Few groups are left, each unit has its values in order.
                    if places.len() * 16 < entries.len() {
                        for key in places.keys() {
                            let first = entries.partition_point(|entry| entry.key() < *key);
                            let same = entries.get(first..).unwrap_or_default().iter();
                            same.take_while(|entry| entry.key() == *key)
                                .for_each(|entry| add(*key, entry.count));
                        }
                    } else {
                        entries.iter().for_each(|entry| add(entry.key(), entry.count));
                    }
                });
            }
        }
        Ok(question.sorted(groups))
    }

    /// The segments that may hold something of a range, day by day.
    fn segments_in(&self, question: &AlertQuestion) -> Result<Vec<Arc<Segment>>, QueryError> {
        let (from, to) = (question.from.as_millis(), question.to.as_millis());
        let mut all = Vec::new();
        for (day, version) in self.day_versions() {
            let is_apart = match question.clock {
                Clock::Observed => day.end().as_millis() <= from || to <= day.start().as_millis(),
                Clock::Received => self
                    .alerts
                    .received(day, version)
                    .is_some_and(|span| span.is_none_or(|(low, high)| high < from || to <= low)),
            };
            if is_apart {
                continue;
            }
            let segments = self.segments(day)?.unwrap_or_default();
            if question.clock == Clock::Received {
                let mut received = None;
                for segment in segments.iter() {
                    if let Some((low, high)) = span(segment, Clock::Received)? {
                        let known: (i64, i64) = received.unwrap_or((low, high));
                        received = Some((known.0.min(low), known.1.max(high)));
                    }
                }
                self.alerts.note_received(day, version, received);
            }
            all.extend(segments.iter().cloned());
        }
        Ok(all)
    }

    fn day_versions(&self) -> Vec<(Day, u64)> {
        lock(&self.days).all.iter().map(|(day, entry)| (*day, entry.version)).collect()
    }

    /// What each segment answers; the tables that are missing are counted by
    /// several threads.
    fn parts(&self, question: &AlertQuestion) -> Result<Vec<Part>, QueryError> {
        let mut work = Vec::new();
        let mut missing: u64 = 0;
        for segment in self.segments_in(question)? {
            let Some(times) = span(&segment, question.clock)? else { continue };
            let Some(plan) = Plan::new(question, times, segment.docs(), self.config.alerts) else {
                continue;
            };
            let table = plan.table.map(|(unit, ..)| (question.by, question.clock, unit));
            if table.is_some_and(|table| !self.alerts.has(&segment, table)) {
                missing += u64::from(segment.docs());
            }
            work.push((segment, times.0, plan));
        }
        let one = |(segment, low, plan): &(Arc<Segment>, i64, Plan)| {
            self.part(question, segment, *low, plan)
        };
        if work.len() < 2 || missing < FEW_MISSING {
            return Ok(work.iter().map(one).collect::<Result<_, _>>()?);
        }
        let next = AtomicUsize::new(0);
        let run = || {
            let mut done = Vec::new();
            while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(one(item)?);
            }
            Ok::<_, TantivyError>(done)
        };
        let mut parts = Vec::with_capacity(work.len());
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(run)).collect();
            parts.extend(run()?);
            for other in others {
                let failed =
                    |_| QueryError::Failed("a thread that read the store ended".to_owned());
                parts.extend(other.join().map_err(failed)??);
            }
            Ok::<_, QueryError>(parts)
        })
    }

    fn part(
        &self,
        question: &AlertQuestion,
        segment: &Arc<Segment>,
        low: i64,
        plan: &Plan,
    ) -> Result<Part, TantivyError> {
        let table = match plan.table {
            None => None,
            Some((unit, first, end)) => {
                let table =
                    self.alerts.table(segment, (question.by, question.clock, unit), || {
                        Table::count(question.by, question.clock, unit, segment)
                    })?;
                Some((table, unit, first, end))
            }
        };
        let mut counted = Vec::new();
        if !plan.edges.is_empty() {
            let zones = self.zones(segment, question.clock)?;
            counted = scan::count(question, segment, &plan.edges, &zones)?;
        }
        Ok(Part { segment: Arc::clone(segment), low, table, counted })
    }

    fn zones(&self, segment: &Arc<Segment>, clock: Clock) -> Result<Arc<Zones>, TantivyError> {
        if segment.docs() <= self.config.alerts.few_events {
            return Ok(Arc::default());
        }
        self.alerts.zones(segment, clock, || Zones::read(segment, clock))
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;

    fn question(from: i64, to: i64, bucket_ms: Option<i64>) -> AlertQuestion {
        AlertQuestion {
            domains: Domains::Both,
            clock: Clock::Received,
            from: Timestamp::from_millis(from),
            to: Timestamp::from_millis(to),
            by: AlertField::Category,
            bucket_ms,
            most: None,
        }
    }

    #[test]
    fn a_range_that_is_cut_is_made_of_whole_units_and_what_is_left_at_its_ends() {
        let day = 20_000 * MS_PER_DAY;
        let times = (day + 5, day + MS_PER_DAY - 7);
        let options = AlertOptions::default();
        let plan = |from, to, docs| Plan::new(&question(from, to, None), times, docs, options);
        assert_eq!(plan(0, day, 9), None);
        assert_eq!(plan(day + MS_PER_DAY - 6, day * 2, 9), None);
        let whole = plan(day, day + MS_PER_DAY, 3_000_000).unwrap();
        assert_eq!(whole.table, Some((Unit::Whole, i64::MIN, i64::MAX)));
        // Few events are counted.
        let few = plan(day + 70_001, day * 2, 9).unwrap();
        assert_eq!((few.table, few.edges), (None, vec![(day + 70_001, times.1 + 1)]));
        // A range that begins at an even hour is answered by hours.
        let even = plan(day + HOUR, day * 2, 3_000_000).unwrap();
        let hours = day / HOUR;
        assert_eq!(even.table, Some((Unit::Millis(HOUR), hours + 1, hours + 24)));
        assert_eq!(even.edges, []);
        // One that begins in the middle of an hour leaves the rest of it.
        let odd = plan(day + HOUR + 1, day + 3 * HOUR + 2, 3_000_000).unwrap();
        assert_eq!(odd.table, Some((Unit::Millis(HOUR), hours + 2, hours + 3)));
        let edges = vec![(day + HOUR + 1, day + 2 * HOUR), (day + 3 * HOUR, day + 3 * HOUR + 2)];
        assert_eq!(odd.edges, edges);
        // Many events a second make short units.
        let dense = plan(day + HOUR + 1, day * 2, 100_000_000).unwrap();
        assert_eq!(dense.table.unwrap().0, Unit::Millis(MINUTE));
    }

    #[test]
    fn buckets_are_answered_by_tables_alone() {
        let day = 20_000 * MS_PER_DAY;
        let question = question(day, day + 28 * MS_PER_DAY, Some(MS_PER_DAY));
        let options = AlertOptions::default();
        let inside = Plan::new(&question, (day + 1, day + 2), 9, options).unwrap();
        assert_eq!(inside.table.unwrap().0, Unit::Whole);
        let cut = Plan::new(&question, (day - 1, day + 2), 9, options).unwrap();
        assert_eq!(cut.table.unwrap(), (Unit::Millis(MS_PER_DAY), 20_000, 20_028));
        assert!(question.buckets().is_ok_and(|count| count == 28));
        let odd = AlertQuestion { from: Timestamp::from_millis(day + 1), ..question };
        assert!(odd.buckets().is_err());
    }
}
