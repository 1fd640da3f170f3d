//! The parameters of a request, read as the dialect means them. What is missing
//! or cannot be meant so is `None`; the request is then answered by the default
//! response.

use axum::extract::Query;
use http::Uri;
use palisade_event::{Day, Timestamp};
use palisade_store::Domains;

/// Most parameters that are looked at.
const MAX_PARAMETERS: usize = 32;
/// Longest name or value, in bytes.
const MAX_VALUE_BYTES: usize = 2_048;

/// Names and values, decoded; of a name that comes twice the first counts.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// What cannot be decoded is not there.
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let mut pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
        pairs.truncate(MAX_PARAMETERS);
        pairs.retain(|(name, value)| name.len().max(value.len()) <= MAX_VALUE_BYTES);
        Self(pairs)
    }

    /// A value that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether it is there, whatever it is.
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// A whole number of decimal digits within bounds.
    pub(super) fn number(&self, name: &str, least: u32, most: u32) -> Option<u32> {
        let text = self.text(name)?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_plain && (least..=most).contains(number))
    }

    /// The same; `Some(default)` where the parameter is missing.
    pub(super) fn number_or(&self, name: &str, default: u32, least: u32, most: u32) -> Option<u32> {
        if self.has(name) { self.number(name, least, most) } else { Some(default) }
    }

    /// Whose alerts are asked for.
    pub(super) fn domains(&self) -> Domains {
        match self.text("ci") {
            Some("0") => Domains::Private,
            Some("-1") => Domains::Both,
            _ => Domains::Community,
        }
    }

    /// Whether JSON is asked for where XML is the default.
    pub(super) fn wants_json(&self) -> bool {
        self.text("out").is_some_and(|out| out.eq_ignore_ascii_case("json"))
    }

    /// A day written `YYYYMMDD`.
    pub(super) fn day(&self, name: &str) -> Option<Day> {
        let text = self.text(name)?;
        let is_plain = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, rest) = text.split_at_checked(4).filter(|_| is_plain)?;
        let (month, day) = rest.split_at_checked(2)?;
        format!("{year}-{month}-{day}").parse().ok()
    }

    /// An instant written `YYYY-MM-DD HH:MM:SS`, in UTC.
    pub(super) fn instant(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let (day, time) = text.split_once([' ', 'T'])?;
        let is_plain = day.len() == 10
            && time.len() == 8
            && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        if !is_plain {
            return None;
        }
        format!("{day}T{time}Z").parse().ok()
    }
}

/// Writes an instant as the dialect does: `YYYY-MM-DD HH:MM:SS`, in UTC.
pub(super) fn written(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or_default();
    format!("{day} {}", time.get(..8).unwrap_or("00:00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/alert/x?{query}").parse().unwrap())
    }

    #[test]
    fn the_first_of_a_name_counts_and_an_empty_value_is_none() {
        let params = params("a=1&a=2&b=&c=%20%20&d=x%26y");
        assert_eq!(params.text("a"), Some("1"));
        assert_eq!((params.text("b"), params.text("c"), params.text("e")), (None, None, None));
        assert_eq!(params.text("d"), Some("x&y"));
    }

    #[test]
    fn numbers_are_plain_and_within_bounds() {
        let params = params("a=12&b=-1&c=%2B5&d=1e3&e=99999999999999999999&f=0x10&g=31");
        assert_eq!(params.number("a", 1, 30), Some(12));
        for bad in ["b", "c", "d", "e", "f", "g", "z"] {
            assert_eq!(params.number(bad, 1, 30), None, "{bad}");
        }
        assert_eq!(params.number_or("z", 10, 1, 30), Some(10));
        assert_eq!(params.number_or("b", 10, 1, 30), None);
    }

    #[test]
    fn days_and_instants_are_read_in_their_one_form() {
        let params = params(
            "a=20180317&b=20180230&c=2018-03-17&d=2019-01-22+15%3A24%3A52&e=2019-01-22&f=2019-01-22T25:00:00",
        );
        assert_eq!(params.day("a").unwrap().to_string(), "2018-03-17");
        assert_eq!((params.day("b"), params.day("c")), (None, None));
        assert_eq!(written(params.instant("d").unwrap()), "2019-01-22 15:24:52");
        assert_eq!((params.instant("e"), params.instant("f")), (None, None));
    }

    #[test]
    fn anything_but_two_values_of_ci_means_the_community() {
        for (query, domains) in [
            ("", Domains::Community),
            ("ci=1", Domains::Community),
            ("ci=0%20OR%201", Domains::Community),
            ("ci=0", Domains::Private),
            ("ci=-1", Domains::Both),
        ] {
            assert_eq!(params(query).domains(), domains, "{query}");
        }
    }
}
