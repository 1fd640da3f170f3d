//! The allowlist of the hub: whom no decision is carried out about, on any
//! machine. Beside it each agent has a list of its own.

use palisade_event::{DecisionTarget, Timestamp};

use super::sql::{Purpose, Row, Target, Tx, sql};
use super::{State, StateError, parsed};

/// Most entries that are looked at.
const MAX_READ: i64 = 100_000;

/// An entry of the hub's allowlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowEntry {
    /// Whom it spares.
    pub target: DecisionTarget,
    /// Why.
    pub reason: Option<String>,
    /// The account or key that made it.
    pub by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when; `None` for ever.
    pub until: Option<Timestamp>,
}

impl State {
    /// Adds an entry, or replaces the one about the same target, where there
    /// are fewer than `max`.
    ///
    /// # Errors
    /// [`StateError::Full`] where there are `max` of them.
    pub async fn add_allow_entry(&self, entry: &AllowEntry, max: u32) -> Result<(), StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        // Whoever expires makes room.
        sql("DELETE FROM allow_entry WHERE until_at <= $1")
            .bind(entry.created_at.as_millis())
            .execute(&mut tx)
            .await?;
        let value = entry.target.to_string();
        let count = sql("SELECT COUNT(*) AS count FROM allow_entry WHERE value <> $1")
            .bind(&value)
            .row(&mut tx)
            .await?
            .map_or(Ok(0), |row| row.count("count"))?;
        if count >= u64::from(max) {
            return Err(StateError::Full);
        }
        sql("INSERT INTO allow_entry (value, reason, created_by, created_at, until_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (value) DO UPDATE SET reason = excluded.reason,
                 created_by = excluded.created_by, created_at = excluded.created_at,
                 until_at = excluded.until_at")
        .bind(&value)
        .bind(&entry.reason)
        .bind(&entry.by)
        .bind(entry.created_at.as_millis())
        .bind(entry.until.map(Timestamp::as_millis))
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Entries that spare somebody at `now`, by target.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn allow_entries(&self, now: Timestamp) -> Result<Vec<AllowEntry>, StateError> {
        entries(&self.db, now).await
    }

    /// Removes an entry. Returns whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_allow_entry(&self, target: &DecisionTarget) -> Result<bool, StateError> {
        let done = sql("DELETE FROM allow_entry WHERE value = $1")
            .bind(target.to_string())
            .execute(&self.db)
            .await?;
        Ok(done > 0)
    }
}

/// An operator who was seen within this time is spared: an hour.
const SEEN_MILLIS: i64 = 60 * 60 * 1000;

/// Whom the entries spare at `now`, and where operators are signed in from.
pub(super) async fn targets(
    tx: &mut Tx,
    now: Timestamp,
) -> Result<Vec<DecisionTarget>, StateError> {
    let mut targets =
        sql("SELECT value FROM allow_entry WHERE until_at IS NULL OR until_at > $1 LIMIT $2")
            .bind(now.as_millis())
            .bind(MAX_READ)
            .rows(&mut *tx)
            .await?
            .iter()
            .map(|row| parsed(&row.get::<String>("value")?, "target"))
            .collect::<Result<Vec<_>, _>>()?;
    targets.extend(operators(tx, now).await?);
    Ok(targets)
}

/// Entries that spare somebody at `now`, by target.
pub(super) async fn entries<'t>(
    on: impl Into<Target<'t>>,
    now: Timestamp,
) -> Result<Vec<AllowEntry>, StateError> {
    sql("SELECT * FROM allow_entry WHERE until_at IS NULL OR until_at > $1
         ORDER BY value LIMIT $2")
    .bind(now.as_millis())
    .bind(MAX_READ)
    .rows(on)
    .await?
    .iter()
    .map(entry)
    .collect()
}

/// Where operators are signed in from.
pub(super) async fn operators(
    tx: &mut Tx,
    now: Timestamp,
) -> Result<Vec<DecisionTarget>, StateError> {
    sql("SELECT DISTINCT s.address FROM session s
         JOIN account a ON a.name = s.account
         WHERE s.address IS NOT NULL AND s.expires_at > $1 AND s.last_seen > $2
           AND a.role IN ('operator', 'admin') AND a.disabled = 0 ORDER BY s.address LIMIT 1000")
    .bind(now.as_millis())
    .bind(now.plus_millis(-SEEN_MILLIS).as_millis())
    .rows(tx)
    .await?
    .iter()
    .map(|row| parsed(&row.get::<String>("address")?, "address"))
    .collect()
}

fn entry(row: &Row) -> Result<AllowEntry, StateError> {
    Ok(AllowEntry {
        target: parsed(&row.get::<String>("value")?, "target")?,
        reason: row.get("reason")?,
        by: row.get("created_by")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        until: row.get::<Option<i64>>("until_at")?.map(Timestamp::from_millis),
    })
}
