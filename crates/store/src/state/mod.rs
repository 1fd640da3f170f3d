//! State that is not events: accounts, sessions, keys, sensors, saved queries,
//! decisions, settings, and the quarantine. One façade over a SQLite file or a PostgreSQL
//! database that many hubs share; each statement is written once.
//!
//! Passwords, tokens and secrets never come here, only their hashes do.

macro_rules! names {
    ($type:ident, $what:literal, $expected:literal, $($variant:ident $name:literal),*) => {
        impl $type {
            /// Its lower-case name, as in the API and on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::state::UnknownName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    other => Err($crate::state::UnknownName {
                        what: $what,
                        expected: $expected,
                        text: other.chars().take(32).flat_map(char::escape_default).collect(),
                    }),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

use names;

mod access;
mod allow;
mod bouncer;
mod config;
mod cve;
mod decision;
mod decision_list;
mod decision_note;
mod directions;
mod ews_user;
mod finding;
mod host;
mod knock_link;
mod link;
mod outage;
mod payload;
mod postgres;
mod quarantine;
mod saved_query;
mod sensor;
mod sql;
mod sqlite;
mod transfer;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use palisade_event::Timestamp;

pub use access::{ApiKey, Session};
pub use allow::AllowEntry;
pub use bouncer::{Bouncer, BouncerUsage, Ranges};
pub use config::{PostgresUrl, StateConfig};
pub use cve::{Announcement, CveLimits, NotedCves, SeenCve};
pub use decision::{Cover, DecisionRecord, Heard, made_change};
pub use decision_list::{DecisionCounts, DecisionQuery, Which};
pub use decision_note::{Noted, Noting};
pub use directions::StoredDirections;
pub use ews_user::EwsUser;
pub use finding::{Audit, Finding, FindingChange, Suppression};
pub use host::{Host, HostAlert, HostSection, HostSource, HostUpdate};
pub use knock_link::KnockLink;
pub use link::BlocklistLink;
pub use payload::{Payload, PayloadQuery, PayloadSightings, PayloadTotals};
pub use postgres::ServerFacts;
pub use quarantine::{NewQuarantined, Quarantined};
pub use saved_query::{SavedQuery, Sharing};
pub use sensor::{Added, Sensor, SensorBatch, SensorKind};
pub use transfer::{MoveError, Moved, move_all};

use serde::{Deserialize, Serialize};
use sql::{Db, Pool, sql};

/// The tables are from a later version.
const NEWER: &str = "it was written by a newer version of this program";

/// The state database. Cheap to clone.
///
/// What a method has written is durable when it returns, as far as the disk
/// (SQLite) or the server (PostgreSQL) keeps its word.
#[derive(Clone, Debug)]
pub struct State {
    db: Db,
}

/// Where state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A server, which other hubs may use too.
    Postgres,
}

/// The state database cannot be opened. One sentence that says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StateOpenError {
    /// It does not answer now: trying again may help.
    #[error("{0}")]
    Unreachable(String),
    /// It will not work before the operator has acted.
    #[error("{0}")]
    Refused(String),
}

