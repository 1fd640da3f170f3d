//! The embedded engine: one Tantivy index for each UTC day of `observed_at`.
//!
//! `<dir>/format` holds the number of the format, `<dir>/days/2026-11-20/` an
//! index. The store is not durable before a commit; the hub's spool is its
//! write-ahead log. Opening reads the folders' figures and no data; days are
//! opened when a query comes to them, and at most [`MAX_OPEN_DAYS`] stay open.

mod aggregate;
mod alerts;
mod attribute;
mod day;
mod day_writer;
mod dimension;
mod distinct;
mod durable;
mod filter;
mod ids;
pub mod life;
mod merging;
mod page;
mod priority;
mod quick;
mod rank;
mod ready;
mod room;
mod rows;
mod scan;
mod schema;
mod segment;
mod tally;
mod threads;
mod upkeep;
mod writer;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_event::{Day, Event, EventId, Timestamp};
use tantivy::TantivyError;
use tantivy::error::DataCorruption;

use self::day::{Figures, OpenDay, Segments};
use self::ids::Known;
pub use self::ready::ReadyOptions;
use self::writer::Writing;
use crate::query::{Aggregation, Cursor, Query};
use crate::{Aggregated, AppendError, Config, OpenError, Page, QueryError, Stats};

/// The number of the format that this build writes and reads.
pub const FORMAT: u32 = 3;
/// Days that stay open for reading; the one unused for longest is closed.
const MAX_OPEN_DAYS: usize = 64;
/// Most events of one page.
const MAX_PAGE_EVENTS: usize = 10_000;
const MS_PER_DAY: i64 = 86_400_000;
/// Where less is free while writing fails, the disk is full.
const LEAST_FREE_BYTES: u64 = 1024 * 1024;

/// The embedded engine.
pub struct Embedded {
    dir: PathBuf,
    config: Config,
    days: Mutex<Days>,
    /// Locked before `known`, and that before `days`.
    writing: Mutex<Writing>,
    known: Mutex<Known>,
    /// Held while housekeeping works.
    upkeep: Mutex<()>,
    /// Events that came after their day was removed.
    of_removed_days: AtomicU64,
    /// Number of the first day that was not removed for want of space.
    floor: AtomicI32,
    ready: ready::Desk,
    /// What was counted of alerts.
    alerts: alerts::Cache,
}

#[derive(Default)]
struct Days {
    all: BTreeMap<Day, Entry>,
    clock: u64,
    corrupt: u32,
    /// When housekeeping was last called.
    now: Option<Timestamp>,
}

#[derive(Default)]
struct Entry {
    figures: Figures,
    open: Option<Arc<OpenDay>>,
    used: u64,
    /// When housekeeping was last called before the day was last written to.
    written: Option<Timestamp>,
    /// Grows whenever readers may see other segments than before.
    version: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Embedded {
    /// Opens or creates the store in `dir`.
    pub(crate) fn open(dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let fail = |reason: String| OpenError { path: dir.to_owned(), reason };
        let days_dir = dir.join("days");
        std::fs::create_dir_all(&days_dir).map_err(|error| fail(error.to_string()))?;
        life::prepare(dir, config).map_err(fail)?;
        let store = Self {
            dir: dir.to_owned(),
            config: config.clone(),
            days: Mutex::default(),
            writing: Mutex::default(),
            known: Mutex::default(),
            upkeep: Mutex::default(),
            of_removed_days: AtomicU64::new(0),
            floor: AtomicI32::new(upkeep::floor(dir).map_or(i32::MIN, Day::number)),
            ready: ready::Desk::new(config.ready),
            alerts: alerts::Cache::default(),
        };
        let entries = std::fs::read_dir(&days_dir).map_err(|error| fail(error.to_string()))?;
        for entry in entries {
            let entry = entry.map_err(|error| fail(error.to_string()))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.ends_with(".removed") {
                if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                    tracing::warn!(folder = name, %error, "cannot remove an expired day");
                }
                continue;
            }
            if name.ends_with(".corrupt") {
                lock(&store.days).corrupt += 1;
                continue;
            }
            let Ok(day) = name.parse::<Day>() else { continue };
            match day::figures(&entry.path()) {
                Ok(Some(figures)) => {
                    let entry = Entry { figures, ..Entry::default() };
                    lock(&store.days).all.insert(day, entry);
                }
                // The process ended while the folder was made; there was no commit in it.
                Ok(None) => std::fs::remove_dir_all(entry.path())
                    .map_err(|error| fail(error.to_string()))?,
                Err(error) => store.quarantine(&mut lock(&store.days), day, &error.to_string()),
            }
        }
        Ok(store)
    }

