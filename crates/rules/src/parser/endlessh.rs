//! Endlessh: its text log, `TIME WORD KEY=VALUE…`, on standard output or
//! through syslog (then without the time, which syslog's head has).

use palisade_event::{Category, Endpoint, EventKind, HostName, Timestamp, Transport};

use super::json::time;
use super::{LineContext, Observation, Parsed, syslog};

/// The type of attack, as honeypot networks call it.
const CATEGORY: &str = "SSH/console(endlessh)";
/// Longest line that is looked at, in bytes.
const MAX_LINE_BYTES: usize = 4096;

/// Parses a line.
pub(crate) fn parse(line: &[u8], cx: &LineContext) -> Parsed {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Parsed::Irrelevant;
    }
    let Some(text) = std::str::from_utf8(line).ok().filter(|line| line.len() <= MAX_LINE_BYTES)
    else {
        return Parsed::Unparsed;
    };
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    if let Some(at) = time(first) {
        return message(rest, at, None);
    }
    let Some(head) = syslog::split(line) else { return Parsed::Unparsed };
    if head.tag != b"endlessh" {
        return Parsed::Irrelevant;
    }
    let host = std::str::from_utf8(head.host).ok().and_then(|name| HostName::new(name).ok());
    match (head.time.resolve(cx), std::str::from_utf8(head.message)) {
        (Some(at), Ok(text)) => message(text, at, host),
        _ => Parsed::Unparsed,
    }
}

fn message(text: &str, at: Timestamp, host: Option<HostName>) -> Parsed {
    let mut words = text.split_ascii_whitespace();
    let kind = match words.next() {
        Some("ACCEPT") => EventKind::ConnectionOpened,
        Some("CLOSE") => EventKind::SessionClosed,
        // Settings at the start, statistics, messages of debugging.
        _ => return Parsed::Irrelevant,
    };
    let mut seen = Observation::new(kind, at);
    seen.category = Category::new(CATEGORY).ok();
    seen.host = host;
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        match key {
            "host" => seen.source = value.parse().ok().map(Endpoint::address),
            "port" => {
                if let Some(source) = &mut seen.source {
                    source.port = value.parse().ok().filter(|port| *port > 0);
                    source.transport = Some(Transport::Tcp);
                }
            }
            "time" => {
                let seconds = value.parse().ok().filter(|s: &f64| (0.0..1e9).contains(s));
                if let Some(seconds) = seconds {
                    seen.note("duration_ms", (seconds * 1000.0).round() as i64);
                }
            }
            "bytes" => {
                if let Ok(bytes) = value.parse::<i64>() {
                    seen.note("bytes_out", bytes);
                }
            }
            _ => {}
        }
    }
    if seen.source.is_none() { Parsed::Unparsed } else { Parsed::Observation(Box::new(seen)) }
}
