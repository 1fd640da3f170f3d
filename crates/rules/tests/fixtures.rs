//! The log samples of `fixtures/logs/sshd`: each `NAME.log` has lines as
//! OpenSSH writes them, `NAME.expected` one line of outcome for each.
//!
//! After a wanted change, `PALISADE_BLESS=1 cargo test -p palisade-rules`
//! rewrites the expectations; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test: a failure is a panic")]

use std::fmt::Write as _;
use std::path::PathBuf;

use palisade_rules::{LineContext, Observation, Parsed, parse_sshd};

fn context() -> LineContext {
    let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    LineContext { now: "2026-11-20T21:00:00Z".parse().unwrap(), zone }
}

fn show(observation: &Observation) -> String {
    let mut line = format!("{} {}", observation.kind, observation.observed_at);
    if let Some(end) = observation.source {
        let _ = write!(line, " source={}", end.address);
        if let Some(port) = end.port {
            let _ = write!(line, " port={port}");
        }
    }
    if let Some(credentials) = &observation.credentials {
        if let Some(user) = &credentials.username {
            let _ = write!(line, " user=\"{user}\"");
        }
        if let Some(outcome) = credentials.outcome {
            let _ = write!(line, " outcome={}", outcome.as_str());
        }
    }
    if let Some(host) = &observation.host {
        let _ = write!(line, " host={host}");
    }
    for (name, text) in [("request", &observation.request), ("client", &observation.client)] {
        if let Some(text) = text {
            let _ = write!(line, " {name}=\"{text}\"");
        }
    }
    for (name, value) in &observation.attributes {
        let _ = write!(line, " {name}={value}");
    }
    if observation.repeat > 1 {
        let _ = write!(line, " repeat={}", observation.repeat);
    }
    line
}

fn outcome(line: &[u8], cx: &LineContext) -> String {
    match parse_sshd(line, cx) {
        Parsed::Observation(observation) => show(&observation),
        Parsed::Irrelevant => "irrelevant".into(),
        Parsed::Unparsed => "unparsed".into(),
    }
}

#[test]
fn every_sample_line_has_its_expected_outcome() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/logs/sshd"));
    let mut logs: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() >= 5, "the samples are missing in {}", folder.display());
    let cx = context();
    for log in logs {
        let bytes = std::fs::read(&log).unwrap();
        let got: String = bytes
            .strip_suffix(b"\n")
            .unwrap_or(&bytes)
            .split(|b| *b == b'\n')
            .map(|line| outcome(line, &cx) + "\n")
            .collect();
        let file = log.with_extension("expected");
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::write(&file, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        for (number, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
            assert_eq!(got, expected, "{}:{}", log.display(), number + 1);
        }
        assert_eq!(got.lines().count(), expected.lines().count(), "{}", log.display());
    }
}
