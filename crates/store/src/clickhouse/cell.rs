//! Values of fields in answers: read from a row, written as a literal, shown as
//! a key.

use std::net::{IpAddr, Ipv6Addr};

use palisade_event::{EventId, Timestamp};

use super::filter::is_mapped;
use super::http::Answer;
use super::row::{Kind, kind};
use super::sql;
use crate::Key;
use crate::query::{Field, FieldType};

/// A value as ClickHouse holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    Text(String),
    Number(i64),
    Bytes(u128),
}

impl Cell {
    /// Reads what [`select`] selects.
    pub(super) fn read(field: Field, row: &mut Answer) -> std::io::Result<Self> {
        Ok(match kind(field) {
            Kind::Name | Kind::Text => Self::Text(row.text()?),
            Kind::Bytes16 => Self::Bytes(row.bytes16()?),
            Kind::U16 | Kind::U32 | Kind::I64 => Self::Number(row.i64()?),
        })
    }

    /// The literal that is this value.
    pub(super) fn literal(&self) -> String {
        let mut literal = String::new();
        match self {
            Self::Text(text) => sql::text(&mut literal, text),
            Self::Number(number) => literal = number.to_string(),
            Self::Bytes(bytes) => sql::bytes16(&mut literal, *bytes),
        }
        literal
    }

    /// The key of a bucket.
    pub(super) fn key(&self, field: Field) -> Key {
        match self {
            Self::Text(text) => Key::Text(text.clone()),
            Self::Number(number) if field.field_type() == FieldType::Time => {
                Key::Text(Timestamp::from_millis(*number).to_string())
            }
            Self::Number(number) => Key::Integer(*number),
            Self::Bytes(id) if field == Field::Id => Key::Text(EventId::from_u128(*id).to_string()),
            Self::Bytes(bits) => {
                Key::Text(IpAddr::V6(Ipv6Addr::from_bits(*bits)).to_canonical().to_string())
            }
        }
    }
}

/// What selects a field's values.
pub(super) fn select(field: Field) -> String {
    match kind(field) {
        Kind::Name | Kind::Text | Kind::Bytes16 => format!("`{}`", field.name()),
        Kind::U16 | Kind::U32 | Kind::I64 => format!("toInt64(`{}`)", field.name()),
    }
}

/// What sorts selected values as their keys sort. Only addresses are not in the
/// order of their texts.
pub(super) fn order(field: Field, alias: &str) -> String {
    if field.field_type() != FieldType::Ip {
        return alias.to_owned();
    }
    let mapped = is_mapped(field).replace(&format!("`{}`", field.name()), alias);
    // RFC 5952 as Rust writes it: no dotted form but for mapped addresses.
    let group = |from: u32| {
        format!("replaceRegexpOne(lower(hex(substring({alias}, {from}, 2))), '^0[0]?[0]?', '')")
    };
    format!(
        "if({mapped}, IPv4NumToString(reinterpretAsUInt32(reverse(substring({alias}, 13, 4)))), \
         if(substring({alias}, 1, 12) = unhex('000000000000000000000000') \
         AND substring({alias}, 13, 2) != unhex('0000'), concat('::', {}, ':', {}), \
         IPv6NumToString({alias})))",
        group(13),
        group(15)
    )
}
