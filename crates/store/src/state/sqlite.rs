//! The state database as a file of SQLite.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::outage::{Outage, WhileAway};
use super::sql::{Db, Pool, sql};
use super::{StateError, StateOpenError};

/// Open connections: one that writes while another reads. Each is a thread.
const MAX_CONNECTIONS: u32 = 2;
/// How long a statement waits for another process that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement may take, with all that.
const DEADLINE: Duration = Duration::from_secs(30);
/// Page cache of one connection, in KiB (SQLite's default is 2,000).
const CACHE_KIB: u32 = 256;
/// Prepared statements kept by one connection.
const STATEMENT_CACHE: usize = 48;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Opens or creates the file and brings its tables up to date. What is written
/// is durable on return (`synchronous=FULL` in WAL mode).
pub(super) async fn open(path: &Path) -> Result<Db, StateOpenError> {
    let refuse = |reason: String| {
        let place = path.display();
        StateOpenError::Refused(format!("cannot open the state database {place}: {reason}"))
    };
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
    MIGRATIONS.run(&pool).await.map_err(|error| refuse(super::migration_failure(error)))?;
    let outage = Arc::new(Outage::new(WhileAway::Ask));
    Ok(Db { pool: Pool::Sqlite(pool), outage, deadline: DEADLINE })
}

/// Writes a copy of the database into a new file, while others read and write;
/// durable on return.
pub(super) async fn backup(db: &Db, to: &Path) -> Result<(), StateError> {
    let refused = |error: std::io::Error| StateError::Backup(to.to_owned(), error);
    if to.exists() {
        return Err(refused(std::io::ErrorKind::AlreadyExists.into()));
    }
    let Some(name) = to.to_str() else {
        return Err(refused(std::io::ErrorKind::InvalidFilename.into()));
    };
    // A copy that was not finished must not look like one.
    let unfinished = format!("{name}.unfinished");
    let gone = std::fs::remove_file(&unfinished);
    if let Err(error) = gone
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(refused(error));
    }
    sql("VACUUM INTO $1").bind(&unfinished).execute(db).await?;
    let to = to.to_owned();
    let renamed = tokio::task::spawn_blocking(move || {
        File::open(&unfinished)?.sync_all()?;
        std::fs::rename(&unfinished, &to)?;
        match to.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    })
    .await;
    renamed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(refused)
}
