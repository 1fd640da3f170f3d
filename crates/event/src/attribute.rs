//! The value of an attribute, as it is read from JSON without a detour.

use std::fmt;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::Untrusted;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number; finite.
    Real(f64),
    /// Text, possibly made by an attacker.
    Text(Untrusted),
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u64> for AttributeValue {
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for AttributeValue {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<Untrusted> for AttributeValue {
    fn from(value: Untrusted) -> Self {
        Self::Text(value)
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// By a visitor, not by serde's `untagged`: that would copy every value into a
/// tree first and try the variants in turn, which cost more than all else of
/// reading an event.
impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = AttributeValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a number, a string or {\"base64\": \"…\"}")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Flag(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Integer(value))
            }
            // What no i64 holds keeps its size, if not its last digits.
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<AttributeValue, E> {
                Ok(i64::try_from(value)
                    .map_or(AttributeValue::Real(value as f64), AttributeValue::Integer))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Real(value))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Text(text.into()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Text(text.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AttributeValue, A::Error> {
                Untrusted::deserialize(MapAccessDeserializer::new(map)).map(AttributeValue::Text)
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read_and_written_alike() {
        for (json, value) in [
            ("true", AttributeValue::Flag(true)),
            ("-7", AttributeValue::Integer(-7)),
            ("9223372036854775807", AttributeValue::Integer(i64::MAX)),
            ("0.5", AttributeValue::Real(0.5)),
            (r#""a\"b""#, AttributeValue::Text("a\"b".into())),
            (r#"{"base64":"/w=="}"#, AttributeValue::Text(Untrusted::new([0xff]))),
        ] {
            assert_eq!(serde_json::from_str::<AttributeValue>(json).unwrap(), value, "{json}");
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
        }
    }

    #[test]
    fn a_number_beyond_i64_is_kept_as_real() {
        let read: AttributeValue = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(read, AttributeValue::Real(18_446_744_073_709_551_615.0));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for json in ["null", "[1]", r#"{"base64":"?"}"#, r#"{"a":1}"#, "{}"] {
            assert!(serde_json::from_str::<AttributeValue>(json).is_err(), "{json}");
        }
    }
}
