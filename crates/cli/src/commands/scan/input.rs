//! Files of logs: which there are, how they are packed, what wrote them, and
//! their lines in chunks.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use palisade_agent::LogFormat;
use palisade_event::Timestamp;
use palisade_rules::parser::formats;
use palisade_rules::{LineContext, LineReader};

/// Bytes of a chunk: few enough to stay in a processor's cache until they have
/// been looked at.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;
/// Longest line that is looked at, in bytes. A chunk grows for one.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Bytes that are looked at to find out what wrote a file.
const SAMPLE_BYTES: usize = 128 * 1024;
/// Lines that are looked at to find out what wrote them.
const SAMPLE_LINES: usize = 500;
/// Folders in folders that are entered.
const MAX_DEPTH: usize = 16;
/// Most files of one scan.
const MAX_FILES: usize = 100_000;
/// Largest zstd window that is taken, as a power of two.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory of an xz decoder, in KiB.
const MAX_XZ_KIB: u32 = 256 * 1024;

/// The files that are named, those of folders sorted by name.
///
/// # Errors
/// There is none.
pub(super) fn collect(
    named: &[PathBuf],
    problems: &mut Vec<String>,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if path.as_os_str() == "-" || path.is_file() {
            files.push(path.clone());
        } else if path.is_dir() {
            walk(path, 0, &mut files, problems);
        } else {
            problems.push(format!("{}: there is no such file or folder", path.display()));
        }
    }
    files.dedup();
    match files.is_empty() {
        true => bail!("there is nothing to read: {}", problems.join("; ")),
        false => Ok(files),
    }
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, problems: &mut Vec<String>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return problems.push(format!("{}: {error}", folder.display())),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A link may lead out of the folder, or round in circles.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() && depth < MAX_DEPTH {
            walk(&path, depth + 1, files, problems);
        } else if metadata.is_file() && metadata.len() > 0 {
            if files.len() >= MAX_FILES {
                return problems.push(format!("more than {MAX_FILES} files; the rest is left out"));
            }
            files.push(path);
        }
    }
}

/// Bytes of a file as it is on disk; 0 of standard input.
pub(super) fn bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// What a file holds is no log that is known.
#[derive(Debug)]
pub(super) struct NotUnderstood;

impl std::fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no parser understands its first lines; name one with --parser")
    }
}

impl std::error::Error for NotUnderstood {}

/// A log whose first lines were looked at.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) format: LogFormat,
    pub(super) cx: LineContext,
    /// The time of its first sighting. Where its beginning has none it may have
    /// one of any time.
    pub(super) first_at: Timestamp,
    path: PathBuf,
    chunks: Option<Chunks>,
}

impl Source {
    /// Opens a file and finds out how it is packed and what wrote it.
    ///
    /// # Errors
    /// It cannot be read, or no parser understands it.
    pub(super) fn open(
        path: &Path,
        format: Option<LogFormat>,
        zone: &jiff::tz::TimeZone,
        now: Option<Timestamp>,
    ) -> anyhow::Result<Self> {
        let (mut chunks, written) = Chunks::open(path)?;
        let now = now
            .or_else(|| written.map(Timestamp::from))
            .unwrap_or_else(|| std::time::SystemTime::now().into());
        let cx = LineContext { now, zone: zone.clone() };
        let sample = chunks.peek()?;
        let (format, first_at) = match format {
            Some(format) => {
                let (_, first_at) = score(&format, sample, &cx);
                (format, first_at)
            }
            None => guess(sample, &cx).ok_or(NotUnderstood)?,
        };
        let first_at = first_at.unwrap_or(Timestamp::from_millis(i64::MIN));
        let (name, path) = (path.display().to_string(), path.to_owned());
        Ok(Self { name, format, cx, first_at, path, chunks: Some(chunks) })
    }

    /// Closes the file until it is read; standard input stays as it is.
    pub(super) fn close(&mut self) {
        if self.path.as_os_str() != "-" {
            self.chunks = None;
        }
    }

    /// Its lines from the beginning on; to be asked for once.
    ///
    /// # Errors
    /// It cannot be opened again.
    pub(super) fn chunks(&mut self) -> anyhow::Result<Chunks> {
        match self.chunks.take() {
            Some(chunks) => Ok(chunks),
            None => Ok(Chunks::open(&self.path)?.0),
        }
    }
}

/// Lines of a sample that a format has something to say about, and understood.
type Score = (usize, usize);

fn score(format: &LogFormat, sample: &[u8], cx: &LineContext) -> (Score, Option<Timestamp>) {
    let mut reader = LineReader::new(format.clone(), cx.clone());
    let (mut seen, mut understood, mut first) = (0, 0, None);
    let lines = sample.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    for line in lines.take(SAMPLE_LINES) {
        let mut any = false;
        let known = reader.look(line, |sighting| {
            any = true;
            first.get_or_insert(sighting.at);
        });
        seen += usize::from(any);
        understood += usize::from(known);
    }
    ((seen, understood), first)
}

