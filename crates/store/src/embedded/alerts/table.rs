//! How many alerts of one segment have each value, in each unit of time.

use std::ops::Range;

use tantivy::TantivyError;

use super::super::dimension::{ABSENT, firsts};
use super::super::quick::HashMap;
use super::super::scan::for_each_chunk;
use super::super::segment::{AnyColumn, Segment};
use super::{Columns, Unit};
use crate::alert::Clock;
use crate::{AlertField, Domains};

/// The alerts with one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Halves of the key, so that an entry takes 24 bytes.
    high: u64,
    low: u64,
    pub(super) code: u32,
    pub(super) count: u32,
}

impl Entry {
    pub(super) fn new(key: u128, code: u32, count: u32) -> Self {
        Self { high: (key >> 64) as u64, low: key as u64, code, count }
    }

    pub(super) fn key(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// The entries of one unit of time and domain, by key.
struct Block {
    number: i64,
    community: bool,
    entries: Range<usize>,
}

/// A table; never changes.
#[derive(Default)]
pub(super) struct Table {
    blocks: Vec<Block>,
    entries: Vec<Entry>,
}

/// Codes for addresses, whose column has none.
#[derive(Default)]
struct Sources {
    codes: HashMap<u128, u32>,
    keys: Vec<u128>,
}

impl Sources {
    fn codes(&mut self, addresses: Vec<Option<u128>>) -> Vec<u32> {
        let mut code = |address| {
            *self.codes.entry(address).or_insert_with(|| {
                self.keys.push(address);
                (self.keys.len() - 1) as u32
            })
        };
        addresses.into_iter().map(|address| address.map_or(ABSENT, &mut code)).collect()
    }

    fn keys_of(&self, codes: &[u32]) -> Vec<u128> {
        codes.iter().filter_map(|code| self.keys.get(*code as usize)).copied().collect()
    }
}

/// Unit of time after the first, code and domain in one number.
fn packed(unit: u32, code: u32, community: bool) -> u128 {
    u128::from(unit) << 40 | u128::from(community) << 32 | u128::from(code)
}

impl Table {
    /// Counts the alerts of a segment.
    pub(super) fn count(
        field: AlertField,
        clock: Clock,
        unit: Unit,
        segment: &Segment,
    ) -> Result<Self, TantivyError> {
        let columns = Columns::open(field, segment)?;
        let AnyColumn::Number(times) = segment.column(clock.field())? else {
            return Ok(Self::default());
        };
        let first = match unit {
            Unit::Whole => 0,
            Unit::Millis(width) => times.min_value().div_euclid(width),
        };
        let mut counts: HashMap<u128, u32> = HashMap::default();
        let mut sources = Sources::default();
        for_each_chunk(&columns.alerts, segment, |docs| {
            let codes = match field {
                AlertField::Source => sources.codes(columns.addresses(docs)?),
                _ => columns.codes(docs)?,
            };
            let communities = columns.communities(docs);
            let times = match unit {
                Unit::Whole => Vec::new(),
                Unit::Millis(_) => firsts(times, docs),
            };
            for (number, (code, community)) in codes.into_iter().zip(communities).enumerate() {
                if code == ABSENT && !columns.counts_unknown() {
                    continue;
                }
                let place = match unit {
                    Unit::Whole => 0,
                    Unit::Millis(width) => {
                        let Some(at) = times.get(number).copied().flatten() else { continue };
                        u32::try_from(at.div_euclid(width) - first).unwrap_or(u32::MAX)
                    }
                };
                *counts.entry(packed(place, code, community)).or_insert(0) += 1;
            }
            Ok::<_, TantivyError>(())
        })?;
        let mut codes: Vec<u32> = counts.keys().map(|packed| *packed as u32).collect();
        codes.sort_unstable();
        codes.dedup();
        let keys = match field {
            AlertField::Source => sources.keys_of(&codes),
            _ => columns.keys(&codes)?,
        };
        let key = |code: u32| {
            let place = codes.binary_search(&code).ok();
            place.and_then(|place| keys.get(place)).copied().unwrap_or(super::columns::UNKNOWN)
        };
        let mut all: Vec<(u64, Entry)> = counts
            .into_iter()
            .map(|(packed, count)| {
                let code = packed as u32;
                ((packed >> 32) as u64, Entry::new(key(code), code, count))
            })
            .collect();
        all.sort_unstable_by_key(|(block, entry)| (*block, entry.key()));
        let mut table = Self { blocks: Vec::new(), entries: Vec::with_capacity(all.len()) };
        for same in all.chunk_by(|a, b| a.0 == b.0) {
            let start = table.entries.len();
            table.entries.extend(same.iter().map(|(_, entry)| *entry));
            let Some((block, _)) = same.first() else { continue };
            table.blocks.push(Block {
                number: first + (block >> 8) as i64,
                community: block & 1 == 1,
                entries: start..table.entries.len(),
            });
        }
        Ok(table)
    }

    /// Calls `each` with the entries of each unit, ascending by key.
    pub(super) fn for_each_unit(&self, domains: Domains, mut each: impl FnMut(i64, &[Entry])) {
        for block in &self.blocks {
            let counts = match domains {
                Domains::Both => true,
                Domains::Community => block.community,
                Domains::Private => !block.community,
            };
            if counts {
                each(block.number, self.entries.get(block.entries.clone()).unwrap_or_default());
            }
        }
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.entries.capacity() * size_of::<Entry>()
    }
}
