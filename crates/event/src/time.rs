//! Points in time: UTC with millisecond resolution, and UTC days.
//!
//! Not a clock: callers read the clock and pass the value in.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MS_PER_DAY: i64 = 86_400_000;
/// 0001-01-01T00:00:00Z in milliseconds since the Unix epoch.
const MIN_MILLIS: i64 = -62_135_596_800_000;
/// 9999-12-30T22:00:00Z, the last instant the calendar library can print.
const MAX_MILLIS: i64 = 253_402_207_200_000;

/// An instant in UTC, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Written as RFC 3339 with three decimals and `Z`: `2026-11-20T20:07:14.123Z`.
/// Values are kept between the years 1 and 9999, so that every one can be
/// written and read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `millis` milliseconds after the Unix epoch (before it if
    /// negative), clamped to the years 1 to 9999.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MIN_MILLIS {
            Self(MIN_MILLIS)
        } else if millis > MAX_MILLIS {
            Self(MAX_MILLIS)
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The UTC day this instant lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(MS_PER_DAY) as i32)
    }

    /// This instant moved by `millis` milliseconds, clamped like [`Self::from_millis`].
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(at: std::time::SystemTime) -> Self {
        let millis = match at.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Self::from_millis(millis)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

/// The text is not an RFC 3339 instant with a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time; expected RFC 3339 with a zone, such as 2026-11-20T20:07:14Z")]
pub struct ParseTimeError(String);

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at: jiff::Timestamp =
            text.parse().map_err(|_| ParseTimeError(text.chars().take(64).collect()))?;
        Ok(Self::from_millis(at.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time with a zone")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A UTC calendar day, counted from 1970-01-01. Written `2026-11-20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The day `number` days after 1970-01-01.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(i64::from(self.0) * MS_PER_DAY)
    }

    /// The first instant of the day after.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp::from_millis((i64::from(self.0) + 1) * MS_PER_DAY)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.start().0) {
            Ok(at) => write!(f, "{}", at.strftime("%Y-%m-%d")),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseTimeError(text.chars().take(64).collect());
        let date: jiff::civil::Date = text.parse().map_err(|_| bad())?;
        let at = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| bad())?;
        Ok(Timestamp::from_millis(at.timestamp().as_millisecond()).day())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        let at: Timestamp = "2026-11-20T20:07:14+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-20T19:07:14.000Z");
    }

    #[test]
    fn extremes_survive_a_round_trip() {
        for millis in [i64::MIN, MIN_MILLIS, -1, 0, MAX_MILLIS, i64::MAX] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at, "{millis}");
        }
    }

    #[test]
    fn days_begin_at_midnight_utc_before_1970_too() {
        assert_eq!(Timestamp::from_millis(-1).day().to_string(), "1969-12-31");
        let day: Day = "2026-11-20".parse().unwrap();
        assert_eq!(day.start().to_string(), "2026-11-20T00:00:00.000Z");
        assert_eq!(day.end().plus_millis(-1).day(), day);
    }

    #[test]
    fn a_wrong_time_says_what_was_expected() {
        let error = "yesterday".parse::<Timestamp>().unwrap_err().to_string();
        assert!(error.contains("'yesterday'") && error.contains("RFC 3339"), "{error}");
    }
}
