//! Scenarios of the hub: what no machine sees alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{DEADLINE, deliver, encoded, key, local, now, open, reopen, settled};
use palisade_event::{
    Change, Credentials, Decision, DecisionFeed, DecisionOrigin, DecisionType, Domain, Endpoint,
    Event, EventId, EventKind, Outcome, ScenarioName, SensorId, Untrusted,
};
use palisade_hub::{
    DEMO_SENSOR, DecisionQuery, DecisionRecord, DetectionSetup, Hub, NewAllowEntry, Principal,
    Scope,
};
use palisade_rules::scenario::{Runs, shipped_for};
use palisade_rules::{Allowlist, Detector, Engine, EngineOptions, Policy, PolicyConfig};
use palisade_store::query::Query;

fn detector(runs: Runs, max_tracked: usize) -> Detector {
    let options = EngineOptions { max_tracked, ..EngineOptions::default() };
    let engine = Engine::new(shipped_for(runs).unwrap(), options).unwrap();
    Detector::new(engine, Allowlist::default(), Policy::new(PolicyConfig::default()))
}

fn correlate(hub: &Hub, max_tracked: usize) {
    hub.set_up_detection(DetectionSetup {
        detector: detector(Runs::Agent, max_tracked),
        hub: Some(detector(Runs::Hub, max_tracked)),
        disabled: Vec::new(),
        here: None,
    });
}

async fn correlating(dir: &Path) -> Hub {
    let hub = open(dir).await;
    correlate(&hub, 100_000);
    hub
}

/// A failed login, as the agent of a machine tells of it.
fn failed(n: u128, from: &str) -> Event {
    let mut event = common::event(n);
    event.kind = EventKind::AuthAttempted;
    event.source = Some(Endpoint::address(from.parse().unwrap()));
    event.credentials = Some(Credentials {
        username: Some(Untrusted::from("root")),
        outcome: Some(Outcome::Failed),
        ..Credentials::default()
    });
    event
}

async fn agents(hub: &Hub, count: usize) -> Vec<Principal> {
    let mut all = Vec::new();
    for n in 0..count {
        all.push(key(hub, &format!("web-{n}"), &[Scope::Ingest], Domain::Private).await);
    }
    all
}

async fn listed(hub: &Hub) -> Vec<DecisionRecord> {
    hub.decisions(&local(), &DecisionQuery::default(), 100).await.unwrap()
}

