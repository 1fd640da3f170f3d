//! A line of sshd's log as a [`Sighting`], without copying anything: what the
//! speed of reading a log depends on.
//!
//! Says what [`super::parse_sshd`] says of the same line, as a test holds.

use super::*;
use crate::Sighting;
use crate::parser::Sight;
use crate::parser::clock::{Begin, SyslogClock};

/// Looks at one line of a syslog file, without its newline.
#[inline]
#[must_use]
pub fn sight_sshd<'a>(line: &'a [u8], clock: &mut SyslogClock) -> Sight<'a> {
    let line = line.trim_ascii_end();
    let head = match clock.head(line) {
        Begin::Head(head) => head,
        Begin::NoTime => return without_time(line),
        Begin::Other => {
            let remark = line.is_empty() || line.starts_with(b"-- ");
            return if remark { Sight::Irrelevant } else { Sight::Unparsed };
        }
    };
    if !matches!(head.tag, b"sshd" | b"sshd-session" | b"sshd-auth") {
        return Sight::Foreign;
    }
    let fact = match common(head.message) {
        Some(fact) => fact,
        None => match classify(head.message) {
            Class::Fact(fact) => fact,
            Class::Irrelevant => return Sight::Irrelevant,
            Class::Unparsed => return Sight::Unparsed,
        },
    };
    Sight::Sighting(Sighting {
        host: Some(head.host),
        source: fact.peer.and_then(|peer| peer.source).map(|source| source.address),
        user: fact.user,
        outcome: fact.outcome,
        request: fact.request,
        method: fact.method,
        client: fact.client,
        reason: fact.reason,
        repeat: fact.repeat,
        ..Sighting::new(fact.kind, head.at, "sshd")
    })
}

/// A line with a date that does not exist: the same words as without one.
#[cold]
fn without_time(line: &[u8]) -> Sight<'_> {
    let Some(head) = syslog::split(line) else { return Sight::Unparsed };
    if !matches!(head.tag, b"sshd" | b"sshd-session" | b"sshd-auth") {
        return Sight::Foreign;
    }
    match classify(head.message) {
        Class::Irrelevant => Sight::Irrelevant,
        Class::Fact(_) | Class::Unparsed => Sight::Unparsed,
    }
}

/// The lines of which a log under attack consists, in their plain form, read
/// from their end: `Failed password for X from ADDRESS port N ssh2` and `Invalid
/// user X from ADDRESS port N`. `None` for every other line and form, also
/// where it would be the same fact; then [`classify`] decides.
#[inline]
fn common(message: &[u8]) -> Option<Fact<'_>> {
    match message.first()? {
        b'F' => {
            let rest = message.strip_prefix(b"Failed password for ")?.strip_suffix(b" ssh2")?;
            let (user, peer) = user_from_peer(rest)?;
            Some(Fact {
                outcome: Some(Outcome::Failed),
                method: Some(b"password"),
                ..Fact::new(EventKind::AuthAttempted).marked_user(user).from(peer)
            })
        }
        b'I' => {
            let (user, peer) = user_from_peer(message.strip_prefix(b"Invalid user ")?)?;
            Some(Fact {
                invalid_user: true,
                ..Fact::new(EventKind::UserProbed).user(user).from(peer)
            })
        }
        _ => None,
    }
}

/// `X from ADDRESS port N` with an IPv4 address.
#[inline]
fn user_from_peer(text: &[u8]) -> Option<(&[u8], peer::Peer<'_>)> {
    let digits = text.iter().rev().take(6).take_while(|b| b.is_ascii_digit()).count();
    let (rest, port) = text.split_at_checked(text.len() - digits)?;
    let port = u16::try_from(number(port)?).ok()?;
    let rest = rest.strip_suffix(b" port ")?;
    let length = rest.iter().rev().take(16).position(|b| *b == b' ')?;
    let (rest, address) = rest.split_at_checked(rest.len() - length)?;
    let user = rest.strip_suffix(b" from ")?;
    let peer = peer::ipv4_and_port(address, port)?;
    Some((user, peer))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn cx() -> LineContext {
        LineContext { now: "2026-11-20T21:00:00Z".parse().unwrap(), zone: TimeZone::UTC }
    }

    /// Both ways to read a line, as the same words.
    fn both(line: &[u8], clock: &mut SyslogClock) -> (String, String) {
        let fast = match sight_sshd(line, clock) {
            Sight::Sighting(seen) => format!(
                "{} {} {:?} {:?} {:?} {:?} {:?} {}",
                seen.kind,
                seen.at,
                seen.source,
                seen.user,
                seen.outcome,
                seen.client,
                seen.request,
                seen.repeat
            ),
            Sight::Irrelevant | Sight::Foreign => "irrelevant".into(),
            Sight::Unparsed => "unparsed".into(),
        };
        let slow = match parse_sshd(line, &cx()) {
            Parsed::Observation(seen) => {
                let login = seen.credentials.as_ref();
                format!(
                    "{} {} {:?} {:?} {:?} {:?} {:?} {}",
                    seen.kind,
                    seen.observed_at,
                    seen.source.map(|source| source.address),
                    login.and_then(|login| login.username.as_ref()).map(Untrusted::as_bytes),
                    login.and_then(|login| login.outcome),
                    seen.client.as_ref().map(Untrusted::as_bytes),
                    seen.request.as_ref().map(Untrusted::as_bytes),
                    seen.repeat
                )
            }
            Parsed::Irrelevant => "irrelevant".into(),
            Parsed::Several(_) | Parsed::Unparsed => "unparsed".into(),
        };
        (fast, slow)
    }

    #[test]
    fn every_sample_is_the_same_sighting_as_observation() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/logs/sshd");
        let mut lines = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "log") {
                let mut clock = SyslogClock::new(cx());
                for line in std::fs::read(&path).unwrap().split(|b| *b == b'\n') {
                    let (fast, slow) = both(line, &mut clock);
                    assert_eq!(fast, slow, "{}", String::from_utf8_lossy(line));
                    lines += 1;
                }
            }
        }
        assert!(lines > 50, "{lines}");
    }

    proptest! {
        #[test]
        fn hostile_names_and_odd_forms_are_read_the_same_both_ways(
            form in 0usize..4,
            user in r"( |from|port|root|invalid user |ssh2|192\.0\.2\.1|[0-9a-z.:]{0,9}){0,9}",
            host in r"(198\.51\.100\.7|2001:db8::7|01\.2\.3\.4|1\.2\.3|256\.1\.1\.1|UNKNOWN|a\.example)",
            port in r"(22|0|65535|65536|123456|)",
            end in r"( ssh2| ssh2 |  ssh2|)",
        ) {
            let message = match form {
                0 => format!("Failed password for {user} from {host} port {port}{end}"),
                1 => format!("Failed password for invalid user {user} from {host} port {port}{end}"),
                2 => format!("Invalid user {user} from {host} port {port}{end}"),
                _ => format!("Failed password for {user}{host}{port}{end}"),
            };
            let line = format!("Nov 20 20:07:14 web-1 sshd[7]: {message}");
            let (fast, slow) = both(line.as_bytes(), &mut SyslogClock::new(cx()));
            prop_assert_eq!(fast, slow, "{}", line);
        }
    }
}
