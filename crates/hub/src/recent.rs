//! Ids that came in of late, so that a resent event is recognised without a
//! look into the store. Only ids of durable events are in it.

use std::collections::HashSet;
use std::mem;

use palisade_event::{EventId, Timestamp};

/// Ids of one generation; two are kept. A hash set of so many has room for
/// 65,536 without growing (7/8 of it), about 1.1 MB.
const GENERATION: usize = 57_344;

/// The newest ids, one generation or two.
#[derive(Debug)]
pub(crate) struct Recent {
    young: HashSet<EventId>,
    old: HashSet<EventId>,
    /// No id that carries this time or a later one was ever forgotten.
    horizon: Timestamp,
}

impl Recent {
    /// Knows nothing yet; what has a time before `now` may have come before.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), horizon: now }
    }

    /// Whether the id is one of those.
    pub(crate) fn contains(&self, id: EventId) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }

    /// Whether an id that is not among them may still have come before, so
    /// that the store must be asked. Ids carry the time of the event, so those
    /// of fresh events need no question.
    ///
    /// An event from the future that came in before the start is missed; its
    /// receipt may then say "new", and the store still keeps it once.
    pub(crate) fn may_have_forgotten(&self, id: EventId) -> bool {
        id.timestamp() < self.horizon
    }

    /// Remembers the id of an event that is durable.
    pub(crate) fn insert(&mut self, id: EventId) {
        if self.young.len() >= GENERATION {
            let forgotten = mem::replace(&mut self.old, mem::take(&mut self.young));
            let newest = forgotten.iter().map(|id| id.timestamp()).max();
            self.horizon = self.horizon.max(newest.map_or(self.horizon, |at| at.plus_millis(1)));
        }
        self.young.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(millis: i64, n: u128) -> EventId {
        EventId::new(Timestamp::from_millis(millis), n)
    }

    #[test]
    fn an_id_is_known_or_the_store_is_asked() {
        let start = 1_000_000;
        let mut recent = Recent::new(Timestamp::from_millis(start));
        assert!(recent.may_have_forgotten(id(start - 1, 0)));
        assert!(!recent.may_have_forgotten(id(start, 0)));
        let count = 3 * GENERATION as i64;
        for n in 0..count {
            recent.insert(id(start + n, n as u128));
        }
        for n in 0..count {
            let id = id(start + n, n as u128);
            assert!(recent.contains(id) || recent.may_have_forgotten(id), "{n}");
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        assert!(recent.contains(id(start + count - 1, (count - 1) as u128)));
        assert!(!recent.may_have_forgotten(id(start + count, 0)));
    }
}
