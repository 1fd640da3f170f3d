//! Attributes in the index. Rows of plug-ins are made to be asked for by their
//! columns, so each of their attributes is a term among the words, which only a
//! mark that no word begins with tells apart; a bit of the document's shape says
//! that it is listed so. Attributes of all other events (and rows with long
//! values) are read one document at a time: they would make the index of many
//! numbers that nobody asks for.

use std::fmt::Write as _;

use palisade_event::{AttributeValue, Attributes, Event, EventKind};
use tantivy::schema::IndexRecordOption;
use tantivy::{InvertedIndexReader, TERMINATED, TantivyError, Term};

use super::filter::Ready;
use super::schema::layout;
use super::segment::Segment;
use crate::query::{AttributeName, AttributeTest, WrittenNumber};

/// Longest text that is listed, in bytes.
const MAX_LISTED_BYTES: usize = 256;
/// What a term of an attribute begins with. It is in no word.
pub(super) const MARK: char = '\u{1}';
/// What ends one: see [`escaped`].
pub(super) const END: char = '\0';
/// Between name and value.
const BETWEEN: char = '\u{2}';
const ESCAPE: char = '\u{3}';

/// The terms of an event's attributes, one behind the other; `None` where they
/// are not listed.
pub(super) fn terms(event: &Event) -> Option<String> {
    let short = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => text.len() <= MAX_LISTED_BYTES,
        _ => true,
    };
    if event.kind != EventKind::PluginRecorded || !event.attributes.values().all(short) {
        return None;
    }
    Some(all(&event.attributes))
}

fn all(attributes: &Attributes) -> String {
    let mut terms = String::new();
    for (name, value) in attributes {
        head(&mut terms, name);
        match value {
            AttributeValue::Flag(value) => flag(&mut terms, *value),
            AttributeValue::Integer(value) => whole(&mut terms, *value),
            AttributeValue::Real(value) => real(&mut terms, *value),
            AttributeValue::Text(value) => match value.as_utf8() {
                Some(value) => text(&mut terms, value),
                None => terms.push('b'),
            },
        }
        terms.push(END);
    }
    terms
}

// Writing to memory does not fail, so its results are left alone.

fn head(term: &mut String, name: &str) {
    let _ = write!(term, "{MARK}{name}{BETWEEN}");
}

fn flag(term: &mut String, value: bool) {
    let _ = write!(term, "f{value}");
}

fn whole(term: &mut String, value: i64) {
    let _ = write!(term, "i{value}");
}

fn real(term: &mut String, value: f64) {
    let _ = write!(term, "r{:016x}", value.to_bits());
}

fn text(term: &mut String, value: &str) {
    term.push('t');
    escaped(term, value);
}

/// Without the character that ends a term.
fn escaped(term: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            END => term.extend([ESCAPE, '0']),
            ESCAPE => term.extend([ESCAPE, '3']),
            c => term.push(c),
        }
    }
}

/// The value of a term without its head.
fn value_of(term: &str) -> Option<AttributeValue> {
    let mut chars = term.chars();
    let (kind, value) = (chars.next()?, chars.as_str());
    Some(match kind {
        'f' => AttributeValue::Flag(value == "true"),
        'i' => AttributeValue::Integer(value.parse().ok()?),
        'r' => AttributeValue::Real(f64::from_bits(u64::from_str_radix(value, 16).ok()?)),
        't' => {
            let mut text = String::with_capacity(value.len());
            let mut chars = value.chars();
            while let Some(c) = chars.next() {
                text.push(match c {
                    ESCAPE if chars.next()? == '0' => END,
                    c => c,
                });
            }
            AttributeValue::Text(text.as_str().into())
        }
        _ => return None,
    })
}

/// The documents whose attribute is as asked for.
pub(super) fn ready<'a>(
    segment: &'a Segment,
    name: &AttributeName,
    test: &AttributeTest,
) -> Result<Ready<'a>, TantivyError> {
    segment.open_rest()?;
    let listed = Ready::List(listed(segment, name, test)?);
    Ok(Ready::Or(vec![listed, Ready::Unlisted(segment, name.clone(), test.clone())]))
}