    fn day_dir(&self, day: Day) -> PathBuf {
        self.dir.join("days").join(day.to_string())
    }

    /// Puts an unreadable day aside, so that the others go on.
    fn quarantine(&self, days: &mut Days, day: Day, reason: &str) {
        let from = self.day_dir(day);
        let name = |number: u32| match number {
            0 => self.dir.join("days").join(format!("{day}.corrupt")),
            number => self.dir.join("days").join(format!("{day}.{number}.corrupt")),
        };
        let to = (0..100).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(100));
        tracing::error!(
            %day, reason, folder = %to.display(),
            "a day of the store cannot be read and is put aside"
        );
        if let Err(error) = std::fs::rename(&from, &to) {
            tracing::error!(%day, %error, "cannot put the day aside");
        }
        days.all.remove(&day);
        days.corrupt += 1;
    }

    /// What readers see of a day; `None` where there is no such day.
    fn segments(&self, day: Day) -> Result<Option<Segments>, TantivyError> {
        let mut days = lock(&self.days);
        days.clock += 1;
        let clock = days.clock;
        let Some(entry) = days.all.get_mut(&day) else { return Ok(None) };
        entry.used = clock;
        if let Some(open) = &entry.open {
            return Ok(Some(open.segments()));
        }
        let dir = self.day_dir(day);
        // The index library panics on some truncated files; nothing is shared with it here.
        let hold_from = self.config.ready.min_events;
        let opened = std::panic::catch_unwind(|| OpenDay::open(&dir, hold_from));
        let opened = opened.unwrap_or_else(|_| {
            let reason = "its files are cut or overwritten".to_owned();
            Err(TantivyError::DataCorruption(DataCorruption::comment_only(reason)))
        });
        match opened {
            Ok(open) => {
                let segments = open.segments();
                entry.open = Some(Arc::new(open));
                close_unused(&mut days);
                Ok(Some(segments))
            }
            Err(error) if is_corrupt(&error) => {
                self.quarantine(&mut days, day, &error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Shows readers what was committed to a day.
    fn show(&self, day: Day) -> Result<(), TantivyError> {
        let figures = day::figures(&self.day_dir(day))?;
        let mut days = lock(&self.days);
        days.clock += 1;
        let clock = days.clock;
        let entry = days.all.entry(day).or_default();
        entry.figures = figures.unwrap_or_default();
        entry.used = clock;
        let open = entry.open.clone();
        // Questions go on meanwhile.
        drop(days);
        let shown = open.map_or(Ok(()), |open| open.refresh());
        // Only now: who remembers something of a version must have seen it.
        let mut days = lock(&self.days);
        days.clock += 1;
        let clock = days.clock;
        if let Some(entry) = days.all.get_mut(&day) {
            entry.version = clock;
        }
        shown
    }

    /// A day, where it is open.
    fn open_day(&self, day: Day) -> Option<Arc<OpenDay>> {
        lock(&self.days).all.get(&day)?.open.clone()
    }

    /// Shows readers what was written to a day and is durable now.
    fn written(&self, day: Day) -> Result<(), TantivyError> {
        self.show(day)?;
        lock(&self.known).committed(day);
        let mut days = lock(&self.days);
        let now = days.now;
        if let Some(entry) = days.all.get_mut(&day) {
            entry.written = now;
        }
        Ok(())
    }

    fn count_of_removed_day(&self, events: usize) {
        self.of_removed_days.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        self.write(|writing| writing.append(self, events))
    }

    pub(crate) fn commit(&self) -> Result<(), AppendError> {
        self.write(|writing| writing.commit(self))
    }

    /// Discards what was appended and not committed.
    pub(crate) fn roll_back(&self) {
        lock(&self.writing).roll_back(self);
    }

    /// Runs `work`; where it fails, or the index library panics, nothing of it
    /// is left but what was committed.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut Writing) -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        let mut writing = lock(&self.writing);
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut writing)))
            .unwrap_or_else(|_| Err(AppendError::Failed("the index library panicked".to_owned())))
            .map_err(|error| self.told(error));
        if result.is_err() {
            writing.roll_back(self);
        }
        result
    }

    /// A thread of the index library that met a full disk ends without saying why.
    fn told(&self, error: AppendError) -> AppendError {
        let is_full = || {
            let free = rustix::fs::statvfs(&self.dir);
            free.is_ok_and(|free| free.f_bavail.saturating_mul(free.f_frsize) < LEAST_FREE_BYTES)
        };
        match error {
            AppendError::Failed(reason) if is_full() => AppendError::DiskFull(reason),
            other => other,
        }
    }

    pub(crate) fn contains(&self, events: &[&Event]) -> Result<Vec<bool>, QueryError> {
        let mut by_day: BTreeMap<Day, Vec<u128>> = BTreeMap::new();
        for event in events {
            by_day.entry(event.observed_at.day()).or_default().push(event.id.as_u128());
        }
        let mut present = BTreeMap::new();
        for (day, wanted) in by_day {
            let mut known = lock(&self.known);
            let segments = self.segments(day).map_err(query_error)?.unwrap_or_default();
            present.insert(day, known.present(day, &segments, &wanted));
        }
        let is_present = |event: &&Event| {
            let ids = present.get(&event.observed_at.day());
            ids.is_some_and(|ids| ids.contains(&event.id.as_u128()))
        };
        Ok(events.iter().map(is_present).collect())
    }

    /// The days that a query may find something in, oldest first.
    fn days_of(&self, query: &Query) -> Vec<Day> {
        let days = lock(&self.days);
        days.all.keys().copied().filter(|day| query.range.reaches(*day)).collect()
    }

    /// Reads again how many bytes a day takes.
    fn measure(&self, day: Day) {
        let Ok(Some(figures)) = day::figures(&self.day_dir(day)) else { return };
        if let Some(entry) = lock(&self.days).all.get_mut(&day) {
            entry.figures.bytes = figures.bytes;
        }
    }

    /// How many events and segments each day has.
    fn day_figures(&self) -> BTreeMap<Day, (u64, usize)> {
        let days = lock(&self.days);
        let figures = days.all.iter().map(|(day, entry)| (*day, entry.figures));
        figures.map(|(day, figures)| (day, (figures.events, figures.segments))).collect()
    }

    pub(crate) fn search(
        &self,
        query: &Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        let limit = limit.clamp(1, MAX_PAGE_EVENTS);
        let mut events = Vec::new();
        for day in self.days_of(query).into_iter().rev() {
            if after.is_some_and(|after| after.observed_at.day() < day) {
                continue;
            }
            let Some(segments) = self.segments(day).map_err(query_error)? else { continue };
            // One more than asked for tells whether there is another page.
            let wanted = limit + 1 - events.len();
            events.extend(page::newest(&segments, query, wanted, after).map_err(query_error)?);
            if events.len() > limit {
                break;
            }
        }
        let more = events.len() > limit;
        events.truncate(limit);
        let next = if more { events.last().map(page::cursor) } else { None };
        Ok(Page { events, next })
    }

    pub(crate) fn get(&self, id: EventId) -> Result<Option<Event>, QueryError> {
        let probable = page::probable_day(id);
        let mut days = self.days_of(&Query::ALL);
        days.sort_by_key(|day| (day.number().abs_diff(probable.number()), *day));
        for day in days {
            let Some(segments) = self.segments(day).map_err(query_error)? else { continue };
            if let Some(event) = page::by_id(&segments, id).map_err(query_error)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    pub(crate) fn aggregate(
        &self,
        query: &Query,
        aggregation: &Aggregation,
    ) -> Result<Aggregated, QueryError> {
        aggregate::aggregate(self, query, aggregation)
    }

    /// Counts every answer that was counted in advance anew, and says which are
    /// not as kept: a sentence each.
    ///
    /// # Errors
    /// [`QueryError`] where the events cannot be read.
    pub fn check_ready(&self) -> Result<Vec<String>, QueryError> {
        let days = self.days_of(&Query::ALL).into_iter();
        let found = days.map(|day| ready::check(self, day)).collect::<Result<Vec<_>, _>>();
        Ok(found.map_err(query_error)?.concat())
    }

    /// Removes what was counted in advance of a day and counts it anew.
    ///
    /// # Errors
    /// [`QueryError`] where the events cannot be read or the files not be written.
    pub fn rebuild_ready(&self, day: Day) -> Result<(), QueryError> {
        ready::rebuild(self, day).map_err(query_error)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (ready_answers, ready_misses, ready_bytes) = self.ready.figures();
        let days = lock(&self.days);
        let sum = |figure: fn(&Figures) -> u64| days.all.values().map(|e| figure(&e.figures)).sum();
        Stats {
            events: sum(|figures| figures.events),
            bytes: sum(|figures| figures.bytes),
            days: u32::try_from(days.all.len()).unwrap_or(u32::MAX),
            corrupt_days: days.corrupt,
            of_removed_days: self.of_removed_days.load(Ordering::Relaxed),
            ready_answers,
            ready_misses,
            ready_bytes,
        }
    }
}

fn close_unused(days: &mut Days) {
    let open = |days: &Days| days.all.values().filter(|entry| entry.open.is_some()).count();
    while open(days) > MAX_OPEN_DAYS {
        let oldest = days.all.values_mut().filter(|e| e.open.is_some()).min_by_key(|e| e.used);
        if let Some(entry) = oldest {
            entry.open = None;
        }
    }
}

/// Reads a file of aggregates counted in advance as a query would: for the fuzzer.
#[doc(hidden)]
#[must_use]
pub fn read_ready_file(bytes: &[u8]) -> bool {
    ready::read_file(bytes)
}

/// Whether the files are damaged, and not just unreadable for the moment.
fn is_corrupt(error: &TantivyError) -> bool {
    use tantivy::directory::error::OpenReadError;
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_)
        | TantivyError::DeserializeError(_) => true,
        TantivyError::OpenReadError(
            OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_),
        ) => true,
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) => is_cut(io_error),
        TantivyError::IoError(error) => is_cut(error),
        _ => false,
    }
}

/// Whether bytes are missing or wrong.
fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}

fn query_error(error: TantivyError) -> QueryError {
    QueryError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventKind, SensorId};

    use super::*;

    #[test]
    fn a_panic_below_is_an_error_and_what_was_appended_is_new_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), &Config::default()).unwrap();
        let at = Timestamp::from_millis(1_795_132_800_000);
        let sensor = SensorId::new("edge").unwrap();
        let event = Event::new(EventId::new(at, 1), EventKind::ConnectionOpened, at, sensor);
        let events = [Arc::new(event)];
        assert_eq!(store.append(&events).unwrap(), [true]);
        let broken: Result<(), _> = store.write(|_| panic!("as the index library might"));
        assert!(matches!(broken, Err(AppendError::Failed(_))));
        assert_eq!(store.append(&events).unwrap(), [true]);
        store.commit().unwrap();
        assert_eq!((store.append(&events).unwrap(), store.stats().events), (vec![false], 1));
    }
}
