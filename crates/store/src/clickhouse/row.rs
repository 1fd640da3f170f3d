//! How an event lies in the table of events, version 2 of the schema.
//!
//! Every field of the query language is one column; an absent value is the
//! type's default, and `has` says which are there. What columns cannot give
//! back exactly (attributes, bytes that are no UTF-8, long texts, …) is JSON in
//! `rest`, which most events leave empty. `words` holds the words of free text
//! with a space around each.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr};

use palisade_event::Event;
use serde::{Deserialize, Serialize};

use super::rows::{Rows, put_text};
use super::sql::address_bits;
use crate::query::{Field, FieldType, Value, tokens};
use crate::stored::{
    self, Columns, Place, Rest, Shape, precision, precision_bits, transport, transport_bits,
};

/// Columns that are no field of the query language, in the order of a row.
pub(super) const OTHER_COLUMNS: [&str; 5] = ["target_place", "rest", "words", "has", "batch"];
/// How many of them are read back; the rest is for queries alone.
pub(super) const READ_COLUMNS: [&str; 3] = ["target_place", "rest", "has"];

/// The bit of a field in `has`. Part of the schema: never change one.
pub(super) fn bit(field: Field) -> u32 {
    match field {
        Field::Kind => 0,
        Field::Domain => 1,
        Field::Sensor => 2,
        Field::Host => 3,
        Field::Category => 4,
        Field::Ip => 5,
        Field::SourcePort => 6,
        Field::Target => 7,
        Field::Port => 8,
        Field::Transport => 9,
        Field::Session => 10,
        Field::User => 11,
        Field::Password => 12,
        Field::Outcome => 13,
        Field::Request => 14,
        Field::Client => 15,
        Field::UserAgent => 16,
        Field::Os => 17,
        Field::Hassh => 18,
        Field::Ja4 => 19,
        Field::Payload => 20,
        Field::PayloadName => 21,
        Field::Cve => 22,
        Field::Country => 23,
        Field::City => 24,
        Field::Location => 25,
        Field::Asn => 26,
        Field::Org => 27,
        Field::TargetCountry => 28,
        Field::Id => 29,
        Field::ObservedAt => 30,
        Field::ReceivedAt => 31,
        Field::Analyzer => 32,
    }
}

// Further bits of `has`: which parts an event has, both transports, the precision.
const HAS_CREDENTIALS: u64 = 1 << 48;
const HAS_FINGERPRINTS: u64 = 1 << 49;
const HAS_SOURCE_GEO: u64 = 1 << 50;
const HAS_TARGET_GEO: u64 = 1 << 51;
const SOURCE_TRANSPORT: u32 = 52;
const TARGET_TRANSPORT: u32 = 54;
const SOURCE_PRECISION: u32 = 56;

/// How a field's values lie in their column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text from a small set.
    Name,
    /// Any text.
    Text,
    Bytes16,
    U16,
    U32,
    I64,
}

/// How a field's values lie in their column.
pub(super) fn kind(field: Field) -> Kind {
    match field {
        Field::Id => Kind::Bytes16,
        Field::SourcePort | Field::Port => Kind::U16,
        Field::Asn => Kind::U32,
        Field::Session | Field::Payload | Field::PayloadName | Field::Request => Kind::Text,
        _ => match field.field_type() {
            FieldType::Ip => Kind::Bytes16,
            FieldType::Integer | FieldType::Time => Kind::I64,
            FieldType::Keyword | FieldType::Text => Kind::Name,
        },
    }
}

/// Appends an event as one row: the fields in order, then [`OTHER_COLUMNS`].
pub(super) fn encode(event: &Event, batch: u64, to: &mut Vec<u8>) {
    let mut rest = Rest::of(event);
    let mut has = bits_of(Shape::of(event));
    for field in Field::ALL {
        let value = field.value(event);
        if value.is_some() {
            has |= 1 << bit(*field);
        }
        match kind(*field) {
            Kind::Name | Kind::Text => match &value {
                Some(Value::Text(text)) => {
                    put_text(to, text.as_bytes());
                    rest.keep_text(event, *field, text);
                }
                _ => put_text(to, b""),
            },
            Kind::Bytes16 => {
                let bits = match value {
                    Some(Value::Address(address)) => address_bits(address),
                    Some(Value::Id(id)) => id,
                    _ => 0,
                };
                to.extend_from_slice(&bits.to_be_bytes());
            }
            Kind::U16 => to.extend_from_slice(&(number(value) as u16).to_le_bytes()),
            Kind::U32 => to.extend_from_slice(&(number(value) as u32).to_le_bytes()),
            Kind::I64 => to.extend_from_slice(&number(value).to_le_bytes()),
        }
    }
    // A number that Rust writes it reads back as the same, so text does for both.
    if let Some(geo) = event.source_geo.as_deref().filter(|g| g.lat.is_none() || g.lon.is_none()) {
        rest.keep_place(geo);
    }
    put_json(to, &Place::of_target(event).unwrap_or_default());
    put_json(to, &rest);
    put_text(to, words(event).as_bytes());
    to.extend_from_slice(&has.to_le_bytes());
    to.extend_from_slice(&batch.to_le_bytes());
}

