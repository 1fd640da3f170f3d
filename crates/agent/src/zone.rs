//! The time zone of log lines that do not name one.

use std::path::Path;

use jiff::tz::{Offset, TimeZone};

const ZONES: &str = "/usr/share/zoneinfo";
/// Longest zone file; the real ones have a few KiB.
const MAX_ZONE_BYTES: u64 = 256 * 1024;

/// Reads a zone: `UTC`, an offset (`+01:00`), an IANA name (`Europe/Berlin`,
/// from the system's database), or a POSIX rule (`CET-1CEST,M3.5.0,M10.5.0/3`).
/// `None` is the zone of the system.
///
/// # Errors
/// One sentence that says what was expected.
pub(crate) fn find(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else {
        return Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC));
    };
    if matches!(name, "UTC" | "Z" | "utc") {
        return Ok(TimeZone::UTC);
    }
    offset(name).or_else(|| from_database(name)).or_else(|| TimeZone::posix(name).ok()).ok_or_else(
        || {
            format!(
                "zone '{}' is not known here; use UTC, +01:00 or a name such as Europe/Berlin",
                name.escape_default()
            )
        },
    )
}

fn offset(text: &str) -> Option<TimeZone> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some(TimeZone::fixed(offset))
}

fn from_database(name: &str) -> Option<TimeZone> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if name.is_empty() || name.starts_with('/') || !name.chars().all(plain) {
        return None;
    }
    let path = Path::new(ZONES).join(name);
    let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    if metadata.len() > MAX_ZONE_BYTES {
        return None;
    }
    TimeZone::tzif(name, &std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_name_offset_and_rule() {
        let summer: jiff::Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let hours = |name: &str| find(Some(name)).unwrap().to_offset(summer).seconds() / 3600;
        assert_eq!(hours("UTC"), 0);
        assert_eq!(hours("-05:00"), -5);
        assert_eq!(hours("CET-1CEST,M3.5.0,M10.5.0/3"), 2);
        assert!(find(None).is_ok());
    }

    #[test]
    fn a_path_is_no_zone() {
        for name in ["../../../etc/passwd", "/etc/localtime", "", "Nowhere/Land", "+1", "+25:99"] {
            assert!(find(Some(name)).unwrap_err().contains("Europe/Berlin"), "{name}");
        }
    }
}
