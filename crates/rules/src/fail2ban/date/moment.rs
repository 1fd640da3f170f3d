//! From the fields of a time to a moment, as fail2ban takes what is missing:
//! this year (last year, if that would be more than a day ahead), today
//! (yesterday, if that would be ahead), the local zone.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;

use super::Now;
use super::zone::offset_minutes;

/// A field that says something about the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Year2,
    Year,
    Month,
    MonthName,
    Day,
    Hour,
    Hour12,
    Half,
    Minute,
    Second,
    WeekdayName,
    Weekday,
    YearDay,
    WeekFromSunday,
    WeekFromMonday,
    Zone,
}

impl Part {
    /// The part that a group of this name holds.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "y" => Self::Year2,
            "Y" => Self::Year,
            "m" => Self::Month,
            "b" | "B" => Self::MonthName,
            "d" => Self::Day,
            "H" => Self::Hour,
            "I" => Self::Hour12,
            "p" => Self::Half,
            "M" => Self::Minute,
            "S" => Self::Second,
            "a" | "A" => Self::WeekdayName,
            "w" => Self::Weekday,
            "j" => Self::YearDay,
            "U" => Self::WeekFromSunday,
            "W" => Self::WeekFromMonday,
            "z" | "Z" => Self::Zone,
            _ => return None,
        })
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Default)]
struct Read {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    second: i8,
    /// Days after Monday.
    weekday: Option<i32>,
    year_day: Option<i32>,
    /// The week, and whether it begins on a Monday.
    week: Option<(i32, WeekBegin)>,
    offset: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WeekBegin {
    Sunday,
    Monday,
}

/// The moment in seconds since 1970; `None` where the fields name none (such as
/// 30 February) or a zone that is not known.
pub(super) fn moment<'a>(
    parts: impl Iterator<Item = (Part, &'a str)> + Clone,
    now: &Now,
    default_offset: Option<i32>,
) -> Option<i64> {
    let mut read = Read::default();
    for (part, text) in parts.clone() {
        let number = || text.trim().parse::<i16>().ok();
        let small = || number().and_then(|n| i8::try_from(n).ok());
        match part {
            Part::Year2 => read.year = number().map(|y| if y <= 2000 { y + 2000 } else { y }),
            Part::Year => read.year = number(),
            Part::Month => read.month = Some(small()?),
            Part::MonthName => read.month = Some(1 + i8::try_from(index(&MONTHS, text)?).ok()?),
            Part::Day => read.day = Some(small()?),
            Part::Hour => read.hour = small()?,
            Part::Hour12 => {
                let half = parts.clone().find(|(part, _)| *part == Part::Half);
                let hour = small()?;
                read.hour = match half.map(|(_, text)| text.eq_ignore_ascii_case("pm")) {
                    Some(true) if hour != 12 => hour + 12,
                    Some(true) => 12,
                    _ if hour == 12 => 0,
                    _ => hour,
                };
            }
            Part::Half => {}
            Part::Minute => read.minute = small()?,
            Part::Second => read.second = small()?,
            Part::WeekdayName => read.weekday = Some(i32::try_from(index(&DAYS, text)?).ok()?),
            Part::Weekday => read.weekday = Some((i32::from(number()?) + 6) % 7),
            Part::YearDay => read.year_day = Some(i32::from(number()?)),
            Part::WeekFromSunday => read.week = Some((i32::from(number()?), WeekBegin::Sunday)),
            Part::WeekFromMonday => read.week = Some((i32::from(number()?), WeekBegin::Monday)),
            Part::Zone => read.offset = Some(offset_minutes(text)?),
        }
    }
    resolve(read, now, default_offset)
}

fn index(names: &[&str], text: &str) -> Option<usize> {
    let head = text.get(..3)?;
    names.iter().position(|name| name.eq_ignore_ascii_case(head))
}

fn resolve(mut read: Read, now: &Now, default_offset: Option<i32>) -> Option<i64> {
    let local = now.local();
    let assumed_year = read.year.is_none();
    let mut year = read.year.unwrap_or(local.year());
    if read.month.is_none() || read.day.is_none() {
        if let (None, Some((week, begin)), Some(weekday)) = (read.year_day, read.week, read.weekday)
        {
            read.year_day = Some(day_of_week(year, week, weekday, begin)?);
        }
        if let Some(day) = read.year_day {
            let first = Date::new(year, 1, 1).ok()?;
            let date = first.checked_add(jiff::Span::new().try_days(day - 1).ok()?).ok()?;
            year = date.year();
            read.month = Some(date.month());
            read.day = Some(date.day());
        }
    }
    let assumed_today = read.month.is_none() && read.day.is_none();
    let (month, day) =
        if assumed_today { (local.month(), local.day()) } else { (read.month?, read.day?) };
    let mut at = DateTime::new(year, month, day, read.hour, read.minute, read.second, 0).ok()?;
    let offset = read.offset.or(default_offset);
    if let Some(minutes) = offset {
        at = at.checked_sub(jiff::Span::new().try_minutes(minutes).ok()?).ok()?;
    }
    if assumed_today && at > local {
        at = at.checked_sub(jiff::Span::new().days(1)).ok()?;
    }
    if assumed_year && at > local.checked_add(jiff::Span::new().days(1)).ok()? {
        at = at.with().year(year - 1).month(month).day(day).build().ok()?;
    }
    let zone = if offset.is_some() { TimeZone::UTC } else { now.zone.clone() };
    Some(at.to_zoned(zone).ok()?.timestamp().as_second())
}

/// The day of the year of a weekday in a week of the year.
fn day_of_week(year: i16, week: i32, weekday: i32, begin: WeekBegin) -> Option<i32> {
    let first = match Date::new(year, 1, 1).ok()?.weekday() {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    };
    let shift = i32::from(begin == WeekBegin::Sunday);
    let (first, weekday) = ((first + shift) % 7, (weekday + shift) % 7);
    Some(if week == 0 {
        1 + weekday - first
    } else {
        1 + (7 - first) % 7 + 7 * (week - 1) + weekday
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(fields: &[(&str, &str)], zone: TimeZone) -> Option<i64> {
        // 14 August 2005, 12:00 in central Europe.
        let now = Now { epoch: 1_124_013_600.0, zone };
        let parts: Vec<(Part, &str)> =
            fields.iter().filter_map(|(name, text)| Some((Part::named(name)?, *text))).collect();
        moment(parts.into_iter(), &now, None)
    }

    #[test]
    fn a_missing_year_is_this_one_or_the_last() {
        let day = |month, day, hour| {
            at(&[("b", month), ("d", day), ("H", hour), ("M", "0"), ("S", "0")], TimeZone::UTC)
        };
        assert_eq!(day("Aug", "14", "10"), Some(1_124_013_600));
        assert_eq!(day("aug", "15", "10"), Some(1_124_013_600 + 86_400));
        assert_eq!(day("Aug", "15", "11"), Some(1_124_013_600 + 86_400 + 3600 - 365 * 86_400));
        assert_eq!(day("Feb", "30", "11"), None);
    }

    #[test]
    fn a_missing_day_is_today_or_yesterday() {
        let clock = |hour| at(&[("H", hour), ("M", "0"), ("S", "0")], TimeZone::UTC);
        assert_eq!(clock("10"), Some(1_124_013_600));
        assert_eq!(clock("11"), Some(1_124_013_600 + 3600 - 86_400));
    }

    #[test]
    fn zones_in_the_text_win_over_the_local_one() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let fields = [("Y", "2005"), ("m", "8"), ("d", "14"), ("H", "10")];
        assert_eq!(at(&fields, zone.clone()), Some(1_124_013_600 - 7200));
        let with = |z| at(&[fields.as_slice(), &[("z", z)]].concat(), zone.clone());
        assert_eq!(with("+0000"), Some(1_124_013_600));
        assert_eq!(with("-01:30"), Some(1_124_013_600 + 5400));
        assert_eq!(with("CEST"), Some(1_124_013_600 - 7200));
        assert_eq!(with("XYZ"), None);
    }

    #[test]
    fn twelve_hours_and_weeks_are_understood() {
        let day = [("Y", "2005"), ("m", "8"), ("d", "14")];
        let hour = |h, p| at(&[day.as_slice(), &[("I", h), ("p", p)]].concat(), TimeZone::UTC);
        assert_eq!(hour("10", "AM"), Some(1_124_013_600));
        assert_eq!(hour("12", "am"), Some(1_124_013_600 - 36_000));
        assert_eq!(hour("10", "pm"), Some(1_124_013_600 + 43_200));
        let week = [("Y", "2005"), ("W", "32"), ("a", "Sun"), ("H", "10")];
        assert_eq!(at(&week, TimeZone::UTC), Some(1_124_013_600));
        let julian = [("Y", "2005"), ("j", "226"), ("H", "10")];
        assert_eq!(at(&julian, TimeZone::UTC), Some(1_124_013_600));
    }
}
