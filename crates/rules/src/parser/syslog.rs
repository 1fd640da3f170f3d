//! The head of a syslog line: time, host, program, process id.
//!
//! Understands what syslog daemons and `journalctl` write into text files:
//!
//! ```text
//! Nov 20 20:07:14 host tag[pid]: message                        RFC 3164, journalctl -o short
//! Nov 20 20:07:14.123456 host tag[pid]: message                 journalctl -o short-precise
//! 2026-11-20T20:07:14.123456+01:00 host tag[pid]: message       RFC 3339, rsyslog's modern default
//! 2026-11-20T20:07:14+0100 host tag[pid]: message               journalctl -o short-iso(-precise)
//! 2026-11-20 20:07:14 host tag[pid]: message                    without a zone
//! ```
//!
//! each with or without `<PRI>` before it. Splitting borrows and does not look
//! at the calendar; [`RawTime::resolve`] does, for the lines that matter.

use palisade_event::Timestamp;

use super::LineContext;

/// Years that are tried backwards for a date without a year; one more than the
/// longest gap between two 29ths of February.
const YEARS_BACK: i16 = 9;
const MS_PER_DAY: i64 = 86_400_000;

/// A line taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: RawTime,
    pub(super) host: &'a [u8],
    /// The program; empty where the line has none ("last message repeated").
    pub(super) tag: &'a [u8],
    pub(super) pid: Option<u32>,
    pub(super) message: &'a [u8],
}

/// A time as written: digits that were read but not yet checked against the
/// calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawTime {
    pub(super) year: Option<i16>,
    pub(super) month: i8,
    pub(super) day: i8,
    pub(super) hour: i8,
    pub(super) minute: i8,
    pub(super) second: i8,
    pub(super) millis: i16,
    /// Seconds east of UTC.
    pub(super) offset: Option<i32>,
}

/// Takes a line apart; `None` where it does not begin like a syslog line.
pub(super) fn split(line: &[u8]) -> Option<Line<'_>> {
    let rest = skip_priority(line);
    let (time, rest) = match rest.first()? {
        b'0'..=b'9' => iso_time(rest)?,
        _ => rfc3164_time(rest)?,
    };
    let rest = rest.strip_prefix(b" ")?;
    let space = memchr::memchr(b' ', rest)?;
    let (host, rest) = rest.split_at_checked(space)?;
    let rest = rest.get(1..)?;
    if host.is_empty() {
        return None;
    }
    let Some(end) = rest.iter().position(|b| matches!(b, b'[' | b':' | b' ')) else {
        return Some(Line { time, host, tag: b"", pid: None, message: rest });
    };
    let (tag, after) = rest.split_at_checked(end)?;
    let (pid, after) = match after.first()? {
        b'[' => {
            let close = memchr::memchr(b']', after)?;
            let pid = after.get(1..close).and_then(number);
            (pid, after.get(close + 1..)?)
        }
        _ => (None, after),
    };
    let Some(message) = after.strip_prefix(b":") else {
        return Some(Line { time, host, tag: b"", pid: None, message: rest });
    };
    Some(Line { time, host, tag, pid, message: message.trim_ascii_start() })
}

/// `<34>` in front of the time.
pub(super) fn skip_priority(line: &[u8]) -> &[u8] {
    let Some(rest) = line.strip_prefix(b"<") else { return line };
    let digits = rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    match rest.get(digits) {
        Some(b'>') if (1..=3).contains(&digits) => rest.get(digits + 1..).unwrap_or(line),
        _ => line,
    }
}

/// Decimal digits and nothing else.
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    digits.iter().try_fold(0u32, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    })
}

pub(super) fn two(pair: &[u8]) -> Option<i8> {
    match pair {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(((a - b'0') * 10 + (b - b'0')) as i8),
        [b' ', b @ b'0'..=b'9'] => Some((b - b'0') as i8),
        _ => None,
    }
}

/// The English abbreviation of a month.
pub(super) fn month(name: &[u8]) -> Option<i8> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

