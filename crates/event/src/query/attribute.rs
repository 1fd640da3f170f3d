//! Conditions on attributes, `attr.NAME:value`: what an event has beside its
//! fields, such as the columns of a plug-in's rows. An attribute has no fixed
//! type, so the value decides: texts compare as texts, numbers as numbers.
//!
//! Unlike fields, texts compare whole, and bytes that are no UTF-8 are like
//! nothing that can be written: only `attr.NAME:*` finds them.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

use super::pattern::{Pattern, Shape};
use crate::{AttributeValue, MAX_ATTRIBUTE_NAME_BYTES};

/// Whole numbers up to here are told apart as floating point.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The name of an attribute: 1 to 64 of a-z, 0-9 and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeName(Box<str>);

/// The text is no name of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute names are 1 to 64 of a-z, 0-9 and _")]
pub struct ParseAttributeNameError;

impl AttributeName {
    /// As it is written in an event.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttributeName {
    type Err = ParseAttributeNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = !text.is_empty() && text.len() <= MAX_ATTRIBUTE_NAME_BYTES;
        if !fits || !text.bytes().all(plain) {
            return Err(ParseAttributeNameError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeTest {
    /// It is there.
    Exists,
    /// It is one of these: the same text, the same number however it is
    /// written, or `true` and `false`.
    In(Vec<String>),
    /// It is text that begins so; nothing: it is there.
    Prefix(String),
    /// It is text that matches a pattern of `*`, `?` and `\`.
    Wildcard(String),
    /// It is a number between two bounds, which are finite.
    Range(Bound<f64>, Bound<f64>),
}

/// A number as it was written in a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrittenNumber {
    /// The whole number that it is.
    pub whole: Option<i64>,
    /// As floating point.
    pub real: f64,
}

impl WrittenNumber {
    /// `None` where the text is no finite number.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Self { whole: Some(whole), real: whole as f64 });
        }
        let real = text.parse::<f64>().ok().filter(|real| real.is_finite())?;
        let is_whole = real.fract() == 0.0 && real.abs() <= MAX_WHOLE;
        Some(Self { whole: is_whole.then_some(real as i64), real })
    }
}

impl AttributeTest {
    /// What a pattern asks for, in its simplest form.
    #[must_use]
    pub fn pattern(pattern: &str) -> Self {
        match Pattern::new(pattern).shape() {
            Shape::Everything => Self::Exists,
            Shape::Prefix(head) => Self::Prefix(head),
            Shape::Literal(text) => Self::In(vec![text]),
            Shape::Wild(pattern) => Self::Wildcard(pattern),
        }
    }

    /// A range as it is written: `>5`, `>=5`, `<5`, `<=5`, `5..9`, `5..`, `..9`.
    #[must_use]
    pub fn range(text: &str) -> Option<Self> {
        let number = |text: &str| WrittenNumber::of(text).map(|number| number.real);
        if let Some(at) = text.strip_prefix(">=") {
            return Some(Self::Range(Bound::Included(number(at)?), Bound::Unbounded));
        }
        if let Some(at) = text.strip_prefix("<=") {
            return Some(Self::Range(Bound::Unbounded, Bound::Included(number(at)?)));
        }
        if let Some(at) = text.strip_prefix('>') {
            return Some(Self::Range(Bound::Excluded(number(at)?), Bound::Unbounded));
        }
        if let Some(at) = text.strip_prefix('<') {
            return Some(Self::Range(Bound::Unbounded, Bound::Excluded(number(at)?)));
        }
        let bound = |text: &str| match text {
            "" => Some(Bound::Unbounded),
            text => number(text).map(Bound::Included),
        };
        let (low, high) = text.split_once("..")?;
        (!low.is_empty() || !high.is_empty()).then_some(())?;
        Some(Self::Range(bound(low)?, bound(high)?))
    }

