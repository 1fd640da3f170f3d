//! The writing side: at most a few open day writers, duplicates found, commits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use palisade_event::{Day, Event};
use tantivy::indexer::LogMergePolicy;
use tantivy::{IndexWriter, TantivyError};

use super::ids::{self, DayIds};
use super::{Embedded, day, schema};
use crate::AppendError;

/// Most day writers that are open at once; another one closes the oldest.
const MAX_WRITERS: usize = 3;
/// Most days whose id filter is kept.
const MAX_ID_FILTERS: usize = 8;
/// Least memory of a writer: what the index library asks for.
const MIN_WRITER_BYTES: usize = 15_000_000;
/// Segments of about one size that are merged together.
const MERGED_SEGMENTS: usize = 5;

struct DayWriter {
    writer: IndexWriter,
    dirty: bool,
    used: u64,
}

/// What only one caller at a time may touch.
#[derive(Default)]
pub(super) struct Writing {
    writers: BTreeMap<Day, DayWriter>,
    ids: HashMap<Day, DayIds>,
    clock: u64,
    /// The clock when idle writers were last looked for.
    looked: u64,
}

impl Writing {
    /// Adds events; says which are new.
    pub(super) fn append(
        &mut self,
        store: &Embedded,
        events: &[Arc<Event>],
    ) -> Result<Vec<bool>, AppendError> {
        let mut by_day: BTreeMap<Day, Vec<(usize, &Arc<Event>)>> = BTreeMap::new();
        for (number, event) in events.iter().enumerate() {
            by_day.entry(event.observed_at.day()).or_default().push((number, event));
        }
        let mut new = vec![false; events.len()];
        for (day, events) in by_day {
            self.append_day(store, day, &events, &mut new)?;
        }
        Ok(new)
    }

    fn append_day(
        &mut self,
        store: &Embedded,
        day: Day,
        events: &[(usize, &Arc<Event>)],
        new: &mut [bool],
    ) -> Result<(), AppendError> {
        let held = self.held(store, day, events.iter().map(|(_, event)| event.id.as_u128()))?;
        self.clock += 1;
        for (number, event) in events {
            let id = event.id.as_u128();
            let Some(ids) = self.ids.get_mut(&day) else { continue };
            if held.contains(&id) || !ids.pending.insert(id) {
                continue;
            }
            ids.insert(id);
            let document = schema::encode(event);
            let writer = self.writer(store, day)?;
            writer.dirty = true;
            writer.writer.add_document(document).map_err(append_error)?;
            if let Some(new) = new.get_mut(*number) {
                *new = true;
            }
        }
        Ok(())
    }

    /// Which of these ids are stored already (not: appended).
    fn held(
        &mut self,
        store: &Embedded,
        day: Day,
        wanted: impl Iterator<Item = u128>,
    ) -> Result<HashSet<u128>, AppendError> {
        let segments = store.segments(day).map_err(append_error)?.unwrap_or_default();
        let ids = match self.ids.remove(&day) {
            Some(ids) if ids.is_full() => DayIds::scan(&segments, ids.pending),
            Some(ids) => ids,
            None => DayIds::scan(&segments, HashSet::new()),
        };
        while self.ids.len() >= MAX_ID_FILTERS {
            let clean = self.ids.iter().filter(|(_, ids)| ids.pending.is_empty());
            let Some(oldest) = clean.min_by_key(|(_, ids)| ids.used).map(|(day, _)| *day) else {
                break;
            };
            self.ids.remove(&oldest);
        }
        self.clock += 1;
        let used = self.clock;
        let ids = self.ids.entry(day).or_insert(ids);
        ids.used = used;
        let candidates: HashSet<u128> =
            wanted.filter(|id| ids.may_have(*id) && !ids.pending.contains(id)).collect();
        Ok(ids::stored(&segments, &candidates))
    }

