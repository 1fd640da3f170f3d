//! Opening: takes stock of the directory and repairs the tail of the last
//! segment. Segments before it are not read, so that a large spool opens at once.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::active::Active;
use crate::checkpoint::Checkpoint;
use crate::directory::make_dir;
use crate::error::OpenError;
use crate::faults::{Faults, Operation};
use crate::limits::{LOCK_PAUSE, LOCK_TRIES};
use crate::scan::{ReadAt, Scanner, Step, fill};
use crate::segment::{self, FORMAT, HEADER_BYTES, Header, RECORD_PREFIX_BYTES};
use crate::state::{Segment, Shared, State};

const LOCK: &str = "lock";

/// What the writer begins with.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) shared: Arc<Shared>,
    /// `None` where the last segment is not to be written to.
    pub(crate) active: Option<Active>,
    /// Keeps others out as long as it is open.
    pub(crate) lock: File,
}

/// What the header of a segment and the size of its file say.
struct Found {
    first: u64,
    header: Option<Header>,
    file_bytes: u64,
}

/// Opens or creates the spool in `dir`.
///
/// Segments from `kept` on stay for a tail, also where they are committed.
pub(crate) fn open(dir: &Path, faults: &Faults, kept: Option<u64>) -> Result<Recovered, OpenError> {
    let io = |source| OpenError::Io { path: dir.into(), source };
    make_dir(dir).map_err(io)?;
    let lock = lock(dir)?;
    let mut found = Vec::new();
    for first in segment::firsts(dir).map_err(io)? {
        found.push(look(dir, first)?);
    }
    let old = Checkpoint::read(dir)?;
    let mark = old
        .as_ref()
        .and_then(|old| u64::from_str_radix(&old.mark, 16).ok())
        .or_else(|| found.iter().find_map(|found| found.header).map(|header| header.mark))
        .unwrap_or_else(new_mark);
    let known = old.clone().unwrap_or_default();

    // A file without a whole header was being created: it never held a record.
    let mut floor = known.next.max(known.committed);
    while let Some(last) = found.pop_if(|last| last.is_stillborn()) {
        floor = floor.max(last.first);
        std::fs::remove_file(segment::path(dir, last.first)).map_err(io)?;
    }

    let mut state = State {
        unused: known.unused,
        dropped_records: known.dropped_records,
        dropped_bytes: known.dropped_bytes,
        corrupt_frames: known.corrupt_frames,
        corrupt_records: known.corrupt_records,
        corrupt_counted_to: known.corrupt_counted_to,
        ..State::default()
    };
    let nexts = found.iter().skip(1).map(Some).chain([None]);
    for (found, next) in found.iter().zip(nexts) {
        if found.header.is_none() {
            let path = segment::path(dir, found.first);
            tracing::error!(path = %path.display(), "a segment's header is damaged; its frames are still read");
        }
        state.segments.push_back(Segment {
            first: found.first,
            end: next.map_or(u64::MAX, |next| next.before(found.first)),
            bytes: found.file_bytes,
            file_bytes: found.file_bytes,
            mark: found.header.map_or(mark, |header| header.mark),
        });
    }
    let active;
    if let Some(last) = state.segments.back_mut() {
        let tail = read_tail(dir, last).map_err(io)?;
        let file = Active::reopen(dir, last.first, tail.bytes, faults).map_err(io)?;
        // Without a header a later look could not tell its mark: leave it alone.
        active = found.last().and_then(|last| last.header).map(|_| file);
        (last.bytes, last.file_bytes, last.end) = (tail.bytes, tail.bytes, tail.end);
        state.next = tail.next.max(floor);
        // Not a number of the tail and above all that was given out before.
        state.unused += state.next - tail.end.max(floor).min(state.next);
        let rest = tail.end..state.next;
        tail.gaps.into_iter().chain([rest]).for_each(|gap| state.add_gap(gap));
    } else {
        let header = Header { format: FORMAT, mark, first: floor, before: floor };
        active = Some(Active::create(dir, header, faults).map_err(io)?);
        state.next = floor;
        let header = HEADER_BYTES as u64;
        let segment = Segment { first: floor, end: floor, bytes: header, file_bytes: header, mark };
        state.segments.push_back(segment);
    }
    state.commit(known.committed.max(state.segments.front().map_or(0, |oldest| oldest.first)));
    state.kept = kept;
    while let Some(consumed) = state.take_consumed() {
        std::fs::remove_file(segment::path(dir, consumed.first)).map_err(io)?;
    }
    let new = state.checkpoint(mark);
    if old.as_ref() != Some(&new)
        && let Err(error) = faults.check(Operation::Checkpoint).and_then(|()| new.write(dir))
    {
        // A full disk; what is on it can still be read and sent.
        tracing::warn!(%error, "cannot write the spool's checkpoint; it is tried again later");
    }
    Ok(Recovered { shared: Arc::new(Shared::new(dir.into(), mark, state)), active, lock })
}

