//! Counts of the combinations of one to four dimensions: counted within a
//! segment by local codes, then added up by codes that hold everywhere.

use std::cmp::Reverse;
use std::sync::Arc;

use super::dimension::{ABSENT, Dimension};
use super::filter::{Ready, for_each_chunk};
use super::quick::{HashMap, HashSet};
use super::segment::Segment;
use crate::query::Query;
use crate::{Key, QueryError};

/// Most different groups of an answer while it is counted.
const MAX_COUNTED: usize = 4_000_000;
/// No combination: a document lacks a field.
const NONE: u128 = u128::MAX;
/// Bits of one dimension in a combination.
const CODE_BITS: u32 = 32;

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
pub(super) fn part(key: u128, following: usize) -> u32 {
    (key >> (CODE_BITS as usize * following)) as u32
}

/// A combination without its last dimensions, and those.
pub(super) fn divided(key: u128, following: usize) -> (u128, u128) {
    let bits = CODE_BITS as usize * following;
    (key >> bits, key & ((1 << bits) - 1))
}

fn too_many(groups: usize) -> Result<(), QueryError> {
    if groups <= MAX_COUNTED {
        return Ok(());
    }
    let reason = format!("there are more than {MAX_COUNTED} groups; use a shorter time range");
    Err(QueryError::Unsupported(reason))
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

    /// Counts the matching documents of a segment.
    pub(super) fn read(&mut self, query: &Query, segment: &Arc<Segment>) -> Result<(), QueryError> {
        let ready = Ready::query(query, segment)?;
        if matches!(ready, Ready::None) {
            return Ok(());
        }
        for dimension in &mut self.dimensions {
            dimension.enter(segment)?;
        }
        match (&mut self.counts, self.dimensions.as_mut_slice()) {
            (Counts::Single(counts), [dimension]) => single(dimension, counts, &ready, segment)?,
            (Counts::Single(_), _) => {}
            (Counts::Joint(counts), dimensions) => {
                joint(dimensions, counts, self.only.as_ref(), &ready, segment)?;
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), QueryError> {
        too_many(self.dimensions.iter().map(Dimension::len).max().unwrap_or(0))?;
        match &self.counts {
            Counts::Single(_) => Ok(()),
            Counts::Joint(counts) => too_many(counts.len()),
        }
    }

    /// Adds what another counted.
    pub(super) fn absorb(&mut self, mut other: Self) -> Result<(), QueryError> {
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
                        now(Some(table), part(key, tables.len() - 1 - place))
                    });
                    *counts.entry(joined(codes)).or_default() += count;
                }
            }
            _ => {}
        }
        self.check()
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
) -> Result<(), QueryError> {
    let Some(terms) = dimension.ordinals(segment)? else {
        return for_each_chunk(ready, segment, |docs| {
            for code in dimension.local(segment, docs)? {
                add(counts, code, 1);
            }
            Ok(())
        });
    };
    let mut local = vec![0u32; terms];
    for_each_chunk(ready, segment, |docs| -> Result<(), QueryError> {
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

fn joint(
    dimensions: &mut [Dimension],
    counts: &mut HashMap<u128, u64>,
    only: Option<&(Arc<HashSet<u128>>, usize)>,
    ready: &Ready<'_>,
    segment: &Arc<Segment>,
) -> Result<(), QueryError> {
    let mut local: HashMap<u128, u64> = HashMap::default();
    for_each_chunk(ready, segment, |docs| -> Result<(), QueryError> {
        let mut keys = vec![0u128; docs.len()];
        for dimension in dimensions.iter_mut() {
            for (key, code) in keys.iter_mut().zip(dimension.local(segment, docs)?) {
                let gone = *key == NONE || code == ABSENT;
                *key = if gone { NONE } else { *key << CODE_BITS | u128::from(code) };
            }
        }
        for key in keys.into_iter().filter(|key| *key != NONE) {
            *local.entry(key).or_default() += 1;
        }
        Ok(())
    })?;
    let places = dimensions.len();
    let mut tables: Vec<Option<Vec<u32>>> = Vec::with_capacity(places);
    for (place, dimension) in dimensions.iter_mut().enumerate() {
        let Some(terms) = dimension.ordinals(segment)? else {
            tables.push(None);
            continue;
        };
        let mut table = vec![ABSENT; terms];
        for key in local.keys() {
            if let Some(slot) = table.get_mut(part(*key, places - 1 - place) as usize) {
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
    for (key, count) in local {
        if let Some((wanted, following)) = only
            && !wanted.contains(&divided(key, *following).0)
        {
            continue;
        }
        let codes = tables.iter().enumerate().map(|(place, table)| {
            let code = part(key, places - 1 - place);
            let table = table.as_ref().and_then(|table| table.get(code as usize));
            table.copied().unwrap_or(code)
        });
        *counts.entry(joined(codes)).or_default() += count;
    }
    Ok(())
}

/// One group of a top.
pub(super) struct Ranked {
    pub(super) keys: Vec<Key>,
    pub(super) code: u128,
    pub(super) count: u64,
}

/// The `most` largest counts: those above the least of them, which are surely
/// listed, and those that tie with it.
fn largest(mut counted: Vec<Counted>, most: usize) -> (Vec<Counted>, Vec<Counted>) {
    if counted.len() <= most {
        return (counted, Vec::new());
    }
    let last = most.saturating_sub(1);
    counted.select_nth_unstable_by_key(last, |group| Reverse(group.1));
    let least = counted.get(last).map_or(0, |group| group.1);
    counted.retain(|group| group.1 >= least);
    counted.into_iter().partition(|group| group.1 > least)
}

/// The `most` frequent combinations, ties by key, and how many events the
/// others had.
pub(super) fn top(
    dimensions: &[Dimension],
    counted: Vec<Counted>,
    most: usize,
) -> Result<(Vec<Ranked>, u64), QueryError> {
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    let (sure, ties) = largest(counted, most);
    let (places, rest) = (sure.len(), most.saturating_sub(sure.len()));
    let mut groups = first_by_key(dimensions, sure, places)?;
    groups.extend(first_by_key(dimensions, ties, rest)?);
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.keys.cmp(&b.keys)));
    let listed: u64 = groups.iter().map(|group| group.count).sum();
    Ok((groups, total - listed))
}

/// The first combinations in the order of their keys.
fn first_by_key(
    dimensions: &[Dimension],
    counted: Vec<Counted>,
    most: usize,
) -> Result<Vec<Ranked>, QueryError> {
    let Some((first, following)) = dimensions.split_first() else { return Ok(Vec::new()) };
    if following.is_empty() {
        // There may be millions of ties: no allocation for each.
        let counts: HashMap<u128, u64> = counted.into_iter().collect();
        let ranked = |(key, code): (Key, u32)| {
            let code = u128::from(code);
            Ranked { keys: vec![key], code, count: counts.get(&code).copied().unwrap_or(0) }
        };
        let found = first.smallest(counts.keys().map(|code| *code as u32), most)?;
        return Ok(found.into_iter().map(ranked).collect());
    }
    let mut by_first: HashMap<u32, Vec<Counted>> = HashMap::default();
    for (key, count) in counted {
        let rest = divided(key, following.len()).1;
        by_first.entry(part(key, following.len())).or_default().push((rest, count));
    }
    let mut found = Vec::new();
    for (key, code) in first.smallest(by_first.keys().copied(), most)? {
        let left = most - found.len();
        if left == 0 {
            break;
        }
        let inside = by_first.remove(&code).unwrap_or_default();
        let above = u128::from(code) << (CODE_BITS as usize * following.len());
        for mut group in first_by_key(following, inside, left)? {
            group.keys.insert(0, key.clone());
            group.code |= above;
            found.push(group);
        }
    }
    Ok(found)
}
