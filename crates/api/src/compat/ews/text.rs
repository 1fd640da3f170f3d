//! Encodings that EWS wraps attacker text in: XML references, percent signs,
//! base64, and lists as Python prints them. Pure, bytes in and bytes out.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Most items of a list as Python prints it.
const MAX_ITEMS: usize = 10_000;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Replaces character references and the five entities of XML itself (XML 1.0,
/// section 4.1). There are no others, as there is no DTD.
///
/// # Errors
/// A reference to anything else.
pub(crate) fn unescape(raw: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    let Some(first) = memchr::memchr(b'&', raw) else { return Ok(Cow::Borrowed(raw)) };
    let (head, mut rest) = raw.split_at(first);
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(head);
    while let Some(after) = rest.strip_prefix(b"&") {
        let end = memchr::memchr(b';', after.get(..12).unwrap_or(after));
        let Some((name, tail)) = end.and_then(|end| after.split_at_checked(end)) else {
            return Err("a '&' that begins no reference");
        };
        match name {
            b"amp" => out.push(b'&'),
            b"lt" => out.push(b'<'),
            b"gt" => out.push(b'>'),
            b"quot" => out.push(b'"'),
            b"apos" => out.push(b'\''),
            _ => {
                let c = character(name).ok_or("a reference to an entity that XML does not have")?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        let tail = tail.get(1..).unwrap_or_default();
        let next = memchr::memchr(b'&', tail).unwrap_or(tail.len());
        let (plain, more) = tail.split_at(next);
        out.extend_from_slice(plain);
        rest = more;
    }
    Ok(Cow::Owned(out))
}

/// `#233` or `#xE9`.
fn character(name: &[u8]) -> Option<char> {
    let digits = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
    let (digits, radix) = match digits.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits.is_empty() || !plain {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

/// Undoes percent-encoding (RFC 3986, section 2.1). A percent sign without two
/// hex digits behind it stays as it is, as attackers write such ones.
pub(crate) fn percent(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'%', &text) else { return text };
    let mut out = Vec::with_capacity(text.len());
    let (head, mut rest) = text.split_at(first);
    out.extend_from_slice(head);
    while let [b'%', tail @ ..] = rest {
        let value = match tail {
            [high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let tail = match value {
            Some(byte) => {
                out.push(byte);
                tail.get(2..).unwrap_or_default()
            }
            None => {
                out.push(b'%');
                tail
            }
        };
        let (plain, more) = tail.split_at(memchr::memchr(b'%', tail).unwrap_or(tail.len()));
        out.extend_from_slice(plain);
        rest = more;
    }
    Cow::Owned(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Decodes base64 (RFC 4648), in lines or not, padded or not.
///
/// # Errors
/// It is something else.
pub(crate) fn base64(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let wrong = |_| "it is not base64";
    let text = text.trim_ascii();
    if !text.iter().any(u8::is_ascii_whitespace) {
        return LENIENT.decode(text).map_err(wrong);
    }
    let dense: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    LENIENT.decode(dense).map_err(wrong)
}

/// The items of a list of texts as Python prints it, `['ls', "it's"]`, one a
/// line; `None` where it is something else.
pub(crate) fn python_list(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut out = String::with_capacity(text.len());
    let mut items = 0;
    while !rest.starts_with(']') {
        if items > 0 {
            rest = rest.strip_prefix(',')?.trim_start();
            out.push('\n');
        }
        items += 1;
        if items > MAX_ITEMS {
            return None;
        }
        rest = match rest.strip_prefix("None") {
            Some(tail) => tail,
            None => string(rest, &mut out)?,
        }
        .trim_start();
    }
    (rest == "]" && items > 0).then(|| out.into_bytes())
}

/// Reads one text in quotes; what follows it.
fn string<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut rest = text.get(1..)?;
    loop {
        let at = rest.find([quote, '\\'])?;
        let (plain, tail) = rest.split_at_checked(at)?;
        out.push_str(plain);
        let Some(escape) = tail.strip_prefix('\\') else { return tail.get(1..) };
        let c = escape.chars().next()?;
        let mut after = escape.get(c.len_utf8()..)?;
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        out.push(match c {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '\\' | '\'' | '"' => c,
            _ if digits > 0 => {
                let (code, more) = after.split_at_checked(digits)?;
                after = more;
                char::from_u32(u32::from_str_radix(code, 16).ok()?)?
            }
            _ => return None,
        });
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_replaced_and_entities_are_not_known() {
        let of = |raw: &str| unescape(raw.as_bytes()).map(Cow::into_owned);
        assert_eq!(of("a&amp;b&lt;&gt;&quot;&apos;&#xe9;&#10;").unwrap(), "a&b<>\"'é\n".as_bytes());
        assert_eq!(of("plain").unwrap(), b"plain");
        for bad in ["&lol;", "&", "&amp", "&#xD800;", "&#;", "&#x;", "&#+5;", "&#x110000;", "&;"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percent_signs_are_undone_where_they_are_encoding() {
        let of = |text: &str| percent(Cow::Borrowed(text.as_bytes())).into_owned();
        assert_eq!(of("%2Fa%20b%zz%4"), b"/a b%zz%4");
        assert_eq!(of("%"), b"%");
        assert_eq!(of("%00%ff"), b"\0\xff");
    }

    #[test]
    fn base64_comes_in_lines_and_without_padding() {
        assert_eq!(base64(b" R0VU\nIC8=\n").unwrap(), b"GET /");
        assert_eq!(base64(b"R0VUIC8").unwrap(), b"GET /");
        for bad in [&b"R0VU*"[..], b"===", b"R"] {
            assert!(base64(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_list_of_python_is_read_and_everything_else_is_left() {
        let of = |text: &str| python_list(text.as_bytes()).map(|b| String::from_utf8(b).unwrap());
        assert_eq!(
            of("['ls -la', \"it's\", 'a\\nb\\x41\\u00e9\\\\']").unwrap(),
            "ls -la\nit's\na\nbAé\\"
        );
        assert_eq!(of("[None, 'x']").unwrap(), "\nx");
        for other in ["ls", "[", "[]", "['a'", "['a' 'b']", "['a'] x", "['\\q']", "[1]", "['\\xé']"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unescape(&bytes);
            let _ = base64(&bytes);
            let _ = python_list(&bytes);
            prop_assert!(percent(Cow::Borrowed(&bytes)).len() <= bytes.len());
        }

        #[test]
        fn escaped_text_comes_back(text in ".{0,60}") {
            let raw = text.replace('&', "&amp;").replace('<', "&lt;");
            prop_assert_eq!(unescape(raw.as_bytes()).unwrap().into_owned(), text.into_bytes());
        }
    }
}
