//! The thread that alone changes anything on disk: appends, commits, drops.
//!
//! Group commit: what was queued while the disk was syncing is written and
//! synced together, so that the more callers wait, the fewer syncs a record
//! costs. Nothing is answered with `Ok` before its sync has returned.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::active::Active;
use crate::error::{AppendError, ReadError};
use crate::faults::{Faults, Operation};
use crate::limits::{GROUP_BYTES, MAX_FRAME_BYTES, SEGMENTS_AT_LEAST};
use crate::recover::Recovered;
use crate::scan::{Scanner, Step};
use crate::segment::{self, FORMAT, Frame, HEADER_BYTES, Header};
use crate::state::{Segment, Shared};
use crate::{Config, Position, WhenFull};

const HEADER: u64 = HEADER_BYTES as u64;

/// One append, waiting.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) frame: Frame,
    pub(crate) reply: oneshot::Sender<Result<Position, AppendError>>,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Append(Append),
    Commit { end: u64, reply: oneshot::Sender<Result<(), ReadError>> },
    Close,
}

/// Longest frame a spool with these settings takes, in bytes.
pub(crate) fn longest_frame(config: &Config) -> u64 {
    MAX_FRAME_BYTES.min(config.max_bytes.saturating_sub(3 * HEADER))
}

/// What becomes of an append that is next.
enum Admission {
    Now,
    /// After the group before it is durable.
    Later,
    Never(AppendError),
}

/// What failed when a group could not be made durable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Write,
    Sync,
}

/// State of the writer thread.
pub(crate) struct Writer {
    config: Config,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command>,
    faults: Faults,
    active: Option<Active>,
    /// Number for the next record, those of the group counted.
    next: u64,
    /// Bytes written and not synced.
    group_bytes: u64,
    /// Who waits for the group, with the number of its first record.
    group: Vec<(u64, oneshot::Sender<Result<Position, AppendError>>)>,
    /// Taken from the queue, but not the group's.
    held: Option<Command>,
    /// Number up to which the checkpoint on disk says committed.
    saved: Option<u64>,
    /// The last attempt to write failed; said once, not for each append.
    failing: bool,
    _lock: File,
    /// Tells by its end that the thread has ended.
    _ended: watch::Sender<()>,
}

impl Writer {
    pub(crate) fn new(
        config: Config,
        recovered: Recovered,
        queue: mpsc::Receiver<Command>,
        ended: watch::Sender<()>,
        faults: Faults,
    ) -> Self {
        let segment_bytes = config.segment_bytes.min(config.max_bytes / SEGMENTS_AT_LEAST);
        let next = recovered.shared.state().next;
        Self {
            config: Config { segment_bytes, ..config },
            shared: recovered.shared,
            queue,
            faults,
            active: recovered.active,
            next,
            group_bytes: 0,
            group: Vec::new(),
            held: None,
            saved: None,
            failing: false,
            _lock: recovered.lock,
            _ended: ended,
        }
    }

    /// Serves until closed or until nobody is left to ask.
    pub(crate) fn run(mut self) {
        loop {
            let command = match self.held.take() {
                Some(command) => Some(command),
                None => self.queue.blocking_recv(),
            };
            match command {
                Some(Command::Append(append)) => self.write_group(append),
                Some(Command::Commit { end, reply }) => {
                    // Whoever asked may be gone; it is committed all the same.
                    let _ = reply.send(self.commit(end));
                }
                // What is in the queue is still served.
                Some(Command::Close) => self.queue.close(),
                None => break,
            }
        }
    }

    /// Writes this append and all that wait behind it, and syncs.
    fn write_group(&mut self, append: Append) {
        let mut next = Some(append);
        while let Some(append) = next.take() {
            match self.admit(append.frame.len()) {
                Admission::Now => self.write(append),
                Admission::Later => {
                    self.held = Some(Command::Append(append));
                    break;
                }
                Admission::Never(error) => {
                    let _ = append.reply.send(Err(error));
                }
            }
            if self.group_bytes >= GROUP_BYTES {
                break;
            }
            match self.queue.try_recv() {
                Ok(Command::Append(append)) => next = Some(append),
                Ok(other) => self.held = Some(other),
                Err(_) => {}
            }
        }
        self.sync();
    }

    /// Decides about a frame of `bytes`; makes room or begins a new segment
    /// for it where that must be.
    fn admit(&mut self, bytes: u64) -> Admission {
        let segment_bytes = self.config.segment_bytes;
        let begins_segment = |writer: &Self| {
            let used = writer.last_bytes() + writer.group_bytes;
            writer.active.is_none() || (used > HEADER && used + bytes > segment_bytes)
        };
        let begins = begins_segment(self);
        let fits = self.fits(bytes);
        let fills_group = self.group_bytes + bytes > GROUP_BYTES;
        if !self.group.is_empty() && (begins || !fits || fills_group) {
            return Admission::Later;
        }
        if !fits && let Err(error) = self.make_room(bytes) {
            return Admission::Never(error);
        }
        // Making room may have begun one already.
        if begins_segment(self)
            && let Err(error) = self.begin_segment()
        {
            return Admission::Never(error);
        }
        Admission::Now
    }

