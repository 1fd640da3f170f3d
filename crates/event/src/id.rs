//! Event ids: ULIDs, drawn at the sensor or derived from content.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::Timestamp;

/// Identifies one event everywhere and for ever: 48 bits of time, 80 bits of
/// entropy or content hash, written as a 26-character ULID.
///
/// Two deliveries with the same id are the same event and count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// A fresh id for something observed at `at`; the low 80 bits of `entropy`
    /// must come from a random generator.
    #[must_use]
    pub fn new(at: Timestamp, entropy: u128) -> Self {
        let millis = u64::try_from(at.as_millis()).unwrap_or(0);
        Self(Ulid::from_parts(millis, entropy).0)
    }

    /// The id of something that may be read again, such as a log line: the
    /// same `at` and `parts` always give the same id. Parts are hashed with
    /// their lengths, so `["ab", "c"]` and `["a", "bc"]` differ.
    #[must_use]
    pub fn derived(at: Timestamp, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut entropy = 0u128;
        for byte in digest.iter().take(10) {
            entropy = (entropy << 8) | u128::from(*byte);
        }
        Self::new(at, entropy)
    }

    /// The id as a number; ordered like the ids.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The inverse of [`Self::as_u128`].
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The time in the id, with millisecond resolution.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(Ulid(self.0).timestamp_ms()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ulid(self.0), f)
    }
}

/// The text is not a ULID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event id; expected a ULID of 26 characters, such as 01KA7Z3N5XJ8QK2T0000000000")]
pub struct ParseIdError;

impl FromStr for EventId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(|id| Self(id.0)).map_err(|_| ParseIdError)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = EventId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a ULID of 26 characters")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EventId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let early = EventId::new(Timestamp::from_millis(1_000), u128::MAX);
        let late = EventId::new(Timestamp::from_millis(1_001), 0);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.timestamp(), Timestamp::from_millis(1_001));
    }

    #[test]
    fn derived_ids_repeat_and_respect_part_boundaries() {
        let at = Timestamp::from_millis(1_763_669_234_000);
        let id = EventId::derived(at, &[b"ab", b"c"]);
        assert_eq!(id, EventId::derived(at, &[b"ab", b"c"]));
        assert_ne!(id, EventId::derived(at, &[b"a", b"bc"]));
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "01ARZ3NDEKTSV4RRFFQ69G5FA!"] {
            assert_eq!(text.parse::<EventId>(), Err(ParseIdError));
        }
    }
}
