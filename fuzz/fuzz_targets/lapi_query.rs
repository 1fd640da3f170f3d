//! Any text as the parameters of a CrowdSec bouncer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(query) = std::str::from_utf8(data) {
        palisade_api::fuzzing::lapi_query(query);
    }
});
