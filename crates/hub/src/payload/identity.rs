//! What makes two payloads the same, and what a payload is.

use md5::Md5;
use sha2::{Digest as _, Sha256};

/// Lines of a request that are looked at for its Host header.
const MAX_HEADER_LINES: usize = 256;

/// Hashes of a payload.
pub(super) struct Identity {
    /// SHA-256 of all of it.
    pub(super) sha256: [u8; 32],
    /// SHA-256 of an HTTP request without its Host header.
    pub(super) text: Option<[u8; 32]>,
}

pub(super) fn of(bytes: &[u8], http: bool) -> Identity {
    let sha256 = Sha256::digest(bytes).into();
    let text = http.then(|| {
        let mut hash = Sha256::new();
        hash.update(b"without Host\0");
        match host_line(bytes) {
            Some((before, after)) => {
                hash.update(before);
                hash.update(after);
            }
            None => hash.update(bytes),
        }
        hash.finalize().into()
    });
    Identity { sha256, text }
}

/// What stands before and after the Host header (RFC 9110, section 7.2).
fn host_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    for _ in 0..MAX_HEADER_LINES {
        let rest = bytes.get(at..)?;
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        let line = rest.get(..length)?;
        if line.trim_ascii().is_empty() {
            return None;
        }
        if line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:")) {
            return Some((bytes.get(..at)?, rest.get(length..)?));
        }
        at += length;
    }
    None
}

pub(super) fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What it is, by its first bytes.
pub(super) fn mime_of(bytes: &[u8], http: bool) -> &'static str {
    if http {
        return "message/http";
    }
    if let Some(kind) = infer::get(bytes) {
        return kind.mime_type();
    }
    let text = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    match std::str::from_utf8(bytes) {
        Ok(words) if words.starts_with("#!") => "text/x-shellscript",
        Ok(words) if words.chars().all(text) => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_many_hosts_is_one() {
        let to = |host: &str| format!("GET / HTTP/1.1\r\nA: b\r\n{host}\r\n\r\nHost: body\r\n");
        let hash = |host: &str| of(to(host).as_bytes(), true).text.unwrap();
        assert_eq!(hash("Host: 192.0.2.1"), hash("hOST:192.0.2.2:80"));
        assert_ne!(hash("Host: 192.0.2.1"), hash("X-Host: 192.0.2.1"));
        assert_ne!(
            of(to("Host: a").as_bytes(), true).sha256,
            of(to("Host: b").as_bytes(), true).sha256
        );
        assert!(of(b"GET /", false).text.is_none());
        assert!(of(b"GET /", true).text.is_some());
    }

    #[test]
    fn the_first_bytes_say_what_it_is() {
        for (bytes, mime) in [
            (&[&b"\x7fELF\x02\x01\x01"[..], &[0; 64]].concat()[..], "application/x-executable"),
            (b"PK\x03\x04\x14\0", "application/zip"),
            (b"#!/bin/sh\nrm -rf /\n", "text/x-shellscript"),
            (b"hello\n", "text/plain"),
            (b"\x01\x02\xff", "application/octet-stream"),
            (b"", "text/plain"),
        ] {
            assert_eq!(mime_of(bytes, false), mime, "{bytes:?}");
        }
        assert_eq!(mime_of(b"GET /", true), "message/http");
        assert_eq!(md5_of(b"abc"), "900150983cd24fb0d6963f7d28e17f72");
    }
}
