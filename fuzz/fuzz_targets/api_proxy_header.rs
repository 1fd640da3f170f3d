//! The PROXY header before a connection to the API.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(length) = palisade_api::fuzzing::proxy_header(bytes) {
        assert!(length <= bytes.len());
    }
});
