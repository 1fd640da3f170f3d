//! Which events an alert came from: the newest ids of each source, in one ring.
//!
//! A ring for all instead of a list for each source, so that it costs the same
//! whether ten sources are seen or a million. Looked through only when there is
//! an alert.

use std::net::IpAddr;

use palisade_event::{EventId, MAX_EVIDENCE};

/// Events that are remembered.
pub const EVIDENCE_EVENTS: usize = 16_384;

/// The newest events with their sources.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    ring: Vec<(IpAddr, EventId)>,
    next: usize,
}

impl Evidence {
    /// Remembers an event.
    pub fn note(&mut self, source: IpAddr, id: EventId) {
        if self.ring.len() < EVIDENCE_EVENTS {
            self.ring.push((source, id));
            return;
        }
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = (source, id);
        }
        self.next = (self.next + 1) % EVIDENCE_EVENTS;
    }

    /// The newest events whose source `is` one of those sought, the oldest
    /// first; at most [`MAX_EVIDENCE`].
    #[must_use]
    pub fn of(&self, is: impl Fn(IpAddr) -> bool) -> Vec<EventId> {
        let (newer, older) = self.ring.split_at(self.next.min(self.ring.len()));
        let mut found: Vec<EventId> = newer
            .iter()
            .rev()
            .chain(older.iter().rev())
            .filter(|(source, _)| is(*source))
            .map(|(_, id)| *id)
            .take(MAX_EVIDENCE)
            .collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_of_a_source_are_found_in_their_order() {
        let mut evidence = Evidence::default();
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let id = |n: usize| EventId::from_u128(n as u128);
        for n in 0..EVIDENCE_EVENTS + 100 {
            evidence.note(if n % 5 == 0 { b } else { a }, id(n));
        }
        let found = evidence.of(|source| source == b);
        assert_eq!(found.len(), MAX_EVIDENCE);
        assert!(found.is_sorted());
        let newest = (0..EVIDENCE_EVENTS + 100).rev().find(|n| n % 5 == 0).unwrap();
        assert_eq!(found.last(), Some(&id(newest)));
        assert_eq!(evidence.of(|source| source.is_ipv6()), []);
    }
}
