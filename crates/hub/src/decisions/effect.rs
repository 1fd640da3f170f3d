//! What agents tell of what they carry out: the newest report of each. It is in
//! memory alone: after a start of the hub it is there again within a period.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_event::{
    DecisionTarget, Domain, EffectReceipt, EffectReport, HostName, SensorId, Timestamp,
};

use crate::auth::{Identity, Permission, Principal};

/// Agents whose reports are kept; of more, the longest silent one goes.
pub(crate) const MAX_AGENTS: usize = 10_000;
/// Targets of all agents whose dropped packets are kept.
pub(crate) const MAX_DROPPED: usize = 200_000;
/// Who has said nothing for so long is silent: four periods.
const SILENT_MILLIS: i64 = 60_000;
/// Who has not carried out for so long what there is to carry out is behind.
const BEHIND_MILLIS: i64 = 15_000;
/// Who has been silent for so long is forgotten: a day.
const FORGET_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Moments at which the last number is remembered, a second apart at least.
const MAX_MOMENTS: usize = 600;
const MOMENT_MILLIS: i64 = 1_000;

/// What an agent does with decisions.
#[derive(Clone, Debug)]
pub struct HostEffect {
    /// Who, by its credential.
    pub sensor: SensorId,
    /// Its newest report; without the packets of targets.
    pub report: EffectReport,
    /// When it came.
    pub received_at: Timestamp,
    /// How it does.
    pub state: HostState,
    /// Since when there is something that it has not carried out.
    pub behind_since: Option<Timestamp>,
    /// Whether it goes by the directions that hold now.
    pub is_directed: bool,
    /// Packets that its ban of the target asked about has dropped.
    pub target_packets: u64,
}

/// How an agent does; the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// It has told nothing for a minute.
    Silent,
    /// Its firewall cannot be changed.
    Failing,
    /// It has not carried out what there is.
    Behind,
    /// It enforces nothing, as its settings say.
    DryRun,
    /// It carries out what there is.
    Working,
}

impl HostState {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Failing => "failing",
            Self::Behind => "behind",
            Self::DryRun => "dry-run",
            Self::Working => "working",
        }
    }
}

/// What an agent does about one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetEffect {
    /// It is carried out.
    Carried,
    /// It would be.
    DryRun,
    /// It is not obeyed, because …
    Refused(String),
    /// It cannot be carried out, because …
    Failing(String),
    /// It was not heard of yet.
    Behind,
    /// Nobody knows: the agent is silent.
    Silent,
}

impl HostEffect {
    /// What it does about a decision with this number.
    #[must_use]
    pub fn about(&self, target: &DecisionTarget, seq: u64) -> TargetEffect {
        if self.state == HostState::Silent {
            return TargetEffect::Silent;
        }
        if self.report.cursor.is_none_or(|cursor| cursor < seq) {
            return TargetEffect::Behind;
        }
        let refused = self.report.refused.iter().find(|one| one.targets.contains(target));
        match (refused, &self.report.failing) {
            (Some(refused), _) => TargetEffect::Refused(refused.reason.to_string()),
            (None, _) if &*self.report.method == DRY_RUN => TargetEffect::DryRun,
            (None, Some(failing)) => TargetEffect::Failing(failing.error.to_string()),
            (None, None) => TargetEffect::Carried,
        }
    }
}

/// The method that enforces nothing.
const DRY_RUN: &str = "dry-run";

