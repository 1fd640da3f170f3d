//! Moves all state from one database into another, empty one: all of it or
//! nothing. The source is only read.

use serde::Serialize;

use super::sql::{Pool, Purpose, Row, Tx, Value, sql, sql_rows, sql_text};
use super::{State, StateError};

/// Rows that are read and written at once; records of the quarantine have up
/// to 1 MiB each.
const ROWS: usize = 50;

/// A table, as it is in both databases.
struct Table {
    name: &'static str,
    /// Its primary key, the first column.
    key: &'static str,
    texts: &'static [&'static str],
    integers: &'static [&'static str],
    bytes: &'static [&'static str],
}

macro_rules! tables {
    ($($name:literal by $key:literal:
       texts $texts:expr, integers $integers:expr, bytes $bytes:expr;)*) => {
        &[$(Table {
            name: $name, key: $key, texts: &$texts, integers: &$integers, bytes: &$bytes,
        }),*]
    };
}

/// All tables; who refers to another comes after it.
const TABLES: &[Table] = tables! {
    "account" by "name": texts ["name", "password_hash", "role"],
        integers ["created_at", "disabled"], bytes [];
    "session" by "token_hash": texts ["token_hash", "account", "address", "user_agent"],
        integers ["created_at", "last_seen", "expires_at"], bytes [];
    "api_key" by "id": texts ["id", "name", "secret_hash", "scopes", "domain", "ranges"],
        integers ["created_at", "last_used_at"], bytes [];
    "sensor" by "sensor":
        texts ["sensor", "kind", "domain", "last_address", "key_id", "version"],
        integers ["first_seen", "last_seen", "events_total"], bytes [];
    "sensor_batch" by "writer": texts ["writer"], integers ["number", "at"], bytes [];
    "quarantine" by "id": texts ["digest", "sensor", "reason"],
        integers ["id", "received_at", "bytes", "kept_bytes"], bytes ["record"];
    "saved_query" by "id": texts ["id", "account", "name", "query", "options"],
        integers ["shared", "created_at", "updated_at"], bytes [];
    "ews_user" by "name": texts ["name", "token_hash", "domain", "email"],
        integers ["read_only", "community_only", "created_at", "last_used_at"], bytes [];
    "cve" by "id":
        texts ["id", "cve", "domain", "first_event", "first_source", "first_sensor", "category"],
        integers ["first_seen", "last_seen"], bytes [];
    "announcement" by "id": texts ["id", "hook", "cve"],
        integers ["created_at", "due_at", "attempts"], bytes [];
    "payload" by "sha256": texts ["sha256", "md5", "text_hash", "mime", "first_source"],
        integers ["bytes", "first_seen", "last_seen", "seen", "first_port", "kept"], bytes [];
    "decision" by "id":
        texts ["id", "type", "target", "low", "high", "scenario", "reason", "alert", "evidence",
            "origin", "origin_name", "host", "note", "withheld", "ended_by", "end_reason"],
        integers ["seq", "from_at", "duration_secs", "ended_at", "noted_at", "simulated"],
        bytes [];
    "decision_lift" by "id": texts ["id", "target", "lifted_by", "reason"],
        integers ["seq", "at", "noted_at"], bytes [];
    "allow_entry" by "value": texts ["value", "reason", "created_by"],
        integers ["created_at", "until_at"], bytes [];
    "bouncer" by "id": texts ["id", "name", "address", "agent", "usage"],
        integers ["last_seq", "last_pull"], bytes [];
    "blocklist_link" by "id": texts ["id", "format", "query", "note", "created_by"],
        integers ["created_at", "expires_at"], bytes [];
    "knock_link" by "id": texts ["id", "hash", "made_by", "account", "note", "spent_by"],
        integers ["created_at", "expires_at", "allow_secs", "spent_at"], bytes [];
    "host" by "id":
        texts ["id", "sensor", "source", "address", "name", "former_name", "os", "sample", "audit"],
        integers ["first_seen", "last_seen", "renamed_at", "sample_at", "sample_gap",
            "audited_at", "score", "silent_since"], bytes [];
    "host_section" by "id": texts ["id", "host", "section", "snapshot", "unseen", "data"],
        integers ["part", "parts", "entries", "left_out", "at"], bytes [];
    "host_alert" by "id": texts ["id", "host", "detail"], integers ["since"], bytes [];
    "finding" by "id":
        texts ["id", "host", "check_id", "title", "severity", "area", "detail", "reason"],
        integers ["opened_at", "closed_at", "changed_at"], bytes [];
    "suppression" by "id": texts ["id", "check_id", "host", "reason", "made_by"],
        integers ["created_at", "until_at"], bytes [];
    "meta" by "name": texts ["name", "value"], integers [], bytes [];
};

/// What was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
}

/// Nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The target holds something already.
    #[error("the target is not empty: its table '{table}' has {rows} row(s)")]
    NotEmpty {
        /// A table with rows.
        table: &'static str,
        /// How many.
        rows: u64,
    },
    /// Hubs work on one of the databases.
    #[error("{0} connection(s) of running hubs use this PostgreSQL database; stop them first")]
    InUse(u64),
    /// The source failed.
    #[error("the source cannot be read: {0}")]
    Read(#[source] StateError),
    /// The target failed.
    #[error("the target cannot be written: {0}")]
    Write(#[source] StateError),
    /// What arrived is not what was sent.
    #[error("the target has {found} row(s) in '{table}' instead of {expected}")]
    Differs {
        /// The table.
        table: &'static str,
        /// Rows that were sent.
        expected: u64,
        /// Rows that are there.
        found: u64,
    },
}

/// Copies every table, in one transaction of the target. No hub may run on
/// either of them meanwhile.
///
/// # Errors
/// [`MoveError`]: the target is as it was.
pub async fn move_all(from: &State, to: &State) -> Result<Vec<Moved>, MoveError> {
    let mut source = from.db.begin(Purpose::Snapshot).await.map_err(MoveError::Read)?;
    let mut target = to.db.begin(Purpose::Write).await.map_err(MoveError::Write)?;
    idle(from, &mut source).await?;
    idle(to, &mut target).await?;
    if let Pool::Postgres(_) = &to.db.pool {
        // A hub that starts now waits.
        for table in TABLES {
            sql_text(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table.name))
                .execute(&mut target)
                .await
                .map_err(MoveError::Write)?;
        }
    }
    for table in TABLES {
        let rows = count(table, &mut target).await.map_err(MoveError::Write)?;
        if rows > 0 {
            return Err(MoveError::NotEmpty { table: table.name, rows });
        }
    }
    let mut moved = Vec::new();
    for table in TABLES {
        let expected = copy(table, &mut source, &mut target).await?;
        let found = count(table, &mut target).await.map_err(MoveError::Write)?;
        if found != expected {
            return Err(MoveError::Differs { table: table.name, expected, found });
        }
        moved.push(Moved { table: table.name, rows: found });
    }
    if let Pool::Postgres(_) = &to.db.pool {
        sql("SELECT setval(pg_get_serial_sequence('quarantine', 'id'),
                           (SELECT COALESCE(MAX(id), 0) + 1 FROM quarantine), false)")
        .rows(&mut target)
        .await
        .map_err(MoveError::Write)?;
    }
    target.commit().await.map_err(MoveError::Write)?;
    Ok(moved)
}

/// Refuses where hubs are connected. A file is guarded by the lock of its
/// data directory, which the caller holds.
async fn idle(state: &State, tx: &mut Tx) -> Result<(), MoveError> {
    let Pool::Postgres(_) = &state.db.pool else { return Ok(()) };
    let hubs = sql("SELECT COUNT(*) AS hubs FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'palisade'")
    .row(tx)
    .await
    .and_then(|row| row.map_or(Ok(0), |row| row.count("hubs")))
    .map_err(MoveError::Read)?;
    if hubs == 0 { Ok(()) } else { Err(MoveError::InUse(hubs)) }
}

async fn count(table: &Table, tx: &mut Tx) -> Result<u64, StateError> {
    let row = sql_text(format!("SELECT COUNT(*) AS count FROM {}", table.name)).row(tx).await?;
    row.map_or(Ok(0), |row| row.count("count"))
}

async fn copy(table: &Table, source: &mut Tx, target: &mut Tx) -> Result<u64, MoveError> {
    let columns: Vec<&str> = [table.texts, table.integers, table.bytes].concat();
    let columns = columns.join(", ");
    let head = format!("INSERT INTO {} ({columns}) VALUES", table.name);
    let mut after: Option<Value<'static>> = None;
    let mut copied = 0;
    loop {
        let (key, name) = (table.key, table.name);
        let select = match after.take() {
            None => sql_text(format!("SELECT {columns} FROM {name} ORDER BY {key} LIMIT {ROWS}")),
            Some(last) => sql_text(format!(
                "SELECT {columns} FROM {name} WHERE {key} > $1 ORDER BY {key} LIMIT {ROWS}"
            ))
            .bind(last),
        };
        let rows = select.rows(&mut *source).await.map_err(MoveError::Read)?;
        let Some(last) = rows.last() else { return Ok(copied) };
        after = Some(key_of(table, last).map_err(MoveError::Read)?);
        let values = rows.iter().map(|row| values(table, row)).collect::<Result<Vec<_>, _>>();
        let values = values.map_err(MoveError::Read)?;
        copied += sql_rows(head.clone(), values, "")
            .execute(&mut *target)
            .await
            .map_err(MoveError::Write)?;
    }
}

fn key_of(table: &Table, row: &Row) -> Result<Value<'static>, StateError> {
    match table.integers.contains(&table.key) {
        true => Ok(row.get::<i64>(table.key)?.into()),
        false => Ok(row.get::<String>(table.key)?.into()),
    }
}

fn values(table: &Table, row: &Row) -> Result<Vec<Value<'static>>, StateError> {
    let mut values: Vec<Value<'static>> = Vec::new();
    for column in table.texts {
        values.push(row.get::<Option<String>>(column)?.into());
    }
    for column in table.integers {
        values.push(row.get::<Option<i64>>(column)?.into());
    }
    for column in table.bytes {
        values.push(row.get::<Vec<u8>>(column)?.into());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateConfig;

    /// A table or column that is forgotten here would be lost on a move.
    #[tokio::test]
    async fn every_table_and_column_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let state =
            State::open(&dir.path().join("state.db"), &StateConfig::default()).await.unwrap();
        let rows = sql("SELECT t.name AS place, c.name AS found FROM sqlite_master t
                        JOIN pragma_table_info(t.name) c
                        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
                          AND t.name <> '_sqlx_migrations'")
        .rows(&state.db)
        .await
        .unwrap();
        let mut there: Vec<(String, String)> =
            rows.iter().map(|row| (row.get("place").unwrap(), row.get("found").unwrap())).collect();
        let mut moved: Vec<(String, String)> = TABLES
            .iter()
            .flat_map(|table| {
                let columns = [table.texts, table.integers, table.bytes].concat();
                assert!(columns.contains(&table.key), "{}", table.name);
                columns.into_iter().map(|column| (table.name.to_owned(), column.to_owned()))
            })
            .collect();
        there.sort();
        moved.sort();
        assert_eq!(there, moved);
    }
}
