//! One open file that grows: cuts it into lines, keeps the partial last one,
//! notices that it was truncated.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cursor::{FileKey, HEAD_BYTES};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes before the place of reading that must still be what they were.
const TAIL_BYTES: usize = 64;
/// Bytes before the place of reading that tell a copy from another file.
const COPY_BYTES: u64 = 64 * 1024;
/// How far back from the end the begin of the last line is looked for.
const BACK_BYTES: u64 = 64 * 1024;

/// A file being followed.
#[derive(Debug)]
pub(super) struct Follow {
    file: Arc<File>,
    /// Device and inode of the open file.
    identity: (u64, u64),
    /// What positions and events are named after. Not the identity where the
    /// content was copied to another file by the one who rotates logs.
    key: FileKey,
    /// The first bytes of the file, up to [`HEAD_BYTES`].
    head: Vec<u8>,
    /// The last bytes that were read, up to [`TAIL_BYTES`].
    tail: Vec<u8>,
    /// Where the partial line begins.
    start: u64,
    /// Where the last whole line ended, or reading began.
    handed_over: u64,
    /// The partial line, as much of it as a line may have.
    partial: Vec<u8>,
    /// Bytes of the partial line beyond those.
    excess: u64,
    /// When it was first seen that no name leads to the file any more.
    deleted: Option<Instant>,
}

/// A line cut out of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What one read found.
#[derive(Debug)]
pub(super) enum Step {
    /// Lines (maybe none yet, where only part of one came); read again.
    Lines(Vec<Cut>),
    /// Nothing more for now.
    End,
    /// The file was emptied or rewritten; it has to be followed anew.
    Truncated,
}

