//! What people do about decisions: ban, lift, list, and say who is spared.
//!
//! What they do is an event first, durable like all others, and then noted.

use std::sync::Arc;

use palisade_event::{
    Decision, DecisionTarget, DecisionType, Domain, Endpoint, Event, EventId, EventKind,
    MAX_DURATION_SECS, MAX_NOTE_BYTES, ScenarioName, SensorId, Timestamp, Untrusted,
};
use palisade_store::state::{AllowEntry, Cover, DecisionQuery, DecisionRecord, State, StateError};

use super::Decisions;
use super::read::{BY, HUB, NOTE};
use crate::auth::{Permission, Principal};
use crate::error::{AdminError, IngestError};
use crate::ingest::Ingest;

/// Most entries of the hub's allowlist.
pub const MAX_ALLOW_ENTRIES: u32 = 10_000;
/// Scenario of what people decide.
const MANUAL: &str = "manual";
/// Decisions that a new entry of the allowlist ends at once.
const MAX_ENDED: u32 = 10_000;

/// A ban by hand.
#[derive(Clone, Debug)]
pub struct Ban {
    /// Whom.
    pub target: DecisionTarget,
    /// For how long, in seconds.
    pub duration_secs: u64,
    /// Why, in a few words, for everybody who carries it out.
    pub reason: Option<String>,
    /// What colleagues should know.
    pub note: Option<String>,
}

/// An entry to be made.
#[derive(Clone, Debug)]
pub struct NewAllowEntry {
    /// Whom it spares.
    pub target: DecisionTarget,
    /// Why.
    pub reason: Option<String>,
    /// For how long, in seconds; for ever without.
    pub duration_secs: Option<u64>,
}

/// Who acts, on what.
pub(crate) struct Desk<'h> {
    pub(crate) state: &'h State,
    pub(crate) ingest: &'h Ingest,
    pub(crate) decisions: &'h Arc<Decisions>,
}

