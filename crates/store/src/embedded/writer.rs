//! The writing side: events go to the writers of their days, duplicates are
//! found, commits.
//!
//! At most [`MAX_STREAMS`] days have a writer that stays open. Events of other
//! days wait together until the next commit, and their days are written one
//! after the other, so that events of many days at once cost no more memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_event::{Day, Event};
use tantivy::TantivyError;

use super::day_writer::{DayWriter, Purpose};
use super::ids::Taken;
use super::{Embedded, lock};
use crate::AppendError;

/// Days whose writer stays open: today and, around midnight, yesterday.
const MAX_STREAMS: usize = 2;
/// Events of a day at once that make its writer stay open in place of an idle one.
const STREAM_EVENTS: usize = 512;
/// Events that wait for the writers of their days at most.
const MAX_LATE_EVENTS: usize = 32_768;
/// The same in bytes of text and structure, roughly.
const MAX_LATE_BYTES: usize = 64 * 1024 * 1024;

/// What only one caller at a time may touch.
#[derive(Default)]
pub(super) struct Writing {
    writers: BTreeMap<Day, DayWriter>,
    late: Late,
    clock: u64,
    /// The clock when idle writers were last looked for.
    looked: u64,
}

/// Appended events whose day has no writer yet.
#[derive(Default)]
struct Late {
    days: BTreeMap<Day, Vec<Arc<Event>>>,
    events: usize,
    bytes: usize,
}

impl Writing {
    /// Adds events; says which are new.
    pub(super) fn append(
        &mut self,
        store: &Embedded,
        events: &[Arc<Event>],
    ) -> Result<Vec<bool>, AppendError> {
        self.clock += 1;
        let mut by_day: BTreeMap<Day, Vec<usize>> = BTreeMap::new();
        for (number, event) in events.iter().enumerate() {
            by_day.entry(event.observed_at.day()).or_default().push(number);
        }
        let mut new = vec![false; events.len()];
        for (day, numbers) in by_day {
            let of_day: Vec<(usize, &Arc<Event>)> =
                numbers.iter().filter_map(|number| Some((*number, events.get(*number)?))).collect();
            if store.is_removed(day) {
                store.count_of_removed_day(of_day.len());
                continue;
            }
            let ids: Vec<u128> = of_day.iter().map(|(_, event)| event.id.as_u128()).collect();
            let mut taken = Vec::with_capacity(ids.len());
            let segments = store.segments(day).map_err(append_error)?.unwrap_or_default();
            lock(&store.known).take(day, &segments, &ids, |at, what| {
                let Some((number, event)) = of_day.get(at) else { return };
                if let Some(new) = new.get_mut(*number) {
                    *new = true;
                }
                if what == Taken::New {
                    taken.push(*event);
                }
            });
            self.add(store, day, &taken)?;
        }
        Ok(new)
    }

    /// Adds new events of one day to its writer, or to those that wait.
    fn add(
        &mut self,
        store: &Embedded,
        day: Day,
        events: &[&Arc<Event>],
    ) -> Result<(), AppendError> {
        if events.is_empty() {
            return Ok(());
        }
        if !self.writers.contains_key(&day) && self.make_room(store, events.len())? {
            self.open(store, day, Purpose::Stream(1))?;
        }
        let Some(open) = self.writers.get_mut(&day) else {
            self.late.add(day, events);
            if self.late.events > MAX_LATE_EVENTS || self.late.bytes > MAX_LATE_BYTES {
                self.commit_late(store)?;
            }
            return Ok(());
        };
        open.used = self.clock;
        for event in events {
            open.add(event).map_err(append_error)?;
        }
        Ok(())
    }

    /// Whether another writer may stay open; closes one that has become idle.
    fn make_room(&mut self, store: &Embedded, events: usize) -> Result<bool, AppendError> {
        let streams = || self.writers.iter().filter(|(_, open)| !open.sealing);
        if streams().count() < MAX_STREAMS {
            return Ok(true);
        }
        let idle = streams().filter(|(_, open)| open.used + 1 < self.clock);
        let Some(oldest) = idle.min_by_key(|(_, open)| open.used).map(|(day, _)| *day) else {
            return Ok(false);
        };
        if events < STREAM_EVENTS {
            return Ok(false);
        }
        self.commit_day(store, oldest)?;
        self.close(oldest)?;
        Ok(true)
    }

    fn open(
        &mut self,
        store: &Embedded,
        day: Day,
        purpose: Purpose,
    ) -> Result<&mut DayWriter, AppendError> {
        let memory = store.config.writer_memory_bytes;
        let open = DayWriter::open(&store.day_dir(day), purpose, memory).map_err(append_error)?;
        Ok(self.writers.entry(day).or_insert(open))
    }

    fn commit_day(&mut self, store: &Embedded, day: Day) -> Result<(), AppendError> {
        let Some(open) = self.writers.get_mut(&day) else { return Ok(()) };
        if open.dirty {
            open.commit().map_err(append_error)?;
            store.written(day).map_err(append_error)?;
        }
        Ok(())
    }

