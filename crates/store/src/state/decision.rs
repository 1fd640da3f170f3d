//! Decisions and what has changed about them, as agents and bouncers hear of it.
//! They are noted in `decision_note.rs`, and listed for people in `decision_list.rs`.
//!
//! A number is at least the time in milliseconds at which it was given, so that
//! one from a database that was lost or set back is never taken for another.

use std::net::Ipv6Addr;

use palisade_event::{
    Change, Decision, DecisionChange, DecisionOrigin, DecisionTarget, EventId, Lift, MAX_EVIDENCE,
    MadeDecision, SensorId, Timestamp,
};

use super::sql::{Purpose, Row, Statement, Tx, sql, sql_rows};
use super::{State, StateError, parsed};

/// The setting with the last number.
pub(super) const SEQ: &str = "decision-seq";
/// The setting with the highest number of a lift that was forgotten.
pub(super) const FLOOR: &str = "decision-floor";
/// Rows of one statement.
pub(super) const ROWS: usize = 100;

/// A decision as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRecord {
    /// The decision, who made it, and the note.
    pub made: MadeDecision,
    /// Its number, where it is or was carried out.
    pub seq: Option<u64>,
    /// When the hub heard of it.
    pub noted_at: Timestamp,
    /// When it is over.
    pub ended_at: Timestamp,
    /// Who ended it before its time.
    pub ended_by: Option<String>,
    /// Why.
    pub end_reason: Option<String>,
    /// The allowlist entry that withholds it.
    pub withheld: Option<String>,
}

impl DecisionRecord {
    /// Whether it is to be carried out at `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.seq.is_some() && self.ended_at > now
    }
}

/// What is known of what somebody has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Changes after what was heard, oldest first, and the last number given.
    Changes(Vec<DecisionChange>, u64),
    /// The hub cannot say what is missing.
    Unknown,
}

impl State {
    /// The last number that was given.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decision_head(&self) -> Result<u64, StateError> {
        Ok(self.meta(SEQ).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// At most `limit` changes after a number that somebody has heard last.
    /// Decisions that are over are left out.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn changes_after(
        &self,
        cursor: u64,
        limit: u32,
        now: Timestamp,
    ) -> Result<Heard, StateError> {
        let after = i64::try_from(cursor).unwrap_or(i64::MAX);
        let mut tx = self.db.begin(Purpose::Snapshot).await?;
        let head = number(&mut tx, SEQ).await?;
        if cursor != head {
            let floor = number(&mut tx, FLOOR).await?;
            let known = sql("SELECT seq FROM decision WHERE seq = $1
                 UNION ALL SELECT seq FROM decision_lift WHERE seq = $1")
            .bind(after)
            .row(&mut tx)
            .await?;
            // Who has heard nothing misses nothing as long as all is there.
            if cursor < floor || (known.is_none() && cursor != 0) {
                return Ok(Heard::Unknown);
            }
        }
        let made = sql("SELECT * FROM decision WHERE seq > $1 AND ended_at > $2
             ORDER BY seq LIMIT $3")
        .bind(after)
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .rows(&mut tx)
        .await?;
        let lifted = sql("SELECT * FROM decision_lift WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(after)
            .bind(i64::from(limit))
            .rows(&mut tx)
            .await?;
        let mut changes = Vec::with_capacity(made.len() + lifted.len());
        for row in &made {
            changes.extend(made_change(record(row)?));
        }
        for row in &lifted {
            changes.push(lift_change(row)?);
        }
        changes.sort_by_key(|change| change.seq);
        changes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Heard::Changes(changes, head))
    }

    /// Decisions in force with numbers above `after` and up to `until`, by number.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decisions_between(
        &self,
        after: u64,
        until: u64,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        sql("SELECT * FROM decision WHERE seq > $1 AND seq <= $2 AND ended_at > $3
             ORDER BY seq LIMIT $4")
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(i64::try_from(until).unwrap_or(i64::MAX))
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .rows(&self.db)
        .await?
        .iter()
        .map(record)
        .collect()
    }

    /// Decisions that were carried out and ended after one time and up to
    /// another one; the last `limit` of them.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decisions_ended(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        sql("SELECT * FROM decision WHERE ended_at > $1 AND ended_at <= $2 AND seq IS NOT NULL
             ORDER BY ended_at DESC LIMIT $3")
        .bind(after.as_millis())
        .bind(until.as_millis())
        .bind(i64::from(limit))
        .rows(&self.db)
        .await?
        .iter()
        .map(record)
        .collect()
    }

    /// Decisions in force about any of these targets.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn active_about(
        &self,
        targets: &[String],
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        let mut found = Vec::new();
        for part in targets.chunks(ROWS) {
            let mut statement = among(
                "SELECT * FROM decision WHERE seq IS NOT NULL AND target",
                part,
                "AND ended_at > ",
            );
            statement.push_bind(now.as_millis());
            for row in statement.rows(&self.db).await? {
                found.push(record(&row)?);
            }
        }
        Ok(found)
    }

