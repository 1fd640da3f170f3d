//! Messages of syslog as they come by network: the heads of RFC 5424, of RFC
//! 3164, and what devices make of the latter (no host, no time).
//!
//! A sender may write anything into a head. Who it is, is known from the
//! connection alone, and that is noted beside what it says.

use palisade_event::Timestamp;

use super::ruleset::{LineState, Message};
use super::syslog::{self, number};
use super::time::{self, Written};

/// Longest name of a host, a program or a process that is believed, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Takes a message apart. What it does not say is unknown, its time then the
/// one of its receipt; nothing is refused.
#[must_use]
pub fn received<'a>(frame: &'a [u8], state: &mut LineState, received_at: Timestamp) -> Message<'a> {
    let end =
        frame.iter().rposition(|b| !matches!(b, b'\n' | b'\r' | b'\0')).map_or(0, |at| at + 1);
    let frame = frame.get(..end).unwrap_or(frame);
    let text = syslog::skip_priority(frame);
    let head = match text.strip_prefix(b"1 ") {
        Some(rest) => rfc5424(rest),
        None => None,
    };
    let head = head.unwrap_or_else(|| rfc3164(text));
    let at = head.time.and_then(|written| state.clock.of(written));
    Message {
        program: head.program,
        text: head.text,
        at: at.unwrap_or(received_at),
        host: head.host,
        pid: head.pid,
    }
}

/// What stands before a message.
struct Head<'a> {
    time: Option<Written>,
    host: Option<&'a [u8]>,
    program: &'a [u8],
    pid: Option<u32>,
    text: &'a [u8],
}

/// `TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA[ MSG]`, a dash for what is
/// unknown (RFC 5424, section 6).
fn rfc5424(text: &[u8]) -> Option<Head<'_>> {
    let (stamp, rest) = word(text)?;
    let (host, rest) = word(rest)?;
    let (program, rest) = word(rest)?;
    let (process, rest) = word(rest)?;
    let (_kind, rest) = word(rest)?;
    let text = match rest.strip_prefix(b"-") {
        Some(rest) => rest,
        None => after_structured_data(rest)?,
    };
    let text = match text {
        b"" => text,
        text => text.strip_prefix(b" ")?,
    };
    let time = match stamp {
        b"-" => None,
        stamp => Some(time::exact(stamp)?),
    };
    Some(Head {
        time,
        host: known(host),
        program: known(program).unwrap_or_default(),
        pid: number(process),
        text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
    })
}

/// What follows one or more `[id name="value"…]`; a value may have `\"`, `\\`
/// and `\]` in it.
fn after_structured_data(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix(b"[") {
        let (mut quoted, mut escaped) = (false, false);
        let end = inner.iter().position(|byte| {
            let ends = *byte == b']' && !quoted;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            ends
        })?;
        rest = inner.get(end + 1..)?;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// `[TIME ][HOST ]PROGRAM[[PID]]: TEXT`, each as far as it is there.
fn rfc3164(text: &[u8]) -> Head<'_> {
    let (time, rest) = match time::leading(text) {
        Some((written, rest)) if rest.first() == Some(&b' ') => {
            (Some(written), rest.get(1..).unwrap_or_default())
        }
        _ => (None, text),
    };
    let (host, rest) = match word(rest) {
        // A program is followed by its number or a colon, a host is not.
        Some((first, rest))
            if time.is_some()
                && known(first).is_some()
                && !first.contains(&b'[')
                && !first.ends_with(b":") =>
        {
            (Some(first), rest)
        }
        _ => (None, rest),
    };
    let (program, pid, text) = program(rest).unwrap_or((b"", None, rest));
    Head { time, host, program, pid, text }
}

/// `PROGRAM: TEXT` or `PROGRAM[PID]: TEXT`.
fn program(text: &[u8]) -> Option<(&[u8], Option<u32>, &[u8])> {
    let end = text.iter().take(MAX_NAME_BYTES).position(|b| matches!(b, b'[' | b':' | b' '))?;
    let (name, after) = text.split_at_checked(end)?;
    let (pid, after) = match after.strip_prefix(b"[") {
        Some(inner) => {
            let close = memchr::memchr(b']', inner.get(..MAX_NAME_BYTES.min(inner.len()))?)?;
            (number(inner.get(..close)?), inner.get(close + 1..)?)
        }
        None => (None, after),
    };
    let text = after.strip_prefix(b":").filter(|_| !name.is_empty())?;
    Some((name, pid, text.trim_ascii_start()))
}

/// A text up to the next space, and what follows that.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', text)?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}

/// A name that is there and can be one.
fn known(name: &[u8]) -> Option<&[u8]> {
    (!matches!(name, b"" | b"-") && name.len() <= MAX_NAME_BYTES).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::LineContext;

    fn state() -> LineState {
        let now = "2026-11-20T20:00:00Z".parse().unwrap();
        LineState::new(LineContext { now, zone: jiff::tz::TimeZone::UTC })
    }

    fn read(frame: &str) -> String {
        let at: Timestamp = "2026-11-20T21:00:00Z".parse().unwrap();
        let mut state = state();
        let message = received(frame.as_bytes(), &mut state, at);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        format!(
            "{}|{}|{}|{}|{}",
            &message.at.to_string()[11..19],
            text(message.host.unwrap_or(b"-")),
            text(message.program),
            message.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            text(message.text)
        )
    }

    #[test]
    fn heads_of_both_standards_are_read() {
        for (frame, expected) in [
            (
                "<38>1 2026-11-20T20:07:14.123456Z web01 sshd 77 - - text",
                "20:07:14|web01|sshd|77|text",
            ),
            (
                "<38>1 2026-11-20T20:07:14+01:00 web01 sshd 77 ID1 [a@1 x=\"]\\\"]\"][b] \u{feff}text\n",
                "19:07:14|web01|sshd|77|text",
            ),
            ("<38>1 - - sshd - - - text", "21:00:00|-|sshd|-|text"),
            ("<38>1 2026-11-20T20:07:14Z web01 sshd 77 - -", "20:07:14|web01|sshd|77|"),
            ("<38>Nov 20 20:07:14 web01 sshd[77]: text", "20:07:14|web01|sshd|77|text"),
            ("<38>Nov 20 20:07:14 sshd[77]: text", "20:07:14|-|sshd|77|text"),
            ("<38>Nov 20 20:07:14 sshd: text", "20:07:14|-|sshd|-|text"),
            ("<38>2026-11-20T20:07:14Z web01 sshd[77]: text", "20:07:14|web01|sshd|77|text"),
            ("<38>sshd[77]: text", "21:00:00|-|sshd|77|text"),
            (
                "Nov 20 20:07:14 web01 postfix/smtpd[77]: text",
                "20:07:14|web01|postfix/smtpd|77|text",
            ),
            ("<38>just some text", "21:00:00|-||-|just some text"),
            (
                "<38>1 yesterday web01 sshd 77 - - text",
                "21:00:00|-||-|1 yesterday web01 sshd 77 - - text",
            ),
            (
                "<38>1 2026-11-20T20:07:14Z web01 sshd 77 - [a text",
                "21:00:00|-||-|1 2026-11-20T20:07:14Z web01 sshd 77 - [a text",
            ),
            ("", "21:00:00|-||-|"),
            ("\0\n", "21:00:00|-||-|"),
        ] {
            assert_eq!(read(frame), expected, "{frame}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = received(&frame, &mut state(), Timestamp::from_millis(0));
        }
    }
}
