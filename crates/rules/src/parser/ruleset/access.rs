//! The common and the combined log format of web servers, by hand: these logs
//! have the most lines of all.
//!
//! ```text
//! [HOST[:PORT] ]ADDRESS IDENT USER [TIME] "REQUEST" STATUS BYTES[ "REFERER" "AGENT"[ …]]
//! ```
//!
//! What a client wrote is in quotes, with quotes in it escaped (`\x22`, `\"`),
//! except the user name, which may have spaces and brackets. So the address is
//! read from the beginning, and the time from before the first quote.

use std::net::IpAddr;

use memchr::{memchr, memrchr};
use palisade_event::Timestamp;

use crate::parser::lanes;
use crate::parser::peer;
use crate::parser::time::{LineClock, common};

/// A line, borrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) source: Option<IpAddr>,
    /// Where the log has names instead of addresses.
    pub(super) source_name: Option<&'a [u8]>,
    /// The site, where the line begins with one.
    pub(super) site: Option<&'a [u8]>,
    /// The name given at a login, right or wrong.
    pub(super) user: Option<&'a [u8]>,
    pub(super) method: Option<&'a [u8]>,
    /// The target of the request, or all of it where it is none of HTTP.
    pub(super) target: &'a [u8],
    pub(super) status: u16,
    /// How many bytes were sent, as it is written: scenarios never ask.
    pub(super) bytes: &'a [u8],
    pub(super) referer: Option<&'a [u8]>,
    pub(super) agent: Option<&'a [u8]>,
}

/// The last time of a log, as it was written, down to its second.
#[derive(Clone, Debug, Default)]
pub(super) struct LastTime {
    written: [u8; 26],
    at: Option<Timestamp>,
}

impl LastTime {
    /// Where a text begins with the same time: the instant, and what follows.
    #[inline]
    fn begins<'a>(&self, text: &'a [u8]) -> Option<(Timestamp, &'a [u8])> {
        let (written, rest) = text.split_first_chunk::<26>()?;
        if *written != self.written {
            return None;
        }
        Some((self.at?, rest))
    }

    /// The instant. Many lines of a busy server have the same second.
    fn instant(&mut self, text: &[u8], clock: &mut LineClock) -> Option<Timestamp> {
        // A zone in the time makes it independent of everything else.
        if self.at.is_some() && *text == self.written {
            return self.at;
        }
        let (time, rest) = common(text)?;
        if !rest.is_empty() {
            return None;
        }
        let at = clock.instant(time)?;
        if let (Ok(written), Some(_)) = (text.try_into(), time.offset) {
            *self = Self { written, at: Some(at) };
        }
        Some(at)
    }
}

/// Takes a line apart. `None` where it is none of these formats.
#[inline]
pub(super) fn parse<'a>(
    line: &'a [u8],
    last: &mut LastTime,
    clock: &mut LineClock,
) -> Option<(Timestamp, Request<'a>)> {
    let mut request = Request::default();
    let (at, line) = match plain(line, last) {
        Some((at, source, rest)) => {
            request.source = Some(source);
            (at, rest)
        }
        None => {
            let open = quote_after_time(line)?;
            let before = line.get(..open.checked_sub(2)?)?;
            let bracket = memrchr(b'[', before)?;
            let at = last.instant(before.get(bracket + 1..)?, clock)?;
            who(before.get(..bracket)?, &mut request)?;
            (at, line.get(open..)?)
        }
    };
    let (quoted, rest) = quoted(line)?;
    what(quoted, &mut request);
    // ` STATUS BYTES`
    let rest = rest.strip_prefix(b" ")?;
    request.status = match rest.get(..3)? {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |b: &u8| u16::from(b - b'0');
            digit(a) * 100 + digit(b) * 10 + digit(c)
        }
        _ => return None,
    };
    let rest = rest.get(3..)?;
    let Some(rest) = rest.strip_prefix(b" ") else {
        return rest.is_empty().then_some((at, request));
    };
    let near = lanes::first(rest).map(|near| lanes::before(near, b' ') as usize);
    let end = near.filter(|near| *near < lanes::LANES);
    let end = end.or_else(|| memchr(b' ', rest)).unwrap_or(rest.len());
    let (bytes, rest) = rest.split_at_checked(end)?;
    request.bytes = bytes;
    if let Some(rest) = rest.strip_prefix(b" \"-\"") {
        request.agent = rest.strip_prefix(b" ").and_then(self::quoted).and_then(|(a, _)| known(a));
    } else if let Some((referer, rest)) = rest.strip_prefix(b" ").and_then(self::quoted) {
        request.referer = known(referer);
        request.agent = rest.strip_prefix(b" ").and_then(self::quoted).and_then(|(a, _)| known(a));
    }
    Some((at, request))
}

