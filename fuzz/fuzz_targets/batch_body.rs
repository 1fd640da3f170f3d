//! Any bytes as the body of a delivery: taken apart within its bounds, and
//! whatever is an event survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::wire::{Batch, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, decode_event, encode_event};

fuzz_target!(|data: &[u8]| {
    let Some((flag, body)) = data.split_first() else { return };
    let packed = flag % 2 == 1;
    let Some(plain) = palisade_api::fuzzing::unpack(body, packed) else { return };
    assert!(plain.len() <= MAX_BATCH_BYTES || !packed);
    let Ok(batch) = Batch::decode(&plain) else { return };
    assert!(batch.events.len() <= MAX_BATCH_EVENTS);
    for event in batch.events {
        if let Ok(event) = decode_event(event.get().as_bytes()) {
            assert_eq!(decode_event(&encode_event(&event)).ok(), Some(event));
        }
    }
});