async fn until_listed(hub: &Hub, count: usize) -> Vec<DecisionRecord> {
    let began = Instant::now();
    loop {
        let found = listed(hub).await;
        if found.len() >= count {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "{found:?}\n{}", metrics(hub));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn metrics(hub: &Hub) -> String {
    let text = hub.metrics_text();
    let lines = text.lines().filter(|line| line.starts_with("palisade_correlation"));
    lines.collect::<Vec<_>>().join("\n")
}

fn metric(hub: &Hub, name: &str) -> u64 {
    let text = hub.metrics_text();
    let name = format!("palisade_correlation_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |number| number.parse().unwrap())
}

/// Waits until so many events were counted or left out, whatever followed.
async fn until(hub: &Hub, name: &str, count: u64) {
    let began = Instant::now();
    while metric(hub, name) < count {
        assert!(began.elapsed() < DEADLINE, "{name} {count}\n{}", metrics(hub));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn found(hub: &Hub, text: &str) -> usize {
    let query = Query::parse(text, now()).unwrap();
    hub.search(&local(), query, 1000, None).await.unwrap().events.len()
}

#[tokio::test]
async fn failures_spread_over_machines_are_one_ban_of_the_hub_that_all_hear() {
    let dir = tempfile::tempdir().unwrap();
    let hub = correlating(dir.path()).await;
    let agents = agents(&hub, 5).await;
    let mut waiting = Vec::new();
    for agent in &agents {
        let start = hub.decision_feed(agent, None, None, Duration::ZERO).await.unwrap().cursor;
        let (hub, agent) = (hub.clone(), agent.clone());
        waiting.push(tokio::spawn(async move {
            let page = hub.decision_feed(&agent, Some(start), None, DEADLINE).await.unwrap();
            DecisionFeed::decode(&page.encode()).unwrap()
        }));
    }
    // One each: no machine has any reason to act.
    for (n, agent) in agents.iter().enumerate() {
        deliver(&hub, agent, &encoded(&[failed(n as u128, "198.51.100.7")])).await;
    }
    for page in waiting {
        let page = page.await.unwrap();
        let [Change::Made(made)] = &*page.changes.iter().map(|one| &one.change).collect::<Vec<_>>()
        else {
            panic!("{page:?}")
        };
        assert_eq!(made.origin, DecisionOrigin::Hub);
        assert_eq!(made.decision.target.to_string(), "198.51.100.7");
        assert_eq!(made.decision.scenario.as_str(), "fleet-guessing");
        assert_eq!(made.decision.evidence.len(), 4);
        assert!(made.decision.duration_secs >= 12 * 3600);
    }
    until(&hub, "counted_total", 5).await;
    settled(&hub, 7).await;
    assert_eq!(listed(&hub).await.len(), 1, "the fifth changes nothing");
    assert_eq!(found(&hub, "kind:scenario.triggered sensor:hub").await, 1);
    assert_eq!(found(&hub, "kind:decision.made sensor:hub").await, 1);
    hub.close().await;
}

#[tokio::test]
async fn what_one_machine_sees_is_its_own_affair() {
    let dir = tempfile::tempdir().unwrap();
    let hub = correlating(dir.path()).await;
    let agents = agents(&hub, 3).await;
    let attack: Vec<Event> = (0..50).map(|n| failed(n, "198.51.100.7")).collect();
    deliver(&hub, &agents[0], &encoded(&attack)).await;
    // Two more machines: one below what is too much.
    deliver(&hub, &agents[1], &encoded(&[failed(60, "198.51.100.7")])).await;
    deliver(&hub, &agents[2], &encoded(&[failed(61, "198.51.100.7")])).await;
    until(&hub, "counted_total", 52).await;
    assert_eq!(listed(&hub).await, []);
    hub.close().await;
}

/// With a clean end, and with none.
#[tokio::test]
async fn a_restart_in_the_middle_neither_loses_nor_doubles() {
    for is_clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut hub = correlating(dir.path()).await;
        let agents = agents(&hub, 5).await;
        let events: Vec<Event> = (0..5).map(|n| failed(n, "198.51.100.7")).collect();
        let again = async |hub: Hub| {
            if is_clean {
                hub.close().await;
            }
            drop(hub);
            let hub = reopen(dir.path()).await;
            correlate(&hub, 100_000);
            hub
        };
        for (n, event) in events.iter().enumerate() {
            deliver(&hub, &agents[n], &encoded(std::slice::from_ref(event))).await;
            // The writer may have freed its part of the spool already.
            if n % 2 == 0 {
                settled(&hub, n + 1).await;
            }
            if n == 2 {
                until(&hub, "tracked", 1).await;
                assert_eq!(listed(&hub).await, [], "three are not too many, also if counted again");
            }
            hub = again(hub).await;
            // Delivered once more: it counts once.
            deliver(&hub, &agents[n], &encoded(std::slice::from_ref(event))).await;
            until(&hub, "tracked", 1).await;
            if n == 3 {
                break;
            }
        }
        let made = until_listed(&hub, 1).await;
        assert_eq!(made[0].made.origin, DecisionOrigin::Hub, "clean end: {is_clean}");
        hub = again(hub).await;
        deliver(&hub, &agents[4], &encoded(&events[4..])).await;
        until(&hub, "tracked", 1).await;
        settled(&hub, 7).await;
        let made = listed(&hub).await;
        assert_eq!(made.len(), 1, "clean end: {is_clean}: {made:?}");
        assert_eq!(found(&hub, "kind:scenario.triggered").await, 1, "clean end: {is_clean}");
        hub.close().await;
    }
}

#[tokio::test]
async fn who_is_allowed_is_not_banned() {
    let dir = tempfile::tempdir().unwrap();
    let hub = correlating(dir.path()).await;
    let agents = agents(&hub, 5).await;
    let entry = NewAllowEntry {
        target: "198.51.100.0/24".parse().unwrap(),
        reason: None,
        duration_secs: None,
    };
    hub.allow(&local(), entry, now()).await.unwrap();
    for (n, agent) in agents.iter().enumerate() {
        deliver(&hub, agent, &encoded(&[failed(n as u128, "198.51.100.7")])).await;
    }
    let made = until_listed(&hub, 1).await;
    assert!(made[0].withheld.is_some() && !made[0].is_active(now()), "{made:?}");
    let feed = hub.decision_feed(&agents[0], None, None, Duration::ZERO).await.unwrap();
    assert!(feed.is_empty());
    hub.close().await;
}

#[tokio::test]
async fn two_machines_that_ban_the_same_make_it_longer_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let hub = correlating(dir.path()).await;
    let agents = agents(&hub, 2).await;
    let decided = |n: u128, simulated| {
        let from = now();
        Decision {
            id: EventId::new(from, n),
            kind: DecisionType::new("ban").unwrap(),
            target: "198.51.100.7".parse().unwrap(),
            from,
            duration_secs: 14_400,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: "6 at once".into(),
            alert: EventId::new(from, n + 100),
            evidence: Vec::new(),
            simulated,
        }
        .to_event(SensorId::new("x").unwrap())
    };
    // An agent does not speak for the hub, whatever it says; and counts.
    let first = decided(1, false).with("origin", "hub");
    deliver(&hub, &agents[0], &encoded(&[first, decided(2, false)])).await;
    deliver(&hub, &agents[1], &encoded(&[decided(3, true)])).await;
    until(&hub, "counted_total", 2).await;
    assert_eq!(until_listed(&hub, 3).await.len(), 3, "one machine alone, and a simulation");
    deliver(&hub, &agents[1], &encoded(&[decided(4, false)])).await;
    let all = until_listed(&hub, 5).await;
    let ours: Vec<_> = all.iter().filter(|one| one.made.origin == DecisionOrigin::Hub).collect();
    assert_eq!(ours.len(), 1, "{all:?}");
    assert!(ours[0].made.decision.duration_secs >= 7 * 86_400);
    assert_eq!(ours[0].made.decision.scenario.as_str(), "fleet-repeat-offender");
    hub.close().await;
}

#[tokio::test]
async fn strangers_demonstrations_and_old_news_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let hub = correlating(dir.path()).await;
    let ours = agents(&hub, 5).await;
    for n in 0..5 {
        let name = format!("stranger-{n}");
        let stranger = key(&hub, &name, &[Scope::Ingest], Domain::Community).await;
        deliver(&hub, &stranger, &encoded(&[failed(n, "198.51.100.7")])).await;
    }
    let mut played = failed(10, "198.51.100.7");
    played.sensor = SensorId::new(DEMO_SENSOR).unwrap();
    deliver(&hub, &local(), &encoded(&[played])).await;
    for (n, agent) in ours.iter().enumerate() {
        let mut late = failed(20 + n as u128, "198.51.100.7");
        late.observed_at = late.observed_at.plus_millis(-3_600_000);
        deliver(&hub, agent, &encoded(&[late])).await;
    }
    until(&hub, r#"left_out_total{reason="late"}"#, 5).await;
    assert_eq!((listed(&hub).await, metric(&hub, "counted_total")), (vec![], 0));
    hub.close().await;
}

#[tokio::test]
async fn a_flood_costs_no_more_than_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    correlate(&hub, 1_000);
    let agent = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    for batch in 0..10_u32 {
        let events: Vec<Event> = (0..2_000)
            .map(|n| {
                let n = batch * 2_000 + n;
                let from = std::net::Ipv4Addr::from(0x0b00_0000 + n * 251);
                failed(u128::from(n), &from.to_string())
            })
            .collect();
        deliver(&hub, &agent, &encoded(&events)).await;
    }
    until(&hub, "counted_total", 20_000).await;
    assert!(metric(&hub, "tracked") <= 5_000, "{}", metrics(&hub));
    assert!(metric(&hub, "evicted") > 10_000, "{}", metrics(&hub));
    assert_eq!(metric(&hub, "behind_records"), 0);
    hub.close().await;
}
