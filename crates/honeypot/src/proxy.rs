//! Decoder of the PROXY protocol header, versions 1 and 2 (HAProxy's
//! `proxy-protocol.txt`): where a connection really came from. Pure; it reads
//! no socket and trusts nobody, the listener asks it only for trusted peers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is taken, with all its extensions. A version 1 header
/// has at most 107 bytes; extensions of version 2 rarely reach 500.
pub const MAX_HEADER_BYTES: usize = 2_048;
/// Longest version 1 header, from the specification.
const MAX_V1_BYTES: usize = 107;
/// What every version 2 header starts with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A client's connection.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        target: SocketAddr,
        /// Bytes the header takes.
        length: usize,
    },
    /// The proxy's own connection, such as a health check, or one whose
    /// client it cannot name.
    Local {
        /// Bytes the header takes.
        length: usize,
    },
}

/// The bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They start differently.
    #[error("no PROXY header")]
    Missing,
    /// They start as one and go on wrongly.
    #[error("malformed PROXY header")]
    Malformed,
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("PROXY header of more than {MAX_HEADER_BYTES} bytes")]
    TooLong,
}

/// Reads a header at the start of `bytes`; `None` while more are needed, which
/// ends after [`MAX_HEADER_BYTES`] at the latest.
///
/// # Errors
/// [`HeaderError`] as soon as the bytes cannot become a header.
pub fn decode(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if begins(bytes, V2_SIGNATURE) {
        return decode_v2(bytes);
    }
    if begins(bytes, b"PROXY ") {
        return decode_v1(bytes);
    }
    Err(HeaderError::Missing)
}

/// Whether `bytes` are `start`, its beginning, or more than it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn decode_v1(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let window = bytes.get(..MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_V1_BYTES { Ok(None) } else { Err(HeaderError::Malformed) };
    };
    let length = end + 2;
    let line = window.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or(HeaderError::Malformed)?.split(' ').skip(1);
    let (source, target) = match words.next() {
        Some("UNKNOWN") => return Ok(Some(Header::Local { length })),
        Some("TCP4") => ends(&mut words, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)),
        Some("TCP6") => ends(&mut words, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
        _ => None,
    }
    .ok_or(HeaderError::Malformed)?;
    Ok(Some(Header::Proxied { source, target, length }))
}

/// Source and target from the four words after the family.
fn ends<'a>(
    words: &mut impl Iterator<Item = &'a str>,
    address: fn(&str) -> Option<IpAddr>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (source, target) = (address(words.next()?)?, address(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some((SocketAddr::new(source, from), SocketAddr::new(target, to)))
}

/// A decimal port without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn decode_v2(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., version, family, high, low] = *fixed;
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let length = V2_FIXED_BYTES + payload;
    if version >> 4 != 2 {
        return Err(HeaderError::Malformed);
    }
    if length > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLong);
    }
    let Some(payload) = rest.get(..payload) else {
        return Ok(None);
    };
    let ends = match (version & 0x0f, family) {
        (0, _) | (1, 0x00) => return Ok(Some(Header::Local { length })),
        (1, 0x11) => payload.first_chunk::<12>().map(v2_ends::<4, 12>),
        (1, 0x21) => payload.first_chunk::<36>().map(v2_ends::<16, 36>),
        _ => None,
    };
    let (source, target) = ends.flatten().ok_or(HeaderError::Malformed)?;
    Ok(Some(Header::Proxied { source, target, length }))
}

/// Source and target of a TCP address block: two addresses of `A` bytes, two ports.
fn v2_ends<const A: usize, const N: usize>(block: &[u8; N]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; A]>,
{
    let (source, rest) = block.split_first_chunk::<A>()?;
    let (target, rest) = rest.split_first_chunk::<A>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let to = rest.first_chunk::<2>()?;
    let end = |address: &[u8; A], port: &[u8; 2]| {
        SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port))
    };
    Some((end(source, from), end(target, to)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn proxied(source: &str, target: &str, length: usize) -> Result<Option<Header>, HeaderError> {
        let (source, target) = (source.parse().unwrap(), target.parse().unwrap());
        Ok(Some(Header::Proxied { source, target, length }))
    }

    #[test]
    fn a_version_1_header_names_both_ends() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 23\r\nrest";
        assert_eq!(decode(line), proxied("192.0.2.1:40000", "198.51.100.2:23", line.len() - 4));
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        assert_eq!(decode(line), proxied("[2001:db8::1]:1", "[2001:db8::2]:2", line.len()));
        assert_eq!(decode(b"PROXY UNKNOWN any thing\r\n"), Ok(Some(Header::Local { length: 25 })));
    }

    #[test]
    fn a_version_2_header_names_both_ends() {
        let four = v2(1, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 0, 23, 0xee, 0, 1, 0]);
        assert_eq!(decode(&four), proxied("192.0.2.1:40000", "198.51.100.2:23", 32));
        let mut six = [0u8; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 3, 4);
        assert_eq!(decode(&v2(1, 0x21, &six)), proxied("[::1]:3", "[::2]:4", 52));
        assert_eq!(decode(&v2(0, 0x11, &[0; 12])), Ok(Some(Header::Local { length: 28 })));
    }

    #[test]
    fn what_cannot_become_a_header_is_refused_at_once() {
        for (bytes, error) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Missing),
            (b"PROXX".to_vec(), HeaderError::Missing),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 02\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY ".repeat(30), HeaderError::Malformed),
            (v2(1, 0x11, &[0; 11]), HeaderError::Malformed),
            (v2(1, 0x31, &[0; 216]), HeaderError::Malformed),
            (v2(1, 0x11, &[0; 3_000]), HeaderError::TooLong),
        ] {
            assert_eq!(decode(&bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn every_beginning_of_a_header_asks_for_more() {
        let whole =
            [b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 23\r\n".to_vec(), v2(1, 0x11, &[1; 12])];
        for header in &whole {
            for cut in 0..header.len() {
                assert_eq!(decode(&header[..cut]), Ok(None), "{cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decided_within_the_bound(
            bytes in proptest::collection::vec(any::<u8>(), 0..64), start in 0usize..3
        ) {
            let prefix: &[u8] = [&b""[..], b"PROXY TCP4 ", V2_SIGNATURE].get(start).unwrap();
            let mut input = [prefix, &bytes].concat();
            input.resize(MAX_HEADER_BYTES + 1, b'x');
            let decided = decode(&input);
            prop_assert!(!matches!(decided, Ok(None)));
            if let Ok(Some(Header::Proxied { length, .. } | Header::Local { length })) = decided {
                prop_assert!(length <= MAX_HEADER_BYTES);
            }
        }
    }
}