impl Desk<'_> {
    pub(crate) async fn list(
        &self,
        who: &Principal,
        query: &DecisionQuery,
        limit: u32,
    ) -> Result<Vec<DecisionRecord>, AdminError> {
        reads(who)?;
        Ok(self.state.decisions(query, limit).await?)
    }

    pub(crate) async fn ban(
        &self,
        who: &Principal,
        ban: Ban,
        now: Timestamp,
    ) -> Result<DecisionRecord, AdminError> {
        operates(who)?;
        let invalid = |rule: &str| AdminError::Invalid(format!("{}: {rule}", ban.target));
        ban.target.check().map_err(invalid)?;
        let reason = text(ban.reason, "reason")?;
        let note = text(ban.note, "note")?;
        let id = EventId::new(now, rand::random());
        let decision = Decision {
            id,
            kind: DecisionType::new("ban")
                .map_err(|error| AdminError::Failed(error.to_string()))?,
            target: ban.target,
            from: now,
            duration_secs: ban.duration_secs,
            scenario: ScenarioName::new(MANUAL)
                .map_err(|error| AdminError::Failed(error.to_string()))?,
            reason: reason.unwrap_or_else(|| "by hand".to_owned()).into(),
            alert: id,
            evidence: Vec::new(),
            simulated: false,
        };
        decision.check().map_err(|rule| AdminError::Invalid(rule.to_owned()))?;
        for entry in self.state.allow_entries(now).await? {
            if entry.target.overlaps(&ban.target) {
                let entry = entry.target;
                return Err(AdminError::Invalid(format!(
                    "{} is spared by the entry {entry} of the allowlist; remove that first",
                    ban.target
                )));
            }
        }
        let mut event = decision.to_event(sensor()?).with(BY, Untrusted::from(who.name()));
        if let Some(note) = note {
            event = event.with(NOTE, Untrusted::from(note));
        }
        self.take(event).await?;
        let listed = self.state.decision(id).await?;
        let full = "too many decisions are in force; lift some first";
        let listed = listed.ok_or_else(|| AdminError::Invalid(full.to_owned()))?;
        if listed.is_active(now) {
            return Ok(listed);
        }
        // Said in one sentence: nobody should believe that it is in force.
        Err(AdminError::Invalid(match (&listed.withheld, &listed.ended_by) {
            (Some(entry), _) => format!(
                "{} is spared: {entry} is on the allowlist, or an operator is signed in from there",
                ban.target
            ),
            (None, Some(by)) => format!("{by} has just lifted bans of {}", ban.target),
            (None, None) => format!("the ban of {} is over already", ban.target),
        }))
    }

    /// How many decisions in force it ended.
    pub(crate) async fn lift(
        &self,
        who: &Principal,
        target: DecisionTarget,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<u64, AdminError> {
        operates(who)?;
        let reason = text(reason, "reason")?;
        let active = self.state.active_about(&[target.to_string()], now).await?.len() as u64;
        self.lift_as(who.name(), target, reason.as_deref(), now).await?;
        Ok(active)
    }

    async fn lift_as(
        &self,
        by: &str,
        target: DecisionTarget,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        let id = EventId::new(now, rand::random());
        let mut event = Event::new(id, EventKind::DecisionLifted, now, sensor()?)
            .with("scope", target.scope())
            .with("value", Untrusted::from(target.to_string()))
            .with(BY, Untrusted::from(by));
        if let Some(reason) = reason {
            event = event.with("reason", Untrusted::from(reason));
        }
        if let DecisionTarget::Ip(address) = target {
            event.source = Some(Endpoint::address(address));
        }
        self.take(event).await
    }

    /// Makes an event durable, then notes what it tells.
    pub(super) async fn take(&self, event: Event) -> Result<(), AdminError> {
        let notings = self.decisions.read(std::iter::once(&event));
        let (local, at) = (Principal::local(Some(sensor()?)), event.observed_at);
        let taken = self.ingest.accept_events(&local, None, vec![event], Vec::new(), at).await;
        taken.map_err(|error| match error {
            IngestError::Busy { reason, .. } => AdminError::Unavailable(reason),
            other => AdminError::Failed(other.to_string()),
        })?;
        let noted = self.decisions.note(&notings).await;
        noted.map(drop).map_err(|error| match error {
            StateError::Unavailable(_) => AdminError::Unavailable(
                "it is written down, and in force when the state database answers again".to_owned(),
            ),
            other => other.into(),
        })
    }

    pub(crate) async fn allowlist(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<AllowEntry>, AdminError> {
        reads(who)?;
        Ok(self.state.allow_entries(now).await?)
    }

    /// The entry, and how many targets it has freed.
    pub(crate) async fn allow(
        &self,
        who: &Principal,
        new: NewAllowEntry,
        now: Timestamp,
    ) -> Result<(AllowEntry, u64), AdminError> {
        operates(who)?;
        self.allow_as(who.name(), new, now).await
    }

    /// The same in the name of somebody who may.
    pub(super) async fn allow_as(
        &self,
        by: &str,
        new: NewAllowEntry,
        now: Timestamp,
    ) -> Result<(AllowEntry, u64), AdminError> {
        if let DecisionTarget::Range(range) = new.target
            && range.prefix_len() == 0
        {
            let rule = "an entry for the whole Internet would end all bans; name a network";
            return Err(AdminError::Invalid(rule.to_owned()));
        }
        if new.duration_secs.is_some_and(|secs| secs == 0 || secs > MAX_DURATION_SECS) {
            let rule = "an entry lasts from 1 second to 10 years, or for ever without a time";
            return Err(AdminError::Invalid(rule.to_owned()));
        }
        let millis = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000);
        let entry = AllowEntry {
            target: new.target,
            reason: text(new.reason, "reason")?,
            by: by.to_owned(),
            created_at: now,
            until: new.duration_secs.map(|secs| now.plus_millis(millis(secs))),
        };
        match self.state.add_allow_entry(&entry, MAX_ALLOW_ENTRIES).await {
            Err(StateError::Full) => {
                return Err(AdminError::Invalid(format!(
                    "the allowlist has at most {MAX_ALLOW_ENTRIES} entries; remove one first"
                )));
            }
            other => other?,
        }
        // Agents spare them before they let them in, so that none bans them again.
        self.decisions.direct(now).await;
        let mut freed = std::collections::BTreeSet::new();
        for cover in [Cover::Around, Cover::Inside] {
            let found = self.state.active_covering(&new.target, cover, MAX_ENDED, now).await?;
            freed.extend(found.into_iter().map(|record| record.made.decision.target));
        }
        for target in &freed {
            let reason = format!("{} is on the allowlist", new.target);
            self.lift_as(by, *target, Some(&reason), now).await?;
        }
        Ok((entry, freed.len() as u64))
    }

    pub(crate) async fn disallow(
        &self,
        who: &Principal,
        target: &DecisionTarget,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        operates(who)?;
        if self.state.remove_allow_entry(target).await? {
            self.decisions.direct(now).await;
            return Ok(());
        }
        Err(AdminError::NotFound(format!("entry {target} on the allowlist")))
    }
}

pub(super) fn sensor() -> Result<SensorId, AdminError> {
    SensorId::new(HUB).map_err(|error| AdminError::Failed(error.to_string()))
}

/// A text of somebody who may operate, bounded.
pub(super) fn text(text: Option<String>, what: &str) -> Result<Option<String>, AdminError> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.len() > MAX_NOTE_BYTES || text.chars().any(char::is_control))
    {
        return Err(AdminError::Invalid(format!(
            "a {what} has at most {MAX_NOTE_BYTES} bytes and no control characters"
        )));
    }
    Ok(text)
}

pub(crate) fn reads(who: &Principal) -> Result<(), AdminError> {
    if who.may(Permission::Read) && who.sees(Domain::Private) {
        return Ok(());
    }
    Err(AdminError::Denied("seeing decisions needs an account, or a key with the scope 'read'"))
}

pub(super) fn operates(who: &Principal) -> Result<(), AdminError> {
    if who.may(Permission::Operate) {
        return Ok(());
    }
    Err(AdminError::Denied(
        "this needs the role operator or admin, or a key with the scope 'admin'",
    ))
}
