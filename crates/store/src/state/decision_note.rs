//! Decisions and lifts are noted here, each once and each with its number, and
//! forgotten when they were over long ago. What is read of them is beside this.

use std::collections::{HashMap, HashSet};

use palisade_event::{
    Change, DecisionChange, DecisionOrigin, DecisionTarget, EventId, HostName, Lift, MadeDecision,
    Timestamp, join_ids,
};

use super::decision::{FLOOR, ROWS, SEQ, among, hex_bounds};
use super::sql::{Purpose, Tx, Value, sql, sql_rows};
use super::{State, StateError, parsed};

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
