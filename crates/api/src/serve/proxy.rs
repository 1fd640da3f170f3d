//! Decoder of the PROXY protocol, versions 1 and 2, as a reverse proxy puts
//! it before a connection to say whom it speaks for.
//!
//! Source: HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2. Pure: whoever
//! calls it reads the bytes and decides whom to believe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, by its specification.
const MAX_V1_BYTES: usize = 107;
/// Longest header of version 2 that is taken, with its extensions (TLVs).
const MAX_V2_BYTES: usize = 4096;
/// Begins a header of version 2.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the fixed part of version 2.
const V2_FIXED_BYTES: usize = 16;

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// At least so many bytes are needed, counted from the beginning.
    Incomplete(usize),
    /// A header of `length` bytes.
    Header {
        /// The client; `None` where the proxy speaks for itself.
        source: Option<SocketAddr>,
        /// Bytes of the header.
        length: usize,
    },
    /// No header.
    Malformed(&'static str),
}

/// Decodes what has been read so far.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let Some(first) = bytes.first() else { return Decoded::Incomplete(1) };
    if *first == b'P' { decode_v1(bytes) } else { decode_v2(bytes) }
}

fn decode_v1(bytes: &[u8]) -> Decoded {
    if !b"PROXY ".starts_with(bytes.get(..6).unwrap_or(bytes)) {
        return Decoded::Malformed("no PROXY header");
    }
    let window = bytes.get(..MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= MAX_V1_BYTES {
            Decoded::Malformed("version 1 header does not end within 107 bytes")
        } else {
            Decoded::Incomplete(bytes.len() + 1)
        };
    };
    let length = end + 2;
    let line = window.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.unwrap_or_default().split(' ').skip(1);
    let source = match words.next() {
        Some("UNKNOWN") => return Decoded::Header { source: None, length },
        Some("TCP4") => words.next().and_then(|w| w.parse::<Ipv4Addr>().ok()).map(IpAddr::V4),
        Some("TCP6") => words.next().and_then(|w| w.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
        _ => return Decoded::Malformed("version 1 header names no known family"),
    };
    let target = words.next().and_then(|word| word.parse::<IpAddr>().ok());
    let port = words.next().and_then(|word| word.parse::<u16>().ok());
    let target_port = words.next().and_then(|word| word.parse::<u16>().ok());
    match (source, target, port, target_port, words.next()) {
        (Some(ip), Some(_), Some(port), Some(_), None) => {
            Decoded::Header { source: Some(SocketAddr::new(ip, port)), length }
        }
        _ => Decoded::Malformed("version 1 header has a malformed address or port"),
    }
}

fn decode_v2(bytes: &[u8]) -> Decoded {
    let common = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..common) != V2_SIGNATURE.get(..common) {
        return Decoded::Malformed("no PROXY header");
    }
    let Some(&[command, family, high, low]) = bytes.get(12..16) else {
        return Decoded::Incomplete(V2_FIXED_BYTES);
    };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2_BYTES {
        return Decoded::Malformed("version 2 header is longer than 4096 bytes");
    }
    let Some(addresses) = bytes.get(V2_FIXED_BYTES..length) else {
        return Decoded::Incomplete(length);
    };
    match command {
        0x20 => Decoded::Header { source: None, length },
        0x21 => match (family >> 4, source_v2(family >> 4, addresses)) {
            (0 | 3, _) => Decoded::Header { source: None, length },
            (_, Some(source)) => Decoded::Header { source: Some(source), length },
            _ => Decoded::Malformed("version 2 header is too short for its addresses"),
        },
        _ => Decoded::Malformed("version 2 header has an unknown version or command"),
    }
}

/// Source address and port of family 1 (IPv4) or 2 (IPv6).
fn source_v2(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = match family {
        1 => {
            let ip: [u8; 4] = addresses.get(..4)?.try_into().ok()?;
            (IpAddr::from(ip), addresses.get(8..10)?)
        }
        2 => {
            let ip: [u8; 16] = addresses.get(..16)?.try_into().ok()?;
            (IpAddr::from(ip), addresses.get(32..34)?)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        header.extend(addresses);
        header
    }

    #[test]
    fn version_1_names_the_client() {
        let text = b"PROXY TCP4 192.0.2.7 198.51.100.1 40022 443\r\nGET /";
        let source = Some("192.0.2.7:40022".parse().unwrap());
        assert_eq!(decode(text), Decoded::Header { source, length: 45 });
        assert_eq!(decode(b"PROXY UNKNOWN\r\n"), Decoded::Header { source: None, length: 15 });
        let v6 = decode(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
        assert!(matches!(v6, Decoded::Header { source: Some(SocketAddr::V6(_)), .. }));
    }

    #[test]
    fn version_2_names_the_client() {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x56, 1, 187, 3, 0, 1, 0];
        let source = Some("192.0.2.7:40022".parse().unwrap());
        assert_eq!(decode(&v2(0x21, 0x11, &addresses)), Decoded::Header { source, length: 32 });
        assert_eq!(decode(&v2(0x20, 0, &[])), Decoded::Header { source: None, length: 16 });
        let mut six = [0u8; 36];
        six[15] = 1;
        six[33] = 22;
        let source = Some("[::1]:22".parse().unwrap());
        assert_eq!(decode(&v2(0x21, 0x21, &six)), Decoded::Header { source, length: 52 });
    }

    #[test]
    fn what_is_no_header_is_refused_at_the_first_wrong_byte() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST /",
            b"\x16\x03\x01",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40022\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            b"PROXY FOO\r\n",
            &[b"PROXY TCP6 ".to_vec(), vec![b'1'; 200]].concat(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 9]),
            &v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert!(matches!(decode(bytes), Decoded::Malformed(_)), "{bytes:?}");
        }
    }

    #[test]
    fn every_cut_of_a_header_asks_for_more_and_more_than_there_is() {
        let headers =
            [b"PROXY TCP4 192.0.2.7 198.51.100.1 40022 443\r\n".to_vec(), v2(0x21, 0x11, &[1; 20])];
        for header in headers {
            for cut in 0..header.len() {
                let Decoded::Incomplete(wanted) = decode(&header[..cut]) else {
                    panic!("cut at {cut}");
                };
                assert!(wanted > cut && wanted <= header.len());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            match decode(&bytes) {
                Decoded::Incomplete(wanted) => prop_assert!(wanted > bytes.len() && wanted <= MAX_V2_BYTES),
                Decoded::Header { length, .. } => prop_assert!(length <= bytes.len()),
                Decoded::Malformed(_) => {}
            }
        }
    }
}
