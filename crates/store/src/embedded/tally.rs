//! Counts of the combinations of one to four dimensions: counted within a
//! segment by local codes, then added up by codes that hold everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tantivy::TantivyError;

use super::dimension::{ABSENT, Dimension, Share, Source, table_bytes};
use super::filter::Ready;
use super::quick::{HashMap, HashSet};
use super::ready::{self, Ask, Cover, Desk, Part};
use super::scan::for_each_chunk;
use super::segment::Segment;
use crate::QueryError;
use crate::query::Query;

/// Bytes that the combinations of one segment may take before they are added
/// to the others.
const MAX_LOCAL_BYTES: usize = 20 * 1024 * 1024;
/// No combination: a document lacks a field.
const NONE: u128 = u128::MAX;
/// Bits of one dimension in a combination.
pub(super) const CODE_BITS: u32 = 32;

/// Why counting ended early.
pub(super) enum Stop {
    /// There are too many values of the dimension at this place.
    TooMany(usize),
    Failed(QueryError),
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Self::Failed(error)
    }
}

impl From<TantivyError> for Stop {
    fn from(error: TantivyError) -> Self {
        Self::Failed(error.into())
    }
}

/// What is counted, and how.
pub(super) struct Asked<'a> {
    pub(super) query: &'a Query,
    /// The question by which ready aggregates are found.
    pub(super) ask: Option<Ask>,
    pub(super) desk: &'a Desk,
    /// Whether the events of a large segment were counted.
    pub(super) missed: AtomicBool,
}

impl Asked<'_> {
    /// Bytes that one of the two tallies of an aggregation may take.
    fn max_bytes(&self) -> usize {
        self.desk.options.tally_bytes
    }

    /// Bytes that both may take once they are one.
    fn max_joined_bytes(&self) -> usize {
        self.max_bytes() / 5 * 8
    }

    /// Notes that the events of a segment are counted.
    pub(super) fn scans(&self, segment: &Segment) {
        if self.desk.scanned(segment) {
            self.missed.store(true, Ordering::Relaxed);
        }
    }
}

/// How often each combination occurs.
pub(super) struct Tally {
    pub(super) dimensions: Vec<Dimension>,
    counts: Counts,
    /// The only combinations of the first dimensions that count, and how many
    /// dimensions follow those.
    only: Option<(Arc<HashSet<u128>>, usize)>,
}

enum Counts {
    /// By code.
    Single(Vec<u64>),
    /// By codes, the first dimension in the highest bits.
    Joint(HashMap<u128, u64>),
}

/// One combination, and how often it occurs.
pub(super) type Counted = (u128, u64);

pub(super) fn joined(codes: impl Iterator<Item = u32>) -> u128 {
    codes.fold(0, |key, code| key << CODE_BITS | u128::from(code))
}

/// The code of a dimension in a combination, where so many dimensions follow.
pub(super) fn part_of(key: u128, following: usize) -> u32 {
    (key >> (CODE_BITS as usize * following)) as u32
}

/// A combination without its last dimensions, and those.
pub(super) fn divided(key: u128, following: usize) -> (u128, u128) {
    let bits = CODE_BITS as usize * following;
    (key >> bits, key & ((1 << bits) - 1))
}

fn add(counts: &mut Vec<u64>, code: u32, count: u64) {
    if code == ABSENT {
        return;
    }
    let place = code as usize;
    if place >= counts.len() {
        counts.resize(place + 1, 0);
    }
    if let Some(slot) = counts.get_mut(place) {
        *slot += count;
    }
}

impl Tally {
    pub(super) fn new(
        dimensions: Vec<Dimension>,
        only: Option<(Arc<HashSet<u128>>, usize)>,
    ) -> Self {
        let counts = match dimensions.len() {
            0 | 1 => Counts::Single(Vec::new()),
            _ => Counts::Joint(HashMap::default()),
        };
        Self { dimensions, counts, only }
    }

