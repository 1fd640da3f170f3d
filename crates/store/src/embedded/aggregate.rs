//! Counts and groups, exactly: per segment by ordinal, across segments by value.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use palisade_event::{EventId, Timestamp};
use tantivy::columnar::StrColumn;

use super::Embedded;
use super::filter::for_each_chunk;
use super::segment::{AnyColumn, Segment};
use crate::query::{Aggregation, Buckets, Field, FieldType, Interval, MAX_GROUPS, Query, Value};
use crate::{Aggregated, Bucket, Key, QueryError};

/// Most different values that a distinct counts exactly; beyond, a sample.
const MAX_DISTINCT: usize = 1_000_000;
/// Most different groups of a top while it is counted.
const MAX_COUNTED: usize = 4_000_000;
/// How many dictionary entries are read in the time of one look-up, about.
const LOOKUP_COST: usize = 100;
/// A document without the field.
const ABSENT: u32 = u32::MAX;

impl From<tantivy::TantivyError> for QueryError {
    fn from(error: tantivy::TantivyError) -> Self {
        super::query_error(error)
    }
}

pub(super) fn aggregate(
    store: &Embedded,
    query: &Query,
    aggregation: &Aggregation,
) -> Result<Aggregated, QueryError> {
    aggregation.validate()?;
    let sub = match aggregation {
        Aggregation::Count => {
            let mut count = 0;
            for_each(store, query, |_, docs| {
                count += docs.len() as u64;
                Ok(())
            })?;
            return Ok(Aggregated::Count { count });
        }
        Aggregation::Distinct(field) => {
            let mut dimension = Dimension::new(Source::Field(*field));
            dimension.hashes_only = true;
            let mut distinct = Distinct::default();
            for_each(store, query, |segment, docs| {
                let codes = dimension.codes(segment, docs)?;
                for code in codes.into_iter().filter(|code| *code != ABSENT) {
                    distinct.insert(&dimension, code);
                }
                dimension.trim();
                Ok(())
            })?;
            return Ok(distinct.answer());
        }
        Aggregation::Histogram(_, sub) | Aggregation::Top(_, _, sub) => sub.as_deref(),
    };
    let buckets = match (aggregation, sub) {
        (Aggregation::Histogram(interval, _), _)
        | (_, Some(Aggregation::Histogram(interval, _))) => span(store, query, *interval)?,
        _ => None,
    };
    let mut outer = Grouping::new(aggregation, buckets);
    let mut counts: HashMap<u64, u64> = HashMap::new();
    for_each(store, query, |segment, docs| {
        for key in outer.keys(segment, docs)?.into_iter().flatten() {
            *counts.entry(key).or_default() += 1;
        }
        too_many(counts.len())
    })?;
    let (groups, other) = outer.groups(aggregation, counts);
    let mut answers = nested(store, query, &mut outer, &groups, sub, buckets)?;
    let buckets = groups
        .into_iter()
        .map(|group| {
            let answer = group.code.and_then(|code| answers.remove(&code));
            let empty = || sub.map(|sub| Collected::new(sub).answer(sub, None, buckets));
            let sub = answer.or_else(empty).map(Box::new);
            Bucket { key: group.key, count: group.count, sub }
        })
        .collect();
    Ok(Aggregated::Buckets { buckets, other })
}

fn too_many(groups: usize) -> Result<(), QueryError> {
    if groups <= MAX_COUNTED {
        return Ok(());
    }
    let reason = format!("there are more than {MAX_COUNTED} groups; use a shorter time range");
    Err(QueryError::Unsupported(reason))
}

/// The nested answers by the outer group's code.
fn nested(
    store: &Embedded,
    query: &Query,
    outer: &mut Grouping,
    groups: &[Group],
    sub: Option<&Aggregation>,
    buckets: Option<Buckets>,
) -> Result<HashMap<u64, Aggregated>, QueryError> {
    let Some(sub) = sub else { return Ok(HashMap::new()) };
    let each = match sub {
        Aggregation::Histogram(..) => {
            usize::try_from(buckets.map_or(0, |b| b.count)).unwrap_or(usize::MAX)
        }
        Aggregation::Top(_, k, _) => *k,
        Aggregation::Count | Aggregation::Distinct(_) => 1,
    };
    if groups.len().saturating_mul(each) > MAX_GROUPS {
        let reason = format!("the answer would have more than {MAX_GROUPS} groups; ask for fewer");
        return Err(QueryError::Unsupported(reason));
    }
    let mut inner = Grouping::new(sub, buckets);
    let mut found: HashMap<u64, Collected> = groups
        .iter()
        .filter_map(|group| group.code.map(|code| (code, Collected::new(sub))))
        .collect();
    let mut total = 0;
    for_each(store, query, |segment, docs| {
        let outer_keys = outer.keys(segment, docs)?;
        let inner_keys = inner.keys(segment, docs)?;
        for (key, value) in outer_keys.into_iter().zip(inner_keys) {
            let Some(collected) = key.and_then(|key| found.get_mut(&key)) else { continue };
            let Some(value) = value else { continue };
            total += usize::from(collected.add(value, &inner));
        }
        too_many(total)
    })?;
    Ok(found
        .into_iter()
        .map(|(code, collected)| (code, collected.answer(sub, Some(&inner), buckets)))
        .collect())
}