    fn last_bytes(&self) -> u64 {
        self.shared.state().segments.back().map_or(HEADER, |last| last.bytes)
    }

    /// With the headers of the next segment and of the one that [`Self::make_room`]
    /// may have to begin before it can drop anything.
    fn fits(&self, bytes: u64) -> bool {
        let used = self.shared.state().bytes() + self.group_bytes;
        used.saturating_add(bytes) <= self.config.max_bytes.saturating_sub(2 * HEADER)
    }

    /// Frees what has been read; then, if the settings say so, what has not.
    fn make_room(&mut self, bytes: u64) -> Result<(), AppendError> {
        let full = AppendError::Full { max_bytes: self.config.max_bytes };
        while !self.fits(bytes) {
            let (oldest, only, committed) = {
                let state = self.shared.state();
                let Some(oldest) = state.segments.front().cloned() else { return Err(full) };
                (oldest, state.segments.len() == 1, state.committed)
            };
            if oldest.end > committed && self.config.when_full == WhenFull::Refuse {
                return Err(full);
            }
            if only {
                if oldest.file_bytes <= HEADER {
                    return Err(full);
                }
                self.begin_segment()?;
            }
            if oldest.end > committed {
                self.drop_unread(&oldest);
            }
            {
                // Taking records in goes before keeping them for a tail.
                let mut state = self.shared.state();
                state.kept = state.kept.map(|kept| kept.max(oldest.end));
            }
            self.remove_consumed();
        }
        Ok(())
    }

    /// Seals the active segment, whose frames are all durable, and begins the next.
    fn begin_segment(&mut self) -> Result<(), AppendError> {
        let header = Header {
            format: FORMAT,
            mark: self.shared.mark,
            first: self.next,
            before: self.shared.state().segments.back().map_or(self.next, |last| last.end),
        };
        let active = match Active::create(&self.shared.dir, header, &self.faults) {
            Ok(active) => active,
            Err(error) => return Err(self.failed(error)),
        };
        self.active = Some(active);
        self.shared.state().segments.push_back(Segment {
            first: self.next,
            end: self.next,
            bytes: HEADER,
            file_bytes: HEADER,
            mark: self.shared.mark,
        });
        self.note_and_remove();
        Ok(())
    }

    fn write(&mut self, Append { mut frame, reply }: Append) {
        let first = self.next;
        let count = u64::from(frame.count());
        self.group.push((first, reply));
        let at = self.last_bytes() + self.group_bytes;
        let bytes = frame.seal(self.shared.mark, first);
        let written = match &self.active {
            Some(active) => active.write(bytes, at),
            None => Err(io::Error::other("no segment is open")),
        };
        self.group_bytes += bytes.len() as u64;
        self.next += count;
        if let Err(error) = written {
            self.fail_group(error, Stage::Write);
        }
    }

    /// Makes the group durable and answers it.
    fn sync(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let synced = match &self.active {
            Some(active) => active.sync(),
            None => Err(io::Error::other("no segment is open")),
        };
        if let Err(error) = synced {
            self.fail_group(error, Stage::Sync);
            return;
        }
        {
            let mut state = self.shared.state();
            state.syncs += 1;
            state.next = self.next;
            if let Some(last) = state.segments.back_mut() {
                last.end = self.next;
                last.bytes += self.group_bytes;
                last.file_bytes = last.bytes;
            }
        }
        self.group_bytes = 0;
        self.shared.ring();
        for (first, reply) in self.group.drain(..) {
            let _ = reply.send(Ok(Position(first)));
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("the spool can be written again");
        }
    }

