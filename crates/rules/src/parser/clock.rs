//! The time of a syslog line, from the minute that the line before had.
//!
//! Lines of a log come in order, thousands in a minute. A minute is looked up
//! in the calendar once; the lines that follow it add their seconds. Gives
//! exactly what [`super::syslog`] gives: a minute is remembered only for the
//! plain form, and no zone changes its offset within one.

use palisade_event::Timestamp;

use super::LineContext;
use super::lanes;
use super::syslog;

/// `Nov 20 20:07:` of RFC 3164.
const SHORT: usize = 13;
/// `2026-11-20T20:07:` of RFC 3339.
const LONG: usize = 17;
/// Longest offset: `+01:00`.
const OFFSET: usize = 6;
/// The bytes of [`SHORT`] in a word.
const SHORT_MASK: u128 = (1 << (8 * SHORT)) - 1;

/// The minute of the line before.
#[derive(Clone, Debug)]
pub struct SyslogClock {
    cx: LineContext,
    minute: [u8; LONG],
    minute_bytes: usize,
    /// The first 13 bytes of the minute, where that is all of it.
    short: u128,
    offset: [u8; OFFSET],
    offset_bytes: usize,
    /// The first millisecond of that minute.
    begins: i64,
}

/// A line behind its time, host and process id.
pub(super) struct Head<'a> {
    pub(super) at: Timestamp,
    pub(super) host: &'a [u8],
    pub(super) tag: &'a [u8],
    pub(super) message: &'a [u8],
}

/// What the beginning of a line is.
pub(super) enum Begin<'a> {
    /// A line of syslog.
    Head(Head<'a>),
    /// One whose date does not exist.
    NoTime,
    /// None.
    Other,
}

impl SyslogClock {
    /// A clock for the lines of one log.
    #[must_use]
    pub fn new(cx: LineContext) -> Self {
        Self {
            cx,
            minute: [0; LONG],
            minute_bytes: 0,
            short: 0,
            offset: [0; OFFSET],
            offset_bytes: 0,
            begins: 0,
        }
    }

    /// What lines cannot say by themselves.
    #[must_use]
    pub fn context(&self) -> &LineContext {
        &self.cx
    }

    /// Lines are read at this time from now on. The minute that is remembered may
    /// then be one of another year.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        if now != self.cx.now {
            self.cx.now = now;
            self.minute_bytes = 0;
        }
    }

    /// Takes a line apart.
    #[inline]
    pub(super) fn head<'a>(&mut self, line: &'a [u8]) -> Begin<'a> {
        match self.known(line) {
            Some(head) => Begin::Head(head),
            None => self.look_up(line),
        }
    }

    /// A line of the remembered minute in plain form.
    #[inline]
    fn known<'a>(&self, line: &'a [u8]) -> Option<Head<'a>> {
        let (millis, rest) = match self.minute_bytes {
            SHORT => {
                let (start, rest) = line.split_first_chunk::<16>()?;
                if (u128::from_le_bytes(*start) ^ self.short) & SHORT_MASK != 0 {
                    return None;
                }
                match start {
                    [.., a @ b'0'..=b'5', b @ b'0'..=b'9', b' '] => (seconds(*a, *b), rest),
                    _ => return None,
                }
            }
            LONG => {
                let rest = line.strip_prefix(&self.minute)?;
                let (millis, rest) = match rest {
                    [a @ b'0'..=b'5', b @ b'0'..=b'9', rest @ ..] => (seconds(*a, *b), rest),
                    _ => return None,
                };
                let (fraction, rest) = fraction(rest);
                let offset = self.offset.get(..self.offset_bytes)?;
                (millis + fraction, rest.strip_prefix(offset)?.strip_prefix(b" ")?)
            }
            _ => return None,
        };
        let (host, rest) = rest.split_at_checked(place(b' ', rest)?)?;
        if host.is_empty() {
            return None;
        }
        let rest = rest.get(1..)?;
        let (tag, after) = match rest {
            // What most lines are of.
            [b's', b's', b'h', b'd', b'[', ..] => rest.split_at_checked(4)?,
            _ => {
                let near = lanes::first(rest).and_then(|near| lanes::first_of(near, *b"[: "));
                let end =
                    near.or_else(|| rest.iter().position(|b| matches!(b, b'[' | b':' | b' ')))?;
                rest.split_at_checked(end)?
            }
        };
        let after = match after.first()? {
            b'[' => after.get(place(b']', after)? + 1..)?,
            _ => after,
        };
        let message = match after {
            [b':', b' ', first, ..] if !first.is_ascii_whitespace() => after.get(2..)?,
            _ => after.strip_prefix(b":")?.trim_ascii_start(),
        };
        let at = Timestamp::from_millis(self.begins + millis);
        Some(Head { at, host, tag, message })
    }

    #[cold]
    fn look_up<'a>(&mut self, line: &'a [u8]) -> Begin<'a> {
        let Some(split) = syslog::split(line) else { return Begin::Other };
        let Some(at) = split.time.resolve(&self.cx) else { return Begin::NoTime };
        self.remember(line, at);
        Begin::Head(Head { at, host: split.host, tag: split.tag, message: split.message })
    }

    /// Remembers the minute of a line in plain form whose time is known.
    fn remember(&mut self, line: &[u8], at: Timestamp) {
        self.minute_bytes = 0;
        let size = match line.first() {
            Some(b'A'..=b'Z') => SHORT,
            Some(b'0'..=b'9') => LONG,
            _ => return,
        };
        let (Some(minute), Some([a @ b'0'..=b'5', b @ b'0'..=b'9'])) =
            (line.get(..size), line.get(size..size + 2))
        else {
            return;
        };
        let secs = i64::from((a - b'0') * 10 + (b - b'0'));
        let mut millis = 0;
        if size == LONG {
            let rest = line.get(size + 2..).unwrap_or_default();
            let (part, rest) = fraction(rest);
            millis = part;
            let space = rest.iter().take(OFFSET + 1).position(|b| *b == b' ');
            let Some(offset) = space.and_then(|space| rest.get(..space)) else { return };
            let Some(kept) = self.offset.get_mut(..offset.len()) else { return };
            kept.copy_from_slice(offset);
            self.offset_bytes = offset.len();
        } else if line.get(SHORT + 2) != Some(&b' ') {
            return;
        }
        if let Some(kept) = self.minute.get_mut(..size) {
            kept.copy_from_slice(minute);
        }
        self.short = match line.first_chunk::<16>() {
            Some(start) => u128::from_le_bytes(*start),
            None => return,
        };
        self.begins = at.as_millis() - secs * 1000 - millis;
        self.minute_bytes = size;
    }
}

