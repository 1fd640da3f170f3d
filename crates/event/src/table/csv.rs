//! Rows as comma-separated values (RFC 4180), for spreadsheets and back.
//!
//! Spreadsheets run a cell that begins like a formula; what attackers made
//! must not. Such a value gets a single quote before it, which spreadsheets
//! show as text. Control characters are written as `\u{1b}`. Where a cell is
//! not the value itself for such a reason, the column `event` has all of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{COLUMNS, Cell, ColumnType, Place, RowError};
use crate::{Event, Timestamp};

/// Longest record that is read, in bytes: an event as JSON, quoted, and again
/// in columns.
pub const MAX_RECORD_BYTES: usize = 4 * 1024 * 1024;
/// Most cells of a record.
const MAX_CELLS: usize = 256;
/// Characters that begin a formula, or that a spreadsheet strips to find one.
const FORMULA_STARTS: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Appends the first line.
pub fn write_header(out: &mut String) {
    for (number, column) in COLUMNS.iter().enumerate() {
        out.push_str(if number == 0 { "" } else { "," });
        out.push_str(column.name);
    }
    out.push_str("\r\n");
}

/// Appends one line.
pub fn write(out: &mut String, event: &Event) {
    let start = out.len();
    let mut exact = true;
    let cells = super::row(event);
    for (number, cell) in cells.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        let json = [Place::Attributes, Place::Event].map(|place| place as usize).contains(&number);
        let form = if json { Form::Json } else { Form::Plain };
        if number == Place::Event as usize && !exact && *cell == Cell::Null {
            write_cell(out, &super::whole(event), form);
            continue;
        }
        exact &= write_cell(out, cell, form);
    }
    debug_assert!(out.len() > start, "an event has an id");
    out.push_str("\r\n");
}

/// What a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// JSON has an escape of its own for characters that are not to be shown.
    Json,
}

/// Writes one cell; whether reading it gives the same value.
fn write_cell(out: &mut String, cell: &Cell<'_>, form: Form) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Integer(value) => write!(out, "{value}").is_ok(),
        Cell::Real(value) => write!(out, "{value:?}").is_ok(),
        Cell::Time(at) => write!(out, "{at}").is_ok(),
        Cell::Text(text) => {
            let shown = readable(text, form);
            let guard = shown.starts_with(FORMULA_STARTS);
            let ambiguous = shown.strip_prefix('\'').is_some_and(|v| v.starts_with(FORMULA_STARTS));
            if guard || shown.contains([',', '"', '\r', '\n']) {
                out.push('"');
                out.push_str(if guard { "'" } else { "" });
                out.push_str(&shown.replace('"', "\"\""));
                out.push('"');
            } else {
                out.push_str(&shown);
            }
            (shown == *text || form == Form::Json) && !text.is_empty() && !ambiguous
        }
    }
}

/// Without what would steer a terminal; line breaks and tabs stay, in quotes.
fn readable(text: &str, form: Form) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let _ = match form {
            _ if !steers(c) => write!(out, "{c}"),
            Form::Plain => write!(out, "\\u{{{:x}}}", u32::from(c)),
            Form::Json => write!(out, "\\u{:04x}", u32::from(c)),
        };
    }
    Cow::Owned(out)
}

/// Where the first record of `bytes` ends, its line break included; `None`
/// where it is not all there.
#[must_use]
pub fn record_end(bytes: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A record cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Text,
    /// Quotes where none may be, or none where one must be.
    #[error("a quoted cell is not closed, or something follows its end")]
    Quotes,
    /// More cells than any table of ours has.
    #[error("more than 256 cells")]
    Cells,
    /// A column that is not known.
    #[error("the header names a column '{0}', which no table of ours has")]
    Column(String),
    /// A column that has to be there.
    #[error("the header has no column '{0}'")]
    Missing(&'static str),
    /// More or fewer cells than the header.
    #[error("{0} cells where the header has {1}")]
    Width(usize, usize),
    /// The row is no event.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// Takes a record apart, its line break included or not.
///
/// # Errors
/// [`CsvError`]
pub fn cells(record: &[u8]) -> Result<Vec<String>, CsvError> {
    let text = std::str::from_utf8(record).map_err(|_| CsvError::Text)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        if cells.len() >= MAX_CELLS {
            return Err(CsvError::Cells);
        }
        let mut cell = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (head, tail) = quoted.split_once('"').ok_or(CsvError::Quotes)?;
                cell.push_str(head);
                let Some(more) = tail.strip_prefix('"') else {
                    rest = tail;
                    break;
                };
                cell.push('"');
                quoted = more;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (head, tail) = rest.split_at_checked(end).ok_or(CsvError::Text)?;
            if head.contains('"') {
                return Err(CsvError::Quotes);
            }
            cell.push_str(head);
            rest = tail;
        }
        cells.push(cell);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(cells),
            None => return Err(CsvError::Quotes),
        }
    }
}

/// Which column each cell of a line is.
#[derive(Clone, Debug)]
pub struct Header(Vec<usize>);

impl Header {
    /// Reads the first record. Columns may be missing and in any order.
    ///
    /// # Errors
    /// [`CsvError`] for a column that is not known or one without which no
    /// event can be.
    pub fn read(record: &[u8]) -> Result<Self, CsvError> {
        let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
        let names = cells(record)?;
        let place = |name: &String| {
            super::place(name).ok_or_else(|| CsvError::Column(name.chars().take(64).collect()))
        };
        let places: Vec<usize> = names.iter().map(place).collect::<Result<_, _>>()?;
        for needed in [Place::Id, Place::Kind, Place::ObservedAt, Place::Sensor] {
            if !places.contains(&(needed as usize)) {
                let name = COLUMNS.get(needed as usize).map_or("", |column| column.name);
                return Err(CsvError::Missing(name));
            }
        }
        Ok(Self(places))
    }

    /// The event of a record.
    ///
    /// # Errors
    /// [`CsvError`]
    pub fn event(&self, record: &[u8]) -> Result<Event, CsvError> {
        let texts = cells(record)?;
        if texts.len() != self.0.len() {
            return Err(CsvError::Width(texts.len(), self.0.len()));
        }
        let mut row = vec![Cell::Null; COLUMNS.len()];
        for (text, place) in texts.into_iter().zip(&self.0) {
            let (Some(slot), Some(column)) = (row.get_mut(*place), COLUMNS.get(*place)) else {
                continue;
            };
            if text.is_empty() {
                continue;
            }
            let wrong = |reason: &str| {
                let reason = format!("expected {reason}");
                CsvError::Row(RowError::Cell { column: column.name, reason })
            };
            *slot = match column.column_type {
                ColumnType::Text => Cell::Text(unguarded(text).into()),
                ColumnType::Integer => {
                    Cell::Integer(text.parse().map_err(|_| wrong("a whole number"))?)
                }
                ColumnType::Real => Cell::Real(text.parse().map_err(|_| wrong("a number"))?),
                ColumnType::Time => {
                    let at: Result<Timestamp, _> = text.parse();
                    Cell::Time(at.map_err(|_| wrong("a time such as 2026-11-20T20:07:14.123Z"))?)
                }
            };
        }
        Ok(super::event(&row)?)
    }
}

/// Takes away the quote that [`write`] put before what looks like a formula.
fn unguarded(text: String) -> String {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(FORMULA_STARTS) => rest.to_owned(),
        _ => text,
    }
}