/// The format that has most to say about a sample. One that understands less
/// than half of the lines is none.
fn guess(sample: &[u8], cx: &LineContext) -> Option<(LogFormat, Option<Timestamp>)> {
    let lines = sample.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let lines = lines.take(SAMPLE_LINES).count();
    let mut best: Option<(Score, LogFormat, Option<Timestamp>)> = None;
    for format in formats() {
        let (score, first_at) = score(&format, sample, cx);
        if score.1 * 2 >= lines.max(1) && best.as_ref().is_none_or(|(known, ..)| score > *known) {
            best = Some((score, format, first_at));
        }
    }
    best.map(|(_, format, first_at)| (format, first_at))
}

/// Counts what is read of a file.
struct Counted {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Unpacks what the first bytes say is packed.
fn unpacked(mut file: Counted) -> anyhow::Result<Box<dyn Read + Send>> {
    let mut magic = [0u8; 6];
    let mut have = 0;
    while let Some(rest) = magic.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read the file"),
        }
    }
    let start = magic.get(..have).unwrap_or_default().to_vec();
    let whole = io::Cursor::new(start).chain(file);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::new(whole)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(BufReader::new(whole), true, MAX_XZ_KIB))
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            Box::new(bzip2::read::MultiBzDecoder::new(BufReader::new(whole)))
        }
        _ => Box::new(whole),
    })
}

