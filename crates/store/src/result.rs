//! What queries answer.

use palisade_event::Event;
use serde::{Deserialize, Serialize};

use crate::query::Cursor;

/// One page of events, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events.
    pub events: Vec<Event>,
    /// Give this to get the next page; `None` where this was the last.
    pub next: Option<Cursor>,
}

/// The answer to an aggregation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Aggregated {
    /// How many events.
    Count {
        /// Events.
        count: u64,
    },
    /// How many different values; `exact` tells whether it is an estimate.
    Distinct {
        /// Values.
        count: u64,
        /// Whether the count is exact.
        exact: bool,
    },
    /// Histogram (by time, zero-filled) or top-k (most first, ties by key).
    Buckets {
        /// The groups.
        buckets: Vec<Bucket>,
        /// Events in groups that were cut off (top-k) — 0 for histograms.
        other: u64,
    },
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Field values, one for each field grouped by; for a histogram the
    /// bucket's first instant.
    pub key: Vec<Key>,
    /// Events in the group.
    pub count: u64,
    /// The nested aggregation's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Box<Aggregated>>,
}

/// A field value in a bucket key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// Ports, ASNs.
    Integer(i64),
    /// Everything else, times in RFC 3339.
    Text(String),
}
