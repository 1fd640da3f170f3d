//! Housekeeping, a bounded piece at a time: days that are over are merged into
//! one segment, days and events past their life are removed.
//!
//! A late event reopens its day; the day is merged again once it has been
//! quiet for [`QUIET_MS`]. Nothing here changes what a query under way sees.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::Ordering;

use palisade_event::{Day, Event, EventId, EventKind, SensorId, Timestamp};
use tantivy::index::SegmentId;
use tantivy::query::{AllQuery, BooleanQuery, Query, RangeQuery};
use tantivy::{TantivyError, Term};

use super::day_writer::{DayWriter, Purpose};
use super::filter::Ready;
use super::scan::for_each_chunk;
use super::writer::append_error;
use super::{Embedded, Entry, MS_PER_DAY, day, lock, ready, schema};
use crate::query::{Field, Filter};
use crate::{AppendError, KeepRule};

/// How long nothing was written to a day before it is merged for good: 10 minutes.
const QUIET_MS: i64 = 10 * 60 * 1000;
/// Segments of a day that is over at which the small ones are merged even
/// while late events arrive.
const MANY_SEGMENTS: usize = 24;
/// How much later than a day's end it counts as over: 1 hour.
const OVER_MS: i64 = 60 * 60 * 1000;
/// A folder on its way out.
const REMOVED: &str = "removed";
/// A file in a day's folder: which rules were applied to which segments.
const KEPT: &str = "kept";
/// A file of the store: the first day that was not removed for want of space.
const FLOOR: &str = "floor";
/// A folder that is there while a probe runs.
const PROBE: &str = "probe";

impl Embedded {
    /// Does one piece of housekeeping; `true` where there may be more to do.
    pub(crate) fn maintain(&self, now: Timestamp) -> Result<bool, AppendError> {
        let Ok(_one_at_a_time) = self.upkeep.try_lock() else { return Ok(false) };
        self.close_idle()?;
        lock(&self.days).now = Some(now);
        for day in self.days_before(now) {
            if self.expire(day, now)? {
                return Ok(true);
            }
        }
        let Some((day, all)) = self.to_merge(now) else {
            return Ok(ready::maintain(self, now));
        };
        self.merge(day, all, None)?;
        Ok(true)
    }

    fn close_idle(&self) -> Result<(), AppendError> {
        lock(&self.writing).close_idle(self)?;
        let mut known = lock(&self.known);
        known.forget_unused();
        Ok(())
    }

    fn days_before(&self, now: Timestamp) -> Vec<Day> {
        let all = lock(&self.days);
        all.all.keys().copied().filter(|day| day.end() <= now).collect()
    }

    /// The newest day whose segments want merging, and which of them.
    fn to_merge(&self, now: Timestamp) -> Option<(Day, Which)> {
        let days = lock(&self.days);
        days.all.iter().rev().find_map(|(day, entry)| {
            let segments = entry.figures.segments;
            if segments < 2 || day.end().plus_millis(OVER_MS) > now {
                return None;
            }
            match (is_quiet(entry, now), segments >= MANY_SEGMENTS) {
                (true, _) => Some((*day, Which::All)),
                (false, true) => Some((*day, Which::Small)),
                (false, false) => None,
            }
        })
    }

    /// Merges segments of a day into one, without the documents that `gone`
    /// finds. Events for the day are taken meanwhile.
    fn merge(
        &self,
        day: Day,
        which: Which,
        gone: Option<Box<dyn Query>>,
    ) -> Result<(), AppendError> {
        let merging = {
            let mut writing = lock(&self.writing);
            // Written to right now: its turn comes.
            let Some(writer) = writing.begin_sealing(self, day)? else { return Ok(()) };
            let begin = || {
                if let Some(gone) = gone {
                    writer.delete(gone)?;
                    writer.commit()?;
                }
                let segments = self.segments_to_merge(day, which)?;
                Ok((!segments.is_empty()).then(|| writer.merge(&segments)))
            };
            match begin() {
                Ok(merging) => merging,
                Err(error) => {
                    writing.roll_back_day(day);
                    return Err(append_error(error));
                }
            }
        };
        let merged = merging.map_or(Ok(None), |merging| merging.wait());
        let ended = lock(&self.writing).end_sealing(day);
        let shown = self.show(day).map_err(append_error);
        merged.map_err(append_error)?;
        ended.and(shown)
    }

