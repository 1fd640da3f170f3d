//! Reads files of events row by row: bounded in memory, whatever they hold.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use palisade_event::Event;
use palisade_event::table::csv::{self, Header, MAX_RECORD_BYTES};
use palisade_event::wire::{self, MAX_EVENT_BYTES};

use super::parquet::Parquet;
use crate::args::RowFormat;

/// Largest zstd window that is taken, as a power of two.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// A row that is no event.
pub(in crate::commands) struct Bad {
    /// `line` or `row`.
    pub(super) noun: &'static str,
    /// Its number, from 1.
    pub(super) at: u64,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.noun, self.at, self.reason.escape_debug())
    }
}

/// The rows of a file.
pub(super) struct Rows {
    inner: Inner,
    /// Bytes that were read of the file, packed or not.
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

enum Inner {
    Ndjson(Text),
    Csv(Text, Header),
    Parquet(Box<Parquet>),
}

impl Rows {
    /// Opens a file, or standard input as `-`. Text may be packed with gzip or
    /// zstd; that is told from its first bytes.
    ///
    /// # Errors
    /// It cannot be opened, or is not of the format.
    pub(super) fn open(path: &Path, format: RowFormat) -> anyhow::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        if path.as_os_str() == "-" {
            if format == RowFormat::Parquet {
                bail!("Parquet cannot be read from standard input");
            }
            let text = Text::new(Box::new(io::stdin()))?;
            return Ok(Self { inner: Inner::of(text, format)?, read, total: None });
        }
        let file = File::open(path).context("cannot open the file")?;
        let bytes = file.metadata().context("cannot open the file")?.len();
        if format == RowFormat::Parquet {
            let parquet = Parquet::open(file)?;
            let total = Some(parquet.total());
            return Ok(Self { inner: Inner::Parquet(Box::new(parquet)), read, total });
        }
        let counted = Counted { file, read: Arc::clone(&read) };
        let text = Text::new(Box::new(counted))?;
        Ok(Self { inner: Inner::of(text, format)?, read, total: Some(bytes) })
    }

    /// The next row: its number and event, or what is wrong with it.
    ///
    /// # Errors
    /// The file cannot be read further.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Result<(u64, Event), Bad>>> {
        let bad = |at, reason: String| Bad { noun: "line", at, reason };
        match &mut self.inner {
            Inner::Ndjson(text) => loop {
                let Some(line) = text.line(MAX_EVENT_BYTES)? else { return Ok(None) };
                let at = text.at;
                return Ok(Some(match line {
                    Record::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
                    Record::Whole(line) => wire::decode_event(&line)
                        .map(|event| (at, event))
                        .map_err(|error| bad(at, error.to_string())),
                    Record::TooLong => Err(bad(at, format!("longer than {MAX_EVENT_BYTES} bytes"))),
                }));
            },
            Inner::Csv(text, header) => {
                let at = text.at + 1;
                let Some(record) = text.record()? else { return Ok(None) };
                // The number of its last line, so that going on begins after it.
                let end = text.at;
                Ok(Some(match record {
                    Record::Whole(record) => header
                        .event(&record)
                        .map(|event| (end, event))
                        .map_err(|error| bad(end, at_line(at, end, &error.to_string()))),
                    Record::TooLong => {
                        Err(bad(end, format!("longer than {MAX_RECORD_BYTES} bytes")))
                    }
                }))
            }
            Inner::Parquet(parquet) => parquet.next(),
        }
    }

    /// Leaves out rows up to this number.
    ///
    /// # Errors
    /// The file cannot be read further.
    pub(super) fn skip(&mut self, rows: u64) -> anyhow::Result<()> {
        match &mut self.inner {
            Inner::Ndjson(text) | Inner::Csv(text, _) => {
                while text.at < rows && text.line(MAX_RECORD_BYTES)?.is_some() {}
                Ok(())
            }
            Inner::Parquet(parquet) => parquet.skip(rows),
        }
    }

    /// For the progress bar.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// How much of the total is done.
    pub(super) fn done(&self) -> u64 {
        match &self.inner {
            Inner::Parquet(parquet) => parquet.at(),
            _ => self.read.load(Ordering::Relaxed),
        }
    }

    /// What is counted.
    pub(super) fn unit(&self) -> &'static str {
        match &self.inner {
            Inner::Parquet(_) => "rows",
            _ => "bytes",
        }
    }

    /// What a place in the file is called.
    pub(super) fn noun(&self) -> &'static str {
        match &self.inner {
            Inner::Parquet(_) => "row",
            _ => "line",
        }
    }
}

