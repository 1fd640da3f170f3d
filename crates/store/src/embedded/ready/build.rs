//! Counts the answers of one segment and writes its file.
//!
//! All questions of a filter are counted together, hour by hour, so that an
//! hour's counters and not a list of events are what takes memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use palisade_event::Timestamp;
use tantivy::TantivyError;

use super::super::dimension::{ABSENT, firsts, numbers};
use super::super::filter::Ready;
use super::super::quick::{HashMap, HashSet};
use super::super::scan::for_each_chunk;
use super::super::segment::{AnyColumn, Segment, span};
use super::file::{FilterRow, QuestionRow, Table, write_head, write_section};
use super::list::{write_counts, write_values};
use super::{Ask, DRAFT};
use crate::query::{Field, Query, TimeRange};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const HOURS_PER_DAY: i64 = 24;
/// Widths of a unit of time, in minutes.
const UNIT_MINUTES: [i64; 4] = [1, 5, 15, 60];
/// Finer units than an hour are made as long as there is at most one count for
/// so many events.
const EVENTS_PER_COUNT: u64 = 64;
/// A question whose hours have more counts than one for so many events is kept
/// for the whole segment only: for a part of it, its events are counted as fast.
const EVENTS_PER_HOUR_COUNT: usize = 4;
const DAY: i64 = HOURS_PER_DAY * HOUR;
/// A question with more values than this, and than half of the segment's
/// events, is answered from the events as fast.
const FEW_VALUES: usize = 1000;
/// Most values of a question on one segment.
const MAX_VALUES: usize = 1_000_000;
/// Largest counts that are kept in their order.
pub(super) const MAX_ORDER: usize = 2048;

/// What a field's values are numbered by.
struct Column {
    field: Field,
    /// The values of a field that is no text, ascending.
    values: Vec<u128>,
    codes: HashMap<u128, u32>,
    /// How many codes there are.
    len: usize,
}

impl Column {
    fn codes(&self, segment: &Segment, docs: &[u32]) -> Result<Vec<u32>, TantivyError> {
        if self.field.is_text() {
            let AnyColumn::Text(column) = segment.column(self.field)? else {
                return Ok(vec![ABSENT; docs.len()]);
            };
            let code = |ordinal: Option<u64>| ordinal.map_or(ABSENT, |ordinal| ordinal as u32);
            return Ok(firsts(column.ords(), docs).into_iter().map(code).collect());
        }
        let code = |value: Option<u128>| {
            value.and_then(|value| self.codes.get(&value)).copied().unwrap_or(ABSENT)
        };
        Ok(numbers(self.field, segment, docs)?.into_iter().map(code).collect())
    }
}

/// One question while it is counted.
struct Work {
    fields: Vec<Field>,
    /// The places of its fields among the columns.
    columns: Vec<usize>,
    pairs: HashMap<u64, u32>,
    /// How many codes there are.
    codes: usize,
    unit_ms: i64,
    /// By unit of the hour and code.
    hour: Vec<u32>,
    touched: Vec<u32>,
    total: Vec<u32>,
    units: Vec<(i64, Vec<u8>)>,
    /// How many counts the units may still have.
    room: usize,
    /// Whether they have more, so that none are kept.
    whole_only: bool,
}

/// Where answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// To a file, where each byte must be worth it.
    Disk,
    /// To memory, where they go with their small segment.
    Memory,
}

impl Home {
    /// Whether a question has too many values on a segment.
    fn is_too_small_for(self, values: usize, docs: u32) -> bool {
        match self {
            Self::Disk => values > MAX_VALUES || values > FEW_VALUES.max(docs as usize / 2),
            Self::Memory => false,
        }
    }
}

