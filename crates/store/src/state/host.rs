//! Machines that tell of themselves: when they were last heard, what their
//! inventory is and what is wrong with them now. What that means, and how much of
//! it is kept, is decided by the hub.

use std::net::IpAddr;

use palisade_event::{SensorId, Timestamp};
use serde::{Deserialize, Serialize};

use super::finding::{Audit, FindingChange};
use super::sql::{Purpose, Row, Tx, Value, sql, sql_rows};
use super::{State, StateError, parsed};

/// Machines of one statement.
const ROWS: usize = 100;

/// How a machine tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostSource {
    /// By an agent of ours.
    Agent,
    /// By Glimpse's script.
    Glimpse,
    /// By an AlphaClient that is asked.
    Alpha,
}

super::names!(HostSource, "source of a host", "agent, glimpse or alpha",
    Agent "agent", Glimpse "glimpse", Alpha "alpha");

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What it is known by: the sensor that its credential names, and for those
    /// that share a credential its address too.
    pub id: String,
    /// The sensor that its credential names.
    pub sensor: SensorId,
    /// How it tells of itself.
    pub source: HostSource,
    /// Its address, where it is known by that too.
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub name: Option<String>,
    /// What it called itself before.
    pub former_name: Option<String>,
    /// When it changed its name.
    pub renamed_at: Option<Timestamp>,
    /// Its operating system in a few words.
    pub os: Option<String>,
    /// The newest numbers, a JSON object.
    pub sample: Option<String>,
    /// When the hub took them.
    pub sample_at: Option<Timestamp>,
    /// How long after those before, in milliseconds.
    pub sample_gap: Option<i64>,
    /// The newest audit, a JSON object.
    pub audit: Option<String>,
    /// When the hub took it.
    pub audited_at: Option<Timestamp>,
    /// Its score, 0 to 100.
    pub score: Option<i64>,
    /// When it was first heard.
    pub first_seen: Timestamp,
    /// When it was last heard.
    pub last_seen: Timestamp,
    /// Since when it is silent, where that was noticed.
    pub silent_since: Option<Timestamp>,
}

/// A part of a section of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSection {
    /// Which section.
    pub section: String,
    /// Names the collection that it is from.
    pub snapshot: String,
    /// Which part, from 0.
    pub part: i64,
    /// Of how many.
    pub parts: i64,
    /// Entries in all parts.
    pub entries: i64,
    /// Entries that were left out.
    pub left_out: i64,
    /// A JSON list of what could not be seen.
    pub unseen: Option<String>,
    /// JSON: an object, or a list with the entries of this part.
    pub data: String,
    /// When the hub took it.
    pub at: Timestamp,
}

/// Something that is wrong with a machine now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlert {
    /// The machine.
    pub host: String,
    /// Names the alert on the machine.
    pub alert: String,
    /// What it is, a JSON object.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is new about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostUpdate {
    /// See [`Host::id`].
    pub id: String,
    /// See [`Host::sensor`].
    pub sensor: SensorId,
    /// See [`Host::source`].
    pub source: HostSource,
    /// See [`Host::address`].
    pub address: Option<IpAddr>,
    /// See [`Host::name`].
    pub name: Option<String>,
    /// See [`Host::os`].
    pub os: Option<String>,
    /// When it was heard; `None` where something was said about it, not by it.
    pub seen: Option<Timestamp>,
    /// Its newest numbers.
    pub sample: Option<(Timestamp, String)>,
    /// Parts of its inventory, the newest last.
    pub sections: Vec<HostSection>,
    /// Alerts by name: what began, and what ended (`None`), the newest last.
    pub alerts: Vec<(String, Option<(Timestamp, String)>)>,
    /// Its newest audit.
    pub audit: Option<Audit>,
    /// Findings, the newest last.
    pub findings: Vec<FindingChange>,
}

impl HostUpdate {
    /// Nothing new yet.
    #[must_use]
    pub fn new(id: String, sensor: SensorId, source: HostSource) -> Self {
        Self {
            id,
            sensor,
            source,
            address: None,
            name: None,
            os: None,
            seen: None,
            sample: None,
            sections: Vec::new(),
            alerts: Vec::new(),
            audit: None,
            findings: Vec::new(),
        }
    }
}

