//! CrowdSec bouncers: who they are, and what each has been told.

use palisade_event::Timestamp;

use super::sql::{Row, sql};
use super::{State, StateError};

/// A bouncer: one key at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bouncer {
    /// `KEY-ID/ADDRESS`.
    pub id: String,
    /// The name of the key.
    pub name: String,
    /// Where it asks from.
    pub address: String,
    /// What it calls itself.
    pub agent: String,
    /// The number of the last decision that it was told of.
    pub last_seq: u64,
    /// When it last asked with success.
    pub last_pull: Timestamp,
}

impl State {
    /// A bouncer by id.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn bouncer(&self, id: &str) -> Result<Option<Bouncer>, StateError> {
        sql("SELECT * FROM bouncer WHERE id = $1")
            .bind(id)
            .row(&self.db)
            .await?
            .map(|row| bouncer(&row))
            .transpose()
    }

    /// Bouncers by name, at most `limit`.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn bouncers(&self, limit: u32) -> Result<Vec<Bouncer>, StateError> {
        sql("SELECT * FROM bouncer ORDER BY name, id LIMIT $1")
            .bind(i64::from(limit))
            .rows(&self.db)
            .await?
            .iter()
            .map(bouncer)
            .collect()
    }

    /// Notes what a bouncer has been told.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_bouncer(&self, bouncer: &Bouncer) -> Result<(), StateError> {
        sql("INSERT INTO bouncer (id, name, address, agent, last_seq, last_pull)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, agent = excluded.agent,
                 last_seq = excluded.last_seq, last_pull = excluded.last_pull")
        .bind(&bouncer.id)
        .bind(&bouncer.name)
        .bind(&bouncer.address)
        .bind(&bouncer.agent)
        .bind(i64::try_from(bouncer.last_seq).unwrap_or(i64::MAX))
        .bind(bouncer.last_pull.as_millis())
        .execute(&self.db)
        .await
        .map(drop)
    }

    /// Forgets bouncers that have not asked since, and all but the `max` that
    /// asked last; how many.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn forget_bouncers(&self, before: Timestamp, max: u64) -> Result<u64, StateError> {
        let oldest = sql("SELECT last_pull FROM bouncer ORDER BY last_pull DESC LIMIT 1 OFFSET $1")
            .bind(i64::try_from(max).unwrap_or(i64::MAX))
            .row(&self.db)
            .await?
            .map(|row| row.get::<i64>("last_pull"))
            .transpose()?;
        let bound =
            oldest.map_or(before.as_millis(), |oldest| (oldest + 1).max(before.as_millis()));
        sql("DELETE FROM bouncer WHERE last_pull < $1").bind(bound).execute(&self.db).await
    }
}

fn bouncer(row: &Row) -> Result<Bouncer, StateError> {
    Ok(Bouncer {
        id: row.get("id")?,
        name: row.get("name")?,
        address: row.get("address")?,
        agent: row.get("agent")?,
        last_seq: row.count("last_seq")?,
        last_pull: Timestamp::from_millis(row.get("last_pull")?),
    })
}
