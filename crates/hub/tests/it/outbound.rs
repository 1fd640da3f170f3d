//! Queues of targets: who gets what, in which order, what happens when the far
//! side refuses, is away, or the queue is full.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use crate::common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::*;
use palisade_event::{AttributeValue, Event, EventKind, SensorId, Untrusted};
use palisade_hub::{Config, FeedItem, Hub, LineSource, LogFormat, SendError, Sent, Transport, VIA};
use palisade_store::query::Query;
use tokio_util::sync::CancellationToken;

fn config(target: &str) -> Config {
    serde_json::from_str(&format!("{{\"outbound\":[{target}]}}")).unwrap()
}

const TARGET: &str = r#"{"name":"far","kind":"palisade","query":"kind:connection.opened",
    "url":"http://127.0.0.1:1","key_file":"/k","max_bytes":4194304}"#;

/// A far side that refuses one event for ever and everything a few times.
#[derive(Clone, Default)]
struct Far {
    taken: Arc<Mutex<Vec<Event>>>,
    failures: Arc<Mutex<u32>>,
    poison: Option<u128>,
}

impl Transport for Far {
    fn most_events(&self) -> usize {
        7
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, SendError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(SendError::later("not now"));
        }
        let is_poison = |event: &Event| Some(event.id.as_u128() & 0xffff) == self.poison;
        if events.iter().any(is_poison) {
            return Err(SendError::Refused("it is poison".into()));
        }
        self.taken.lock().unwrap().extend_from_slice(events);
        Ok(Sent { taken: events.len(), left_out: 0 })
    }
}

async fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !until() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_target_gets_what_is_for_it_in_order_and_poison_does_not_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::open(dir.path(), &config(TARGET)).await.unwrap();
    let mut events: Vec<Event> = (1..=40).map(event).collect();
    events[3].kind = EventKind::SessionClosed;
    // What came from there is not sent back.
    events[4].sensor = SensorId::new("far").unwrap();
    deliver(&hub, &local(), &encoded(&events)).await;
    settled(&hub, 40).await;
    assert_eq!(hub.status().outbound[0].pending, 38);

    let far = Far { poison: Some(20), ..Far::default() };
    *far.failures.lock().unwrap() = 1;
    let cancel = CancellationToken::new();
    let forwarder = hub.forwarders().remove(0);
    assert!(hub.forwarders().is_empty(), "a queue has one reader");
    let running = tokio::spawn(forwarder.run(far.clone(), cancel.clone()));
    wait("everything is delivered", || hub.status().outbound[0].pending == 0).await;
    let status = &hub.status().outbound[0];
    assert_eq!((status.sent, status.refused, status.retries, status.dropped), (37, 1, 1, 0));
    assert!(status.error.is_none() && status.last_ok_at.is_some());
    let expected: Vec<_> = events
        .iter()
        .filter(|event| event.kind == EventKind::ConnectionOpened && event.sensor.as_str() != "far")
        .map(|event| event.id)
        .filter(|id| id.as_u128() & 0xffff != 20)
        .collect();
    let taken = far.taken.lock().unwrap().clone();
    assert_eq!(taken.iter().map(|event| event.id).collect::<Vec<_>>(), expected);
    assert!(taken.iter().all(|event| event.attributes.contains_key(VIA)));
    let kept = hub.quarantine(&local(), 10).await.unwrap();
    assert!(kept.records[0].reason.contains("'far' refuses it: it is poison"), "{kept:?}");
    cancel.cancel();
    running.await.unwrap();
    hub.close().await;
}