/// What is gathered for one outer group.
enum Collected {
    Count(u64),
    Distinct(Distinct),
    Groups(HashMap<u64, u64>),
}

impl Collected {
    fn new(sub: &Aggregation) -> Self {
        match sub {
            Aggregation::Count => Self::Count(0),
            Aggregation::Distinct(_) => Self::Distinct(Distinct::default()),
            Aggregation::Histogram(..) | Aggregation::Top(..) => Self::Groups(HashMap::new()),
        }
    }

    /// Adds one event; whether it made something new to remember.
    fn add(&mut self, key: u64, grouping: &Grouping) -> bool {
        match self {
            Self::Count(count) => {
                *count += 1;
                false
            }
            Self::Distinct(distinct) => match grouping.dimensions.first() {
                Some(dimension) => distinct.insert(dimension, key as u32),
                None => false,
            },
            Self::Groups(groups) => {
                let count = groups.entry(key).or_default();
                *count += 1;
                *count == 1
            }
        }
    }

    fn answer(
        self,
        sub: &Aggregation,
        grouping: Option<&Grouping>,
        buckets: Option<Buckets>,
    ) -> Aggregated {
        match self {
            Self::Count(count) => Aggregated::Count { count },
            Self::Distinct(distinct) => distinct.answer(),
            Self::Groups(counts) => {
                let empty = Grouping::new(sub, buckets);
                let (groups, other) = grouping.unwrap_or(&empty).groups(sub, counts);
                let plain = |group: Group| Bucket { key: group.key, count: group.count, sub: None };
                Aggregated::Buckets { buckets: groups.into_iter().map(plain).collect(), other }
            }
        }
    }
}

fn for_each(
    store: &Embedded,
    query: &Query,
    mut each: impl FnMut(&Segment, &[u32]) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    for day in store.days_of(query) {
        let Some(segments) = store.segments(day)? else { continue };
        for segment in segments.iter() {
            for_each_chunk(query, segment, |docs| each(segment, docs))?;
        }
    }
    Ok(())
}

/// The buckets of a histogram: over the range, or over the data where it is open.
fn span(
    store: &Embedded,
    query: &Query,
    interval: Interval,
) -> Result<Option<Buckets>, QueryError> {
    let mut low = query.range.from.map(Timestamp::as_millis);
    let mut high = query.range.to.map(|to| to.as_millis() - 1);
    if low.is_none() || high.is_none() {
        let (mut first, mut last) = (None, None);
        for_each(store, query, |segment, docs| {
            for doc in docs {
                let at = segment.at(*doc);
                first = Some(first.map_or(at, |first: i64| first.min(at)));
                last = Some(last.map_or(at, |last: i64| last.max(at)));
            }
            Ok(())
        })?;
        low = low.or(first);
        high = high.or(last);
    }
    match (low, high) {
        (Some(low), Some(high)) if low <= high => interval.buckets(low, high).map(Some),
        _ => Ok(None),
    }
}

/// Values of a field seen so far; past [`MAX_DISTINCT`] a sample of them.
#[derive(Default)]
struct Distinct {
    hashes: HashSet<u64>,
    /// Only hashes with so many low zero bits are kept.
    level: u32,
}

impl Distinct {
    fn insert(&mut self, dimension: &Dimension, code: u32) -> bool {
        let hash = dimension.hash(code);
        if hash.trailing_zeros() < self.level {
            return false;
        }
        let new = self.hashes.insert(hash);
        while self.hashes.len() > MAX_DISTINCT {
            self.level += 1;
            let level = self.level;
            self.hashes.retain(|hash| hash.trailing_zeros() >= level);
        }
        new
    }

