//! From an alert to a decision: what is done, to whom, for how long.
//!
//! The first ban of an address lasts [`PolicyConfig::ban`] or what its scenario
//! says, each further one `factor` times as long up to `max_ban`, until it has
//! been quiet for `forget`. A little is added that depends on the address alone,
//! so that those who were banned together do not all come back together. While
//! a ban is in force nobody is banned again, except for longer by a scenario
//! that asks for more.

use palisade_event::{Decision, DecisionTarget, DecisionType, EventId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::engine::{Alert, Group, stable_hash};
use crate::fail2ban::BanTime;
use crate::offence::{Offence, OffenceList, Offences};
use crate::scenario::{Scenario, Simulation, Span};

/// Most targets whose bans are remembered; beyond them a tenth, those longest
/// without a ban, is forgotten.
pub const MAX_OFFENDERS: usize = 200_000;

/// What "for ever" is (fail2ban's `bantime = -1`): ten years.
pub(crate) const FOREVER_SECS: u64 = 10 * 365 * 86_400;

/// Settings of the policy (`[agent.detect.policy]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// How long a first decision lasts, unless its scenario says. Default `4h`.
    pub ban: Span,
    /// How many times as long each further one lasts. Default 2.
    pub factor: f64,
    /// The longest one. Default `7d`; a scenario that asks for more gets it.
    pub max_ban: Span,
    /// How long after its last ban an address is as new. Default `30d`.
    pub forget: Span,
    /// The most that is added to a duration, as a part of it. Default 0.1.
    pub jitter: f64,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            ban: Span::secs(4 * 3600),
            factor: 2.0,
            max_ban: Span::secs(7 * 86_400),
            forget: Span::secs(30 * 86_400),
            jitter: 0.1,
        }
    }
}

impl PolicyConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        if !(1.0..=100.0).contains(&self.factor) {
            mistakes.push(format!("policy.factor = {} must be from 1 to 100", self.factor));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            mistakes.push(format!("policy.jitter = {} must be from 0 to 1", self.jitter));
        }
        if self.max_ban < self.ban {
            mistakes.push("policy.max_ban must not be shorter than policy.ban".to_owned());
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

/// What became of an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The scenario asks for nothing.
    Nothing,
    /// A decision is in force until then.
    InForce(Timestamp),
    /// This is decided.
    Decided(Box<Decision>),
}

/// What a decision is made on. It costs more than most decisions about alerts,
/// which are that nothing changes; so it is made when it is needed.
#[derive(Clone, Debug)]
pub struct Grounds {
    /// The event of the alert.
    pub alert: EventId,
    /// Why, in words of our own.
    pub reason: String,
    /// Events that show it.
    pub evidence: Vec<EventId>,
}

/// A number from 0 to 1 that depends on the target and its bans alone.
fn chance(target: &DecisionTarget, bans: u32) -> f64 {
    let hash = stable_hash(format!("{target} {bans}").as_bytes()) >> 11;
    hash as f64 / (1u64 << 53) as f64
}

/// How long a ban of a jail is, as its own settings have it.
fn jail_secs(time: &BanTime, bans: u32, target: &DecisionTarget) -> u64 {
    let secs = time.of(bans, chance(target, bans));
    secs.map_or(FOREVER_SECS, |secs| (secs.round().max(1.0) as u64).min(FOREVER_SECS))
}

/// Decides, and remembers about whom.
#[derive(Clone, Debug)]
pub struct Policy {
    config: PolicyConfig,
    offences: Offences,
}

impl Policy {
    /// A policy that remembers nobody.
    #[must_use]
    pub fn new(config: PolicyConfig) -> Self {
        Self { config, offences: Offences::default() }
    }

    /// Whom a decision after an alert is about.
    #[must_use]
    pub fn target(alert: &Alert) -> Option<DecisionTarget> {
        match alert.group {
            Group::Address(address) => Some(DecisionTarget::Ip(address.to_canonical())),
            Group::Network(net) => Some(DecisionTarget::Range(net)),
            Group::User(_) | Group::Asn(_) => None,
        }
    }

