//! Any bytes as a connection's frames: no panic, and what is a frame is written
//! again as it was read. What a payload becomes is within the limits of events.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    palisade_api::fuzzing::hpfeeds_frames(bytes);
});
