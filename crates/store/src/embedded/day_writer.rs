//! The open writer of one day's index: rows go in, commits come out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palisade_event::Event;
use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::query::Query;
use tantivy::{FutureResult, IndexWriter, TantivyError};

use super::day;
use super::merging::{Busy, ByLoad};
use super::priority::quietly;
use super::room::Room;
use super::rows::{Row, Rows};

/// Least memory of an indexing thread: what the index library asks for.
const MIN_THREAD_BYTES: usize = 15_000_000;
/// Most indexing threads of one day.
const MAX_THREADS: usize = 4;
/// Commits in a row in which nobody waited, after which one thread will do.
const CALM_COMMITS: u32 = 30;

/// An open writer. Dropping it discards what was not committed.
pub(super) struct DayWriter {
    writer: IndexWriter<Row>,
    rows: Rows,
    room: Arc<Room>,
    busy: Busy,
    threads: usize,
    calm: u32,
    /// Whether something was added since the last commit.
    pub(super) dirty: bool,
    /// When it was last added to.
    pub(super) used: u64,
    /// Whether its segments are being merged for good; it must stay open.
    pub(super) sealing: bool,
}

/// What a writer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Events arrive all the time; so many threads index them.
    Stream(usize),
    /// Some late events, or a merge.
    Once,
}

impl DayWriter {
    /// Opens the index in a folder, or makes it.
    pub(super) fn open(dir: &Path, purpose: Purpose, memory: usize) -> Result<Self, TantivyError> {
        let index = day::create_index(dir)?;
        let threads = match purpose {
            Purpose::Stream(threads) => threads,
            Purpose::Once => 1,
        };
        let options = IndexWriterOptions::builder()
            .num_worker_threads(threads)
            .memory_budget_per_thread((memory / threads).max(MIN_THREAD_BYTES))
            .num_merge_threads(1)
            .build();
        let open = || index.writer_with_options(options);
        // Its merges inherit the priority. Where indexing is the bottleneck they keep up.
        let writer: IndexWriter<Row> = match threads {
            1 => quietly(open).unwrap_or_else(|_| {
                let reason = "the thread that opened the index ended early".to_owned();
                Err(TantivyError::InternalError(reason))
            })?,
            _ => open()?,
        };
        let busy = Busy::default();
        busy.store(threads > 1, Ordering::Relaxed);
        match purpose {
            Purpose::Stream(_) => writer.set_merge_policy(Box::new(ByLoad::new(&busy))),
            Purpose::Once => writer.set_merge_policy(Box::new(NoMergePolicy)),
        }
        Ok(Self {
            writer,
            rows: Rows::default(),
            room: Arc::default(),
            busy,
            threads,
            calm: 0,
            dirty: false,
            used: 0,
            sealing: false,
        })
    }

    /// Adds an event; waits while too much waits for the indexing threads.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), TantivyError> {
        self.dirty = true;
        self.rows.push(event);
        if self.rows.is_full() { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), TantivyError> {
        if !self.rows.is_empty() {
            let claim = self.room.claim(self.rows.bytes());
            self.writer.run(self.rows.take(claim))?;
        }
        Ok(())
    }

    /// Makes what was added durable.
    pub(super) fn commit(&mut self) -> Result<(), TantivyError> {
        self.send()?;
        self.writer.commit()?;
        self.dirty = false;
        let waited = self.room.take_waited();
        self.busy.store(waited, Ordering::Relaxed);
        self.calm = if waited { 0 } else { self.calm.saturating_add(1) };
        Ok(())
    }

    /// How many threads the writer should have instead, by its load so far.
    pub(super) fn wanted_threads(&self) -> Option<usize> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = match (self.busy.load(Ordering::Relaxed), self.calm >= CALM_COMMITS) {
            (true, _) => cores.min(MAX_THREADS),
            (false, true) => 1,
            (false, false) => return None,
        };
        (wanted != self.threads).then_some(wanted)
    }

    /// Marks documents of committed segments for removal; the next merge of
    /// their segments removes them.
    pub(super) fn delete(&mut self, query: Box<dyn Query>) -> Result<(), TantivyError> {
        self.writer.delete_query(query)?;
        self.dirty = true;
        Ok(())
    }

    /// Begins to merge committed segments. No other merge may be under way.
    pub(super) fn merge(&mut self, segments: &[SegmentId]) -> FutureResult<Option<SegmentMeta>> {
        self.writer.set_merge_policy(Box::new(NoMergePolicy));
        self.writer.merge(segments)
    }

    /// Removes the files of segments that were merged.
    pub(super) fn clean(&self) -> Result<(), TantivyError> {
        self.writer.garbage_collect_files().wait().map(drop)
    }

    /// Closes it; waits for merges. What was not committed is lost.
    pub(super) fn close(self) -> Result<(), TantivyError> {
        self.writer.wait_merging_threads()
    }
}
