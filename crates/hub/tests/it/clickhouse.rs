//! Hubs whose events are in ClickHouse: any number of them, and servers that go
//! away and come back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;
use crate::engine;
use crate::replicas;

use std::path::Path;
use std::time::{Duration, Instant};

use common::*;
use engine::{Server, free_port};
use palisade_event::Event;
use palisade_hub::{Config, Hub, Status, StoreState};
use palisade_store::query::{Aggregation, Field, Interval};
use palisade_store::{Aggregated, ClickHouseConfig};
use replicas::Cluster;

/// How long a hub may take to notice that a server is back: the longest pause
/// between two attempts, and some more on a busy machine.
const RECOVERY: Duration = Duration::from_secs(120);

async fn open_on(dir: &Path, settings: &ClickHouseConfig) -> Hub {
    let mut config = Config::default();
    config.store.clickhouse = Some(settings.clone());
    Hub::open(dir, &config).await.unwrap()
}

async fn until(hub: &Hub, what: &str, wanted: impl Fn(&Status) -> bool) {
    let began = Instant::now();
    while !wanted(&hub.status()) {
        assert!(began.elapsed() < RECOVERY, "{what}: {:?}", hub.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn all_stored(status: &Status) -> bool {
    status.spool.pending_records == 0 && status.store.state == StoreState::Ok
}

async fn answers(hub: &Hub) -> Vec<Aggregated> {
    let top = Aggregation::Top(vec![Field::SourcePort], 10, None);
    let questions = [
        Aggregation::Count,
        Aggregation::Distinct(Field::Id),
        Aggregation::Histogram(Interval::Millis(3_600_000), Some(Box::new(top.clone()))),
        top,
    ];
    let mut all = Vec::new();
    for question in questions {
        all.push(hub.aggregate(&local(), everything(), question).await.unwrap());
    }
    all
}

fn numbered(numbers: std::ops::Range<u16>) -> Vec<Event> {
    numbers
        .map(|n| {
            let mut event = event(n.into());
            if let Some(end) = &mut event.source {
                end.port = Some(1 + n % 7);
            }
            event
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_on_two_shards_lose_and_double_nothing_while_one_shard_is_away() {
    let ports = [(free_port(), free_port()), (free_port(), free_port())];
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |n: usize| Server::start_in(dirs[n].path(), ports[n], &ports, None);
    let first = start(0);
    let second = start(1);
    let settings = ClickHouseConfig {
        urls: vec![first.url(), second.url()],
        cluster: Some("two".into()),
        ..first.config("palisade")
    };
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let hubs = [open_on(data[0].path(), &settings).await, open_on(data[1].path(), &settings).await];
    // A part of the events goes to both hubs, as an agent that changes over sends them.
    let all = numbered(0..900);
    let part = |from: usize, to: usize| encoded(&all[from..to]);
    let deliveries = [(0, 200, 0), (100, 300, 1), (150, 250, 0)];
    for (from, to, hub) in deliveries {
        deliver(&hubs[hub], &local(), &part(from, to)).await;
    }
    for hub in &hubs {
        until(hub, "before", all_stored).await;
    }
    assert_eq!(answers(&hubs[0]).await[0], Aggregated::Count { count: 300 });

    drop(second);
    // Ingest goes on, and the status says what is wrong and how much waits.
    for (from, to, hub) in [(300, 500, 0), (400, 600, 1), (250, 450, 1)] {
        let receipt = deliver(&hubs[hub], &local(), &part(from, to)).await;
        assert!(receipt.accepted > 0, "{receipt:?}");
    }
    for hub in &hubs {
        until(hub, "away", |status| {
            status.store.state == StoreState::Failed && status.spool.pending_records > 0
        })
        .await;
        let reason = hub.status().store.reason.unwrap();
        assert!(reason.contains("ClickHouse at http://127.0.0.1:"), "{reason}");
    }
    let second = start(1);
    for (from, to, hub) in [(600, 900, 0), (600, 900, 1)] {
        deliver(&hubs[hub], &local(), &part(from, to)).await;
    }
    for hub in &hubs {
        until(hub, "back", all_stored).await;
    }
    let (one, other) = (answers(&hubs[0]).await, answers(&hubs[1]).await);
    assert_eq!(one[0], Aggregated::Count { count: 900 });
    assert_eq!(one[1], Aggregated::Distinct { count: 900, exact: true });
    assert_eq!(one, other);
    for hub in &hubs {
        hub.close().await;
    }
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_starts_without_clickhouse_takes_events_and_stores_them_once_it_is_there() {
    let ports = (free_port(), free_port());
    let settings = ClickHouseConfig {
        urls: vec![format!("http://127.0.0.1:{}", ports.0)],
        database: "late".into(),
        user: "default".into(),
        password_file: None,
        cluster: None,
        replicated: false,
    };
    let data = tempfile::tempdir().unwrap();
    let hub = open_on(data.path(), &settings).await;
    until(&hub, "start", |status| status.store.state == StoreState::Failed).await;
    let receipt = deliver(&hub, &local(), &encoded(&numbered(0..50))).await;
    assert_eq!((receipt.accepted, receipt.duplicate), (50, 0));
    until(&hub, "away", |status| status.spool.pending_records == 50).await;
    let reason = hub.status().store.reason.unwrap();
    assert!(reason.contains(&settings.urls[0]) && reason.contains("does not answer"), "{reason}");
    assert!(hub.search(&local(), everything(), 10, None).await.is_err());
    // A restart in between loses nothing.
    hub.close().await;
    drop(hub);
    let hub = open_on(data.path(), &settings).await;
    let server = Server::start_at(ports, &[ports]);
    until(&hub, "there", all_stored).await;
    assert_eq!(seen(&hub, &local()).await.len(), 50);
    hub.close().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_on_replicas_lose_and_double_nothing_while_one_is_away() {
    let mut cluster = Cluster::start(2, 2);
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // The one hub asks the server first that will be away.
    let hubs = [
        open_on(data[0].path(), &cluster.config("palisade", 1, 1)).await,
        open_on(data[1].path(), &cluster.config("palisade", 0, 0)).await,
    ];
    let all = numbered(0..900);
    let part = |from: usize, to: usize| encoded(&all[from..to]);
    for (from, to, hub) in [(0, 200, 0), (100, 300, 1), (150, 250, 0)] {
        deliver(&hubs[hub], &local(), &part(from, to)).await;
    }
    for hub in &hubs {
        until(hub, "before", all_stored).await;
    }
    assert_eq!(answers(&hubs[0]).await[0], Aggregated::Count { count: 300 });

    cluster.kill(1, 1);
    for (from, to, hub) in [(300, 500, 0), (400, 600, 1), (250, 450, 1)] {
        let receipt = deliver(&hubs[hub], &local(), &part(from, to)).await;
        assert!(receipt.accepted > 0, "{receipt:?}");
    }
    for hub in &hubs {
        // Of two replicas both must have a batch: it waits. What is stored is answered.
        until(hub, "away", |status| status.store.state == StoreState::Failed).await;
        assert!(hub.status().spool.pending_records > 0, "{:?}", hub.status());
        assert_eq!(answers(hub).await[0], Aggregated::Count { count: 300 });
    }
    cluster.start_again(1, 1);
    for (from, to, hub) in [(600, 900, 0), (600, 900, 1)] {
        deliver(&hubs[hub], &local(), &part(from, to)).await;
    }
    for hub in &hubs {
        until(hub, "back", all_stored).await;
    }
    let (one, other) = (answers(&hubs[0]).await, answers(&hubs[1]).await);
    assert_eq!(one[0], Aggregated::Count { count: 900 });
    assert_eq!(one[1], Aggregated::Distinct { count: 900, exact: true });
    assert_eq!(one, other);
    // Each replica has all of its shard, so whichever is left answers everything.
    for hub in &hubs {
        hub.close().await;
    }
    for (shard, left) in [(0, 1), (1, 0)] {
        cluster.kill(shard, 1 - left);
    }
    let reader = tempfile::tempdir().unwrap();
    let hub = open_on(reader.path(), &cluster.config("palisade", 0, 1)).await;
    until(&hub, "left alone", |status| status.store.state == StoreState::Ok).await;
    assert_eq!(answers(&hub).await, one);
    hub.close().await;
}
