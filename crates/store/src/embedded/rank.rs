//! The most frequent of what was counted, ties by key, without making the text
//! of more than is listed.

use std::cmp::Reverse;

use super::dimension::{Dimension, Raw};
use super::quick::HashMap;
use super::tally::{CODE_BITS, Counted, divided, part_of};
use crate::{Key, QueryError};

/// One group of a top.
pub(super) struct Ranked {
    pub(super) keys: Vec<Key>,
    /// The same as values of the dimensions.
    pub(super) raw: Vec<Raw>,
    pub(super) count: u64,
}

impl Ranked {
    /// Most first, ties by key.
    pub(super) fn before(&self, other: &Self) -> std::cmp::Ordering {
        other.count.cmp(&self.count).then_with(|| self.keys.cmp(&other.keys))
    }
}

/// A group while it is ranked.
struct Listed {
    keys: Vec<Key>,
    code: u128,
    count: u64,
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
    let listed: u64 = groups.iter().map(|group| group.count).sum();
    let ranked = |group: Listed| {
        let numbered = dimensions.iter().zip(&group.keys).enumerate();
        let raw = numbered.map(|(place, (dimension, key))| {
            dimension.raw(part_of(group.code, dimensions.len() - 1 - place), key)
        });
        Ranked { raw: raw.collect(), keys: group.keys, count: group.count }
    };
    let mut groups: Vec<Ranked> = groups.into_iter().map(ranked).collect();
    groups.sort_by(Ranked::before);
    Ok((groups, total - listed))
}

/// The first combinations in the order of their keys.
fn first_by_key(
    dimensions: &[Dimension],
    counted: Vec<Counted>,
    most: usize,
) -> Result<Vec<Listed>, QueryError> {
    let Some((first, following)) = dimensions.split_first() else { return Ok(Vec::new()) };
    if following.is_empty() {
        // There may be millions of ties: no allocation for each.
        let counts: HashMap<u128, u64> = counted.into_iter().collect();
        let ranked = |(key, code): (Key, u32)| {
            let code = u128::from(code);
            Listed { keys: vec![key], code, count: counts.get(&code).copied().unwrap_or(0) }
        };
        let found = first.smallest(counts.keys().map(|code| *code as u32), most)?;
        return Ok(found.into_iter().map(ranked).collect());
    }
    let mut by_first: HashMap<u32, Vec<Counted>> = HashMap::default();
    for (key, count) in counted {
        let rest = divided(key, following.len()).1;
        by_first.entry(part_of(key, following.len())).or_default().push((rest, count));
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
