//! A durable, bounded queue of opaque records on disk.
//!
//! Writers [`Spool::append`] and are answered only after `fsync`; one reader
//! walks the records in order and [`Reader::commit`]s what it has safely
//! passed on, which frees whole segments. Records are bytes without meaning.
//!
//! What is promised: a record whose append returned `Ok` is delivered at least
//! once, in order, whatever happens to the process, unless it is dropped at the
//! bound (counted) or its bytes on disk are damaged (counted). A record whose
//! append failed or was never answered may be delivered; one that was written
//! in part never is. No number is given to two records.
//!
//! ```text
//! append ─► queue ─► writer thread ─► segment files ─► Reader::next
//!                        ▲  └─► checkpoint                  │
//!                        └────────── Reader::commit ◄───────┘
//! ```

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};

mod active;
mod checkpoint;
mod directory;
mod error;
mod faults;
mod inspect;
mod limits;
mod reader;
mod recover;
mod replay;
mod scan;
mod segment;
mod state;
mod tail;
mod writer;

#[cfg(test)]
mod fault_tests;

pub use directory::make_dir;
pub use error::{AppendError, OpenError, ReadError};
pub use inspect::{Inspection, inspect};
pub use reader::{Chunk, Reader};
pub use replay::replay;
pub use tail::Tail;

use faults::Faults;
use segment::Frame;
use state::Shared;
use writer::{Append, Command, Writer};

/// Where a record begins: its sequence number, counted from 0 over the whole
/// life of the spool. Grows, never reused; there may be gaps.
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
    /// Bytes after which a new segment file begins. At most a quarter of
    /// `max_bytes` is used. An append that is longer gets a segment of its own.
    pub segment_bytes: u64,
    /// Bytes on disk that the spool never exceeds (segments, all in all).
    pub max_bytes: u64,
    /// What happens at the bound.
    pub when_full: WhenFull,
}

/// What a spool holds and has done, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records appended and not yet committed by the reader. Too high by what
    /// is lost to damage that the reader has not come to yet.
    pub pending_records: u64,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Records ever appended (survives restarts).
    pub appended_records: u64,
    /// Records ever dropped at the bound, not committed (survives restarts).
    /// Includes any that the reader had handed out and whose commit came too late.
    pub dropped_records: u64,
    /// Bytes of those.
    pub dropped_bytes: u64,
    /// Groups of appends that shared one fsync, since opening.
    pub syncs: u64,
    /// Damaged places (not torn tails) that the reader has stepped over, ever:
    /// each is one frame or several in a row.
    pub corrupt_frames: u64,
    /// Records lost in those, ever; an upper bound.
    pub corrupt_records: u64,
}

/// The queue. Cheap to clone; the writer thread ends when the last clone and
/// the reader are gone or [`Spool::close`] is called.
#[derive(Clone, Debug)]
pub struct Spool {
    handle: Arc<Handle>,
    _appenders: Arc<Appenders>,
}

/// The way to the writer thread.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Command>,
    longest_frame: u64,
    ended: watch::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Gone with the last [`Spool`].
#[derive(Debug)]
struct Appenders(Arc<Shared>);

impl Spool {
    /// Opens or creates the spool in `dir`, repairs a torn tail. Blocks for as
    /// long as it takes to read one segment.
    ///
    /// # Errors
    /// [`OpenError`] where the directory cannot be used.
    pub fn open(dir: &Path, config: Config) -> Result<(Self, Reader), OpenError> {
        Self::open_with(dir, config, Faults::default(), None)
    }

    /// The same, and keeps committed records as [`Self::keep`] does from the
    /// first moment on.
    ///
    /// # Errors
    /// [`OpenError`] where the directory cannot be used.
    pub fn open_keeping(
        dir: &Path,
        config: Config,
        from: Option<Position>,
    ) -> Result<(Self, Reader), OpenError> {
        Self::open_with(dir, config, Faults::default(), from)
    }

