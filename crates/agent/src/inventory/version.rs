//! Compares versions of packages as dpkg does (deb-version(7)); those of RPM and
//! apk in the usual cases too.

use std::cmp::Ordering;

/// Which of two versions is the newer one.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    one.epoch
        .cmp(&other.epoch)
        .then_with(|| by_parts(one.upstream, other.upstream))
        .then_with(|| by_parts(one.revision, other.revision))
}

struct Parts<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = match version.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, version),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }
}

/// By turns the parts that are no digits, by letters, and numbers, by value.
fn by_parts(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !one.is_empty() || !other.is_empty() {
        let (word, rest) = split(one, |byte| !byte.is_ascii_digit());
        let (other_word, other_rest) = split(other, |byte| !byte.is_ascii_digit());
        let longest = word.len().max(other_word.len());
        for place in 0..=longest {
            let order = weight(word.get(place)).cmp(&weight(other_word.get(place)));
            if order.is_ne() {
                return order;
            }
        }
        let (number, rest) = split(rest, u8::is_ascii_digit);
        let (other_number, other_rest) = split(other_rest, u8::is_ascii_digit);
        let (number, other_number) = (significant(number), significant(other_number));
        let order = number.len().cmp(&other_number.len()).then_with(|| number.cmp(other_number));
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

fn split(text: &[u8], is: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !is(byte)).unwrap_or(text.len()))
}

fn significant(number: &[u8]) -> &[u8] {
    number.get(number.iter().take_while(|digit| **digit == b'0').count()..).unwrap_or_default()
}

/// `~` before the end, the end before letters, letters before all else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_dpkgs_order() {
        // Each one is older than the next.
        let order = [
            "0.9~rc1-1",
            "0.9-1",
            "0.9-1+deb12u1",
            "0.9a-1",
            "0.10-1",
            "0.10.0-1",
            "1.0~-1",
            "1.0-1",
            "1.0-1.1",
            "1.0-2",
            "1.0+dfsg-1",
            "01.1-1",
            "1:0.1-1",
            "2:0-0",
        ];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("1.00", "1.0"), Ordering::Equal);
        assert_eq!(compare("6.1.0-28-amd64", "6.1.0-9-amd64"), Ordering::Greater);
    }
}
