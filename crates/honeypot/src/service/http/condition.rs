//! Conditional and partial answers (RFC 9110, sections 13 and 14), as nginx
//! and Apache give them. Pure.

use super::daemon::Brand;
use super::request::{Conditions, Head};

/// Most ranges of one request; beyond it is answered whole.
const MAX_RANGES: usize = 16;

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    NotModified,
    Failed,
    /// First and last byte of each part.
    Parts(Vec<(usize, usize)>),
    OutOfRange,
}

/// Decides about a file of `length` bytes; `compressed` where it goes out so,
/// which has no parts.
pub(super) fn decide(
    brand: Brand,
    head: &Head,
    (modified, tag): (&str, &str),
    length: usize,
    compressed: bool,
) -> Verdict {
    if let Some(conditions) = &head.conditions
        && let Some(verdict) = conditional(conditions, modified, tag)
    {
        return verdict;
    }
    let Some(range) = head.range.as_deref().filter(|_| !compressed) else {
        return Verdict::Whole;
    };
    let same = head.conditions.as_ref().and_then(|conditions| conditions.range.as_deref());
    if same.is_some_and(|same| same != tag.as_bytes() && same != modified.as_bytes()) {
        return Verdict::Whole;
    }
    match (parts(range, length), brand) {
        (Parts::Some(parts), _) => Verdict::Parts(parts),
        (Parts::Malformed, Brand::Nginx) | (Parts::None, _) => Verdict::OutOfRange,
        (Parts::Other, _) | (Parts::Malformed, _) => Verdict::Whole,
    }
}

fn conditional(conditions: &Conditions, modified: &str, tag: &str) -> Option<Verdict> {
    if let Some(wanted) = &conditions.unmodified_since
        && conditions.matches.is_none()
        && wanted != modified.as_bytes()
    {
        return Some(Verdict::Failed);
    }
    if let Some(wanted) = &conditions.matches
        && !names(wanted, tag)
    {
        return Some(Verdict::Failed);
    }
    if conditions.none_match.is_none() && conditions.modified_since.is_none() {
        return None;
    }
    let unchanged = conditions.modified_since.as_deref().is_none_or(|at| at == modified.as_bytes());
    let known = conditions.none_match.as_deref().is_none_or(|tags| names(tags, tag));
    (unchanged && known).then_some(Verdict::NotModified)
}

/// Whether a list of tags has `tag`, weak or not.
fn names(list: &[u8], tag: &str) -> bool {
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes())
}

enum Parts {
    Some(Vec<(usize, usize)>),
    /// None of them is in the file.
    None,
    Malformed,
    /// Another unit, or too many.
    Other,
}

fn parts(range: &[u8], length: usize) -> Parts {
    let Some(list) = range.strip_prefix(b"bytes=") else { return Parts::Other };
    let mut parts = Vec::new();
    let mut count = 0;
    for one in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        count += 1;
        if count > MAX_RANGES {
            return Parts::Other;
        }
        let Some(at) = one.iter().position(|byte| *byte == b'-') else { return Parts::Malformed };
        let (first, last) = one.split_at(at);
        let last = last.get(1..).unwrap_or_default();
        let part = match (number(first), number(last)) {
            (Some(first), Some(last)) if last < first => return Parts::Malformed,
            (Some(first), Some(last)) => Some((first, last.min(length.saturating_sub(1)))),
            (Some(first), None) if last.is_empty() => Some((first, length.saturating_sub(1))),
            (None, Some(0)) if first.is_empty() => None,
            (None, Some(last)) if first.is_empty() => {
                Some((length.saturating_sub(last), length.saturating_sub(1)))
            }
            _ => return Parts::Malformed,
        };
        parts.extend(part.filter(|(first, _)| *first < length));
    }
    if parts.is_empty() { Parts::None } else { Parts::Some(parts) }
}

fn number(digits: &[u8]) -> Option<usize> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(brand: Brand, fields: &str) -> Verdict {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
        let head = super::super::request::parse(text.as_bytes()).unwrap();
        decide(brand, &head, ("Mon, 01 Jan 2024 00:00:00 GMT", "\"a\""), 100, false)
    }

    #[test]
    fn parts_are_cut_to_the_file() {
        for (range, parts) in [
            ("bytes=0-9", vec![(0, 9)]),
            ("bytes=90-200", vec![(90, 99)]),
            ("bytes=-5", vec![(95, 99)]),
            ("bytes=-500", vec![(0, 99)]),
            ("bytes=50-", vec![(50, 99)]),
            ("bytes=0-0, 5-6,300-", vec![(0, 0), (5, 6)]),
        ] {
            let wanted = Verdict::Parts(parts);
            assert_eq!(verdict(Brand::Nginx, &format!("Range: {range}")), wanted, "{range}");
        }
        for range in ["bytes=100-", "bytes=-0", "bytes=300-400"] {
            assert_eq!(verdict(Brand::Apache, &format!("Range: {range}")), Verdict::OutOfRange);
        }
        let many = format!("Range: bytes={}", vec!["0-1"; 17].join(","));
        for whole in ["Range: lines=1-2", many.as_str()] {
            assert_eq!(verdict(Brand::Nginx, whole), Verdict::Whole);
        }
        assert_eq!(verdict(Brand::Nginx, "Range: bytes=x"), Verdict::OutOfRange);
        assert_eq!(verdict(Brand::Apache, "Range: bytes=x"), Verdict::Whole);
    }

    #[test]
    fn conditions_are_met_or_not() {
        for (fields, wanted) in [
            ("If-None-Match: \"a\"", Verdict::NotModified),
            ("If-None-Match: \"b\", W/\"a\"", Verdict::NotModified),
            ("If-None-Match: \"b\"", Verdict::Whole),
            ("If-None-Match: *", Verdict::NotModified),
            ("If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", Verdict::NotModified),
            ("If-Modified-Since: Mon, 01 Jan 2024 00:00:01 GMT", Verdict::Whole),
            ("If-Match: \"b\"", Verdict::Failed),
            ("If-Match: \"a\"", Verdict::Whole),
            ("If-Unmodified-Since: Mon, 01 Jan 2020 00:00:00 GMT", Verdict::Failed),
            ("Range: bytes=0-1\r\nIf-Range: \"b\"", Verdict::Whole),
            ("Range: bytes=0-1\r\nIf-Range: \"a\"", Verdict::Parts(vec![(0, 1)])),
        ] {
            assert_eq!(verdict(Brand::Nginx, fields), wanted, "{fields}");
        }
    }
}