fn at_line(first: u64, last: u64, reason: &str) -> String {
    if first == last { reason.to_owned() } else { format!("(from line {first} on) {reason}") }
}

impl Inner {
    fn of(mut text: Text, format: RowFormat) -> anyhow::Result<Self> {
        if format != RowFormat::Csv {
            return Ok(Self::Ndjson(text));
        }
        match text.record()? {
            Some(Record::Whole(record)) => {
                let header = Header::read(&record).context("line 1")?;
                Ok(Self::Csv(text, header))
            }
            Some(Record::TooLong) => bail!("line 1 is too long for a header"),
            None => bail!("it is empty; a CSV file begins with the names of its columns"),
        }
    }
}

/// Counts what is read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A piece of a text.
pub(super) enum Record {
    Whole(Vec<u8>),
    /// It was left out.
    TooLong,
}

/// A text, unpacked.
pub(super) struct Text {
    from: Box<dyn BufRead + Send>,
    /// Lines that were read.
    pub(super) at: u64,
}

impl Text {
    pub(super) fn new(from: Box<dyn Read + Send>) -> anyhow::Result<Self> {
        let mut packed = BufReader::with_capacity(256 * 1024, from);
        let head = packed.fill_buf().context("cannot read the file")?;
        let from: Box<dyn BufRead + Send> = if head.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(packed)))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(BufReader::new(decoder))
        } else {
            Box::new(packed)
        };
        Ok(Self { from, at: 0 })
    }

    /// The next line with its break; `None` at the end.
    pub(super) fn line(&mut self, most: usize) -> anyhow::Result<Option<Record>> {
        let mut line = Vec::new();
        let mut length = 0usize;
        loop {
            let part = self.from.fill_buf().with_context(|| format!("after line {}", self.at))?;
            if part.is_empty() {
                break;
            }
            let end = part.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(part.len());
            length += taken;
            if length <= most {
                line.extend_from_slice(part.get(..taken).unwrap_or_default());
            } else {
                line = Vec::new();
            }
            self.from.consume(taken);
            if end.is_some() {
                break;
            }
        }
        if length == 0 {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(if length > most { Record::TooLong } else { Record::Whole(line) }))
    }

    /// The next CSV record: lines up to one that ends outside of quotes.
    fn record(&mut self) -> anyhow::Result<Option<Record>> {
        let Some(first) = self.line(MAX_RECORD_BYTES)? else { return Ok(None) };
        let Record::Whole(mut record) = first else { return Ok(Some(Record::TooLong)) };
        let mut quotes = count_quotes(&record);
        while quotes % 2 == 1 {
            match self.line(MAX_RECORD_BYTES)? {
                // The quote is never closed: the record says so.
                None => break,
                Some(Record::Whole(line)) if record.len() + line.len() <= MAX_RECORD_BYTES => {
                    quotes += count_quotes(&line);
                    record.extend_from_slice(&line);
                }
                Some(_) => return Ok(Some(Record::TooLong)),
            }
        }
        debug_assert!(csv::record_end(&record).is_none_or(|end| end == record.len()));
        Ok(Some(Record::Whole(record)))
    }
}

fn count_quotes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'"').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: Vec<u8>, most: usize) -> Vec<Option<String>> {
        let mut text = Text::new(Box::new(io::Cursor::new(text))).unwrap();
        let mut found = Vec::new();
        while let Some(line) = text.line(most).unwrap() {
            found.push(match line {
                Record::Whole(line) => Some(String::from_utf8(line).unwrap()),
                Record::TooLong => None,
            });
        }
        found
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_the_next_is_read() {
        let found = lines(b"abc\nabcdefgh\nx".to_vec(), 5);
        assert_eq!(found, [Some("abc\n".to_owned()), None, Some("x".to_owned())]);
    }

    #[test]
    fn packed_text_is_told_from_its_first_bytes() {
        let plain = b"one\ntwo\n".to_vec();
        let expected = lines(plain.clone(), 100);
        assert_eq!(lines(zstd::encode_all(&plain[..], 1).unwrap(), 100), expected);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gz, &plain).unwrap();
        assert_eq!(lines(gz.finish().unwrap(), 100), expected);
    }
}
