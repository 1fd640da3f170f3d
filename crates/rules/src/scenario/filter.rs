//! A filter of a scenario, compiled once into tests over a sighting.
//!
//! The text is that of queries, over [`SightingField`]. What it means is what a
//! query means: text compares as bytes, upper and lower case differ, a field
//! that a sighting does not have matches nothing but a negation.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use ipnet::IpNet;
use memchr::memmem;
use palisade_event::query::{Filter, ParseError, Pattern, tokens};
use palisade_event::{EventKind, Outcome};

use super::field::{Seen, SightingField};
use crate::Sighting;

/// Which kinds of events a filter can match, one bit a kind.
pub(crate) type Kinds = u64;

const ALL_KINDS: Kinds = Kinds::MAX;
/// More kinds than bits would break [`kind_bit`].
const _: () = assert!(EventKind::ALL.len() <= Kinds::BITS as usize);

/// The bit of a kind.
#[inline]
pub(crate) fn kind_bit(kind: EventKind) -> Kinds {
    1 << kind as u32
}

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct SightingFilter {
    text: String,
    /// All of these must hold. Each with its text, for those who ask why not.
    pub(super) parts: Vec<(String, Test)>,
    kinds: Kinds,
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    And(Box<[Test]>),
    Or(Box<[Test]>),
    Not(Box<Test>),
    Has(SightingField),
    Kinds(Kinds),
    Outcome(Option<Outcome>, Option<Outcome>),
    Equal(SightingField, Box<[Box<[u8]>]>),
    Prefix(SightingField, Box<[u8]>),
    Contains(SightingField, Box<memmem::Finder<'static>>),
    ContainsAny(SightingField, Box<Any>),
    Wildcard(SightingField, Pattern),
    Addresses(Box<[IpAddr]>),
    Network(IpNet),
    Numbers(SightingField, Box<[i64]>),
    Between(SightingField, RangeInclusive<i64>),
    Words(Box<[String]>),
}

/// A search for several texts at once.
#[derive(Clone, Debug)]
pub(crate) struct Any {
    /// Looked at first in short texts; `None` where a text is too short for it.
    triples: Option<Box<Triples>>,
    search: AhoCorasick,
}

impl Any {
    /// Texts from this length on are searched many bytes at once.
    const LONG_BYTES: usize = 32;

    fn new(texts: &[String]) -> Result<Self, aho_corasick::BuildError> {
        // Where more than the first match does not matter, the search may skip.
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostFirst).kind(Some(AhoCorasickKind::DFA));
        Ok(Self { triples: Triples::of(texts).map(Box::new), search: builder.build(texts)? })
    }

    fn is_in(&self, text: &[u8]) -> bool {
        match &self.triples {
            Some(triples) if text.len() < Self::LONG_BYTES && !triples.may_be_in(text) => false,
            _ => self.search.is_match(text),
        }
    }
}

/// Three bytes of each text, as bits at places by their hash: where none of them
/// stands, no text does. Costs a look a byte, and none waits for the one before.
#[derive(Clone, Debug)]
struct Triples([u64; 1024]);

impl Triples {
    fn of(texts: &[String]) -> Option<Self> {
        let mut bits = [0; 1024];
        for text in texts {
            // What is no letter is rarer.
            let rare = |triple: &[u8]| triple.iter().filter(|b| !b.is_ascii_alphabetic()).count();
            let triples = text.as_bytes().windows(3);
            let triple = triples.rev().max_by_key(|triple| rare(triple))?;
            let value = triple.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            let (word, bit) = Self::place(value);
            *bits.get_mut(word)? |= bit;
        }
        Some(Self(bits))
    }

