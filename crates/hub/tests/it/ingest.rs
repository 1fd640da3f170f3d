//! From delivery to query: counted once, attributed, durable, visible to whom
//! it concerns.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;

use std::time::Duration;

use common::*;
use palisade_event::{CountryCode, Domain, Endpoint, SensorId};
use palisade_hub::{Config, Hub, IngestError, LiveItem, Scope, SensorKind, StoreState};

#[tokio::test]
async fn resent_events_count_once_in_a_batch_across_batches_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let mut records = encoded(&[event(1), event(2)]);
    records.push(records[0].clone());
    let receipt = deliver(&hub, &local(), &records).await;
    assert_eq!((receipt.accepted, receipt.duplicate), (2, 1));
    let receipt = deliver(&hub, &local(), &records).await;
    assert_eq!((receipt.accepted, receipt.duplicate), (0, 3));
    assert_eq!(settled(&hub, 2).await.len(), 2);
    hub.close().await;
    drop(hub);

    let hub = open(dir.path()).await;
    let receipt = deliver(&hub, &local(), &records).await;
    assert_eq!((receipt.accepted, receipt.duplicate), (0, 3));
    deliver(&hub, &local(), &encoded(&[event(3)])).await;
    assert_eq!(settled(&hub, 3).await.len(), 3);
    hub.close().await;
}

#[tokio::test]
async fn what_is_not_understood_is_kept_and_the_rest_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let mut future = event(2);
    future.observed_at = now().plus_millis(25 * 60 * 60 * 1000);
    let mut expired = event(3);
    expired.observed_at = now().plus_millis(-401 * 24 * 60 * 60 * 1000);
    let mut records = encoded(&[event(1), future, expired]);
    records.insert(1, b"\x1b[31m no event".to_vec());
    for _ in 0..2 {
        let receipt = deliver(&hub, &local(), &records).await;
        let places: Vec<u32> = receipt.quarantined.iter().map(|one| one.index).collect();
        assert_eq!(places, [1, 2, 3]);
        assert!(receipt.quarantined[1].reason.contains("24 h ahead"), "{receipt:?}");
        assert!(receipt.quarantined[2].reason.contains("retention"), "{receipt:?}");
    }
    assert_eq!(settled(&hub, 1).await.len(), 1);
    hub.close().await;
    drop(hub);

    let hub = open(dir.path()).await;
    let listed = hub.quarantine(&local(), 10).await.unwrap();
    assert_eq!((listed.total, listed.records.len()), (3, 3));
    assert_eq!(listed.records[2].preview, "\\u{1b}[31m no event");
    assert!(listed.records[0].id > listed.records[1].id);
    hub.close().await;
}

#[tokio::test]
async fn the_credential_says_who_delivered_and_who_may_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let mine = key(&hub, "web-1", &[Scope::Ingest, Scope::Read], Domain::Private).await;
    let theirs = key(&hub, "hive-1", &[Scope::Ingest, Scope::Read], Domain::Community).await;
    let mut lying = event(1);
    (lying.domain, lying.sensor) = (Domain::Community, SensorId::new("hive-1").unwrap());
    lying.source_geo = Some(Box::default());
    let private = deliver(&hub, &mine, &encoded(std::slice::from_ref(&lying))).await;
    let community = deliver(&hub, &theirs, &encoded(&[event(2)])).await;
    assert_eq!((private.accepted, community.accepted), (1, 1));
    settled(&hub, 2).await;

    let found = hub.get(&mine, lying.id).await.unwrap().unwrap();
    assert_eq!((found.sensor.as_str(), found.domain), ("web-1", Domain::Private));
    assert!(found.received_at.is_some());
    assert_eq!(hub.get(&theirs, lying.id).await.unwrap(), None);
    let shown = seen(&hub, &theirs).await;
    assert_eq!(shown.iter().map(|event| event.sensor.as_str()).collect::<Vec<_>>(), ["hive-1"]);
    assert_eq!(seen(&hub, &mine).await.len(), 2);
    let names = |list: Vec<palisade_hub::SensorStatus>| {
        list.into_iter().map(|one| one.sensor.to_string()).collect::<Vec<_>>()
    };
    let all = hub.sensors(&mine, now()).await.unwrap();
    assert_eq!((all[0].events_24h, all[0].events_total, all[0].kind), (1, 1, SensorKind::Agent));
    assert_eq!(names(all), ["hive-1", "web-1"]);
    assert_eq!(names(hub.sensors(&theirs, now()).await.unwrap()), ["hive-1"]);
    hub.close().await;
}

