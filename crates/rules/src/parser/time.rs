//! Times as programs write them into their own logs, and the instants they are.
//!
//! ```text
//! 2026-11-20 20:07:14.123 UTC     ISO 8601 with `T` or a space; PostgreSQL, MySQL, Exim
//! 2026/11/20 20:07:14             nginx' error log
//! Fri Nov 20 20:07:14.123 2026    asctime; Apache's error log, vsftpd
//! Nov 20 20:07:14                 syslog
//! 20/Nov/2026:20:07:14 +0100      common log format
//! 261120 20:07:14                 MySQL before 5.7, MariaDB before 10.1
//! 1795201634.123                  seconds since 1970
//! ```
//!
//! each also in square brackets. The form is found by its shape.

use palisade_event::Timestamp;

use super::LineContext;
use super::syslog::{self, RawTime, clock, fraction, newest_believed, number, two};

/// Years that are looked ahead for the next occurrence of a date; one more than
/// the longest gap between two 29ths of February.
const YEARS_AHEAD: i16 = 9;
const MS_PER_MINUTE: i64 = 60_000;

/// A time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Digits of a calendar and a clock.
    Civil(RawTime),
    /// Seconds since 1970.
    Instant(Timestamp),
}

/// A time at the beginning of a text, and what follows it.
pub(super) fn leading(text: &[u8]) -> Option<(Written, &[u8])> {
    match text.strip_prefix(b"[") {
        Some(inner) => {
            let (time, rest) = plain(inner)?;
            Some((time, rest.strip_prefix(b"]")?))
        }
        None => plain(text),
    }
}

/// A time and nothing else.
pub(super) fn exact(text: &[u8]) -> Option<Written> {
    leading(text.trim_ascii()).filter(|(_, rest)| rest.is_empty()).map(|(time, _)| time)
}

fn plain(text: &[u8]) -> Option<(Written, &[u8])> {
    let civil = |(time, rest)| (Written::Civil(time), rest);
    match (text.first()?, text.get(2)?, text.get(4)?) {
        (b'0'..=b'9', _, b'-') => iso(text).map(civil),
        (b'0'..=b'9', _, b'/') => slashes(text).map(civil),
        (b'0'..=b'9', b'/', _) => common(text).map(civil),
        (b'0'..=b'9', ..) if text.get(6) == Some(&b' ') => short(text).map(civil),
        (b'0'..=b'9', ..) => epoch(text),
        _ if text.get(3) == Some(&b' ') && text.get(7) == Some(&b' ') => asctime(text).map(civil),
        _ => syslog::rfc3164_time(text).map(civil),
    }
}

/// ISO 8601, also with a zone after a space.
fn iso(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let (time, rest) = syslog::iso_time(text)?;
    if time.offset.is_some() {
        return Some((time, rest));
    }
    let Some(after) = rest.strip_prefix(b" ") else { return Some((time, rest)) };
    if matches!(after.first(), Some(b'+' | b'-'))
        && after.get(1..5).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    {
        let (offset, rest) = syslog::offset(after)?;
        return Some((RawTime { offset, ..time }, rest));
    }
    let letters = after.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let (name, end) = after.split_at_checked(letters)?;
    if !(3..=5).contains(&letters) || !matches!(end.first(), None | Some(b' ' | b':' | b']')) {
        return Some((time, rest));
    }
    match name {
        b"UTC" | b"GMT" => Some((RawTime { offset: Some(0), ..time }, end)),
        // An abbreviation is not unique in the world; here it names the log's own
        // zone. Nearly all end so, and no level or protocol does.
        name if name.ends_with(b"T") || name == b"MSK" => Some((time, end)),
        _ => Some((time, rest)),
    }
}

/// `2026/11/20 20:07:14`.
fn slashes(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let head = text.get(..19)?;
    if head.get(7) != Some(&b'/') || head.get(10) != Some(&b' ') {
        return None;
    }
    let year = Some(year(head.get(..4)?)?);
    let (month, day) = (two(head.get(5..7)?)?, two(head.get(8..10)?)?);
    let (hour, minute, second) = clock(head.get(11..)?)?;
    let (millis, rest) = fraction(text.get(19..)?);
    Some((RawTime { year, month, day, hour, minute, second, millis, offset: None }, rest))
}