    #[inline]
    fn place(triple: u32) -> (usize, u64) {
        let hash = triple.wrapping_mul(0x9e37_79b1) >> 16;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    #[inline]
    fn may_be_in(&self, text: &[u8]) -> bool {
        let mut found = 0;
        let mut triple = 0u32;
        for byte in text {
            triple = (triple << 8 | u32::from(*byte)) & 0x00ff_ffff;
            let (word, bit) = Self::place(triple);
            found |= self.0.get(word).map_or(0, |bits| bits & bit);
        }
        found != 0
    }
}

impl SightingFilter {
    /// Parses and compiles.
    ///
    /// # Errors
    /// [`ParseError`] points at the character: what cannot be read, a field that
    /// a sighting does not have, a kind of event that there is not.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let filter: Filter<SightingField> = Filter::parse(text)?;
        let parts = match filter {
            Filter::All => Vec::new(),
            Filter::And(parts) => parts,
            other => vec![other],
        };
        let mut compiled = Vec::with_capacity(parts.len());
        for part in &parts {
            let test = compile(part).map_err(|(value, message)| {
                let byte = text.find(&value).unwrap_or(0);
                let at = text.get(..byte).map_or(0, |before| before.chars().count());
                ParseError { at, message }
            })?;
            compiled.push((part.to_string(), test));
        }
        let kinds = compiled.iter().fold(ALL_KINDS, |kinds, (_, test)| kinds & test.kinds());
        // What is cheap and turns most sightings away comes first.
        compiled.sort_by_key(|(_, test)| test.cost());
        Ok(Self { text: text.to_owned(), parts: compiled, kinds })
    }

    /// Whether a sighting matches.
    #[inline]
    #[must_use]
    pub fn matches(&self, sighting: &Sighting<'_>) -> bool {
        self.parts.iter().all(|(_, test)| test.holds(sighting))
    }

    /// The first condition that a sighting does not meet, as text.
    #[must_use]
    pub fn unmet(&self, sighting: &Sighting<'_>) -> Option<&str> {
        self.parts.iter().find(|(_, test)| !test.holds(sighting)).map(|(text, _)| text.as_str())
    }

    /// The text it was made of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The kinds of events that it can match.
    pub(crate) fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// The one service that it can match, where it names one.
    pub(crate) fn service(&self) -> Option<&[u8]> {
        self.parts.iter().find_map(|(_, test)| match test {
            Test::Equal(SightingField::Service, values) => match &**values {
                [one] => Some(&**one),
                _ => None,
            },
            _ => None,
        })
    }
}

/// What cannot be compiled: the value in the text, and what is wrong with it.
type Refused = (String, String);

fn compile(filter: &Filter<SightingField>) -> Result<Test, Refused> {
    use SightingField as Field;
    Ok(match filter {
        Filter::All => Test::And(Box::default()),
        Filter::And(parts) => Test::And(parts.iter().map(compile).collect::<Result<_, _>>()?),
        Filter::Or(parts) => any(parts)?,
        Filter::Not(inner) => Test::Not(Box::new(compile(inner)?)),
        Filter::Exists(field) => Test::Has(*field),
        Filter::In(Field::Kind, values) => {
            let mut kinds = 0;
            for value in values {
                let kind: EventKind =
                    value.parse().map_err(|error| (value.clone(), format!("{error}")))?;
                kinds |= kind_bit(kind);
            }
            Test::Kinds(kinds)
        }
        Filter::In(Field::Outcome, values) => {
            let mut accepted = None;
            let mut failed = None;
            for value in values {
                match value.as_str() {
                    "accepted" => accepted = Some(Outcome::Accepted),
                    "failed" => failed = Some(Outcome::Failed),
                    other => {
                        let shown = other.escape_debug();
                        let message = format!("a login ends accepted or failed, never '{shown}'");
                        return Err((value.clone(), message));
                    }
                }
            }
            Test::Outcome(accepted, failed)
        }
        Filter::In(Field::Ip, values) => {
            Test::Addresses(values.iter().filter_map(|value| value.parse().ok()).collect())
        }
        Filter::In(field @ (Field::Port | Field::Status | Field::Asn), values) => {
            Test::Numbers(*field, values.iter().filter_map(|value| value.parse().ok()).collect())
        }
        Filter::In(field, values) => {
            Test::Equal(*field, values.iter().map(|value| value.as_bytes().into()).collect())
        }
        Filter::Prefix(Field::Kind, prefix) => {
            Test::Kinds(kinds_where(|kind| kind.as_str().starts_with(prefix.as_str())))
        }
        Filter::Prefix(field, prefix) => Test::Prefix(*field, prefix.as_bytes().into()),
        Filter::Wildcard(Field::Kind, pattern) => {
            let pattern = Pattern::new(pattern);
            Test::Kinds(kinds_where(|kind| pattern.matches(kind.as_str())))
        }
        Filter::Wildcard(field, pattern) => match inside(pattern) {
            Some(text) => {
                let finder = memmem::Finder::new(text.as_bytes()).into_owned();
                Test::Contains(*field, Box::new(finder))
            }
            None => Test::Wildcard(*field, Pattern::new(pattern)),
        },
        Filter::Network(_, address, bits) => match IpNet::new(*address, *bits) {
            Ok(net) => Test::Network(net),
            Err(_) => Test::Or(Box::default()),
        },
        Filter::Between(field, low, high) => {
            Test::Between(*field, low.unwrap_or(i64::MIN)..=high.unwrap_or(i64::MAX))
        }
        // What is looked at here has no attributes, so its text form has none.
        Filter::Attribute(..) => Test::Or(Box::default()),
        Filter::Text(text) => Test::Words(tokens::wanted(text).into()),
    })
}

