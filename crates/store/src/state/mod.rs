//! State that is not events: accounts, sessions, keys, sensors, settings, and
//! the quarantine. One façade over SQLite; the statements keep to SQL that
//! PostgreSQL understands too.

use std::fmt;
use std::str::FromStr;

use palisade_event::Timestamp;
use serde::{Deserialize, Serialize};

/// What an account may do; see `palisade_hub::Permission`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees events.
    Viewer,
    /// Sees everything and acts on hosts.
    Operator,
    /// Also manages accounts and keys.
    Admin,
}

/// What a key may do; see `palisade_hub::Permission`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Delivers events.
    Ingest,
    /// Sees events.
    Read,
    /// Manages accounts and keys.
    Admin,
}

/// The text is not one of the known names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}; expected {expected}")]
pub struct UnknownName {
    what: &'static str,
    expected: &'static str,
    text: String,
}

macro_rules! names {
    ($type:ident, $what:literal, $expected:literal, $($variant:ident $name:literal),*) => {
        impl $type {
            /// Its lower-case name, as in the API and on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    other => Err(UnknownName {
                        what: $what,
                        expected: $expected,
                        text: other.chars().take(32).flat_map(char::escape_default).collect(),
                    }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names!(Role, "role", "viewer, operator or admin",
    Viewer "viewer", Operator "operator", Admin "admin");
names!(Scope, "scope", "ingest, read or admin", Ingest "ingest", Read "read", Admin "admin");

/// A person's account; the password hash is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// What the person types.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is shut out.
    pub disabled: bool,
}
