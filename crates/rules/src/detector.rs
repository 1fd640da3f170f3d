//! Everything between a sighting and a decision: engine, evidence, allowlist,
//! policy. What comes out is what became of each alert; decisions are seen by
//! the scenarios that count decisions.

use std::collections::VecDeque;
use std::net::IpAddr;

use palisade_event::{
    AnalyzerName, Decision, DecisionTarget, Endpoint, Event, EventId, EventKind, SensorId,
    Timestamp, Untrusted, join_ids,
};

use crate::allowlist::{Allowlist, Spared, Suspect};
use crate::engine::{Alert, Engine, Group, Hit};
use crate::evidence::Evidence;
use crate::fail2ban::weight_of_known;
use crate::policy::{Grounds, Outcome, Policy};
use crate::scenario::{Rule, Scenario, Simulation, Switches};
use crate::{Sighting, Trace};

/// Most alerts that one sighting leads to, with those that its decisions lead to.
const MAX_FINDINGS: usize = 128;

/// What became of an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The scenario asks for nothing.
    Alerted,
    /// The allowlist spares them; the entry.
    Spared(String),
    /// The allowlist is not complete: the name that is not resolved yet.
    Withheld(String),
    /// A decision is in force until then.
    InForce(Timestamp),
    /// This was decided.
    Decided(Box<Decision>),
}

impl std::fmt::Display for Verdict {
    /// In a few words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alerted => f.write_str("alert only"),
            Self::Spared(entry) => write!(f, "allowed by {entry}"),
            Self::Withheld(name) => {
                write!(f, "withheld: the allowed name {name} has not been resolved")
            }
            Self::InForce(until) => write!(f, "in force until {until}"),
            Self::Decided(decision) => {
                let simulated = if decision.simulated { ", simulated" } else { "" };
                write!(f, "{} for {} s{simulated}", decision.kind, decision.duration_secs)
            }
        }
    }
}

/// An alert and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The id of the alert's event; the same however often it is derived.
    pub id: EventId,
    /// The alert.
    pub alert: Alert,
    /// What was seen, in words of our own.
    pub reason: String,
    /// Events that show it.
    pub evidence: Vec<EventId>,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether its scenario is simulated.
    pub simulation: Simulation,
}

impl Finding {
    /// The event that tells of the alert.
    #[must_use]
    pub fn to_event(&self, scenario: &Scenario, sensor: SensorId) -> Event {
        let mut event = Event::new(self.id, EventKind::ScenarioTriggered, self.alert.at, sensor)
            .with("scenario", scenario.name.as_str())
            .with("group", Untrusted::from(self.alert.group.to_string()))
            .with("count", i64::from(self.alert.count))
            .with("reason", Untrusted::from(self.reason.as_str()))
            .with("verdict", Untrusted::from(self.verdict.to_string()))
            .with("simulated", self.simulation.is_on());
        if !self.evidence.is_empty() {
            event = event.with("evidence", Untrusted::from(join_ids(&self.evidence)));
        }
        event.analyzer = AnalyzerName::new(scenario.name.as_str()).ok();
        event.source = self.alert.source.map(Endpoint::address);
        event
    }
}

/// What is known of a sighting beside its hit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The event of the sighting, where it has one.
    pub event: Option<EventId>,
    /// The login name.
    pub user: Option<&'a [u8]>,
}

/// Engine, evidence, allowlist and policy together.
#[derive(Clone, Debug)]
pub struct Detector {
    engine: Engine,
    evidence: Evidence,
    /// Of each scenario, in their order.
    simulation: Vec<Simulation>,
    /// Who is spared.
    pub allowlist: Allowlist,
    /// What is decided.
    pub policy: Policy,
}

