//! Query text from a browser or a key's owner: never a panic, errors point into
//! the text, and what was read prints to text that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::Timestamp;
use palisade_store::query::{MAX_QUERY_BYTES, Query};

fuzz_target!(|text: &str| {
    let now = Timestamp::from_millis(1_795_132_800_000);
    match Query::parse(text, now) {
        Ok(query) => {
            let printed = query.to_string();
            if printed.len() <= MAX_QUERY_BYTES {
                assert_eq!(Query::parse(&printed, now), Ok(query), "{printed}");
            }
        }
        Err(error) => assert!(error.at <= text.chars().count()),
    }
});
