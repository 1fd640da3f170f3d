//! Reads of a certificate (RFC 5280) what an inventory tells: whose it is, who made
//! it, when it ends, its names. It checks no signature and trusts nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Most names that are read.
const MAX_NAMES: usize = 50;
/// Longest text of a name, in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// Tags of DER (X.690).
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// The extension with other names of the subject: 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Parts of names: 2.5.4.x, by their last number.
const PARTS: [(u8, &str); 6] = [(3, "CN"), (6, "C"), (7, "L"), (8, "ST"), (10, "O"), (11, "OU")];

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Milliseconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) names: Vec<String>,
}

/// A value and what follows it.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
}

/// Values, one behind the other.
#[derive(Clone, Copy)]
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    fn next(&mut self) -> Option<Value<'a>> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Of at most four bytes: a certificate is no longer.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0usize, |n, byte| (n << 8) | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Value { tag: *tag, content })
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|value| value.tag == tag).map(|value| value.content)
    }
}

impl Certificate {
    /// Reads one. `None` where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Values(Values(der).expect(SEQUENCE)?);
        let mut fields = Values(whole.expect(SEQUENCE)?);
        let mut ahead = fields;
        // The first version has no number.
        if ahead.next()?.tag == VERSION {
            fields.next()?;
        }
        fields.expect(INTEGER)?;
        fields.expect(SEQUENCE)?;
        let issuer = name(fields.expect(SEQUENCE)?);
        let mut validity = Values(fields.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = name(fields.expect(SEQUENCE)?);
        let mut names = Vec::new();
        while let Some(field) = fields.next() {
            if field.tag == EXTENSIONS {
                let mut extensions = Values(Values(field.content).expect(SEQUENCE)?);
                while let Some(extension) = extensions.next() {
                    alternative_names(extension.content, &mut names);
                }
            }
        }
        Some(Self { subject, issuer, not_before, not_after, names })
    }
}

/// The names of an extension, if it is the one with names.
fn alternative_names(extension: &[u8], names: &mut Vec<String>) -> Option<()> {
    let mut parts = Values(extension);
    if parts.expect(OID)? != SUBJECT_ALT_NAME {
        return None;
    }
    // A mark whether it is critical may stand between.
    let content = loop {
        let part = parts.next()?;
        if part.tag == OCTETS {
            break part.content;
        }
    };
    let mut list = Values(Values(content).expect(SEQUENCE)?);
    while let Some(one) = list.next().filter(|_| names.len() < MAX_NAMES) {
        match (one.tag, one.content.len()) {
            (DNS_NAME, _) => names.push(text(one.content)),
            (IP_ADDRESS, 4) => {
                names.extend(
                    <[u8; 4]>::try_from(one.content).map(|ip| Ipv4Addr::from(ip).to_string()),
                );
            }
            (IP_ADDRESS, 16) => {
                names.extend(
                    <[u8; 16]>::try_from(one.content).map(|ip| Ipv6Addr::from(ip).to_string()),
                );
            }
            _ => {}
        }
    }
    Some(())
}

/// A name as `CN=web.example, O=Example`.
fn name(content: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Values(content);
    while let Some(set) = sets.expect(SET) {
        let mut pairs = Values(set);
        while let Some(pair) = pairs.expect(SEQUENCE) {
            let mut pair = Values(pair);
            let (Some(kind), Some(value)) = (pair.expect(OID), pair.next()) else { break };
            let known = match kind {
                [0x55, 0x04, number] => PARTS.iter().find(|(own, _)| own == number),
                _ => None,
            };
            if let Some((_, name)) = known {
                parts.push(format!("{name}={}", text(value.content)));
            }
        }
    }
    parts.join(", ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_NAME_BYTES).unwrap_or(bytes)).into_owned()
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` in milliseconds since 1970.
fn time(value: Value<'_>) -> Option<i64> {
    let text = std::str::from_utf8(value.content).ok()?;
    let (year, rest) = match value.tag {
        UTC_TIME => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    // Seconds may be left out in old ones.
    let moment = jiff::civil::DateTime::new(
        year,
        two(0)?,
        two(2)?,
        two(4)?,
        two(6)?,
        two(8).unwrap_or(0),
        0,
    );
    let moment = moment.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(moment.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_cut_anywhere_or_changed_anywhere_does_no_harm() {
        let made = rcgen::generate_simple_self_signed(vec!["web.example".into()]).unwrap();
        let der = made.cert.der();
        assert_eq!(Certificate::read(der).unwrap().names, ["web.example"]);
        for cut in 0..der.len() {
            assert_eq!(Certificate::read(&der[..cut]), None);
            let mut changed = der.to_vec();
            changed[cut] ^= 0x55;
            let _ = Certificate::read(&changed);
        }
    }

    #[test]
    fn times_of_both_forms_are_read() {
        let read = |tag: u8, text: &str| time(Value { tag, content: text.as_bytes() });
        assert_eq!(read(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(read(UTC_TIME, "491231235959Z"), Some(2_524_607_999_000));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000_000));
        for none in ["", "7001", "70\u{e4}101000000Z", "709901000000Z"] {
            assert_eq!(read(UTC_TIME, none), None, "{none}");
        }
    }
}
