//! State that is not events: accounts, sessions, keys, sensors, settings, and
//! the quarantine. One façade over SQLite; the statements keep to SQL that
//! PostgreSQL understands too.
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
mod quarantine;
mod saved_query;
mod sensor;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use palisade_event::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use access::{ApiKey, Session};
pub use quarantine::{NewQuarantined, Quarantined};
pub use saved_query::{SavedQuery, Sharing};
pub use sensor::{Sensor, SensorKind};

use serde::{Deserialize, Serialize};

/// Open connections: one that writes while another reads. Each is a thread.
const MAX_CONNECTIONS: u32 = 2;
/// How long a statement waits for another process that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Page cache of one connection, in KiB (SQLite's default is 2,000).
const CACHE_KIB: u32 = 256;
/// Prepared statements kept by one connection.
const STATEMENT_CACHE: usize = 32;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// The state database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    pool: SqlitePool,
}

/// The state database cannot be opened; the operator must act.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the state database {}: {reason}", path.display())]
pub struct StateOpenError {
    path: PathBuf,
    reason: String,
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
    /// The database holds something that this build does not understand.
    #[error("the state database holds an unreadable {0}")]
    Unreadable(&'static str),
    /// The database failed; the operator must act.
    #[error("the state database failed: {0}")]
    Failed(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StateError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Exists,
            _ => Self::Failed(error),
        }
    }
}

impl State {
    /// Opens or creates the database file and brings its tables up to date.
    ///
    /// What a method has written is durable when it returns
    /// (`synchronous=FULL` in WAL mode).
    ///
    /// # Errors
    /// [`StateOpenError`] where the file cannot be used or is from a newer version.
    pub async fn open(path: &Path) -> Result<Self, StateOpenError> {
        let refuse = |reason: String| StateOpenError { path: path.to_owned(), reason };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENT_CACHE)
            .pragma("cache_size", format!("-{CACHE_KIB}"));
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|error| refuse(error.to_string()))?;
        MIGRATIONS.run(&pool).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(_)
            | sqlx::migrate::MigrateError::VersionTooNew(..) => {
                refuse("it was written by a newer version of this program".to_owned())
            }
            other => refuse(other.to_string()),
        })?;
        Ok(Self { pool })
    }

    /// Ends all connections; every later call fails.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A setting by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn meta(&self, name: &str) -> Result<Option<String>, StateError> {
        Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let state = State::open(&path).await.unwrap();
        assert_eq!(state.meta("a").await.unwrap(), None);
        state.set_meta("a", "1").await.unwrap();
        state.set_meta("a", "2").await.unwrap();
        state.close().await;
        let state = State::open(&path).await.unwrap();
        assert_eq!(state.meta("a").await.unwrap().as_deref(), Some("2"));
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, vec![b'x'; 4096]).unwrap();
        let error = State::open(&path).await.unwrap_err().to_string();
        assert!(error.contains("state.db"), "{error}");
    }

    #[tokio::test]
    async fn writes_are_synced_and_references_checked() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let read = |pragma: &'static str| {
            let pool = state.pool.clone();
            async move { sqlx::query_scalar::<_, i64>(pragma).fetch_one(&pool).await.unwrap() }
        };
        assert_eq!(read("PRAGMA synchronous").await, 2);
        assert_eq!(read("PRAGMA foreign_keys").await, 1);
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&state.pool).await.unwrap();
        assert_eq!(mode, "wal");
    }
}
