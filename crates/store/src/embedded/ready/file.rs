//! The file of ready aggregates of one segment: format, reading, checking.
//!
//! `palready`, version (u32), length (u32) and CRC-32C of the table, the table
//! (JSON), then one section a question. Numbers are little endian. The table
//! names the segment and says what each section answers; each section has its
//! own CRC-32C, looked at when a process first uses it. A file that is not as
//! it should be is as good as none: the answer is counted from the events.

use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tantivy::directory::{Directory as _, MmapDirectory, OwnedBytes};

use super::list::{Counts, Values, u32_at, u64_at};
use crate::query::Field;

const MAGIC: &[u8; 8] = b"palready";
/// The number of the format that this build writes and reads.
const VERSION: u32 = 1;
/// Bytes before the table.
const HEAD: usize = 8 + 4 + 4 + 4;
/// Longest table, in bytes.
const MAX_TABLE: usize = 1 << 20;
/// Parts of a section before its units.
const UNITS: usize = 6;
/// Bytes of one entry of the order: code, count.
const ORDER_ENTRY: usize = 4 + 8;

/// What a file holds.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// The segment's id.
    pub(super) segment: String,
    /// How many events it has.
    pub(super) docs: u32,
    pub(super) filters: Vec<FilterRow>,
    pub(super) questions: Vec<QuestionRow>,
}

/// One filter.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterRow {
    /// Its canonical text.
    pub(super) text: String,
    /// How many events of the segment match it. Where all do, its questions are
    /// those of `*`.
    pub(super) matches: u32,
}

/// One question: how many events of a filter have each value of the fields.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionRow {
    /// The place of its filter.
    pub(super) filter: usize,
    /// The fields grouped by, none to two.
    pub(super) fields: Vec<Field>,
    /// Width of its units of time, in milliseconds: a divisor of an hour, or a day
    /// where only the whole segment is kept.
    pub(super) unit_ms: i64,
    /// Where the section begins, from the end of the table; empty where the
    /// segment has too many values to be worth it.
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) crc: u32,
}

/// One part after another, with a table of where each begins.
pub(super) fn write_section(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = (parts.len() as u32).to_le_bytes().to_vec();
    let mut at = 4 + 4 * (parts.len() + 1);
    out.extend((at as u32).to_le_bytes());
    for part in parts {
        at += part.len();
        out.extend((at as u32).to_le_bytes());
    }
    parts.iter().for_each(|part| out.extend(part));
    out
}

/// The file's bytes; the sections are as the table says.
pub(super) fn write_head(table: &Table) -> io::Result<Vec<u8>> {
    let table = serde_json::to_vec(table)?;
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((table.len() as u32).to_le_bytes());
    out.extend(crc32c::crc32c(&table).to_le_bytes());
    out.extend(table);
    Ok(out)
}

/// An open file.
pub(in crate::embedded) struct File {
    /// Mapped, so that only what is asked for takes memory.
    bytes: OwnedBytes,
    /// For checking a section without keeping it in memory.
    path: Option<PathBuf>,
    table: Table,
    /// Where the sections begin.
    body: usize,
    /// By question, once it was looked at: whether its section is whole.
    whole: Vec<OnceLock<bool>>,
}

/// Where the answer to a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The filter matches no event of the segment.
    Nothing,
    /// The section at this place, with the fields in this or the other order.
    Section(usize),
}

impl File {
    /// Opens the file of a segment; `None` where it is not whole or another's.
    pub(super) fn open(path: &Path, segment: &str, docs: u32) -> Option<Self> {
        let directory = MmapDirectory::open(path.parent()?).ok()?;
        let name = Path::new(path.file_name()?);
        let bytes = directory.open_read(name).ok()?.read_bytes().ok()?;
        let file = Self::decode(bytes, Some(path.to_owned()))?;
        (file.table.segment == segment && file.table.docs == docs).then_some(file)
    }