impl Detector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(engine: Engine, allowlist: Allowlist, policy: Policy) -> Self {
        let mut made = Self {
            engine,
            evidence: Evidence::default(),
            simulation: Vec::new(),
            allowlist,
            policy,
        };
        made.simulate(&Switches::new());
        made
    }

    /// Simulates what the switches say, and what scenarios say that have none.
    pub fn simulate(&mut self, switches: &Switches) {
        let simulation = |scenario: &Scenario| {
            switches.get(&scenario.name).copied().unwrap_or(scenario.simulation).into()
        };
        self.simulation = self.engine.scenarios().iter().map(simulation).collect();
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to restore its state.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Looks at one sighting.
    pub fn see(&mut self, sighting: &Sighting<'_>, event: Option<EventId>) -> Vec<Finding> {
        let Some(hit) = self.engine.look(sighting) else { return Vec::new() };
        self.count(&hit, Origin { event, user: sighting.user })
    }

    /// Counts one hit.
    pub fn count(&mut self, hit: &Hit, origin: Origin<'_>) -> Vec<Finding> {
        if let Some((source, id)) = hit.source.zip(origin.event) {
            self.evidence.note(source, id);
        }
        let hit = &self.weighed(hit);
        let alerts = self.engine.counter().count(hit);
        self.judge(alerts, origin.user, hit.asn())
    }

    /// A hit of somebody who was banned before counts more, where its scenario
    /// wants that.
    fn weighed(&self, hit: &Hit) -> Hit {
        let weigher = self.engine.weigher(hit);
        let known = weigher.zip(hit.source).map(|(count, source)| {
            let target = DecisionTarget::Ip(source);
            weight_of_known(self.policy.bans(&target), count)
        });
        let mut hit = *hit;
        hit.repeat = known.map_or(hit.repeat, |weight| weight.max(hit.repeat));
        hit
    }

    /// Looks at one sighting and says what each scenario makes of it.
    pub fn explain(&mut self, sighting: &Sighting<'_>) -> (Vec<Trace>, Vec<Finding>) {
        let (traces, alerts) = self.engine.explain(sighting);
        let findings = self.judge(alerts, sighting.user, sighting.asn);
        (traces, findings)
    }

    /// What becomes of alerts, and of those that the decisions lead to.
    pub fn judge(
        &mut self,
        alerts: Vec<Alert>,
        user: Option<&[u8]>,
        asn: Option<u32>,
    ) -> Vec<Finding> {
        if alerts.is_empty() {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut waiting: VecDeque<Alert> = alerts.into();
        while let Some(alert) = waiting.pop_front() {
            let finding = self.one(alert, user, asn);
            waiting.extend(self.next_alerts(&finding.alert, &finding.verdict, asn));
            findings.push(finding);
            if findings.len() >= MAX_FINDINGS {
                break;
            }
        }
        findings
    }

    /// Like [`Self::judge`] for one alert, where nothing else than the verdicts is
    /// wanted.
    pub fn verdicts(
        &mut self,
        alert: Alert,
        user: Option<&[u8]>,
        mut each: impl FnMut(Alert, Verdict),
    ) {
        let verdict = self.verdict(&alert, user, None, |evidence, scenario| {
            let evidence = evidence_of(evidence, &alert);
            let id = alert_id(scenario, &alert, &evidence);
            Grounds { alert: id, reason: alert_reason(scenario, &alert), evidence }
        });
        let next = self.next_alerts(&alert, &verdict, None);
        each(alert, verdict);
        for Finding { alert, verdict, .. } in self.judge(next, user, None) {
            each(alert, verdict);
        }
    }

    /// The alerts that a verdict leads to.
    fn next_alerts(&mut self, alert: &Alert, verdict: &Verdict, asn: Option<u32>) -> Vec<Alert> {
        match verdict {
            Verdict::Decided(decision) if !decision.simulated => {
                let sighting = Sighting {
                    source: alert.source,
                    asn,
                    ..Sighting::new(EventKind::DecisionMade, decision.from, "palisade")
                };
                self.engine.see(&sighting)
            }
            _ => Vec::new(),
        }
    }

    fn one(&mut self, alert: Alert, user: Option<&[u8]>, asn: Option<u32>) -> Finding {
        let evidence = evidence_of(&self.evidence, &alert);
        let matcher = self.engine.matcher();
        let scenario = matcher.scenarios().get(alert.scenario);
        let (id, reason) = match scenario {
            Some(scenario) => {
                (alert_id(scenario, &alert, &evidence), alert_reason(scenario, &alert))
            }
            None => (EventId::derived(alert.at, &[b"alert"]), String::new()),
        };
        let verdict = self.verdict(&alert, user, asn, |_, _| Grounds {
            alert: id,
            reason: reason.clone(),
            evidence: evidence.clone(),
        });
        let simulation = self.simulation_of(&alert);
        Finding { id, alert, reason, evidence, verdict, simulation }
    }

    fn simulation_of(&self, alert: &Alert) -> Simulation {
        self.simulation.get(alert.scenario).copied().unwrap_or(Simulation::Off)
    }

    /// What becomes of one alert.
    fn verdict(
        &mut self,
        alert: &Alert,
        user: Option<&[u8]>,
        asn: Option<u32>,
        grounds: impl FnOnce(&Evidence, &Scenario) -> Grounds,
    ) -> Verdict {
        let matcher = self.engine.matcher();
        let Some(scenario) = matcher.scenarios().get(alert.scenario) else {
            return Verdict::Alerted;
        };
        let suspect = Suspect {
            target: Policy::target(alert),
            source: alert.source,
            user,
            asn,
            broke_in: matches!(scenario.rule, Rule::Sequence { .. }),
        };
        match self.allowlist.check(&suspect, alert.at) {
            Spared::By(entry) => return Verdict::Spared(entry),
            Spared::Unknown(name) if scenario.decision.is_some() => return Verdict::Withheld(name),
            Spared::Unknown(_) | Spared::No => {}
        }
        let what = (scenario, self.simulation_of(alert));
        match self.policy.decide(alert, what, || grounds(&self.evidence, scenario)) {
            Outcome::Nothing => Verdict::Alerted,
            Outcome::InForce(until) => Verdict::InForce(until),
            Outcome::Decided(decision) => Verdict::Decided(decision),
        }
    }
}

/// Events that show what an alert is about.
fn evidence_of(evidence: &Evidence, alert: &Alert) -> Vec<EventId> {
    match alert.group {
        Group::Address(address) => evidence.of(|source| source == address),
        Group::Network(net) => evidence.of(|source| net.contains(&source)),
        Group::User(_) | Group::Asn(_) => evidence.of(|source| Some(source) == alert.source),
    }
}

/// The id of the event of an alert, the same however often it is derived.
fn alert_id(scenario: &Scenario, alert: &Alert, evidence: &[EventId]) -> EventId {
    let last = evidence.last().map_or(0, |id| id.as_u128()).to_be_bytes();
    let (name, group) = (scenario.name.as_str(), alert.group.to_string());
    EventId::derived(alert.at, &[b"alert", name.as_bytes(), group.as_bytes(), &last])
}

/// What an alert says, in words of our own: never text of an attacker.
#[must_use]
pub fn alert_reason(scenario: &Scenario, alert: &Alert) -> String {
    let count = alert.count;
    match &scenario.rule {
        Rule::LeakyBucket { .. } => format!("{count} at once: {}", scenario.description),
        Rule::SlidingWindow { within: Some(within), .. } => {
            format!("{count} within {within}: {}", scenario.description)
        }
        Rule::SlidingWindow { within: None, .. } => format!("{count}: {}", scenario.description),
        Rule::Distinct { within, .. } => {
            format!("{count} different ones within {within}: {}", scenario.description)
        }
        Rule::Rate { within, .. } => {
            format!("{count} in {within}: {}", scenario.description)
        }
        Rule::Trigger => scenario.description.to_string(),
        Rule::Sequence { within, .. } => {
            format!("after {count} within {within}: {}", scenario.description)
        }
    }
}

/// The address of an alert that can be shown.
#[must_use]
pub fn alert_address(alert: &Alert) -> Option<IpAddr> {
    match alert.group {
        Group::Address(address) => Some(address),
        _ => alert.source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowlist::Allowed;
    use crate::engine::EngineOptions;
    use crate::policy::PolicyConfig;
    use crate::scenario::shipped_scenarios;

    fn detector(allowed: &[&str]) -> Detector {
        let engine = Engine::new(shipped_scenarios().unwrap(), EngineOptions::default()).unwrap();
        let entry = |value: &&str| Allowed::new(value.parse().unwrap(), "");
        let allowlist = Allowlist::new(allowed.iter().map(entry).collect());
        Detector::new(engine, allowlist, Policy::new(PolicyConfig::default()))
    }

    fn attack(detector: &mut Detector, address: &str, secs: i64) -> Vec<(String, Verdict)> {
        let mut all = Vec::new();
        for turn in 0..10i64 {
            let at = Timestamp::from_millis((1_795_000_000 + secs + turn) * 1000);
            let sighting = Sighting {
                source: address.parse().ok(),
                user: Some(b"root"),
                outcome: Some(palisade_event::Outcome::Failed),
                ..Sighting::new(EventKind::AuthAttempted, at, "sshd")
            };
            let id = EventId::from_u128((secs + turn) as u128 + 1);
            for finding in detector.see(&sighting, Some(id)) {
                let name = detector.engine().scenarios()[finding.alert.scenario].name.to_string();
                all.push((name, finding.verdict));
            }
        }
        all
    }

    #[test]
    fn an_attack_is_decided_once_with_its_evidence() {
        let mut detector = detector(&[]);
        let found = attack(&mut detector, "198.51.100.7", 0);
        let [(name, Verdict::Decided(decision))] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(name, "ssh-bruteforce");
        assert_eq!(decision.target.to_string(), "198.51.100.7");
        assert_eq!(decision.evidence.len(), 6);
        assert!((14_400..=15_840).contains(&decision.duration_secs));
        let again = attack(&mut detector, "198.51.100.7", 120);
        assert!(matches!(again.as_slice(), [(_, Verdict::InForce(_)), ..]), "{again:?}");
    }

    #[test]
    fn a_switch_is_heard_at_once_whatever_the_file_says() {
        let mut detector = detector(&[]);
        let name = palisade_event::ScenarioName::new("ssh-bruteforce").unwrap();
        let simulated = |found: &[(String, Verdict)]| match found {
            [(_, Verdict::Decided(decision)), ..] => decision.simulated,
            other => panic!("{other:?}"),
        };
        detector.simulate(&Switches::from([(name.clone(), true)]));
        assert!(simulated(&attack(&mut detector, "198.51.100.7", 0)));
        assert_eq!(detector.policy.remembered(), 0, "a simulated decision counts for nothing");
        detector.simulate(&Switches::from([(name, false)]));
        assert!(!simulated(&attack(&mut detector, "198.51.100.7", 120)));
        detector.simulate(&Switches::new());
        assert!(!simulated(&attack(&mut detector, "198.51.100.8", 120)));
    }

    #[test]
    fn the_third_decision_makes_a_repeat_offender() {
        let mut detector = detector(&[]);
        let mut names = Vec::new();
        for day in 0..3 {
            let found = attack(&mut detector, "198.51.100.7", day * 86_400);
            names.extend(found.into_iter().map(|(name, _)| name));
        }
        assert_eq!(
            names,
            ["ssh-bruteforce", "ssh-bruteforce", "ssh-bruteforce", "repeat-offender"]
        );
        let target = "198.51.100.7".parse().unwrap();
        assert_eq!(detector.policy.bans(&target), 3, "a ban made longer is no further one");
    }

    #[test]
    fn who_is_allowed_or_may_be_is_not_decided_about() {
        let found = attack(&mut detector(&["198.51.100.0/24"]), "198.51.100.7", 0);
        assert!(matches!(found.as_slice(), [(_, Verdict::Spared(_))]), "{found:?}");
        let found = attack(&mut detector(&["office.example"]), "198.51.100.7", 0);
        assert!(matches!(found.as_slice(), [(_, Verdict::Withheld(_))]), "{found:?}");
        let found = attack(&mut detector(&["user:root"]), "198.51.100.7", 0);
        assert!(matches!(found.as_slice(), [(_, Verdict::Spared(_))]), "{found:?}");
        let found = attack(&mut detector(&[]), "127.0.0.1", 0);
        assert!(matches!(found.as_slice(), [(_, Verdict::Spared(_))]), "{found:?}");
    }

    #[test]
    fn the_event_of_an_alert_is_the_same_each_time_it_is_derived() {
        let events = || {
            let mut detector = detector(&[]);
            let sighting = Sighting {
                source: "198.51.100.7".parse().ok(),
                ..Sighting::new(
                    EventKind::ConnectionOpened,
                    Timestamp::from_millis(1_795_000_000_000),
                    "telnet",
                )
            };
            let findings = detector.see(&sighting, Some(EventId::from_u128(5)));
            let sensor = SensorId::new("unit").unwrap();
            findings
                .iter()
                .map(|finding| {
                    let scenario = &detector.engine().scenarios()[finding.alert.scenario];
                    let event = finding.to_event(scenario, sensor.clone());
                    assert_eq!(event.validate(), Ok(()));
                    event
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(events(), events());
        assert_eq!(events().len(), 1);
        assert_eq!(events()[0].kind, EventKind::ScenarioTriggered);
    }
}
