//! A line of sshd's log as a [`Sighting`], without copying anything: what the
//! speed of reading a log depends on.
//!
//! Says what [`super::parse_sshd`] says of the same line, as a test holds.

use super::*;
use crate::Sighting;
use crate::parser::Sight;
use crate::parser::clock::{Begin, Head, SyslogClock};
use crate::parser::lanes;
use std::net::IpAddr;

/// Looks at one line of a syslog file, without its newline, and hands over what
/// it says.
#[inline]
pub fn sight_sshd<S>(line: &[u8], clock: &mut SyslogClock, see: &mut S) -> Sight
where
    S: FnMut(&Sighting<'_>) + ?Sized,
{
    let line = line.trim_ascii_end();
    match clock.head(line) {
        Begin::Head(head) => sight_head(&head, see),
        Begin::NoTime => without_time(line),
        Begin::Other => {
            let remark = line.is_empty() || line.starts_with(b"-- ");
            if remark { Sight::Irrelevant } else { Sight::Unparsed }
        }
    }
}

/// Looks at one line of a syslog file that was taken apart.
#[inline]
pub(in crate::parser) fn sight_head<S>(head: &Head<'_>, see: &mut S) -> Sight
where
    S: FnMut(&Sighting<'_>) + ?Sized,
{
    if !matches!(head.tag, b"sshd" | b"sshd-session" | b"sshd-auth") {
        return Sight::Foreign;
    }
    // A sighting is made here once, where it is looked at: it is large, and moving
    // it from function to function cost as much as reading the line.
    let fact = match plain(head.message) {
        Some(Plain::Irrelevant) => return Sight::Irrelevant,
        Some(Plain::Login(login)) => {
            see(&Sighting {
                host: Some(head.host),
                source: Some(login.source),
                user: login.user,
                outcome: login.outcome,
                method: login.method,
                reason: login.reason,
                ..Sighting::new(login.kind, head.at, "sshd")
            });
            return Sight::Seen;
        }
        None => match classify(head.message) {
            Class::Fact(fact) => fact,
            Class::Irrelevant => return Sight::Irrelevant,
            Class::Unparsed => return Sight::Unparsed,
        },
    };
    see(&Sighting { host: Some(head.host), ..fact.sighting(head.at) });
    Sight::Seen
}

/// A line with a date that does not exist: the same words as without one.
#[cold]
fn without_time(line: &[u8]) -> Sight {
    let Some(head) = syslog::split(line) else { return Sight::Unparsed };
    if !matches!(head.tag, b"sshd" | b"sshd-session" | b"sshd-auth") {
        return Sight::Foreign;
    }
    match classify(head.message) {
        Class::Irrelevant => Sight::Irrelevant,
        Class::Fact(_) | Class::Unparsed => Sight::Unparsed,
    }
}

/// What a line in its plain form says.
enum Plain<'a> {
    Login(Login<'a>),
    Irrelevant,
}

/// What differs between the sightings of such lines.
struct Login<'a> {
    kind: EventKind,
    source: IpAddr,
    user: Option<&'a [u8]>,
    outcome: Option<Outcome>,
    method: Option<&'static [u8]>,
    reason: Option<&'static [u8]>,
}

/// The lines of which a log under attack consists, in their plain form, read
/// from their end: `… X from ADDRESS port N ssh2`, `… X ADDRESS port N
/// [preauth]`. `None` for every other line and form, also where it would be the
/// same sighting; then [`classify`] decides.
#[inline]
fn plain(message: &[u8]) -> Option<Plain<'_>> {
    match message.first()? {
        b'F' => {
            let (rest, source) = before_peer(message.strip_suffix(b" ssh2")?)?;
            let user = rest.strip_prefix(b"Failed password for ")?.strip_suffix(b" from ")?;
            let user = after_any(user, &[b"invalid user ", b"illegal user "]).unwrap_or(user);
            Some(Plain::Login(Login {
                kind: EventKind::AuthAttempted,
                source,
                user: (!user.is_empty()).then_some(user),
                outcome: Some(Outcome::Failed),
                method: Some(b"password"),
                reason: None,
            }))
        }
        b'I' => {
            let (rest, source) = before_peer(message)?;
            let user = rest.strip_prefix(b"Invalid user ")?.strip_suffix(b" from ")?;
            Some(Plain::Login(Login {
                kind: EventKind::UserProbed,
                source,
                user: (!user.is_empty()).then_some(user),
                outcome: None,
                method: None,
                reason: None,
            }))
        }
        b'C' => left_early(message, b"Connection closed by ", CLOSED),
        b'D' => left_early(message, b"Disconnected from ", DISCONNECTED),
        // With a port there is always a line `Disconnected from` too.
        b'R' => {
            let rest = message.strip_prefix(b"Received disconnect from ")?;
            let near = lanes::first(rest)?;
            let end = lanes::before(near, b' ');
            lanes::ipv4(near, end)?;
            let rest = rest.get(end as usize..)?.strip_prefix(b" port ")?;
            let (_, digits) = lanes::port_first(lanes::first(rest)?)?;
            (rest.get(digits) == Some(&b':') && rest.get(digits + 1) != Some(&b' '))
                .then_some(Plain::Irrelevant)
        }
        b'p' => message.starts_with(b"pam_").then_some(Plain::Irrelevant),
        _ => None,
    }
}

/// `BEGIN[authenticating user X |invalid user X ]ADDRESS port N [preauth]`.
#[inline]
fn left_early<'a>(text: &'a [u8], begin: &[u8], reason: &'static [u8]) -> Option<Plain<'a>> {
    let (who, source) = before_peer(text.strip_suffix(b" [preauth]")?)?;
    let user = match who.strip_prefix(begin)? {
        b"" => None,
        who => {
            let user = after_any(who, &[b"authenticating user ", b"invalid user "])?;
            Some(user.strip_suffix(b" ").filter(|user| !user.is_empty())?)
        }
    };
    Some(Plain::Login(Login {
        kind: EventKind::ConnectionClosed,
        source,
        user,
        outcome: None,
        method: None,
        reason: Some(reason),
    }))
}

/// The IPv4 address of `TEXT ADDRESS port N`, and the text with its space.
#[inline]
fn before_peer(text: &[u8]) -> Option<(&[u8], IpAddr)> {
    let (_, digits) = lanes::port_last(lanes::last(text)?)?;
    let rest = text.get(..text.len() - digits)?.strip_suffix(b" port ")?;
    let near = lanes::last(rest)?;
    let length = lanes::after(near, b' ');
    let source = lanes::ipv4_last(near, length)?.into();
    Some((rest.get(..rest.len() - length as usize)?, source))
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
        let mut said = String::new();
        let mut see = |seen: &Sighting<'_>| {
            said = format!(
                "{} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
                seen.kind,
                seen.at,
                seen.source,
                seen.user,
                seen.outcome,
                seen.client,
                seen.request,
                seen.method,
                seen.reason,
                seen.repeat
            );
        };
        let fast = match sight_sshd(line, clock, &mut see) {
            Sight::Seen => said,
            Sight::Irrelevant | Sight::Foreign => "irrelevant".into(),
            Sight::Unparsed => "unparsed".into(),
        };
        let slow = match parse_sshd(line, &cx()) {
            Parsed::Observation(seen) => {
                let login = seen.credentials.as_ref();
                let slow = Sighting::from(&*seen);
                format!(
                    "{} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
                    seen.kind,
                    seen.observed_at,
                    seen.source.map(|source| source.address),
                    login.and_then(|login| login.username.as_ref()).map(Untrusted::as_bytes),
                    login.and_then(|login| login.outcome),
                    seen.client.as_ref().map(Untrusted::as_bytes),
                    seen.request.as_ref().map(Untrusted::as_bytes),
                    slow.method,
                    slow.reason,
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
            form in 0usize..9,
            user in r"( |from|port|root|invalid user |ssh2|192\.0\.2\.1|[0-9a-z.:]{0,9}){0,9}",
            host in r"(198\.51\.100\.7|2001:db8::7|01\.2\.3\.4|1\.2\.3|256\.1\.1\.1|UNKNOWN|a\.example)",
            port in r"(22|0|65535|65536|123456|)",
            end in r"( ssh2| ssh2 |  ssh2|| \[preauth\]|  \[preauth\]|\[preauth\]|:11: Bye \[preauth\]|: 11: Bye \[preauth\])",
        ) {
            let message = match form {
                0 => format!("Failed password for {user} from {host} port {port}{end}"),
                1 => format!("Failed password for invalid user {user} from {host} port {port}{end}"),
                2 => format!("Invalid user {user} from {host} port {port}{end}"),
                3 => format!("Connection closed by authenticating user {user} {host} port {port}{end}"),
                4 => format!("Connection closed by invalid user {user} {host} port {port}{end}"),
                5 => format!("Disconnected from {user} {host} port {port}{end}"),
                6 => format!("Connection closed by {user}{host} port {port}{end}"),
                7 => format!("Received disconnect from {host} port {port}{end}"),
                _ => format!("Failed password for {user}{host}{port}{end}"),
            };
            let line = format!("Nov 20 20:07:14 web-1 sshd[7]: {message}");
            let (fast, slow) = both(line.as_bytes(), &mut SyslogClock::new(cx()));
            prop_assert_eq!(fast, slow, "{}", line);
        }
    }
}
