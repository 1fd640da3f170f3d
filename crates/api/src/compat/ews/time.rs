//! Times as EWS writes them: a local one and an offset from UTC.

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;
/// Largest offset that any clock on Earth has had, in minutes: 15:59.
const MAX_OFFSET_MINUTES: i32 = 16 * 60 - 1;

/// Seconds that `+0200`, `+02:00`, `Z` or `UTC` is ahead of UTC.
pub(crate) fn offset_secs(text: &[u8]) -> Option<i32> {
    if text.eq_ignore_ascii_case(b"z") || text.eq_ignore_ascii_case(b"utc") {
        return Some(0);
    }
    let (sign, digits) = text.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [a, b, c, d] | [a, b, b':', c, d] => (two(*a, *b)?, two(*c, *d)?),
        _ => return None,
    };
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MAX_OFFSET_MINUTES).then_some(sign * total * 60)
}

/// `2026-11-20 20:07:14`, with or without a fraction, as if it were UTC, in
/// milliseconds since 1970. Years are 1 to 9999 (the calendar of ISO 8601).
pub(crate) fn local_millis(text: &[u8]) -> Option<i64> {
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b' ' | b'T',
        h1,
        h2,
        b':',
        n1,
        n2,
        b':',
        s1,
        s2,
        rest @ ..,
    ] = text.trim_ascii()
    else {
        return None;
    };
    let year = two(*y1, *y2)? * 100 + two(*y3, *y4)?;
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    let (hour, minute, second) = (two(*h1, *h2)?, two(*n1, *n2)?, two(*s1, *s2)?);
    // 60 is a leap second; it counts as the second after it.
    if hour > 23 || minute > 59 || second > 60 || year < 1 {
        return None;
    }
    let date = jiff::civil::Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    let days = date.ok()?.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
    let secs = hour * 3600 + minute * 60 + second;
    Some(i64::from(days) * DAY_MILLIS + i64::from(secs) * 1000 + fraction_millis(rest)?)
}

/// Milliseconds of `.123456`; 0 where there is none.
fn fraction_millis(text: &[u8]) -> Option<i64> {
    let Some((b'.' | b',', digits)) = text.split_first() else {
        return text.is_empty().then_some(0);
    };
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = digits.iter().chain(b"00").take(3);
    Some(digits.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

fn two(tens: u8, ones: u8) -> Option<i32> {
    let both = tens.is_ascii_digit() && ones.is_ascii_digit();
    both.then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let of = |text: &str| {
            local_millis(text.as_bytes()).map(|ms| Timestamp::from_millis(ms).to_string())
        };
        assert_eq!(of(" 2026-11-20 20:07:14 ").unwrap(), "2026-11-20T20:07:14.000Z");
        assert_eq!(of("2024-02-29T00:00:00.5").unwrap(), "2024-02-29T00:00:00.500Z");
        assert_eq!(of("0001-01-01 00:00:00").unwrap(), "0001-01-01T00:00:00.000Z");
        assert_eq!(of("9999-12-30 20:00:00,123456").unwrap(), "9999-12-30T20:00:00.123Z");
        for bad in [
            "",
            "0000-01-01 00:00:00",
            "2026-02-29 00:00:00",
            "2026-13-01 00:00:00",
            "2026-01-01 24:00:00",
            "2026-01-01",
            "2026-01-01 00:00:00Z",
            "2026-01-01 00:00:00.",
            "-026-01-01 00:00:00",
            "2026-01-01 00:00:0a",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn offsets_are_those_of_clocks() {
        for (text, minutes) in
            [("+0200", 120), ("-0930", -570), ("+05:45", 345), ("Z", 0), ("utc", 0), ("+1559", 959)]
        {
            assert_eq!(offset_secs(text.as_bytes()), Some(minutes * 60), "{text}");
        }
        for bad in ["", "0200", "+2", "+0260", "+9900", "+1600", "CEST", "+02000", "+-200"] {
            assert_eq!(offset_secs(bad.as_bytes()), None, "{bad}");
        }
    }
}
