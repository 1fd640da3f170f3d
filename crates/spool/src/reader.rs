//! The one reader: delivers durable records in order, past damage and gaps.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Handle;
use crate::error::ReadError;
use crate::scan::{Scanner, Step};
use crate::segment;
use crate::state::{Plan, Segment, Shared};
use crate::writer::Command;

/// The one reader. Dropping it loses nothing; the next [`crate::Spool::open`]
/// gives a new one that begins at the committed position.
#[derive(Debug)]
pub struct Reader {
    handle: Arc<Handle>,
    /// Number of the next record to hand out.
    cursor: u64,
    /// Number of the next record to load; `ready` lies before it.
    ahead: u64,
    /// Loaded, not handed out.
    ready: VecDeque<(u64, Vec<u8>)>,
    ready_bytes: usize,
    /// Open segment, unless a load has it.
    open: Option<Open>,
    /// A load that an abandoned call to [`Reader::next`] may have left.
    loading: Option<JoinHandle<Loaded>>,
}

/// Records in order, with the position after the last of them. Their numbers
/// are consecutive: `end - records.len()` up to `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The records.
    pub records: Vec<Vec<u8>>,
    /// Commit this once they are safe elsewhere.
    pub end: u64,
}

impl Reader {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        let committed = handle.shared.state().committed;
        Self {
            handle,
            cursor: committed,
            ahead: committed,
            ready: VecDeque::new(),
            ready_bytes: 0,
            open: None,
            loading: None,
        }
    }

    /// The next records after the last call, at most `max_records` (at least
    /// one) and, unless a single one is longer, `max_bytes`; waits until there
    /// is at least one. Only durable records are delivered. Cancel-safe: a
    /// call that is dropped has consumed nothing.
    ///
    /// Damaged places are stepped over and counted in
    /// [`crate::Stats::corrupt_frames`].
    ///
    /// # Errors
    /// [`ReadError::Io`] where a segment cannot be read; the next call tries
    /// again. [`ReadError::Closed`] once nobody can append any more and all
    /// records were handed out.
    pub async fn next(&mut self, max_records: usize, max_bytes: usize) -> Result<Chunk, ReadError> {
        let max_records = max_records.max(1);
        loop {
            let (committed, durable, ended) = {
                let state = self.handle.shared.state();
                (state.committed, state.next, state.closed || state.orphaned)
            };
            self.skip_to(committed);
            let all_loaded = self.loading.is_none() && self.ahead >= durable;
            let enough = self.ready.len() >= max_records || self.ready_bytes >= max_bytes;
            if !self.ready.is_empty() && (enough || all_loaded) {
                return Ok(self.take(max_records, max_bytes));
            }
            if all_loaded {
                self.rest();
                if ended {
                    return Err(ReadError::Closed);
                }
                self.handle.shared.changed.notified().await;
                continue;
            }
            let loading = self.loading.get_or_insert_with(|| {
                let load = Load {
                    shared: self.handle.shared.clone(),
                    from: self.ahead,
                    max_records: max_records.saturating_sub(self.ready.len()),
                    max_bytes: max_bytes.saturating_sub(self.ready_bytes),
                    for_whom: ForWhom::Reader,
                };
                let open = self.open.take();
                tokio::task::spawn_blocking(move || load.run(open))
            });
            let loaded = loading.await;
            self.loading = None;
            let loaded = loaded.map_err(|error| self.error(io::Error::other(error)))?;
            self.open = loaded.open;
            self.ahead = self.ahead.max(loaded.ahead);
            self.ready_bytes +=
                loaded.records.iter().map(|(_, record)| record.len()).sum::<usize>();
            self.ready.extend(loaded.records);
            if let Some(error) = loaded.error
                && self.ready.is_empty()
            {
                // Else what was loaded goes first, and the error comes again.
                return Err(self.error(error));
            }
        }
    }

    /// Records before `end` are safe elsewhere; durable after return, frees
    /// the segments that hold nothing else. Records between what was handed
    /// out and `end` are never handed out.
    ///
    /// # Errors
    /// [`ReadError`] where the checkpoint cannot be written: records before
    /// `end` are not delivered again by this reader, but may be after the
    /// spool is opened again.
    pub async fn commit(&mut self, end: u64) -> Result<(), ReadError> {
        let (reply, done) = oneshot::channel();
        let command = Command::Commit { end, reply };
        self.handle.queue.send(command).await.map_err(|_| ReadError::Closed)?;
        done.await.map_err(|_| ReadError::Closed)?
    }

    /// Goes back to the last committed position, to read again what a failed
    /// consumer did not pass on.
    pub fn rewind(&mut self) {
        let committed = self.committed();
        (self.cursor, self.ahead) = (committed, committed);
        // A load under way ends by itself; nobody takes its result.
        (self.loading, self.open) = (None, None);
        self.ready = VecDeque::new();
        self.ready_bytes = 0;
    }

    /// Number up to which everything is committed or dropped: the first record
    /// that a new reader would get is this one or a later one.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.handle.shared.state().committed
    }

    /// Forgets what was committed or dropped meanwhile.
    fn skip_to(&mut self, committed: u64) {
        self.cursor = self.cursor.max(committed);
        self.ahead = self.ahead.max(committed);
        while let Some((_, record)) = self.ready.pop_front_if(|(at, _)| *at < committed) {
            self.ready_bytes -= record.len();
        }
    }

    /// Hands out what is loaded, up to the bounds or the first gap.
    fn take(&mut self, max_records: usize, max_bytes: usize) -> Chunk {
        let mut chunk = Chunk::default();
        let mut bytes = 0_usize;
        while let Some((at, record)) = self.ready.front() {
            let begins = chunk.records.is_empty();
            bytes = bytes.saturating_add(record.len());
            if !begins && (*at != chunk.end || bytes > max_bytes) {
                break;
            }
            chunk.end = at + 1;
            let Some((_, record)) = self.ready.pop_front() else { break };
            self.ready_bytes -= record.len();
            chunk.records.push(record);
            if chunk.records.len() >= max_records {
                break;
            }
        }
        self.cursor = chunk.end;
        chunk
    }

    /// Gives memory back while there is nothing to do.
    fn rest(&mut self) {
        self.ready = VecDeque::new();
        if let Some(open) = &mut self.open {
            open.scanner.release();
        }
    }

    fn error(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.handle.shared.dir.clone(), source }
    }
}

