//! Days and months of the UTC calendar.

use jiff::civil::Date;
use jiff::{Span, Timestamp as Instant, tz::TimeZone};
use palisade_event::{Day, Timestamp};

fn date(day: Day) -> Date {
    let at = Instant::from_millisecond(day.start().as_millis()).unwrap_or(Instant::UNIX_EPOCH);
    at.to_zoned(TimeZone::UTC).date()
}

fn day(date: Date) -> Day {
    let at = date.to_zoned(TimeZone::UTC).map(|at| at.timestamp().as_millisecond());
    Timestamp::from_millis(at.unwrap_or_default()).day()
}

fn back(date: Date, months: u16) -> Date {
    date.checked_sub(Span::new().months(i32::from(months))).unwrap_or(date)
}

/// This day of the month before, or that month's last day.
pub(super) fn month_before(today: Day) -> Day {
    day(back(date(today), 1))
}

/// The month so many months before a day's: its name (`2026-11`), its first
/// instant, and the first after it.
pub(super) fn month_span(today: Day, months_ago: u16) -> (String, Timestamp, Timestamp) {
    let first = back(date(today).first_of_month(), months_ago);
    let last = first.last_of_month();
    (first.strftime("%Y-%m").to_string(), day(first).start(), day(last).end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_with_the_calendar() {
        let of = |text: &str, ago: u16| {
            let (name, from, to) = month_span(text.parse().unwrap(), ago);
            format!("{name} {} {}", from.day(), to.day())
        };
        assert_eq!(of("2026-11-26", 0), "2026-11 2026-11-01 2026-12-01");
        assert_eq!(of("2026-03-31", 1), "2026-02 2026-02-01 2026-03-01");
        assert_eq!(of("2026-01-01", 13), "2024-12 2024-12-01 2025-01-01");
        // So long ago that there is no such month: nothing breaks.
        assert!(of("2026-01-01", u16::MAX).contains('-'));
        assert_eq!(month_before("2026-03-31".parse().unwrap()).to_string(), "2026-02-28");
        assert_eq!(month_before("2026-01-15".parse().unwrap()).to_string(), "2025-12-15");
    }
}
