//! CrowdSec bouncers: who they are, and what each has been told.

use palisade_event::Timestamp;
use serde::{Deserialize, Serialize};

use super::sql::{Row, sql};
use super::{State, StateError};

/// What a bouncer is told of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ranges {
    /// Small ones address by address, larger ones not at all.
    Expand,
    /// Nothing: addresses alone.
    Withhold,
    /// They are given as they are.
    Pass,
}

names!(Ranges, "use of ranges", "expand, withhold or pass",
    Expand "expand", Withhold "withhold", Pass "pass");

/// What a bouncer told of itself last. Its texts are short and have no control
/// characters: whoever writes them takes care.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BouncerUsage {
    /// What it is, such as `crowdsec-firewall-bouncer`.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// The system that it runs on, with its version.
    pub os: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// The span that it counted, in seconds.
    pub window_secs: Option<u64>,
    /// Packets that it dropped in that span.
    pub dropped_packets: Option<u64>,
    /// Their bytes.
    pub dropped_bytes: Option<u64>,
    /// Decisions that it carries out.
    pub active_decisions: Option<u64>,
    /// When the hub heard of it.
    pub told_at: Option<Timestamp>,
}

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
    /// When it last asked with success; the epoch where it never has.
    pub last_pull: Timestamp,
    /// What it told of itself, where it has.
    pub usage: Option<BouncerUsage>,
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

    /// Notes what a bouncer has been told; its usage stays as it is.
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

    /// Notes what a bouncer tells of itself; one that has never asked is known
    /// from now on.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_bouncer_usage(&self, bouncer: &Bouncer) -> Result<(), StateError> {
        let usage = bouncer.usage.as_ref().map(serde_json::to_string).transpose();
        let usage = usage.map_err(|_| StateError::Unreadable("usage of a bouncer"))?;
        sql("INSERT INTO bouncer (id, name, address, agent, last_seq, last_pull, usage)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET usage = excluded.usage")
        .bind(&bouncer.id)
        .bind(&bouncer.name)
        .bind(&bouncer.address)
        .bind(&bouncer.agent)
        .bind(i64::try_from(bouncer.last_seq).unwrap_or(i64::MAX))
        .bind(bouncer.last_pull.as_millis())
        .bind(usage)
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
    let usage: Option<String> = row.get("usage")?;
    Ok(Bouncer {
        id: row.get("id")?,
        name: row.get("name")?,
        address: row.get("address")?,
        agent: row.get("agent")?,
        last_seq: row.count("last_seq")?,
        last_pull: Timestamp::from_millis(row.get("last_pull")?),
        // A later version may write something else: then it is unknown.
        usage: usage.and_then(|text| serde_json::from_str(&text).ok()),
    })
}
