//! Decisions and what has changed about them, numbered in the order in which
//! everybody hears of it. Which decisions may be noted is decided by the hub.
//!
//! A number is at least the time in milliseconds at which it was given, so that
//! one from a database that was lost or set back is never taken for another.

use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;

use palisade_event::{
    Change, Decision, DecisionChange, DecisionOrigin, DecisionTarget, EventId, HostName, Lift,
    MAX_EVIDENCE, MadeDecision, SensorId, Timestamp, join_ids,
};

use super::sql::{Purpose, Row, Statement, Tx, Value, sql, sql_rows, sql_text};
use super::{State, StateError, parsed};

/// The setting with the last number.
const SEQ: &str = "decision-seq";
/// The setting with the highest number of a lift that was forgotten.
const FLOOR: &str = "decision-floor";
/// Rows of one statement.
const ROWS: usize = 100;

/// Something to be noted. Noting it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noting {
    /// A decision, by its id.
    Made(Box<MadeDecision>),
    /// A lift, by the id of its event.
    Lifted(EventId, Lift),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It was known.
    Known,
    /// It is listed, and nobody carries it out; says why.
    Recorded(Box<str>),
    /// It is new and goes to everybody; of a lift also how many decisions it ended.
    Changed(DecisionChange, u64),
    /// There are too many in force.
    Full,
}

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

/// Which decisions are asked for.
#[derive(Clone, Debug, Default)]
pub struct DecisionQuery {
    /// In force at this time.
    pub active_at: Option<Timestamp>,
    /// Not in force at this time.
    pub past_at: Option<Timestamp>,
    /// About this address, or somebody in this network, or a network around it.
    pub target: Option<DecisionTarget>,
    /// Of this scenario.
    pub scenario: Option<String>,
    /// Of this sensor or operator.
    pub origin: Option<String>,
    /// After this one, in the order of the list.
    pub after: Option<(Timestamp, String)>,
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
    /// Notes decisions and lifts in their order, in one transaction. While
    /// `max_active` are in force, more are left out.
    ///
    /// # Errors
    /// [`StateError`]: nothing was noted, or nobody knows; it may be repeated.
    pub async fn note_decisions(
        &self,
        notings: &[Noting],
        max_active: u64,
        now: Timestamp,
    ) -> Result<Vec<Noted>, StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        let mut numbers = Numbers::take(&mut tx, now).await?;
        let active = sql("SELECT COUNT(*) AS count FROM decision
             WHERE ended_at > $1 AND seq IS NOT NULL")
        .bind(now.as_millis())
        .row(&mut tx)
        .await?
        .map_or(Ok(0), |row| row.count("count"))?;
        let mut room = max_active.saturating_sub(active);
        let allowed = super::allow::targets(&mut tx, now).await?;
        let mut noted = Vec::with_capacity(notings.len());
        let mut rest = notings;
        while let Some(first) = rest.first() {
            let run: Vec<&MadeDecision> = rest
                .iter()
                .map_while(|noting| match noting {
                    Noting::Made(made) => Some(&**made),
                    Noting::Lifted(..) => None,
                })
                .take(ROWS)
                .collect();
            if let Noting::Lifted(id, lift) = first {
                noted.push(note_lift(&mut tx, &mut numbers, *id, lift, now).await?);
            } else {
                let place = Place { allowed: &allowed, now };
                noted.extend(note_made(&mut tx, &mut numbers, &run, &mut room, &place).await?);
            }
            rest = rest.get(run.len().max(1)..).unwrap_or_default();
        }
        numbers.write(&mut tx).await?;
        tx.commit().await?;
        Ok(noted)
    }

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