/// What nearly all lines begin with: an IPv4 address, no names, and the time of
/// the line before: that, the address, and what follows from the quote on.
#[inline]
fn plain<'a>(line: &'a [u8], last: &LastTime) -> Option<(Timestamp, IpAddr, &'a [u8])> {
    let near = lanes::first(line)?;
    let end = lanes::before(near, b' ');
    let (at, rest) = last.begins(line.get(end as usize..)?.strip_prefix(b" - - [")?)?;
    let rest = rest.strip_prefix(b"] ").filter(|rest| rest.first() == Some(&b'"'))?;
    Some((at, lanes::ipv4(near, end)?.into(), rest))
}

/// The first quote that follows `] `, which is where the request begins: a
/// quote in a user name is escaped and follows a backslash.
#[inline]
fn quote_after_time(line: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', line.get(from..)?)?;
        if line.get(..at)?.ends_with(b"] ") {
            return Some(at);
        }
        from = at + 1;
    }
}

/// `[HOST[:PORT] ]ADDRESS IDENT USER `.
fn who<'a>(text: &'a [u8], request: &mut Request<'a>) -> Option<()> {
    let (first, rest) = word(text)?;
    let (second, after) = word(rest)?;
    let rest = match address(second) {
        // The client names the site, so it may look like an address: the second
        // of two is the client's.
        Some(source) => {
            request.source = Some(source);
            request.site = known(first);
            after
        }
        None if matches!(first, b"-" | b"unix:") => rest,
        None => {
            let peer = peer::host(first)?;
            request.source = peer.source.map(|end| end.address);
            request.source_name = peer.name;
            rest
        }
    };
    let (_ident, user) = word(rest)?;
    request.user = known(user.trim_ascii_end());
    Some(())
}

/// An address that is not `-`.
fn address(text: &[u8]) -> Option<IpAddr> {
    peer::host(text)?.source.map(|end| end.address)
}

/// A text up to the next space, and what follows that.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr(b' ', text)?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}

/// A text in quotes, and what follows them. A quote that an odd number of
/// backslashes precedes is part of the text.
#[inline]
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', inner.get(from..)?)?;
        let before = inner.get(..at)?;
        if before.last() != Some(&b'\\') {
            return Some((before, inner.get(at + 1..)?));
        }
        let escapes = before.iter().rev().take_while(|b| **b == b'\\').count();
        if escapes % 2 == 0 {
            return Some((before, inner.get(at + 1..)?));
        }
        from = at + 1;
    }
}

/// `METHOD TARGET HTTP/1.1`; anything else is kept whole.
fn what<'a>(quoted: &'a [u8], request: &mut Request<'a>) {
    // What nearly all requests are.
    if let Some(target) = plain_get(quoted) {
        request.method = Some(b"GET");
        request.target = target;
        return;
    }
    request.target = quoted;
    let Some((method, rest)) = word(quoted) else { return };
    if method.is_empty() || !method.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-') {
        return;
    }
    let end = match memrchr(b' ', rest) {
        Some(space) if rest.get(space + 1..).is_some_and(|last| last.starts_with(b"HTTP/")) => {
            space
        }
        // HTTP 0.9 names no version.
        None => rest.len(),
        Some(_) => return,
    };
    if let Some(target) = rest.get(..end) {
        request.method = Some(method);
        request.target = target;
    }
}

/// The target of `GET TARGET HTTP/1.1` or another one of these versions.
#[inline]
fn plain_get(quoted: &[u8]) -> Option<&[u8]> {
    let (target, version) = quoted.strip_prefix(b"GET ")?.split_last_chunk::<9>()?;
    matches!(version, b" HTTP/1.1" | b" HTTP/2.0" | b" HTTP/1.0").then_some(target)
}

