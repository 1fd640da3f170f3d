//! Each step from a line of a log to a decision, for people who ask why.
//!
//! One way for the command line and for the page: what is said here is what a
//! [`Detector`] does, with counters of its own, so that nothing that runs is
//! touched.

use std::net::IpAddr;

use palisade_event::{EventKind, Outcome, Timestamp, Untrusted};
use serde::Serialize;

use crate::parser::{LineReader, formats};
use crate::{Detector, Finding, LineContext, LogFormat, Sighting, Trace, Verdict};

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedLine {
    /// The line.
    pub line: Untrusted,
    /// The parser that understood it.
    pub parser: Option<String>,
    /// Whether one did.
    pub understood: bool,
    /// The parsers that were asked, where the line said nothing that is counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<String>,
    /// What the line says.
    pub sightings: Vec<ExplainedSighting>,
}

/// What became of one thing that a line says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedSighting {
    /// What was seen.
    pub sighting: SightingFields,
    /// What the scenarios made of it.
    pub scenarios: Vec<ExplainedScenario>,
    /// The alerts that it led to.
    pub alerts: Vec<ExplainedAlert>,
}

/// The fields of a sighting that are known, by their names in filters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SightingFields {
    /// What happened.
    pub kind: EventKind,
    /// When, by the clock of who saw it.
    pub at: Timestamp,
    /// The program that was attacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The machine where it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Untrusted>,
    /// The address it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The port it was aimed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The login name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Untrusted>,
    /// How a login ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The path with the query, or what else was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Untrusted>,
    /// The path without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Untrusted>,
    /// The method of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Untrusted>,
    /// The status with which an HTTP server answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Untrusted>,
    /// The reason that the program gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Untrusted>,
    /// The autonomous system of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// How many times it happened, where that is more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
}

/// What one scenario made of a sighting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExplainedScenario {
    /// Its name.
    pub scenario: String,
    /// Whether its filter matches.
    pub matched: bool,
    /// The first condition that is not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<String>,
    /// Why it was not counted though it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// So many now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// So many make an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// `true` where it made an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<bool>,
}

/// An alert and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedAlert {
    /// The scenario that made it.
    pub scenario: String,
    /// Whom it is about.
    pub group: String,
    /// What was seen, in words of our own.
    pub reason: String,
    /// What became of it, in a few words.
    pub verdict: String,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<ExplainedDecision>,
}

/// A decision as it would be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedDecision {
    /// What is done, such as `ban`.
    #[serde(rename = "type")]
    pub kind: String,
    /// To whom.
    pub value: String,
    /// For how long.
    pub duration_secs: u64,
    /// Until when.
    pub until: Timestamp,
    /// Whether it is recorded and never carried out.
    pub simulated: bool,
}

/// Explains lines; those of one explainer are counted together.
#[derive(Debug)]
pub struct Explainer {
    detector: Detector,
    cx: LineContext,
    parser: Option<LogFormat>,
    shown: Shown,
}

/// Which scenarios are told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those whose filter matches.
    Matched,
    /// All of them, with the first condition that is not met.
    All,
}

impl Explainer {
    /// Explains with a detector that has seen nothing. Without a parser the
    /// first one is taken that has something to say about a line.
    #[must_use]
    pub fn new(
        detector: Detector,
        cx: LineContext,
        parser: Option<LogFormat>,
        shown: Shown,
    ) -> Self {
        Self { detector, cx, parser, shown }
    }

    /// The steps of one line.
    pub fn line(&mut self, line: &[u8]) -> ExplainedLine {
        let candidates: Vec<LogFormat> = match &self.parser {
            Some(format) => vec![format.clone()],
            None => formats().collect(),
        };
        let (mut tried, mut understood) = (Vec::new(), None);
        for format in candidates {
            let mut sightings = Vec::new();
            let mut reader = LineReader::new(format.clone(), self.cx.clone());
            let known = reader.look(line, |sighting| sightings.push(self.sighting(sighting)));
            if !sightings.is_empty() {
                return ExplainedLine {
                    line: Untrusted::from(line),
                    parser: Some(format.to_string()),
                    understood: true,
                    tried: Vec::new(),
                    sightings,
                };
            }
            tried.push(format.to_string());
            if known && understood.is_none() {
                understood = Some(format);
            }
        }
        ExplainedLine {
            line: Untrusted::from(line),
            parser: understood.as_ref().map(ToString::to_string),
            understood: understood.is_some(),
            tried,
            sightings: Vec::new(),
        }
    }

    fn sighting(&mut self, sighting: &Sighting<'_>) -> ExplainedSighting {
        let (traces, findings) = self.detector.explain(sighting);
        let name = |place: usize| {
            let scenario = self.detector.engine().scenarios().get(place);
            scenario.map_or_else(String::new, |scenario| scenario.name.to_string())
        };
        let told =
            |trace: &Trace| self.shown == Shown::All || !matches!(trace, Trace::Unmatched { .. });
        ExplainedSighting {
            sighting: SightingFields::from(sighting),
            scenarios: traces.iter().filter(|trace| told(trace)).map(|t| step(t, name)).collect(),
            alerts: findings.iter().map(|finding| alert(finding, name)).collect(),
        }
    }
}