/// The further bits of `has`.
fn bits_of(shape: Shape) -> u64 {
    let bit = |is: bool, bit: u64| if is { bit } else { 0 };
    bit(shape.credentials, HAS_CREDENTIALS)
        | bit(shape.fingerprints, HAS_FINGERPRINTS)
        | bit(shape.source_geo, HAS_SOURCE_GEO)
        | bit(shape.target_geo, HAS_TARGET_GEO)
        | transport_bits(shape.source_transport) << SOURCE_TRANSPORT
        | transport_bits(shape.target_transport) << TARGET_TRANSPORT
        | precision_bits(shape.precision) << SOURCE_PRECISION
}

fn shape_of(has: u64) -> Shape {
    Shape {
        credentials: has & HAS_CREDENTIALS != 0,
        fingerprints: has & HAS_FINGERPRINTS != 0,
        source_geo: has & HAS_SOURCE_GEO != 0,
        target_geo: has & HAS_TARGET_GEO != 0,
        source_transport: transport(has >> SOURCE_TRANSPORT),
        target_transport: transport(has >> TARGET_TRANSPORT),
        precision: precision(has >> SOURCE_PRECISION),
    }
}

fn number(value: Option<Value<'_>>) -> i64 {
    match value {
        Some(Value::Number(number)) => number,
        _ => 0,
    }
}

/// JSON, or nothing where there is nothing to say.
fn put_json<T: Serialize + Default + PartialEq>(to: &mut Vec<u8>, value: &T) {
    if *value == T::default() {
        return put_text(to, b"");
    }
    // Writing to memory fails for map keys that are no strings; there are none.
    put_text(to, &serde_json::to_vec(value).unwrap_or_default());
}

/// The different words of free text, a space before and after each.
fn words(event: &Event) -> String {
    let mut all = String::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut buffer = String::new();
    for text in tokens::searched(event) {
        tokens::words(&text.to_lossy(), &mut buffer, |word| {
            if !seen.contains(word) {
                seen.insert(word.to_owned());
                if all.is_empty() {
                    all.push(' ');
                }
                all.push_str(word);
                all.push(' ');
            }
        });
    }
    all
}

/// What a row's columns say.
struct Row {
    texts: Vec<(Field, String)>,
    numbers: Vec<(Field, i64)>,
    bytes: Vec<(Field, u128)>,
    has: u64,
}

impl Row {
    fn has(&self, field: Field) -> bool {
        self.has >> bit(field) & 1 == 1
    }
    fn bytes(&self, field: Field) -> Option<u128> {
        let found = self.bytes.iter().find(|(f, _)| *f == field);
        found.filter(|_| self.has(field)).map(|(_, bytes)| *bytes)
    }
}

impl Columns for Row {
    fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        let found = self.texts.iter().find(|(f, _)| *f == field);
        found.filter(|_| self.has(field)).map(|(_, text)| Cow::Borrowed(text.as_str()))
    }
    fn number(&self, field: Field) -> Option<i64> {
        let found = self.numbers.iter().find(|(f, _)| *f == field);
        found.filter(|_| self.has(field)).map(|(_, number)| *number)
    }
    fn address(&self, field: Field) -> Option<IpAddr> {
        let stored = Ipv6Addr::from_bits(self.bytes(field)?);
        Some(IpAddr::V6(stored).to_canonical())
    }
    fn id(&self) -> Option<u128> {
        self.bytes(Field::Id)
    }
}

/// Reads one row: the fields in order, then [`READ_COLUMNS`].
pub(super) fn decode<R: Read>(rows: &mut Rows<R>) -> io::Result<Event> {
    let mut row = Row { texts: Vec::new(), numbers: Vec::new(), bytes: Vec::new(), has: 0 };
    for field in Field::ALL {
        match kind(*field) {
            Kind::Name | Kind::Text => row.texts.push((*field, rows.text()?)),
            Kind::Bytes16 => row.bytes.push((*field, rows.bytes16()?)),
            Kind::U16 => row.numbers.push((*field, rows.u16()?.into())),
            Kind::U32 => row.numbers.push((*field, rows.u32()?.into())),
            Kind::I64 => row.numbers.push((*field, rows.i64()?)),
        }
    }
    let (place, rest) = (rows.text()?, rows.text()?);
    row.has = rows.u64()?;
    event(&row, &place, &rest)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a row is no event"))
}

/// `None` where the row is not as [`encode`] writes it.
fn event(row: &Row, place: &str, rest: &str) -> Option<Event> {
    stored::event(row, shape_of(row.has), json(rest)?, None, json(place)?)
}

fn json<T: Default + for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    if text.is_empty() { Some(T::default()) } else { serde_json::from_str(text).ok() }
}