/// `20/Nov/2026:20:07:14 +0100`; HAProxy has milliseconds and no zone.
pub(super) fn common(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let head = text.get(..20)?;
    if head.get(2) != Some(&b'/') || head.get(6) != Some(&b'/') || head.get(11) != Some(&b':') {
        return None;
    }
    let day = two(head.get(..2)?)?;
    let month = syslog::month(head.get(3..6)?)?;
    let year = Some(year(head.get(7..11)?)?);
    let (hour, minute, second) = clock(head.get(12..)?)?;
    let (millis, rest) = fraction(text.get(20..)?);
    let time = RawTime { year, month, day, hour, minute, second, millis, offset: None };
    match rest.strip_prefix(b" ") {
        Some(zone) if matches!(zone.first(), Some(b'+' | b'-')) => {
            let (offset, rest) = syslog::offset(zone)?;
            Some((RawTime { offset, ..time }, rest))
        }
        _ => Some((time, rest)),
    }
}

/// `Fri Nov 20 20:07:14.123456 2026`.
fn asctime(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let (time, rest) = syslog::rfc3164_time(text.get(4..)?)?;
    let digits = rest.get(1..5).filter(|_| rest.first() == Some(&b' '))?;
    Some((RawTime { year: Some(year(digits)?), ..time }, rest.get(5..)?))
}

/// `261120 20:07:14`, `261120  7:07:14`.
fn short(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let head = text.get(..15)?;
    let year = i16::from(two(head.get(..2)?)?) + 2000;
    let (month, day) = (two(head.get(2..4)?)?, two(head.get(4..6)?)?);
    let (hour, minute, second) = clock(head.get(7..)?)?;
    let time =
        RawTime { year: Some(year), month, day, hour, minute, second, millis: 0, offset: None };
    Some((time, text.get(15..)?))
}

/// Seconds since 1970 with a fraction or without, or milliseconds.
fn epoch(text: &[u8]) -> Option<(Written, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let value: i64 = std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()?;
    let rest = text.get(digits..)?;
    match digits {
        9 | 10 => {
            let (millis, rest) = fraction(rest);
            let at = Timestamp::from_millis(value * 1000 + i64::from(millis));
            Some((Written::Instant(at), rest))
        }
        13 => Some((Written::Instant(Timestamp::from_millis(value)), fraction(rest).1)),
        _ => None,
    }
}

fn year(digits: &[u8]) -> Option<i16> {
    number(digits).and_then(|year| i16::try_from(year).ok())
}

/// Makes instants of written times. A calendar is slow beside everything else
/// that is done with a line, and a log's lines mostly have the minute of the
/// line before: that one is remembered.
#[derive(Clone, Debug)]
pub struct LineClock {
    cx: LineContext,
    known: Option<Minute>,
}

/// A minute whose instant is known.
#[derive(Clone, Copy, Debug)]
struct Minute {
    /// The time, with second and milliseconds 0.
    written: RawTime,
    begins: Timestamp,
    /// For a time without a year: the next time that this date occurs. Once
    /// that is believed, another year is meant.
    until: Option<Timestamp>,
}

impl LineClock {
    /// A clock for lines of one log.
    #[must_use]
    pub fn new(cx: LineContext) -> Self {
        Self { cx, known: None }
    }

    /// What lines do not say by themselves.
    #[must_use]
    pub fn context(&self) -> &LineContext {
        &self.cx
    }

    /// Lines are read at this time from now on.
    pub fn set_now(&mut self, now: Timestamp) {
        self.cx.now = now;
    }

    /// The instant; the same as [`RawTime::resolve`] says.
    pub(super) fn instant(&mut self, time: RawTime) -> Option<Timestamp> {
        if !(0..60).contains(&time.second) {
            return time.resolve(&self.cx);
        }
        let written = RawTime { second: 0, millis: 0, ..time };
        let within = i64::from(time.second) * 1000 + i64::from(time.millis);
        let limit = newest_believed(self.cx.now);
        if let Some(known) = &self.known
            && known.written == written
            && known.until.is_none_or(|until| {
                limit < until && known.begins.plus_millis(MS_PER_MINUTE) <= limit
            })
        {
            return Some(known.begins.plus_millis(within));
        }
        let at = time.resolve(&self.cx)?;
        self.known = self.minute(written);
        Some(at)
    }