    pub(super) fn decode(bytes: OwnedBytes, path: Option<PathBuf>) -> Option<Self> {
        if bytes.get(..8)? != MAGIC || u32_at(&bytes, 8)? != VERSION {
            return None;
        }
        let (len, crc) = (u32_at(&bytes, 12)? as usize, u32_at(&bytes, 16)?);
        let table = bytes.get(HEAD..HEAD + len.min(MAX_TABLE + 1))?;
        if len > MAX_TABLE || crc32c::crc32c(table) != crc {
            return None;
        }
        let table: Table = serde_json::from_slice(table).ok()?;
        let end = (bytes.len() - HEAD - len) as u64;
        let is_sound = |row: &QuestionRow| {
            row.filter < table.filters.len()
                && row.fields.len() <= 2
                && [1, 5, 15, 60, 24 * 60].contains(&(row.unit_ms / 60_000))
                && row.unit_ms % 60_000 == 0
                && row.at.checked_add(row.len).is_some_and(|last| last <= end)
        };
        if !table.questions.iter().all(is_sound) {
            return None;
        }
        let whole = table.questions.iter().map(|_| OnceLock::new()).collect();
        Some(Self { body: HEAD + len, bytes, path, table, whole })
    }

    /// Where the answer to a question is, if it is here.
    pub(super) fn find(&self, filter: &str, fields: &[Field]) -> Option<Found> {
        let rows = &self.table.filters;
        let filter = rows.iter().position(|row| row.text == filter)?;
        let matches = rows.get(filter)?.matches;
        if matches == 0 {
            return Some(Found::Nothing);
        }
        let all = rows.iter().position(|row| row.text == "*");
        let same = |row: &QuestionRow| {
            row.filter == filter || (matches == self.table.docs && Some(row.filter) == all)
        };
        let mut found = self.table.questions.iter().enumerate().filter(|(_, row)| same(row));
        found.find_map(|(place, row)| match (row.fields.as_slice(), fields) {
            _ if row.len == 0 => None,
            (have, want) if have == want => Some(Found::Section(place)),
            ([a, b], [c, d]) if (a, b) == (d, c) => Some(Found::Section(place)),
            _ => None,
        })
    }

    /// Whether it says anything of a question: an answer, or that it keeps none.
    pub(super) fn knows(&self, filter: &str, fields: &[Field]) -> bool {
        let rows = &self.table.filters;
        self.find(filter, fields).is_some()
            || self.table.questions.iter().any(|row| {
                row.fields == fields && rows.get(row.filter).is_some_and(|row| row.text == filter)
            })
    }

    /// The text of the filter of a section.
    pub(super) fn filter_of(&self, place: usize) -> Option<&str> {
        let row = self.table.questions.get(place)?;
        self.table.filters.get(row.filter).map(|filter| filter.text.as_str())
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The bytes of a section as they are.
    pub(super) fn raw_section(&self, place: usize) -> Option<&[u8]> {
        let row = self.table.questions.get(place)?;
        let start = self.body.checked_add(usize::try_from(row.at).ok()?)?;
        self.bytes.get(start..start.checked_add(usize::try_from(row.len).ok()?)?)
    }

    /// Whether a section is as its checksum says; looked at once a process.
    pub(super) fn is_whole(&self, place: usize) -> bool {
        let row = self.table.questions.get(place).zip(self.whole.get(place));
        let Some(((row, whole), bytes)) = row.zip(self.raw_section(place)) else { return false };
        let start = self.body as u64 + row.at;
        *whole.get_or_init(|| {
            let on_disk = self.path.as_ref().map(|path| crc_on_disk(path, start, row.len));
            let crc = match on_disk {
                Some(Ok(crc)) => Some(crc),
                // Its name is gone, as its segment was merged: what is mapped is whole.
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    Some(crc32c::crc32c(bytes))
                }
                Some(Err(_)) => None,
                None => Some(crc32c::crc32c(bytes)),
            };
            crc == Some(row.crc)
        })
    }

