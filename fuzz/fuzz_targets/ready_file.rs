//! A file of ready aggregates, with checksums as they are and made to fit.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = palisade_store::read_ready_file(data);
});
