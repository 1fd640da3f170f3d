//! Which ids a day holds: how an event that comes twice is counted once.
//!
//! A filter a day says of nearly every new id that it is new. What it does not
//! clear is looked for among the ids that are not committed yet, then in the
//! segments. Filters are a cache: one that was dropped is made again from the
//! segments when its day is written to.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use palisade_event::Day;

use super::segment::Segment;

/// Ids that the first part of a filter is made for; each further part is four
/// times as large.
const FIRST_IDS: usize = 32_768;
/// Bits of a filter an id. With seven set in one cache line, about one new id
/// in 5,000 costs a look into the segments in vain.
const BITS_PER_ID: usize = 24;
/// Bits of one cache line.
const BLOCK_BITS: usize = 512;
const BITS_SET: u32 = 7;
/// Bytes that filters of days without uncommitted events may take together.
const MAX_FILTER_BYTES: usize = 48 * 1024 * 1024;
/// Bytes of a filter that is kept while nothing comes: five million events.
const KEPT_FILTER_BYTES: usize = 16 * 1024 * 1024;

/// A set of ids; never forgets one (uncommitted ids aside).
pub(super) type Ids = HashSet<u128, RandomState>;

/// One part of a filter: a Bloom filter whose bits for one id lie together.
struct Part {
    blocks: Vec<[u64; BLOCK_BITS / 64]>,
    room: usize,
}

impl Part {
    fn new(ids: usize) -> Self {
        let blocks = (ids * BITS_PER_ID).div_ceil(BLOCK_BITS);
        Self { blocks: vec![[0; BLOCK_BITS / 64]; blocks], room: ids }
    }

    fn block(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
    }

    /// The bits of an id in its block, nine bits of the hash for each.
    fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        (0..BITS_SET).map(move |turn| {
            let bit = (mixed >> (turn * 9)) & (BLOCK_BITS as u64 - 1);
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn insert(&mut self, hash: u64) {
        let at = self.block(hash);
        let Some(block) = self.blocks.get_mut(at) else { return };
        for (word, bit) in Self::bits(hash) {
            if let Some(word) = block.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        self.blocks.get(self.block(hash)).is_some_and(|block| {
            Self::bits(hash).all(|(word, bit)| block.get(word).is_some_and(|word| word & bit != 0))
        })
    }
}

/// The ids of one day: a filter over all, and those not committed yet.
pub(super) struct DayIds {
    hasher: RandomState,
    parts: Vec<Part>,
    pending: Vec<u128>,
    /// When it was last used, for dropping the oldest.
    used: u64,
}

impl DayIds {
    /// Reads the ids of a day.
    fn scan(segments: &[Arc<Segment>]) -> Self {
        let stored: usize = segments.iter().map(|segment| segment.docs() as usize).sum();
        let mut ids = Self {
            hasher: RandomState::default(),
            parts: vec![Part::new((stored + stored / 4).max(FIRST_IDS))],
            pending: Vec::new(),
            used: 0,
        };
        for segment in segments {
            segment.for_each_id(|id| ids.insert(id));
        }
        ids
    }

    fn insert(&mut self, id: u128) {
        let hash = self.hasher.hash_one(id);
        if self.parts.last().is_none_or(|part| part.room == 0) {
            let last = self.parts.last().map_or(FIRST_IDS, |part| part.blocks.len());
            self.parts.push(Part::new(last * (BLOCK_BITS / BITS_PER_ID) * 4));
        }
        if let Some(part) = self.parts.last_mut() {
            part.room -= 1;
            part.insert(hash);
        }
    }

    /// `false` is certain.
    fn may_have(&self, id: u128) -> bool {
        let hash = self.hasher.hash_one(id);
        self.parts.iter().any(|part| part.may_have(hash))
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.blocks.len() * BLOCK_BITS / 8).sum()
    }
}

/// What [`Known::take`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was not there.
    New,
    /// It is stored, and nobody was told.
    Untold,
}

/// The ids of all days that were written to of late.
#[derive(Default)]
pub(super) struct Known {
    days: HashMap<Day, DayIds>,
    clock: u64,
    /// The clock when unused days were last looked for.
    looked: u64,
    /// Ids that a commit stored before it failed at another day, and whether
    /// they were told to be new since: whoever appended them went back, and
    /// will append them again.
    untold: HashMap<u128, bool, RandomState>,
}

impl Known {
    /// Takes ids of a day for appended, but for those that are there already;
    /// calls `each` with what is to be done with each.
    pub(super) fn take(
        &mut self,
        day: Day,
        segments: &[Arc<Segment>],
        wanted: &[u128],
        mut each: impl FnMut(usize, Taken),
    ) {
        let (mut pending, stored, candidates) = self.look_up(day, segments, wanted);
        let Some(ids) = self.days.get_mut(&day) else { return };
        let first = ids.pending.len();
        for (number, id) in wanted.iter().enumerate() {
            let here = if candidates.contains(id) {
                stored.contains(id) || !pending.insert(*id)
            } else {
                // A filter that clears it before may know it from this call.
                ids.may_have(*id) && ids.pending.iter().skip(first).any(|other| other == id)
            };
            if !here {
                ids.insert(*id);
                ids.pending.push(*id);
                each(number, Taken::New);
            } else if let Some(told) = self.untold.get_mut(id).filter(|told| !**told) {
                *told = true;
                each(number, Taken::Untold);
            }
        }
    }

