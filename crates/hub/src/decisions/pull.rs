//! What a CrowdSec bouncer is told: everything at first, then what is new and
//! what has ended since it last asked. How that is written is the dialect's.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use palisade_event::{DecisionTarget, DecisionType, Timestamp};
use palisade_store::state::{Bouncer, Cover, DecisionRecord, Ranges};

use super::Decisions;
use crate::auth::{Permission, Principal};
use crate::error::QueryError;

/// Most decisions of one answer, new and ended ones each.
pub const MAX_PULLED: u32 = 200_000;
/// What ended so long before the last pull is told once more, as CrowdSec does:
/// the clocks and the order of what is written are not exact.
const AGAIN_MILLIS: i64 = 2_000;

/// What a bouncer has not heard yet.
#[derive(Clone, Debug)]
pub struct Pull {
    /// In force, the longest of each target and type.
    pub new: Vec<DecisionRecord>,
    /// Over, and no other decision about the target is in force.
    pub ended: Vec<DecisionRecord>,
    /// What the bouncer is to be told of networks, where its key says so.
    pub ranges: Option<Ranges>,
    /// To be handed to [`crate::Hub::bouncer_told`] when it has been sent.
    pub told: Told,
}

/// How far a bouncer has been told.
#[derive(Clone, Debug)]
pub struct Told(Bouncer);

type Key = (DecisionTarget, DecisionType);

fn key(record: &DecisionRecord) -> Key {
    (record.made.decision.target, record.made.decision.kind.clone())
}

impl Decisions {
    /// See [`crate::Hub::bouncer_pull`].
    pub(crate) async fn pull(
        &self,
        who: &Principal,
        from: IpAddr,
        agent: &str,
        startup: bool,
        now: Timestamp,
    ) -> Result<Pull, QueryError> {
        bounces(who)?;
        let id = id(who, from);
        // Before what is new is read: what comes meanwhile is told the next time.
        let head = self.state.decision_head().await?;
        let known = match startup {
            true => None,
            false => self.state.bouncer(&id).await?,
        };
        // A number of a database that was set back tells nothing.
        let known = known.filter(|known| known.last_seq <= head);
        let after = known.as_ref().map_or(0, |known| known.last_seq);
        let since = known
            .map_or(Timestamp::from_millis(0), |known| known.last_pull.plus_millis(-AGAIN_MILLIS));
        let found = self.state.decisions_between(after, head, MAX_PULLED, now).await?;
        let ended = self.state.decisions_ended(since, now, MAX_PULLED).await?;
        let targets: HashSet<String> =
            ended.iter().map(|record| record.made.decision.target.to_string()).collect();
        let targets: Vec<String> = targets.into_iter().collect();
        let new = self.longest(found, after, now).await?;
        let still: HashSet<Key> =
            self.state.active_about(&targets, now).await?.iter().map(key).collect();
        let mut gone = HashSet::new();
        let ended = ended
            .into_iter()
            .filter(|record| !still.contains(&key(record)) && gone.insert(key(record)))
            .collect();
        let ranges = match who.key_id() {
            Some(key) => self.state.api_key(key).await?.and_then(|key| key.ranges),
            None => None,
        };
        Ok(Pull {
            ranges,
            new,
            ended,
            told: Told(Bouncer {
                id,
                name: who.name().to_owned(),
                address: from.to_string(),
                agent: short(agent),
                last_seq: head,
                last_pull: now,
                usage: None,
            }),
        })
    }

    /// See [`crate::Hub::bouncer_told`].
    pub(crate) async fn told(&self, told: &Told) -> Result<(), QueryError> {
        self.state.set_bouncer(&told.0).await?;
        self.metrics.bouncer_pulled(&told.0.name, told.0.last_pull);
        Ok(())
    }

    /// See [`crate::Hub::bouncer_networks`].
    pub(crate) async fn networks(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, QueryError> {
        bounces(who)?;
        Ok(self.state.active_networks(MAX_PULLED, now).await?)
    }

    /// See [`crate::Hub::bouncer_asks`].
    pub(crate) async fn about(
        &self,
        who: &Principal,
        target: Option<&DecisionTarget>,
        cover: Cover,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, QueryError> {
        bounces(who)?;
        Ok(match target {
            Some(target) => self.state.active_covering(target, cover, MAX_PULLED, now).await?,
            None => self.state.decisions_between(0, u64::MAX, MAX_PULLED, now).await?,
        })
    }
}

impl Decisions {
    /// The longest of each target and type. Where one that was told before lasts
    /// longer than a new one, the new one is nothing new.
    async fn longest(
        &self,
        found: Vec<DecisionRecord>,
        after: u64,
        now: Timestamp,
    ) -> Result<Vec<DecisionRecord>, QueryError> {
        let new = longest(found);
        if after == 0 {
            return Ok(new);
        }
        let targets: Vec<String> =
            new.iter().map(|record| record.made.decision.target.to_string()).collect();
        let active = self.state.active_about(&targets, now).await?;
        let mut ends: HashMap<Key, Timestamp> = HashMap::new();
        for record in &active {
            let end = ends.entry(key(record)).or_insert(record.ended_at);
            *end = record.ended_at.max(*end);
        }
        let is_longest = |record: &DecisionRecord| {
            ends.get(&key(record)).is_none_or(|end| *end <= record.ended_at)
        };
        Ok(new.into_iter().filter(is_longest).collect())
    }
}

/// Of each target and type the decision that lasts longest, in their order.
fn longest(records: Vec<DecisionRecord>) -> Vec<DecisionRecord> {
    let mut best: HashMap<Key, usize> = HashMap::with_capacity(records.len());
    let mut kept: Vec<DecisionRecord> = Vec::with_capacity(records.len());
    for record in records {
        match best.get(&key(&record)).and_then(|at| kept.get_mut(*at)) {
            Some(other) if other.ended_at < record.ended_at => *other = record,
            Some(_) => {}
            None => {
                best.insert(key(&record), kept.len());
                kept.push(record);
            }
        }
    }
    kept
}

/// Names a bouncer: a key at an address.
pub(super) fn id(who: &Principal, from: IpAddr) -> String {
    format!("{}/{from}", who.key_id().unwrap_or(who.name()))
}

/// What a client calls something, cut.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

pub(super) fn bounces(who: &Principal) -> Result<(), QueryError> {
    if who.may(Permission::Bouncer) { Ok(()) } else { Err(QueryError::Forbidden) }
}