/// A segment that is being read.
#[derive(Debug)]
pub(crate) struct Open {
    first: u64,
    pub(crate) scanner: Scanner<File>,
}

/// What one load has found.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) open: Option<Open>,
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    /// Number of the next record to load.
    pub(crate) ahead: u64,
    pub(crate) error: Option<io::Error>,
}

/// One piece of blocking work: whole frames until a bound is reached.
pub(crate) struct Load {
    pub(crate) shared: Arc<Shared>,
    pub(crate) from: u64,
    pub(crate) max_records: usize,
    pub(crate) max_bytes: usize,
    pub(crate) for_whom: ForWhom,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForWhom {
    /// The reader: nothing that is committed.
    Reader,
    /// The tail: also that.
    Tail,
}

impl Load {
    pub(crate) fn run(self, open: Option<Open>) -> Loaded {
        let mut loaded = Loaded { open, records: Vec::new(), ahead: self.from, error: None };
        let mut bytes = 0;
        loop {
            let plan = match self.for_whom {
                ForWhom::Reader => self.shared.state().plan(loaded.ahead),
                ForWhom::Tail => self.shared.state().plan_anywhere(loaded.ahead),
            };
            let (segment, from) = match plan {
                Plan::Segment(segment, from) => (segment, from),
                Plan::Nothing(next) => {
                    loaded.ahead = loaded.ahead.max(next);
                    return loaded;
                }
            };
            loaded.ahead = from;
            match self.read(&segment, &mut loaded, &mut bytes) {
                Ok(End::Bound) => return loaded,
                Ok(End::Segment) => {}
                Err(error) => {
                    loaded.open = None;
                    loaded.error = Some(error);
                    return loaded;
                }
            }
        }
    }

    /// Reads on in one segment.
    fn read(&self, segment: &Segment, loaded: &mut Loaded, bytes: &mut usize) -> io::Result<End> {
        let path = segment::path(&self.shared.dir, segment.first);
        if loaded.open.as_ref().is_none_or(|open| open.first != segment.first) {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Dropped a moment ago, or taken away by somebody.
                    let gone = loaded.ahead..segment.end;
                    if self.shared.state().committed < segment.end {
                        tracing::error!(path = %path.display(), "a segment of the spool is gone");
                        self.note_damage(gone.clone(), &path.display().to_string(), 0);
                    }
                    self.note_gap(gone);
                    loaded.ahead = segment.end;
                    return Ok(End::Segment);
                }
                Err(error) => return Err(error),
            };
            let scanner = Scanner::new(file, segment.mark, segment.first);
            loaded.open = Some(Open { first: segment.first, scanner });
        }
        let Some(Open { scanner, .. }) = &mut loaded.open else { return Ok(End::Segment) };
        let mut damage = None;
        loop {
            let expected = scanner.expected();
            let (first, end) = match scanner.step(segment.bytes, segment.end)? {
                Step::Frame { first, end, records } => {
                    for (at, record) in (first..).zip(records).filter(|(at, _)| *at >= loaded.ahead)
                    {
                        *bytes += record.len();
                        loaded.records.push((at, record.to_vec()));
                    }
                    (first, Some(end))
                }
                Step::Damage { offset, .. } => {
                    damage = Some(offset);
                    continue;
                }
                Step::End => (segment.end, None),
            };
            // The records of a segment end where the next one says they do.
            let cut = (end.is_none() && expected < first).then_some(segment.bytes);
            if let Some(offset) = damage.take().or(cut) {
                self.note_damage(expected..first, &path.display().to_string(), offset);
            }
            self.note_gap(loaded.ahead..first);
            loaded.ahead = loaded.ahead.max(end.unwrap_or(first));
            if end.is_none() {
                return Ok(End::Segment);
            }
            if loaded.records.len() >= self.max_records || *bytes >= self.max_bytes {
                return Ok(End::Bound);
            }
        }
    }

    fn note_gap(&self, gap: Range<u64>) {
        if !gap.is_empty() {
            self.shared.state().add_gap(gap);
        }
    }

    /// Counts and tells damage, once, however often it is read.
    fn note_damage(&self, lost: Range<u64>, path: &str, offset: u64) {
        {
            let mut state = self.shared.state();
            let counted_to = state.corrupt_counted_to;
            // Where no number is missing, the bytes were never acknowledged.
            if lost.is_empty() || lost.start < counted_to || lost.end <= state.committed {
                return;
            }
            state.corrupt_frames += 1;
            state.corrupt_records += lost.end - lost.start;
            state.corrupt_counted_to = lost.end;
        }
        tracing::error!(
            path,
            offset,
            first = lost.start,
            end = lost.end,
            "a segment of the spool is damaged; these records are lost, later ones are not"
        );
    }
}

/// Why reading a segment ended.
enum End {
    /// Enough was loaded.
    Bound,
    /// There is nothing more in it for now.
    Segment,
}
