//! Any bytes as the JSON of one event: no panic, and what is an event survives
//! being written and read again, and is shown escaped.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::wire::{MAX_EVENT_BYTES, decode_event, encode_event};

fuzz_target!(|text: &[u8]| {
    match decode_event(text) {
        Ok(event) => {
            assert!(text.len() <= MAX_EVENT_BYTES);
            assert_eq!(decode_event(&encode_event(&event)).ok().as_ref(), Some(&event));
            if let Some(request) = &event.request {
                assert!(!request.to_string().chars().any(char::is_control));
            }
        }
        Err(error) => assert!(error.to_string().len() < 4096),
    }
});
