//! What writer and reader know in common: which segments there are, how far
//! they are durable, and the figures. Never touches a disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Stats;
use crate::checkpoint::Checkpoint;
use crate::limits::MAX_GAPS;
use crate::segment::FORMAT;

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of its first record, and its name.
    pub(crate) first: u64,
    /// Number after its last durable record.
    pub(crate) end: u64,
    /// Bytes that are durable; what stands behind them is not to be read.
    pub(crate) bytes: u64,
    /// Bytes of the file.
    pub(crate) file_bytes: u64,
    /// What its frames begin with.
    pub(crate) mark: u64,
}

/// Where reading goes on.
#[derive(Debug)]
pub(crate) enum Plan {
    /// In this segment, from this number on.
    Segment(Segment, u64),
    /// Nothing is there before this number.
    Nothing(u64),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Oldest first, never empty once the spool is open.
    pub(crate) segments: VecDeque<Segment>,
    /// Numbers below it are durable or will never be used.
    pub(crate) next: u64,
    pub(crate) committed: u64,
    /// Segments with this number or later ones stay for a tail, committed or not,
    /// while there is room; `None`: nobody needs them.
    pub(crate) kept: Option<u64>,
    /// Numbers from `committed` on that no record has, ascending.
    pub(crate) gaps: Vec<Range<u64>>,
    pub(crate) unused: u64,
    pub(crate) dropped_records: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) corrupt_frames: u64,
    pub(crate) corrupt_records: u64,
    pub(crate) corrupt_counted_to: u64,
    pub(crate) syncs: u64,
    /// The writer has ended.
    pub(crate) closed: bool,
    /// Nobody is left who could append.
    pub(crate) orphaned: bool,
}

impl State {
    /// Bytes of all segment files.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// Numbers in the range that no record has. Merged with what is known.
    pub(crate) fn add_gap(&mut self, gap: Range<u64>) {
        if gap.is_empty() || gap.end <= self.committed {
            return;
        }
        let mut merged = gap;
        self.gaps.retain(|known| {
            let apart = known.end < merged.start || merged.end < known.start;
            if !apart {
                merged = known.start.min(merged.start)..known.end.max(merged.end);
            }
            apart
        });
        if self.gaps.len() < MAX_GAPS {
            let at = self.gaps.partition_point(|known| known.start < merged.start);
            self.gaps.insert(at, merged);
        }
        self.commit(self.committed);
    }

    /// Records before `end` are done with; so are gaps right behind it.
    pub(crate) fn commit(&mut self, end: u64) {
        self.committed = self.committed.max(end.min(self.next));
        for gap in &self.gaps {
            if gap.start <= self.committed {
                self.committed = self.committed.max(gap.end.min(self.next));
            }
        }
        let committed = self.committed;
        self.gaps.retain(|gap| gap.end > committed);
    }

    /// The oldest segment, if there is another one and all of it is done with.
    pub(crate) fn take_consumed(&mut self) -> Option<Segment> {
        let oldest = self.segments.front()?;
        let done = self.kept.map_or(self.committed, |kept| kept.min(self.committed));
        let consumed = self.segments.len() > 1 && oldest.end <= done;
        if consumed { self.segments.pop_front() } else { None }
    }

    /// Where the reader reads the record `from` or the first one after it.
    pub(crate) fn plan(&self, from: u64) -> Plan {
        self.plan_anywhere(from.max(self.committed))
    }

    /// The same for a tail: also records that are committed.
    pub(crate) fn plan_anywhere(&self, from: u64) -> Plan {
        let at = self.segments.partition_point(|segment| segment.end <= from);
        match self.segments.get(at) {
            Some(segment) => Plan::Segment(segment.clone(), from),
            None => Plan::Nothing(self.next),
        }
    }

    pub(crate) fn checkpoint(&self, mark: u64) -> Checkpoint {
        Checkpoint {
            format: FORMAT,
            mark: format!("{mark:016x}"),
            committed: self.committed,
            next: self.next,
            unused: self.unused,
            dropped_records: self.dropped_records,
            dropped_bytes: self.dropped_bytes,
            corrupt_frames: self.corrupt_frames,
            corrupt_records: self.corrupt_records,
            corrupt_counted_to: self.corrupt_counted_to,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let missing: u64 =
            self.gaps.iter().map(|gap| gap.end - gap.start.max(self.committed)).sum();
        Stats {
            pending_records: (self.next - self.committed).saturating_sub(missing),
            bytes: self.bytes(),
            appended_records: self.next.saturating_sub(self.unused),
            dropped_records: self.dropped_records,
            dropped_bytes: self.dropped_bytes,
            syncs: self.syncs,
            corrupt_frames: self.corrupt_frames,
            corrupt_records: self.corrupt_records,
        }
    }
}

/// The state, and the bell that wakes the reader.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    /// What the frames of new segments begin with.
    pub(crate) mark: u64,
    state: Mutex<State>,
    /// Rung when records became durable or the end came. One waiter: the reader.
    pub(crate) changed: Notify,
    /// The same for the tail, one too.
    pub(crate) grown: Notify,
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, mark: u64, state: State) -> Self {
        Self { dir, mark, state: Mutex::new(state), changed: Notify::new(), grown: Notify::new() }
    }

    /// Rings for both.
    pub(crate) fn ring(&self) {
        self.changed.notify_one();
        self.grown.notify_one();
    }

    /// Held for a few assignments, never across a read, write or await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State { next: 100, ..State::default() }
    }

    #[test]
    fn gaps_are_not_pending_and_are_stepped_over() {
        let mut state = state();
        state.add_gap(10..20);
        state.add_gap(15..30);
        state.add_gap(90..100);
        assert_eq!(state.gaps, [10..30, 90..100]);
        assert_eq!(state.stats().pending_records, 70);
        state.commit(10);
        assert_eq!((state.committed, state.stats().pending_records), (30, 60));
        state.commit(95);
        assert_eq!((state.committed, state.stats().pending_records), (100, 0));
        assert!(state.gaps.is_empty());
    }

    #[test]
    fn commit_never_goes_back_nor_beyond_what_is_durable() {
        let mut state = state();
        state.commit(50);
        state.commit(20);
        assert_eq!(state.committed, 50);
        state.commit(u64::MAX);
        assert_eq!(state.committed, 100);
    }
}
