//! The newest changes, written out once for all agents that wait for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_event::{Change, DecisionChange, Timestamp};

/// Changes that are held; an agent that is further behind is answered from the
/// state database.
pub(crate) const RING_CHANGES: usize = 20_000;
/// Bytes of their text.
const RING_BYTES: usize = 16 * 1024 * 1024;
/// Changes that are closer to each other come one after the other.
const CLOSE: Duration = Duration::from_millis(200);

/// A change as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) seq: u64,
    /// When there is no use in telling of it any more.
    pub(super) until: Option<Timestamp>,
    pub(super) text: Arc<[u8]>,
}

impl Written {
    pub(super) fn new(change: &DecisionChange) -> Self {
        let until = match &change.change {
            Change::Made(made) => Some(made.decision.until()),
            Change::Lifted(_) | Change::Unknown {} => None,
        };
        // Writing to memory can only fail for map keys that are no strings; there are none.
        let text = serde_json::to_vec(change).unwrap_or_default();
        Self { seq: change.seq, until, text: text.into() }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// Everything after this number is here.
    floor: u64,
    last: u64,
    changes: VecDeque<Written>,
    bytes: usize,
    /// When changes came last, and whether others had come shortly before.
    filled: Option<(Instant, bool)>,
}

impl Ring {
    /// Empty: everything up to `head` is in the state.
    pub(super) fn new(head: u64) -> Self {
        Self { floor: head, last: head, changes: VecDeque::new(), bytes: 0, filled: None }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds changes, in their order; the last number.
    pub(super) fn extend(&mut self, changes: impl IntoIterator<Item = DecisionChange>) -> u64 {
        let before = self.last;
        for change in changes {
            if change.seq <= self.last {
                continue;
            }
            let written = Written::new(&change);
            self.last = written.seq;
            self.bytes += written.text.len();
            self.changes.push_back(written);
            while self.changes.len() > RING_CHANGES || self.bytes > RING_BYTES {
                let Some(oldest) = self.changes.pop_front() else { break };
                self.bytes -= oldest.text.len();
                self.floor = oldest.seq;
            }
        }
        if self.last != before {
            let now = Instant::now();
            let close = self.filled.is_some_and(|(at, _)| now.duration_since(at) < CLOSE);
            self.filled = Some((now, close));
        }
        self.last
    }

    /// Whether the last changes came one after the other.
    pub(super) fn is_busy(&self) -> bool {
        self.filled.is_some_and(|(_, close)| close)
    }

    /// Nothing else comes up to this number.
    pub(super) fn reach(&mut self, head: u64) {
        self.last = self.last.max(head);
    }

    /// At most `limit` changes after a number, without what is over; and what to
    /// ask after next. `None` where it is not known that nothing is missing.
    pub(super) fn after(
        &self,
        cursor: u64,
        limit: usize,
        now: Timestamp,
    ) -> Option<(Vec<Written>, u64)> {
        if cursor == self.last {
            return Some((Vec::new(), cursor));
        }
        let at = match self.changes.binary_search_by_key(&cursor, |change| change.seq) {
            Ok(at) => at + 1,
            Err(_) if cursor == self.floor => 0,
            Err(_) => return None,
        };
        let mut found = Vec::new();
        for change in self.changes.range(at..) {
            if change.until.is_some_and(|until| until <= now) {
                continue;
            }
            if found.len() >= limit {
                let cursor = found.last().map_or(cursor, |last: &Written| last.seq);
                return Some((found, cursor));
            }
            found.push(change.clone());
        }
        Some((found, self.last))
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::Lift;

    use super::*;

    fn lift(seq: u64) -> DecisionChange {
        let target = "192.0.2.1".parse().unwrap();
        let lift = Lift { target, by: "a".into(), at: Timestamp::from_millis(0), reason: None };
        DecisionChange { seq, change: Change::Lifted(lift) }
    }

    fn seqs(ring: &Ring, cursor: u64, limit: usize) -> Option<(Vec<u64>, u64)> {
        let (found, next) = ring.after(cursor, limit, Timestamp::from_millis(1))?;
        Some((found.iter().map(|one| one.seq).collect(), next))
    }

    #[test]
    fn only_who_is_known_to_miss_nothing_is_answered() {
        let mut ring = Ring::new(10);
        assert_eq!(seqs(&ring, 10, 5), Some((vec![], 10)));
        assert_eq!(seqs(&ring, 9, 5), None);
        assert_eq!(ring.extend([lift(12), lift(15), lift(15), lift(20)]), 20);
        assert_eq!(seqs(&ring, 10, 5), Some((vec![12, 15, 20], 20)));
        assert_eq!(seqs(&ring, 12, 1), Some((vec![15], 15)));
        assert_eq!(seqs(&ring, 20, 1), Some((vec![], 20)));
        for unknown in [0, 11, 13, 21] {
            assert_eq!(seqs(&ring, unknown, 5), None, "{unknown}");
        }
    }

    #[test]
    fn the_oldest_go_at_the_bound() {
        let mut ring = Ring::new(0);
        ring.extend((1..=RING_CHANGES as u64 + 5).map(lift));
        assert_eq!(ring.changes.len(), RING_CHANGES);
        assert_eq!(seqs(&ring, 4, 1), None);
        assert_eq!(seqs(&ring, 5, 1), Some((vec![6], 6)));
    }
}
