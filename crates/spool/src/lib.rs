//! A durable, bounded queue of opaque records on disk.
//!
//! Writers [`Spool::append`] and are answered only after `fsync`; one reader
//! walks the records in order and [`Reader::commit`]s what it has safely
//! passed on, which frees whole segments. Records are bytes without meaning.

use std::path::{Path, PathBuf};

mod error;
pub use error::{AppendError, OpenError, ReadError};

/// Where a record begins: its sequence number, counted from 0 over the whole
/// life of the spool. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What happens to an append when the spool has reached its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The append fails with [`AppendError::Full`].
    Refuse,
    /// The oldest segment is dropped and counted in [`Stats::dropped_records`].
    DropOldest,
}

/// Settings of a spool.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes after which a new segment file begins.
    pub segment_bytes: u64,
    /// Bytes on disk that the spool never exceeds (segments, all in all).
    pub max_bytes: u64,
    /// What happens at the bound.
    pub when_full: WhenFull,
}

/// What a spool holds and has done since it was opened, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records appended and not yet committed by the reader.
    pub pending_records: u64,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Records ever appended (survives restarts).
    pub appended_records: u64,
    /// Records ever dropped at the bound, unread (survives restarts).
    pub dropped_records: u64,
    /// Bytes of those.
    pub dropped_bytes: u64,
    /// Groups of appends that shared one fsync, since opening.
    pub syncs: u64,
    /// Records in frames found corrupt (not torn) and skipped, ever.
    pub corrupt_frames: u64,
}

/// The queue. Cheap to clone; the writer thread ends when the last clone and
/// the reader are gone or [`Spool::close`] is called.
#[derive(Clone)]
pub struct Spool {}

/// The one reader.
pub struct Reader {}

/// Records in order, with the position after the last of them.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// The records.
    pub records: Vec<Vec<u8>>,
    /// Commit this once they are safe elsewhere.
    pub end: u64,
}

impl Spool {
    /// Opens or creates the spool in `dir`, repairs a torn tail.
    ///
    /// # Errors
    /// [`OpenError`] where the directory cannot be used.
    pub fn open(dir: &Path, config: Config) -> Result<(Self, Reader), OpenError> {
        let _: (PathBuf, Config) = (dir.into(), config);
        todo!()
    }
    /// Appends records as one unit: after a crash all of them are there or (if
    /// this never returned `Ok`) possibly none. Returns after fsync.
    ///
    /// # Errors
    /// [`AppendError`]: nothing of it may be taken for durable.
    pub async fn append(&self, records: Vec<Vec<u8>>) -> Result<Position, AppendError> {
        let _ = records;
        todo!()
    }
    /// Figures for metrics and the loss report.
    #[must_use]
    pub fn stats(&self) -> Stats {
        todo!()
    }
    /// Writes what is queued, syncs, and ends the writer thread.
    pub async fn close(&self) {
        todo!()
    }
}

impl Reader {
    /// The next records after the last call, at most `max_records` and about
    /// `max_bytes`; waits until there is at least one. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`] where a segment cannot be read.
    pub async fn next(&mut self, max_records: usize, max_bytes: usize) -> Result<Chunk, ReadError> {
        let _ = (max_records, max_bytes);
        todo!()
    }
    /// Records before `end` are safe elsewhere; durable after return, frees segments.
    ///
    /// # Errors
    /// [`ReadError`] where the checkpoint cannot be written.
    pub async fn commit(&mut self, end: u64) -> Result<(), ReadError> {
        let _ = end;
        todo!()
    }
    /// Goes back to the last committed position, to read again what a failed
    /// consumer did not pass on.
    pub fn rewind(&mut self) {
        todo!()
    }
}
