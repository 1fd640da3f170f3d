//! The samples of `ruleset/scenarios`: each scenario has a log (`NAME.log`, as
//! sshd writes it) or events (`NAME.events`, JSON lines), and `NAME.expected`
//! has what all shipped scenarios that run where it does make of it.
//!
//! After a wanted change, `PALISADE_BLESS=1 cargo test -p palisade-rules`
//! rewrites the expectations; read the difference before committing it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a failure is a panic")]

use std::fmt::Write as _;
use std::path::PathBuf;

use palisade_event::Event;
use palisade_rules::scenario::{Runs, SHIPPED_SCENARIOS, shipped_for};
use palisade_rules::{
    Allowlist, Detector, Engine, EngineOptions, Finding, LineContext, Policy, PolicyConfig, Sight,
    Sighting, SyslogClock, sight_sshd,
};

fn detector(runs: Runs) -> Detector {
    let engine = Engine::new(shipped_for(runs).unwrap(), EngineOptions::default()).unwrap();
    Detector::new(engine, Allowlist::default(), Policy::new(PolicyConfig::default()))
}

fn show(detector: &Detector, findings: Vec<Finding>, out: &mut String) {
    for finding in findings {
        let scenario = &detector.engine().scenarios()[finding.alert.scenario];
        writeln!(
            out,
            "{} {} {} count={} -> {}",
            finding.alert.at,
            scenario.name,
            finding.alert.group,
            finding.alert.count,
            finding.verdict
        )
        .unwrap();
    }
}

fn of_log(bytes: &[u8], runs: Runs) -> String {
    let mut detector = detector(runs);
    let mut out = String::new();
    let now = "2026-11-20T23:00:00Z".parse().unwrap();
    let mut clock = SyslogClock::new(LineContext { now, zone: jiff::tz::TimeZone::UTC });
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let mut see = |sighting: &Sighting<'_>| {
            let findings = detector.see(sighting, None);
            show(&detector, findings, &mut out);
        };
        let sight = sight_sshd(line, &mut clock, &mut see);
        assert_ne!(sight, Sight::Unparsed, "{}", String::from_utf8_lossy(line));
    }
    out
}

fn of_events(bytes: &[u8], runs: Runs) -> String {
    let mut detector = detector(runs);
    let mut out = String::new();
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let event: Event = serde_json::from_slice(line).unwrap();
        event.validate().unwrap();
        let findings = detector.see(&Sighting::from(&event), Some(event.id));
        show(&detector, findings, &mut out);
    }
    out
}

#[test]
fn every_shipped_scenario_finds_what_its_sample_says_and_nothing_else() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ruleset/scenarios"));
    for file in SHIPPED_SCENARIOS {
        let path = |end: &str| folder.join(format!("{}.{end}", file.name));
        let runs = file.scenario().unwrap().runs;
        let got = match std::fs::read(path("log")) {
            Ok(bytes) => of_log(&bytes, runs),
            Err(_) => of_events(&std::fs::read(path("events")).unwrap(), runs),
        };
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::write(path("expected"), &got).unwrap();
        }
        let expected = std::fs::read_to_string(path("expected")).unwrap();
        assert_eq!(got, expected, "{}", file.name);
        assert!(got.contains(&format!(" {} ", file.name)), "{} finds nothing", file.name);
    }
}