    fn answer(self) -> Aggregated {
        let count = (self.hashes.len() as u64) << self.level;
        Aggregated::Distinct { count, exact: self.level == 0 }
    }
}

/// One group of an answer; without a code where no event fell into it.
struct Group {
    key: Vec<Key>,
    count: u64,
    code: Option<u64>,
}

/// One or two dimensions, combined into one number.
struct Grouping {
    dimensions: Vec<Dimension>,
    buckets: Option<Buckets>,
}

impl Grouping {
    fn new(aggregation: &Aggregation, buckets: Option<Buckets>) -> Self {
        let sources = match aggregation {
            Aggregation::Count => Vec::new(),
            Aggregation::Distinct(field) => vec![Source::Field(*field)],
            Aggregation::Histogram(..) => vec![Source::Time(buckets)],
            Aggregation::Top(fields, ..) => fields.iter().copied().map(Source::Field).collect(),
        };
        Self { dimensions: sources.into_iter().map(Dimension::new).collect(), buckets }
    }

    /// One group code for each document; `None` where it lacks a field.
    fn keys(&mut self, segment: &Segment, docs: &[u32]) -> Result<Vec<Option<u64>>, QueryError> {
        let mut keys: Vec<Option<u64>> = vec![Some(0); docs.len()];
        for dimension in &mut self.dimensions {
            for (key, code) in keys.iter_mut().zip(dimension.codes(segment, docs)?) {
                let joined = |key: u64| (code != ABSENT).then_some(key << 32 | u64::from(code));
                *key = key.and_then(joined);
            }
        }
        Ok(keys)
    }

    fn key(&self, code: u64) -> Vec<Key> {
        let shown = |(place, dimension): (usize, &Dimension)| {
            let shift = if place + 1 == self.dimensions.len() { 0 } else { 32 };
            dimension.key((code >> shift) as u32)
        };
        self.dimensions.iter().enumerate().filter_map(shown).collect()
    }

    /// The groups of an answer in their order, and how many events were cut off.
    fn groups(&self, aggregation: &Aggregation, counts: HashMap<u64, u64>) -> (Vec<Group>, u64) {
        if let Aggregation::Top(_, k, _) = aggregation {
            let total: u64 = counts.values().sum();
            let mut ranked: Vec<(u64, u64)> = counts.into_iter().collect();
            // Only groups that may be listed get their text made.
            if ranked.len() > *k {
                let last = k.saturating_sub(1);
                ranked.select_nth_unstable_by_key(last, |group| std::cmp::Reverse(group.1));
                let least = ranked.get(last).map_or(0, |group| group.1);
                ranked.retain(|group| group.1 >= least);
            }
            let mut groups: Vec<Group> = ranked
                .into_iter()
                .map(|(code, count)| Group { key: self.key(code), count, code: Some(code) })
                .collect();
            groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
            groups.truncate(*k);
            let listed: u64 = groups.iter().map(|group| group.count).sum();
            return (groups, total - listed);
        }
        let Some(buckets) = self.buckets else { return (Vec::new(), 0) };
        let all = (0..buckets.count).map(|number| {
            let code = number.unsigned_abs();
            let start = Timestamp::from_millis((buckets.first + number) * buckets.width);
            let count = counts.get(&code).copied().unwrap_or(0);
            let key = vec![Key::Text(start.to_string())];
            Group { key, count, code: (count > 0).then_some(code) }
        });
        (all.collect(), 0)
    }
}

enum Source {
    Field(Field),
    Time(Option<Buckets>),
}

/// Numbers the values of a field in the order they come.
struct Dimension {
    source: Source,
    values: Vec<Value<'static>>,
    codes: HashMap<Value<'static>, u32>,
    /// Ordinal to code in the segment that is being read.
    segment: Option<(tantivy::index::SegmentId, Vec<u32>)>,
    hasher: RandomState,
    /// Whether codes are used at once and never looked up again.
    hashes_only: bool,
}

impl Dimension {
    fn new(source: Source) -> Self {
        Self {
            source,
            values: Vec::new(),
            codes: HashMap::new(),
            segment: None,
            hasher: RandomState::new(),
            hashes_only: false,
        }
    }

    fn code(&mut self, value: Value<'static>) -> u32 {
        if let Some(code) = self.codes.get(&value) {
            return *code;
        }
        let code = u32::try_from(self.values.len()).unwrap_or(ABSENT);
        self.values.push(value.clone());
        self.codes.insert(value, code);
        code
    }

    fn hash(&self, code: u32) -> u64 {
        self.hasher.hash_one(self.values.get(code as usize))
    }

