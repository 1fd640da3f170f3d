//! How observations are written in expectations.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::fmt::Write as _;

use palisade_rules::{LineContext, LineState, LogFormat, Observation, Parsed};

/// The evening of the samples, in a zone with summer time.
pub(crate) fn context() -> LineContext {
    let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    LineContext { now: "2026-11-20T21:00:00Z".parse().unwrap(), zone }
}

/// An observation, in one line.
pub(crate) fn show(observation: &Observation) -> String {
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

/// What a line says, in one line.
pub(crate) fn outcome(format: &LogFormat, line: &[u8], state: &mut LineState) -> String {
    match format.parse(line, state) {
        Parsed::Observation(observation) => show(&observation),
        Parsed::Several(observations) => {
            assert!(!observations.is_empty());
            observations.iter().map(show).collect::<Vec<_>>().join(" + ")
        }
        Parsed::Irrelevant => "irrelevant".into(),
        Parsed::Unparsed => "unparsed".into(),
    }
}