fn listed(
    segment: &Segment,
    name: &AttributeName,
    test: &AttributeTest,
) -> Result<Vec<u32>, TantivyError> {
    let index = segment.reader.inverted_index(layout().words)?;
    let mut begin = String::new();
    head(&mut begin, name.as_str());
    let mut docs = Vec::new();
    let mut exact = |tail: &dyn Fn(&mut String)| {
        let mut term = begin.clone();
        tail(&mut term);
        collect(&index, &term, &mut docs)
    };
    match test {
        AttributeTest::In(values) => {
            for wanted in values {
                exact(&|term| text(term, wanted))?;
                if let Ok(value) = wanted.parse::<bool>() {
                    exact(&|term| flag(term, value))?;
                }
                let Some(number) = WrittenNumber::of(wanted) else { continue };
                if let Some(value) = number.whole {
                    exact(&|term| whole(term, value))?;
                }
                exact(&|term| real(term, number.real))?;
                if number.real == 0.0 {
                    // The other zero.
                    exact(&|term| real(term, -number.real))?;
                }
            }
        }
        AttributeTest::Prefix(prefix) if !prefix.is_empty() => {
            text(&mut begin, prefix);
            each(&index, &begin, |_| true, &mut docs)?;
        }
        AttributeTest::Exists | AttributeTest::Prefix(_) => {
            each(&index, &begin, |_| true, &mut docs)?;
        }
        AttributeTest::Wildcard(_) | AttributeTest::Range(..) => {
            let is = |term: &str| value_of(term).is_some_and(|value| test.matches(&value));
            each(&index, &begin, is, &mut docs)?;
        }
    }
    docs.sort_unstable();
    docs.dedup();
    Ok(docs)
}

/// Adds the documents of all terms that begin so and whose rest is as wanted.
fn each(
    index: &InvertedIndexReader,
    begin: &str,
    is_wanted: impl Fn(&str) -> bool,
    docs: &mut Vec<u32>,
) -> Result<(), TantivyError> {
    let mut stream = index.terms().range().ge(begin.as_bytes()).into_stream()?;
    let mut terms = Vec::new();
    while stream.advance() {
        let Some(rest) = stream.key().strip_prefix(begin.as_bytes()) else { break };
        if std::str::from_utf8(rest).is_ok_and(&is_wanted) {
            terms.push(stream.value().clone());
        }
    }
    for term in terms {
        let mut postings = index.read_postings_from_terminfo(&term, IndexRecordOption::Basic)?;
        drain(&mut postings, docs);
    }
    Ok(())
}

fn collect(
    index: &InvertedIndexReader,
    term: &str,
    docs: &mut Vec<u32>,
) -> Result<(), TantivyError> {
    let term = Term::from_field_text(layout().words, term);
    if let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? {
        drain(&mut postings, docs);
    }
    Ok(())
}

fn drain(postings: &mut impl tantivy::DocSet, docs: &mut Vec<u32>) {
    let mut doc = postings.doc();
    while doc != TERMINATED {
        docs.push(doc);
        doc = postings.advance();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_term_and_none_ends_early() {
        for value in [
            AttributeValue::from(true),
            AttributeValue::from(i64::MIN),
            AttributeValue::Real(-0.0),
            AttributeValue::Real(0.1),
            AttributeValue::from("a\0b\u{3}0\u{1}c"),
            AttributeValue::from(""),
        ] {
            let terms = all(&[("a".into(), value.clone())].into_iter().collect());
            let (term, rest) = terms.split_once(END).unwrap();
            assert_eq!(rest, "");
            let term = term.strip_prefix(MARK).unwrap().strip_prefix('a').unwrap();
            assert_eq!(value_of(term.strip_prefix(BETWEEN).unwrap()), Some(value));
        }
    }
}
