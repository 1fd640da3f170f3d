//! One immutable segment of a day: its columns, opened once and shared.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use palisade_event::{AttributeValue, Event, Timestamp};
use tantivy::columnar::{Column, StrColumn};
use tantivy::schema::{Value as _, document::CompactDocValue};
use tantivy::store::StoreReader;
use tantivy::{SegmentReader, TantivyDocument, TantivyError};

use super::ready::Parts;
use super::scan::CHUNK_DOCS;
use super::schema::{self, Stored};
use crate::query::{Field, FieldType};
use crate::stored::{Columns, Rest};

/// Ids that are read at once.
const ID_CHUNK: usize = 1024;

/// One column, by type.
pub(super) enum AnyColumn {
    Text(StrColumn),
    Number(Column<i64>),
    Address(Column<std::net::Ipv6Addr>),
    /// No document of the segment has the field.
    Absent,
}

/// A segment and its columns.
pub(super) struct Segment {
    pub(super) reader: SegmentReader,
    columns: Vec<OnceLock<AnyColumn>>,
    pub(super) time: Column<i64>,
    pub(super) id_high: Column<u64>,
    pub(super) id_low: Column<u64>,
    shape: OnceLock<Column<u64>>,
    places: [OnceLock<Option<StrColumn>>; 2],
    rest: OnceLock<StoreReader>,
    /// First and last instant of each [`CHUNK_DOCS`] documents.
    spans: OnceLock<Vec<(i64, i64)>>,
    /// Its ready aggregates.
    pub(super) parts: Parts,
}

impl Segment {
    pub(super) fn open(reader: &SegmentReader, dir: &Path) -> Result<Self, TantivyError> {
        let fast = reader.fast_fields();
        Ok(Self {
            time: fast.i64(Field::ObservedAt.name())?,
            id_high: fast.u64(schema::ID_HIGH)?,
            id_low: fast.u64(schema::ID_LOW)?,
            columns: Field::ALL.iter().map(|_| OnceLock::new()).collect(),
            shape: OnceLock::new(),
            places: [OnceLock::new(), OnceLock::new()],
            rest: OnceLock::new(),
            spans: OnceLock::new(),
            parts: Parts::new(dir, reader),
            reader: reader.clone(),
        })
    }

    pub(super) fn docs(&self) -> u32 {
        self.reader.max_doc()
    }

    pub(super) fn id(&self, doc: u32) -> u128 {
        let half = |column: &Column<u64>| u128::from(column.first(doc).unwrap_or(0));
        half(&self.id_high) << 64 | half(&self.id_low)
    }

    /// Calls `each` with every id.
    pub(super) fn for_each_id(&self, mut each: impl FnMut(u128)) {
        let is_full = |column: &Column<u64>| column.values.num_vals() == self.docs();
        if !is_full(&self.id_high) || !is_full(&self.id_low) {
            (0..self.docs()).for_each(|doc| each(self.id(doc)));
            return;
        }
        let (mut high, mut low) = ([0; ID_CHUNK], [0; ID_CHUNK]);
        let mut start = 0;
        while start < self.docs() {
            let count = (self.docs() - start).min(ID_CHUNK as u32);
            let (Some(high), Some(low)) =
                (high.get_mut(..count as usize), low.get_mut(..count as usize))
            else {
                return;
            };
            self.id_high.values.get_range(start.into(), high);
            self.id_low.values.get_range(start.into(), low);
            for (high, low) in high.iter().zip(low) {
                each(u128::from(*high) << 64 | u128::from(*low));
            }
            start += count;
        }
    }

    pub(super) fn at(&self, doc: u32) -> i64 {
        self.time.first(doc).unwrap_or(0)
    }

    /// Whether some of these documents may lie in a range of time. They lie about
    /// in the order of time, so this skips nearly all of a long segment.
    pub(super) fn may_lie_in(&self, docs: std::ops::Range<u32>, low: i64, high: i64) -> bool {
        let spans = self.spans_of(docs);
        spans.is_none_or(|spans| spans.iter().any(|(first, last)| *first <= high && low <= *last))
    }

    /// Whether all of these documents are known to lie in a range of time.
    pub(super) fn lies_in(&self, docs: std::ops::Range<u32>, low: i64, high: i64) -> bool {
        let spans = self.spans_of(docs);
        spans.is_some_and(|spans| spans.iter().all(|(first, last)| low <= *first && *last <= high))
    }

    /// First and last instant of the chunks that these documents lie in.
    fn spans_of(&self, docs: std::ops::Range<u32>) -> Option<&[(i64, i64)]> {
        let spans = self.spans.get_or_init(|| {
            let chunk = |start: u32| {
                let end = start.saturating_add(CHUNK_DOCS).min(self.docs());
                let fold = |(low, high): (i64, i64), at: i64| (low.min(at), high.max(at));
                (start..end).map(|doc| self.at(doc)).fold((i64::MAX, i64::MIN), fold)
            };
            (0..self.docs()).step_by(CHUNK_DOCS as usize).map(chunk).collect()
        });
        let last = docs.end.saturating_sub(1).max(docs.start);
        spans.get((docs.start / CHUNK_DOCS) as usize..=(last / CHUNK_DOCS) as usize)
    }