impl State {
    /// Machines by id.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn hosts(&self) -> Result<Vec<Host>, StateError> {
        sql("SELECT * FROM host ORDER BY id").rows(&self.db).await?.iter().map(host).collect()
    }

    /// A machine.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn host(&self, id: &str) -> Result<Option<Host>, StateError> {
        let row = sql("SELECT * FROM host WHERE id = $1").bind(id).row(&self.db).await?;
        row.map(|row| host(&row)).transpose()
    }

    /// The inventory of a machine: of each section the parts of its newest
    /// snapshot, in order.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn host_sections(&self, id: &str) -> Result<Vec<HostSection>, StateError> {
        let rows =
            sql("SELECT * FROM host_section WHERE host = $1 ORDER BY section, at DESC, part")
                .bind(id)
                .rows(&self.db)
                .await?;
        let mut sections: Vec<HostSection> = Vec::new();
        for row in &rows {
            let part = section(row)?;
            let newest = sections.iter().rev().find(|known| known.section == part.section);
            // Of an older snapshot that arrived late.
            if newest.is_none_or(|newest| newest.snapshot == part.snapshot) {
                sections.push(part);
            }
        }
        sections.sort_by(|a, b| (&a.section, a.part).cmp(&(&b.section, b.part)));
        Ok(sections)
    }

    /// What is wrong now, with one machine or with all.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn host_alerts(&self, host: Option<&str>) -> Result<Vec<HostAlert>, StateError> {
        let asked = match host {
            Some(host) => sql("SELECT * FROM host_alert WHERE host = $1 ORDER BY id").bind(host),
            None => sql("SELECT * FROM host_alert ORDER BY id"),
        };
        asked.rows(&self.db).await?.iter().map(alert).collect()
    }

    /// Notes what is new about machines, in one transaction. The same again
    /// changes nothing, and nothing that is older replaces what is newer.
    ///
    /// # Errors
    /// [`StateError`]: nothing was noted, or nobody knows; it may be repeated.
    pub async fn note_hosts(&self, updates: &[HostUpdate]) -> Result<(), StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        // In one order, so that two hubs never wait for each other's rows.
        let mut updates: Vec<&HostUpdate> = updates.iter().collect();
        updates.sort_by(|a, b| a.id.cmp(&b.id));
        // A statement may have a machine once: what follows of it goes into the next.
        let mut rest = updates.clone();
        while !rest.is_empty() {
            let mut first: Vec<&HostUpdate> = Vec::with_capacity(rest.len());
            let mut later = Vec::new();
            for update in rest {
                let known = first.last().is_some_and(|known| known.id == update.id);
                if known { later.push(update) } else { first.push(update) }
            }
            for updates in first.chunks(ROWS) {
                note_rows(&mut tx, updates).await?;
            }
            rest = later;
        }
        for update in &updates {
            for part in &update.sections {
                note_section(&mut tx, &update.id, part).await?;
            }
            for (name, begun) in &update.alerts {
                note_alert(&mut tx, &update.id, name, begun.as_ref()).await?;
            }
            super::finding::note(&mut tx, update).await?;
        }
        tx.commit().await
    }

    /// Machines that were last heard before an instant and whose silence was not
    /// noticed yet. Only those that are heard regularly.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn silent_hosts(&self, before: Timestamp) -> Result<Vec<Host>, StateError> {
        sql("SELECT * FROM host
             WHERE silent_since IS NULL AND sample_at IS NOT NULL AND last_seen < $1 ORDER BY id")
        .bind(before.as_millis())
        .rows(&self.db)
        .await?
        .iter()
        .map(host)
        .collect()
    }

    /// Machines that were heard again after their silence was noticed.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn heard_hosts(&self) -> Result<Vec<Host>, StateError> {
        sql("SELECT * FROM host
             WHERE silent_since IS NOT NULL AND last_seen > silent_since ORDER BY id")
        .rows(&self.db)
        .await?
        .iter()
        .map(host)
        .collect()
    }

    /// Notes since when a machine is silent, or that it is not any more; only
    /// where it is still as it was read.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn set_silent(
        &self,
        host: &Host,
        since: Option<Timestamp>,
    ) -> Result<(), StateError> {
        sql("UPDATE host SET silent_since = $1 WHERE id = $2
             AND COALESCE(silent_since, 0) = $3 AND (last_seen = $4 OR $5 = 1)")
        .bind(since.map(Timestamp::as_millis))
        .bind(&host.id)
        .bind(host.silent_since.map_or(0, Timestamp::as_millis))
        .bind(host.last_seen.as_millis())
        .bind(i64::from(since.is_none()))
        .execute(&self.db)
        .await
        .map(drop)
    }

    /// Forgets a machine with all that is known of it; whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_host(&self, id: &str) -> Result<bool, StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        for statement in [
            "DELETE FROM host_section WHERE host = $1",
            "DELETE FROM host_alert WHERE host = $1",
            "DELETE FROM finding WHERE host = $1",
            "DELETE FROM suppression WHERE host = $1",
        ] {
            sql(statement).bind(id).execute(&mut tx).await?;
        }
        let gone = sql("DELETE FROM host WHERE id = $1").bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(gone > 0)
    }
}

