//! What to compute over matching events, and its JSON form.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Field;
use crate::QueryError;

/// Most groups a top-k may ask for.
pub const MAX_TOP: usize = 1000;
/// Most buckets of one histogram.
pub const MAX_BUCKETS: i64 = 10_000;
/// Most groups of one answer, nested ones included.
pub const MAX_GROUPS: usize = 200_000;
/// About how many buckets `"auto"` makes at most.
const AUTO_BUCKETS: i64 = 120;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What to compute over the matching events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
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

/// The JSON form: `{"type":"top","fields":["user","password"],"k":10}`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Form {
    Count {},
    Distinct {
        field: Field,
    },
    Histogram {
        interval: Interval,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Box<Aggregation>>,
    },
    Top {
        fields: Vec<Field>,
        k: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Box<Aggregation>>,
    },
}

impl From<Form> for Aggregation {
    fn from(form: Form) -> Self {
        match form {
            Form::Count {} => Self::Count,
            Form::Distinct { field } => Self::Distinct(field),
            Form::Histogram { interval, sub } => Self::Histogram(interval, sub),
            Form::Top { fields, k, sub } => Self::Top(fields, k, sub),
        }
    }
}

impl From<Aggregation> for Form {
    fn from(aggregation: Aggregation) -> Self {
        match aggregation {
            Aggregation::Count => Self::Count {},
            Aggregation::Distinct(field) => Self::Distinct { field },
            Aggregation::Histogram(interval, sub) => Self::Histogram { interval, sub },
            Aggregation::Top(fields, k, sub) => Self::Top { fields, k, sub },
        }
    }
}

impl Aggregation {
    /// Checks what every engine refuses.
    ///
    /// # Errors
    /// [`QueryError::Unsupported`] with what is allowed.
    pub fn validate(&self) -> Result<(), QueryError> {
        let no = |reason: &str| Err(QueryError::Unsupported(reason.to_owned()));
        let sub = match self {
            Self::Count | Self::Distinct(_) => return Ok(()),
            Self::Histogram(interval, sub) => {
                interval.validate()?;
                if matches!(sub.as_deref(), Some(Self::Histogram(..))) {
                    return no("a histogram cannot hold another histogram; use a shorter interval");
                }
                sub
            }
            Self::Top(fields, k, sub) => {
                if fields.is_empty() || fields.len() > 2 {
                    return no("a top groups by one or two fields");
                }
                if *k == 0 || *k > MAX_TOP {
                    return no("a top has 1 to 1000 groups");
                }
                sub
            }
        };
        match sub.as_deref() {
            Some(Self::Histogram(_, Some(_)) | Self::Top(_, _, Some(_))) => {
                no("aggregations nest two deep at most")
            }
            Some(inner) => inner.validate(),
            None => Ok(()),
        }
    }
}

/// Width of a histogram bucket, aligned to UTC. Written `5m`, `1h`, `1d`, `1mo`,
/// or `auto` for a width that suits the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// A width that gives about 60 to 120 buckets.
    Auto,
    /// Milliseconds; a divisor or a multiple of a day.
    Millis(i64),
    /// A calendar month.
    Month,
}

impl Interval {
    fn validate(self) -> Result<(), QueryError> {
        let ok = match self {
            Self::Auto | Self::Month => true,
            Self::Millis(millis) => millis > 0 && (DAY % millis == 0 || millis % DAY == 0),
        };
        if ok {
            return Ok(());
        }
        let reason = "an interval is a divisor or a multiple of a day, such as 5m, 1h or 1d, \
                      or 1mo for calendar months";
        Err(QueryError::Unsupported(reason.to_owned()))
    }

    /// The number of the bucket that an instant lies in, counted from 1970.
    fn number(self, at: i64) -> i64 {
        match self {
            Self::Auto => 0,
            Self::Millis(width) => at.div_euclid(width),
            Self::Month => month_number(at.div_euclid(DAY)),
        }
    }

    fn count(self, low: i64, high: i64) -> i64 {
        self.number(high).saturating_sub(self.number(low)).saturating_add(1)
    }

    /// The buckets of `[low, high]`: width, first bucket, how many.
    pub(crate) fn buckets(self, low: i64, high: i64) -> Result<Buckets, QueryError> {
        const NICE: [Interval; 15] = [
            Interval::Millis(1000),
            Interval::Millis(10_000),
            Interval::Millis(30_000),
            Interval::Millis(MINUTE),
            Interval::Millis(5 * MINUTE),
            Interval::Millis(15 * MINUTE),
            Interval::Millis(30 * MINUTE),
            Interval::Millis(HOUR),
            Interval::Millis(3 * HOUR),
            Interval::Millis(6 * HOUR),
            Interval::Millis(DAY),
            Interval::Millis(7 * DAY),
            Interval::Month,
            Interval::Millis(364 * DAY),
            Interval::Millis(3640 * DAY),
        ];
        let width = match self {
            Self::Auto => NICE
                .into_iter()
                .find(|width| width.count(low, high) <= AUTO_BUCKETS)
                .unwrap_or(Self::Millis(3640 * DAY)),
            given => given,
        };
        let total = width.count(low, high);
        if total > MAX_BUCKETS {
            let reason = format!(
                "the histogram would have {total} buckets, at most {MAX_BUCKETS} are made; \
                 use a longer interval or a shorter time range"
            );
            return Err(QueryError::Unsupported(reason));
        }
        Ok(Buckets { width, first: width.number(low), count: total })
    }
}