    /// Counts the matching documents of a segment: from its ready aggregates as
    /// far as there are some, else one by one.
    pub(super) fn read(&mut self, asked: &Asked<'_>, segment: &Arc<Segment>) -> Result<(), Stop> {
        let mut times = self.dimensions.iter().filter_map(|dimension| match dimension.source {
            Source::Time(buckets) => Some(buckets),
            Source::Field(_) => None,
        });
        let buckets = times.next();
        if buckets == Some(None) {
            return Ok(());
        }
        let range = asked.query.range;
        let found = asked
            .ask
            .as_ref()
            .and_then(|ask| ready::cover(ask, range, buckets.flatten(), segment, asked.desk));
        match found {
            Some(Cover::Nothing) => return Ok(()),
            Some(Cover::Part(part)) => {
                if self.take(&part, segment)? {
                    asked.desk.answered();
                    for edge in &part.edges {
                        let query = Query { range: *edge, filter: asked.query.filter.clone() };
                        self.scan(asked, &query, segment)?;
                    }
                    return self.checked(asked);
                }
                part.damaged(segment);
                asked.scans(segment);
            }
            Some(Cover::Narrow) => {}
            None => asked.scans(segment),
        }
        self.scan(asked, asked.query, segment)?;
        self.checked(asked)
    }

    /// Counts the matching documents of a segment one by one.
    pub(super) fn scan(
        &mut self,
        asked: &Asked<'_>,
        query: &Query,
        segment: &Arc<Segment>,
    ) -> Result<(), Stop> {
        let ready = Ready::query(query, segment)?;
        if matches!(ready, Ready::None) {
            return Ok(());
        }
        for dimension in &mut self.dimensions {
            dimension.enter(segment)?;
        }
        match (&mut self.counts, self.dimensions.as_mut_slice()) {
            (Counts::Single(counts), [dimension]) => single(dimension, counts, &ready, segment),
            (Counts::Single(_), _) => Ok(()),
            (Counts::Joint(_), _) => self.joint(asked, &ready, segment),
        }
    }

    /// Takes over what a file says of a segment; `false` where it is damaged.
    fn take(&mut self, part: &Part, segment: &Arc<Segment>) -> Result<bool, Stop> {
        for dimension in &mut self.dimensions {
            dimension.enter(segment)?;
        }
        let Some(counted) = self.counted_in(part, segment) else { return Ok(false) };
        let Some(local) = self.local_codes(part, &counted) else { return Ok(false) };
        match (&mut self.counts, self.dimensions.as_mut_slice()) {
            (Counts::Single(counts), [dimension]) => {
                let local = local.into_iter().zip(counted);
                let (codes, counted): (Vec<u64>, Vec<u64>) =
                    local.filter_map(|(code, counted)| Some((code? as u64, counted.count))).unzip();
                let codes = match dimension.ordinals(segment)? {
                    Some(_) => dimension.resolve(segment, &codes)?,
                    None => codes.into_iter().map(|code| code as u32).collect(),
                };
                codes.into_iter().zip(counted).for_each(|(code, count)| add(counts, code, count));
                Ok(true)
            }
            (Counts::Single(_), _) => Ok(true),
            (Counts::Joint(_), _) => {
                let local = local.into_iter().zip(counted);
                let local = local.filter_map(|(key, counted)| Some((key?, counted.count)));
                self.settle(local.collect(), segment)?;
                Ok(true)
            }
        }
    }