/// A dash stands for nothing.
fn known(text: &[u8]) -> Option<&[u8]> {
    (!matches!(text, b"" | b"-")).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parser::LineContext;

    fn clock() -> LineClock {
        let now = "2026-11-20T21:00:00Z".parse().unwrap();
        LineClock::new(LineContext { now, zone: jiff::tz::TimeZone::UTC })
    }

    fn read(line: &str) -> Option<(String, Request<'_>)> {
        let (at, request) = parse(line.as_bytes(), &mut LastTime::default(), &mut clock())?;
        Some((at.to_string(), request))
    }

    #[test]
    fn the_combined_format_is_taken_apart() {
        let line = r#"203.0.113.9 - alice [20/Nov/2026:20:07:14 +0100] "GET /a?b=c HTTP/1.1" 401 188 "http://x/" "curl/8\"" 0.01"#;
        let (at, request) = read(line).unwrap();
        assert_eq!(at, "2026-11-20T19:07:14.000Z");
        assert_eq!(request.source, Some("203.0.113.9".parse().unwrap()));
        assert_eq!(request.user, Some(&b"alice"[..]));
        assert_eq!((request.method, request.target), (Some(&b"GET"[..]), &b"/a?b=c"[..]));
        assert_eq!((request.status, request.bytes), (401, &b"188"[..]));
        assert_eq!(request.referer, Some(&b"http://x/"[..]));
        assert_eq!(request.agent, Some(&br#"curl/8\""#[..]));
    }

    #[test]
    fn sites_addresses_and_names_are_told_apart() {
        let rest = r#"[20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1" 200 1"#;
        for (head, source, name, site, user) in [
            ("203.0.113.9 - -", "203.0.113.9", "-", "-", "-"),
            ("2001:db8::9 - -", "2001:db8::9", "-", "-", "-"),
            (
                "www.example.org:443 203.0.113.9 - bob",
                "203.0.113.9",
                "-",
                "www.example.org:443",
                "bob",
            ),
            ("www.example.org 2001:db8::9 - bob", "2001:db8::9", "-", "www.example.org", "bob"),
            // A client named the site after another address.
            ("198.51.100.1 203.0.113.9 - -", "203.0.113.9", "-", "198.51.100.1", "-"),
            ("2001:db8::1 203.0.113.9 - -", "203.0.113.9", "-", "2001:db8::1", "-"),
            ("198.51.100.1 2001:db8::9 - -", "2001:db8::9", "-", "198.51.100.1", "-"),
            ("host.example - -", "-", "host.example", "-", "-"),
            ("203.0.113.9 - a b [c]", "203.0.113.9", "-", "-", "a b [c]"),
            ("203.0.113.9 - ", "203.0.113.9", "-", "-", "-"),
        ] {
            let line = format!("{head} {rest}");
            let (_, request) = read(&line).unwrap_or_else(|| panic!("{line}"));
            let text = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                None => "-".to_owned(),
            };
            let address = request.source.map_or("-".to_owned(), |address| address.to_string());
            assert_eq!(address, source, "{line}");
            assert_eq!(text(request.source_name), name, "{line}");
            assert_eq!(text(request.site), site, "{line}");
            assert_eq!(text(request.user), user, "{line}");
        }
    }

    #[test]
    fn what_clients_write_moves_neither_address_nor_time_nor_status() {
        for line in [
            r#"203.0.113.9 - x [20/Nov/2020:00:00:00 +0000] \"GET / HTTP/1.1\" 200 [20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1" 404 1 "-" "-""#,
            r#"203.0.113.9 - - [20/Nov/2026:20:07:14 +0100] "GET /\" 200 1 \"-\" \"198.51.100.1 - - [ HTTP/1.1" 404 1 "-" "-""#,
            r#"203.0.113.9 - - [20/Nov/2026:20:07:14 +0100] "\x16\x03\x01" 404 1 "-" "-""#,
            r#"203.0.113.9 - - [20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1" 404 1 "\" 200" "198.51.100.1 - - [20/Nov/2020:00:00:00 +0000]""#,
        ] {
            let (at, request) = read(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(at, "2026-11-20T19:07:14.000Z", "{line}");
            assert_eq!(request.source, Some("203.0.113.9".parse().unwrap()), "{line}");
            assert_eq!(request.status, 404, "{line}");
        }
    }

    #[test]
    fn other_text_is_no_access_log() {
        for line in [
            "",
            "x",
            r#"203.0.113.9 - - [20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1"#,
            r#"203.0.113.9 - - [20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1""#,
            r#"203.0.113.9 - - [20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1" abc 1"#,
            r#"203.0.113.9 - - [yesterday] "GET / HTTP/1.1" 200 1"#,
            r#"a/b - - [20/Nov/2026:20:07:14 +0100] "GET / HTTP/1.1" 200 1"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line, &mut LastTime::default(), &mut clock());
        }

        #[test]
        fn no_user_name_moves_the_source(name in "[ -!#-\\[\\]-~]{0,60}", agent in "[ -!#-\\[\\]-~]{0,60}") {
            let line = format!("203.0.113.9 - {name} [20/Nov/2026:20:07:14 +0100] \"GET / HTTP/1.1\" 404 1 \"-\" \"{agent}\"");
            let (_, request) = read(&line).unwrap();
            // A name that begins with an address, where identd would have answered.
            prop_assert_eq!(request.source, Some("203.0.113.9".parse().unwrap()));
            prop_assert_eq!(request.status, 404);
        }
    }
}