/// Alternatives; those that look for a text inside the same field look once.
fn any(parts: &[Filter<SightingField>]) -> Result<Test, Refused> {
    let mut tests = Vec::new();
    let mut sought: Vec<(SightingField, Vec<String>)> = Vec::new();
    for part in parts {
        match part {
            Filter::Wildcard(field, pattern)
                if *field != SightingField::Kind && inside(pattern).is_some() =>
            {
                let text = inside(pattern).unwrap_or_default();
                match sought.iter_mut().find(|(known, _)| known == field) {
                    Some((_, texts)) => texts.push(text),
                    None => sought.push((*field, vec![text])),
                }
            }
            other => tests.push(compile(other)?),
        }
    }
    for (field, texts) in sought {
        match texts.as_slice() {
            [one] => {
                let finder = memmem::Finder::new(one.as_bytes()).into_owned();
                tests.push(Test::Contains(field, Box::new(finder)));
            }
            many => {
                let searcher = Any::new(many);
                let searcher = searcher.map_err(|error| {
                    (String::new(), format!("these patterns are too large together: {error}"))
                })?;
                tests.push(Test::ContainsAny(field, Box::new(searcher)));
            }
        }
    }
    Ok(match tests.len() {
        1 => tests.pop().unwrap_or(Test::Or(Box::default())),
        _ => Test::Or(tests.into()),
    })
}

/// The text of a pattern `*text*`.
fn inside(pattern: &str) -> Option<String> {
    let text = pattern.strip_prefix('*')?.strip_suffix('*')?;
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' => return None,
            '\\' => plain.push(chars.next()?),
            c => plain.push(c),
        }
    }
    (!plain.is_empty()).then_some(plain)
}

fn kinds_where(is: impl Fn(&EventKind) -> bool) -> Kinds {
    EventKind::ALL.iter().filter(|kind| is(kind)).fold(0, |kinds, kind| kinds | kind_bit(*kind))
}