    /// The counts of a file by bucket and code; `None` where it is damaged.
    fn counted_in(&self, part: &Part, segment: &Segment) -> Option<Vec<InFile>> {
        let section = part.section()?;
        let wanted = self.wanted(&section);
        let wanted = wanted.as_deref();
        let time = self.dimensions.iter().find_map(|dimension| match dimension.source {
            Source::Time(buckets) => buckets,
            Source::Field(_) => None,
        });
        let one = |bucket: u32| {
            let counts = part.counts(wanted)?.into_iter().filter(|(_, count)| *count > 0);
            Some(counts.map(|(code, count)| InFile { bucket, code, count }).collect())
        };
        let Some(buckets) = time else { return one(0) };
        if let Some(bucket) = part.bucket(buckets, segment) {
            return buckets.code(bucket).map_or(Some(Vec::new()), one);
        }
        let mut counted = Vec::new();
        part.by_bucket(buckets, wanted, |bucket, code, count| {
            counted.push(InFile { bucket, code, count });
        })?;
        Some(counted)
    }

    /// The only codes of a file that count, ascending, where these are known and few.
    fn wanted(&self, section: &ready::Section<'_>) -> Option<Vec<u32>> {
        let (groups, following) = self.only.as_ref()?;
        let outer = self.dimensions.len() - following;
        let is_time = |dimension: &Dimension| matches!(dimension.source, Source::Time(_));
        let inner = self.dimensions.get(outer..)?;
        if groups.len() > MAX_LOOKUPS || !inner.iter().all(is_time) {
            return None;
        }
        let mut codes = Vec::with_capacity(groups.len());
        for group in groups.iter() {
            let mut key = Some(0u128);
            for (place, field) in section.fields.iter().enumerate() {
                let at = self.place_of(*field)?;
                let dimension = self.dimensions.get(at)?;
                let code = part_of(*group, outer - 1 - at);
                let local = if field.is_text() {
                    dimension.ordinal_of(code)
                } else {
                    section.dictionary(place)?.find(dimension.value_of(code)?)?
                };
                key = key.zip(local).map(|(key, local)| key << CODE_BITS | u128::from(local));
            }
            let code = match (key, section.pairs()) {
                (Some(key), Some(pairs)) => pairs.find(key)?,
                (key, _) => key.map(|key| key as u32),
            };
            codes.extend(code);
        }
        codes.sort_unstable();
        Some(codes)
    }

    fn place_of(&self, field: crate::query::Field) -> Option<usize> {
        let is_it = |dimension: &Dimension| matches!(dimension.source, Source::Field(other) if other == field);
        self.dimensions.iter().position(is_it)
    }

    /// The combinations, by codes that hold in the segment, of what a file says;
    /// inside `None` where it does not count.
    fn local_codes(&mut self, part: &Part, counted: &[InFile]) -> Option<Vec<Option<u128>>> {
        let section = part.section()?;
        let mut codes: Vec<u32> = counted.iter().map(|counted| counted.code).collect();
        codes.sort_unstable();
        codes.dedup();
        let pairs = match section.pairs() {
            Some(pairs) => Some(read_many(pairs, &codes)?),
            None => None,
        };
        // By place in the list of codes: what each dimension makes of it.
        let mut columns: Vec<Option<Vec<u32>>> = self.dimensions.iter().map(|_| None).collect();
        for (place, field) in section.fields.iter().enumerate() {
            let at = self.place_of(*field)?;
            let own: Vec<u32> = match &pairs {
                None => codes.clone(),
                Some(pairs) if place == 0 => {
                    pairs.iter().map(|pair| (pair >> CODE_BITS) as u32).collect()
                }
                Some(pairs) => pairs.iter().map(|pair| *pair as u32).collect(),
            };
            let dimension = self.dimensions.get_mut(at)?;
            let local = if field.is_text() {
                own.into_iter().map(|ordinal| dimension.of_ordinal(ordinal)).collect()
            } else {
                let values = read_many(section.dictionary(place)?, &own)?;
                values.into_iter().map(|value| dimension.of_value(value)).collect()
            };
            *columns.get_mut(at)? = Some(local);
        }
        let key = |counted: &InFile| {
            let place = codes.binary_search(&counted.code).ok()?;
            columns.iter().try_fold(0u128, |key, column| {
                let code = match column {
                    Some(column) => *column.get(place)?,
                    None => counted.bucket,
                };
                (code != ABSENT).then_some(key << CODE_BITS | u128::from(code))
            })
        };
        Some(counted.iter().map(key).collect())
    }

