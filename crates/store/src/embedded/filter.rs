//! Answers a filter on one segment, exactly as `query::meaning` defines it.
//!
//! Conditions on text are decided once per dictionary entry, then compared by
//! ordinal; free text reads posting lists.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use tantivy::columnar::{Column, StrColumn};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet as _, TERMINATED, TantivyError, Term};

use super::schema::layout;
use super::segment::{AnyColumn, Segment};
use crate::query::{
    Field, Filter, Pattern, Query, TimeRange, Wanted, compared, in_network, tokens,
};

/// Documents that are looked at together.
pub(super) const CHUNK_DOCS: u32 = 8192;

/// A filter made ready for one segment.
pub(super) enum Ready<'a> {
    All,
    None,
    And(Vec<Ready<'a>>),
    Or(Vec<Ready<'a>>),
    Not(Box<Ready<'a>>),
    /// Text whose ordinal lies in a range.
    Ordinals(&'a StrColumn, std::ops::Range<u64>),
    /// Text whose ordinal is marked.
    Marked(&'a StrColumn, Vec<bool>),
    HasText(&'a StrColumn),
    Numbers(&'a Column<i64>, HashSet<i64>),
    Between(&'a Column<i64>, i64, i64),
    /// Observed in `[low, high]`.
    Observed(&'a Segment, i64, i64),
    Addresses(&'a Column<Ipv6Addr>, HashSet<IpAddr>),
    Network(&'a Column<Ipv6Addr>, IpAddr, u8),
    HasAddress(&'a Column<Ipv6Addr>),
    Ids(&'a Segment, HashSet<u128>),
    /// One bit a document.
    Docs(Vec<u64>),
}

impl<'a> Ready<'a> {
    pub(super) fn query(query: &Query, segment: &'a Segment) -> Result<Self, TantivyError> {
        let TimeRange { from, to } = query.range;
        let (first, last) = super::segment::span(segment);
        if from.is_some_and(|from| last < from) || to.is_some_and(|to| to <= first) {
            return Ok(Self::None);
        }
        let filter = Self::new(&query.filter, segment)?;
        if query.range.contains(first) && query.range.contains(last) {
            return Ok(filter);
        }
        let low = from.map_or(i64::MIN, |from| from.as_millis());
        let high = to.map_or(i64::MAX, |to| to.as_millis() - 1);
        Ok(Self::And(vec![Self::Observed(segment, low, high), filter]))
    }

    pub(super) fn new(filter: &Filter, segment: &'a Segment) -> Result<Self, TantivyError> {
        let each = |parts: &[Filter]| {
            parts.iter().map(|part| Self::new(part, segment)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Filter::All => Self::All,
            Filter::And(parts) => Self::And(each(parts)?),
            Filter::Or(parts) => Self::Or(each(parts)?),
            Filter::Not(inner) => Self::Not(Box::new(Self::new(inner, segment)?)),
            Filter::Exists(Field::Id) => Self::All,
            Filter::Exists(field) => match segment.column(*field)? {
                AnyColumn::Text(column) => Self::HasText(column),
                AnyColumn::Number(column) => Self::Between(column, i64::MIN, i64::MAX),
                AnyColumn::Address(column) => Self::HasAddress(column),
                AnyColumn::Absent => Self::None,
            },
            Filter::In(field, values) => Self::one_of(*field, values, segment)?,
            Filter::Prefix(field, prefix) if field.is_text() => {
                let prefix = field.fold(prefix);
                let prefix = compared(&prefix);
                match segment.column(*field)? {
                    AnyColumn::Text(column) => prefix_ordinals(column, prefix)?,
                    _ => Self::None,
                }
            }
            Filter::Wildcard(field, pattern) if field.is_text() => match segment.column(*field)? {
                AnyColumn::Text(column) => marked(column, &Pattern::new(&field.fold(pattern)))?,
                _ => Self::None,
            },
            Filter::Network(field, address, bits) => match segment.column(*field)? {
                AnyColumn::Address(column) => Self::Network(column, *address, *bits),
                _ => Self::None,
            },
            Filter::Between(field, low, high) => match segment.column(*field)? {
                AnyColumn::Number(column) => {
                    Self::Between(column, low.unwrap_or(i64::MIN), high.unwrap_or(i64::MAX))
                }
                _ => Self::None,
            },
            Filter::Prefix(..) | Filter::Wildcard(..) => Self::None,
            Filter::Text(text) => words(segment, text)?,
        })
    }

    fn one_of(field: Field, values: &[String], segment: &'a Segment) -> Result<Self, TantivyError> {
        let wanted = values.iter().filter_map(|value| Wanted::new(field, value));
        if field == Field::Id {
            let ids = wanted.filter_map(|want| match want {
                Wanted::Id(id) => Some(id),
                _ => None,
            });
            return Ok(Self::Ids(segment, ids.collect()));
        }
        Ok(match segment.column(field)? {
            AnyColumn::Absent => Self::None,
            AnyColumn::Number(column) => {
                let numbers = wanted.filter_map(|want| match want {
                    Wanted::Number(number) => Some(number),
                    _ => None,
                });
                Self::Numbers(column, numbers.collect())
            }
            AnyColumn::Address(column) => {
                let addresses = wanted.filter_map(|want| match want {
                    Wanted::Address(address) => Some(address),
                    _ => None,
                });
                Self::Addresses(column, addresses.collect())
            }
            AnyColumn::Text(column) => {
                let mut any = Vec::new();
                for want in wanted {
                    let Wanted::Text(text) = want else { continue };
                    if let Some(ordinal) = column.dictionary().term_ord(text.as_bytes())? {
                        any.push(Self::Ordinals(column, ordinal..ordinal + 1));
                    }
                }
                Self::Or(any)
            }
        })
    }

    /// Keeps the documents that match; `docs` ascends.
    pub(super) fn retain(&self, docs: &mut Vec<u32>) {
        match self {
            Self::All => {}
            Self::None => docs.clear(),
            Self::And(parts) => parts.iter().for_each(|part| part.retain(docs)),
            Self::Or(parts) => {
                let mut rest = std::mem::take(docs);
                for part in parts {
                    let mut some = rest.clone();
                    part.retain(&mut some);
                    subtract(&mut rest, &some);
                    docs.extend(some);
                }
                docs.sort_unstable();
            }
            Self::Not(part) => {
                let mut some = docs.clone();
                part.retain(&mut some);
                subtract(docs, &some);
            }
            Self::Ordinals(column, range) => {
                docs.retain(|doc| {
                    column.ords().first(*doc).is_some_and(|ord| range.contains(&ord))
                });
            }
            Self::Marked(column, marks) => docs.retain(|doc| {
                let ordinal = column.ords().first(*doc);
                ordinal.is_some_and(|ord| marks.get(ord as usize).copied().unwrap_or(false))
            }),
            Self::HasText(column) => docs.retain(|doc| column.ords().first(*doc).is_some()),
            Self::Numbers(column, set) => {
                docs.retain(|doc| column.first(*doc).is_some_and(|value| set.contains(&value)));
            }
            Self::Between(column, low, high) => docs.retain(|doc| {
                column.first(*doc).is_some_and(|value| *low <= value && value <= *high)
            }),
            Self::Observed(segment, low, high) => {
                let (Some(first), Some(last)) = (docs.first(), docs.last()) else { return };
                if segment.may_lie_in(*first..last + 1, *low, *high) {
                    docs.retain(|doc| (*low..=*high).contains(&segment.at(*doc)));
                } else {
                    docs.clear();
                }
            }
            Self::Addresses(column, set) => docs.retain(|doc| {
                column.first(*doc).is_some_and(|a| set.contains(&IpAddr::V6(a).to_canonical()))
            }),
            Self::Network(column, network, bits) => docs.retain(|doc| {
                let address = column.first(*doc);
                address.is_some_and(|a| in_network(IpAddr::V6(a).to_canonical(), *network, *bits))
            }),
            Self::HasAddress(column) => docs.retain(|doc| column.first(*doc).is_some()),
            Self::Ids(segment, set) => docs.retain(|doc| set.contains(&segment.id(*doc))),
            Self::Docs(bits) => docs.retain(|doc| bit(bits, *doc)),
        }
    }
}

fn bit(bits: &[u64], doc: u32) -> bool {
    bits.get(doc as usize / 64).is_some_and(|word| word >> (doc % 64) & 1 == 1)
}

/// Removes from one ascending list what is in the other.
fn subtract(docs: &mut Vec<u32>, gone: &[u32]) {
    let mut gone = gone.iter().copied().peekable();
    docs.retain(|doc| {
        while gone.next_if(|gone| gone < doc).is_some() {}
        gone.next_if_eq(doc).is_none()
    });
}

fn prefix_ordinals<'a>(column: &'a StrColumn, prefix: &str) -> Result<Ready<'a>, TantivyError> {
    let mut stream = column.dictionary().prefix_range(prefix.as_bytes()).into_stream()?;
    let mut range = None;
    while stream.advance() {
        let ordinal = stream.term_ord();
        let start = range.map_or(ordinal, |(start, _)| start);
        range = Some((start, ordinal + 1));
    }
    Ok(range.map_or(Ready::None, |(start, end)| Ready::Ordinals(column, start..end)))
}

fn marked<'a>(column: &'a StrColumn, pattern: &Pattern) -> Result<Ready<'a>, TantivyError> {
    let mut marks = vec![false; column.num_terms()];
    let mut stream = column.dictionary().prefix_range(pattern.head().as_bytes()).into_stream()?;
    while stream.advance() {
        let matches = std::str::from_utf8(stream.key()).is_ok_and(|text| pattern.matches(text));
        if let Some(mark) = marks.get_mut(stream.term_ord() as usize) {
            *mark = matches;
        }
    }
    Ok(Ready::Marked(column, marks))
}

/// Marks the documents that have every word of a text.
fn words<'a>(segment: &'a Segment, text: &str) -> Result<Ready<'a>, TantivyError> {
    let field = layout().words;
    let index = segment.reader.inverted_index(field)?;
    let mut found: Option<Vec<u64>> = None;
    for word in tokens::wanted(text) {
        let mut docs = vec![0u64; segment.docs() as usize / 64 + 1];
        let term = Term::from_field_text(field, &word);
        let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? else {
            return Ok(Ready::None);
        };
        let mut doc = postings.doc();
        while doc != TERMINATED {
            if let Some(word) = docs.get_mut(doc as usize / 64) {
                *word |= 1 << (doc % 64);
            }
            doc = postings.advance();
        }
        found = Some(match found {
            None => docs,
            Some(have) => have.iter().zip(&docs).map(|(a, b)| a & b).collect(),
        });
    }
    Ok(found.map_or(Ready::All, Ready::Docs))
}

/// Calls `each` with the matching documents of a segment, chunk by chunk.
pub(super) fn for_each_chunk<E>(
    ready: &Ready<'_>,
    segment: &Segment,
    mut each: impl FnMut(&[u32]) -> Result<(), E>,
) -> Result<(), E> {
    if matches!(ready, Ready::None) {
        return Ok(());
    }
    let mut docs = Vec::with_capacity(CHUNK_DOCS as usize);
    let mut start = 0;
    while start < segment.docs() {
        let end = start.saturating_add(CHUNK_DOCS).min(segment.docs());
        docs.clear();
        docs.extend(start..end);
        ready.retain(&mut docs);
        if !docs.is_empty() {
            each(&docs)?;
        }
        start = end;
    }
    Ok(())
}
