//! Texts of sites: what stands between `@` signs is filled in. Facts of the
//! machine and drawn secrets once, at the start; what belongs to a request each
//! time. Everything else stays as it is, also an `@` that names nothing.

use std::collections::BTreeMap;

use crate::persona::{Draw, hash};

/// Longest name between two `@`.
const MAX_NAME_BYTES: usize = 400;
/// Longest drawn text.
const MAX_DRAWN: usize = 128;

/// A text with places that a request fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    /// So many random letters and digits.
    Fresh(usize),
    /// The login name that was tried, as HTML shows it.
    Username,
    /// The host that was asked for.
    Host,
    /// The path that was asked for, as HTML shows it.
    Path,
}

/// What fills the places of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) username: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) path: &'a [u8],
}

/// What is known before the first request.
#[derive(Debug)]
pub(super) struct Facts {
    seed: u64,
    named: BTreeMap<&'static str, String>,
    secrets: BTreeMap<String, String>,
}

impl Facts {
    pub(super) fn new(seed: u64, named: BTreeMap<&'static str, String>) -> Self {
        Self { seed, named, secrets: BTreeMap::new() }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Everything that was drawn as `@secret:…@`, by its name.
    pub(super) fn into_secrets(self) -> BTreeMap<String, String> {
        self.secrets
    }

    fn draw(&self, name: &str) -> Draw {
        Draw(self.seed ^ hash(name.as_bytes()))
    }

    /// The text for a name, where it is one.
    fn text(&mut self, name: &str) -> Option<String> {
        if let Some(fact) = self.named.get(name) {
            return Some(fact.clone());
        }
        let (what, rest) = name.split_once(':')?;
        match what {
            // `@secret:NAME:LENGTH@`: letters and digits.
            "secret" => {
                let (name, length) = rest.rsplit_once(':')?;
                let drawn = letters(&mut self.draw(name), length.parse().ok()?);
                Some(self.secrets.entry(name.to_owned()).or_insert(drawn).clone())
            }
            // `@awskey:NAME@`: an access key's id.
            "awskey" => {
                let mut draw = self.draw(rest);
                let letters =
                    (0..16).map(|_| char::from(*draw.one(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")));
                let drawn = format!("AKIA{}", letters.collect::<String>());
                Some(self.secrets.entry(rest.to_owned()).or_insert(drawn).clone())
            }
            // `@hex:NAME:LENGTH@`.
            "hex" => {
                let (name, length) = rest.rsplit_once(':')?;
                let length = length.parse::<usize>().ok()?.min(MAX_DRAWN);
                let mut draw = self.draw(name);
                Some((0..length).filter_map(|_| char::from_digit(draw.below(16), 16)).collect())
            }
            // `@pick:NAME:a|b|c@`.
            "pick" => {
                let (name, choices) = rest.split_once(':')?;
                let choices: Vec<&str> = choices.split('|').collect();
                Some((*self.draw(name).one(&choices)).to_owned())
            }
            _ => None,
        }
    }
}

fn letters(draw: &mut Draw, length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    (0..length.min(MAX_DRAWN)).map(|_| char::from(*draw.one(ALPHABET))).collect()
}

impl Template {
    /// Reads a text and fills in what is known.
    pub(super) fn new(text: &[u8], facts: &mut Facts) -> Self {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| *byte == b'@') {
            let (before, from) = rest.split_at(at);
            plain.extend_from_slice(before);
            let inner = from.get(1..).unwrap_or_default();
            let end = inner.iter().take(MAX_NAME_BYTES).position(|byte| *byte == b'@');
            let name = end.and_then(|end| std::str::from_utf8(inner.get(..end)?).ok());
            let after = end.and_then(|end| inner.get(end + 1..)).unwrap_or_default();
            match name {
                Some(name) if let Some(part) = of_request(name) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain).into()));
                    }
                    parts.push(part);
                    rest = after;
                }
                Some(name) if let Some(text) = facts.text(name) => {
                    plain.extend_from_slice(text.as_bytes());
                    rest = after;
                }
                _ => {
                    plain.push(b'@');
                    rest = inner;
                }
            }
        }
        plain.extend_from_slice(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Self(parts)
    }

    /// Bytes as they are.
    pub(super) fn plain(bytes: &[u8]) -> Self {
        Self(if bytes.is_empty() { Vec::new() } else { vec![Part::Text(bytes.into())] })
    }

    /// The whole text, where no request changes it.
    pub(super) fn fixed(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Writes the text of one request.
    pub(super) fn fill(&self, out: &mut Vec<u8>, asked: Asked<'_>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Fresh(length) => {
                    let drawn = letters(&mut Draw(rand::random()), *length).to_ascii_lowercase();
                    out.extend_from_slice(drawn.as_bytes());
                }
                Part::Username => escape(out, asked.username),
                Part::Host => escape(out, asked.host),
                Part::Path => escape(out, asked.path),
            }
        }
    }
}

fn of_request(name: &str) -> Option<Part> {
    Some(match name {
        "username" => Part::Username,
        "host" => Part::Host,
        "path" => Part::Path,
        _ => Part::Fresh(name.strip_prefix("fresh:")?.parse::<usize>().ok()?.min(MAX_DRAWN)),
    })
}

/// As HTML and header fields may show it: no tags, no lines, not endless.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const MAX_SHOWN_BYTES: usize = 256;
    for byte in text.iter().take(MAX_SHOWN_BYTES) {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#039;"),
            0..=31 | 127 => {}
            _ => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(seed: u64) -> Facts {
        Facts::new(seed, BTreeMap::from([("hostname", "web1".to_owned())]))
    }

    fn filled(text: &str, facts: &mut Facts, asked: Asked<'_>) -> String {
        let mut out = Vec::new();
        Template::new(text.as_bytes(), facts).fill(&mut out, asked);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn facts_are_filled_in_once_and_an_at_sign_stays() {
        let mut facts = facts(1);
        let text = "root@@hostname@ a@b.c @unknown@ @";
        assert_eq!(filled(text, &mut facts, Asked::default()), "root@web1 a@b.c @unknown@ @");
        assert!(Template::new(text.as_bytes(), &mut facts).fixed().is_some());
        assert_eq!(Template::new(b"", &mut facts).fixed(), Some(&b""[..]));
    }

    #[test]
    fn a_secret_is_one_of_its_installation() {
        let draw = |seed| {
            let mut facts = facts(seed);
            let text = filled("@secret:db:20@ @secret:db:20@", &mut facts, Asked::default());
            (text, facts.into_secrets())
        };
        let (one, secrets) = draw(1);
        let (first, second) = one.split_once(' ').unwrap();
        assert_eq!((first, first.len()), (second, 20));
        assert_eq!(secrets.get("db").map(String::as_str), Some(first));
        assert_eq!(draw(1).0, one);
        assert_ne!(draw(2).0, one);
    }

    #[test]
    fn what_a_request_says_makes_no_tags_and_no_lines() {
        let asked = Asked { username: b"<a>\r\n'&", host: b"h", path: b"/x" };
        let text = filled("@username@|@host@|@path@|@fresh:8@", &mut facts(1), asked);
        assert!(text.starts_with("&lt;a&gt;&#039;&amp;|h|/x|"), "{text}");
        assert_eq!(text.rsplit('|').next().unwrap().len(), 8);
    }
}
