//! What the tests of the hub share: hubs in temporary directories, events.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::Path;
use std::time::Duration;

use palisade_event::{Domain, Endpoint, Event, EventId, EventKind, SensorId, Timestamp, wire};
use palisade_hub::{Config, Hub, Principal, Scope};
use palisade_store::query::Query;

/// How long a test waits for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

pub(crate) fn local() -> Principal {
    Principal::local(None)
}

pub(crate) async fn open(dir: &Path) -> Hub {
    Hub::open(dir, &Config::default()).await.unwrap()
}

/// Opens it again after a drop without close, once the dropped one let go.
pub(crate) async fn reopen(dir: &Path) -> Hub {
    let began = std::time::Instant::now();
    loop {
        match Hub::open(dir, &Config::default()).await {
            Ok(hub) => return hub,
            Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn event(n: u128) -> Event {
    let at = now();
    let sensor = SensorId::new("unit").unwrap();
    let mut event = Event::new(EventId::new(at, n), EventKind::ConnectionOpened, at, sensor);
    event.source = Some(Endpoint::address("8.8.8.8".parse().unwrap()));
    event
}

pub(crate) fn encoded(events: &[Event]) -> Vec<Vec<u8>> {
    events.iter().map(wire::encode_event).collect()
}

pub(crate) async fn deliver(hub: &Hub, who: &Principal, records: &[Vec<u8>]) -> wire::Receipt {
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    hub.accept(who, None, &records).await.unwrap()
}

pub(crate) fn everything() -> Query {
    Query::parse("", now()).unwrap()
}

pub(crate) async fn seen(hub: &Hub, who: &Principal) -> Vec<Event> {
    hub.search(who, everything(), 1000, None).await.unwrap().events
}

/// Waits until queries see so many events, and nothing waits any more.
pub(crate) async fn settled(hub: &Hub, events: usize) -> Vec<Event> {
    let began = std::time::Instant::now();
    loop {
        let found = seen(hub, &local()).await;
        if found.len() >= events && hub.status().spool.pending_records == 0 {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "{} of {events}: {:?}", found.len(), hub.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn key(hub: &Hub, name: &str, scopes: &[Scope], domain: Domain) -> Principal {
    let name = SensorId::new(name).unwrap();
    let new = hub.add_key(&local(), name, scopes, domain, now()).await.unwrap();
    hub.key(&new.key, now()).await.unwrap().unwrap()
}