impl Test {
    pub(crate) fn holds(&self, sighting: &Sighting<'_>) -> bool {
        let text = |field: &SightingField| match field.of(sighting) {
            Some(Seen::Text(text)) => Some(text),
            _ => None,
        };
        let number = |field: &SightingField| match field.of(sighting) {
            Some(Seen::Number(number)) => Some(number),
            _ => None,
        };
        match self {
            Self::Kinds(kinds) => kinds & kind_bit(sighting.kind) != 0,
            Self::Outcome(accepted, failed) => {
                sighting.outcome.is_some()
                    && (sighting.outcome == *accepted || sighting.outcome == *failed)
            }
            Self::And(all) => all.iter().all(|test| test.holds(sighting)),
            Self::Or(any) => any.iter().any(|test| test.holds(sighting)),
            Self::Not(test) => !test.holds(sighting),
            Self::Has(field) => field.of(sighting).is_some(),
            Self::Equal(field, values) => {
                text(field).is_some_and(|text| values.iter().any(|value| **value == *text))
            }
            Self::Prefix(field, prefix) => text(field).is_some_and(|text| text.starts_with(prefix)),
            Self::Contains(field, finder) => {
                text(field).is_some_and(|text| finder.find(text).is_some())
            }
            Self::ContainsAny(field, searcher) => {
                text(field).is_some_and(|text| searcher.is_in(text))
            }
            Self::Wildcard(field, pattern) => {
                text(field).is_some_and(|text| pattern.matches(&String::from_utf8_lossy(text)))
            }
            Self::Addresses(addresses) => {
                sighting.source.is_some_and(|source| addresses.contains(&source.to_canonical()))
            }
            Self::Network(net) => {
                sighting.source.is_some_and(|source| net.contains(&source.to_canonical()))
            }
            Self::Numbers(field, values) => {
                number(field).is_some_and(|have| values.contains(&have))
            }
            Self::Between(field, range) => number(field).is_some_and(|have| range.contains(&have)),
            Self::Words(words) => {
                let mut missing: Vec<&String> = words.iter().collect();
                let mut buffer = String::new();
                for text in [sighting.request, sighting.client, sighting.user].into_iter().flatten()
                {
                    tokens::words(&String::from_utf8_lossy(text), &mut buffer, |word| {
                        missing.retain(|wanted| *wanted != word);
                    });
                }
                missing.is_empty()
            }
        }
    }

    /// The kinds of events for which it may hold.
    fn kinds(&self) -> Kinds {
        match self {
            Self::Kinds(kinds) => *kinds,
            Self::And(all) => all.iter().fold(ALL_KINDS, |kinds, test| kinds & test.kinds()),
            Self::Or(any) => any.iter().fold(0, |kinds, test| kinds | test.kinds()),
            Self::Not(test) => match &**test {
                Self::Kinds(kinds) => !kinds,
                _ => ALL_KINDS,
            },
            _ => ALL_KINDS,
        }
    }

    /// How expensive it is, roughly.
    fn cost(&self) -> u32 {
        match self {
            Self::Kinds(_) | Self::Outcome(..) => 0,
            Self::Has(_) | Self::Numbers(..) | Self::Between(..) => 1,
            Self::Equal(..) | Self::Prefix(..) | Self::Addresses(_) | Self::Network(_) => 2,
            Self::Not(test) => test.cost() + 1,
            Self::And(tests) | Self::Or(tests) => {
                3 + tests.iter().map(Self::cost).max().unwrap_or(0)
            }
            Self::Contains(..) => 10,
            Self::ContainsAny(..) => 12,
            Self::Wildcard(..) => 20,
            Self::Words(_) => 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;

    fn failed() -> Sighting<'static> {
        Sighting {
            source: Some("198.51.100.7".parse().unwrap()),
            user: Some(b"root"),
            outcome: Some(Outcome::Failed),
            target_port: Some(22),
            ..Sighting::new(EventKind::AuthAttempted, Timestamp::from_millis(0), "sshd")
        }
    }

    fn matches(text: &str, sighting: &Sighting<'_>) -> bool {
        SightingFilter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).matches(sighting)
    }