async fn note_rows(tx: &mut Tx, updates: &[&HostUpdate]) -> Result<(), StateError> {
    sql_rows(
        "INSERT INTO host (id, sensor, source, address, name, os, first_seen, last_seen, sample,
                           sample_at) VALUES",
        updates.iter().map(|update| row_of(update)).collect(),
        "ON CONFLICT (id) DO UPDATE SET
         sensor = excluded.sensor,
         source = excluded.source,
         address = COALESCE(excluded.address, host.address),
         former_name = CASE WHEN excluded.last_seen >= host.last_seen
                            AND excluded.name <> host.name
                       THEN host.name ELSE host.former_name END,
         renamed_at = CASE WHEN excluded.last_seen >= host.last_seen
                           AND excluded.name <> host.name
                      THEN excluded.last_seen ELSE host.renamed_at END,
         name = CASE WHEN excluded.last_seen < host.last_seen
                THEN COALESCE(host.name, excluded.name)
                ELSE COALESCE(excluded.name, host.name) END,
         os = COALESCE(excluded.os, host.os),
         sample_gap = CASE WHEN excluded.sample_at > host.sample_at
                      THEN excluded.sample_at - host.sample_at ELSE host.sample_gap END,
         sample = CASE WHEN excluded.sample_at < host.sample_at
                  THEN host.sample ELSE COALESCE(excluded.sample, host.sample) END,
         sample_at = CASE WHEN excluded.sample_at < host.sample_at
                     THEN host.sample_at ELSE COALESCE(excluded.sample_at, host.sample_at) END,
         first_seen = CASE WHEN excluded.first_seen > 0 AND excluded.first_seen < host.first_seen
                      THEN excluded.first_seen ELSE host.first_seen END,
         last_seen = CASE WHEN excluded.last_seen > host.last_seen
                     THEN excluded.last_seen ELSE host.last_seen END",
    )
    .execute(tx)
    .await
    .map(drop)
}

fn row_of(update: &HostUpdate) -> Vec<Value<'_>> {
    let seen = update.seen.map_or(0, Timestamp::as_millis);
    vec![
        update.id.as_str().into(),
        update.sensor.as_str().into(),
        update.source.as_str().into(),
        update.address.map(|address| address.to_string()).into(),
        (&update.name).into(),
        (&update.os).into(),
        seen.into(),
        seen.into(),
        update.sample.as_ref().map(|(_, sample)| sample.as_str()).into(),
        update.sample.as_ref().map(|(at, _)| at.as_millis()).into(),
    ]
}

/// Most parts of a machine's inventory that are kept: of 64 KiB each, so that no
/// machine takes more than 16 MiB.
const MAX_PARTS: u64 = 256;

