//! Any bytes as the saved state of an engine: refused or taken, never a panic,
//! and what was taken is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_rules::scenario::shipped_scenarios;
use palisade_rules::{Engine, EngineOptions};

fuzz_target!(|bytes: &[u8]| {
    let options = EngineOptions { max_tracked: 1000, ..EngineOptions::default() };
    let mut engine = Engine::new(shipped_scenarios().unwrap(), options).unwrap();
    let mut saved = engine.counter().save();
    // The mark of the scenarios is right, the rest is not ours.
    saved.truncate(8);
    saved.extend_from_slice(bytes);
    if engine.counter().restore(&saved) {
        let again = engine.counter().save();
        assert_eq!(again.len(), saved.len());
        assert!(engine.counter().restore(&again));
    }
});