    /// About how many bytes it takes.
    fn memory(&self) -> usize {
        let counts = match &self.counts {
            Counts::Single(counts) => counts.capacity() * size_of::<u64>(),
            Counts::Joint(counts) => table_bytes(counts.capacity(), size_of::<Counted>()),
        };
        counts + self.dimensions.iter().map(Dimension::memory).sum::<usize>()
    }

    /// Whether it takes too much memory.
    pub(super) fn checked(&self, asked: &Asked<'_>) -> Result<(), Stop> {
        self.check(asked.max_bytes())
    }

    fn check(&self, most: usize) -> Result<(), Stop> {
        if self.memory() <= most {
            return Ok(());
        }
        let outer =
            self.only.as_ref().map_or(0, |(_, following)| self.dimensions.len() - following);
        let inner = self.dimensions.iter().enumerate().skip(outer);
        let fields = inner.filter(|(_, dimension)| matches!(dimension.source, Source::Field(_)));
        match fields.max_by_key(|(_, dimension)| dimension.len()) {
            Some((place, _)) => Err(Stop::TooMany(place)),
            None => Ok(()),
        }
    }

    /// Counts only a share of the values of one dimension.
    pub(super) fn shared(&mut self, place: usize, share: Share) {
        if let Some(dimension) = self.dimensions.get_mut(place) {
            dimension.shared(share);
        }
    }

    /// Adds what another counted.
    pub(super) fn absorb(&mut self, mut other: Self, asked: &Asked<'_>) -> Result<(), Stop> {
        let size = |tally: &Self| match &tally.counts {
            Counts::Single(counts) => counts.len(),
            Counts::Joint(counts) => counts.len(),
        };
        if size(self) < size(&other) {
            std::mem::swap(self, &mut other);
        }
        let pairs = self.dimensions.iter_mut().zip(&mut other.dimensions);
        let tables: Vec<Vec<u32>> = pairs.map(|(mine, its)| mine.absorb(its)).collect();
        // Codes without a table, such as buckets of time, are the same in both.
        let now = |table: Option<&Vec<u32>>, code: u32| {
            table.and_then(|table| table.get(code as usize)).copied().unwrap_or(code)
        };
        match (&mut self.counts, other.counts) {
            (Counts::Single(counts), Counts::Single(others)) => {
                for (code, count) in (0u32..).zip(others) {
                    add(counts, now(tables.first(), code), count);
                }
            }
            (Counts::Joint(counts), Counts::Joint(others)) => {
                for (key, count) in others {
                    let codes = (0..).zip(&tables).map(|(place, table): (usize, _)| {
                        now(Some(table), part_of(key, tables.len() - 1 - place))
                    });
                    *counts.entry(joined(codes)).or_default() += count;
                }
            }
            _ => {}
        }
        self.check(asked.max_joined_bytes())
    }

    /// Every combination that occurs.
    pub(super) fn counted(&self) -> Vec<Counted> {
        match &self.counts {
            Counts::Single(counts) => {
                let all = (0u128..).zip(counts.iter().copied());
                all.filter(|(_, count)| *count > 0).collect()
            }
            Counts::Joint(counts) => counts.iter().map(|(key, count)| (*key, *count)).collect(),
        }
    }
}

