//! The query language: a closed tree, its text form, its meaning on one event.
//!
//! `text` reads the text form, `print` writes it, `meaning` says what matches
//! (the definition that every engine is held to), `field` is the table of
//! fields. A filter over something else than stored events, such as what
//! detection looks at, is the same tree and the same text over another set of
//! fields: [`FilterField`].

mod attribute;
mod field;
mod meaning;
mod pattern;
mod print;
mod text;
pub mod tokens;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::{Day, EventId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use attribute::{AttributeName, AttributeTest, ParseAttributeNameError, WrittenNumber};
pub use field::{
    Field, FieldInfo, FieldType, FilterField, MAX_COMPARED_BYTES, UnknownField, Value, compared,
    fields_markdown,
};
pub use meaning::{Wanted, in_network};
pub use pattern::{Pattern, Shape};
pub use text::{MAX_DEPTH, MAX_QUERY_BYTES, MAX_TERMS, duration};
pub use tokens::MAX_WORD_BYTES;

/// What is asked for: a time range and a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Only events in this range.
    pub range: TimeRange,
    /// Only events that match.
    pub filter: Filter,
}

impl Query {
    /// Every event.
    pub const ALL: Self = Self { range: TimeRange { from: None, to: None }, filter: Filter::All };
}

/// Half-open range `[from, to)` over `observed_at`; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant in it.
    pub from: Option<Timestamp>,
    /// First instant after it.
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// Whether an instant lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }

    /// Whether some instants of a day lie in it.
    pub fn reaches(&self, day: Day) -> bool {
        self.from.is_none_or(|from| from.day() <= day) && self.to.is_none_or(|to| day.start() < to)
    }
}

/// A tree of conditions over the fields of stored events, or over others.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter<F = Field> {
    /// Every event.
    All,
    /// Both/all of them (empty: every event).
    And(Vec<Filter<F>>),
    /// Any of them (empty: no event).
    Or(Vec<Filter<F>>),
    /// Not this.
    Not(Box<Filter<F>>),
    /// The field has a value.
    Exists(F),
    /// The field has one of these values.
    In(F, Vec<String>),
    /// The field's text begins so. Never matches fields that are not text.
    Prefix(F, String),
    /// The field's text matches a pattern: `*` is any text, `?` any one
    /// character, `\` takes the next character as it is. Never matches fields
    /// that are not text.
    Wildcard(F, String),
    /// The address lies in a network.
    Network(F, IpAddr, u8),
    /// The number or time (in milliseconds) lies in `[low, high]`, open where
    /// `None`.
    Between(F, Option<i64>, Option<i64>),
    /// The event has an attribute of this name that is as asked for.
    Attribute(AttributeName, AttributeTest),
    /// Every word of the text occurs in request, client, user, password, user
    /// agent or payload name.
    Text(String),
}

/// A place between two events in `(observed_at, id)` order. Written
/// `<milliseconds>-<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Time of the last event seen.
    pub observed_at: Timestamp,
    /// Its id.
    pub id: EventId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.observed_at.as_millis(), self.id)
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor; pass on the `next` of the page before as it is")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (millis, id) = text.rsplit_once('-').ok_or(ParseCursorError)?;
        let millis: i64 = millis.parse().map_err(|_| ParseCursorError)?;
        let id = id.parse().map_err(|_| ParseCursorError)?;
        Ok(Self { observed_at: Timestamp::from_millis(millis), id })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {at})")]
pub struct ParseError {
    /// Where, counted in characters from 0.
    pub at: usize,
    /// What was wrong and what was expected.
    pub message: String,
}

impl Query {
    /// Parses the text form. `now` resolves `since:7d`.
    ///
    /// # Errors
    /// [`ParseError`] points at the character.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, ParseError> {
        text::parse(text, now)
    }
}

impl<F: FilterField> Filter<F> {
    /// Parses the text form of conditions alone, without a time range.
    ///
    /// # Errors
    /// [`ParseError`] points at the character.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        text::parse_filter(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_before_1970_too() {
        let cursor =
            Cursor { observed_at: Timestamp::from_millis(-5), id: EventId::from_u128(u128::MAX) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "5", "-", "x-01KA7Z3N5XJ8QK2T0000000000"] {
            assert_eq!(bad.parse::<Cursor>(), Err(ParseCursorError), "{bad}");
        }
    }
}