/// A histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// Their width; never [`Interval::Auto`].
    pub(crate) width: Interval,
    /// Number of the first bucket, counted from 1970.
    first: i64,
    /// How many there are.
    pub(crate) count: i64,
}

impl Buckets {
    /// The place of the bucket that an instant (in milliseconds) lies in; from 0
    /// to `count - 1` where it lies in one of them.
    pub(crate) fn number(&self, at: i64) -> i64 {
        self.width.number(at) - self.first
    }

    /// The code of the bucket at a place, where there is one.
    pub(crate) fn code(&self, number: i64) -> Option<u32> {
        let inside = (0..self.count).contains(&number);
        u32::try_from(number).ok().filter(|_| inside)
    }

    /// The first instant, in milliseconds, of the bucket at a place.
    pub(crate) fn start(&self, number: i64) -> i64 {
        let number = self.first.saturating_add(number);
        match self.width {
            Interval::Auto => 0,
            Interval::Millis(width) => number.saturating_mul(width),
            Interval::Month => month_start(number).saturating_mul(DAY),
        }
    }
}

/// Months from 1970-01 to the month of a day, days counted from 1970-01-01; the
/// Gregorian calendar's 400 years have 146,097 days (ISO 8601). Years are taken to
/// begin in March, so that the leap day is the last.
fn month_number(day: i64) -> i64 {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (era * 400 + year) * 12 + month + 2 - 1970 * 12
}

/// The first day of a month, both counted from 1970.
fn month_start(number: i64) -> i64 {
    let months = number + 1970 * 12 - 2;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day = of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5;
    era * 146_097 + day - 719_468
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Auto => f.write_str("auto"),
            Self::Month => f.write_str("1mo"),
            Self::Millis(ms) if ms % DAY == 0 => write!(f, "{}d", ms / DAY),
            Self::Millis(ms) if ms % HOUR == 0 => write!(f, "{}h", ms / HOUR),
            Self::Millis(ms) if ms % MINUTE == 0 => write!(f, "{}m", ms / MINUTE),
            Self::Millis(ms) if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            Self::Millis(ms) => write!(f, "{ms}ms"),
        }
    }
}

impl std::str::FromStr for Interval {
    type Err = QueryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => return Ok(Self::Auto),
            "1mo" => return Ok(Self::Month),
            _ => {}
        }
        let interval =
            palisade_event::query::duration(text).filter(|millis| *millis > 0).map(Self::Millis);
        let Some(interval) = interval else {
            let reason =
                "an interval is 'auto', '1mo', or a number with s, m, h, d or w, such as 5m";
            return Err(QueryError::Unsupported(reason.to_owned()));
        };
        interval.validate().map(|()| interval)
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;

    #[test]
    fn the_json_form_round_trips_and_refuses_unknown_names() {
        let json = r#"{"type":"top","fields":["user","password"],"k":10,"sub":{"type":"histogram","interval":"5m"}}"#;
        let parsed: Aggregation = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
        for bad in [
            r#"{"type":"count","x":1}"#,
            r#"{"type":"distinct","field":"contry"}"#,
            r#"{"type":"histogram","interval":"7m"}"#,
            r#"{"type":"sum"}"#,
        ] {
            assert!(serde_json::from_str::<Aggregation>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn too_deep_and_too_wide_are_refused_with_what_is_allowed() {
        let top = |sub| Aggregation::Top(vec![Field::Ip], 3, sub);
        let deep = top(Some(Box::new(top(Some(Box::new(Aggregation::Count))))));
        assert!(deep.validate().unwrap_err().to_string().contains("two deep"));
        assert!(Aggregation::Top(vec![], 3, None).validate().is_err());
        let error = Interval::Millis(60_000).buckets(0, i64::from(i32::MAX)).unwrap_err();
        assert!(error.to_string().contains("at most 10000"), "{error}");
        let auto = Interval::Auto.buckets(0, DAY - 1).unwrap();
        assert_eq!(auto.width, Interval::Millis(15 * MINUTE));
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        // Every day of 1600 to 2400, month by month, by the plain rule.
        let (mut day, mut number) = (-135_140_i64, (1600 - 1970) * 12);
        assert_eq!(month_start(number), day);
        for year in 1600..2400_i64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                assert_eq!(month_start(number), day);
                for of_month in 0..days {
                    assert_eq!(month_number(day + of_month), number);
                }
                (day, number) = (day + days, number + 1);
            }
        }
        let november: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let months = Interval::Month.buckets(0, november.as_millis()).unwrap();
        assert_eq!(months.number(november.as_millis()), months.count - 1);
        let start = Timestamp::from_millis(months.start(months.count - 1));
        assert_eq!(start.to_string(), "2026-11-01T00:00:00.000Z");
    }
}
