//! Events on their way into the index: the values of many events in one
//! buffer, in the order of the columns, so that the index library copies and
//! sorts nothing and no event costs an allocation of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::iter::Empty;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tantivy::indexer::UserOperation;
use tantivy::schema::Field as Column;
use tantivy::schema::document::{Document, ReferenceValue, ReferenceValueLeaf, Value};

use super::room::Claim;
use super::schema;
use crate::stored;
use palisade_event::Event;

/// Rows that travel together.
const BATCH_ROWS: usize = 512;
/// Bytes of text above which a batch travels alone.
const BATCH_BYTES: usize = 512 * 1024;
/// Places whose text is remembered.
const MAX_PLACES: usize = 4096;

/// One value of one column; texts lie in the buffer of the batch.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Text(u32, u32),
    Bytes(u32, u32),
    Unsigned(u64),
    Signed(i64),
    Address(Ipv6Addr),
}

/// Values of some rows.
#[derive(Debug, Default)]
struct Batch {
    text: String,
    cells: Vec<(Column, Cell)>,
    /// Given back when the last row has been indexed.
    _claim: Option<Claim>,
}

/// One event as a document of the index.
#[derive(Debug)]
pub(super) struct Row {
    batch: Arc<Batch>,
    cells: Range<u32>,
}

/// Collects rows.
#[derive(Default)]
pub(super) struct Rows {
    batch: Batch,
    ends: Vec<u32>,
    places: Places,
}

impl Rows {
    /// Adds an event.
    pub(super) fn push(&mut self, event: &Event) {
        schema::encode(event, &mut Cells { batch: &mut self.batch, places: &mut self.places });
        self.ends.push(offset(self.batch.cells.len()));
    }

    /// Whether the rows should travel on.
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= BATCH_ROWS || self.batch.text.len() >= BATCH_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory that the rows take.
    pub(super) fn bytes(&self) -> usize {
        self.batch.text.len() + self.batch.cells.len() * size_of::<(Column, Cell)>()
    }

    /// Takes the rows as operations; room for the next is as large.
    pub(super) fn take(&mut self, claim: Claim) -> Vec<UserOperation<Row>> {
        let next = Batch {
            text: String::with_capacity(self.batch.text.len()),
            cells: Vec::with_capacity(self.batch.cells.len()),
            _claim: None,
        };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch._claim = Some(claim);
        let batch = Arc::new(batch);
        let mut start = 0;
        let row = |end: u32| {
            let cells = std::mem::replace(&mut start, end)..end;
            UserOperation::Add(Row { batch: Arc::clone(&batch), cells })
        };
        self.ends.drain(..).map(row).collect()
    }
}

/// Where [`schema::encode`] writes; columns must ascend.
pub(super) struct Cells<'a> {
    batch: &'a mut Batch,
    places: &'a mut Places,
}

impl Cells<'_> {
    pub(super) fn text(&mut self, column: Column, text: &str) {
        let start = self.batch.text.len();
        self.batch.text.push_str(text);
        self.ends(column, start, Cell::Text);
    }

    /// Several texts as one, kept apart by a character that is in no word.
    pub(super) fn texts<'t>(&mut self, column: Column, texts: impl Iterator<Item = Cow<'t, str>>) {
        let start = self.batch.text.len();
        for text in texts {
            self.batch.text.push_str(&text);
            self.batch.text.push('\0');
        }
        if self.batch.text.len() > start {
            self.ends(column, start, Cell::Text);
        }
    }

    pub(super) fn json(&mut self, column: Column, json: &str) {
        let start = self.batch.text.len();
        self.batch.text.push_str(json);
        self.ends(column, start, Cell::Bytes);
    }

    /// A place as text; says whether its numbers can be read back from it.
    pub(super) fn location(&mut self, column: Column, lat: f64, lon: f64) -> bool {
        let (text, is_exact) = self.places.get(lat, lon);
        let start = self.batch.text.len();
        self.batch.text.push_str(text);
        self.ends(column, start, Cell::Text);
        is_exact
    }

    pub(super) fn unsigned(&mut self, column: Column, value: u64) {
        self.batch.cells.push((column, Cell::Unsigned(value)));
    }

    pub(super) fn signed(&mut self, column: Column, value: i64) {
        self.batch.cells.push((column, Cell::Signed(value)));
    }

    pub(super) fn address(&mut self, column: Column, value: Ipv6Addr) {
        self.batch.cells.push((column, Cell::Address(value)));
    }

    fn ends(&mut self, column: Column, start: usize, cell: fn(u32, u32) -> Cell) {
        let cell = cell(offset(start), offset(self.batch.text.len()));
        self.batch.cells.push((column, cell));
    }
}

/// A batch is far below 4 GiB: it ends at [`BATCH_BYTES`] and an event's text is bounded.
fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The texts of places; few places come back often.
#[derive(Default)]
struct Places(HashMap<(u64, u64), (Box<str>, bool), RandomState>);

impl Places {
    fn get(&mut self, lat: f64, lon: f64) -> (&str, bool) {
        if self.0.len() >= MAX_PLACES {
            self.0.clear();
        }
        let (text, is_exact) = self.0.entry((lat.to_bits(), lon.to_bits())).or_insert_with(|| {
            let mut text = String::new();
            // Writing to memory does not fail.
            let _ = write!(text, "{lat},{lon}");
            let bits = |(lat, lon): (f64, f64)| (lat.to_bits(), lon.to_bits());
            let is_exact = stored::location(&text).map(bits) == Some(bits((lat, lon)));
            (text.into_boxed_str(), is_exact)
        });
        (text, *is_exact)
    }
}

impl Document for Row {
    type Value<'a> = RowValue<'a>;
    type FieldsValuesIter<'a> = Values<'a>;

    fn iter_fields_and_values(&self) -> Values<'_> {
        let range = self.cells.start as usize..self.cells.end as usize;
        let cells = self.batch.cells.get(range).unwrap_or_default();
        Values { text: &self.batch.text, cells: cells.iter() }
    }
}

/// The values of one row.
pub(super) struct Values<'a> {
    text: &'a str,
    cells: slice::Iter<'a, (Column, Cell)>,
}

impl<'a> Iterator for Values<'a> {
    type Item = (Column, RowValue<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (column, cell) = self.cells.next()?;
        let text =
            |start: u32, end: u32| self.text.get(start as usize..end as usize).unwrap_or_default();
        let value = match *cell {
            Cell::Text(start, end) => RowValue::Text(text(start, end)),
            Cell::Bytes(start, end) => RowValue::Bytes(text(start, end).as_bytes()),
            Cell::Unsigned(value) => RowValue::Unsigned(value),
            Cell::Signed(value) => RowValue::Signed(value),
            Cell::Address(value) => RowValue::Address(value),
        };
        Some((*column, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.cells.size_hint()
    }
}

/// One value, as the index library takes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowValue<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Unsigned(u64),
    Signed(i64),
    Address(Ipv6Addr),
}

impl<'a> Value<'a> for RowValue<'a> {
    type ArrayIter = Empty<Self>;
    type ObjectIter = Empty<(&'a str, Self)>;

    #[inline]
    fn as_value(&self) -> ReferenceValue<'a, Self> {
        ReferenceValue::Leaf(match *self {
            Self::Text(text) => ReferenceValueLeaf::Str(text),
            Self::Bytes(bytes) => ReferenceValueLeaf::Bytes(bytes),
            Self::Unsigned(value) => ReferenceValueLeaf::U64(value),
            Self::Signed(value) => ReferenceValueLeaf::I64(value),
            Self::Address(value) => ReferenceValueLeaf::IpAddr(value),
        })
    }
}