async fn note_section(tx: &mut Tx, host: &str, part: &HostSection) -> Result<(), StateError> {
    let at = part.at.as_millis();
    let id = format!("{host}/{}/{}", part.section, part.part);
    sql("DELETE FROM host_section
         WHERE host = $1 AND section = $2 AND snapshot <> $3 AND at <= $4")
    .bind(host)
    .bind(&part.section)
    .bind(&part.snapshot)
    .bind(at)
    .execute(&mut *tx)
    .await?;
    let others = sql("SELECT COUNT(*) AS count FROM host_section WHERE host = $1 AND id <> $2")
        .bind(host)
        .bind(&id)
        .row(&mut *tx)
        .await?;
    let others = others.map_or(Ok(0), |row| row.count("count"))?;
    if others >= MAX_PARTS {
        // The section is shown as incomplete; the event has it.
        return Ok(());
    }
    sql("INSERT INTO host_section (id, host, section, snapshot, unseen, data, part, parts, entries,
                                   left_out, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET
         snapshot = excluded.snapshot, unseen = excluded.unseen, data = excluded.data,
         parts = excluded.parts, entries = excluded.entries, left_out = excluded.left_out,
         at = excluded.at
         WHERE excluded.at >= host_section.at")
    .bind(id)
    .bind(host)
    .bind(&part.section)
    .bind(&part.snapshot)
    .bind(&part.unseen)
    .bind(&part.data)
    .bind(part.part)
    .bind(part.parts)
    .bind(part.entries)
    .bind(part.left_out)
    .bind(at)
    .execute(tx)
    .await
    .map(drop)
}

async fn note_alert(
    tx: &mut Tx,
    host: &str,
    name: &str,
    begun: Option<&(Timestamp, String)>,
) -> Result<(), StateError> {
    let id = format!("{host}/{name}");
    let Some((since, detail)) = begun else {
        return sql("DELETE FROM host_alert WHERE id = $1").bind(id).execute(tx).await.map(drop);
    };
    sql("INSERT INTO host_alert (id, host, detail, since) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET detail = excluded.detail, since = excluded.since")
    .bind(id)
    .bind(host)
    .bind(detail)
    .bind(since.as_millis())
    .execute(tx)
    .await
    .map(drop)
}

fn time(row: &Row, column: &str) -> Result<Option<Timestamp>, StateError> {
    Ok(row.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
}

fn host(row: &Row) -> Result<Host, StateError> {
    let address: Option<String> = row.get("address")?;
    Ok(Host {
        id: row.get("id")?,
        sensor: parsed(&row.get::<String>("sensor")?, "sensor name")?,
        source: parsed(&row.get::<String>("source")?, "source of a host")?,
        address: address.map(|text| parsed(&text, "address")).transpose()?,
        name: row.get("name")?,
        former_name: row.get("former_name")?,
        renamed_at: time(row, "renamed_at")?,
        os: row.get("os")?,
        sample: row.get("sample")?,
        sample_at: time(row, "sample_at")?,
        sample_gap: row.get("sample_gap")?,
        audit: row.get("audit")?,
        audited_at: time(row, "audited_at")?,
        score: row.get("score")?,
        first_seen: Timestamp::from_millis(row.get("first_seen")?),
        last_seen: Timestamp::from_millis(row.get("last_seen")?),
        silent_since: time(row, "silent_since")?,
    })
}

fn section(row: &Row) -> Result<HostSection, StateError> {
    Ok(HostSection {
        section: row.get("section")?,
        snapshot: row.get("snapshot")?,
        part: row.get("part")?,
        parts: row.get("parts")?,
        entries: row.get("entries")?,
        left_out: row.get("left_out")?,
        unseen: row.get("unseen")?,
        data: row.get("data")?,
        at: Timestamp::from_millis(row.get("at")?),
    })
}

fn alert(row: &Row) -> Result<HostAlert, StateError> {
    let (id, host): (String, String) = (row.get("id")?, row.get("host")?);
    let alert = id.strip_prefix(host.as_str()).and_then(|rest| rest.strip_prefix('/'));
    Ok(HostAlert {
        alert: alert.unwrap_or(&id).to_owned(),
        host,
        detail: row.get("detail")?,
        since: Timestamp::from_millis(row.get("since")?),
    })
}
