//! Walks the frames of one segment and finds the way past damage. Used to
//! read, to recover at opening and to count what is dropped.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::limits::{MAX_FRAME_BYTES, READ_BYTES};
use crate::segment::{FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, RECORD_PREFIX_BYTES, Records};

/// Bytes that can be read at any place: a file, or memory in a fuzz target.
pub(crate) trait ReadAt {
    /// As [`FileExt::read_at`].
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let length = rest.len().min(into.len());
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(length)
    }
}

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A frame whose checksum agrees.
    Frame {
        /// Number of its first record.
        first: u64,
        /// Number after its last record.
        end: u64,
        /// Its records.
        records: Records<'a>,
    },
    /// Bytes that are no frame, from here to the next frame or to the limit.
    Damage {
        /// Where they begin.
        offset: u64,
        /// Whether a frame follows; if not, they may be a torn tail.
        frame_follows: bool,
    },
    /// The limit is reached.
    End,
}

/// Walks a segment from its first frame on.
#[derive(Debug)]
pub(crate) struct Scanner<S> {
    source: S,
    mark: u64,
    offset: u64,
    /// Number after the last frame seen: a frame with a lower one is damage.
    expected: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<S: ReadAt> Scanner<S> {
    /// Begins after the header of the segment named `first`.
    pub(crate) fn new(source: S, mark: u64, first: u64) -> Self {
        Self {
            source,
            mark,
            offset: HEADER_BYTES as u64,
            expected: first,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// Offset after the last step.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Number after the last frame.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// Gives the read-ahead back.
    pub(crate) fn release(&mut self) {
        self.window = Vec::new();
    }

    /// The next step before `limit`, an offset; frames that reach numbers
    /// beyond `ceiling` do not belong here and are damage.
    pub(crate) fn step(&mut self, limit: u64, ceiling: u64) -> io::Result<Step<'_>> {
        if self.offset >= limit {
            return Ok(Step::End);
        }
        let offset = self.offset;
        if let Some((header, end)) = self.check(offset, limit, ceiling)? {
            self.offset += header.frame_bytes();
            self.expected = end;
            // Still in the window, where `check` has verified it.
            let frame = self.bytes(offset, header.frame_bytes(), limit)?.unwrap_or_default();
            let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            return Ok(Step::Frame { first: header.first, end, records: Records::of(payload) });
        }
        let found = self.search(offset + 1, limit, ceiling)?;
        self.offset = found.unwrap_or(limit);
        Ok(Step::Damage { offset, frame_follows: found.is_some() })
    }

    /// The header of the frame at `offset` and the number after it, if
    /// everything about it is right.
    fn check(
        &mut self,
        offset: u64,
        limit: u64,
        ceiling: u64,
    ) -> io::Result<Option<(FrameHeader, u64)>> {
        let (mark, expected) = (self.mark, self.expected);
        let Some(header) = self
            .bytes(offset, FRAME_HEADER_BYTES as u64, limit)?
            .and_then(FrameHeader::decode)
            .filter(|header| header.mark == mark)
        else {
            return Ok(None);
        };
        let (records, payload) = (u64::from(header.count), u64::from(header.payload_bytes));
        let Some(end) = header.end().filter(|end| *end <= ceiling) else { return Ok(None) };
        if header.first < expected
            || header.frame_bytes() > MAX_FRAME_BYTES
            || records * RECORD_PREFIX_BYTES as u64 > payload
        {
            return Ok(None);
        }
        let frame = self.bytes(offset, header.frame_bytes(), limit)?;
        let payload = frame.and_then(|frame| frame.get(FRAME_HEADER_BYTES..));
        Ok(payload.is_some_and(|payload| header.verify(payload)).then_some((header, end)))
    }

    /// The first frame at or after `from`.
    fn search(&mut self, mut from: u64, limit: u64, ceiling: u64) -> io::Result<Option<u64>> {
        let mark = self.mark.to_le_bytes();
        while let Some(rest) = limit.checked_sub(from) {
            let length = rest.min(READ_BYTES);
            let Some(bytes) = self.bytes(from, length, limit)? else { return Ok(None) };
            match bytes.windows(mark.len()).position(|at| at == mark) {
                Some(position) => {
                    let candidate = from + position as u64;
                    if self.check(candidate, limit, ceiling)?.is_some() {
                        return Ok(Some(candidate));
                    }
                    from = candidate + 1;
                }
                None if length == rest => return Ok(None),
                // The mark may lie across the end of the window.
                None => from += length - (mark.len() as u64 - 1),
            }
        }
        Ok(None)
    }

    /// `length` bytes at `offset`; `None` where they reach beyond `limit` or
    /// the end of the source.
    fn bytes(&mut self, offset: u64, length: u64, limit: u64) -> io::Result<Option<&[u8]>> {
        let Some(rest) = limit.checked_sub(offset).filter(|rest| length <= *rest) else {
            return Ok(None);
        };
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + length > window_end {
            let wanted = usize::try_from(length.max(READ_BYTES).min(rest)).unwrap_or(usize::MAX);
            self.window.clear();
            self.window.resize(wanted, 0);
            self.window_at = offset;
            let filled = fill(&self.source, &mut self.window, offset);
            self.window.truncate(*filled.as_ref().unwrap_or(&0));
            filled?;
        }
        let from = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(self.window.get(from..).and_then(|window| window.get(..length)))
    }
}

/// Reads until `into` is full or the source ends.
pub(crate) fn fill(source: &impl ReadAt, into: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
