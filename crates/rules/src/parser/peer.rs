//! Who the other side is: an address or a name, with or without a port, cut
//! out of the text that a daemon wrote around it.
//!
//! The text before a peer may be a login name, and a login name may contain
//! anything, ` from 192.0.2.1 port 22 ssh2` too. What the daemon appends comes
//! after it, so everything here is read from the end of the line.

use std::net::{IpAddr, Ipv4Addr};

use palisade_event::{Endpoint, Transport};

use super::search;
use super::syslog::number;

/// Longest name in DNS (RFC 1035), in bytes.
const MAX_NAME_BYTES: usize = 253;

/// The other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer<'a> {
    pub(super) source: Option<Endpoint>,
    /// Where the daemon wrote a name instead of an address. A name is what the
    /// owner of the address says: it must never be banned.
    pub(super) name: Option<&'a [u8]>,
}

impl Peer<'_> {
    fn with_port(mut self, port: u16) -> Self {
        if let Some(source) = &mut self.source {
            source.port = (port != 0).then_some(port);
        }
        self
    }
}

/// An address or a name, and nothing else.
pub(super) fn host(text: &[u8]) -> Option<Peer<'_>> {
    if let Some(address) = ipv4(text) {
        return Some(known(IpAddr::V4(address)));
    }
    if memchr::memchr(b':', text).is_some() {
        let end = memchr::memchr(b'%', text).unwrap_or(text.len());
        let address: IpAddr = std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()?;
        return Some(known(address));
    }
    let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if text.len() > MAX_NAME_BYTES
        || !text.iter().any(u8::is_ascii_alphabetic)
        || !text.iter().all(letter)
    {
        return None;
    }
    let name = (text != b"UNKNOWN").then_some(text);
    Some(Peer { source: None, name })
}

fn known<'a>(address: IpAddr) -> Peer<'a> {
    let source = Endpoint { transport: Some(Transport::Tcp), ..Endpoint::address(address) };
    Peer { source: Some(source), name: None }
}

/// Dotted decimal without leading zeros.
#[inline]
pub(super) fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (a, rest) = octet(text)?;
    let (b, rest) = octet(rest.strip_prefix(b".")?)?;
    let (c, rest) = octet(rest.strip_prefix(b".")?)?;
    let (d, rest) = octet(rest.strip_prefix(b".")?)?;
    rest.is_empty().then(|| Ipv4Addr::new(a, b, c, d))
}

/// A number up to 255, and what follows it.
#[inline]
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| u32::from(byte.wrapping_sub(b'0'));
    let (first, rest) = text.split_first()?;
    let one = digit(first);
    if one > 9 {
        return None;
    }
    let Some((two, after)) = rest.split_first().map(|(byte, after)| (digit(byte), after)) else {
        return Some((one as u8, rest));
    };
    if two > 9 {
        return Some((one as u8, rest));
    }
    // No leading zeros, and nothing above 255.
    if one == 0 {
        return None;
    }
    let number = one * 10 + two;
    match after.split_first().map(|(byte, end)| (digit(byte), end)) {
        Some((three @ 0..=9, end)) => {
            let number = u8::try_from(number * 10 + three).ok()?;
            end.first().is_none_or(|byte| digit(byte) > 9).then_some((number, end))
        }
        _ => Some((number as u8, after)),
    }
}

fn port(text: &[u8]) -> Option<u16> {
    u16::try_from(number(text)?).ok()
}

/// `HOST` or `HOST port N`, and nothing else.
pub(super) fn exact(text: &[u8]) -> Option<Peer<'_>> {
    match memchr::memchr(b' ', text) {
        None => host(text),
        Some(space) => {
            let (name, rest) = text.split_at_checked(space)?;
            let digits = rest.strip_prefix(b" port ")?;
            Some(host(name)?.with_port(port(digits)?))
        }
    }
}

/// `HOST` or `HOST port N` at the start, and what follows it.
pub(super) fn leading(text: &[u8]) -> Option<(Peer<'_>, &[u8])> {
    let end = text.iter().position(|b| matches!(b, b' ' | b',')).unwrap_or(text.len());
    // `HOST: text` of old versions; a colon inside is part of the address.
    let colon = end > 0 && text.get(end - 1) == Some(&b':');
    let (name, rest) = text.split_at_checked(if colon { end - 1 } else { end })?;
    let peer = host(name)?;
    let Some(after) = rest.strip_prefix(b" port ") else { return Some((peer, rest)) };
    let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = after.split_at_checked(digits)?;
    Some((peer.with_port(port(digits)?), rest))
}