    /// Decides about an alert that nothing speaks against. `grounds` is asked where
    /// something is decided.
    pub fn decide(
        &mut self,
        alert: &Alert,
        (scenario, simulation): (&Scenario, Simulation),
        grounds: impl FnOnce() -> Grounds,
    ) -> Outcome {
        let Some((kind, target)) = scenario.decision.clone().zip(Self::target(alert)) else {
            return Outcome::Nothing;
        };
        let base = scenario.ban.unwrap_or(self.config.ban);
        let base_secs = u64::from(base.as_secs());
        let known = self.offences.get(&target);
        let bans = match known {
            Some(offence) if !simulation.is_on() => {
                if alert.at < offence.until {
                    if base_secs <= offence.base_secs {
                        return Outcome::InForce(offence.until);
                    }
                    // It is made longer, and is no further one.
                    return self.made(
                        alert,
                        (scenario, simulation),
                        (kind, target),
                        offence.bans.saturating_sub(1),
                        grounds(),
                    );
                }
                let forget = offence.until.plus_millis(self.config.forget.as_millis());
                if alert.at < forget { offence.bans } else { 0 }
            }
            _ => 0,
        };
        self.made(alert, (scenario, simulation), (kind, target), bans, grounds())
    }

    /// The decision after so many earlier ones, remembered.
    fn made(
        &mut self,
        alert: &Alert,
        (scenario, simulation): (&Scenario, Simulation),
        (kind, target): (DecisionType, DecisionTarget),
        bans: u32,
        Grounds { alert: id, reason, evidence }: Grounds,
    ) -> Outcome {
        let base = scenario.ban.unwrap_or(self.config.ban);
        let decision = Decision {
            id: decision_id(id, &kind),
            kind,
            target,
            from: alert.at,
            duration_secs: match &scenario.ban_time {
                Some(time) => jail_secs(time, bans, &target),
                None => self.duration_secs(base, bans, &target),
            },
            scenario: scenario.name.clone(),
            reason: reason.into(),
            alert: id,
            evidence,
            simulated: simulation.is_on(),
        };
        if !simulation.is_on() {
            let offence = Offence {
                bans: bans.saturating_add(1),
                base_secs: u64::from(base.as_secs()),
                until: decision.until(),
                ban: decision.is_ban(),
                from: decision.from,
                heard: false,
            };
            self.remember(target, offence);
        }
        Outcome::Decided(Box::new(decision))
    }

    fn duration_secs(&self, base: Span, bans: u32, target: &DecisionTarget) -> u64 {
        let base = base.as_millis() as f64 / 1000.0;
        let longest = (self.config.max_ban.as_millis() as f64 / 1000.0).max(base);
        let grown = base * self.config.factor.powi(i32::try_from(bans.min(64)).unwrap_or(64));
        let grown = grown.min(longest);
        let part = chance(target, bans);
        (grown * (1.0 + self.config.jitter * part)).round().max(1.0) as u64
    }

    fn remember(&mut self, target: DecisionTarget, offence: Offence) {
        if self.offences.len() >= MAX_OFFENDERS && self.offences.get(&target).is_none() {
            let mut all: Vec<(Timestamp, DecisionTarget)> =
                self.offences.iter().map(|(target, offence)| (offence.until, target)).collect();
            let tenth = MAX_OFFENDERS / 10;
            all.select_nth_unstable(tenth);
            for (_, target) in all.iter().take(tenth) {
                self.offences.remove(target);
            }
        }
        self.offences.insert(target, offence);
    }

    /// Takes back a decision that was made before, where it is not known yet: it
    /// stays in force for the time that it has left, and counts for the next.
    pub fn restore(&mut self, decision: &Decision) {
        self.take(decision, false);
    }

    /// Takes over what was decided elsewhere; whether that is news.
    pub fn hear(&mut self, decision: &Decision) -> bool {
        self.take(decision, true)
    }

