//! The query language: a closed tree, its text form, its meaning on one event.

use std::net::IpAddr;

use palisade_event::{Event, EventId, Timestamp};

/// What is asked for: a time range and a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Only events in this range.
    pub range: TimeRange,
    /// Only events that match.
    pub filter: Filter,
}

/// Half-open range `[from, to)` over `observed_at`; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant in it.
    pub from: Option<Timestamp>,
    /// First instant after it.
    pub to: Option<Timestamp>,
}

/// A tree of conditions.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every event.
    All,
    /// Both/all of them (empty: every event).
    And(Vec<Filter>),
    /// Any of them (empty: no event).
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// The field has a value.
    Exists(Field),
    /// The field has one of these values.
    In(Field, Vec<String>),
    /// The field's text begins so.
    Prefix(Field, String),
    /// The field's text matches a pattern of `*` and `?`.
    Wildcard(Field, String),
    /// The address lies in a network.
    Network(Field, IpAddr, u8),
    /// The number or time lies in `[low, high]`, open where `None`.
    Between(Field, Option<i64>, Option<i64>),
    /// Every word of the text occurs in request, commands, payload names.
    Text(String),
}

/// A field that can be filtered and grouped by. Names as in the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `kind`
    Kind,
    // … the store's author completes this list
}

/// A place between two events in `(observed_at, id)` order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Time of the last event seen.
    pub observed_at: Timestamp,
    /// Its id.
    pub id: EventId,
}

/// What to compute over the matching events.
#[derive(Clone, Debug, PartialEq)]
pub enum Aggregation {
    /// How many.
    Count,
    /// How many different values of a field.
    Distinct(Field),
    /// How many in each interval, zero-filled over the range.
    Histogram(Interval, Option<Box<Aggregation>>),
    /// The most frequent values of one or two fields.
    Top(Vec<Field>, usize, Option<Box<Aggregation>>),
}

/// Width of a histogram bucket, aligned to UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Milliseconds; a divisor or a multiple of a day.
    pub millis: i64,
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
        let _ = (text, now);
        todo!()
    }
    /// Whether one event matches: the definition both engines are held to.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let _ = event;
        todo!()
    }
}