    #[test]
    fn conditions_mean_what_they_mean_in_queries() {
        let seen = failed();
        for text in [
            "",
            "kind:auth.attempted outcome:failed service:sshd",
            "kind:auth.*",
            "kind:*.attempted",
            "ip:198.51.100.7",
            "ip:198.51.100.0/24 port:22 port:<100 port:(22,23)",
            "user:r* user:*oo* user:?oot -user:admin",
            "-status:404",
            "-kind:user.probed",
            "user:* or status:*",
            "\"root\"",
            "OUTCOME:Failed kind:AUTH.attempted",
        ] {
            assert!(matches(text, &seen), "{text}");
        }
        for text in [
            "kind:user.probed",
            "outcome:accepted",
            "service:nginx",
            "ip:198.51.100.8",
            "ip:2001:db8::/32",
            "user:Root",
            "user:*x*",
            "status:404",
            "status:*",
            "asn:>0",
            "\"root admin\"",
            "user:*a* or user:*b* or user:*c*",
        ] {
            assert!(!matches(text, &seen), "{text}");
        }
    }

    #[test]
    fn a_request_is_searched_for_all_its_patterns_at_once() {
        let seen = |request: &'static str| Sighting {
            request: Some(request.as_bytes()),
            status: Some(404),
            method: Some(b"GET"),
            ..Sighting::new(EventKind::HttpRequested, Timestamp::from_millis(0), "nginx")
        };
        let text = r"method:get request:(*../*, *%2e%2e/*, *etc/passwd*)";
        assert!(matches(text, &seen("/a/../b")));
        assert!(matches(text, &seen("/?f=/etc/passwd")));
        assert!(!matches(text, &seen("/a/b?c")));
        assert!(matches("path:/a/b", &seen("/a/b?c")));
        assert!(matches(r"request:*\?c*", &seen("/a/b?c")));
    }

    proptest::proptest! {
        #[test]
        fn a_search_for_several_texts_finds_what_any_of_them_finds(
            texts in proptest::collection::vec("[a./%]{2,5}", 2..6), text in "[a./%]{0,40}",
        ) {
            let any = Any::new(&texts).unwrap();
            let found = texts.iter().any(|one| text.contains(one.as_str()));
            proptest::prop_assert_eq!(any.is_in(text.as_bytes()), found, "{:?} in {}", texts, text);
        }
    }

    #[test]
    fn mistakes_point_at_the_character() {
        let error = |text: &str| {
            let error = SightingFilter::parse(text).unwrap_err();
            (error.at, error.message)
        };
        let (at, message) = error("kind:auth.attempted statsu:404");
        assert_eq!(at, 20);
        assert!(message.contains("did you mean 'status'?"), "{message}");
        let (at, message) = error("service:x country:CN");
        assert_eq!(at, 10, "a sighting has no country");
        assert!(message.contains("no field 'country'"), "{message}");
        let (at, message) = error("ip:10.0.0.0/8 kind:auth.dreamt");
        assert_eq!(at, 19);
        assert!(message.contains("unknown event kind"), "{message}");
        assert_eq!(error("outcome:maybe").0, 8);
        assert!(error("since:7d").1.contains("no field 'since'"));
    }

    #[test]
    fn kinds_and_service_are_known_before_anything_is_seen() {
        let filter = |text: &str| SightingFilter::parse(text).unwrap();
        let kinds = filter("service:sshd (kind:auth.attempted outcome:failed or kind:user.probed)");
        assert_eq!(
            kinds.kinds(),
            kind_bit(EventKind::AuthAttempted) | kind_bit(EventKind::UserProbed)
        );
        assert_eq!(kinds.service(), Some(&b"sshd"[..]));
        assert_eq!(filter("service:(a,b)").service(), None);
        assert_eq!(filter("user:root").kinds(), ALL_KINDS);
    }

    #[test]
    fn the_first_unmet_condition_is_named() {
        let filter = SightingFilter::parse("kind:auth.attempted user:admin").unwrap();
        assert_eq!(filter.unmet(&failed()), Some("user:admin"));
        let filter = SightingFilter::parse("kind:auth.attempted user:root").unwrap();
        assert_eq!(filter.unmet(&failed()), None);
    }
}
