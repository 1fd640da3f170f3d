//! What protocol a client speaks, by its first bytes. A guess for the record;
//! nothing depends on it.

/// The protocol `bytes` begin in, or `None`.
#[must_use]
pub fn protocol(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x16, 0x03, 0..=4, ..] => Some("tls"),
        [b'S', b'S', b'H', b'-', ..] => Some("ssh"),
        [0x03, 0x00, _, _, _, 0xe0, ..] => Some("rdp"),
        [0x00, _, _, _, 0xff | 0xfe, b'S', b'M', b'B', ..] => Some("smb"),
        [0x04, 0x01 | 0x02, _, _, _, _, _, _, ..] => Some("socks4"),
        [0x05, methods @ 1..=8, rest @ ..] if rest.len() == usize::from(*methods) => Some("socks5"),
        [0xff, 0xfb..=0xfe, ..] => Some("telnet"),
        _ if bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || bytes.starts_with(b"PROXY ") => {
            Some("proxy")
        }
        _ => is_http(bytes).then_some("http"),
    }
}

/// Whether the first line is `METHOD target HTTP/…`.
fn is_http(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (3..=16).contains(&method)
        && line.get(method) == Some(&b' ')
        && line.windows(6).any(|part| part == b" HTTP/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_name_their_protocol() {
        assert_eq!(protocol(b"\x16\x03\x01\x02\x00\x01"), Some("tls"));
        assert_eq!(protocol(b"SSH-2.0-Go\r\n"), Some("ssh"));
        assert_eq!(protocol(b"GET / HTTP/1.1\r\nHost: a\r\n"), Some("http"));
        assert_eq!(protocol(b"\xff\xfd\x01"), Some("telnet"));
        assert_eq!(protocol(b"\x05\x01\x00"), Some("socks5"));
        for none in [&b""[..], b"root\r\n", b"GET me out\r\n", b"get / HTTP/1.1\r\n"] {
            assert_eq!(protocol(none), None);
        }
    }
}