    fn segments_to_merge(&self, day: Day, which: Which) -> Result<Vec<SegmentId>, TantivyError> {
        let index = day::open_index(&self.day_dir(day))?;
        let metas = index.searchable_segment_metas()?;
        let total: u32 = metas.iter().map(|meta| meta.max_doc()).sum();
        let wanted = |docs: u32| match which {
            Which::All => true,
            Which::Small => docs < total / 4,
        };
        let metas = metas.iter().filter(|meta| wanted(meta.max_doc()));
        Ok(metas.map(|meta| meta.id()).collect())
    }

    /// Removes events of a day that are past their rule; `true` where there
    /// was something to look for.
    fn expire(&self, day: Day, now: Timestamp) -> Result<bool, AppendError> {
        let rules: Vec<&KeepRule> =
            self.config.keep.iter().filter(|rule| is_past(day, rule.days, now)).collect();
        if rules.is_empty() {
            return Ok(false);
        }
        let dir = self.day_dir(day);
        let wanted = applied(&rules, &dir).map_err(append_error)?;
        if std::fs::read_to_string(dir.join(KEPT)).is_ok_and(|text| text == wanted) {
            return Ok(false);
        }
        let (past, of) = self.count_past(day, &rules).map_err(append_error)?;
        if past > 0 {
            let may_wait = past < of / 10;
            let is_quiet = lock(&self.days).all.get(&day).is_none_or(|entry| is_quiet(entry, now));
            if may_wait && !is_quiet {
                return Ok(false);
            }
            self.merge(day, Which::All, Some(any_of(&rules)))?;
            let (left, of) = self.count_past(day, &rules).map_err(append_error)?;
            tracing::info!(%day, events = past - left.min(past), "removed events past their rule");
            if of == 0 {
                self.remove(day)?;
                return Ok(true);
            }
            if left > 0 {
                return Ok(false);
            }
        }
        let applied = applied(&rules, &dir).map_err(append_error)?;
        std::fs::write(dir.join(KEPT), applied).map_err(|error| append_error(error.into()))?;
        Ok(true)
    }

    /// How many events of a day are past one of the rules, and how many it has.
    fn count_past(&self, day: Day, rules: &[&KeepRule]) -> Result<(u64, u64), TantivyError> {
        let one = |rule: &&KeepRule| {
            let is = |field, value: &str| Filter::In(field, vec![value.to_owned()]);
            let domain = rule.domain.map(|domain| is(Field::Domain, domain.as_str()));
            let kind = rule.kind.map(|kind| is(Field::Kind, kind.as_str()));
            Filter::And(domain.into_iter().chain(kind).collect())
        };
        let filter = Filter::Or(rules.iter().map(one).collect());
        let query = crate::query::Query { filter, ..crate::query::Query::ALL };
        let (mut past, mut all) = (0, 0);
        for segment in self.segments(day)?.unwrap_or_default().iter() {
            let ready = Ready::query(&query, segment)?;
            all += u64::from(segment.docs());
            for_each_chunk(&ready, segment, |docs| {
                past += docs.len() as u64;
                Ok::<_, TantivyError>(())
            })?;
        }
        Ok((past, all))
    }

    /// Removes days past the retention, and the oldest ones while the store is
    /// larger than it may be. Returns how many days went.
    pub(crate) fn retain(&self, now: Timestamp) -> Result<u32, AppendError> {
        let _one_at_a_time = lock(&self.upkeep);
        let mut gone = 0;
        for day in self.days_before(now) {
            if is_past(day, self.config.retention_days, now) {
                self.remove(day)?;
                gone += 1;
            }
        }
        let Some(max_bytes) = self.config.max_bytes else { return Ok(gone) };
        for day in self.days_before(now) {
            if self.stats().bytes <= max_bytes {
                break;
            }
            self.raise_floor(day).map_err(|error| append_error(error.into()))?;
            self.remove(day)?;
            gone += 1;
        }
        Ok(gone)
    }

    /// Removes a day. Its space comes back when the last query on it has ended.
    fn remove(&self, day: Day) -> Result<(), AppendError> {
        let failed = |error: std::io::Error| append_error(error.into());
        let mut writing = lock(&self.writing);
        writing.forget(self, day);
        let from = self.day_dir(day);
        let to = from.with_extension(REMOVED);
        std::fs::rename(&from, &to).map_err(failed)?;
        lock(&self.days).all.remove(&day);
        drop(writing);
        std::fs::remove_dir_all(&to).map_err(failed)
    }