fn single(
    dimension: &mut Dimension,
    counts: &mut Vec<u64>,
    ready: &Ready<'_>,
    segment: &Arc<Segment>,
) -> Result<(), Stop> {
    let Some(terms) = dimension.ordinals(segment)? else {
        return for_each_chunk(ready, segment, |docs| {
            for code in dimension.local(segment, docs)? {
                add(counts, code, 1);
            }
            Ok(())
        });
    };
    let mut local = vec![0u32; terms];
    for_each_chunk(ready, segment, |docs| -> Result<(), Stop> {
        for code in dimension.local(segment, docs)? {
            if let Some(count) = local.get_mut(code as usize) {
                *count += 1;
            }
        }
        Ok(())
    })?;
    let (ordinals, local): (Vec<u64>, Vec<u32>) =
        (0u64..).zip(local).filter(|(_, count)| *count > 0).unzip();
    for (code, count) in dimension.resolve(segment, &ordinals)?.into_iter().zip(local) {
        add(counts, code, count.into());
    }
    Ok(())
}

/// Most groups that are looked up one by one in a file.
const MAX_LOOKUPS: usize = 256;

/// A count in a file.
struct InFile {
    bucket: u32,
    code: u32,
    count: u64,
}

/// The values with these codes.
fn read_many(values: &ready::Values<'_>, codes: &[u32]) -> Option<Vec<u128>> {
    if codes.len() < values.len() / 16 {
        return codes.iter().map(|code| values.get(*code)).collect();
    }
    let all = values.all()?;
    codes.iter().map(|code| all.get(*code as usize).copied()).collect()
}

impl Tally {
    fn joint(
        &mut self,
        asked: &Asked<'_>,
        ready: &Ready<'_>,
        segment: &Arc<Segment>,
    ) -> Result<(), Stop> {
        let mut local: HashMap<u128, u64> = HashMap::default();
        for_each_chunk(ready, segment, |docs| -> Result<(), Stop> {
            let mut keys = vec![0u128; docs.len()];
            for dimension in &mut self.dimensions {
                for (key, code) in keys.iter_mut().zip(dimension.local(segment, docs)?) {
                    let gone = *key == NONE || code == ABSENT;
                    *key = if gone { NONE } else { *key << CODE_BITS | u128::from(code) };
                }
            }
            for key in keys.into_iter().filter(|key| *key != NONE) {
                *local.entry(key).or_default() += 1;
            }
            if table_bytes(local.capacity(), size_of::<Counted>()) > MAX_LOCAL_BYTES {
                self.settle(local.drain().collect(), segment)?;
                self.checked(asked)?;
            }
            Ok(())
        })?;
        self.settle(local.into_iter().collect(), segment)
    }

    /// Adds combinations by codes that hold in a segment.
    fn settle(&mut self, local: Vec<Counted>, segment: &Arc<Segment>) -> Result<(), Stop> {
        let places = self.dimensions.len();
        let mut tables: Vec<Option<Vec<u32>>> = Vec::with_capacity(places);
        for (place, dimension) in self.dimensions.iter_mut().enumerate() {
            let Some(terms) = dimension.ordinals(segment)? else {
                tables.push(None);
                continue;
            };
            let mut table = vec![ABSENT; terms];
            for (key, _) in &local {
                if let Some(slot) = table.get_mut(part_of(*key, places - 1 - place) as usize) {
                    *slot = 0;
                }
            }
            let hit = (0u64..).zip(&table).filter(|(_, slot)| **slot == 0).map(|(ord, _)| ord);
            let ordinals: Vec<u64> = hit.collect();
            let codes = dimension.resolve(segment, &ordinals)?;
            for (slot, code) in table.iter_mut().filter(|slot| **slot == 0).zip(codes) {
                *slot = code;
            }
            tables.push(Some(table));
        }
        let Counts::Joint(counts) = &mut self.counts else { return Ok(()) };
        for (key, count) in local {
            if let Some((wanted, following)) = &self.only
                && !wanted.contains(&divided(key, *following).0)
            {
                continue;
            }
            let codes = tables.iter().enumerate().map(|(place, table)| {
                let code = part_of(key, places - 1 - place);
                let table = table.as_ref().and_then(|table| table.get(code as usize));
                table.copied().unwrap_or(code)
            });
            *counts.entry(joined(codes)).or_default() += count;
        }
        Ok(())
    }
}