type Agent = (SensorId, Option<HostName>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Effects(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    agents: BTreeMap<Agent, Told>,
    /// Packets of each target, of all agents.
    total: HashMap<DecisionTarget, u64>,
    /// How many targets all agents have.
    pairs: usize,
    /// When the last number was at least which.
    moments: VecDeque<(Timestamp, u64)>,
}

#[derive(Debug)]
struct Told {
    report: EffectReport,
    at: Timestamp,
    dropped: HashMap<DecisionTarget, u64>,
}

/// Whose reports are taken: who hears of decisions, by the name of its key.
pub(super) fn reporter(who: &Principal) -> Option<SensorId> {
    if !who.may(Permission::Decisions) || !who.sees(Domain::Private) {
        return None;
    }
    match who.identity() {
        Identity::Key { sensor, .. } => Some(sensor.clone()),
        Identity::Local { sensor } => sensor.clone(),
        _ => None,
    }
}

impl Effects {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report; `head` is the last number that was given.
    pub(super) fn take(
        &self,
        sensor: SensorId,
        mut report: EffectReport,
        head: u64,
        now: Timestamp,
    ) -> EffectReceipt {
        let mut inner = self.inner();
        inner.remember(head, now);
        let agent = (sensor, report.host.clone());
        let dropped = std::mem::take(&mut report.dropped);
        let before = inner.agents.remove(&agent);
        let is_known = before.is_some();
        let mut told = before.unwrap_or_else(|| Told {
            report: EffectReport::default(),
            at: now,
            dropped: HashMap::new(),
        });
        (told.report, told.at) = (report, now);
        for one in dropped {
            let known = told.dropped.get(&one.target).copied();
            if known.is_none() && inner.pairs >= MAX_DROPPED {
                continue;
            }
            inner.pairs += usize::from(known.is_none());
            told.dropped.insert(one.target, one.packets);
            let total = inner.total.entry(one.target).or_default();
            *total = total.saturating_sub(known.unwrap_or(0)).saturating_add(one.packets);
        }
        inner.agents.insert(agent, told);
        if inner.agents.len() > MAX_AGENTS {
            let silent = inner.agents.iter().min_by_key(|(_, told)| told.at);
            if let Some(agent) = silent.map(|(agent, _)| agent.clone()) {
                inner.forget(&agent);
            }
        }
        EffectReceipt { all: !is_known }
    }

    /// All agents that have told something, by name.
    pub(super) fn list(
        &self,
        target: Option<&DecisionTarget>,
        (head, directions): (u64, u64),
        now: Timestamp,
    ) -> Vec<HostEffect> {
        let mut inner = self.inner();
        inner.remember(head, now);
        let gone = |told: &Told| now.as_millis() - told.at.as_millis() > FORGET_MILLIS;
        let forgotten: Vec<Agent> = inner
            .agents
            .iter()
            .filter(|(_, told)| gone(told))
            .map(|(agent, _)| agent.clone())
            .collect();
        for agent in &forgotten {
            inner.forget(agent);
        }
        let of = |((sensor, _), told): (&Agent, &Told)| {
            let behind_since = inner.behind_since(told);
            HostEffect {
                sensor: sensor.clone(),
                state: state(told, behind_since, now),
                behind_since,
                is_directed: told.report.directions == Some(directions),
                target_packets: target.and_then(|t| told.dropped.get(t)).copied().unwrap_or(0),
                report: told.report.clone(),
                received_at: told.at,
            }
        };
        inner.agents.iter().map(of).collect()
    }

    /// Agents that are there and go by directions, by name.
    pub(super) fn followers(&self, now: Timestamp) -> Vec<SensorId> {
        let there = |told: &Told| now.as_millis() - told.at.as_millis() <= SILENT_MILLIS;
        let inner = self.inner();
        let follow =
            inner.agents.iter().filter(|(_, told)| there(told) && told.report.directions.is_some());
        let mut names: Vec<SensorId> = follow.map(|((sensor, _), _)| sensor.clone()).collect();
        names.dedup();
        names
    }

    /// Packets that bans of targets have dropped on all hosts.
    pub(super) fn packets(&self, targets: &[DecisionTarget]) -> Vec<u64> {
        let inner = self.inner();
        targets.iter().map(|target| inner.total.get(target).copied().unwrap_or(0)).collect()
    }
}

impl Inner {
    fn remember(&mut self, head: u64, now: Timestamp) {
        let is_news = match self.moments.back() {
            None => true,
            Some((at, last)) => *last < head && now.as_millis() - at.as_millis() >= MOMENT_MILLIS,
        };
        if is_news {
            self.moments.push_back((now, head));
            if self.moments.len() > MAX_MOMENTS {
                self.moments.pop_front();
            }
        }
    }

    /// Since when the last number is greater than what the agent has heard, as
    /// far as its report can tell.
    fn behind_since(&self, told: &Told) -> Option<Timestamp> {
        let cursor = told.report.cursor.unwrap_or(0);
        let first = self.moments.iter().find(|(_, head)| *head > cursor);
        first.map(|(at, _)| *at).filter(|at| *at < told.at)
    }

    fn forget(&mut self, agent: &Agent) {
        let Some(told) = self.agents.remove(agent) else { return };
        self.pairs = self.pairs.saturating_sub(told.dropped.len());
        for (target, packets) in told.dropped {
            if let Some(total) = self.total.get_mut(&target) {
                *total = total.saturating_sub(packets);
                if *total == 0 {
                    self.total.remove(&target);
                }
            }
        }
    }
}

fn state(told: &Told, behind_since: Option<Timestamp>, now: Timestamp) -> HostState {
    let since = |at: Timestamp, until: Timestamp| until.as_millis() - at.as_millis();
    if since(told.at, now) > SILENT_MILLIS {
        HostState::Silent
    } else if told.report.failing.is_some() {
        HostState::Failing
    } else if behind_since.is_some_and(|at| since(at, told.at) > BEHIND_MILLIS) {
        HostState::Behind
    } else if &*told.report.method == DRY_RUN {
        HostState::DryRun
    } else {
        HostState::Working
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{DroppedPackets, Failing, Refused};

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000 + secs * 1000)
    }

    fn target(text: &str) -> DecisionTarget {
        text.parse().unwrap()
    }

    fn report(cursor: u64) -> EffectReport {
        let method = "nftables".into();
        EffectReport { method, cursor: Some(cursor), directions: Some(1), ..Default::default() }
    }

    fn name(text: &str) -> SensorId {
        SensorId::new(text).unwrap()
    }

    fn states(effects: &Effects, head: u64, secs: i64) -> Vec<HostState> {
        effects.list(None, (head, 1), at(secs)).iter().map(|host| host.state).collect()
    }

    #[test]
    fn an_agent_that_lags_fails_or_is_gone_is_told_apart() {
        let effects = Effects::default();
        effects.take(name("a"), report(10), 10, at(0));
        assert_eq!(states(&effects, 10, 1), [HostState::Working]);
        // Something new: it is not behind at once, and not without a report.
        assert_eq!(states(&effects, 20, 5), [HostState::Working]);
        effects.take(name("a"), report(10), 20, at(15));
        assert_eq!(states(&effects, 20, 16), [HostState::Working]);
        effects.take(name("a"), report(10), 20, at(30));
        assert_eq!(states(&effects, 20, 31), [HostState::Behind]);
        let since = effects.list(None, (20, 1), at(31))[0].behind_since;
        assert_eq!(since, Some(at(5)));
        effects.take(name("a"), report(20), 20, at(45));
        assert_eq!(states(&effects, 20, 46), [HostState::Working]);
        let failing = Some(Failing { error: "nft".into(), since: at(0) });
        effects.take(name("a"), EffectReport { failing, ..report(20) }, 20, at(50));
        let dry = EffectReport { method: "dry-run".into(), ..report(20) };
        effects.take(name("b"), dry, 20, at(50));
        assert_eq!(states(&effects, 20, 51), [HostState::Failing, HostState::DryRun]);
        assert_eq!(states(&effects, 20, 111), [HostState::Silent, HostState::Silent]);
        assert_eq!(states(&effects, 20, 90_000), [], "forgotten after a day");
    }

    #[test]
    fn what_a_host_does_about_a_target_is_told_with_the_reason() {
        let effects = Effects::default();
        let one = target("192.0.2.1");
        let refused =
            vec![Refused { reason: "allowed by office".into(), count: 1, targets: vec![one] }];
        effects.take(name("a"), EffectReport { refused, ..report(20) }, 20, at(0));
        effects.take(name("b"), report(10), 20, at(0));
        let hosts = effects.list(None, (20, 2), at(1));
        let about = |host: usize, who: &str| hosts[host].about(&target(who), 15);
        assert_eq!(about(0, "192.0.2.1"), TargetEffect::Refused("allowed by office".into()));
        assert_eq!(about(0, "192.0.2.2"), TargetEffect::Carried);
        assert_eq!(about(1, "192.0.2.1"), TargetEffect::Behind);
        assert!(!hosts[0].is_directed);
        assert_eq!(effects.followers(at(60)), [name("a"), name("b")]);
        assert_eq!(effects.followers(at(61)), []);
    }

    #[test]
    fn packets_are_added_up_over_hosts_and_not_twice() {
        let effects = Effects::default();
        let (one, two) = (target("192.0.2.1"), target("192.0.2.2"));
        let dropped = |packets| EffectReport {
            dropped: vec![DroppedPackets { target: one, packets }],
            ..report(1)
        };
        assert!(effects.take(name("a"), dropped(5), 1, at(0)).all, "it was not known");
        assert!(!effects.take(name("a"), dropped(7), 1, at(1)).all);
        effects.take(name("b"), dropped(3), 1, at(1));
        assert_eq!(effects.packets(&[one, two]), [10, 0]);
        // Made anew, it counts from nothing.
        effects.take(name("a"), dropped(1), 1, at(2));
        assert_eq!(effects.packets(&[one]), [4]);
        let hosts = effects.list(Some(&one), (1, 1), at(3));
        assert_eq!((hosts[0].target_packets, hosts[1].target_packets), (1, 3));
        effects.list(None, (1, 1), at(100_000));
        assert_eq!(effects.packets(&[one]), [0]);
        assert_eq!(effects.inner().pairs, 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let effects = Effects::default();
        for n in 0..=MAX_AGENTS {
            effects.take(name(&format!("a{n}")), report(1), 1, at(n as i64));
        }
        let names: Vec<String> = effects.inner().agents.keys().map(|a| a.0.to_string()).collect();
        assert_eq!(names.len(), MAX_AGENTS);
        assert!(!names.contains(&"a0".to_owned()));
    }
}