/// Takes the lock. A child process has a copy of all our files, locks too,
/// between its fork and its exec; so a lock that was given back a moment ago
/// may still look taken for an instant, and is tried for again.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    for _ in 1..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
        }
    }
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

fn look(dir: &Path, first: u64) -> Result<Found, OpenError> {
    let path = segment::path(dir, first);
    let io = |source| OpenError::Io { path: path.clone(), source };
    let file = File::open(&path).map_err(io)?;
    let mut bytes = [0; HEADER_BYTES];
    let read = fill(&file, &mut bytes, 0).map_err(io)?;
    let header = bytes.get(..read).and_then(Header::decode);
    if let Some(Header { format: found, .. }) = header.filter(|header| header.format > FORMAT) {
        return Err(OpenError::Format { path, found, known: FORMAT });
    }
    Ok(Found { first, header, file_bytes: file.metadata().map_err(io)?.len() })
}

impl Found {
    fn is_stillborn(&self) -> bool {
        self.header.is_none() && self.file_bytes <= HEADER_BYTES as u64
    }

    /// Number after the last record of the segment before, which begins at `first`.
    fn before(&self, first: u64) -> u64 {
        let said = self.header.map(|header| header.before);
        said.filter(|before| (first..=self.first).contains(before)).unwrap_or(self.first)
    }
}

/// The last segment, read to its end.
#[derive(Debug)]
struct Tail {
    /// Length up to the last whole frame.
    bytes: u64,
    /// Number after the last record.
    end: u64,
    /// Number for the next record.
    next: u64,
    gaps: Vec<std::ops::Range<u64>>,
}

fn read_tail(dir: &Path, segment: &Segment) -> io::Result<Tail> {
    let path = segment::path(dir, segment.first);
    let tail = scan_tail(File::open(&path)?, segment)?;
    if tail.bytes < segment.file_bytes {
        let torn_bytes = segment.file_bytes - tail.bytes;
        tracing::warn!(path = %path.display(), torn_bytes, "removed a torn tail from the spool");
    }
    Ok(tail)
}

fn scan_tail(source: impl ReadAt, segment: &Segment) -> io::Result<Tail> {
    let mut scanner = Scanner::new(source, segment.mark, segment.first);
    let mut tail = Tail {
        bytes: segment.file_bytes.min(HEADER_BYTES as u64),
        end: segment.first,
        next: segment.first,
        gaps: Vec::new(),
    };
    loop {
        match scanner.step(segment.file_bytes, u64::MAX)? {
            Step::Frame { first, end, .. } => {
                tail.gaps.extend((tail.end < first).then_some(tail.end..first));
                tail.end = end;
                tail.next = end;
                tail.bytes = scanner.offset();
            }
            Step::Damage { frame_follows: true, .. } => {}
            Step::Damage { frame_follows: false, .. } => {
                // The removed bytes may have been records that somebody has
                // seen: damage looks like a torn write. Their numbers, of which
                // there are at most this many, are not given out again.
                let removed = segment.file_bytes - tail.bytes;
                tail.next = tail.end.saturating_add(1 + removed / RECORD_PREFIX_BYTES as u64);
            }
            Step::End => return Ok(tail),
        }
    }
}

/// Random, from the seed that the standard library draws for its hash maps.
fn new_mark() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The records of a segment in memory, by number, as a reader would deliver
/// them. For fuzzing and tests.
pub(crate) fn records_of(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let header = Header::decode(bytes);
    let mark = bytes.get(16..24).and_then(|mark| mark.try_into().ok()).map(u64::from_le_bytes);
    let (mark, first) = match header {
        Some(header) => (header.mark, header.first),
        None => (mark.unwrap_or_default(), 0),
    };
    let mut scanner = Scanner::new(bytes, mark, first);
    let mut found = Vec::new();
    // Reading memory does not fail.
    while let Ok(step) = scanner.step(bytes.len() as u64, u64::MAX) {
        match step {
            Step::Frame { first, records, .. } => {
                found.extend((first..).zip(records.map(<[u8]>::to_vec)));
            }
            Step::Damage { .. } => {}
            Step::End => break,
        }
    }
    found
}
