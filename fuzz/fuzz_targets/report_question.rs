//! Any text as a question to the report API.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(uri) = std::str::from_utf8(data) {
        palisade_api::fuzzing::report_question(uri);
    }
});