    /// Decisions in force whose target holds all of `target`, or with
    /// [`Cover::Inside`] lies inside it; by number.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn active_covering(
        &self,
        target: &DecisionTarget,
        cover: Cover,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        let (low, high) = hex_bounds(target);
        let found = match cover {
            Cover::Around => sql("SELECT * FROM decision WHERE low <= $1 AND high >= $2
                 AND seq IS NOT NULL AND ended_at > $3 ORDER BY seq LIMIT $4"),
            Cover::Inside => sql("SELECT * FROM decision WHERE low >= $1 AND high <= $2
                 AND seq IS NOT NULL AND ended_at > $3 ORDER BY seq LIMIT $4"),
        };
        found
            .bind(low)
            .bind(high)
            .bind(now.as_millis())
            .bind(i64::from(limit))
            .rows(&self.db)
            .await?
            .iter()
            .map(record)
            .collect()
    }

    /// Decisions in force about networks, by number.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn active_networks(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        sql("SELECT * FROM decision WHERE low <> high AND seq IS NOT NULL AND ended_at > $1
             ORDER BY seq LIMIT $2")
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .rows(&self.db)
        .await?
        .iter()
        .map(record)
        .collect()
    }

    /// A decision by id.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decision(&self, id: EventId) -> Result<Option<DecisionRecord>, StateError> {
        sql("SELECT * FROM decision WHERE id = $1")
            .bind(id.to_string())
            .row(&self.db)
            .await?
            .map(|row| record(&row))
            .transpose()
    }

    /// How many decisions are in force.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn active_decisions(&self, now: Timestamp) -> Result<u64, StateError> {
        sql("SELECT COUNT(*) AS count FROM decision WHERE ended_at > $1 AND seq IS NOT NULL")
            .bind(now.as_millis())
            .row(&self.db)
            .await?
            .map_or(Ok(0), |row| row.count("count"))
    }
}

/// How a decision's target relates to the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// It holds all of it.
    Around,
    /// It lies inside it.
    Inside,
}

/// A decision in force as a change of the feed.
#[must_use]
pub fn made_change(record: DecisionRecord) -> Option<DecisionChange> {
    let seq = record.seq?;
    Some(DecisionChange { seq, change: Change::Made(Box::new(record.made)) })
}

async fn number(tx: &mut Tx, name: &'static str) -> Result<u64, StateError> {
    let row = sql("SELECT value FROM meta WHERE name = $1").bind(name).row(tx).await?;
    row.map_or(Ok(0), |row| parsed(&row.get::<String>("value")?, "number of decisions"))
}

/// `head IN (…)`.
pub(super) fn among<'a>(head: &str, texts: &'a [String], tail: &'static str) -> Statement<'a> {
    let rows = texts.iter().map(|text| vec![text.into()]).collect();
    let mut statement = sql_rows(format!("{head} IN (VALUES"), rows, ") ");
    statement.push(tail);
    statement
}

/// First and last address as text that sorts like them.
pub(super) fn hex_bounds(target: &DecisionTarget) -> (String, String) {
    let hex = |address: Ipv6Addr| format!("{:032x}", address.to_bits());
    let (low, high) = target.bounds();
    (hex(low), hex(high))
}

fn lift_change(row: &Row) -> Result<DecisionChange, StateError> {
    let lift = Lift {
        target: parsed(&row.get::<String>("target")?, "target")?,
        by: row.get::<String>("lifted_by")?.into(),
        at: Timestamp::from_millis(row.get("at")?),
        reason: row.get::<Option<String>>("reason")?.map(Into::into),
    };
    Ok(DecisionChange { seq: row.count("seq")?, change: Change::Lifted(lift) })
}

pub(super) fn record(row: &Row) -> Result<DecisionRecord, StateError> {
    let name = |what| row.get::<Option<String>>("origin_name")?.ok_or(StateError::Unreadable(what));
    let origin = match &*row.get::<String>("origin")? {
        "sensor" => DecisionOrigin::Sensor {
            name: parsed::<SensorId>(&name("sensor")?, "sensor")?,
            host: row
                .get::<Option<String>>("host")?
                .map(|host| parsed(&host, "host"))
                .transpose()?,
        },
        "operator" => DecisionOrigin::Operator { name: name("operator")?.into() },
        "hub" => DecisionOrigin::Hub,
        _ => return Err(StateError::Unreadable("origin")),
    };
    let decision = Decision {
        id: parsed(&row.get::<String>("id")?, "event id")?,
        kind: parsed(&row.get::<String>("type")?, "decision type")?,
        target: parsed(&row.get::<String>("target")?, "target")?,
        from: Timestamp::from_millis(row.get("from_at")?),
        duration_secs: row.count("duration_secs")?,
        scenario: parsed(&row.get::<String>("scenario")?, "scenario")?,
        reason: row.get::<String>("reason")?.into(),
        alert: parsed(&row.get::<String>("alert")?, "event id")?,
        evidence: row
            .get::<String>("evidence")?
            .split(',')
            .filter_map(|id| id.parse().ok())
            .take(MAX_EVIDENCE)
            .collect(),
        simulated: row.get::<i64>("simulated")? != 0,
    };
    let note = row.get::<Option<String>>("note")?.map(Into::into);
    Ok(DecisionRecord {
        made: MadeDecision { decision, origin, note },
        seq: row.get::<Option<i64>>("seq")?.and_then(|seq| u64::try_from(seq).ok()),
        noted_at: Timestamp::from_millis(row.get("noted_at")?),
        ended_at: Timestamp::from_millis(row.get("ended_at")?),
        ended_by: row.get("ended_by")?,
        end_reason: row.get("end_reason")?,
        withheld: row.get("withheld")?,
    })
}
