//! How an event lies in the index, format version 3.
//!
//! Every field of the query language is one column. What columns cannot give
//! back exactly (attributes, bytes that are no UTF-8, long texts, …) is JSON in
//! the one stored value of a document, which most documents do not have. The
//! words of free text are indexed without positions.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::OnceLock;

use palisade_event::Event;
use tantivy::schema::{
    BytesOptions, Field as Column, IndexRecordOption, IpAddrOptions, NumericOptions, Schema,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::attribute::{self, END, MARK};
use super::rows::Cells;
use crate::query::{Field, FieldType, Value, tokens};
use crate::stored::{
    self, Columns, Place, Rest, Shape, precision, precision_bits, transport, transport_bits,
};

/// Name of the tokenizer in the index.
pub(super) const TOKENIZER: &str = "words";
pub(super) const ID_HIGH: &str = "id_high";
pub(super) const ID_LOW: &str = "id_low";
pub(super) const SHAPE: &str = "shape";
/// A column of format version 1, in place of `location`.
pub(super) const SOURCE_PLACE: &str = "source_place";
pub(super) const TARGET_PLACE: &str = "target_place";
pub(super) const REST: &str = "rest";

/// Fields that came after format version 2. Their columns lie behind all others,
/// which so keep their numbers: a day of version 2 only needs a longer list of
/// columns.
const LATER: [Field; 1] = [Field::Analyzer];

/// The columns by number.
pub(super) struct Layout {
    pub(super) schema: Schema,
    pub(super) fields: Vec<Option<Column>>,
    id_high: Column,
    id_low: Column,
    shape: Column,
    target_place: Column,
    pub(super) words: Column,
    pub(super) rest: Column,
}

impl Layout {
    /// The column of a field; the id has two, and none of that name.
    pub(super) fn column(&self, field: Field) -> Option<Column> {
        self.fields.get(field as usize).copied().flatten()
    }
}

pub(super) fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| build(&LATER))
}

/// The columns as format version 2 had them.
pub(super) fn version_2() -> Schema {
    build(&[]).schema
}

/// All columns, with those of some of the later fields.
fn build(later: &[Field]) -> Layout {
    let mut schema = Schema::builder();
    let number = NumericOptions::default().set_fast();
    let text = TextOptions::default().set_fast("raw");
    let fields = Field::ALL.iter().map(|field| {
        let name = field.name();
        match field.field_type() {
            _ if *field == Field::Id || LATER.contains(field) => None,
            // Events of one address are looked for often, and are few.
            FieldType::Ip if *field == Field::Ip => {
                let listed = IpAddrOptions::default().set_fast().set_indexed();
                Some(schema.add_ip_addr_field(name, listed))
            }
            FieldType::Ip => {
                Some(schema.add_ip_addr_field(name, IpAddrOptions::default().set_fast()))
            }
            FieldType::Integer | FieldType::Time => {
                Some(schema.add_i64_field(name, number.clone()))
            }
            FieldType::Keyword | FieldType::Text => Some(schema.add_text_field(name, text.clone())),
        }
    });
    let mut fields: Vec<Option<Column>> = fields.collect();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let id_high = schema.add_u64_field(ID_HIGH, number.clone());
    let id_low = schema.add_u64_field(ID_LOW, number.clone());
    let shape = schema.add_u64_field(SHAPE, number);
    let target_place = schema.add_text_field(TARGET_PLACE, text.clone());
    let words = TextOptions::default().set_indexing_options(indexing);
    let words = schema.add_text_field("words", words);
    let rest = schema.add_bytes_field(REST, BytesOptions::default().set_stored());
    for field in later {
        if let Some(slot) = fields.get_mut(*field as usize) {
            *slot = Some(schema.add_text_field(field.name(), text.clone()));
        }
    }
    let schema = schema.build();
    Layout { schema, fields, id_high, id_low, shape, target_place, words, rest }
}

// Bits of the `shape` column: which parts an event has, both transports, and how
// exact the place of the source is.
const HAS_CREDENTIALS: u64 = 1;
const HAS_FINGERPRINTS: u64 = 2;
const HAS_SOURCE_GEO: u64 = 4;
const HAS_TARGET_GEO: u64 = 8;
const SOURCE_TRANSPORT: u32 = 4;
const TARGET_TRANSPORT: u32 = 6;
pub(super) const HAS_REST: u64 = 256;
const PRECISION: u32 = 9;
/// Each of its attributes is a term.
pub(super) const IS_LISTED: u64 = 1 << 11;

