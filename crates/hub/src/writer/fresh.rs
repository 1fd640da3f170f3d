//! What was new since the last commit, until subscribers may hear of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use palisade_event::{Event, PayloadHash, SensorId, Timestamp};

use crate::cve::{self, Sightings};
use crate::hosts;
use crate::live::LIVE_EVENTS;

/// New events that are kept for live subscribers until the commit; of more they
/// hear the newest, and how many were left out.
const SHOWN_EVENTS: usize = 2 * LIVE_EVENTS;
/// Events of one commit that tell of machines; what is beyond is in the store, and
/// the next of the same machine says it again.
const MAX_HOST_EVENTS: usize = 50_000;

/// Events that were new.
#[derive(Default)]
pub(super) struct Fresh {
    pub(super) newest: VecDeque<Arc<Event>>,
    pub(super) left_out: u64,
    pub(super) by_sensor: HashMap<SensorId, u64>,
    pub(super) cves: Sightings,
    /// What machines tell of themselves, within the bound of what waits for it.
    pub(super) hosts: Vec<Arc<Event>>,
    /// Events by the payload that they brought, and when the last one came.
    pub(super) by_payload: HashMap<PayloadHash, (u64, Timestamp)>,
}

impl Fresh {
    pub(super) fn add(&mut self, event: Arc<Event>) {
        cve::sight(&mut self.cves, &event);
        if hosts::read::tells(event.kind) && self.hosts.len() < MAX_HOST_EVENTS {
            self.hosts.push(Arc::clone(&event));
        }
        if let Some(payload) = event.payload {
            let at = event.received_at.unwrap_or(event.observed_at);
            self.see(payload, 1, at);
        }
        match self.by_sensor.get_mut(&event.sensor) {
            Some(count) => *count += 1,
            None => drop(self.by_sensor.insert(event.sensor.clone(), 1)),
        }
        if self.newest.len() >= SHOWN_EVENTS {
            self.newest.pop_front();
            self.left_out += 1;
        }
        self.newest.push_back(event);
    }

    fn see(&mut self, payload: PayloadHash, events: u64, at: Timestamp) {
        let entry = self.by_payload.entry(payload).or_insert((0, at));
        entry.0 += events;
        entry.1 = entry.1.max(at);
    }

    pub(super) fn extend(&mut self, later: Self) {
        for (payload, (events, at)) in later.by_payload {
            self.see(payload, events, at);
        }
        for (sensor, count) in later.by_sensor {
            *self.by_sensor.entry(sensor).or_default() += count;
        }
        cve::merge_all(&mut self.cves, later.cves);
        self.hosts.extend(later.hosts);
        self.hosts.truncate(MAX_HOST_EVENTS);
        self.left_out += later.left_out;
        self.newest.extend(later.newest);
        let too_many = self.newest.len().saturating_sub(SHOWN_EVENTS);
        self.newest.drain(..too_many);
        self.left_out += too_many as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_event::{EventId, EventKind};

    fn id(n: u128) -> EventId {
        EventId::new(Timestamp::from_millis(1000), n)
    }

    #[test]
    fn of_more_new_events_than_subscribers_can_take_they_hear_how_many_were_left_out() {
        let mut fresh = Fresh::default();
        let sensor = SensorId::new("unit").unwrap();
        let at = Timestamp::from_millis(1000);
        for n in 0..SHOWN_EVENTS as u128 + 10 {
            let event = Event::new(id(n), EventKind::ConnectionOpened, at, sensor.clone());
            let mut one = Fresh::default();
            one.add(Arc::new(event.clone()));
            if n % 2 == 0 { fresh.extend(one) } else { fresh.add(Arc::new(event)) }
        }
        assert_eq!((fresh.left_out, fresh.newest.len()), (10, SHOWN_EVENTS));
        assert_eq!(fresh.newest[0].id, id(10));
        assert_eq!(fresh.by_sensor[&sensor], SHOWN_EVENTS as u64 + 10);
    }
}