    fn take(&mut self, decision: &Decision, heard: bool) -> bool {
        if decision.simulated {
            return false;
        }
        let until = decision.until();
        let known = self.offences.get(&decision.target);
        let is_news = known.is_none_or(|known| known.until < until);
        if is_news {
            let bans = known.map_or(0, |known| known.bans).saturating_add(1);
            let offence = Offence {
                bans,
                base_secs: decision.duration_secs,
                until,
                ban: decision.is_ban(),
                from: decision.from,
                heard,
            };
            self.remember(decision.target, offence);
        }
        is_news
    }

    /// The clock was set by so many milliseconds: what is in force lasts as long
    /// as before.
    pub fn shift(&mut self, millis: i64) {
        self.offences.change(|offence| {
            offence.until = offence.until.plus_millis(millis);
            offence.from = offence.from.plus_millis(millis);
        });
    }

    /// All that is remembered, to be written while this one goes on.
    #[must_use]
    pub fn save(&self) -> OffenceList {
        OffenceList(self.offences.clone())
    }

    /// Takes back what [`Self::save`] gave.
    pub fn load(&mut self, list: &OffenceList) {
        for (target, offence) in list.0.iter() {
            self.remember(target, offence);
        }
    }

    /// Who is banned at `now`, and until when; in no particular order.
    pub fn banned(&self, now: Timestamp) -> impl Iterator<Item = (DecisionTarget, Timestamp)> {
        let holds = move |offence: &Offence| offence.ban && now < offence.until;
        let all = self.offences.iter().filter(move |(_, offence)| holds(offence));
        all.map(|(target, offence)| (target, offence.until))
    }

    /// Who is banned at `now` because the hub said so.
    pub fn heard_of(&self, now: Timestamp) -> impl Iterator<Item = DecisionTarget> {
        let holds = move |offence: &Offence| offence.heard && offence.ban && now < offence.until;
        self.offences.iter().filter(move |(_, offence)| holds(offence)).map(|(target, _)| target)
    }

    /// Ends what is in force about a target and was decided until `at`; it still
    /// counts for the next. Whether something ended.
    pub fn lift(&mut self, target: &DecisionTarget, at: Timestamp) -> bool {
        match self.offences.get(target) {
            Some(offence) if offence.from <= at && at < offence.until => {
                self.offences.insert(*target, Offence { until: at, ..offence });
                true
            }
            _ => false,
        }
    }

    /// How many decisions are in force at `now`.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> usize {
        self.offences.iter().filter(|(_, offence)| now < offence.until).count()
    }

    /// How many decisions there were about a target.
    #[must_use]
    pub fn bans(&self, target: &DecisionTarget) -> u32 {
        self.offences.get(target).map_or(0, |offence| offence.bans)
    }

    /// How many targets are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.offences.len()
    }
}

