//! Which ids a day holds: how an event that comes twice is counted once.

use std::collections::HashSet;
use std::sync::Arc;

use fastbloom::BloomFilter;

use super::segment::Segment;

/// Smallest filter, in ids.
const MIN_IDS: usize = 65_536;
/// Share of new ids that cost a scan in vain.
const FALSE_POSITIVES: f64 = 0.000_1;

/// The ids of one day: a filter over all, and those not committed yet.
pub(super) struct DayIds {
    filter: BloomFilter,
    count: usize,
    capacity: usize,
    pub(super) pending: HashSet<u128>,
    /// When it was last used, for dropping the oldest.
    pub(super) used: u64,
}

impl DayIds {
    /// Reads the ids of a day.
    pub(super) fn scan(segments: &[Arc<Segment>], pending: HashSet<u128>) -> Self {
        let stored: usize = segments.iter().map(|segment| segment.docs() as usize).sum();
        let capacity = ((stored + pending.len()) * 2).max(MIN_IDS);
        let filter = BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(capacity);
        let mut ids = Self { filter, count: 0, capacity, pending: HashSet::new(), used: 0 };
        for segment in segments {
            for doc in 0..segment.docs() {
                ids.insert(segment.id(doc));
            }
        }
        for id in &pending {
            ids.insert(*id);
        }
        ids.pending = pending;
        ids
    }

    pub(super) fn insert(&mut self, id: u128) {
        self.filter.insert(&id);
        self.count += 1;
    }

    /// Whether the filter holds more than it was made for.
    pub(super) fn is_full(&self) -> bool {
        self.count > self.capacity
    }

    /// `false` is certain.
    pub(super) fn may_have(&self, id: u128) -> bool {
        self.filter.contains(&id)
    }
}

/// Which of these ids the segments hold.
pub(super) fn stored(segments: &[Arc<Segment>], ids: &HashSet<u128>) -> HashSet<u128> {
    let mut found = HashSet::new();
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