    /// The column of a field; not for the id.
    pub(super) fn column(&self, field: Field) -> Result<&AnyColumn, TantivyError> {
        static ABSENT: AnyColumn = AnyColumn::Absent;
        let Some(slot) = self.columns.get(field as usize) else { return Ok(&ABSENT) };
        if let Some(column) = slot.get() {
            return Ok(column);
        }
        let fast = self.reader.fast_fields();
        let name = field.name();
        let column = match field.field_type() {
            FieldType::Ip => fast.column_opt(name)?.map(AnyColumn::Address),
            FieldType::Integer | FieldType::Time => fast.column_opt(name)?.map(AnyColumn::Number),
            FieldType::Keyword | FieldType::Text => fast.str(name)?.map(AnyColumn::Text),
        };
        Ok(slot.get_or_init(|| column.unwrap_or(AnyColumn::Absent)))
    }

    /// Rebuilds one event.
    pub(super) fn event(&self, doc: u32) -> Result<Event, TantivyError> {
        for field in Field::ALL.iter().filter(|field| **field != Field::Id) {
            self.column(*field)?;
        }
        self.open_rest()?;
        schema::decode(&Document { segment: self, doc }).ok_or_else(|| {
            let reason = format!("document {doc} of {:?} is no event", self.reader.segment_id());
            TantivyError::InternalError(reason)
        })
    }

    /// Opens what is no field's column, once.
    pub(super) fn open_rest(&self) -> Result<(), TantivyError> {
        let fast = self.reader.fast_fields();
        if self.rest.get().is_none() {
            let shape = fast.u64(schema::SHAPE)?;
            let _ = self.shape.get_or_init(|| shape);
            for (slot, name) in self.places.iter().zip([schema::SOURCE_PLACE, schema::TARGET_PLACE])
            {
                let column = fast.str(name)?;
                let _ = slot.get_or_init(|| column);
            }
            let store = self.reader.get_store_reader(STORE_CACHE_BLOCKS)?;
            let _ = self.rest.get_or_init(|| store);
        }
        Ok(())
    }

    /// An attribute of a document whose attributes are not in the index; none
    /// before [`Self::open_rest`].
    pub(super) fn unlisted_attribute(&self, doc: u32, name: &str) -> Option<AttributeValue> {
        let document = Document { segment: self, doc };
        let is_there = document.shape() & (schema::HAS_REST | schema::IS_LISTED);
        if is_there != schema::HAS_REST {
            return None;
        }
        let rest: Rest = serde_json::from_slice(&document.rest()?).ok()?;
        rest.attribute(name)
    }
}

/// Decompressed blocks of stored values that a segment keeps.
const STORE_CACHE_BLOCKS: usize = 4;

struct Document<'a> {
    segment: &'a Segment,
    doc: u32,
}

fn text_at(column: &StrColumn, doc: u32) -> Option<String> {
    let mut text = String::new();
    let ordinal = column.ords().first(doc)?;
    column.ord_to_str(ordinal, &mut text).ok()?.then_some(text)
}

impl Document<'_> {
    fn column(&self, field: Field) -> Option<&AnyColumn> {
        self.segment.columns.get(field as usize)?.get()
    }
}

impl Columns for Document<'_> {
    fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        match self.column(field)? {
            AnyColumn::Text(column) => text_at(column, self.doc).map(Cow::Owned),
            _ => None,
        }
    }
    fn number(&self, field: Field) -> Option<i64> {
        match self.column(field)? {
            AnyColumn::Number(column) => column.first(self.doc),
            _ => None,
        }
    }
    fn address(&self, field: Field) -> Option<IpAddr> {
        match self.column(field)? {
            AnyColumn::Address(column) => {
                column.first(self.doc).map(|address| IpAddr::V6(address).to_canonical())
            }
            _ => None,
        }
    }
    fn id(&self) -> Option<u128> {
        Some(self.segment.id(self.doc))
    }
}

impl Stored for Document<'_> {
    fn shape(&self) -> u64 {
        self.segment.shape.get().and_then(|column| column.first(self.doc)).unwrap_or(0)
    }
    fn place(&self, name: &str) -> Option<String> {
        let [source, target] = &self.segment.places;
        let slot = if name == schema::SOURCE_PLACE { source } else { target };
        text_at(slot.get()?.as_ref()?, self.doc)
    }
    fn rest(&self) -> Option<Vec<u8>> {
        let document: TantivyDocument = self.segment.rest.get()?.get(self.doc).ok()?;
        // By name: in an index of an older format the column has another number.
        let column = self.segment.reader.schema().get_field(schema::REST).ok()?;
        let value: CompactDocValue<'_> = document.get_first(column)?;
        value.as_bytes().map(<[u8]>::to_vec)
    }
}

/// The range of instants in a segment, for skipping it.
pub(super) fn span(segment: &Segment) -> (Timestamp, Timestamp) {
    let at = Timestamp::from_millis;
    (at(segment.time.min_value()), at(segment.time.max_value()))
}