    fn open_with(
        dir: &Path,
        config: Config,
        faults: Faults,
        kept: Option<Position>,
    ) -> Result<(Self, Reader), OpenError> {
        let recovered = recover::open(dir, &faults, kept.map(|kept| kept.0))?;
        let shared = recovered.shared.clone();
        let longest_frame = writer::longest_frame(&config);
        let (queue, commands) = mpsc::channel(limits::QUEUED_COMMANDS);
        let (end, ended) = watch::channel(());
        let writer = Writer::new(config, recovered, commands, end, faults);
        let thread = std::thread::Builder::new()
            .name("spool".into())
            .stack_size(limits::WRITER_STACK_BYTES)
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: dir.into(), source })?;
        let thread = Some(thread);
        let handle =
            Arc::new(Handle { shared: shared.clone(), queue, longest_frame, ended, thread });
        let reader = Reader::new(handle.clone());
        Ok((Self { handle, _appenders: Arc::new(Appenders(shared)) }, reader))
    }

    /// Appends records as one unit: after a crash all of them are there or (if
    /// this never returned `Ok`) possibly none. Returns after fsync, the
    /// position of the first record; the others follow it. Waits where the
    /// queue to the writer is full. If the call is dropped before it returns,
    /// the records may be appended all the same.
    ///
    /// # Errors
    /// [`AppendError`]: nothing of it may be taken for durable.
    pub async fn append(&self, records: Vec<Vec<u8>>) -> Result<Position, AppendError> {
        if records.is_empty() {
            return Ok(Position(self.handle.shared.state().next));
        }
        let (bytes, max_bytes) = (Frame::bytes_of(&records), self.handle.longest_frame);
        let too_large = AppendError::TooLarge { bytes, max_bytes };
        if bytes > max_bytes {
            return Err(too_large);
        }
        let frame = Frame::encode(&records).ok_or(too_large)?;
        drop(records);
        let (reply, done) = oneshot::channel();
        let command = Command::Append(Append { frame, reply });
        self.handle.queue.send(command).await.map_err(|_| AppendError::Closed)?;
        done.await.map_err(|_| AppendError::Closed)?
    }

    /// A second way to read: records from a number on, in order, committed or not,
    /// as far as they are still there. One at a time.
    #[must_use]
    pub fn tail(&self, from: Position) -> Tail {
        Tail::new(self.handle.clone(), from.0)
    }

    /// Keeps committed records from this number on for a tail, until the bound is
    /// reached; `None` keeps none. What is freed by it is freed with the next
    /// commit.
    pub fn keep(&self, from: Option<Position>) {
        self.handle.shared.state().kept = from.map(|from| from.0);
    }

    /// Where the first record is that is still there.
    #[must_use]
    pub fn oldest(&self) -> Position {
        let state = self.handle.shared.state();
        Position(state.segments.front().map_or(state.next, |oldest| oldest.first))
    }

    /// Where the next record will be, after all that are durable.
    #[must_use]
    pub fn next(&self) -> Position {
        Position(self.handle.shared.state().next)
    }

    /// Figures for metrics and the loss report.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.shared.state().stats()
    }

    /// Writes what is queued, syncs, and ends the writer thread; the directory
    /// can be opened again on return. Afterwards appends and commits fail; the
    /// reader still hands out what is there.
    pub async fn close(&self) {
        // An error means that it is closed already.
        let _ = self.handle.queue.send(Command::Close).await;
        let mut ended = self.handle.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Appenders {
    fn drop(&mut self) {
        self.0.state().orphaned = true;
        self.0.ring();
    }
}

impl Drop for Handle {
    /// Waits for the writer, so that the directory can be opened again. All
    /// callers are gone, so at most one group is being written.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.queue, closed));
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// The decoder of segment files, for the fuzz target and its test.
#[doc(hidden)]
pub mod fuzzing {
    use crate::segment::{FORMAT, Frame, Header};

    /// The numbered records a reader would deliver of these bytes.
    #[must_use]
    pub fn records_of(segment: &[u8]) -> Vec<(u64, Vec<u8>)> {
        crate::recover::records_of(segment)
    }

    /// A segment file with these appends.
    #[must_use]
    pub fn segment_of(mark: u64, first: u64, appends: &[Vec<Vec<u8>>]) -> Vec<u8> {
        let mut bytes = Header { format: FORMAT, mark, first, before: first }.encode().to_vec();
        let mut next = first;
        for append in appends.iter().filter(|append| !append.is_empty()) {
            if let Some(mut frame) = Frame::encode(append) {
                bytes.extend_from_slice(frame.seal(mark, next));
                next += u64::from(frame.count());
            }
        }
        bytes
    }
}