fn step(trace: &Trace, name: impl Fn(usize) -> String) -> ExplainedScenario {
    let matched = |place: usize| ExplainedScenario {
        scenario: name(place),
        matched: true,
        ..ExplainedScenario::default()
    };
    match trace {
        Trace::Unmatched { scenario, unmet } => {
            ExplainedScenario { matched: false, unmet: Some(unmet.clone()), ..matched(*scenario) }
        }
        Trace::NoGroup { scenario } => ExplainedScenario {
            note: Some("there is nothing to count it by, such as an address"),
            ..matched(*scenario)
        },
        Trace::NoValue { scenario } => ExplainedScenario {
            note: Some("it does not have the value that is told apart"),
            ..matched(*scenario)
        },
        Trace::Counted { scenario, count, of } => {
            ExplainedScenario { count: Some(*count), of: Some(*of), ..matched(*scenario) }
        }
        Trace::Silent { scenario } => ExplainedScenario {
            note: Some("not counted: its last alert is within the blackhole"),
            ..matched(*scenario)
        },
        Trace::Triggered { scenario, count } => {
            ExplainedScenario { count: Some(*count), alert: Some(true), ..matched(*scenario) }
        }
    }
}

fn alert(finding: &Finding, name: impl Fn(usize) -> String) -> ExplainedAlert {
    let decision = match &finding.verdict {
        Verdict::Decided(decision) => Some(ExplainedDecision {
            kind: decision.kind.to_string(),
            value: decision.target.to_string(),
            duration_secs: decision.duration_secs,
            until: decision.until(),
            simulated: decision.simulated,
        }),
        _ => None,
    };
    ExplainedAlert {
        scenario: name(finding.alert.scenario),
        group: finding.alert.group.to_string(),
        reason: finding.reason.clone(),
        verdict: finding.verdict.to_string(),
        decision,
    }
}

impl From<&Sighting<'_>> for SightingFields {
    fn from(sighting: &Sighting<'_>) -> Self {
        let text = |bytes: Option<&[u8]>| bytes.map(Untrusted::from);
        Self {
            kind: sighting.kind,
            at: sighting.at,
            service: (!sighting.service.is_empty()).then(|| sighting.service.to_owned()),
            host: text(sighting.host),
            ip: sighting.source,
            port: sighting.target_port,
            user: text(sighting.user),
            outcome: sighting.outcome,
            request: text(sighting.request),
            path: text(sighting.path()),
            method: text(sighting.method),
            status: sighting.status,
            client: text(sighting.client),
            reason: text(sighting.reason),
            asn: sighting.asn,
            repeat: (sighting.repeat > 1).then_some(sighting.repeat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::shipped_scenarios;
    use crate::{Allowlist, Engine, EngineOptions, Policy, PolicyConfig};

    const LINE: &[u8] =
        b"Nov 20 10:00:00 web-1 sshd[7]: Failed password for root from 198.51.100.7 port 22 ssh2";

    fn explainer(parser: Option<LogFormat>, shown: Shown) -> Explainer {
        let engine = Engine::new(shipped_scenarios().unwrap(), EngineOptions::default()).unwrap();
        let policy = Policy::new(PolicyConfig::default());
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
        Explainer::new(Detector::new(engine, Allowlist::default(), policy), cx, parser, shown)
    }

    #[test]
    fn lines_of_one_explainer_are_counted_together() {
        let mut explainer = explainer(None, Shown::Matched);
        let lines: Vec<_> = (0..6).map(|_| explainer.line(LINE)).collect();
        let first = &lines[0].sightings[0];
        assert_eq!(first.sighting.ip, "198.51.100.7".parse().ok());
        let scenario = first.scenarios.iter().find(|one| one.scenario == "ssh-bruteforce").unwrap();
        assert_eq!((scenario.count, scenario.of, scenario.alert), (Some(1), Some(6), None));
        assert!(first.alerts.is_empty());
        let [alert] = &lines[5].sightings[0].alerts[..] else { panic!("{:?}", lines[5]) };
        let decision = alert.decision.as_ref().unwrap();
        assert_eq!((decision.kind.as_str(), decision.value.as_str()), ("ban", "198.51.100.7"));
    }

    #[test]
    fn what_no_scenario_counts_and_what_no_parser_knows_are_told_apart() {
        let mut explainer = explainer(None, Shown::All);
        let known = explainer.line(LINE);
        assert!(known.sightings[0].scenarios.iter().any(|one| one.unmet.is_some()));
        let unknown = explainer.line(b"\x1b[31mno such line\xff");
        assert_eq!((unknown.parser, unknown.understood), (None, false));
        assert!(unknown.tried.len() > 5 && unknown.sightings.is_empty());
    }

    #[test]
    fn a_named_parser_is_the_only_one_that_is_asked() {
        let mut explainer = explainer(Some(LogFormat::Cowrie), Shown::Matched);
        let line = explainer.line(LINE);
        assert_eq!((line.understood, line.tried), (false, vec!["cowrie".to_owned()]));
    }
}
