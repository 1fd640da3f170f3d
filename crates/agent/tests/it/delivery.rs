//! From the pipeline through the spool to a hub that is not always well.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use crate::support;

use palisade_agent::SpoolConfig;
use palisade_event::{AttributeValue, Event, EventId, EventKind, SensorId, Timestamp};
use support::{MemoryHub, Mood, Running, append, append_text, config, file_source, until};

fn honeypot_event(number: u64, size: usize) -> Event {
    let at = Timestamp::from_millis(1_795_000_000_000);
    let id = EventId::new(at, u128::from(number));
    let event = Event::new(id, EventKind::DataReceived, at, SensorId::new("test").unwrap());
    event.with("body", palisade_event::Untrusted::new(vec![b'x'; size]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_was_away_gets_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    let hub = MemoryHub::new(Mood::Away);
    append(&log, 0..5_000);
    let running =
        Running::start(&config(vec![file_source(&log)]), &folder.path().join("data"), hub.clone())
            .await;
    let metrics = running.agent.metrics();
    until(|| metrics.events.get() == 5_000 && hub.calls() > 0, || "the spool".into()).await;
    hub.set(Mood::TakesSilently);
    until(|| !hub.users().is_empty(), || "a batch without an answer".into()).await;
    hub.set(Mood::Takes);
    hub.has_each_once(5_000).await;
    assert!(metrics.duplicate.get() > 0);
    until(|| metrics.forwarded.get() == 5_000, || "all receipts".into()).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_in_the_spool_while_the_hub_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Away);
    let data = folder.path().join("data");
    let running = Running::start(&config(Vec::new()), &data, hub.clone()).await;
    for number in 0..10 {
        running.events.send(honeypot_event(number, 10)).await.unwrap();
    }
    running.end().await;
    hub.set(Mood::Takes);
    let running = Running::start(&config(Vec::new()), &data, hub.clone()).await;
    until(|| hub.of(EventKind::DataReceived).len() == 10, || "ten events".into()).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_delivers_what_is_queued() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let running =
        Running::start(&config(Vec::new()), &folder.path().join("data"), hub.clone()).await;
    for number in 0..3_000 {
        running.events.send(honeypot_event(number, 10)).await.unwrap();
    }
    running.end().await;
    assert_eq!(hub.of(EventKind::DataReceived).len(), 3_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_are_too_large_are_halved() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::AtMost(3));
    let log = folder.path().join("auth.log");
    append(&log, 0..100);
    let running =
        Running::start(&config(vec![file_source(&log)]), &folder.path().join("data"), hub.clone())
            .await;
    hub.has_each_once(100).await;
    assert_eq!(running.agent.metrics().dead_letters.get(), 0);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_that_the_hub_refuses_does_not_hold_up_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Picky);
    let log = folder.path().join("auth.log");
    append(&log, 0..50);
    append_text(&log, b"2026-11-20T20:07:14Z web01 sshd[1]: Failed password for poison from 203.0.113.9 port 1 ssh2\n");
    append(&log, 50..100);
    let data = folder.path().join("data");
    let running = Running::start(&config(vec![file_source(&log)]), &data, hub.clone()).await;
    hub.has_each_once(100).await;
    assert_eq!(running.agent.metrics().dead_letters.get(), 1);
    let refused = std::fs::read_to_string(data.join("agent/refused.ndjson")).unwrap();
    assert_eq!(refused.lines().count(), 1);
    assert!(refused.contains("poison"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_spool_drops_is_told_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut config = config(Vec::new());
    config.spool = SpoolConfig { max_bytes: 8 * 1024 * 1024, segment_bytes: 1024 * 1024 };
    let hub = MemoryHub::new(Mood::Away);
    let total = 400;
    let running = Running::start(&config, &data, hub.clone()).await;
    for number in 0..total / 2 {
        running.events.send(honeypot_event(number, 60_000)).await.unwrap();
    }
    running.end().await;
    let running = Running::start(&config, &data, hub.clone()).await;
    for number in total / 2..total {
        running.events.send(honeypot_event(number, 60_000)).await.unwrap();
    }
    let metrics = running.agent.metrics();
    until(|| metrics.events.get() >= total / 2, || "the spool".into()).await;
    hub.set(Mood::Takes);
    let told = || -> i64 {
        hub.of(EventKind::LossRecorded)
            .iter()
            .map(|event| match event.attributes["records"] {
                AttributeValue::Integer(records) => records,
                ref other => panic!("{other}"),
            })
            .sum()
    };
    let here = || hub.of(EventKind::DataReceived).len() as i64;
    let covered = || here() + told() >= total as i64;
    until(covered, || format!("{} here, {} told", here(), told())).await;
    running.end().await;
    let reports = hub.of(EventKind::LossRecorded).len();
    // A new start, and more deliveries, tell nothing twice.
    let running = Running::start(&config, &data, hub.clone()).await;
    for number in total..total + 100 {
        running.events.send(honeypot_event(number, 10)).await.unwrap();
    }
    running.end().await;
    assert_eq!(hub.of(EventKind::LossRecorded).len(), reports);
    let missing = total as i64 + 100 - here();
    assert!(missing > 0, "the spool never reached its bound");
    // What was on its way to the hub when it was dropped may have arrived.
    assert!(told() >= missing && told() <= missing + 20, "{missing} missing, {} told", told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_message_is_as_many_events() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let log = folder.path().join("auth.log");
    append_text(&log, b"2026-11-20T20:07:14Z web01 sshd[1]: message repeated 5 times: [ Failed password for root from 203.0.113.9 port 1 ssh2]\n");
    let running =
        Running::start(&config(vec![file_source(&log)]), &folder.path().join("data"), hub.clone())
            .await;
    until(|| hub.users().get("root") == Some(&5), || "five events".into()).await;
    running.end().await;
}
