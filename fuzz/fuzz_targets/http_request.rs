//! HTTP request heads, chunked bodies and the logins in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::service::http::{login, request};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(end)) = request::find_end(bytes, 0) {
        let (head, body) = bytes.split_at(end);
        if let Ok(head) = request::parse(head) {
            let _ = head.authorization.as_deref().map(login::in_authorization);
            let _ = login::in_form(body);
        }
    }
    // However the bytes are cut, the same end is found.
    let cut = bytes.len() / 2;
    if let (Ok(None), Ok(whole)) =
        (request::find_end(&bytes[..cut], 0), request::find_end(bytes, 0))
    {
        assert_eq!(request::find_end(bytes, cut), Ok(whole));
    }
    let (mut chunks, mut body) = (request::Chunks::default(), Vec::new());
    if let Ok(taken) = chunks.push(bytes, &mut body) {
        assert!(taken <= bytes.len());
    }
    assert!(body.len() <= request::MAX_BODY_BYTES);
});