/// The same for the same alert and type, however often it is derived.
fn decision_id(alert: EventId, kind: &DecisionType) -> EventId {
    EventId::derived(
        alert.timestamp(),
        &[b"decision", &alert.as_u128().to_be_bytes(), kind.as_str().as_bytes()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse_scenario;

    fn scenario(more: &str) -> Scenario {
        let text =
            format!("name = \"s\"\ndescription = \"d\"\nkind = \"trigger\"\nfilter = \"\"\n{more}");
        parse_scenario(&text, "test").unwrap()
    }

    fn alert(address: &str, secs: i64) -> Alert {
        Alert {
            scenario: 0,
            at: Timestamp::from_millis(secs * 1000),
            group: Group::Address(address.parse().unwrap()),
            source: address.parse().ok(),
            count: 1,
        }
    }

    fn decide(policy: &mut Policy, scenario: &Scenario, address: &str, secs: i64) -> Outcome {
        let id = EventId::from_u128(7);
        let simulation = scenario.simulation.into();
        let grounds = || Grounds { alert: id, reason: "because".to_owned(), evidence: Vec::new() };
        policy.decide(&alert(address, secs), (scenario, simulation), grounds)
    }

    fn secs(outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Decided(decision) => decision.duration_secs,
            other => panic!("{other:?}"),
        }
    }

    fn plain() -> Policy {
        Policy::new(PolicyConfig { jitter: 0.0, ..PolicyConfig::default() })
    }

    #[test]
    fn each_further_ban_is_twice_as_long_up_to_the_longest() {
        let (mut policy, scenario) = (plain(), scenario(""));
        let mut now = 0;
        let mut hours = Vec::new();
        for _ in 0..8 {
            let lasts = secs(decide(&mut policy, &scenario, "198.51.100.7", now));
            hours.push(lasts / 3600);
            now += lasts as i64 + 1;
        }
        assert_eq!(hours, [4, 8, 16, 32, 64, 128, 168, 168]);
        now += 31 * 86_400;
        assert_eq!(
            secs(decide(&mut policy, &scenario, "198.51.100.7", now)) / 3600,
            4,
            "forgotten"
        );
        assert_eq!(secs(decide(&mut policy, &scenario, "198.51.100.8", now)) / 3600, 4);
    }

    #[test]
    fn who_is_banned_is_not_banned_again_but_for_longer() {
        let (mut policy, short) = (plain(), scenario("ban = \"1h\""));
        let long = scenario("ban = \"30d\"");
        decide(&mut policy, &short, "198.51.100.7", 0);
        let until = Timestamp::from_millis(3_600_000);
        assert_eq!(decide(&mut policy, &short, "198.51.100.7", 60), Outcome::InForce(until));
        assert_eq!(secs(decide(&mut policy, &long, "198.51.100.7", 61)), 30 * 86_400);
        assert!(matches!(decide(&mut policy, &short, "198.51.100.7", 7200), Outcome::InForce(_)));
    }

    #[test]
    fn jitter_is_bounded_and_the_same_each_time() {
        let scenario = scenario("ban = \"1000s\"");
        let lasts = |address: &str| {
            secs(decide(&mut Policy::new(PolicyConfig::default()), &scenario, address, 0))
        };
        let all: Vec<u64> = (1..200).map(|n| lasts(&format!("198.51.100.{n}"))).collect();
        assert!(all.iter().all(|lasts| (1000..=1100).contains(lasts)));
        assert!(all.iter().collect::<std::collections::HashSet<_>>().len() > 50);
        assert_eq!(lasts("198.51.100.7"), lasts("198.51.100.7"));
    }

    #[test]
    fn a_simulated_decision_bans_nobody_and_counts_for_nothing() {
        let (mut policy, simulated) = (plain(), scenario("simulation = true"));
        for secs in 0..3 {
            match decide(&mut policy, &simulated, "198.51.100.7", secs) {
                Outcome::Decided(decision) => assert!(decision.simulated),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(policy.remembered(), 0);
    }

    #[test]
    fn a_restored_ban_has_the_time_that_it_had_left() {
        let (mut policy, scenario) = (plain(), scenario(""));
        let Outcome::Decided(decision) = decide(&mut policy, &scenario, "198.51.100.7", 0) else {
            panic!()
        };
        let mut next = plain();
        next.restore(&decision);
        next.restore(&decision);
        assert_eq!(next.bans(&decision.target), 1, "the same one again is none more");
        let mut loaded = plain();
        loaded.load(&next.save());
        assert_eq!(loaded.in_force(decision.from), 1);
        assert_eq!(loaded.in_force(decision.until()), 0);
        let until = decision.until();
        assert_eq!(decide(&mut next, &scenario, "198.51.100.7", 60), Outcome::InForce(until));
        let after = 4 * 3600 + 1;
        assert_eq!(secs(decide(&mut next, &scenario, "198.51.100.7", after)), 8 * 3600);
    }

    #[test]
    fn scenarios_that_ask_for_nothing_get_nothing() {
        let mut policy = plain();
        let scenario = scenario("decision = \"none\"");
        assert_eq!(decide(&mut policy, &scenario, "198.51.100.7", 0), Outcome::Nothing);
        let mut about_user = alert("198.51.100.7", 0);
        about_user.group = Group::User(1);
        assert_eq!(Policy::target(&about_user), None);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = PolicyConfig { factor: 0.5, jitter: 2.0, ..PolicyConfig::default() };
        assert_eq!(config.validate().unwrap_err().len(), 2);
        assert_eq!(PolicyConfig::default().validate(), Ok(()));
    }
}