    /// A page of decisions, the last noted first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn decisions(
        &self,
        query: &DecisionQuery,
        limit: u32,
    ) -> Result<Vec<DecisionRecord>, StateError> {
        let mut statement = sql_text("SELECT * FROM decision WHERE noted_at >= 0".to_owned());
        if let Some(at) = query.active_at {
            statement.push(" AND seq IS NOT NULL AND ended_at > ");
            statement.push_bind(at.as_millis());
        }
        if let Some(at) = query.past_at {
            statement.push(" AND (seq IS NULL OR ended_at <= ");
            statement.push_bind(at.as_millis());
            statement.push(")");
        }
        if let Some(target) = &query.target {
            let (low, high) = hex_bounds(target);
            statement.push(" AND low <= ");
            statement.push_bind(high);
            statement.push(" AND high >= ");
            statement.push_bind(low);
        }
        if let Some(scenario) = &query.scenario {
            statement.push(" AND scenario = ");
            statement.push_bind(scenario);
        }
        if let Some(origin) = &query.origin {
            statement.push(" AND origin_name = ");
            statement.push_bind(origin);
        }
        if let Some((at, id)) = &query.after {
            statement.push(" AND (noted_at, id) < (");
            statement.push_bind(at.as_millis());
            statement.push(", ");
            statement.push_bind(id);
            statement.push(")");
        }
        statement.push(" ORDER BY noted_at DESC, id DESC LIMIT ");
        statement.push_bind(i64::from(limit));
        statement.rows(&self.db).await?.iter().map(record).collect()
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

    /// Forgets decisions and lifts that were over at `before`, and of those
    /// over at `now` all but the newest `max_past`; how many.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn forget_decisions(
        &self,
        before: Timestamp,
        max_past: u64,
        now: Timestamp,
    ) -> Result<u64, StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        let max_past = i64::try_from(max_past).unwrap_or(i64::MAX);
        let oldest = sql("SELECT ended_at AS at FROM decision WHERE ended_at <= $1
             ORDER BY ended_at DESC LIMIT 1 OFFSET $2")
        .bind(now.as_millis())
        .bind(max_past)
        .row(&mut tx)
        .await?
        .map(|row| row.get::<i64>("at"))
        .transpose()?;
        let bound = oldest.unwrap_or(i64::MIN).max(before.as_millis());
        let mut forgotten =
            sql("DELETE FROM decision WHERE ended_at <= $1").bind(bound).execute(&mut tx).await?;
        let oldest = sql("SELECT noted_at AS at FROM decision_lift
             ORDER BY noted_at DESC LIMIT 1 OFFSET $1")
        .bind(max_past)
        .row(&mut tx)
        .await?
        .map(|row| row.get::<i64>("at"))
        .transpose()?;
        let bound = oldest.unwrap_or(i64::MIN).max(before.as_millis());
        let last = sql("SELECT MAX(seq) AS seq FROM decision_lift WHERE noted_at <= $1")
            .bind(bound)
            .row(&mut tx)
            .await?
            .map(|row| row.get::<Option<i64>>("seq"))
            .transpose()?
            .flatten();
        if let Some(last) = last {
            set_number(&mut tx, FLOOR, u64::try_from(last).unwrap_or(0)).await?;
            forgotten += sql("DELETE FROM decision_lift WHERE noted_at <= $1")
                .bind(bound)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(forgotten)
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

/// The numbers of one transaction. Others wait for its end, so that numbers
/// are seen in their order.
struct Numbers {
    last: u64,
    now: u64,
}

impl Numbers {
    async fn take(tx: &mut Tx, now: Timestamp) -> Result<Self, StateError> {
        let row = sql("INSERT INTO meta (name, value) VALUES ($1, '0')
             ON CONFLICT (name) DO UPDATE SET value = meta.value RETURNING value")
        .bind(SEQ)
        .row(tx)
        .await?
        .ok_or(StateError::Unreadable("number of decisions"))?;
        let last = row.get::<String>("value")?;
        let last = parsed(&last, "number of decisions")?;
        Ok(Self { last, now: u64::try_from(now.as_millis()).unwrap_or(0) })
    }

    fn next(&mut self) -> u64 {
        self.last = self.last.saturating_add(1).max(self.now);
        self.last
    }

    async fn write(&self, tx: &mut Tx) -> Result<(), StateError> {
        set_number(tx, SEQ, self.last).await
    }
}

async fn number(tx: &mut Tx, name: &'static str) -> Result<u64, StateError> {
    let row = sql("SELECT value FROM meta WHERE name = $1").bind(name).row(tx).await?;
    row.map_or(Ok(0), |row| parsed(&row.get::<String>("value")?, "number of decisions"))
}

async fn set_number(tx: &mut Tx, name: &'static str, number: u64) -> Result<(), StateError> {
    sql("INSERT INTO meta (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value")
    .bind(name)
    .bind(number.to_string())
    .execute(tx)
    .await
    .map(drop)
}

struct Place<'a> {
    allowed: &'a [DecisionTarget],
    now: Timestamp,
}

async fn note_made(
    tx: &mut Tx,
    numbers: &mut Numbers,
    run: &[&MadeDecision],
    room: &mut u64,
    place: &Place<'_>,
) -> Result<Vec<Noted>, StateError> {
    let now = place.now;
    let ids: Vec<String> = run.iter().map(|made| made.decision.id.to_string()).collect();
    let mut known = HashSet::new();
    for row in among("SELECT id FROM decision WHERE id", &ids, "").rows(&mut *tx).await? {
        known.insert(row.get::<String>("id")?);
    }
    let targets: Vec<String> = run.iter().map(|made| made.decision.target.to_string()).collect();
    let mut lifts: HashMap<String, (i64, String)> = HashMap::new();
    let found = among("SELECT target, at, lifted_by FROM decision_lift WHERE target", &targets, "");
    for row in found.rows(&mut *tx).await? {
        let (at, by) = (row.get::<i64>("at")?, row.get::<String>("lifted_by")?);
        let newest = lifts.entry(row.get("target")?).or_insert_with(|| (at, by.clone()));
        if newest.0 < at {
            *newest = (at, by);
        }
    }
    let mut outcomes = Vec::with_capacity(run.len());
    let mut rows = Vec::with_capacity(run.len());
    for ((&made, id), target) in run.iter().zip(ids).zip(targets) {
        let decision = &made.decision;
        if !known.insert(id.clone()) {
            outcomes.push(Noted::Known);
            continue;
        }
        let allowed = place.allowed.iter().find(|entry| entry.overlaps(&decision.target));
        let lifted = lifts.get(&target).filter(|(at, _)| *at >= decision.from.as_millis());
        let until = decision.until();
        let why = match (allowed, lifted) {
            _ if decision.simulated => Some("it is simulated".to_owned()),
            (Some(entry), _) => Some(format!("{entry} is on the allowlist")),
            (None, Some((_, by))) => Some(format!("{by} has lifted what was decided before")),
            (None, None) if until <= now => Some("it is over".to_owned()),
            (None, None) => None,
        };
        if why.is_none() && *room == 0 {
            outcomes.push(Noted::Full);
            continue;
        }
        let seq = why.is_none().then(|| numbers.next());
        if seq.is_some() {
            *room -= 1;
        }
        let ended_by = lifted.filter(|_| why.is_some() && allowed.is_none());
        let ended_at = if ended_by.is_some() { until.min(now) } else { until };
        rows.push(row_of(
            made,
            id,
            target,
            seq,
            ended_at,
            now,
            allowed,
            ended_by.map(|(_, by)| by),
        ));
        outcomes.push(match (seq, why) {
            (Some(seq), _) => {
                let change = Change::Made(Box::new(made.clone()));
                Noted::Changed(DecisionChange { seq, change }, 0)
            }
            (None, why) => Noted::Recorded(why.unwrap_or_default().into()),
        });
    }
    if !rows.is_empty() {
        sql_rows(
            "INSERT INTO decision (id, type, target, low, high, scenario, reason, alert, evidence,
             origin, origin_name, host, note, withheld, ended_by, seq, from_at, duration_secs,
             ended_at, noted_at, simulated) VALUES",
            rows,
            "",
        )
        .execute(tx)
        .await?;
    }
    Ok(outcomes)
}

#[allow(clippy::too_many_arguments, reason = "a row of a table")]
fn row_of<'a>(
    made: &'a MadeDecision,
    id: String,
    target: String,
    seq: Option<u64>,
    ended_at: Timestamp,
    now: Timestamp,
    allowed: Option<&DecisionTarget>,
    ended_by: Option<&String>,
) -> Vec<Value<'a>> {
    let decision = &made.decision;
    let (low, high) = hex_bounds(&decision.target);
    let (origin, name, host) = match &made.origin {
        DecisionOrigin::Sensor { name, host } => {
            ("sensor", Some(name.as_str()), host.as_ref().map(HostName::as_str))
        }
        DecisionOrigin::Operator { name } => ("operator", Some(&**name), None),
        DecisionOrigin::Hub => ("hub", None, None),
    };
    vec![
        id.into(),
        decision.kind.as_str().into(),
        target.into(),
        low.into(),
        high.into(),
        decision.scenario.as_str().into(),
        (&*decision.reason).into(),
        decision.alert.to_string().into(),
        join_ids(&decision.evidence).into(),
        origin.into(),
        name.into(),
        host.into(),
        made.note.as_deref().into(),
        allowed.map(ToString::to_string).into(),
        ended_by.cloned().into(),
        seq.map(|seq| i64::try_from(seq).unwrap_or(i64::MAX)).into(),
        decision.from.as_millis().into(),
        i64::try_from(decision.duration_secs).unwrap_or(i64::MAX).into(),
        ended_at.as_millis().into(),
        now.as_millis().into(),
        i64::from(decision.simulated).into(),
    ]
}