/// Bytes of a log. What was once made room for is used again and not cleared.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    pub(super) fn used(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// Reads until so many are used; `false` where there is nothing more.
    fn fill(&mut self, from: &mut dyn Read, size: usize) -> io::Result<bool> {
        if self.bytes.len() < size {
            self.bytes.reserve_exact(size - self.bytes.len());
            self.bytes.resize(size, 0);
        }
        while let Some(free) = self.bytes.get_mut(self.used..size).filter(|free| !free.is_empty()) {
            match from.read(free) {
                Ok(0) => return Ok(false),
                Ok(read) => self.used += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Has these instead.
    fn set(&mut self, bytes: &[u8]) {
        if self.bytes.len() < bytes.len() {
            self.bytes.resize(bytes.len(), 0);
        }
        self.used = bytes.len();
        if let Some(free) = self.bytes.get_mut(..bytes.len()) {
            free.copy_from_slice(bytes);
        }
    }

    fn drop_first(&mut self, count: usize) {
        self.bytes.copy_within(count.min(self.used)..self.used, 0);
        self.used = self.used.saturating_sub(count);
    }
}

/// Whole lines of a log, many at once.
pub(super) struct Chunks {
    inner: Box<dyn Read + Send>,
    packed: Arc<AtomicU64>,
    /// Read and not handed out.
    rest: Buffer,
    ended: bool,
    /// Why it ended before its end; told once what was read before is handed out.
    failed: Option<io::Error>,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    /// Lines that were longer than a chunk.
    pub(super) too_long: u64,
    /// Bytes that were unpacked.
    pub(super) bytes: u64,
}

impl Chunks {
    /// Opens a file, and says when it was last written.
    fn open(path: &Path) -> anyhow::Result<(Self, Option<std::time::SystemTime>)> {
        let packed = Arc::new(AtomicU64::new(0));
        let (file, written): (Box<dyn Read + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).context("cannot open the file")?;
            let written = file.metadata().ok().and_then(|metadata| metadata.modified().ok());
            (Box::new(file), written)
        };
        let counted = Counted { inner: file, read: Arc::clone(&packed) };
        Ok((Self::new(unpacked(counted)?, packed), written))
    }

    fn new(inner: Box<dyn Read + Send>, packed: Arc<AtomicU64>) -> Self {
        Self {
            inner,
            packed,
            rest: Buffer::default(),
            ended: false,
            failed: None,
            skipping: false,
            too_long: 0,
            bytes: 0,
        }
    }

    /// Bytes of the file that were read.
    pub(super) fn packed_bytes(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    /// Fills the buffer up to a size.
    fn fill(&mut self, size: usize) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let before = self.rest.used;
        let more = self.rest.fill(&mut *self.inner, size);
        self.bytes += (self.rest.used - before) as u64;
        self.ended = !matches!(more, Ok(true));
        more.map(|_| ())
    }

    /// The beginning of the log, which is handed out again.
    fn peek(&mut self) -> anyhow::Result<&[u8]> {
        self.fill(SAMPLE_BYTES).context("cannot read the file")?;
        let rest = self.rest.used();
        let whole = memchr::memrchr(b'\n', rest).filter(|_| !self.ended);
        Ok(rest.get(..whole.unwrap_or(rest.len())).unwrap_or_default())
    }

    /// The next lines, into a buffer that is used again. `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read further; what was read before was handed out.
    pub(super) fn next(&mut self, mut into: Buffer) -> io::Result<Option<Buffer>> {
        let mut size = CHUNK_BYTES;
        loop {
            if let Err(error) = self.fill(size) {
                self.ended = true;
                self.failed = Some(error);
            }
            if self.skipping {
                match memchr::memchr(b'\n', self.rest.used()) {
                    Some(end) => {
                        self.rest.drop_first(end + 1);
                        self.skipping = false;
                        continue;
                    }
                    None => self.rest.used = 0,
                }
                if self.ended {
                    return self.failed.take().map_or(Ok(None), Err);
                }
                continue;
            }
            if self.rest.used == 0 {
                return self.failed.take().map_or(Ok(None), Err);
            }
            let end = match memchr::memrchr(b'\n', self.rest.used()) {
                Some(last) => last + 1,
                None if self.ended => self.rest.used,
                None if size < MAX_LINE_BYTES => {
                    size = MAX_LINE_BYTES;
                    continue;
                }
                None => {
                    self.too_long += 1;
                    self.skipping = true;
                    self.rest.used = 0;
                    continue;
                }
            };
            std::mem::swap(&mut into, &mut self.rest);
            self.rest.set(into.used().get(end..).unwrap_or_default());
            into.used = end;
            return Ok(Some(into));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panic")]

    use std::io::Write as _;

    use super::*;

    fn chunks(bytes: Vec<u8>) -> (Vec<Vec<u8>>, u64) {
        let counted = Counted { inner: Box::new(io::Cursor::new(bytes)), read: Arc::default() };
        let mut chunks = Chunks::new(unpacked(counted).unwrap(), Arc::default());
        let mut all = Vec::new();
        let mut buffer = Buffer::default();
        while let Some(chunk) = chunks.next(buffer).unwrap() {
            all.push(chunk.used().to_vec());
            buffer = chunk;
        }
        (all, chunks.too_long)
    }

    #[test]
    fn chunks_end_with_lines_and_lose_nothing() {
        let text: Vec<u8> = (0..400_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let (all, too_long) = chunks(text.clone());
        assert!(all.len() > 3);
        assert!(all.iter().all(|chunk| chunk.ends_with(b"\n")));
        assert_eq!((all.concat(), too_long), (text, 0));
        assert_eq!(chunks(b"a\nb".to_vec()).0.concat(), b"a\nb");
        assert!(chunks(Vec::new()).0.is_empty());
    }

    #[test]
    fn a_line_without_end_costs_no_memory_and_the_next_one_is_read() {
        let mut text = b"first\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', 20 * MAX_LINE_BYTES));
        text.extend_from_slice(b"\nlast\n");
        let (all, too_long) = chunks(text);
        assert_eq!((all.concat(), too_long), (b"first\nlast\n".to_vec(), 1));
    }

    #[test]
    fn a_line_longer_than_a_chunk_is_whole() {
        let mut text = b"first\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', MAX_LINE_BYTES - 10));
        text.extend_from_slice(b"\nlast\n");
        let (all, too_long) = chunks(text.clone());
        assert_eq!((all.concat(), too_long), (text, 0));
        assert!(all.iter().all(|chunk| chunk.ends_with(b"\n")));
    }

    #[test]
    fn a_file_that_breaks_off_is_read_that_far_and_its_end_is_told() {
        let lines = b"one\n".repeat(1000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&lines).unwrap();
        gz.flush().unwrap();
        let cut = gz.get_ref().clone();
        let counted = Counted { inner: Box::new(io::Cursor::new(cut)), read: Arc::default() };
        let mut chunks = Chunks::new(unpacked(counted).unwrap(), Arc::default());
        assert_eq!(chunks.next(Buffer::default()).unwrap().unwrap().used(), lines);
        assert!(chunks.next(Buffer::default()).is_err());
        assert!(chunks.next(Buffer::default()).unwrap().is_none());
    }

    #[test]
    fn every_packing_is_told_by_its_first_bytes() {
        let text = b"one\ntwo\n".repeat(1000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&text).unwrap();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bz.write_all(&text).unwrap();
        let mut xz =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(3)).unwrap();
        xz.write_all(&text).unwrap();
        for packed in [
            gz.finish().unwrap(),
            bz.finish().unwrap(),
            xz.finish().unwrap(),
            zstd::encode_all(&text[..], 3).unwrap(),
            text.clone(),
        ] {
            assert_eq!(chunks(packed).0.concat(), text);
        }
    }
}
