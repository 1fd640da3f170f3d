//! Names that identify something of ours: sensors, hosts, sessions,
//! categories, countries. Parsed once at the edge, trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name breaks its rule; the message says which rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
    text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $max:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the rule and wraps the text.
            ///
            /// # Errors
            /// [`InvalidName`] with the rule that is broken.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let ok: fn(char) -> bool = $ok;
                if text.is_empty() || text.len() > $max || !text.chars().all(ok) {
                    let text = text.chars().take(80).flat_map(char::escape_default).collect();
                    return Err(InvalidName { what: $what, rule: $rule, text });
                }
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::parsed::parsed(deserializer)
            }
        }
    };
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

name!(
    /// The installation that observed something. Set by the hub from the
    /// credential that delivered the event, never taken from a payload.
    SensorId, "sensor name", "use 1 to 64 letters, digits, '.', '_' or '-'", 64, is_token
);
name!(
    /// The machine an event is about, as its agent names it.
    HostName, "host name", "use 1 to 253 letters, digits, '.', '_', '-' or ':'", 253,
    |c| is_token(c) || c == ':'
);
name!(
    /// One attacker connection, or one login session of a dialect.
    SessionId, "session id", "use 1 to 64 printable ASCII characters without space", 64,
    |c| c.is_ascii_graphic()
);
name!(
    /// The type of service that was attacked, in the words honeypot networks
    /// use: `SSH/console(cowrie)`, `Webpage`.
    Category, "category", "use 1 to 64 printable ASCII characters", 64,
    |c| c.is_ascii_graphic() || c == ' '
);

name!(
    /// The daemon on a host that observed something, as it names itself (the
    /// analyzer of the EWS dialect). It is never an identity: that is the sensor.
    AnalyzerName, "analyzer name", "use 1 to 128 printable ASCII characters", 128,
    |c| c.is_ascii_graphic() || c == ' '
);

name!(
    /// A scenario of detection: `ssh-bruteforce`.
    ScenarioName, "scenario name", "use 1 to 64 letters, digits, '.', '_' or '-'", 64, is_token
);
name!(
    /// What a decision does to whom it is about: `ban`, `captcha`, or another
    /// word that those who enforce it know.
    DecisionType, "decision type", "use 1 to 32 of a-z, 0-9, '_' and '-'", 32,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-')
);

/// A country: two capital letters (ISO 3166-1 alpha-2), or `PIR` for a private
/// address range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 3]);

impl CountryCode {
    /// The mark of private, loopback and otherwise not globally routed addresses.
    pub const PRIVATE: Self = Self(*b"PIR");

    /// Checks and wraps a code.
    ///
    /// # Errors
    /// [`InvalidName`] for anything but two capital letters or `PIR`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        match text.as_bytes() {
            b"PIR" => Ok(Self::PRIVATE),
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([*a, *b, 0])),
            _ => Err(InvalidName {
                what: "country code",
                rule: "use two capital letters or PIR",
                text: text.chars().take(16).flat_map(char::escape_default).collect(),
            }),
        }
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let used = if self.0 == *b"PIR" { &self.0[..] } else { &self.0[..2] };
        std::str::from_utf8(used).unwrap_or_default()
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CountryCode {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Serialize for CountryCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CountryCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::parsed::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_could_be_a_path_or_a_header() {
        for bad in ["", "a/b", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert!(SensorId::new(bad).is_err(), "{bad:?}");
        }
        assert!(SensorId::new("edge-1.example").is_ok());
    }

    #[test]
    fn an_analyzer_is_printable_and_at_most_128_characters() {
        for bad in ["", "a\tb", "é", &"x".repeat(129)] {
            assert!(AnalyzerName::new(bad).is_err(), "{bad:?}");
        }
        assert!(AnalyzerName::new("SSH/console(cowrie) #2").is_ok());
        assert!(AnalyzerName::new(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn a_refusal_names_the_rule() {
        let error = SensorId::new("a b").unwrap_err().to_string();
        assert_eq!(
            error,
            "'a b' is not a sensor name: use 1 to 64 letters, digits, '.', '_' or '-'"
        );
    }

    #[test]
    fn country_codes_are_two_letters_or_pir() {
        assert_eq!(CountryCode::new("DE").unwrap().as_str(), "DE");
        assert_eq!(CountryCode::new("PIR").unwrap(), CountryCode::PRIVATE);
        for bad in ["", "d", "de", "DEU", "P1", "\u{e9}"] {
            assert!(CountryCode::new(bad).is_err(), "{bad}");
        }
    }
}