async fn note_lift(
    tx: &mut Tx,
    numbers: &mut Numbers,
    id: EventId,
    lift: &Lift,
    now: Timestamp,
) -> Result<Noted, StateError> {
    let known = sql("SELECT id FROM decision_lift WHERE id = $1")
        .bind(id.to_string())
        .row(&mut *tx)
        .await?;
    if known.is_some() {
        return Ok(Noted::Known);
    }
    let (seq, target) = (numbers.next(), lift.target.to_string());
    sql("INSERT INTO decision_lift (id, target, lifted_by, reason, seq, at, noted_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)")
    .bind(id.to_string())
    .bind(&target)
    .bind(&*lift.by)
    .bind(lift.reason.as_deref())
    .bind(i64::try_from(seq).unwrap_or(i64::MAX))
    .bind(lift.at.as_millis())
    .bind(now.as_millis())
    .execute(&mut *tx)
    .await?;
    // It is over now, not when it was asked for: whoever asks what has ended
    // since the last time must hear of it.
    let ended = sql("UPDATE decision SET ended_at = $3, ended_by = $4, end_reason = $5
         WHERE target = $1 AND from_at <= $2 AND ended_at > $3 AND seq IS NOT NULL")
    .bind(&target)
    .bind(lift.at.as_millis())
    .bind(now.as_millis())
    .bind(&*lift.by)
    .bind(lift.reason.as_deref())
    .execute(tx)
    .await?;
    Ok(Noted::Changed(DecisionChange { seq, change: Change::Lifted(lift.clone()) }, ended))
}

/// `head IN (…)`.
fn among<'a>(head: &str, texts: &'a [String], tail: &'static str) -> Statement<'a> {
    let rows = texts.iter().map(|text| vec![text.into()]).collect();
    let mut statement = sql_rows(format!("{head} IN (VALUES"), rows, ") ");
    statement.push(tail);
    statement
}

/// First and last address as text that sorts like them.
fn hex_bounds(target: &DecisionTarget) -> (String, String) {
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

fn record(row: &Row) -> Result<DecisionRecord, StateError> {
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
