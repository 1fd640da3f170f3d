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

/// Width of a histogram bucket, aligned to UTC. Written `5m`, `1h`, `1d`, or
/// `auto` for a width that suits the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Milliseconds; a divisor or a multiple of a day. 0 is `auto`.
    pub millis: i64,
}

impl Interval {
    /// A width that gives about 60 to 120 buckets.
    pub const AUTO: Self = Self { millis: 0 };

    fn validate(self) -> Result<(), QueryError> {
        let ok = self.millis == 0
            || self.millis > 0 && (DAY % self.millis == 0 || self.millis % DAY == 0);
        if ok {
            return Ok(());
        }
        let reason = "an interval is a divisor or a multiple of a day, such as 5m, 1h or 1d";
        Err(QueryError::Unsupported(reason.to_owned()))
    }

    /// The buckets of `[low, high]`: width, first bucket, how many.
    pub(crate) fn buckets(self, low: i64, high: i64) -> Result<Buckets, QueryError> {
        let count = |width: i64| {
            high.div_euclid(width).saturating_sub(low.div_euclid(width)).saturating_add(1)
        };
        let width = if self.millis == 0 {
            const NICE: [i64; 14] = [
                1000,
                10_000,
                30_000,
                MINUTE,
                5 * MINUTE,
                15 * MINUTE,
                30 * MINUTE,
                HOUR,
                3 * HOUR,
                6 * HOUR,
                DAY,
                7 * DAY,
                28 * DAY,
                364 * DAY,
            ];
            NICE.into_iter().find(|width| count(*width) <= AUTO_BUCKETS).unwrap_or(3640 * DAY)
        } else {
            self.millis
        };
        let total = count(width);
        if total > MAX_BUCKETS {
            let reason = format!(
                "the histogram would have {total} buckets, at most {MAX_BUCKETS} are made; \
                 use a longer interval or a shorter time range"
            );
            return Err(QueryError::Unsupported(reason));
        }
        Ok(Buckets { width, first: low.div_euclid(width), count: total })
    }
}

/// A histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    pub(crate) width: i64,
    /// Number of the first bucket; it begins at `first * width`.
    pub(crate) first: i64,
    pub(crate) count: i64,
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.millis {
            0 => f.write_str("auto"),
            ms if ms % DAY == 0 => write!(f, "{}d", ms / DAY),
            ms if ms % HOUR == 0 => write!(f, "{}h", ms / HOUR),
            ms if ms % MINUTE == 0 => write!(f, "{}m", ms / MINUTE),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl std::str::FromStr for Interval {
    type Err = QueryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::AUTO);
        }
        let interval = super::text::duration(text).map(|millis| Self { millis });
        let Some(interval) = interval.filter(|interval| interval.millis > 0) else {
            let reason = "an interval is 'auto' or a number with s, m, h, d or w, such as 5m";
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
        let error = Interval { millis: 60_000 }.buckets(0, i64::from(i32::MAX)).unwrap_err();
        assert!(error.to_string().contains("at most 10000"), "{error}");
        assert_eq!(Interval::AUTO.buckets(0, DAY - 1).unwrap().width, 15 * MINUTE);
    }
}