/// Writes an event as a document, in the order of the columns.
pub(super) fn encode(event: &Event, cells: &mut Cells<'_>) {
    let layout = layout();
    let mut rest = Rest::of(event);
    for (field, column) in Field::ALL.iter().zip(&layout.fields) {
        let Some(column) = column.filter(|_| !LATER.contains(field)) else { continue };
        if *field == Field::Location {
            let Some(geo) = event.source_geo.as_deref() else { continue };
            let is_exact = match (geo.lat, geo.lon) {
                (Some(lat), Some(lon)) => cells.location(column, lat, lon),
                (None, None) => true,
                _ => false,
            };
            if !is_exact {
                rest.keep_place(geo);
            }
            continue;
        }
        let Some(value) = field.value(event) else { continue };
        match value {
            Value::Text(text) => {
                cells.text(column, &text);
                rest.keep_text(event, *field, &text);
            }
            Value::Address(address) => cells.address(column, to_v6(address)),
            Value::Number(number) => cells.signed(column, number),
            Value::Id(_) => {}
        }
    }
    let id = event.id.as_u128();
    cells.unsigned(layout.id_high, (id >> 64) as u64);
    cells.unsigned(layout.id_low, id as u64);
    let target_place = Place::of_target(event).and_then(|place| column_text(place, &mut rest));
    let has_rest = rest != Rest::default();
    let listed = attribute::terms(event);
    let is_listed = if listed.is_some() { IS_LISTED } else { 0 };
    cells.unsigned(layout.shape, bits_of(Shape::of(event), has_rest) | is_listed);
    if let Some(text) = target_place {
        cells.text(layout.target_place, &text);
    }
    // No text may look like a term of an attribute; the mark is no part of a word.
    let texts = tokens::searched(event).map(|text| plain(text.to_lossy()));
    cells.texts(layout.words, texts.chain(listed.map(Cow::Owned)));
    if has_rest {
        // Writing to memory fails for map keys that are no strings; there are none.
        cells.json(layout.rest, &serde_json::to_string(&rest).unwrap_or_default());
    }
    for field in LATER {
        if let (Some(column), Some(Value::Text(text))) = (layout.column(field), field.value(event))
        {
            cells.text(column, &text);
        }
    }
}

/// A text without the mark of attributes.
fn plain(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.contains(MARK) {
        true => Cow::Owned(text.replace(MARK, "\0")),
        false => text,
    }
}

/// What the column `shape` says.
fn bits_of(shape: Shape, has_rest: bool) -> u64 {
    let bit = |is: bool, bit: u64| if is { bit } else { 0 };
    bit(shape.credentials, HAS_CREDENTIALS)
        | bit(shape.fingerprints, HAS_FINGERPRINTS)
        | bit(shape.source_geo, HAS_SOURCE_GEO)
        | bit(shape.target_geo, HAS_TARGET_GEO)
        | bit(has_rest, HAS_REST)
        | transport_bits(shape.source_transport) << SOURCE_TRANSPORT
        | transport_bits(shape.target_transport) << TARGET_TRANSPORT
        | precision_bits(shape.precision) << PRECISION
}

fn shape_of(bits: u64) -> Shape {
    Shape {
        credentials: bits & HAS_CREDENTIALS != 0,
        fingerprints: bits & HAS_FINGERPRINTS != 0,
        source_geo: bits & HAS_SOURCE_GEO != 0,
        target_geo: bits & HAS_TARGET_GEO != 0,
        source_transport: transport(bits >> SOURCE_TRANSPORT),
        target_transport: transport(bits >> TARGET_TRANSPORT),
        precision: precision(bits >> PRECISION),
    }
}

/// The place of the target as a column value; what is too long for that goes to `rest`.
fn column_text(place: Place, rest: &mut Rest) -> Option<String> {
    let text = serde_json::to_string(&place).unwrap_or_default();
    if text.len() > crate::query::MAX_COMPARED_BYTES {
        rest.target_place = Some(place);
        return None;
    }
    Some(text)
}

pub(super) fn to_v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// What the columns of one document say beside those of fields.
pub(super) trait Stored: Columns {
    fn shape(&self) -> u64;
    fn place(&self, column: &str) -> Option<String>;
    fn rest(&self) -> Option<Vec<u8>>;
}

/// Reads an event back; `None` where the document is not as [`encode`] writes it.
pub(super) fn decode(doc: &impl Stored) -> Option<Event> {
    let bits = doc.shape();
    let rest: Rest = match bits & HAS_REST {
        0 => Rest::default(),
        _ => serde_json::from_slice(&doc.rest()?).ok()?,
    };
    let shape = shape_of(bits);
    let place = |is_there: bool, column: &str| match doc.place(column).filter(|_| is_there) {
        Some(text) => serde_json::from_str(&text).map(Some).ok(),
        None => Some(None),
    };
    let source = place(shape.source_geo, SOURCE_PLACE)?;
    let target: Option<Place> = place(shape.target_geo, TARGET_PLACE)?;
    stored::event(doc, shape, rest, source, target.unwrap_or_default())
}

/// Splits text into the same words as [`tokens::words`], and takes terms of
/// attributes whole.
#[derive(Clone, Default)]
pub(super) struct Words {
    token: Token,
}

/// The words of one text.
pub(super) struct WordStream<'a> {
    rest: &'a str,
    token: &'a mut Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;
    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { rest: text, token: &mut self.token }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let begins = |c: char| c.is_alphanumeric() || c == MARK;
        let Some(start) = self.rest.find(begins) else { return false };
        let rest = self.rest.get(start..).unwrap_or_default();
        if rest.starts_with(MARK) {
            let (term, rest) = rest.split_once(END).unwrap_or((rest, ""));
            self.token.text.clear();
            self.token.text.push_str(term);
            self.token.position = self.token.position.wrapping_add(1);
            self.rest = rest;
            return true;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end).unwrap_or_default();
        tokens::fold(word, &mut self.token.text);
        self.token.position = self.token.position.wrapping_add(1);
        self.rest = rest;
        true
    }
    fn token(&self) -> &Token {
        self.token
    }
    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}
