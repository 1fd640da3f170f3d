//! Events that ingest has understood and that the writer will want next.
//!
//! What is in the spool counts. But the writer mostly stores an event moments
//! after it was spooled, by the same process, and decoding it once more would be
//! a tenth of its cost. So ingest leaves what it has decoded here, and the writer
//! looks here before it decodes a record. Whatever is not here, such as after a
//! start or while the writer is behind, is decoded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_event::{Event, EventId, wire};

/// Most events that are held.
const MAX_EVENTS: usize = 32_768;
/// Most bytes of their encoded form.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What is on its way from ingest to the writer.
#[derive(Default)]
pub(crate) struct Handover {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_id: HashMap<EventId, (Box<Event>, usize)>,
    bytes: usize,
}

impl Held {
    fn take(&mut self, id: EventId) -> Option<Box<Event>> {
        let (event, bytes) = self.by_id.remove(&id)?;
        self.bytes -= bytes;
        Some(event)
    }
}

/// Events that are held for records which are being spooled. Dropped before
/// [`Handed::spooled`], they are forgotten: maybe their records never come.
pub(crate) struct Handed<'a> {
    handover: &'a Handover,
    ids: Vec<EventId>,
}

impl Handed<'_> {
    /// The records are in the spool.
    pub(crate) fn spooled(mut self) {
        self.ids.clear();
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            let mut held = self.handover.held();
            self.ids.iter().for_each(|id| drop(held.take(*id)));
        }
    }
}

impl Handover {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds events with their encoded forms, as far as there is room. One that a
    /// record could not be decoded to is not held: the writer must say so.
    pub(crate) fn hold(
        &self,
        events: impl IntoIterator<Item = Box<Event>>,
        encoded: &[Vec<u8>],
    ) -> Handed<'_> {
        let mut ids = Vec::with_capacity(encoded.len());
        let mut held = self.held();
        for (event, record) in events.into_iter().zip(encoded) {
            let is_full = held.by_id.len() >= MAX_EVENTS || held.bytes + record.len() > MAX_BYTES;
            if is_full {
                break;
            }
            // Of two deliveries of an id at once, the writer decodes both.
            if event.validate().is_err() || held.take(event.id).is_some() {
                continue;
            }
            ids.push(event.id);
            held.bytes += record.len();
            held.by_id.insert(event.id, (event, record.len()));
        }
        Handed { handover: self, ids }
    }

    /// The events of records that are held, each once.
    pub(crate) fn take(&self, records: &[Vec<u8>]) -> Vec<Option<Box<Event>>> {
        let mut held = self.held();
        records.iter().map(|record| held.take(wire::id_of(record)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventKind, SensorId, Timestamp};

    use super::*;

    fn event(n: u128) -> Box<Event> {
        let at = Timestamp::from_millis(1_000);
        let sensor = SensorId::new("unit").unwrap();
        Box::new(Event::new(EventId::new(at, n), EventKind::ConnectionOpened, at, sensor))
    }

    fn encoded(events: &[Box<Event>]) -> Vec<Vec<u8>> {
        events.iter().map(|event| wire::encode_event(event)).collect()
    }

    #[test]
    fn what_is_held_is_taken_once_and_by_its_record() {
        let handover = Handover::default();
        let events = vec![event(1), event(2)];
        let records = encoded(&events);
        handover.hold(events.clone(), &records).spooled();
        let more = encoded(&[event(2), event(3)]);
        assert_eq!(handover.take(&more), [Some(event(2)), None]);
        assert_eq!(handover.take(&records), [Some(event(1)), None]);
        assert_eq!(handover.held().bytes, 0);
    }

    #[test]
    fn what_was_not_spooled_is_forgotten() {
        let handover = Handover::default();
        let events = vec![event(1)];
        let records = encoded(&events);
        drop(handover.hold(events, &records));
        assert_eq!(handover.take(&records), [None]);
    }

    #[test]
    fn there_is_a_bound_in_events_and_in_bytes() {
        let handover = Handover::default();
        let events: Vec<_> = (0..MAX_EVENTS as u128 + 7).map(event).collect();
        let records = encoded(&events);
        handover.hold(events, &records).spooled();
        let found = handover.take(&records).into_iter().flatten().count();
        assert_eq!(found, MAX_EVENTS);
        let large: Vec<Vec<u8>> = (0..40).map(|_| vec![b' '; 1 << 20]).collect();
        handover.hold((0..40).map(event), &large).spooled();
        assert_eq!(handover.held().by_id.len(), 16);
    }

    #[test]
    fn of_two_with_one_id_neither_is_held() {
        let handover = Handover::default();
        let records = encoded(&[event(1)]);
        handover.hold(vec![event(1)], &records).spooled();
        handover.hold(vec![event(1)], &records).spooled();
        assert_eq!(handover.take(&records), [None]);
    }
}
