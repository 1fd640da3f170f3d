//! The query language of `palisade-event`, and what can be computed over the
//! events that match.

mod aggregation;

pub(crate) use aggregation::Buckets;
pub use aggregation::{Aggregation, Interval, MAX_BUCKETS, MAX_GROUPS, MAX_TOP};
pub use palisade_event::query::{
    AttributeName, AttributeTest, Cursor, Field, FieldInfo, FieldType, Filter, MAX_COMPARED_BYTES,
    MAX_DEPTH, MAX_QUERY_BYTES, MAX_TERMS, MAX_WORD_BYTES, ParseCursorError, ParseError, Query,
    TimeRange, UnknownField, fields_markdown,
};
pub(crate) use palisade_event::query::{
    Pattern, Value, Wanted, WrittenNumber, compared, in_network, tokens,
};