    /// Writes the events that wait, day by day.
    fn commit_late(&mut self, store: &Embedded) -> Result<(), AppendError> {
        for (day, events) in self.late.take() {
            let was_open = self.writers.contains_key(&day);
            if !was_open {
                self.open(store, day, Purpose::Once)?;
            }
            if let Some(open) = self.writers.get_mut(&day) {
                open.used = self.clock;
                for event in &events {
                    open.add(event).map_err(append_error)?;
                }
            }
            self.commit_day(store, day)?;
            if !was_open {
                self.close(day)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, day: Day) -> Result<(), AppendError> {
        match self.writers.remove(&day) {
            Some(open) => open.close().map_err(append_error),
            None => Ok(()),
        }
    }

    /// Commits every day.
    pub(super) fn commit(&mut self, store: &Embedded) -> Result<(), AppendError> {
        let days: Vec<Day> = self.writers.keys().copied().collect();
        for day in days {
            self.commit_day(store, day)?;
            let open = self.writers.get(&day).filter(|open| !open.sealing);
            if let Some(threads) = open.and_then(DayWriter::wanted_threads) {
                let used = open.map_or(0, |open| open.used);
                self.close(day)?;
                self.open(store, day, Purpose::Stream(threads))?.used = used;
            }
        }
        self.commit_late(store)?;
        lock(&store.known).all_committed();
        Ok(())
    }

    /// Closes writers that nothing was appended to since the last call, so that
    /// an idle store keeps no threads and no memory.
    pub(super) fn close_idle(&mut self, store: &Embedded) -> Result<(), AppendError> {
        let idle = |open: &DayWriter| !open.dirty && !open.sealing && open.used <= self.looked;
        let days: Vec<Day> =
            self.writers.iter().filter(|(_, open)| idle(open)).map(|(day, _)| *day).collect();
        self.looked = self.clock;
        for day in days {
            self.close(day)?;
            store.show(day).map_err(append_error)?;
        }
        Ok(())
    }

    /// Discards what was not committed.
    pub(super) fn roll_back(&mut self, store: &Embedded) {
        self.writers.clear();
        self.late = Late::default();
        lock(&store.known).roll_back();
    }

    /// Takes the writer of a day for merging its segments: it stays open, and
    /// takes late events meanwhile. `None` where the day is written to right now.
    pub(super) fn begin_sealing(
        &mut self,
        store: &Embedded,
        day: Day,
    ) -> Result<Option<&mut DayWriter>, AppendError> {
        if self.writers.contains_key(&day) {
            return Ok(None);
        }
        let open = self.open(store, day, Purpose::Once)?;
        open.sealing = true;
        Ok(Some(open))
    }

    /// The merge is over: closes the writer, unless it has events to commit.
    pub(super) fn end_sealing(&mut self, day: Day) -> Result<(), AppendError> {
        let Some(open) = self.writers.get_mut(&day) else { return Ok(()) };
        open.sealing = false;
        open.clean().map_err(append_error)?;
        if open.dirty { Ok(()) } else { self.close(day) }
    }

    /// Discards the writer of a day whose merge could not begin.
    pub(super) fn roll_back_day(&mut self, day: Day) {
        self.writers.remove(&day);
    }

    /// Forgets a day that is to be removed.
    pub(super) fn forget(&mut self, store: &Embedded, day: Day) {
        self.writers.remove(&day);
        self.late.forget(day);
        lock(&store.known).forget(day);
    }
}

impl Late {
    fn add(&mut self, day: Day, events: &[&Arc<Event>]) {
        self.events += events.len();
        self.bytes += events.iter().map(|event| weight(event)).sum::<usize>();
        self.days.entry(day).or_default().extend(events.iter().map(|event| Arc::clone(event)));
    }

    fn take(&mut self) -> BTreeMap<Day, Vec<Arc<Event>>> {
        std::mem::take(self).days
    }

    fn forget(&mut self, day: Day) {
        for event in self.days.remove(&day).unwrap_or_default() {
            self.events -= 1;
            self.bytes -= weight(&event);
        }
    }
}

/// Bytes that an event takes in memory, roughly: itself and its longest texts.
fn weight(event: &Event) -> usize {
    let text =
        |text: &Option<palisade_event::Untrusted>| text.as_ref().map_or(0, |text| text.len());
    size_of::<Event>() + 512 + text(&event.request) + text(&event.client)
}

/// Sorts an error by what the caller does next.
pub(super) fn append_error(error: TantivyError) -> AppendError {
    let text = error.to_string();
    let full = ["No space left", "StorageFull", "os error 28", "QuotaExceeded", "os error 122"];
    if full.iter().any(|sign| text.contains(sign)) {
        AppendError::DiskFull(text)
    } else {
        AppendError::Failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let full = std::io::Error::from_raw_os_error(28);
        assert!(matches!(append_error(full.into()), AppendError::DiskFull(_)));
        let other = std::io::Error::from_raw_os_error(5);
        assert!(matches!(append_error(other.into()), AppendError::Failed(_)));
        let thread = "worker failed: IoError(Os { code: 28, kind: StorageFull, message: \"\" })";
        let error = TantivyError::ErrorInThread(thread.to_owned());
        assert!(matches!(append_error(error), AppendError::DiskFull(_)));
    }
}