    /// What is remembered of a minute.
    fn minute(&self, written: RawTime) -> Option<Minute> {
        let begins = written.resolve(&self.cx)?;
        if written.year.is_some() {
            return Some(Minute { written, begins, until: None });
        }
        let this = jiff::Timestamp::from_millisecond(begins.as_millis()).ok()?;
        // The local year may be one ahead of UTC's: then this finds the same
        // date again, which is not after it.
        let year = this.to_zoned(jiff::tz::TimeZone::UTC).year();
        let until = (0..=YEARS_AHEAD)
            .filter_map(|ahead| written.at(year.checked_add(ahead)?, &self.cx))
            .find(|next| *next > begins)?;
        Some(Minute { written, begins, until: Some(until) })
    }

    /// The instant of any written time.
    pub(super) fn of(&mut self, time: Written) -> Option<Timestamp> {
        match time {
            Written::Civil(time) => self.instant(time),
            Written::Instant(at) => Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn cx(zone: TimeZone) -> LineContext {
        LineContext { now: "2026-11-20T21:00:00Z".parse().unwrap(), zone }
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn read(text: &str) -> Option<(String, String)> {
        let (time, rest) = leading(text.as_bytes())?;
        let at = LineClock::new(cx(berlin())).of(time)?;
        Some((at.to_string(), String::from_utf8(rest.to_vec()).unwrap()))
    }

    #[test]
    fn every_form_is_known_by_its_shape() {
        for (text, rest) in [
            ("2026-11-20 20:07:14 x", " x"),
            ("2026-11-20 20:07:14.000 CET [77] x", " [77] x"),
            ("2026-11-20 19:07:14.000 UTC [77] x", " [77] x"),
            ("2026-11-20 19:07:14 GMT:x", ":x"),
            ("2026-11-20 20:07:14 +0100 x", " x"),
            ("2026-11-20 20:07:14 ERROR x", " ERROR x"),
            ("2026-11-20 20:07:14 TLS error", " TLS error"),
            ("2026-11-20 20:07:14 Uppsala", " Uppsala"),
            ("2026-11-20T19:07:14.000000Z 12", " 12"),
            ("[2026-11-20 20:07:14.000][x]", "[x]"),
            ("2026/11/20 20:07:14 [error]", " [error]"),
            ("Fri Nov 20 20:07:14 2026 [pid 2]", " [pid 2]"),
            ("[Fri Nov 20 20:07:14.000123 2026] [x]", " [x]"),
            ("Nov 20 20:07:14 x", " x"),
            ("20/Nov/2026:20:07:14 +0100] x", "] x"),
            ("[20/Nov/2026:19:07:14 +0000] x", " x"),
            ("20/Nov/2026:20:07:14.000] x", "] x"),
            ("261120 20:07:14 [Note]", " [Note]"),
            ("1795201634.000 x", " x"),
            ("1795201634", ""),
            ("1795201634000", ""),
        ] {
            let want = ("2026-11-20T19:07:14.000Z".to_owned(), rest.to_owned());
            assert_eq!(read(text), Some(want), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "x",
            "2026",
            "2026-11-20",
            "2026/11/20",
            "[2026/11/20 20:07:14",
            "20/Nov/2026",
            "20/Nox/2026:20:07:14 +0100",
            "201120 20",
            "12345",
            "99999999999999999999",
            "Fri Nov",
            "Fri Nov 20 20:07:14 x",
            "2026/13/40 20:07:14",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_remembered_minute_says_what_the_calendar_says(
            lines in proptest::collection::vec(
                (0i64..3, 0i64..400 * 86_400, prop::sample::select(vec![0i64, 1, 59, 60, 3600])), 1..40),
            year in any::<bool>(),
        ) {
            let start: Timestamp = "2026-03-28T00:00:00Z".parse().unwrap();
            let mut clock = LineClock::new(cx(berlin()));
            let (mut now, mut at) = (start, start);
            for (jump, far, near) in lines {
                // Sometimes the clock jumps, mostly lines follow one another.
                if jump == 0 {
                    now = start.plus_millis(far * 1000);
                    at = now.plus_millis(-far * 100);
                } else {
                    at = at.plus_millis(near * 1000);
                }
                clock.set_now(now);
                let zoned = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap().to_zoned(berlin());
                let format = if year { "%Y-%m-%d %H:%M:%S x" } else { "%b %e %H:%M:%S x" };
                let text = zoned.strftime(format).to_string();
                let Some((Written::Civil(time), _)) = leading(text.as_bytes()) else { panic!("{text}") };
                let slow = time.resolve(&LineContext { now, zone: berlin() });
                prop_assert_eq!(clock.instant(time), slow, "{} at {}", text, now);
            }
        }

        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = leading(&text);
            let _ = exact(&text);
        }
    }
}
