//! Any bytes as a body in Glimpse's dialect.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    palisade_api::fuzzing::glimpse_body(data);
});