/// Two digits of seconds, in milliseconds.
#[inline]
fn seconds(a: u8, b: u8) -> i64 {
    i64::from((a - b'0') * 10 + (b - b'0')) * 1000
}

/// The place of a byte. Most names of hosts and numbers of processes are short.
#[inline]
fn place(byte: u8, text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    if let Some(start) = text.first_chunk::<8>() {
        // What is sought is 0 here; the lowest one is told exactly.
        let zero = u64::from_le_bytes(*start) ^ (ONES * u64::from(byte));
        let found = zero.wrapping_sub(ONES) & !zero & (ONES << 7);
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
    }
    memchr::memchr(byte, text)
}

/// `.123456`: milliseconds, the rest is cut off; other forms are none.
#[inline]
fn fraction(text: &[u8]) -> (i64, &[u8]) {
    let Some((b'.', rest)) = text.split_first() else { return (0, text) };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return (0, text);
    }
    let digit = |place: usize| match rest.get(place) {
        Some(b) if place < digits => i64::from(b - b'0'),
        _ => 0,
    };
    let millis = digit(0) * 100 + digit(1) * 10 + digit(2);
    (millis, rest.get(digits..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn cx() -> LineContext {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        LineContext { now: "2026-11-20T21:00:00Z".parse().unwrap(), zone }
    }

    type Parts = Option<(Timestamp, Vec<u8>, Vec<u8>, Vec<u8>)>;

    fn fast(clock: &mut SyslogClock, line: &str) -> Parts {
        match clock.head(line.as_bytes()) {
            Begin::Head(head) => {
                Some((head.at, head.host.to_vec(), head.tag.to_vec(), head.message.to_vec()))
            }
            Begin::NoTime | Begin::Other => None,
        }
    }

    fn slow(line: &str) -> Parts {
        let split = syslog::split(line.as_bytes())?;
        let at = split.time.resolve(&cx())?;
        Some((at, split.host.to_vec(), split.tag.to_vec(), split.message.to_vec()))
    }

    proptest! {
        #[test]
        fn every_line_has_the_time_that_it_has_alone(
            lines in proptest::collection::vec((0usize..12, 0u32..3, 0u32..62, 0usize..9), 1..60)
        ) {
            let mut clock = SyslogClock::new(cx());
            for (form, minute, second, rest) in lines {
                let time = match form {
                    0..=3 => format!("Nov 20 20:{minute:02}:{second:02}"),
                    4 => format!("Nov 20 20:{minute:02}:{second:02}.5"),
                    5 => format!("Mar 29 02:{minute:02}:{second:02}"),
                    6 => format!("Oct 25 02:{minute:02}:{second:02}"),
                    7 => format!("<38>Nov 20 20:{minute:02}:{second:02}"),
                    8 => format!("2026-11-20T20:{minute:02}:{second:02}.123456+01:00"),
                    9 => format!("2026-11-20T20:{minute:02}:{second:02}.9Z"),
                    10 => format!("2026-11-20T20:{minute:02}:{second:02}-0500"),
                    _ => format!("2026-11-20 20:{minute:02}:{second:02},7"),
                };
                let rest = [
                    " web-1 sshd[77]: text", " web-1 sshd: text", " h CRON[1]:  x", "  h t: m",
                    " h last message repeated 2 times", " h", "", "x web-1 sshd[77]: text",
                    " h a[b: c",
                ][rest];
                let line = format!("{time}{rest}");
                prop_assert_eq!(fast(&mut clock, &line), slow(&line), "{}", line);
            }
        }
    }
}