#[tokio::test]
async fn stored_events_have_their_country() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let events: Vec<_> = ["8.8.8.8", "10.0.0.1", "2001:200::1"]
        .into_iter()
        .enumerate()
        .map(|(n, address)| {
            let mut event = event(n as u128);
            event.source = Some(Endpoint::address(address.parse().unwrap()));
            event
        })
        .collect();
    deliver(&hub, &local(), &encoded(&events)).await;
    settled(&hub, 3).await;
    for (event, code) in events.iter().zip(["US", "PIR", "JP"]) {
        let found = hub.get(&local(), event.id).await.unwrap().unwrap();
        let country = found.source_geo.unwrap().country;
        assert_eq!(country, Some(CountryCode::new(code).unwrap()));
    }
    hub.close().await;
}

#[tokio::test]
async fn an_abrupt_end_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut sent = 0;
    for round in 0..4u128 {
        let hub = reopen(dir.path()).await;
        for batch in 0..5u128 {
            let events: Vec<_> = (0..20).map(|n| event(round * 10_000 + batch * 100 + n)).collect();
            sent += deliver(&hub, &local(), &encoded(&events)).await.accepted as usize;
        }
        drop(hub);
    }
    assert_eq!(sent, 400);
    let hub = reopen(dir.path()).await;
    assert_eq!(settled(&hub, sent).await.len(), sent);
    assert_eq!(hub.status().store.state, StoreState::Ok);
    hub.close().await;
}

#[tokio::test]
async fn a_live_subscriber_gets_each_event_once_and_only_its_domain() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let theirs = key(&hub, "hive-1", &[Scope::Ingest, Scope::Read], Domain::Community).await;
    let ingest_only = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    assert!(hub.live(&ingest_only).is_err());
    let mut all = hub.live(&local()).unwrap();
    let mut community = hub.live(&theirs).unwrap();
    let (private, shared) = (encoded(&[event(1), event(2)]), encoded(&[event(3)]));
    for _ in 0..2 {
        deliver(&hub, &local(), &private).await;
        deliver(&hub, &theirs, &shared).await;
    }
    settled(&hub, 3).await;
    hub.close().await;
    let mut seen = Vec::new();
    while let Some(LiveItem::Event(event)) =
        tokio::time::timeout(DEADLINE, all.next()).await.unwrap()
    {
        seen.push(event.id);
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (3, 3));
    let Some(LiveItem::Event(first)) = community.next().await else { panic!("nothing came") };
    assert_eq!(first.sensor.as_str(), "hive-1");
    assert!(community.next().await.is_none());
}

#[tokio::test]
async fn a_full_spool_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    (config.spool.max_bytes, config.spool.segment_bytes) = (256 * 1024, 32 * 1024);
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let (mut accepted, mut refused) = (0, false);
    for batch in 0..2000u128 {
        let events: Vec<_> = (0..100)
            .map(|n| {
                let mut event = event(batch * 1000 + n);
                event.request = Some("x".repeat(200).into());
                event
            })
            .collect();
        let records = encoded(&events);
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        match hub.accept(&local(), None, &slices).await {
            Ok(receipt) => accepted += receipt.accepted as u64,
            Err(IngestError::Busy { retry_after_secs, .. }) => {
                assert!(retry_after_secs > 0);
                refused = true;
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused && hub.status().ingest.refused == 1);
    let began = std::time::Instant::now();
    let again = encoded(&[event(u128::from(u64::MAX))]);
    while hub.accept(&local(), None, &[&again[0]]).await.is_err() {
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    settled(&hub, 1).await;
    assert_eq!(hub.status().store.events, accepted + 1);
    hub.close().await;
}

#[tokio::test]
async fn a_data_directory_is_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let error = Hub::open(dir.path(), &Config::default()).await.err().unwrap().to_string();
    assert!(error.contains("is in use by process"), "{error}");
    hub.close().await;
    drop(hub);
    open(dir.path()).await.close().await;
}

#[tokio::test]
async fn a_closed_hub_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.close().await;
    let record = encoded(&[event(1)]);
    let refused = hub.accept(&local(), None, &[&record[0]]).await;
    assert!(matches!(refused, Err(IngestError::Busy { .. })), "{refused:?}");
}

#[tokio::test]
async fn figures_reach_status_and_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.mark_demo();
    let records = encoded(&[event(1)]);
    deliver(&hub, &local(), &records).await;
    deliver(&hub, &local(), &records).await;
    deliver(&hub, &local(), &[b"{}".to_vec()]).await;
    settled(&hub, 1).await;
    let status = hub.status();
    let ingest = status.ingest;
    assert_eq!((ingest.accepted, ingest.duplicate, ingest.quarantined), (1, 1, 1));
    assert!(status.demo && status.store.events == 1 && status.quarantine.total == 1);
    let text = hub.metrics_text();
    for line in [
        "palisade_events_accepted_total 1",
        "palisade_events_duplicate_total 1",
        "palisade_events_quarantined_total{reason=\"malformed\"} 1",
        "palisade_events_stored_total 1",
        "palisade_spool_pending_records 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    hub.close().await;
}