/// Device and inode.
pub(super) fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Follow {
    /// Opens a regular file, to be read from its start. Blocks.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A named pipe would block the open; look first.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        let (dev, inode) = identity(&file.metadata()?);
        let mut follow = Self {
            file: Arc::new(file),
            identity: (dev, inode),
            key: FileKey { dev, inode, generation: 0 },
            head: Vec::new(),
            tail: Vec::new(),
            start: 0,
            handed_over: 0,
            partial: Vec::new(),
            excess: 0,
            deleted: None,
        };
        follow.extend_head()?;
        Ok(follow)
    }

    /// The same file from its start, after it was truncated. Blocks.
    pub(super) fn anew(&self) -> io::Result<Self> {
        let generation = self.key.generation.wrapping_add(1);
        let mut follow = Self {
            file: Arc::clone(&self.file),
            identity: self.identity,
            key: FileKey { generation, ..self.key },
            head: Vec::new(),
            tail: Vec::new(),
            start: 0,
            handed_over: 0,
            partial: Vec::new(),
            excess: 0,
            deleted: None,
        };
        follow.extend_head()?;
        Ok(follow)
    }

    /// The same open file at the same place, to compare another one with.
    pub(super) fn handle(&self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            head: self.head.clone(),
            tail: Vec::new(),
            partial: Vec::new(),
            ..*self
        }
    }

    pub(super) fn key(&self) -> FileKey {
        self.key
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Goes on as `key` from `offset`, the beginning of a line.
    pub(super) fn resume(&mut self, key: FileKey, offset: u64) {
        self.key = key;
        self.seek(offset);
    }

    /// Whether the file begins with what `fingerprint` was made of. Blocks.
    pub(super) fn has_fingerprint(&self, head_bytes: usize, fingerprint: &str) -> bool {
        let head = self.head.get(..head_bytes);
        head.is_some_and(|head| crate::cursor::fingerprint(head) == fingerprint)
    }

    /// Its length now. Blocks.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the next line begins.
    pub(super) fn offset(&self) -> u64 {
        self.start
    }

    /// Where the last line that was handed over ended. Before [`Self::offset`]
    /// where zeros were skipped after it.
    pub(super) fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// Begins at `offset`, which must be the beginning of a line.
    fn seek(&mut self, offset: u64) {
        self.start = offset;
        self.handed_over = offset;
        self.tail.clear();
        self.partial.clear();
        self.excess = 0;
    }

    /// Where the next byte is read.
    fn read_to(&self) -> u64 {
        self.start + self.partial.len() as u64 + self.excess
    }

    /// Whether a line may begin at `offset`: what is before it ends one. Where
    /// not, the file was written anew since. Blocks.
    pub(super) fn begins_line(&self, offset: u64) -> bool {
        let Some(before) = offset.checked_sub(1) else { return true };
        let mut byte = [0];
        self.file.read_at(&mut byte, before).is_ok_and(|count| count == 1 && byte == *b"\n")
    }

    /// Whether this begins with what has been read of `other`, and so is a copy
    /// of it that may have grown since. Blocks.
    pub(super) fn continues(&self, other: &Self) -> io::Result<bool> {
        let until = other.start;
        if self.length()? < until || other.length()? < until {
            return Ok(false);
        }
        let head = until.min(HEAD_BYTES as u64);
        for (from, bytes) in [(0, head), (until.saturating_sub(COPY_BYTES), until.min(COPY_BYTES))]
        {
            let bytes = usize::try_from(bytes).unwrap_or(HEAD_BYTES);
            let (mut ours, mut theirs) = (vec![0; bytes], vec![0; bytes]);
            self.file.read_exact_at(&mut ours, from)?;
            other.file.read_exact_at(&mut theirs, from)?;
            if ours != theirs {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Begins where `other` is now. It must continue it.
    pub(super) fn go_on_from(&mut self, other: &Self) {
        self.seek(other.start);
    }

    /// Begins after the last complete line. Blocks.
    pub(super) fn seek_end(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let from = length.saturating_sub(BACK_BYTES);
        let mut tail: Vec<u8> = Vec::new();
        let mut at = from;
        while at < length {
            let mut buffer = vec![0; usize::try_from(length - at).unwrap_or(READ_BYTES)];
            let count = self.file.read_at(&mut buffer, at)?;
            if count == 0 {
                break;
            }
            tail.extend(buffer.iter().take(count));
            at += count as u64;
        }
        let newline = tail.iter().rposition(|byte| *byte == b'\n');
        let offset = match newline {
            Some(place) => from + place as u64 + 1,
            // No line ends in the last 64 KiB; a file that short begins with one.
            None if from == 0 => 0,
            None => length,
        };
        self.seek(offset);
        Ok(())
    }

    /// Since when no name leads to the file any more.
    pub(super) fn deleted_since(&mut self) -> Option<Instant> {
        if self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
            self.deleted.get_or_insert_with(Instant::now);
        } else {
            self.deleted = None;
        }
        self.deleted
    }

    /// Bytes of the head that are known, again from the file. `true` where they
    /// have become more.
    fn extend_head(&mut self) -> io::Result<bool> {
        let had = self.head.len();
        while self.head.len() < HEAD_BYTES {
            let mut buffer = [0u8; HEAD_BYTES];
            let count = self.file.read_at(&mut buffer, self.head.len() as u64)?;
            if count == 0 {
                break;
            }
            let room = HEAD_BYTES - self.head.len();
            self.head.extend(buffer.iter().take(count.min(room)));
        }
        Ok(self.head.len() > had)
    }

    /// Whether the file is shorter than what was read, begins differently, or
    /// is different just before the place of reading.
    fn is_truncated(&self) -> io::Result<bool> {
        let read = self.read_to();
        if self.file.metadata()?.len() < read {
            return Ok(true);
        }
        let before = read.saturating_sub(self.tail.len() as u64);
        Ok(!self.has(&self.head, 0)? || !self.has(&self.tail, before)?)
    }

    /// Whether these bytes are still at `offset`.
    fn has(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        let mut now = vec![0; bytes.len()];
        match self.file.read_exact_at(&mut now, offset) {
            Ok(()) => Ok(now == bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads once. Blocks.
    pub(super) fn step(&mut self, max_line_bytes: usize) -> io::Result<Step> {
        if self.is_truncated()? {
            return Ok(Step::Truncated);
        }
        self.extend_head()?;
        let at = self.read_to();
        let mut buffer = vec![0; READ_BYTES];
        let count = match self.file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Step::End),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Step::Lines(Vec::new()));
            }
            Err(error) => return Err(error),
        };
        buffer.truncate(count);
        self.tail.extend(buffer.iter().skip(count.saturating_sub(TAIL_BYTES)));
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
        Ok(Step::Lines(self.cut(&buffer, max_line_bytes)))
    }

    /// Cuts new bytes into lines.
    fn cut(&mut self, bytes: &[u8], max_line_bytes: usize) -> Vec<Cut> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.partial.is_empty() && self.excess == 0 {
                // A writer that goes on at its old place after a truncation
                // leaves a hole of zeros before its next line.
                let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                self.start += zeros as u64;
                rest = rest.get(zeros..).unwrap_or_default();
            }
            let newline = memchr::memchr(b'\n', rest);
            let part = rest.get(..newline.unwrap_or(rest.len())).unwrap_or_default();
            let room = max_line_bytes.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(part.get(..room).unwrap_or(part));
            self.excess += part.len().saturating_sub(room) as u64;
            let Some(newline) = newline else { break };
            rest = rest.get(newline + 1..).unwrap_or_default();
            lines.push(self.take(1));
        }
        lines
    }

    /// The partial line as a whole one, `terminator` bytes after its text.
    fn take(&mut self, terminator: u64) -> Cut {
        let bytes = std::mem::take(&mut self.partial);
        let start = self.start;
        self.start += bytes.len() as u64 + self.excess + terminator;
        let truncated = self.excess > 0;
        self.excess = 0;
        self.handed_over = self.start;
        Cut { bytes, truncated, start, end: self.start }
    }

    /// Bytes of the last line, which has no newline.
    pub(super) fn partial_bytes(&self) -> u64 {
        self.partial.len() as u64 + self.excess
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::super::MAX_LINE_BYTES;
    use super::*;

    fn follow(text: &[u8]) -> (tempfile::NamedTempFile, Follow) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let follow = Follow::open(file.path()).unwrap();
        (file, follow)
    }

    fn all(follow: &mut Follow) -> Vec<Cut> {
        let mut lines = Vec::new();
        while let Step::Lines(more) = follow.step(MAX_LINE_BYTES).unwrap() {
            lines.extend(more);
        }
        lines
    }

    #[test]
    fn a_partial_line_waits_for_its_newline() {
        let (mut file, mut follow) = follow(b"one\ntw");
        assert_eq!(all(&mut follow)[0].bytes, b"one");
        assert_eq!(follow.offset(), 4);
        assert!(all(&mut follow).is_empty());
        file.write_all(b"o\n").unwrap();
        let line = all(&mut follow).remove(0);
        assert_eq!((line.bytes.as_slice(), line.start, line.end), (&b"two"[..], 4, 8));
    }

    #[test]
    fn a_line_beyond_the_limit_is_cut_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; MAX_LINE_BYTES * 3 + 5];
        text.extend(b"\nnext\n");
        let (_file, mut follow) = follow(&text);
        let lines = all(&mut follow);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].bytes.len(), lines[0].truncated), (MAX_LINE_BYTES, true));
        assert_eq!(lines[1].bytes, b"next");
        assert_eq!(lines[1].end, text.len() as u64);
    }

    #[test]
    fn any_bytes_are_lines_and_a_hole_of_zeros_is_skipped() {
        let mut text = vec![0; 200_000];
        text.extend(b"a\0\xff\n");
        let (_file, mut follow) = follow(&text);
        let lines = all(&mut follow);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].bytes.as_slice(), lines[0].start), (&b"a\0\xff"[..], 200_000));
    }

    #[test]
    fn the_end_is_after_the_last_complete_line() {
        let (_file, mut follow) = follow(b"one\ntwo\nthr");
        follow.seek_end().unwrap();
        assert_eq!(follow.offset(), 8);
    }

    #[test]
    fn a_file_cut_to_a_part_and_written_on_is_noticed() {
        let text: String = (0..100).map(|number| format!("line {number:03}\n")).collect();
        let (mut file, mut follow) = follow(text.as_bytes());
        assert_eq!(all(&mut follow).len(), 100);
        file.as_file().set_len(600).unwrap();
        file.as_file_mut().seek(std::io::SeekFrom::End(0)).unwrap();
        file.write_all("another line\n".repeat(80).as_bytes()).unwrap();
        assert!(matches!(follow.step(MAX_LINE_BYTES).unwrap(), Step::Truncated));
    }

    #[test]
    fn a_copy_that_has_grown_continues_and_another_file_does_not() {
        let text: String = (0..9_000).map(|number| format!("line {number:05}\n")).collect();
        let (_first, mut first) = follow(text.as_bytes());
        all(&mut first);
        let (_copy, copy) = follow((text.clone() + "more\n").as_bytes());
        assert!(copy.continues(&first).unwrap());
        let (_short, short) = follow(b"line 00000\n");
        assert!(!short.continues(&first).unwrap());
        let (_other, other) = follow(text.replace("line 08999", "line x8999").as_bytes());
        assert!(!other.continues(&first).unwrap());
    }

    #[test]
    fn truncation_is_noticed_though_the_file_is_longer_than_before() {
        let (mut file, mut follow) = follow(b"one\n");
        assert_eq!(all(&mut follow).len(), 1);
        file.as_file().set_len(0).unwrap();
        file.reopen().unwrap().write_all(b"another, longer one\n").unwrap();
        assert!(matches!(follow.step(MAX_LINE_BYTES).unwrap(), Step::Truncated));
        let mut anew = follow.anew().unwrap();
        assert_eq!(all(&mut anew)[0].bytes, b"another, longer one");
        assert_ne!(anew.key(), follow.key());
        file.flush().unwrap();
    }
}
