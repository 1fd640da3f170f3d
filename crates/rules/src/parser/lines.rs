//! Lines of any program as they are: for rules that look for words in them.
//!
//! A line with an address is something that was seen, its text the request. The
//! address is the last one in the line: what comes before may be a name that a
//! client made up, and programs put the address after it. A line without an
//! address is irrelevant.

use std::net::{IpAddr, Ipv4Addr};

use palisade_event::{AnalyzerName, Endpoint, EventKind, HostName, Timestamp, Untrusted};

use super::{LineContext, Observation, Parsed, syslog};

/// Longest part of a line that is kept, in bytes.
const MAX_KEPT_BYTES: usize = 4096;

/// Parses a line of a syslog file.
pub(crate) fn parse(line: &[u8], cx: &LineContext) -> Parsed {
    let line = line.trim_ascii_end();
    let Some(head) = syslog::split(line) else {
        return if line.is_empty() { Parsed::Irrelevant } else { Parsed::Unparsed };
    };
    let Some(at) = head.time.resolve(cx) else { return Parsed::Unparsed };
    let host = std::str::from_utf8(head.host).ok().and_then(|name| HostName::new(name).ok());
    parse_message(head.tag, head.message, at, host)
}

/// Parses a message that came without a line's head.
pub(crate) fn parse_message(
    program: &[u8],
    text: &[u8],
    at: Timestamp,
    host: Option<HostName>,
) -> Parsed {
    let text = text.trim_ascii();
    let Some(address) = last_address(text) else { return Parsed::Irrelevant };
    // One service, in as many processes as its version has.
    let program = match program {
        b"sshd-session" | b"sshd-auth" => &b"sshd"[..],
        program => program,
    };
    let program = std::str::from_utf8(program).ok();
    Parsed::Observation(Box::new(Observation {
        host,
        source: Some(Endpoint::address(address)),
        request: Some(Untrusted::from(text.get(..MAX_KEPT_BYTES).unwrap_or(text))),
        analyzer: program.and_then(|name| AnalyzerName::new(name).ok()),
        ..Observation::new(EventKind::LineMatched, at)
    }))
}

/// The last address in a text: `192.0.2.7`, `192.0.2.7:22`, `2001:db8::7`,
/// `[2001:db8::7]:22`.
pub(crate) fn last_address(text: &[u8]) -> Option<IpAddr> {
    let part = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':');
    text.rsplit(|b| !part(b)).filter(|run| run.len() >= 2).find_map(address)
}

/// An address at the beginning of a run of its characters.
fn address(run: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(run).ok()?;
    let end = text.trim_end_matches(['.', ':']);
    // `::` ends with colons by right.
    for candidate in [text, end] {
        if let Ok(address) = candidate.parse::<IpAddr>() {
            return Some(address.to_canonical());
        }
    }
    let (host, port) = end.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> Option<String> {
        last_address(text.as_bytes()).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_counts_in_every_form() {
        for (text, address) in [
            ("Failed password for root from 198.51.100.7 port 22 ssh2", "198.51.100.7"),
            ("Failed password for 1.2.3.4 from 198.51.100.7 port 22", "198.51.100.7"),
            ("Invalid user x from 203.0.113.1 from 198.51.100.7", "198.51.100.7"),
            ("closed by 2001:db8::7 port 5", "2001:db8::7"),
            ("drop from [2001:db8::7]:22", "2001:db8::7"),
            ("peer 198.51.100.7:4711", "198.51.100.7"),
            ("Timeout for 198.51.100.7.", "198.51.100.7"),
            ("rhost=::ffff:198.51.100.7", "198.51.100.7"),
            ("at fe80::1%eth0", "fe80::1"),
        ] {
            assert_eq!(last(text).as_deref(), Some(address), "{text}");
        }
        for text in ["", "Server listening", "1.2.3", "1.2.3.4.5", "12:30:45", "ab:cd", "300.1.1.1"]
        {
            assert_eq!(last(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_is_kept_as_it_is_with_its_program() {
        let cx = LineContext {
            now: "2026-11-20T21:00:00Z".parse().unwrap(),
            zone: jiff::tz::TimeZone::UTC,
        };
        let line = b"Nov 20 20:07:14 web-1 sshd[7]: Invalid user x from 198.51.100.7 port 5";
        let Parsed::Observation(seen) = parse(line, &cx) else { panic!() };
        assert_eq!(seen.kind, EventKind::LineMatched);
        assert_eq!(seen.analyzer.unwrap().as_str(), "sshd");
        assert_eq!(
            seen.request.unwrap(),
            Untrusted::from("Invalid user x from 198.51.100.7 port 5")
        );
        assert_eq!(parse(b"Nov 20 20:07:14 web-1 sshd[7]: text", &cx), Parsed::Irrelevant);
        assert_eq!(parse(b"text 198.51.100.7", &cx), Parsed::Unparsed);
    }
}
