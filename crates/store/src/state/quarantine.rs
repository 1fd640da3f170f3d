//! Records that could not be understood, kept for a look at them later.
//!
//! Bounded in bytes: the oldest go first. The same record delivered again is
//! kept once.

use palisade_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};

/// Name of the setting that counts records dropped at the bound.
const DROPPED: &str = "quarantine.dropped";

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
        let mut transaction = self.pool.begin().await?;
        let mut added = 0;
        for record in records {
            added += sqlx::query(
                "INSERT INTO quarantine (digest, received_at, sensor, reason, bytes, kept_bytes, record)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (digest) DO NOTHING",
            )
            .bind(record.digest)
            .bind(at.as_millis())
            .bind(record.sensor)
            .bind(record.reason)
            .bind(i64::try_from(record.bytes).unwrap_or(i64::MAX))
            .bind(i64::try_from(record.record.len()).unwrap_or(i64::MAX))
            .bind(record.record)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        }
        let mut kept: i64 =
            sqlx::query_scalar("SELECT COALESCE(SUM(kept_bytes), 0) FROM quarantine")
                .fetch_one(&mut *transaction)
                .await?;
        let max_bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let mut dropped = 0u64;
        while kept > max_bytes {
            let oldest = sqlx::query("SELECT id, kept_bytes FROM quarantine ORDER BY id LIMIT 1")
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(oldest) = oldest else { break };
            sqlx::query("DELETE FROM quarantine WHERE id = $1")
                .bind(oldest.try_get::<i64, _>("id")?)
                .execute(&mut *transaction)
                .await?;
            kept -= oldest.try_get::<i64, _>("kept_bytes")?;
            dropped += 1;
        }
        if dropped > 0 {
            sqlx::query(
                "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE
                 SET value = CAST(CAST(meta.value AS BIGINT) + $3 AS TEXT)",
            )
            .bind(DROPPED)
            .bind(dropped.to_string())
            .bind(i64::try_from(dropped).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
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
        sqlx::query(
            "SELECT id, received_at, sensor, reason, bytes, SUBSTR(record, 1, $2) AS head
             FROM quarantine ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .bind(i64::from(head_bytes))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(Quarantined {
                id: row.try_get("id")?,
                received_at: Timestamp::from_millis(row.try_get("received_at")?),
                sensor: row.try_get("sensor")?,
                reason: row.try_get("reason")?,
                bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0),
                head: row.try_get("head")?,
            })
        })
        .collect()
    }

    /// Records that are kept, and records that were ever dropped at the bound.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn quarantine_counts(&self) -> Result<(u64, u64), StateError> {
        let kept: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM quarantine").fetch_one(&self.pool).await?;
        let dropped = self.meta(DROPPED).await?;
        Ok((
            u64::try_from(kept).unwrap_or(0),
            dropped.and_then(|count| count.parse().ok()).unwrap_or(0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_go_at_the_bound_and_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let at = Timestamp::from_millis(5000);
        let mut last = "";
        for digest in ["a", "b", "c", "d", "d"] {
            let record = NewQuarantined {
                digest,
                sensor: digest,
                reason: "no JSON",
                bytes: 400,
                record: &[0xff; 400],
            };
            let added = state.add_quarantined(&[record], at, 1000).await.unwrap();
            let resent = state.add_quarantined(&[record], at, 1000).await.unwrap();
            assert_eq!((added, resent), (u64::from(digest != last), 0));
            last = digest;
        }
        assert_eq!(state.quarantine_counts().await.unwrap(), (2, 2));
        let listed = state.quarantined(10, 3).await.unwrap();
        let senders: Vec<_> = listed.iter().map(|record| record.sensor.as_str()).collect();
        assert_eq!(senders, ["d", "c"]);
        assert_eq!(
            (listed[0].head.as_slice(), listed[0].bytes, listed[0].reason.as_str()),
            ([0xff; 3].as_slice(), 400, "no JSON"),
        );
        assert_eq!(state.quarantined(1, 3).await.unwrap().len(), 1);
    }
}