/// What the reports of losses say, once they say so much in all.
async fn lost(hub: &Hub, total: u64) -> Vec<u64> {
    let began = std::time::Instant::now();
    loop {
        let query = Query::parse("kind:loss.recorded sensor:hub", now()).unwrap();
        let found = hub.search(&local(), query, 100, None).await.unwrap().events;
        let records: Vec<u64> = found
            .iter()
            .map(|event| {
                assert_eq!(event.attributes["outbound"], "far".into());
                match event.attributes["records"] {
                    AttributeValue::Integer(records) => u64::try_from(records).unwrap(),
                    ref other => panic!("{other:?}"),
                }
            })
            .collect();
        if records.iter().sum::<u64>() >= total {
            return records;
        }
        assert!(began.elapsed() < DEADLINE, "{records:?} of {total}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// A small file system, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let done = Command::new("mount").args(options).arg(path).output().ok()?;
        done.status.success().then(|| Self(path.to_owned()))
    }

    fn grow(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_target_whose_disk_is_full_holds_up_nobody_and_its_loss_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&dir.path().join("hub/outbound/far")) else {
        eprintln!("skipped: a small file system cannot be mounted here (that takes root)");
        return;
    };
    let far = TARGET.replace("4194304", "67108864");
    let other = far.replace("\"far\"", "\"other\"");
    let config = config(&format!("{far},{other}"));
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let large = |n: u128| event(n).with("text", Untrusted::new(vec![b'x'; 40_000]));
    for batch in 0..5u128 {
        let events: Vec<Event> = (0..20).map(|n| large(batch * 20 + n)).collect();
        deliver(&hub, &local(), &encoded(&events)).await;
    }
    settled(&hub, 100).await;
    let status = hub.status();
    let [far, other] = &status.outbound[..] else { panic!("two targets") };
    assert_eq!((other.pending, other.unqueued), (100, 0));
    assert!(far.unqueued > 0 && far.dropped == 0, "{far:?}");
    assert_eq!(far.pending + far.unqueued, 100);
    assert_eq!(hub.status().store.state, palisade_hub::StoreState::Ok);
    // While it fails nothing is told: more may be lost.
    hub.report_outbound_losses().await.unwrap();
    settled(&hub, 100).await;
    let metric = format!("palisade_outbound_unqueued_events{{target=\"far\"}} {}", far.unqueued);
    assert!(hub.metrics_text().contains(&metric));

    small.grow();
    deliver(&hub, &local(), &encoded(&[large(100)])).await;
    settled(&hub, 101).await;
    assert_eq!(hub.status().outbound[0].pending, far.pending + 1);
    for _ in 0..2 {
        hub.report_outbound_losses().await.unwrap();
    }
    assert_eq!(lost(&hub, far.unqueued).await, [far.unqueued]);
    hub.close().await;
    drop(hub);
    // The account outlives the process, and nothing is told twice.
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    assert_eq!(hub.status().outbound[0].unqueued, far.unqueued);
    hub.report_outbound_losses().await.unwrap();
    settled(&hub, 102).await;
    assert_eq!(lost(&hub, far.unqueued).await, [far.unqueued]);
    hub.close().await;
}

#[tokio::test]
async fn a_full_queue_loses_the_oldest_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::open(dir.path(), &config(TARGET)).await.unwrap();
    for batch in 0..10u128 {
        let events: Vec<Event> = (0..20)
            .map(|n| {
                let text = Untrusted::new(vec![b'x'; 40_000]);
                event(batch * 20 + n).with("text", text)
            })
            .collect();
        deliver(&hub, &local(), &encoded(&events)).await;
    }
    settled(&hub, 200).await;
    let status = hub.status().outbound[0].clone();
    assert!(status.dropped > 0 && status.bytes <= status.max_bytes, "{status:?}");
    assert_eq!(status.dropped + status.pending, 200);
    // And in events, each loss once.
    for _ in 0..2 {
        hub.report_outbound_losses().await.unwrap();
    }
    assert_eq!(lost(&hub, status.dropped).await, [status.dropped]);
    hub.close().await;
    drop(hub);

    // The count survives, and the newest are still there.
    let hub = Hub::open(dir.path(), &config(TARGET)).await.unwrap();
    assert_eq!(hub.status().outbound[0].dropped, status.dropped);
    hub.report_outbound_losses().await.unwrap();
    let far = Far::default();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(hub.forwarders().remove(0).run(far.clone(), cancel.clone()));
    wait("the rest is delivered", || hub.status().outbound[0].pending == 0).await;
    let newest = far.taken.lock().unwrap().last().unwrap().id;
    assert_eq!(newest.as_u128() & 0xffff, 199);
    assert_eq!(lost(&hub, status.dropped).await, [status.dropped]);
    cancel.cancel();
    running.await.unwrap();
    hub.close().await;
}

#[tokio::test]
async fn a_feed_has_every_stored_event_and_lines_become_events() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let mut feed = hub.feed();
    let source = LineSource {
        format: LogFormat::Endlessh,
        sensor: SensorId::new("trap").unwrap(),
        zone: jiff::tz::TimeZone::UTC,
    };
    let at = now();
    let body = format!(
        "{at} ACCEPT host=198.51.100.9 port=5 fd=4 n=1/9\n\n{at} TOTALS connects=1\nrubbish\n"
    );
    let receipt = hub.accept_lines(&local(), None, &source, body.clone().into()).await.unwrap();
    assert_eq!((receipt.lines, receipt.accepted, receipt.irrelevant), (3, 1, 1));
    assert_eq!(receipt.quarantined[0].index, 3);
    assert!(receipt.quarantined[0].reason.contains("endlessh"), "{receipt:?}");
    let again = hub.accept_lines(&local(), None, &source, body.into()).await.unwrap();
    assert_eq!((again.accepted, again.duplicate), (0, 1));
    let Some(FeedItem::Events(events)) = feed.next().await else { panic!("no events") };
    assert_eq!((events.len(), events[0].sensor.as_str()), (1, "trap"));
    settled(&hub, 1).await;
    hub.close().await;
    assert!(feed.next().await.is_none());
}
