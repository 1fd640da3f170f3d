//! The time span of a question: `minutes=n`, `hours=n`, `days=n` or `weeks=n`.

use std::fmt;

use axum::extract::Query;
use http::Uri;
use palisade_event::Timestamp;
use palisade_store::query::TimeRange;

/// Most parameters that are looked at.
const MAX_PARAMETERS: usize = 32;
/// Longest span, in minutes: ten years.
const MAX_MINUTES: i64 = 10 * 366 * 24 * 60;
/// Units and their length in minutes.
const UNITS: [(&str, i64); 4] = [("minutes", 1), ("hours", 60), ("days", 1_440), ("weeks", 10_080)];

/// So many units until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    unit: &'static str,
    number: i64,
    minutes: i64,
}

impl Span {
    /// What is asked for without a parameter.
    const DAY: Self = Self { unit: "days", number: 1, minutes: 1_440 };

    /// The first unit that a question names; a day where it names none.
    ///
    /// # Errors
    /// One sentence where its number is none, or too large.
    pub(super) fn of(uri: &Uri) -> Result<Self, String> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| "the parameters cannot be read".to_owned())?;
        let named = pairs.iter().take(MAX_PARAMETERS).find_map(|(name, value)| {
            UNITS.iter().find(|(unit, _)| unit == name).map(|unit| (unit, value))
        });
        let Some(((unit, width), value)) = named else { return Ok(Self::DAY) };
        let most = MAX_MINUTES / width;
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|n: &i64| is_plain && (1..=most).contains(n));
        let number =
            number.ok_or_else(|| format!("{unit} must be a whole number from 1 to {most}"))?;
        Ok(Self { unit, number, minutes: number * width })
    }

    /// The instants in it.
    pub(super) fn range(self, now: Timestamp) -> TimeRange {
        let from = now.plus_millis(-self.minutes * 60_000);
        TimeRange { from: Some(from), to: Some(now.plus_millis(1)) }
    }

    /// In words: `day`, `7 days`.
    pub(super) fn words(self) -> String {
        match self.number {
            1 => self.unit.trim_end_matches('s').to_owned(),
            number => format!("{number} {}", self.unit),
        }
    }
}

/// As in a question: `days=1`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.unit, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<String, String> {
        let uri = format!("/v1/analytics/ports?{query}").parse().unwrap();
        Span::of(&uri).map(|span| span.to_string())
    }

    #[test]
    fn a_span_is_the_first_unit_that_is_named_and_a_day_without_one() {
        for (query, span) in [
            ("", "days=1"),
            ("x=1", "days=1"),
            ("minutes=90", "minutes=90"),
            ("hours=12", "hours=12"),
            ("weeks=2&days=3", "weeks=2"),
            ("days=007", "days=7"),
        ] {
            assert_eq!(of(query).as_deref(), Ok(span), "{query}");
        }
    }

    #[test]
    fn a_number_that_is_none_or_too_large_is_refused() {
        for query in [
            "days=",
            "days=x",
            "days=-1",
            "days=0",
            "days=1.5",
            "days=%2B1",
            "days=3661",
            "weeks=99999999999999999999999",
            "minutes=5270401",
        ] {
            let said = of(query).unwrap_err();
            assert!(said.contains("whole number from 1 to"), "{query}: {said}");
        }
    }

    #[test]
    fn a_span_ends_now() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let span = Span::of(&"/?hours=2".parse().unwrap()).unwrap();
        let range = span.range(now);
        assert_eq!(range.from, Some(now.plus_millis(-7_200_000)));
        assert!(range.contains(now));
        assert_eq!(span.words(), "2 hours");
        assert_eq!(Span::DAY.words(), "day");
    }
}
