//! Readers of logs whose lines are JSON objects: those that honeypots write.
//!
//! A line is bounded in bytes before it is looked at and in depth by the JSON
//! reader; what is kept of it is bounded again ([`fields`]). Fields that have a
//! place in an event go there, all others become attributes.

pub(super) mod cowrie;
pub(super) mod dionaea;
mod fields;
pub(super) mod honeytrap;
pub(super) mod opencanary;
pub(super) mod suricata;

use palisade_event::{Category, Untrusted};
use serde_json::{Map, Value};

pub(crate) use fields::time;

/// Longest line, in bytes; a longer one is not understood.
pub const MAX_JSON_LINE_BYTES: usize = 1024 * 1024;
/// Longest request that is kept, in bytes.
const MAX_REQUEST_BYTES: usize = palisade_event::MAX_TEXT_BYTES;

/// The object of a line.
enum Line {
    Object(Map<String, Value>),
    /// Nothing stands in it.
    Empty,
    /// No JSON object, or too long.
    Other,
}

fn object(line: &[u8]) -> Line {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Line::Empty;
    }
    if line.len() > MAX_JSON_LINE_BYTES {
        return Line::Other;
    }
    match serde_json::from_slice(line) {
        Ok(object) => Line::Object(object),
        Err(_) => Line::Other,
    }
}

/// The constant is a valid name.
fn category(name: &str) -> Option<Category> {
    Category::new(name).ok()
}

/// As much of a text as an event may have, and whether that is all.
fn kept(bytes: &[u8]) -> (Untrusted, bool) {
    match bytes.get(..MAX_REQUEST_BYTES) {
        Some(head) if bytes.len() > MAX_REQUEST_BYTES => (Untrusted::from(head), false),
        _ => (Untrusted::from(bytes), true),
    }
}

/// Whether bytes begin as a request of HTTP/1.
fn is_http(bytes: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        b"PATCH ",
        b"TRACE ",
    ];
    METHODS.iter().any(|method| bytes.starts_with(method))
}
