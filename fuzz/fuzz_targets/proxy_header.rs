//! The PROXY protocol header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::proxy::{Header, MAX_HEADER_BYTES, decode};

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Ok(Some(Header::Proxied { length, .. } | Header::Local { length })) => {
            assert!(length <= bytes.len() && length <= MAX_HEADER_BYTES);
        }
        Ok(None) => assert!(bytes.len() < MAX_HEADER_BYTES),
        Err(_) => {}
    }
});