    /// One answer; `None` where its section is damaged.
    pub(super) fn section(&self, place: usize) -> Option<Section<'_>> {
        if !self.is_whole(place) {
            return None;
        }
        let row = self.table.questions.get(place)?;
        Section::open(self.raw_section(place)?, &row.fields, row.unit_ms)
    }
}

/// Reads past the map, so that checking takes no memory.
fn crc_on_disk(path: &Path, at: u64, len: u64) -> io::Result<u32> {
    let mut file = std::fs::File::open(path)?;
    file.seek(io::SeekFrom::Start(at))?;
    let mut rest = file.take(len);
    let mut buffer = vec![0; 64 * 1024];
    let mut crc = 0;
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(crc),
            read => crc = crc32c::crc32c_append(crc, buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// The answer to one question on one segment.
///
/// A value of a text field goes by its ordinal in the segment's dictionary, any
/// other by its place in `dictionaries`; a pair by its place in `pairs`; where
/// there is no field, everything has code 0.
#[derive(Clone)]
pub(in crate::embedded) struct Section<'a> {
    bytes: &'a [u8],
    pub(in crate::embedded) fields: &'a [Field],
    pub(super) unit_ms: i64,
    dictionaries: [Option<Values<'a>>; 2],
    pairs: Option<Values<'a>>,
    /// Counts over the whole segment.
    pub(super) total: Counts<'a>,
    order: &'a [u8],
    /// Numbers of the units that have events, ascending, 8 bytes each.
    units: &'a [u8],
}

impl<'a> Section<'a> {
    fn open(bytes: &'a [u8], fields: &'a [Field], unit_ms: i64) -> Option<Self> {
        let values = |part: usize| match part_of(bytes, part)? {
            [] => Some(None),
            part => Values::open(part).map(Some),
        };
        let section = Self {
            bytes,
            fields,
            unit_ms,
            dictionaries: [values(0)?, values(1)?],
            pairs: values(2)?,
            total: Counts::open(part_of(bytes, 3)?)?,
            order: part_of(bytes, 4)?,
            units: part_of(bytes, 5)?,
        };
        (section.pairs.is_some() == (fields.len() == 2)).then_some(section)
    }

    /// The values of one field that is no text.
    pub(in crate::embedded) fn dictionary(&self, field: usize) -> Option<&Values<'a>> {
        self.dictionaries.get(field)?.as_ref()
    }

    /// The codes of both fields by the code of the pair.
    pub(in crate::embedded) fn pairs(&self) -> Option<&Values<'a>> {
        self.pairs.as_ref()
    }

    /// The largest counts with their codes, most first: the whole segment's, as
    /// far as they are kept.
    pub(super) fn order(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let entry = |entry: &[u8]| Some((u32_at(entry, 0)?, u64_at(entry, 4)?));
        self.order.chunks_exact(ORDER_ENTRY).filter_map(entry)
    }

    /// How many units have events.
    pub(super) fn units(&self) -> usize {
        self.units.len() / 8
    }

    /// The number of a unit: it begins at `number * unit_ms`.
    pub(super) fn unit_number(&self, place: usize) -> Option<i64> {
        Some(u64_at(self.units, place * 8)?.cast_signed())
    }

    /// The counts of a unit.
    pub(super) fn unit(&self, place: usize) -> Option<Counts<'a>> {
        Counts::open(part_of(self.bytes, UNITS + place)?)
    }
}

fn part_of(bytes: &[u8], part: usize) -> Option<&[u8]> {
    if part >= u32_at(bytes, 0)? as usize {
        return None;
    }
    let at = 4 + 4 * part;
    bytes.get(u32_at(bytes, at)? as usize..u32_at(bytes, at + 4)? as usize)
}

/// Reads everything that a file says, as a query would and with checksums made
/// to fit, for the fuzzer; says whether it was a file.
pub(super) fn read_all(bytes: &[u8]) -> bool {
    if let Some(fitting) = with_fitting_checksums(bytes) {
        read(&fitting);
    }
    read(bytes).is_some()
}