    /// Forgets values where only their hashes matter, so that memory stays bounded.
    fn trim(&mut self) {
        // Not while a segment's ordinals are numbered: they would be numbered anew.
        if self.hashes_only && self.segment.is_none() && self.values.len() > MAX_DISTINCT {
            self.values = Vec::new();
            self.codes = HashMap::new();
        }
    }

    fn key(&self, code: u32) -> Option<Key> {
        let Source::Field(field) = self.source else { return None };
        Some(match self.values.get(code as usize)? {
            Value::Text(text) => Key::Text(text.clone().into_owned()),
            Value::Address(address) => Key::Text(address.to_string()),
            Value::Number(number) if field.field_type() == FieldType::Time => {
                Key::Text(Timestamp::from_millis(*number).to_string())
            }
            Value::Number(number) => Key::Integer(*number),
            Value::Id(id) => Key::Text(EventId::from_u128(*id).to_string()),
        })
    }

    /// Numbers every value of a segment's dictionary.
    fn read_dictionary(&mut self, column: &StrColumn, known: &mut [u32]) -> Result<(), QueryError> {
        let failed = |error: std::io::Error| QueryError::Failed(error.to_string());
        let mut stream = column.dictionary().stream().map_err(failed)?;
        while stream.advance() {
            let text = String::from_utf8_lossy(stream.key()).into_owned();
            if let Some(slot) = known.get_mut(stream.term_ord() as usize) {
                *slot = self.code(Value::Text(text.into()));
            }
        }
        Ok(())
    }

    fn codes(&mut self, segment: &Segment, docs: &[u32]) -> Result<Vec<u32>, QueryError> {
        let field = match self.source {
            Source::Time(None) => return Ok(vec![ABSENT; docs.len()]),
            Source::Time(Some(buckets)) => {
                let bucket = |doc: &u32| {
                    let number = segment.at(*doc).div_euclid(buckets.width) - buckets.first;
                    u32::try_from(number).unwrap_or(ABSENT)
                };
                return Ok(docs.iter().map(bucket).collect());
            }
            Source::Field(field) => field,
        };
        if field == Field::Id {
            return Ok(docs.iter().map(|doc| self.code(Value::Id(segment.id(*doc)))).collect());
        }
        match segment.column(field)? {
            AnyColumn::Absent => Ok(vec![ABSENT; docs.len()]),
            AnyColumn::Number(column) => {
                let mut code = |doc: &u32| {
                    column.first(*doc).map_or(ABSENT, |number| self.code(Value::Number(number)))
                };
                Ok(docs.iter().map(&mut code).collect())
            }
            AnyColumn::Address(column) => {
                let mut code = |doc: &u32| {
                    let address = column.first(*doc).map(|a| IpAddr::V6(a).to_canonical());
                    address.map_or(ABSENT, |address| self.code(Value::Address(address)))
                };
                Ok(docs.iter().map(&mut code).collect())
            }
            AnyColumn::Text(column) => {
                let id = segment.reader.segment_id();
                let mut known = match self.segment.take() {
                    Some((segment, known)) if segment == id => known,
                    _ => {
                        self.trim();
                        vec![ABSENT; column.num_terms()]
                    }
                };
                let ordinals: Vec<Option<u64>> =
                    docs.iter().map(|doc| column.ords().first(*doc)).collect();
                let mut unknown: Vec<u64> = ordinals
                    .iter()
                    .flatten()
                    .copied()
                    .filter(|ord| known.get(*ord as usize).is_some_and(|code| *code == ABSENT))
                    .collect();
                unknown.sort_unstable();
                unknown.dedup();
                // Reading the whole dictionary in order beats many single look-ups.
                if unknown.len() * LOOKUP_COST > known.len() {
                    self.read_dictionary(column, &mut known)?;
                    unknown.clear();
                }
                let mut buffer = String::new();
                for ordinal in unknown {
                    let found = column.ord_to_str(ordinal, &mut buffer);
                    if found.map_err(|error| QueryError::Failed(error.to_string()))?
                        && let Some(slot) = known.get_mut(ordinal as usize)
                    {
                        *slot = self.code(Value::Text(buffer.clone().into()));
                    }
                }
                let code = |ord: &Option<u64>| {
                    ord.and_then(|ord| known.get(ord as usize).copied()).unwrap_or(ABSENT)
                };
                let codes = ordinals.iter().map(code).collect();
                self.segment = Some((id, known));
                Ok(codes)
            }
        }
    }
}
