//! Answers a filter on one segment, exactly as `query::meaning` defines it.
//!
//! Conditions on text are decided once per dictionary entry, then compared by
//! ordinal; free text and source addresses read posting lists. Here a filter is
//! made ready for a segment; `scan` finds the documents.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use tantivy::columnar::{Column, StrColumn};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet as _, InvertedIndexReader, TERMINATED, TantivyError, Term};

use super::attribute;
use super::schema::{self, layout};
use super::segment::{AnyColumn, Segment};
use crate::query::{
    AttributeName, AttributeTest, Field, Filter, Pattern, Query, TimeRange, Wanted, compared,
    tokens,
};

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
    /// Few documents, ascending.
    List(Vec<u32>),
    /// Documents whose attributes are not in the index: they are read.
    Unlisted(&'a Segment, AttributeName, AttributeTest),
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
        Ok(Self::all_of(vec![Self::Observed(segment, low, high), filter]))
    }

    /// All of them, the cheapest and narrowest first.
    fn all_of(mut parts: Vec<Self>) -> Self {
        parts.sort_by_key(|part| match part {
            Self::None => 0,
            Self::List(_) => 1,
            Self::Docs(_) => 2,
            Self::Ordinals(..) | Self::Numbers(..) | Self::Addresses(..) => 3,
            Self::Network(..) | Self::Between(..) => 4,
            Self::Observed(..) => 5,
            Self::And(_) | Self::Or(_) => 6,
            _ => 7,
        });
        Self::And(parts)
    }

    pub(super) fn new(filter: &Filter, segment: &'a Segment) -> Result<Self, TantivyError> {
        let each = |parts: &[Filter]| {
            parts.iter().map(|part| Self::new(part, segment)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Filter::All => Self::All,
            Filter::And(parts) => Self::all_of(each(parts)?),
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
            Filter::Attribute(name, test) => attribute::ready(segment, name, test)?,
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
                let addresses: HashSet<IpAddr> = addresses.collect();
                match listed(field, &addresses, segment)? {
                    Some(list) => list,
                    None => Self::Addresses(column, addresses),
                }
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

/// The documents with one of these addresses, where the field has posting lists.
fn listed<'a>(
    field: Field,
    addresses: &HashSet<IpAddr>,
    segment: &'a Segment,
) -> Result<Option<Ready<'a>>, TantivyError> {
    let Some(column) = layout().fields.get(field as usize).copied().flatten() else {
        return Ok(None);
    };
    if !segment.reader.schema().get_field_entry(column).is_indexed() {
        return Ok(None);
    }
    let index = segment.reader.inverted_index(column)?;
    let mut docs = Vec::new();
    for address in addresses {
        let term = Term::from_field_ip_addr(column, schema::to_v6(*address));
        docs.extend(postings(&index, &term)?);
    }
    docs.sort_unstable();
    Ok(Some(Ready::List(docs)))
}

/// The documents that have a term, ascending.
fn postings(index: &InvertedIndexReader, term: &Term) -> Result<Vec<u32>, TantivyError> {
    let Some(mut postings) = index.read_postings(term, IndexRecordOption::Basic)? else {
        return Ok(Vec::new());
    };
    let mut docs = Vec::with_capacity(postings.size_hint() as usize);
    let mut doc = postings.doc();
    while doc != TERMINATED {
        docs.push(doc);
        doc = postings.advance();
    }
    Ok(docs)
}

/// Marks the documents that have every word of a text.
fn words<'a>(segment: &'a Segment, text: &str) -> Result<Ready<'a>, TantivyError> {
    let field = layout().words;
    let index = segment.reader.inverted_index(field)?;
    let terms: Vec<Term> =
        tokens::wanted(text).iter().map(|word| Term::from_field_text(field, word)).collect();
    let mut by_count = Vec::with_capacity(terms.len());
    for term in &terms {
        match index.doc_freq(term)? {
            0 => return Ok(Ready::None),
            count => by_count.push((count, term)),
        }
    }
    by_count.sort_unstable_by_key(|(count, _)| *count);
    let mut lists = Vec::with_capacity(terms.len());
    for (count, term) in by_count {
        let docs = postings(&index, term)?;
        // A list takes 32 bits a document that has the word, marks one bit for all.
        lists.push(if count < segment.docs() / 32 {
            Ready::List(docs)
        } else {
            let mut marks = vec![0u64; segment.docs() as usize / 64 + 1];
            for doc in docs {
                if let Some(word) = marks.get_mut(doc as usize / 64) {
                    *word |= 1 << (doc % 64);
                }
            }
            Ready::Docs(marks)
        });
    }
    Ok(match lists.len() {
        0 => Ready::All,
        1 => lists.swap_remove(0),
        _ => Ready::And(lists),
    })
}
