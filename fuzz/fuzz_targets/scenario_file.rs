//! Any text as a scenario file, a StrongMonitor configuration and a filter:
//! never a panic, and what was read counts any sighting without one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::{EventKind, Outcome, Timestamp};
use palisade_rules::scenario::{SightingFilter, parse_scenario};
use palisade_rules::{Engine, EngineOptions, Sighting, read_strongmonitor};

fuzz_target!(|text: &str| {
    let at = Timestamp::from_millis(1_795_132_800_000);
    let sighting = Sighting {
        source: "198.51.100.7".parse().ok(),
        user: Some(text.as_bytes()),
        request: Some(text.as_bytes()),
        outcome: Some(Outcome::Failed),
        status: Some(404),
        ..Sighting::new(EventKind::AuthAttempted, at, "sshd")
    };
    match SightingFilter::parse(text) {
        Ok(filter) => assert_eq!(filter.matches(&sighting), filter.unmet(&sighting).is_none()),
        Err(error) => assert!(error.at <= text.chars().count()),
    }
    if let Ok(scenario) = parse_scenario(text, "fuzz") {
        let mut engine = Engine::new(vec![scenario], EngineOptions::default()).unwrap();
        for secs in 0..8 {
            engine.see(&Sighting { at: at.plus_millis(secs * 1000), ..sighting.clone() });
        }
        let saved = engine.counter().save();
        assert!(engine.counter().restore(&saved));
    }
    if let Ok(made) = read_strongmonitor(text, None) {
        for (name, text) in &made.scenarios {
            parse_scenario(text, name).unwrap();
        }
    }
});
