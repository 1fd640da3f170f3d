//! One open file that grows: cuts it into lines, keeps the partial last one,
//! notices that it was truncated.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use super::MAX_LINE_BYTES;
use crate::cursor::{FileKey, HEAD_BYTES};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
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
    /// Where the partial line begins.
    start: u64,
    /// The partial line, at most [`MAX_LINE_BYTES`] of it.
    partial: Vec<u8>,
    /// Bytes of the partial line beyond those.
    excess: u64,
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
            start: 0,
            partial: Vec::new(),
            excess: 0,
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
            start: 0,
            partial: Vec::new(),
            excess: 0,
        };
        follow.extend_head()?;
        Ok(follow)
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

    /// Begins at `offset`, which must be the beginning of a line.
    fn seek(&mut self, offset: u64) {
        self.start = offset;
        self.partial.clear();
        self.excess = 0;
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

    /// Whether no name leads to the file any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
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

    /// Whether the file is shorter than what was read, or begins differently.
    fn is_truncated(&self) -> io::Result<bool> {
        let read = self.start + self.partial.len() as u64 + self.excess;
        if self.file.metadata()?.len() < read {
            return Ok(true);
        }
        let mut buffer = [0u8; HEAD_BYTES];
        let mut got = 0;
        while got < self.head.len() {
            let Some(rest) = buffer.get_mut(got..) else { break };
            let count = self.file.read_at(rest, got as u64)?;
            if count == 0 {
                break;
            }
            got += count;
        }
        Ok(!buffer.get(..got).is_some_and(|now| now.starts_with(&self.head)))
    }

    /// Reads once. Blocks.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        if self.is_truncated()? {
            return Ok(Step::Truncated);
        }
        self.extend_head()?;
        let at = self.start + self.partial.len() as u64 + self.excess;
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
        Ok(Step::Lines(self.cut(&buffer)))
    }

    /// Cuts new bytes into lines.
    fn cut(&mut self, bytes: &[u8]) -> Vec<Cut> {
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
            let newline = rest.iter().position(|byte| *byte == b'\n');
            let part = rest.get(..newline.unwrap_or(rest.len())).unwrap_or_default();
            let room = MAX_LINE_BYTES.saturating_sub(self.partial.len());
            self.partial.extend(part.iter().take(room));
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
        Cut { bytes, truncated, start, end: self.start }
    }

    /// Bytes of the last line, which has no newline.
    pub(super) fn partial_bytes(&self) -> u64 {
        self.partial.len() as u64 + self.excess
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn follow(text: &[u8]) -> (tempfile::NamedTempFile, Follow) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let follow = Follow::open(file.path()).unwrap();
        (file, follow)
    }

    fn all(follow: &mut Follow) -> Vec<Cut> {
        let mut lines = Vec::new();
        while let Step::Lines(more) = follow.step().unwrap() {
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
    fn truncation_is_noticed_though_the_file_is_longer_than_before() {
        let (mut file, mut follow) = follow(b"one\n");
        assert_eq!(all(&mut follow).len(), 1);
        file.as_file().set_len(0).unwrap();
        file.reopen().unwrap().write_all(b"another, longer one\n").unwrap();
        assert!(matches!(follow.step().unwrap(), Step::Truncated));
        let mut anew = follow.anew().unwrap();
        assert_eq!(all(&mut anew)[0].bytes, b"another, longer one");
        assert_ne!(anew.key(), follow.key());
        file.flush().unwrap();
    }
}