/// `TEXT HOST port N` or `HOST port N` or `HOST`: what is before the peer, and
/// the peer.
pub(super) fn trailing(text: &[u8]) -> Option<(&[u8], Peer<'_>)> {
    // A number has no space in it: the last one is that of ` port `, or none is.
    let with_port = || {
        let (rest, digits) = text.split_at_checked(memchr::memrchr(b' ', text)? + 1)?;
        Some((rest.strip_suffix(b" port ")?, port(digits)?))
    };
    let (rest, number) = match with_port() {
        Some((rest, number)) => (rest, Some(number)),
        None => (text, None),
    };
    let (before, name) = match memchr::memrchr(b' ', rest) {
        Some(space) => (rest.get(..space)?, rest.get(space + 1..)?),
        None => (&b""[..], rest),
    };
    let peer = host(name)?;
    Some((before, number.map_or(peer, |number| peer.with_port(number))))
}

/// `[HOST]:N` at the start, and what follows it.
pub(super) fn bracketed(text: &[u8]) -> Option<(Peer<'_>, &[u8])> {
    let close = search::find(text, b"]:")?;
    let peer = host(text.get(1..close)?).filter(|_| text.first() == Some(&b'['))?;
    let after = text.get(close + 2..)?;
    let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = after.split_at_checked(digits)?;
    Some((peer.with_port(port(digits)?), rest))
}

/// `TEXT from HOST…`: splits at the last ` from `.
pub(super) fn last_from(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = search::rfind(text, b" from ")?;
    Some((text.get(..at)?, text.get(at + 6..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        let source = host(text.as_bytes())?.source?;
        Some(source.address.to_string())
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        assert_eq!(address("192.0.2.7").unwrap(), "192.0.2.7");
        assert_eq!(address("2001:DB8::7").unwrap(), "2001:db8::7");
        assert_eq!(address("fe80::1%eth0").unwrap(), "fe80::1");
        assert_eq!(address("::ffff:192.0.2.7").unwrap(), "192.0.2.7");
    }

    #[test]
    fn what_is_no_address_is_a_name_or_nothing() {
        let name = host(b"host-7.example.net").unwrap();
        assert_eq!((name.source, name.name), (None, Some(&b"host-7.example.net"[..])));
        assert_eq!(host(b"UNKNOWN").unwrap(), Peer { source: None, name: None });
        for text in
            ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1..2.3", "a/b", ":::", "12"]
        {
            assert_eq!(host(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn port_zero_is_no_port() {
        assert_eq!(exact(b"192.0.2.7 port 0").unwrap().source.unwrap().port, None);
        assert_eq!(exact(b"192.0.2.7 port 65536"), None);
        assert_eq!(exact(b"192.0.2.7 port 65535").unwrap().source.unwrap().port, Some(65535));
    }

    #[test]
    fn the_last_peer_of_a_text_is_taken() {
        let (before, peer) = trailing(b"x 1.1.1.1 port 1 192.0.2.7 port 22").unwrap();
        assert_eq!(before, b"x 1.1.1.1 port 1");
        assert_eq!(peer.source.unwrap().address.to_string(), "192.0.2.7");
        let (before, peer) = trailing(b"x port y 192.0.2.7").unwrap();
        assert_eq!((before, peer.source.unwrap().port), (&b"x port y"[..], None));
    }

    #[test]
    fn brackets_hold_either_family() {
        let (peer, rest) = bracketed(b"[2001:db8::7]:4711 on [::1]:22").unwrap();
        assert_eq!(peer.source.unwrap().port, Some(4711));
        assert_eq!(rest, b" on [::1]:22");
        assert_eq!(bracketed(b"x1.2.3.4]:22"), None);
    }

    #[test]
    fn a_colon_after_an_address_does_not_belong_to_it() {
        let (peer, rest) = leading(b"192.0.2.7: 11: Bye Bye").unwrap();
        assert_eq!(peer.source.unwrap().address.to_string(), "192.0.2.7");
        assert_eq!(rest, b": 11: Bye Bye");
        let (peer, rest) = leading(b"2001:db8::7: 11: Bye").unwrap();
        assert_eq!(peer.source.unwrap().address.to_string(), "2001:db8::7");
        assert_eq!(rest, b": 11: Bye");
        let (peer, rest) = leading(b"192.0.2.7 port 22:11: Bye").unwrap();
        assert_eq!(peer.source.unwrap().port, Some(22));
        assert_eq!(rest, b":11: Bye");
    }
}