pub(super) fn rfc3164_time(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let head = text.get(..15)?;
    let month = month(head.get(..3)?)?;
    if head.get(3) != Some(&b' ') {
        return None;
    }
    if head.get(6) != Some(&b' ') {
        return None;
    }
    let day = two(head.get(4..6)?)?;
    let (hour, minute, second) = clock(head.get(7..15)?)?;
    let (millis, rest) = fraction(text.get(15..)?);
    let time = RawTime { year: None, month, day, hour, minute, second, millis, offset: None };
    Some((time, rest))
}

pub(super) fn iso_time(text: &[u8]) -> Option<(RawTime, &[u8])> {
    let head = text.get(..19)?;
    if head.get(4) != Some(&b'-')
        || head.get(7) != Some(&b'-')
        || !matches!(head.get(10), Some(b'T' | b't' | b' '))
    {
        return None;
    }
    let year = i16::try_from(number(head.get(..4)?)?).ok()?;
    let month = two(head.get(5..7)?)?;
    let day = two(head.get(8..10)?)?;
    let (hour, minute, second) = clock(head.get(11..19)?)?;
    let (millis, rest) = fraction(text.get(19..)?);
    let (offset, rest) = offset(rest)?;
    Some((RawTime { year: Some(year), month, day, hour, minute, second, millis, offset }, rest))
}

pub(super) fn clock(text: &[u8]) -> Option<(i8, i8, i8)> {
    if text.get(2) != Some(&b':') || text.get(5) != Some(&b':') {
        return None;
    }
    Some((two(text.get(..2)?)?, two(text.get(3..5)?)?, two(text.get(6..8)?)?))
}

/// `.123456` or `,123`: milliseconds, the rest is cut off.
pub(super) fn fraction(text: &[u8]) -> (i16, &[u8]) {
    let Some((b'.' | b',', rest)) = text.split_first() else { return (0, text) };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return (0, text);
    }
    let mut millis = 0;
    for place in 0..3 {
        let digit = rest.get(place).filter(|_| place < digits).map_or(0, |b| b - b'0');
        millis = millis * 10 + i16::from(digit);
    }
    (millis, rest.get(digits..).unwrap_or_default())
}

/// `Z`, `+01:00`, `+0100`, or nothing.
pub(super) fn offset(text: &[u8]) -> Option<(Option<i32>, &[u8])> {
    let (sign, rest) = match text.split_first()? {
        (b'Z' | b'z', rest) => return Some((Some(0), rest)),
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return Some((None, text)),
    };
    let hours = two(rest.get(..2)?)?;
    let rest = rest.get(2..)?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let minutes = two(rest.get(..2)?)?;
    let secs = sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60);
    Some((Some(secs), rest.get(2..)?))
}

/// The latest time that a line read at `now` is believed to be of.
pub(super) fn newest_believed(now: Timestamp) -> Timestamp {
    now.plus_millis(MS_PER_DAY)
}

impl RawTime {
    /// The instant, or `None` where the calendar has no such date or the clock
    /// no such time.
    ///
    /// A date without a year is in the latest year that puts it at or before
    /// `now` + 24 hours (clocks differ, and zones do). A local time that a
    /// clock change skipped counts as if the clock had not been changed yet; one
    /// that occurs twice means the first. Neither depends on `now`: a line that
    /// is read again keeps its time, and so the identity of its event.
    pub(super) fn resolve(self, cx: &LineContext) -> Option<Timestamp> {
        if let Some(year) = self.year {
            return self.at(year, cx);
        }
        let limit = newest_believed(cx.now);
        let newest = jiff::Timestamp::from_millisecond(limit.as_millis()).ok()?;
        // The local year may be one ahead of UTC's.
        let newest = newest.to_zoned(jiff::tz::TimeZone::UTC).year().checked_add(1)?;
        let newest = if self.month == 1 { newest } else { newest - 1 };
        (0..=YEARS_BACK)
            .filter_map(|back| self.at(newest.checked_sub(back)?, cx))
            .find(|at| *at <= limit)
    }