    /// Writes an event to an index of its own and removes that.
    pub(crate) fn probe(&self) -> Result<(), AppendError> {
        let dir = self.dir.join(PROBE);
        let remove = || match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let written = || {
            remove()?;
            let at = Timestamp::from_millis(0);
            let sensor = SensorId::new(PROBE)
                .map_err(|error| TantivyError::InternalError(error.to_string()))?;
            let event = Event::new(EventId::new(at, 0), EventKind::ConnectionOpened, at, sensor);
            let mut writer = DayWriter::open(&dir, Purpose::Once, 0)?;
            writer.add(&event)?;
            writer.commit()?;
            writer.close()
        };
        let written = written().map_err(append_error);
        let removed = remove().map_err(|error| append_error(error.into()));
        written.and(removed)
    }

    /// Whether a day was removed for want of space: a late or repeated event
    /// of it must not bring it back.
    pub(super) fn is_removed(&self, day: Day) -> bool {
        day.number() < self.floor.load(Ordering::Relaxed)
    }

    /// Whether an event is past its life: by age, by a rule, or because its day
    /// was removed for want of space.
    pub(crate) fn is_expired(&self, event: &Event, now: Timestamp) -> bool {
        self.config.is_expired(event, now) || self.is_removed(event.observed_at.day())
    }

    fn raise_floor(&self, removed: Day) -> std::io::Result<()> {
        let floor = Day::from_number(removed.number() + 1);
        let path = self.dir.join(FLOOR);
        let new = path.with_extension("new");
        std::fs::write(&new, floor.to_string())?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &path)?;
        self.floor.store(floor.number(), Ordering::Relaxed);
        Ok(())
    }
}

/// Which segments are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Those with less than a quarter of the day's events.
    Small,
}

/// Reads the first day that was not removed for want of space.
pub(super) fn floor(dir: &Path) -> Option<Day> {
    std::fs::read_to_string(dir.join(FLOOR)).ok()?.trim().parse().ok()
}

/// Whether nothing was written to a day for a while.
fn is_quiet(entry: &Entry, now: Timestamp) -> bool {
    entry.written.is_none_or(|at| at.plus_millis(QUIET_MS) <= now)
}

/// Whether a day ended so many days ago.
fn is_past(day: Day, days: u32, now: Timestamp) -> bool {
    day.end() <= now.plus_millis(-i64::from(days).saturating_mul(MS_PER_DAY))
}

/// What [`KEPT`] says once these rules were applied to the segments of a folder.
fn applied(rules: &[&KeepRule], dir: &Path) -> Result<String, TantivyError> {
    let mut lines: BTreeSet<String> = BTreeSet::new();
    for rule in rules {
        let domain = rule.domain.map_or("*", |domain| domain.as_str());
        let kind = rule.kind.map_or("*", |kind| kind.as_str());
        lines.insert(format!("rule {domain} {kind}"));
    }
    for meta in day::open_index(dir)?.searchable_segment_metas()? {
        lines.insert(format!("segment {}", meta.id().uuid_string()));
    }
    let mut text = String::new();
    for line in lines {
        // Writing to memory does not fail.
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}

/// Finds the events of any of these rules, by the columns.
fn any_of(rules: &[&KeepRule]) -> Box<dyn Query> {
    let is = |field: Field, value: &str| -> Option<Box<dyn Query>> {
        let term = Term::from_field_text(schema::layout().column(field)?, value);
        Some(Box::new(RangeQuery::new(Bound::Included(term.clone()), Bound::Included(term))))
    };
    let one = |rule: &&KeepRule| -> Box<dyn Query> {
        let domain = rule.domain.and_then(|domain| is(Field::Domain, domain.as_str()));
        let kind = rule.kind.and_then(|kind| is(Field::Kind, kind.as_str()));
        match (domain, kind) {
            (Some(domain), Some(kind)) => Box::new(BooleanQuery::intersection(vec![domain, kind])),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Box::new(AllQuery),
        }
    };
    Box::new(BooleanQuery::union(rules.iter().map(one).collect()))
}
