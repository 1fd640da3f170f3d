//! Decisions of hubs that share a PostgreSQL, and while it is away.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;
use crate::postgres;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{DEADLINE, deliver, encoded, local, now, settled};
use palisade_event::{
    Decision, DecisionFeed, DecisionType, Event, EventId, ScenarioName, SensorId,
};
use palisade_hub::{AdminError, Ban, Config, DecisionQuery, Hub, Which};
use palisade_store::state::PostgresUrl;
use postgres::Server;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn config(server: &Server) -> Config {
    let mut config = Config::default();
    config.state.postgres = Some(PostgresUrl::new(server.url(&server.database())));
    config.state.connect_timeout_secs = 2;
    config
}

fn decided(n: u128) -> Event {
    let from = now();
    let decision = Decision {
        id: EventId::new(from, n),
        kind: DecisionType::new("ban").unwrap(),
        target: format!("192.0.2.{n}").parse().unwrap(),
        from,
        duration_secs: 3600,
        scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
        reason: "6 failed logins".into(),
        alert: EventId::new(from, n + 1_000),
        evidence: Vec::new(),
        simulated: false,
    };
    decision.to_event(SensorId::new("x").unwrap())
}

async fn ask(hub: &Hub, after: Option<u64>) -> DecisionFeed {
    let page = hub.decision_feed(&local(), after, None, DEADLINE).await.unwrap();
    DecisionFeed::decode(&page.encode()).unwrap()
}

async fn active(hub: &Hub) -> usize {
    let query = DecisionQuery { which: Some(Which::Active(now())), ..Default::default() };
    hub.decisions(&local(), &query, 100).await.map_or(0, |found| found.len())
}

#[tokio::test]
async fn what_one_hub_notes_the_agents_of_the_other_hear_once_and_in_order() {
    let server = blocking(postgres::shared).await;
    let config = config(&server);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = Hub::open(dirs[0].path(), &config).await.unwrap();
    let two = Hub::open(dirs[1].path(), &config).await.unwrap();
    let mut cursor = ask(&two, None).await.cursor;
    let (mut heard, mut last) = (Vec::new(), 0);
    for n in 1..=40_u128 {
        let hub = if n % 3 == 0 { &two } else { &one };
        // Some come to both, as behind a load balancer.
        let event = [decided(n)];
        deliver(hub, &local(), &encoded(&event)).await;
        if n % 5 == 0 {
            deliver(&one, &local(), &encoded(&event)).await;
        }
    }
    while heard.len() < 40 {
        let page = ask(&two, Some(cursor)).await;
        assert!(!page.reset, "{cursor} after {heard:?}");
        for change in &page.changes {
            assert!(change.seq > last);
            last = change.seq;
            heard.push(change.seq);
        }
        cursor = page.cursor;
    }
    assert_eq!((heard.len(), active(&one).await, active(&two).await), (40, 40, 40));
    // The other hub hears of the last a moment later.
    let same = async { while ask(&one, None).await.cursor != cursor {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), same).await.unwrap();
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn while_postgresql_is_away_decisions_wait_and_a_restart_of_the_hub_costs_none() {
    let server = blocking(|| Arc::new(Server::start(&[]))).await;
    let config = config(&server);
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    deliver(&hub, &local(), &encoded(&[decided(1)])).await;
    settled(&hub, 1).await;
    let away = Arc::clone(&server);
    blocking(move || away.stop()).await;
    let events: Vec<Event> = (2..=5).map(decided).collect();
    assert_eq!(deliver(&hub, &local(), &encoded(&events)).await.accepted, 4);
    // They are stored although they cannot be noted, and the spool is free.
    settled(&hub, 5).await;
    let by_hand =
        Ban { target: "192.0.2.9".parse().unwrap(), duration_secs: 60, reason: None, note: None };
    let refused = hub.ban(&local(), by_hand, now()).await;
    assert!(matches!(refused, Err(AdminError::Unavailable(_))), "{refused:?}");
    hub.close().await;
    drop(hub);
    let back = Arc::clone(&server);
    blocking(move || back.run()).await;
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let began = Instant::now();
    while active(&hub).await < 5 {
        assert!(began.elapsed() < DEADLINE, "{} are in force", active(&hub).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hub.close().await;
}
