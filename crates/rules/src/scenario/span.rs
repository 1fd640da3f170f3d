//! A span of time in settings: `10s`, `5m`, `4h`, `7d`.

use std::borrow::Cow;
use std::fmt;

use palisade_event::query::duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest span, in milliseconds: ten years.
const MAX_MILLIS: i64 = 3_653 * 86_400_000;

/// A span of time, in whole milliseconds, above zero and at most ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    /// A span of so many seconds, at least one.
    #[must_use]
    pub const fn secs(secs: u32) -> Self {
        Self(if secs == 0 { 1000 } else { secs as i64 * 1000 })
    }

    /// Milliseconds.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded up.
    #[must_use]
    pub fn as_secs(self) -> u32 {
        u32::try_from((self.0 + 999) / 1000).unwrap_or(u32::MAX)
    }
}

/// The text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no span of time; expected one such as 30s, 10m, 4h or 7d, at most ten years", .0.escape_debug())]
pub struct ParseSpanError(String);

impl std::str::FromStr for Span {
    type Err = ParseSpanError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        duration(text)
            .filter(|millis| (1..=MAX_MILLIS).contains(millis))
            .map(Self)
            .ok_or_else(|| ParseSpanError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units =
            [(604_800_000, "w"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        for (millis, unit) in units {
            if self.0 % millis == 0 {
                return write!(f, "{}{unit}", self.0 / millis);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_in_the_largest_unit() {
        for text in ["500ms", "30s", "90s", "10m", "4h", "6d", "2w"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Span>().unwrap().to_string(), "1m");
        assert_eq!("1500ms".parse::<Span>().unwrap().as_secs(), 2);
        for text in ["", "5", "0s", "-1s", "1y", "9999999d", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
