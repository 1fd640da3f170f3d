//! Any bytes as an agent's report: read within its bounds, and whatever is read
//! is written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::{EffectReport, MAX_EFFECT_TARGETS, MAX_REFUSALS};

fuzz_target!(|data: &[u8]| {
    let Ok(report) = EffectReport::decode(data) else { return };
    assert!(report.dropped.len() <= MAX_EFFECT_TARGETS && report.refused.len() <= MAX_REFUSALS);
    assert_eq!(EffectReport::decode(&report.encode()).ok(), Some(report));
});