/// Reading or writing the state database failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// What was to be added is there already.
    #[error("the entry exists already")]
    Exists,
    /// What it was to belong to is not there.
    #[error("the entry that it belongs to does not exist")]
    NotFound,
    /// There are as many entries as there may be.
    #[error("there are too many entries already")]
    Full,
    /// A text has a NUL character, which PostgreSQL does not keep.
    #[error("a text may not have a NUL character")]
    Nul,
    /// The database cannot do this now: try again later. Whether what was to be
    /// written is there is unknown.
    #[error("the state database does not answer: {0}")]
    Unavailable(String),
    /// The database holds something that this build does not understand.
    #[error("the state database holds an unreadable {0}")]
    Unreadable(&'static str),
    /// A copy cannot be written.
    #[error("cannot write the copy of the state database to {}: {}", _0.display(), _1)]
    Backup(PathBuf, #[source] std::io::Error),
    /// A server's database is copied with its own tools.
    #[error("the state is in PostgreSQL; copy it with pg_dump")]
    NotAFile,
    /// The database failed; the operator must act.
    #[error("the state database failed: {0}")]
    Failed(#[source] sqlx::Error),
}

impl State {
    /// Opens the database that the settings ask for and brings its tables up to
    /// date: PostgreSQL where one is named, else the file, made if it is not
    /// there. Tries once.
    ///
    /// # Errors
    /// [`StateOpenError`]
    pub async fn open(file: &Path, config: &StateConfig) -> Result<Self, StateOpenError> {
        Self::open_as(file, config, "palisade").await
    }

    /// Like [`Self::open`], for [`move_all`]: not taken for a running hub.
    ///
    /// # Errors
    /// [`StateOpenError`]
    pub async fn open_to_move(file: &Path, config: &StateConfig) -> Result<Self, StateOpenError> {
        Self::open_as(file, config, "palisade state move").await
    }

    async fn open_as(
        file: &Path,
        config: &StateConfig,
        name: &str,
    ) -> Result<Self, StateOpenError> {
        let db = match &config.postgres {
            Some(url) => postgres::open(url, config, name).await?,
            None => sqlite::open(file).await?,
        };
        Ok(Self { db })
    }

    /// Whether a PostgreSQL database can be used: signs in and looks, changes
    /// nothing. `None` where the settings name none.
    ///
    /// # Errors
    /// [`StateOpenError`], in one sentence.
    pub async fn examine(config: &StateConfig) -> Result<Option<ServerFacts>, StateOpenError> {
        match &config.postgres {
            Some(url) => postgres::examine(url, config).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where state is kept.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match &self.db.pool {
            Pool::Sqlite(_) => Engine::Sqlite,
            Pool::Postgres(_) => Engine::Postgres,
        }
    }

    /// Why the database did not answer last, where it did not. Asks nobody.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.db.outage.reason()
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn ping(&self) -> Result<(), StateError> {
        sql("SELECT 1").rows(&self.db).await.map(drop)
    }

    /// Ends all connections; every later call fails.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// Writes a copy of the whole database into a new file while it is used;
    /// the copy is durable on return.
    ///
    /// # Errors
    /// [`StateError::NotAFile`] where state is in PostgreSQL,
    /// [`StateError::Backup`] where the file exists or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), StateError> {
        match &self.db.pool {
            Pool::Sqlite(_) => sqlite::backup(&self.db, to).await,
            Pool::Postgres(_) => Err(StateError::NotAFile),
        }
    }

    /// A setting by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn meta(&self, name: &str) -> Result<Option<String>, StateError> {
        sql("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .row(&self.db)
            .await?
            .map(|row| row.get("value"))
            .transpose()
    }

    /// Settings whose names begin so, by name. `prefix` has no `%` and no `_`.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn meta_below(&self, prefix: &str) -> Result<Vec<(String, String)>, StateError> {
        sql("SELECT name, value FROM meta WHERE name LIKE $1 ORDER BY name")
            .bind(format!("{prefix}%"))
            .rows(&self.db)
            .await?
            .iter()
            .map(|row| Ok((row.get("name")?, row.get("value")?)))
            .collect()
    }

    /// Removes a setting, where there is one.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_meta(&self, name: &str) -> Result<(), StateError> {
        sql("DELETE FROM meta WHERE name = $1").bind(name).execute(&self.db).await.map(drop)
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<(), StateError> {
        sql("INSERT INTO meta (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(&self.db)
        .await
        .map(drop)
    }
}

/// What a failed change of the tables means to the operator.
fn migration_failure(error: sqlx::migrate::MigrateError) -> String {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(_)
        | sqlx::migrate::MigrateError::VersionTooNew(..) => NEWER.to_owned(),
        other => other.to_string(),
    }
}

/// A stored text as its type; what cannot be read is an error, not a guess.
fn parsed<T: FromStr>(text: &str, what: &'static str) -> Result<T, StateError> {
    text.parse().map_err(|_| StateError::Unreadable(what))
}

/// A stored domain.
fn parsed_domain(text: &str) -> Result<palisade_event::Domain, StateError> {
    use palisade_event::Domain;
    [Domain::Community, Domain::Private]
        .into_iter()
        .find(|domain| domain.as_str() == text)
        .ok_or(StateError::Unreadable("domain"))
}

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
    /// Hears of decisions, to carry them out: an agent.
    Decisions,
    /// Hears of decisions in the dialect of CrowdSec's bouncers.
    Bouncer,
    /// Tells of machines in Glimpse's dialect, and reads what was told so.
    Glimpse,
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

names!(Role, "role", "viewer, operator or admin",
    Viewer "viewer", Operator "operator", Admin "admin");
names!(Scope, "scope", "ingest, read, decisions, bouncer, glimpse or admin",
    Ingest "ingest", Read "read", Decisions "decisions", Bouncer "bouncer", Glimpse "glimpse", Admin "admin");

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
