//! Vulnerabilities from delivery to list and outbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;

use std::path::Path;
use std::time::Instant;

use common::*;
use palisade_event::{Domain, Event, EventKind, Timestamp};
use palisade_hub::{Announcement, Config, CveInfo, Hub, Principal, Scope, Webhook, WebhookKind};

fn config() -> Config {
    let mut config = Config::default();
    config.notify.webhooks.push(Webhook {
        name: "soc".into(),
        url: "http://127.0.0.1:9/".into(),
        secret_file: None,
        kind: WebhookKind::Json,
    });
    config
}

async fn open_told(dir: &Path) -> Hub {
    let began = Instant::now();
    loop {
        match Hub::open(dir, &config()).await {
            Ok(hub) => return hub,
            Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// An exploit of `cve`, so many seconds ago.
fn exploit(cve: &str, n: u128, secs: i64, domain: Domain) -> Event {
    let mut event = event(n);
    event.observed_at = now().plus_millis(-1000 * secs);
    event.kind = EventKind::HttpRequested;
    event.cve = Some(cve.into());
    event.domain = domain;
    event
}

/// The list once it has so many entries.
async fn listed(hub: &Hub, who: &Principal, entries: usize) -> Vec<CveInfo> {
    let began = Instant::now();
    loop {
        let cves = hub.cves(who, now()).await.unwrap();
        if cves.len() >= entries {
            return cves;
        }
        assert!(began.elapsed() < DEADLINE, "{cves:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What is due for the first hook.
async fn due(hub: &Hub, at: Timestamp) -> Option<Announcement> {
    hub.outboxes()[0].take(at).await.unwrap()
}

#[tokio::test]
async fn the_first_event_of_a_vulnerability_is_listed_with_its_count_and_announced_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open_told(dir.path()).await;
    let events = [
        exploit("CVE-2026-24061", 1, 50, Domain::Private),
        exploit("CVE-2026-24061", 2, 10, Domain::Private),
        exploit("CVE-2021-44228", 3, 90, Domain::Community),
        exploit("not a CVE", 4, 90, Domain::Community),
    ];
    deliver(&hub, &local(), &encoded(&events)).await;
    settled(&hub, 4).await;
    let cves = listed(&hub, &local(), 2).await;
    assert_eq!(cves.len(), 2);
    assert_eq!((cves[0].cve.as_str(), cves[0].count), ("CVE-2026-24061", Some(2)));
    assert_eq!(cves[0].first_event, events[0].id, "the earliest of them");
    assert_eq!(cves[0].last_seen, events[1].observed_at);
    assert_eq!(cves[0].first_source, Some("8.8.8.8".parse().unwrap()));

    // Those who see the community alone know nothing of the private one.
    let reader = key(&hub, "reader", &[Scope::Read], Domain::Community).await;
    let seen = hub.cves(&reader, now()).await.unwrap();
    assert_eq!(seen.iter().map(|cve| cve.cve.as_str()).collect::<Vec<_>>(), ["CVE-2021-44228"]);
    assert_eq!(seen[0].count, Some(1));

    let (a, b) = (due(&hub, now()).await.unwrap(), due(&hub, now()).await.unwrap());
    assert_ne!(a.id, b.id);
    assert_eq!(due(&hub, now()).await, None);
    hub.outboxes()[0].heard(&a).await.unwrap();
    hub.close().await;
    drop(hub);

    // Again after a restart: the one that was not heard, and said to be repeated.
    let hub = open_told(dir.path()).await;
    deliver(&hub, &local(), &encoded(&[exploit("CVE-2026-24061", 9, 1, Domain::Private)])).await;
    settled(&hub, 5).await;
    let later = now().plus_millis(61_000);
    let again = due(&hub, later).await.unwrap();
    assert_eq!((&again.id, again.attempt), (&b.id, 2));
    assert_eq!(due(&hub, later).await, None);
    hub.outboxes()[0].failed(&again, None, later).await.unwrap();
    assert_eq!(due(&hub, later.plus_millis(9_999)).await, None);
    assert_eq!(due(&hub, later.plus_millis(10_000)).await.unwrap().attempt, 3);
    hub.close().await;
}

#[tokio::test]
async fn what_was_not_noted_is_found_in_the_store_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open_told(dir.path()).await;
    let events: Vec<Event> =
        (0..300).map(|n| exploit("CVE-2026-24061", n, 400 - n as i64, Domain::Private)).collect();
    deliver(&hub, &local(), &encoded(&events)).await;
    settled(&hub, 300).await;
    listed(&hub, &local(), 1).await;
    hub.close().await;
    drop(hub);

    // As if the process had died before it was written down.
    let state = palisade_store::state::State::open(
        &dir.path().join("hub/state.db"),
        &palisade_store::state::StateConfig::default(),
    )
    .await
    .unwrap();
    assert_eq!(state.forget_cves().await.unwrap(), 1);
    state.close().await;
    std::fs::remove_file(dir.path().join("hub/cves-noted")).unwrap();
    let hub = open_told(dir.path()).await;
    let cves = listed(&hub, &local(), 1).await;
    assert_eq!((cves[0].first_event, cves[0].count), (events[0].id, Some(300)));
    assert_eq!(due(&hub, now().plus_millis(61_000)).await.unwrap().cve.cve, "CVE-2026-24061");
    hub.close().await;
}