    /// Which of these events are stored or appended.
    pub(super) fn contains(
        &mut self,
        store: &Embedded,
        events: &[&Event],
    ) -> Result<Vec<bool>, AppendError> {
        let mut by_day: BTreeMap<Day, HashSet<u128>> = BTreeMap::new();
        for event in events {
            by_day.entry(event.observed_at.day()).or_default().insert(event.id.as_u128());
        }
        let mut have = HashSet::new();
        for (day, wanted) in by_day {
            let stored = self.held(store, day, wanted.iter().copied())?;
            have.extend(stored.into_iter().map(|id| (day, id)));
            if let Some(ids) = self.ids.get(&day) {
                have.extend(wanted.intersection(&ids.pending).map(|id| (day, *id)));
            }
        }
        let key = |event: &&Event| (event.observed_at.day(), event.id.as_u128());
        Ok(events.iter().map(|event| have.contains(&key(event))).collect())
    }

    fn writer(&mut self, store: &Embedded, day: Day) -> Result<&mut DayWriter, AppendError> {
        if !self.writers.contains_key(&day) {
            while self.writers.len() >= MAX_WRITERS {
                let oldest = self.writers.iter().min_by_key(|(_, open)| open.used);
                let Some(oldest) = oldest.map(|(day, _)| *day) else { break };
                self.commit_day(store, oldest)?;
                self.close(oldest)?;
            }
            let first = self.writers.is_empty();
            let memory = if first { store.config.writer_memory_bytes } else { 0 };
            store.wait_until_sealed(day);
            let index = day::create_index(&store.day_dir(day)).map_err(append_error)?;
            let writer: IndexWriter = index
                .writer_with_num_threads(1, memory.max(MIN_WRITER_BYTES))
                .map_err(append_error)?;
            let mut policy = LogMergePolicy::default();
            policy.set_min_num_segments(MERGED_SEGMENTS);
            writer.set_merge_policy(Box::new(policy));
            self.writers.insert(day, DayWriter { writer, dirty: false, used: 0 });
        }
        let used = self.clock;
        let open = self.writers.get_mut(&day);
        let open = open.ok_or_else(|| AppendError::Failed("the writer is gone".to_owned()))?;
        open.used = used;
        Ok(open)
    }

    fn commit_day(&mut self, store: &Embedded, day: Day) -> Result<(), AppendError> {
        let Some(open) = self.writers.get_mut(&day) else { return Ok(()) };
        if open.dirty {
            open.writer.commit().map_err(append_error)?;
            open.dirty = false;
            store.show(day).map_err(append_error)?;
            if let Some(ids) = self.ids.get_mut(&day) {
                ids.pending = HashSet::new();
            }
        }
        Ok(())
    }

    fn close(&mut self, day: Day) -> Result<(), AppendError> {
        match self.writers.remove(&day) {
            Some(open) => open.writer.wait_merging_threads().map_err(append_error),
            None => Ok(()),
        }
    }

    /// Commits every day; closes writers that had nothing to commit.
    pub(super) fn commit(&mut self, store: &Embedded) -> Result<(), AppendError> {
        let days: Vec<(Day, bool)> =
            self.writers.iter().map(|(day, open)| (*day, open.dirty)).collect();
        for (day, dirty) in days {
            if dirty {
                self.commit_day(store, day)?;
            } else {
                self.close(day)?;
                store.show(day).map_err(append_error)?;
            }
        }
        Ok(())
    }

    /// Closes writers that nothing was appended to since the last call, so that
    /// an idle store keeps no threads.
    pub(super) fn close_idle(&mut self, store: &Embedded) -> Result<(), AppendError> {
        let idle = |open: &DayWriter| !open.dirty && open.used <= self.looked;
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
    pub(super) fn roll_back(&mut self) {
        self.writers.clear();
        // The filters may know ids that were never stored: that costs a scan and nothing else.
        for ids in self.ids.values_mut() {
            ids.pending = HashSet::new();
        }
    }

    /// Forgets a day that is to be removed.
    pub(super) fn forget(&mut self, day: Day) {
        self.writers.remove(&day);
        self.ids.remove(&day);
    }

    pub(super) fn is_open(&self, day: Day) -> bool {
        self.writers.contains_key(&day)
    }
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