fn read(bytes: &[u8]) -> Option<()> {
    let file = File::decode(OwnedBytes::new(bytes.to_vec()), None)?;
    for (place, row) in file.table.questions.iter().enumerate() {
        let filter = file.table.filters.get(row.filter)?;
        file.find(&filter.text, &row.fields);
        let Some(section) = file.section(place) else { continue };
        for values in section.dictionaries.iter().chain([&section.pairs]).flatten() {
            let _ = (values.all(), values.get(7), values.find(7));
        }
        let units = (0..section.units()).filter_map(|unit| section.unit(unit));
        for counts in units.chain([section.total]) {
            let mut last = 0;
            counts.for_each(|code, _| last = code);
            let _ = counts.get(last);
        }
        section.order().for_each(drop);
    }
    Some(())
}

fn with_fitting_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = u32_at(bytes, 12)? as usize;
    let (table, body) = bytes.get(HEAD..)?.split_at_checked(len)?;
    let mut table: Table = serde_json::from_slice(table).ok()?;
    for row in &mut table.questions {
        let at = usize::try_from(row.at).ok()?;
        let end = at.checked_add(usize::try_from(row.len).ok()?)?;
        row.crc = crc32c::crc32c(body.get(at..end)?);
    }
    let mut fitting = write_head(&table).ok()?;
    fitting.extend(body);
    Some(fitting)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::list::{write_counts, write_values};
    use super::*;

    fn sample() -> Vec<u8> {
        let counts = |counts: &[(u32, u64)]| {
            let mut bytes = Vec::new();
            write_counts(counts, &mut bytes);
            bytes
        };
        let many: Vec<(u32, u64)> = (0..200).map(|code| (code, u64::from(code % 7) + 1)).collect();
        let pairs: Vec<u128> = (0..200).map(|code| code << 33 | 5).collect();
        let section = write_section(&[
            Vec::new(),
            write_values(&[1, 7, u128::MAX]),
            write_values(&pairs),
            counts(&many),
            [3u32.to_le_bytes().as_slice(), 7u64.to_le_bytes().as_slice()].concat(),
            [7i64.to_le_bytes(), 9i64.to_le_bytes()].concat(),
            counts(&many),
            counts(&[(3, 7)]),
        ]);
        let crc = crc32c::crc32c(&section);
        let table = Table {
            segment: "s".into(),
            docs: 1000,
            filters: vec![FilterRow { text: "*".into(), matches: 1000 }],
            questions: vec![QuestionRow {
                filter: 0,
                fields: vec![Field::User, Field::Port],
                unit_ms: 3_600_000,
                at: 0,
                len: section.len() as u64,
                crc,
            }],
        };
        let mut file = write_head(&table).unwrap();
        file.extend(section);
        file
    }

    #[test]
    fn a_file_answers_in_either_order_of_fields_and_nothing_else() {
        let file = File::decode(OwnedBytes::new(sample()), None).unwrap();
        let found = Some(Found::Section(0));
        assert_eq!(file.find("*", &[Field::User, Field::Port]), found);
        assert_eq!(file.find("*", &[Field::Port, Field::User]), found);
        assert_eq!(file.find("*", &[Field::User]), None);
        assert_eq!(file.find("port:22", &[Field::User, Field::Port]), None);
        let section = file.section(0).unwrap();
        assert_eq!((section.units(), section.unit_number(1)), (2, Some(9)));
        assert_eq!(section.unit(1).unwrap().get(3), Some(7));
        assert_eq!(section.unit(2).map(|unit| unit.len()), None);
        assert!(read_all(&sample()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
        #[test]
        fn damaged_files_are_refused_or_read_without_a_panic(
            flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
            len in any::<usize>(),
        ) {
            let mut bytes = sample();
            for (at, byte) in flips {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if len.is_multiple_of(4) {
                bytes.truncate(len / 4 % bytes.len());
            }
            read_all(&bytes);
        }
    }
}
