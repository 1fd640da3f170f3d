//! Any bytes as what a CrowdSec bouncer tells of its work.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    palisade_api::fuzzing::lapi_usage(data);
});