    /// Which of these ids of a day are there: stored or appended.
    pub(super) fn present(&mut self, day: Day, segments: &[Arc<Segment>], wanted: &[u128]) -> Ids {
        let (pending, mut present, _) = self.look_up(day, segments, wanted);
        present.extend(pending);
        present
    }

    /// Those that are pending, those that are stored, and all that are not
    /// certainly neither.
    fn look_up(&mut self, day: Day, segments: &[Arc<Segment>], wanted: &[u128]) -> (Ids, Ids, Ids) {
        self.clock += 1;
        let used = self.clock;
        let ids = self.days.entry(day).or_insert_with(|| DayIds::scan(segments));
        ids.used = used;
        let candidates: Ids = wanted.iter().copied().filter(|id| ids.may_have(*id)).collect();
        if candidates.is_empty() {
            return Default::default();
        }
        let among = |id: &&u128| candidates.contains(*id);
        let pending: Ids = ids.pending.iter().filter(among).copied().collect();
        (pending, stored(segments, &candidates), candidates)
    }

    /// A day was committed, others may follow.
    pub(super) fn committed(&mut self, day: Day) {
        if let Some(ids) = self.days.get_mut(&day) {
            let stored = std::mem::take(&mut ids.pending);
            self.untold.extend(stored.into_iter().map(|id| (id, true)));
        }
    }

    /// Every day was committed.
    pub(super) fn all_committed(&mut self) {
        self.untold = HashMap::default();
        self.drop_oldest();
    }

    /// Nothing is appended any more. The filters may know ids that were never
    /// stored: that costs a look and nothing else.
    pub(super) fn roll_back(&mut self) {
        for ids in self.days.values_mut() {
            ids.pending = Vec::new();
        }
        self.untold.values_mut().for_each(|told| *told = false);
    }

    /// Forgets a day.
    pub(super) fn forget(&mut self, day: Day) {
        self.days.remove(&day);
    }

    /// Forgets days that were not used since the last call, but for the newest
    /// where it is small: a quiet sensor shall not cost a scan with each event.
    pub(super) fn forget_unused(&mut self) {
        let looked = std::mem::replace(&mut self.looked, self.clock);
        let newest = self.days.iter().max_by_key(|(_, ids)| ids.used).map(|(day, _)| *day);
        self.days.retain(|day, ids| {
            let is_small = Some(*day) == newest && ids.bytes() <= KEPT_FILTER_BYTES;
            ids.used > looked || !ids.pending.is_empty() || is_small
        });
    }

    fn drop_oldest(&mut self) {
        let mut bytes: usize = self.days.values().map(DayIds::bytes).sum();
        while bytes > MAX_FILTER_BYTES && self.days.len() > 1 {
            let clean = self.days.iter().filter(|(_, ids)| ids.pending.is_empty());
            let Some((day, ids)) = clean.min_by_key(|(_, ids)| ids.used) else { return };
            bytes -= ids.bytes();
            let day = *day;
            self.days.remove(&day);
        }
    }
}

/// Which of these ids the segments hold.
fn stored(segments: &[Arc<Segment>], ids: &Ids) -> Ids {
    let mut found = Ids::default();
    let high = |id: &u128| (id >> 64) as u64;
    let (Some(low), Some(top)) = (ids.iter().map(high).min(), ids.iter().map(high).max()) else {
        return found;
    };
    let mut docs = Vec::new();
    for segment in segments {
        if top < segment.id_high.min_value() || segment.id_high.max_value() < low {
            continue;
        }
        docs.clear();
        segment.id_high.get_docids_for_value_range(low..=top, 0..segment.docs(), &mut docs);
        found.extend(docs.iter().map(|doc| segment.id(*doc)).filter(|id| ids.contains(id)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> u128 {
        (1_795_132_800_000_u128 + u128::from(n) / 50) << 80 | u128::from(n) << 3
    }

    #[test]
    fn a_filter_knows_every_id_and_few_others() {
        let mut ids = DayIds::scan(&[]);
        let count = 300_000;
        for n in 0..count {
            ids.insert(id(n));
        }
        assert!((0..count).all(|n| ids.may_have(id(n))));
        let wrong = (count..2 * count).filter(|n| ids.may_have(id(*n))).count();
        assert!(wrong < count as usize / 1_000, "{wrong} of {count}");
        assert!(ids.bytes() < 24 * count as usize / 8 * 5, "{}", ids.bytes());
    }
}