    /// Whether the value of an event's attribute is as asked for.
    #[must_use]
    pub fn matches(&self, value: &AttributeValue) -> bool {
        let text = match value {
            AttributeValue::Text(text) => text.as_utf8(),
            _ => None,
        };
        match self {
            Self::Exists => true,
            Self::In(values) => values.iter().any(|wanted| match value {
                AttributeValue::Flag(have) => *wanted == have.to_string(),
                AttributeValue::Integer(have) => {
                    WrittenNumber::of(wanted).is_some_and(|number| number.whole == Some(*have))
                }
                AttributeValue::Real(have) => {
                    WrittenNumber::of(wanted).is_some_and(|number| number.real == *have)
                }
                AttributeValue::Text(_) => text == Some(wanted),
            }),
            Self::Prefix(prefix) if prefix.is_empty() => true,
            Self::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Wildcard(pattern) => match Self::pattern(pattern) {
                Self::Wildcard(pattern) => {
                    text.is_some_and(|text| Pattern::new(&pattern).matches(text))
                }
                simpler => simpler.matches(value),
            },
            Self::Range(low, high) => {
                let have = match value {
                    AttributeValue::Integer(have) => *have as f64,
                    AttributeValue::Real(have) => *have,
                    _ => return false,
                };
                is_sound(low) && is_sound(high) && (*low, *high).contains(&have)
            }
        }
    }

    /// Whether both bounds of a range are numbers.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Range(low, high) => is_sound(low) && is_sound(high),
            _ => true,
        }
    }
}

fn is_sound(bound: &Bound<f64>) -> bool {
    match bound {
        Bound::Included(at) | Bound::Excluded(at) => at.is_finite(),
        Bound::Unbounded => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Untrusted;

    fn is(test: &AttributeTest, value: impl Into<AttributeValue>) -> bool {
        test.matches(&value.into())
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let one_of = |text: &str| AttributeTest::In(vec![text.to_owned()]);
        assert!(is(&one_of("2.0"), 2_i64) && is(&one_of("2e0"), AttributeValue::Real(2.0)));
        assert!(is(&one_of("2.0"), "2.0") && !is(&one_of("2.0"), "2"));
        assert!(is(&one_of("9007199254740993"), 9_007_199_254_740_993_i64));
        assert!(!is(&one_of("9007199254740993"), 9_007_199_254_740_992_i64));
        assert!(is(&one_of("true"), true) && is(&one_of("true"), "true"));
        assert!(!is(&one_of("true"), false) && !is(&one_of("1"), true));
        assert!(!is(&one_of("inf"), AttributeValue::Real(f64::INFINITY)));
    }

    #[test]
    fn ranges_compare_numbers_alone() {
        let range = |text: &str| AttributeTest::range(text).unwrap();
        assert!(is(&range(">1"), 2_i64) && !is(&range(">1"), 1_i64) && is(&range(">=1"), 1_i64));
        assert!(is(&range(">1"), AttributeValue::Real(1.000_1)) && !is(&range(">1"), "2"));
        assert!(is(&range("-2..0.5"), 0_i64) && !is(&range("..-2"), -1_i64));
        for bad in ["", "..", "a..b", ">", ">x", "1....2", ">inf", "1", "5..x"] {
            assert_eq!(AttributeTest::range(bad), None, "{bad}");
        }
        let unsound = AttributeTest::Range(Bound::Included(f64::NEG_INFINITY), Bound::Unbounded);
        assert!(!is(&unsound, 1_i64));
    }

    #[test]
    fn patterns_look_at_text_alone() {
        assert!(is(&AttributeTest::pattern("ro*"), "root"));
        assert!(!is(&AttributeTest::pattern("1*"), 12_i64));
        assert!(is(&AttributeTest::pattern("*"), 12_i64));
        assert!(!is(&AttributeTest::pattern("?*"), Untrusted::new([0xff])));
        assert!(is(&AttributeTest::Exists, Untrusted::new([0xff])));
    }
}