fn joined(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

/// Calls `each` with the documents of a filter in a range, in chunks.
pub(super) fn chunks(
    ask: &Ask,
    range: TimeRange,
    segment: &Segment,
    each: impl FnMut(&[u32]) -> Result<(), TantivyError>,
) -> Result<(), TantivyError> {
    let query = Query { range, filter: ask.filter.clone() };
    let ready = Ready::query(&query, segment)?;
    for_each_chunk(&ready, segment, each)
}

/// The columns that some questions of one filter need; without one that has
/// too many values.
fn columns(
    fields: &[Field],
    ask: &Ask,
    segment: &Segment,
    home: Home,
) -> Result<Vec<Column>, TantivyError> {
    let mut found: Vec<HashSet<u128>> = fields.iter().map(|_| HashSet::default()).collect();
    let all = TimeRange::default();
    chunks(ask, all, segment, |docs| {
        for (field, found) in fields.iter().zip(&mut found) {
            if !field.is_text() && !home.is_too_small_for(found.len(), segment.docs()) {
                found.extend(numbers(*field, segment, docs)?.into_iter().flatten());
            }
        }
        Ok(())
    })?;
    let column = |(field, found): (&Field, HashSet<u128>)| {
        let mut values: Vec<u128> = found.into_iter().collect();
        values.sort_unstable();
        let codes = values.iter().copied().zip(0..).collect();
        let len = match segment.column(*field)? {
            AnyColumn::Text(column) if field.is_text() => column.num_terms(),
            _ => values.len(),
        };
        let fits = !home.is_too_small_for(len, segment.docs());
        Ok(fits.then_some(Column { field: *field, values, codes, len }))
    };
    fields.iter().zip(found).map(column).filter_map(Result::transpose).collect()
}

/// Finds the pairs that occur.
fn find_pairs(
    work: &mut [Work],
    columns: &[Column],
    ask: &Ask,
    segment: &Segment,
    home: Home,
) -> Result<(), TantivyError> {
    let fits = |work: &Work| !home.is_too_small_for(work.pairs.len(), segment.docs());
    if work.iter().all(|work| work.fields.len() < 2) {
        return Ok(());
    }
    chunks(ask, TimeRange::default(), segment, |docs| {
        let codes = read(columns, segment, docs)?;
        for work in work.iter_mut().filter(|work| fits(work)) {
            let [a, b] = work.columns.as_slice() else { continue };
            let (Some(a), Some(b)) = (codes.get(*a), codes.get(*b)) else { continue };
            for (a, b) in a.iter().zip(b).filter(|(a, b)| **a != ABSENT && **b != ABSENT) {
                work.pairs.insert(joined(*a, *b), 0);
            }
        }
        Ok(())
    })?;
    for work in work.iter_mut().filter(|work| work.fields.len() == 2) {
        let mut pairs: Vec<u64> = work.pairs.keys().copied().collect();
        pairs.sort_unstable();
        work.pairs = pairs.into_iter().zip(0..).collect();
    }
    Ok(())
}

fn read(
    columns: &[Column],
    segment: &Segment,
    docs: &[u32],
) -> Result<Vec<Vec<u32>>, TantivyError> {
    columns.iter().map(|column| column.codes(segment, docs)).collect()
}

impl Work {
    /// Makes the counters, once it is known how many codes there are.
    fn prepare(&mut self, columns: &[Column], docs: u32) {
        self.codes = match self.columns.as_slice() {
            [] => 1,
            [column] => columns.get(*column).map_or(0, |column| column.len),
            _ => self.pairs.len(),
        };
        let fits = |minutes: &i64| {
            let counts = self.codes as u64 * (HOURS_PER_DAY * HOUR / MINUTE / minutes) as u64;
            counts <= u64::from(docs) / EVENTS_PER_COUNT
        };
        let minutes = UNIT_MINUTES.into_iter().find(fits).unwrap_or(60);
        self.unit_ms = minutes * MINUTE;
        self.hour = vec![0; self.codes * (60 / minutes) as usize];
        self.total = vec![0; self.codes];
    }

    fn count(&mut self, codes: &[Vec<u32>], times: &[i64]) {
        let column = |place: usize| self.columns.get(place).and_then(|place| codes.get(*place));
        let (first, second) = (column(0), column(1));
        for (number, at) in times.iter().enumerate() {
            let code = |column: &Vec<u32>| column.get(number).copied().unwrap_or(ABSENT);
            let code = match (first.map(code), second.map(code)) {
                (None, _) => 0,
                (Some(code), None) => code,
                (Some(a), Some(b)) => self.pairs.get(&joined(a, b)).copied().unwrap_or(ABSENT),
            };
            if code as usize >= self.codes {
                continue;
            }
            let unit = (at.rem_euclid(HOUR) / self.unit_ms) as usize;
            let place = unit * self.codes + code as usize;
            if let Some(count) = self.hour.get_mut(place) {
                if *count == 0 {
                    self.touched.push(place as u32);
                }
                *count += 1;
            }
        }
    }

    fn end_hour(&mut self, hour: i64) {
        self.touched.sort_unstable();
        let unit_of = |place: u32| place as usize / self.codes.max(1);
        for unit in self.touched.chunk_by(|a, b| unit_of(*a) == unit_of(*b)) {
            let Some(number) = unit.first().map(|place| unit_of(*place)) else { continue };
            let mut counts = Vec::with_capacity(unit.len());
            for place in unit {
                let code = *place as usize - number * self.codes;
                let count = self.hour.get_mut(*place as usize).map_or(0, std::mem::take);
                if let Some(total) = self.total.get_mut(code) {
                    *total += count;
                }
                counts.push((code as u32, u64::from(count)));
            }
            match self.room.checked_sub(counts.len()) {
                Some(left) if !self.whole_only => {
                    let mut bytes = Vec::new();
                    write_counts(&counts, &mut bytes);
                    self.units.push((hour * (HOUR / self.unit_ms) + number as i64, bytes));
                    self.room = left;
                }
                _ => self.whole_only = true,
            }
        }
        self.touched.clear();
    }

    fn section(&mut self, columns: &[Column]) -> Vec<u8> {
        if self.whole_only {
            self.units.clear();
            self.unit_ms = DAY;
        }
        let mut parts = vec![Vec::new(); 3];
        for (part, column) in parts.iter_mut().zip(&self.columns) {
            if let Some(column) = columns.get(*column).filter(|column| !column.field.is_text()) {
                *part = write_values(&column.values);
            }
        }
        if self.fields.len() == 2 {
            let mut pairs: Vec<u128> = self.pairs.keys().map(|pair| u128::from(*pair)).collect();
            pairs.sort_unstable();
            if let Some(part) = parts.get_mut(2) {
                *part = write_values(&pairs);
            }
        }
        let counts = (0u32..).zip(&self.total).filter(|(_, count)| **count > 0);
        let mut counts: Vec<(u32, u64)> =
            counts.map(|(code, count)| (code, u64::from(*count))).collect();
        let mut total = Vec::new();
        write_counts(&counts, &mut total);
        let by_count = |entry: &(u32, u64)| (Reverse(entry.1), entry.0);
        if counts.len() > MAX_ORDER {
            counts.select_nth_unstable_by_key(MAX_ORDER, by_count);
            counts.truncate(MAX_ORDER);
        }
        counts.sort_unstable_by_key(by_count);
        let mut order = Vec::new();
        for (code, count) in counts {
            order.extend(code.to_le_bytes());
            order.extend(count.to_le_bytes());
        }
        let numbers = self.units.iter().flat_map(|(number, _)| number.to_le_bytes()).collect();
        parts.extend([total, order, numbers]);
        parts.extend(self.units.iter_mut().map(|(_, unit)| std::mem::take(unit)));
        write_section(&parts)
    }
}

/// Width of its units, and the section; none where there are too many values.
type Answer = (i64, Option<Vec<u8>>);

/// The answers to the questions of one filter, by their fields; `None` for one
/// with too many values.
fn answers(asks: &[&Ask], segment: &Segment, home: Home) -> Result<Vec<Answer>, TantivyError> {
    let Some(ask) = asks.first() else { return Ok(Vec::new()) };
    let mut fields: Vec<Field> = asks.iter().flat_map(|ask| ask.fields.iter().copied()).collect();
    fields.sort_unstable();
    fields.dedup();
    let columns = columns(&fields, ask, segment, home)?;
    let place = |field: &Field| columns.iter().position(|column| column.field == *field);
    let mut work = Vec::new();
    let mut places = Vec::new();
    for ask in asks {
        let columns: Option<Vec<usize>> = ask.fields.iter().map(place).collect();
        places.push(columns.is_some().then_some(work.len()));
        let Some(columns) = columns else { continue };
        work.push(Work {
            fields: ask.fields.clone(),
            columns,
            pairs: HashMap::default(),
            codes: 0,
            unit_ms: HOUR,
            hour: Vec::new(),
            touched: Vec::new(),
            total: Vec::new(),
            units: Vec::new(),
            room: segment.docs() as usize / EVENTS_PER_HOUR_COUNT + FEW_VALUES,
            whole_only: false,
        });
    }
    find_pairs(&mut work, &columns, ask, segment, home)?;
    let few = |work: &Work| !home.is_too_small_for(work.pairs.len(), segment.docs());
    for work in work.iter_mut().filter(|work| few(work)) {
        work.prepare(&columns, segment.docs());
    }
    let (first, last) = span(segment);
    let last = last.as_millis().div_euclid(HOUR);
    for hour in first.as_millis().div_euclid(HOUR)..=last {
        let at = |hour: i64| Timestamp::from_millis(hour * HOUR);
        // The calendar's last hour has no end.
        let range = TimeRange { from: Some(at(hour)), to: (hour < last).then(|| at(hour + 1)) };
        chunks(ask, range, segment, |docs| {
            let codes = read(&columns, segment, docs)?;
            let times = firsts(&segment.time, docs);
            let times: Vec<i64> = times.into_iter().map(|at| at.unwrap_or(0)).collect();
            work.iter_mut().for_each(|work| work.count(&codes, &times));
            Ok(())
        })?;
        work.iter_mut().for_each(|work| work.end_hour(hour));
    }
    let mut answer = |place: Option<usize>| match place.and_then(|place| work.get_mut(place)) {
        Some(work) if few(work) => {
            let section = work.section(&columns);
            (work.unit_ms, Some(section))
        }
        _ => (HOUR, None),
    };
    Ok(places.into_iter().map(&mut answer).collect())
}

fn matches(ask: &Ask, segment: &Segment) -> Result<u32, TantivyError> {
    let mut count = 0;
    chunks(ask, TimeRange::default(), segment, |docs| {
        count += docs.len() as u32;
        Ok(())
    })?;
    Ok(count)
}

/// A file that is not written yet.
pub(super) struct Draft {
    pub(super) table: Table,
    pub(super) sections: Vec<Vec<u8>>,
}

/// Counts the answers of a segment.
pub(super) fn count(asks: &[Ask], segment: &Segment, home: Home) -> Result<Draft, TantivyError> {
    let mut table = Table {
        segment: segment.reader.segment_id().uuid_string(),
        docs: segment.docs(),
        ..Table::default()
    };
    let mut by_filter: BTreeMap<&str, Vec<&Ask>> = BTreeMap::new();
    let (first, last) = span(segment);
    let hours = last.as_millis().div_euclid(HOUR) - first.as_millis().div_euclid(HOUR);
    // A segment holds events of one day; one that does not is not ours to understand.
    if hours < HOURS_PER_DAY {
        asks.iter().for_each(|ask| by_filter.entry(&ask.text).or_default().push(ask));
    }
    let mut sections = Vec::new();
    let mut at = 0;
    for (text, mut asked) in by_filter {
        let Some(ask) = asked.first() else { continue };
        let matches = matches(ask, segment)?;
        let filter = table.filters.len();
        table.filters.push(FilterRow { text: text.to_owned(), matches });
        if matches == segment.docs() && text != "*" {
            // Answered by the same question without a filter.
            let same =
                |ask: &Ask| asks.iter().any(|all| all.text == "*" && all.fields == ask.fields);
            asked.retain(|ask| !same(ask));
        }
        if matches == 0 || asked.is_empty() {
            continue;
        }
        for (ask, (unit_ms, section)) in asked.iter().zip(answers(&asked, segment, home)?) {
            let section = section.unwrap_or_default();
            let (len, crc) = (section.len() as u64, crc32c::crc32c(&section));
            let fields = ask.fields.clone();
            table.questions.push(QuestionRow { filter, fields, unit_ms, at, len, crc });
            at += len;
            sections.push(section);
        }
    }
    Ok(Draft { table, sections })
}

impl Draft {
    /// The bytes of the file.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = write_head(&self.table)?;
        self.sections.iter().for_each(|section| bytes.extend(section));
        Ok(bytes)
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_added_extension(DRAFT);
        let write = || {
            let mut file = io::BufWriter::new(fs::File::create(&draft)?);
            file.write_all(&write_head(&self.table)?)?;
            self.sections.iter().try_for_each(|section| file.write_all(section))?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
            fs::rename(&draft, path)
        };
        write().inspect_err(|_| {
            // Upkeep removes what is left of it at the latest.
            let _ = fs::remove_file(&draft);
        })
    }
}
