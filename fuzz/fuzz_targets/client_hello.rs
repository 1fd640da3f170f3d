//! The first message of a TLS client, and its fingerprint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::tls::client_hello::{ClientHello, MAX_HELLO_BYTES};
use palisade_honeypot::tls::ja4::ja4;

fuzz_target!(|bytes: &[u8]| {
    let whole = ClientHello::parse(bytes);
    if let Ok(Some(hello)) = &whole {
        let fingerprint = ja4(hello);
        assert_eq!(fingerprint.len(), 36);
        // What is enough stays enough.
        let mut longer = bytes.to_vec();
        longer.extend_from_slice(b"more");
        assert_eq!(ClientHello::parse(&longer), whole);
    }
    if bytes.len() >= MAX_HELLO_BYTES {
        assert_ne!(whole, Ok(None));
    }
});