    /// Nothing of the group was acknowledged: takes it off the disk again, or
    /// leaves the file for good where that cannot be known to have worked.
    fn fail_group(&mut self, error: io::Error, stage: Stage) {
        let durable = self.last_bytes();
        let cut = self.active.as_ref().map_or(Ok(()), |active| active.truncate(durable));
        let left_bytes = if cut.is_ok() { 0 } else { self.group_bytes };
        if stage == Stage::Write && cut.is_ok() {
            // The next group overwrites the place, so its numbers are free too.
            self.next = self.shared.state().next;
        } else {
            self.abandon(left_bytes);
        }
        self.group_bytes = 0;
        let error = self.failed(error);
        for (_, reply) in self.group.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Closes the active segment at its durable length. The numbers of the
    /// failed group are not used again: it may come back after a crash.
    fn abandon(&mut self, left_bytes: u64) {
        self.active = None;
        let empty = {
            let mut state = self.shared.state();
            let unused = state.next..self.next;
            state.next = self.next;
            state.unused += self.next - unused.start;
            state.add_gap(unused);
            if let Some(last) = state.segments.back_mut() {
                last.file_bytes = last.bytes + left_bytes;
            }
            // Else a disk that fails for long leaves a file for each attempt.
            let several = state.segments.len() > 1;
            state.segments.pop_back_if(|last| several && last.bytes <= HEADER)
        };
        if let Err(error) = self.save() {
            tracing::warn!(%error, "cannot write the spool's checkpoint; it is tried again later");
        }
        if let Some(empty) = empty {
            self.remove(&empty);
        }
    }

    /// Drops a segment with records that nobody has committed.
    fn drop_unread(&mut self, segment: &Segment) {
        let from = self.shared.state().committed.max(segment.first);
        let (records, bytes) = self.count(segment, from).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read a dropped segment; its records are estimated");
            (segment.end - from, segment.bytes)
        });
        {
            let mut state = self.shared.state();
            state.commit(segment.end);
            state.dropped_records += records;
            state.dropped_bytes += bytes;
        }
        tracing::warn!(records, bytes, "the spool is full; its oldest records were dropped");
        // The loss is written down before it happens, if there is space for it.
        if self.save().is_err() {
            self.remove_consumed();
            if let Err(error) = self.save() {
                tracing::error!(%error, "cannot write down how much the spool has dropped");
            }
        }
    }

    /// Records of the segment from number `from` on, and their bytes.
    fn count(&self, segment: &Segment, from: u64) -> io::Result<(u64, u64)> {
        let file = File::open(segment::path(&self.shared.dir, segment.first))?;
        let mut scanner = Scanner::new(file, segment.mark, segment.first);
        let mut counted = (0, 0);
        loop {
            match scanner.step(segment.bytes, segment.end)? {
                Step::Frame { first, records, .. } => {
                    for (_, record) in (first..).zip(records).filter(|(at, _)| *at >= from) {
                        counted = (counted.0 + 1, counted.1 + record.len() as u64);
                    }
                }
                Step::Damage { .. } => {}
                Step::End => return Ok(counted),
            }
        }
    }

    fn commit(&mut self, end: u64) -> Result<(), ReadError> {
        let committed = {
            let mut state = self.shared.state();
            state.commit(end);
            state.committed
        };
        if self.saved == Some(committed) {
            return Ok(());
        }
        let saved = self.save().or_else(|_| {
            // The disk may be full. What was read is safe elsewhere: free it
            // first. If we crash now, nothing but the figures is lost.
            self.remove_consumed();
            self.save()
        });
        self.remove_consumed();
        saved.map_err(|source| ReadError::Io { path: self.shared.dir.clone(), source })
    }

    /// Writes the checkpoint.
    fn save(&mut self) -> io::Result<()> {
        let checkpoint = self.shared.state().checkpoint(self.shared.mark);
        self.faults.check(Operation::Checkpoint)?;
        checkpoint.write(&self.shared.dir)?;
        self.saved = Some(checkpoint.committed);
        Ok(())
    }

    /// Removes the segments that are done with. Never the last one: its name
    /// keeps the numbers from starting again.
    fn remove_consumed(&mut self) {
        loop {
            let consumed = self.shared.state().take_consumed();
            match consumed {
                Some(segment) => self.remove(&segment),
                None => return,
            }
        }
    }

    /// Removes what the reader has stepped over without a commit: damage at
    /// the committed place. Its count is written down first, because once the
    /// segment is gone nobody can find the damage again.
    fn note_and_remove(&mut self) {
        let (committed, oldest_end) = {
            let state = self.shared.state();
            (state.committed, state.segments.front().map_or(u64::MAX, |oldest| oldest.end))
        };
        if oldest_end <= committed
            && self.saved != Some(committed)
            && let Err(error) = self.save()
        {
            tracing::warn!(%error, "cannot write the spool's checkpoint; it is tried again later");
        }
        self.remove_consumed();
    }

    fn remove(&self, segment: &Segment) {
        let path = segment::path(&self.shared.dir, segment.first);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a segment of the spool");
        }
    }

    fn failed(&mut self, error: io::Error) -> AppendError {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(path = %self.shared.dir.display(), %error, "the spool cannot be written");
        }
        AppendError::Io(Arc::new(error))
    }
}

impl Drop for Writer {
    /// However the thread ends, the reader does not wait for more.
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.ring();
    }
}