    /// The same date and time in a year.
    pub(super) fn at(self, year: i16, cx: &LineContext) -> Option<Timestamp> {
        // A leap second (:60) is written by some daemons; it counts as :59.
        let second = if self.second == 60 { 59 } else { self.second };
        let nanos = i32::from(self.millis) * 1_000_000;
        let civil = jiff::civil::DateTime::new(
            year,
            self.month,
            self.day,
            self.hour,
            self.minute,
            second,
            nanos,
        )
        .ok()?;
        let at = match self.offset {
            Some(secs) => jiff::tz::Offset::from_seconds(secs).ok()?.to_timestamp(civil).ok()?,
            None => cx.zone.to_ambiguous_timestamp(civil).compatible().ok()?,
        };
        Some(Timestamp::from_millis(at.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn cx(now: &str, zone: TimeZone) -> LineContext {
        LineContext { now: now.parse().unwrap(), zone }
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn time(line: &str, cx: &LineContext) -> Option<String> {
        split(line.as_bytes())?.time.resolve(cx).map(|at| at.to_string())
    }

    #[test]
    fn every_form_of_the_same_moment_is_the_same_moment() {
        let cx = cx("2026-11-20T20:00:00Z", berlin());
        for line in [
            "Nov 20 20:07:14 web01 sshd[77]: text",
            "<38>Nov 20 20:07:14 web01 sshd[77]: text",
            "Nov 20 20:07:14.000999 web01 sshd[77]: text",
            "2026-11-20T20:07:14.000123+01:00 web01 sshd[77]: text",
            "2026-11-20T20:07:14+0100 web01 sshd[77]: text",
            "2026-11-20T14:07:14-05:00 web01 sshd[77]: text",
            "2026-11-20T19:07:14Z web01 sshd[77]: text",
            "2026-11-20 20:07:14 web01 sshd[77]:text",
            "2026-11-20 20:07:14,0 web01 sshd[77]: text",
        ] {
            assert_eq!(time(line, &cx).as_deref(), Some("2026-11-20T19:07:14.000Z"), "{line}");
            let split = split(line.as_bytes()).unwrap();
            assert_eq!(split.host, b"web01", "{line}");
            assert_eq!(split.tag, b"sshd", "{line}");
            assert_eq!(split.pid, Some(77), "{line}");
            assert_eq!(split.message, b"text", "{line}");
        }
    }

    #[test]
    fn milliseconds_are_kept() {
        let cx = cx("2026-11-20T20:00:00Z", TimeZone::UTC);
        let line = "2026-11-20T20:07:14.98765Z h t: m";
        assert_eq!(time(line, &cx).as_deref(), Some("2026-11-20T20:07:14.987Z"));
        let line = "2026-11-20T20:07:14.5Z h t: m";
        assert_eq!(time(line, &cx).as_deref(), Some("2026-11-20T20:07:14.500Z"));
    }

    #[test]
    fn a_date_without_year_is_the_latest_up_to_a_day_ahead() {
        let at = |now: &str, date: &str| {
            time(&format!("{date} h t: m"), &cx(now, TimeZone::UTC)).unwrap()
        };
        let new_year = "2027-01-01T00:00:10Z";
        assert_eq!(at(new_year, "Dec 31 23:59:59"), "2026-12-31T23:59:59.000Z");
        assert_eq!(at(new_year, "Jan  1 00:00:05"), "2027-01-01T00:00:05.000Z");
        let eve = "2026-12-31T23:59:50Z";
        assert_eq!(at(eve, "Jan  1 00:00:05"), "2027-01-01T00:00:05.000Z");
        assert_eq!(at(eve, "Jan  1 23:59:50"), "2027-01-01T23:59:50.000Z");
        assert_eq!(at(eve, "Jan  1 23:59:51"), "2026-01-01T23:59:51.000Z");
        assert_eq!(at("2026-11-20T00:00:00Z", "Nov 21 00:00:00"), "2026-11-21T00:00:00.000Z");
        assert_eq!(at("2026-11-20T00:00:00Z", "Nov 21 00:00:01"), "2025-11-21T00:00:01.000Z");
    }

    #[test]
    fn the_29th_of_february_is_in_a_leap_year() {
        let cx = cx("2026-11-20T00:00:00Z", TimeZone::UTC);
        assert_eq!(time("Feb 29 10:00:00 h t: m", &cx).unwrap(), "2024-02-29T10:00:00.000Z");
        assert_eq!(time("Feb 30 10:00:00 h t: m", &cx), None);
        assert_eq!(time("Nov 20 24:00:00 h t: m", &cx), None);
    }

    #[test]
    fn a_local_year_may_begin_before_the_utc_year() {
        let auckland = TimeZone::posix("NZST-12NZDT,M9.5.0,M4.1.0/3").unwrap();
        let cx = cx("2026-12-30T12:30:00Z", auckland);
        // 24 hours ahead is the first half hour of the year 2027 there.
        assert_eq!(time("Jan  1 01:10:00 h t: m", &cx).unwrap(), "2026-12-31T12:10:00.000Z");
        assert_eq!(time("Jan  1 02:10:00 h t: m", &cx).unwrap(), "2025-12-31T13:10:00.000Z");
    }

    #[test]
    fn clock_changes_have_a_defined_answer_that_ignores_now() {
        for now in ["2026-10-25T00:10:00Z", "2026-10-25T09:00:00Z", "2026-12-01T00:00:00Z"] {
            let cx = cx(now, berlin());
            // 02:30 happens twice on 25 October: the first, in summer time.
            assert_eq!(time("Oct 25 02:30:00 h t: m", &cx).unwrap(), "2026-10-25T00:30:00.000Z");
            // 02:30 does not happen on 29 March: half an hour after 02:00 = 03:00 summer time.
            assert_eq!(time("Mar 29 02:30:00 h t: m", &cx).unwrap(), "2026-03-29T01:30:00.000Z");
        }
    }

    #[test]
    fn a_leap_second_is_the_second_before() {
        let cx = cx("2026-11-20T00:00:00Z", TimeZone::UTC);
        assert_eq!(time("2016-12-31T23:59:60Z h t: m", &cx).unwrap(), "2016-12-31T23:59:59.000Z");
    }

    #[test]
    fn programs_are_named_with_and_without_process_id() {
        let tag = |line: &str| {
            let line = split(line.as_bytes()).unwrap();
            (String::from_utf8(line.tag.to_vec()).unwrap(), line.pid)
        };
        assert_eq!(tag("Nov  2 01:02:03 h sudo:   deploy : x"), ("sudo".into(), None));
        assert_eq!(tag("Nov  2 01:02:03 h CRON[12]: x"), ("CRON".into(), Some(12)));
        assert_eq!(tag("Nov  2 01:02:03 h a(b=c): x"), ("a(b=c)".into(), None));
        assert_eq!(tag("Nov  2 01:02:03 h last message repeated 2 times"), (String::new(), None));
        assert_eq!(tag("Nov  2 01:02:03 h word"), (String::new(), None));
        assert_eq!(tag("Nov  2 01:02:03 h sshd[99999999999]: x"), ("sshd".into(), None));
    }

    #[test]
    fn other_text_is_no_syslog_line() {
        for line in [
            "",
            " ",
            "Nov",
            "Nov 20 20:07:14",
            "Nov 20 20:07:14 host",
            "Nox 20 20:07:14 h t: m",
            "Nov 20 20-07-14 h t: m",
            "2026-11-20",
            "2026-11-20T20:07:14",
            "2026-1120T20:07:14Z h t: m",
            "<>Nov 20 20:07:14 h t: m",
            "<12345>Nov 20 20:07:14 h t: m",
            "2026-11-20T20:07:14+1 h",
            "Nov 20 20:07:14  t: m",
            "Nov 20 20:07:14 h t[12",
        ] {
            assert_eq!(split(line.as_bytes()), None, "{line:?}");
        }
    }
}
