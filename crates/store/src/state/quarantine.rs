//! Records that could not be understood, kept for a look at them later.
//!
//! Bounded in bytes: the oldest go first. The same record delivered again is
//! kept once.

use palisade_event::Timestamp;

use super::sql::{Purpose, Value, sql, sql_rows};
use super::{State, StateError};

/// Name of the setting that counts records dropped at the bound.
const DROPPED: &str = "quarantine.dropped";
/// Records of one statement.
const ROWS: usize = 100;
/// Records that are dropped in one step.
const OLDEST: i64 = 500;

/// A record to keep.
#[derive(Clone, Copy, Debug)]
pub struct NewQuarantined<'a> {
    /// Identifies sender and record, in hex.
    pub digest: &'a str,
    /// Who delivered it.
    pub sensor: &'a str,
    /// Why it could not be taken.
    pub reason: &'a str,
    /// Its whole length.
    pub bytes: u64,
    /// The record, or its beginning.
    pub record: &'a [u8],
}

/// A record that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Counts up; never used twice.
    pub id: i64,
    /// When it was delivered first.
    pub received_at: Timestamp,
    /// Who delivered it.
    pub sensor: String,
    /// Why it could not be taken.
    pub reason: String,
    /// Its whole length.
    pub bytes: u64,
    /// How it begins.
    pub head: Vec<u8>,
}

impl State {
    /// Keeps records, durably; then drops the oldest until all kept records
    /// have at most `max_bytes`, and counts them.
    ///
    /// Returns how many were new.
    ///
    /// # Errors
    /// [`StateError`]: none of them was kept.
    pub async fn add_quarantined(
        &self,
        records: &[NewQuarantined<'_>],
        at: Timestamp,
        max_bytes: u64,
    ) -> Result<u64, StateError> {
        let mut transaction = self.db.begin(Purpose::Write).await?;
        // The row of the counter keeps other hubs waiting, so that the bound
        // holds for all of them together.
        sql("INSERT INTO meta (name, value) VALUES ($1, '0')
             ON CONFLICT (name) DO UPDATE SET value = meta.value")
        .bind(DROPPED)
        .execute(&mut transaction)
        .await?;
        let mut added = 0;
        for records in records.chunks(ROWS) {
            let rows = records.iter().map(|record| row(record, at)).collect();
            added += sql_rows(
                "INSERT INTO quarantine
                 (digest, received_at, sensor, reason, bytes, kept_bytes, record) VALUES",
                rows,
                "ON CONFLICT (digest) DO NOTHING",
            )
            .execute(&mut transaction)
            .await?;
        }
        let mut kept =
            sql("SELECT CAST(COALESCE(SUM(kept_bytes), 0) AS BIGINT) AS kept FROM quarantine")
                .row(&mut transaction)
                .await?
                .map_or(Ok(0), |row| row.count("kept"))?;
        let mut dropped = 0;
        while kept > max_bytes {
            let oldest = sql("SELECT id, kept_bytes FROM quarantine ORDER BY id LIMIT $1")
                .bind(OLDEST)
                .rows(&mut transaction)
                .await?;
            let mut last = None;
            for row in oldest {
                if kept <= max_bytes {
                    break;
                }
                kept = kept.saturating_sub(row.count("kept_bytes")?);
                last = Some(row.get::<i64>("id")?);
            }
            let Some(last) = last else { break };
            dropped += sql("DELETE FROM quarantine WHERE id <= $1")
                .bind(last)
                .execute(&mut transaction)
                .await?;
        }
        if dropped > 0 {
            sql("UPDATE meta SET value = CAST(CAST(value AS BIGINT) + $2 AS TEXT) WHERE name = $1")
                .bind(DROPPED)
                .bind(integer(dropped))
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(added)
    }

    /// The newest records, newest first, each with its first `head_bytes`.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn quarantined(
        &self,
        limit: u32,
        head_bytes: u32,
    ) -> Result<Vec<Quarantined>, StateError> {
        sql("SELECT id, received_at, sensor, reason, bytes,
                    SUBSTR(record, 1, CAST($2 AS INTEGER)) AS head
             FROM quarantine ORDER BY id DESC LIMIT $1")
        .bind(i64::from(limit))
        .bind(i64::from(head_bytes))
        .rows(&self.db)
        .await?
        .iter()
        .map(|row| {
            Ok(Quarantined {
                id: row.get("id")?,
                received_at: Timestamp::from_millis(row.get("received_at")?),
                sensor: row.get("sensor")?,
                reason: row.get("reason")?,
                bytes: row.count("bytes")?,
                head: row.get("head")?,
            })
        })
        .collect()
    }

    /// Records that are kept, and records that were ever dropped at the bound.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn quarantine_counts(&self) -> Result<(u64, u64), StateError> {
        let kept = sql("SELECT COUNT(*) AS count FROM quarantine")
            .row(&self.db)
            .await?
            .map_or(Ok(0), |row| row.count("count"))?;
        let dropped = self.meta(DROPPED).await?;
        Ok((kept, dropped.and_then(|count| count.parse().ok()).unwrap_or(0)))
    }
}

fn row<'a>(record: &NewQuarantined<'a>, at: Timestamp) -> Vec<Value<'a>> {
    vec![
        record.digest.into(),
        at.as_millis().into(),
        record.sensor.into(),
        record.reason.into(),
        integer(record.bytes).into(),
        integer(record.record.len() as u64).into(),
        record.record.into(),
    ]
}

fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
