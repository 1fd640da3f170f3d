//! The wire form, version 1: a JSON envelope around a list of events.
//!
//! ```json
//! {"version":1,"events":[{"id":"…","kind":"auth.attempted",…},…]}
//! ```
//!
//! The receiver takes the envelope apart first and each event by itself, so
//! that one event it cannot understand does not cost the others. The body may
//! be compressed with zstd (RFC 8878).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Event, EventId, EventKind};

/// The version of the envelope and of the event form inside it.
pub const VERSION: u32 = 1;
/// Most events of one batch.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// Longest batch in bytes, after decompression.
pub const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Longest JSON text of one event, in bytes: the text limit, six times (the
/// worst case of JSON's `\u` escapes), and room for the rest.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Room for most events, in bytes, so that writing them takes no more.
const USUAL_BYTES: usize = 512;
/// Bytes of an id as text.
const ID_BYTES: usize = 26;

/// A batch whose events are still raw text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch<'a> {
    /// Must be [`VERSION`].
    pub version: u32,
    /// One JSON text an event.
    #[serde(borrow)]
    pub events: Vec<&'a RawValue>,
}

/// A batch cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than [`MAX_BATCH_BYTES`].
    #[error("the batch has {0} bytes; at most {MAX_BATCH_BYTES} are taken, send smaller batches")]
    TooLong(usize),
    /// More than [`MAX_BATCH_EVENTS`].
    #[error("the batch has {0} events; at most {MAX_BATCH_EVENTS} are taken, send smaller batches")]
    TooMany(usize),
    /// A version this build does not know.
    #[error("the batch has version {0}; this hub understands version {VERSION}")]
    Version(u32),
    /// Not the envelope.
    #[error("the batch is not {{\"version\":1,\"events\":[…]}}: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl<'a> Batch<'a> {
    /// Takes an envelope apart, leaving its events raw.
    ///
    /// # Errors
    /// [`WireError`] where the envelope as a whole cannot be understood.
    pub fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        if body.len() > MAX_BATCH_BYTES {
            return Err(WireError::TooLong(body.len()));
        }
        let batch: Self = serde_json::from_slice(body)?;
        if batch.version != VERSION {
            return Err(WireError::Version(batch.version));
        }
        if batch.events.len() > MAX_BATCH_EVENTS {
            return Err(WireError::TooMany(batch.events.len()));
        }
        Ok(batch)
    }
}

/// An event cannot be taken as it is; it goes to quarantine.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Longer than [`MAX_EVENT_BYTES`].
    #[error("the event has {0} bytes; at most {MAX_EVENT_BYTES} are taken")]
    TooLong(usize),
    /// Not the JSON of an event.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// Breaks a limit.
    #[error("{0}")]
    Invalid(#[from] crate::Invalid),
}

/// Reads one event and checks its limits.
///
/// # Errors
/// [`EventError`] says what is wrong; nothing of the input is echoed unescaped.
pub fn decode_event(text: &[u8]) -> Result<Event, EventError> {
    if text.len() > MAX_EVENT_BYTES {
        return Err(EventError::TooLong(text.len()));
    }
    let event: Event = serde_json::from_slice(text)?;
    event.validate()?;
    Ok(event)
}

/// The id of an encoded event, without decoding it; `None` where it is not as
/// [`encode_event`] writes it.
#[must_use]
pub fn id_of(record: &[u8]) -> Option<EventId> {
    let id = record.strip_prefix(br#"{"id":""#)?.split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// The kind of an encoded event, without decoding it; `None` where it is not as
/// [`encode_event`] writes it, or of a kind that is not known.
#[must_use]
pub fn kind_of(record: &[u8]) -> Option<EventKind> {
    let rest = record.strip_prefix(br#"{"id":""#)?;
    let rest = rest.get(ID_BYTES..)?.strip_prefix(br#"","kind":""#)?;
    let kind = rest.split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(kind).ok()?.parse().ok()
}

/// Writes one event as JSON, the form it has in spools too.
#[must_use]
pub fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    encode_event_into(&mut out, event);
    out
}

/// Appends one event as [`encode_event`] writes it.
pub fn encode_event_into(out: &mut Vec<u8>, event: &Event) {
    let before = out.len();
    // Writing to memory can only fail for map keys that are no strings; there are none.
    if serde_json::to_writer(&mut *out, event).is_err() {
        out.truncate(before);
    }
}

/// Puts already encoded events into an envelope.
#[must_use]
pub fn encode_batch<T: AsRef<[u8]>>(events: &[T]) -> Vec<u8> {
    let size: usize = events.iter().map(|event| event.as_ref().len() + 1).sum();
    let mut body = Vec::with_capacity(size + 32);
    body.extend_from_slice(br#"{"version":1,"events":["#);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event.as_ref());
    }
    body.extend_from_slice(b"]}");
    body
}

/// What the hub answers to a batch, after everything in it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Events that were new.
    pub accepted: u32,
    /// Events that were here already and were not counted again.
    pub duplicate: u32,
    /// Records that could not be understood; kept by the hub, not to be sent again.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
}

/// One record that went to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// Why it could not be taken.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, EventKind, SensorId, Timestamp};

    #[test]
    fn a_batch_is_taken_apart_event_by_event() {
        let at = Timestamp::from_millis(1);
        let sensor = SensorId::new("a").unwrap();
        let event = Event::new(EventId::new(at, 1), EventKind::ConnectionOpened, at, sensor);
        let body = encode_batch(&[encode_event(&event), b"{\"id\":7}".to_vec()]);
        let batch = Batch::decode(&body).unwrap();
        assert_eq!(decode_event(batch.events[0].get().as_bytes()).unwrap(), event);
        assert!(decode_event(batch.events[1].get().as_bytes()).is_err());
        assert!(Batch::decode(&encode_batch::<Vec<u8>>(&[])).unwrap().events.is_empty());
    }

    #[test]
    fn wrong_envelopes_say_what_is_wrong() {
        let error = |body: &str| Batch::decode(body.as_bytes()).unwrap_err().to_string();
        assert!(error(r#"{"version":2,"events":[]}"#).contains("version 2"));
        assert!(error("[]").contains("the batch is not"));
        let many = format!("{{\"version\":1,\"events\":[{}0]}}", "0,".repeat(MAX_BATCH_EVENTS));
        assert!(error(&many).contains("10001 events"));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let deep = format!("{{\"version\":1,\"events\":[{}]}}", "[".repeat(1_000_000));
        assert!(Batch::decode(deep.as_bytes()).is_err());
        assert!(decode_event("[".repeat(100_000).as_bytes()).is_err());
    }
}
