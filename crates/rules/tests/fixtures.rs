//! The log samples of `fixtures/logs/FORMAT`: each `NAME.log` has lines as the
//! program writes them, `NAME.expected` one line of outcome for each.
//!
//! After a wanted change, `PALISADE_BLESS=1 cargo test -p palisade-rules`
//! rewrites the expectations; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test: a failure is a panic")]

use std::fmt::Write as _;
use std::path::PathBuf;

use palisade_rules::{LineContext, LogFormat, Observation, Parsed};

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
    if let Some(end) = observation.target {
        let _ = write!(line, " target={}", end.address);
        if let Some(port) = end.port {
            let _ = write!(line, ":{port}");
        }
        if let Some(transport) = end.transport {
            let _ = write!(line, "/{}", transport.as_str());
        }
    }
    if let Some(credentials) = &observation.credentials {
        if let Some(user) = &credentials.username {
            let _ = write!(line, " user=\"{user}\"");
        }
        if let Some(password) = &credentials.password {
            let _ = write!(line, " password=\"{password}\"");
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
    if let Some(session) = &observation.session {
        let _ = write!(line, " session={session}");
    }
    if let Some(prints) = &observation.fingerprints {
        let _ = write!(line, " fingerprints={}", serde_json::to_string(prints).unwrap());
    }
    if let Some(payload) = observation.payload {
        let _ = write!(line, " payload={payload}");
    }
    if let Some(name) = &observation.payload_name {
        let _ = write!(line, " payload_name=\"{name}\"");
    }
    if let Some(cve) = &observation.cve {
        let _ = write!(line, " cve={cve}");
    }
    for (name, value) in &observation.attributes {
        let _ = write!(line, " {name}={value}");
    }
    if observation.repeat > 1 {
        let _ = write!(line, " repeat={}", observation.repeat);
    }
    line
}

fn outcome(format: LogFormat, line: &[u8], cx: &LineContext) -> String {
    match format.parse(line, cx) {
        Parsed::Observation(observation) => show(&observation),
        Parsed::Several(observations) => {
            assert!(!observations.is_empty());
            observations.iter().map(show).collect::<Vec<_>>().join(" + ")
        }
        Parsed::Irrelevant => "irrelevant".into(),
        Parsed::Unparsed => "unparsed".into(),
    }
}

fn check(format: LogFormat) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/logs"));
    let folder = folder.join(format.as_str());
    let mut logs: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let cx = context();
    let mut lines = 0;
    for log in logs {
        let bytes = std::fs::read(&log).unwrap();
        let got: String = bytes
            .strip_suffix(b"\n")
            .unwrap_or(&bytes)
            .split(|b| *b == b'\n')
            .map(|line| outcome(format, line, &cx) + "\n")
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
        lines += got.lines().count();
    }
    assert!(lines >= 5, "the samples are missing in {}", folder.display());
}

#[test]
fn every_sample_line_has_its_expected_outcome() {
    LogFormat::ALL.into_iter().for_each(check);
}
