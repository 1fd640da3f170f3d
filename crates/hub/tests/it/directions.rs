//! What agents are directed to beside decisions: it reaches who waits, whole and
//! numbered, and nobody who does not know of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::common;

use std::time::Duration;

use common::{DEADLINE, key, local, now, open, reopen};
use palisade_event::{DecisionFeed, DecisionTarget, Domain, EffectReport};
use palisade_hub::{
    Ban, FeedQuestion, HostState, Hub, NewAllowEntry, Principal, Scope, TargetEffect,
};

fn target(text: &str) -> DecisionTarget {
    text.parse().unwrap()
}

fn entry(text: &str, secs: Option<u64>) -> NewAllowEntry {
    NewAllowEntry { target: target(text), reason: Some("office".into()), duration_secs: secs }
}

async fn ask(hub: &Hub, who: &Principal, after: Option<u64>, has: Option<u64>) -> DecisionFeed {
    let asked = FeedQuestion { after, snapshot: None, directions: Some(has) };
    let page = hub.follow_decisions(who, asked, DEADLINE).await.unwrap();
    DecisionFeed::decode(&page.encode()).unwrap()
}

fn spared(page: &DecisionFeed) -> Vec<String> {
    let directions = page.directions.as_ref().unwrap();
    directions.allow.iter().map(|entry| entry.target.to_string()).collect()
}

#[tokio::test]
async fn an_entry_and_its_end_reach_an_agent_that_waits_and_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let agent = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    let first = ask(&hub, &agent, None, None).await;
    assert!(first.reset && spared(&first).is_empty());
    let version = first.directions.unwrap().version;
    // An agent that does not know of directions hears nothing and waits on.
    let older = tokio::spawn({
        let (hub, agent) = (hub.clone(), agent.clone());
        let wait = Duration::from_secs(2);
        async move { hub.decision_feed(&agent, Some(first.cursor), None, wait).await.unwrap() }
    });
    let waiting = tokio::spawn({
        let (hub, agent) = (hub.clone(), agent.clone());
        async move { ask(&hub, &agent, Some(first.cursor), Some(version)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    hub.allow(&local(), entry("198.51.100.0/24", Some(60)), now()).await.unwrap();
    let page = waiting.await.unwrap();
    assert_eq!(spared(&page), ["198.51.100.0/24"]);
    let directions = page.directions.clone().unwrap();
    assert!(directions.version > version && directions.allow[0].until.is_some());
    assert_eq!(directions.allow[0].reason.as_deref(), Some("office"));
    let older = older.await.unwrap();
    assert!(older.is_empty() && !String::from_utf8(older.encode()).unwrap().contains("directions"));
    // The same is said once; a removal is news, and what comes after it is not refused.
    hub.disallow(&local(), &target("198.51.100.0/24")).await.unwrap();
    let ban = Ban { target: target("198.51.100.7"), duration_secs: 60, reason: None, note: None };
    hub.ban(&local(), ban, now()).await.unwrap();
    let page = ask(&hub, &agent, Some(page.cursor), Some(directions.version)).await;
    assert_eq!((spared(&page).len(), page.changes.len()), (0, 1));
    let last = page.directions.unwrap().version;
    hub.close().await;
    drop(hub);
    // A start changes nothing.
    let hub = reopen(dir.path()).await;
    let asked =
        FeedQuestion { after: Some(page.cursor), snapshot: None, directions: Some(Some(last)) };
    let page = hub.follow_decisions(&agent, asked, Duration::ZERO).await.unwrap();
    assert!(!String::from_utf8(page.encode()).unwrap().contains("directions"));
    hub.close().await;
}

#[tokio::test]
async fn reports_are_taken_of_agents_alone_and_say_what_becomes_of_a_ban() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let agent = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    let stranger = key(&hub, "share", &[Scope::Ingest], Domain::Community).await;
    let reader = key(&hub, "reader", &[Scope::Read], Domain::Private).await;
    let report = |cursor| EffectReport {
        method: "nftables".into(),
        cursor: Some(cursor),
        ..EffectReport::default()
    };
    for who in [&stranger, &reader] {
        assert!(hub.take_effect(who, report(1), now()).is_err());
    }
    assert!(hub.take_effect(&agent, report(1), now()).unwrap().all);
    let who = target("198.51.100.7");
    let about = async |who: &DecisionTarget| {
        let effect = hub.decision_effect(&reader, Some(who), now()).await.unwrap();
        (effect.is_active, effect.hosts[0].0.state, effect.hosts[0].1.clone())
    };
    assert_eq!(about(&who).await, (false, HostState::Working, None));
    let ban = Ban { target: who, duration_secs: 60, reason: None, note: None };
    let made = hub.ban(&local(), ban, now()).await.unwrap();
    assert_eq!(about(&who).await.2, Some(TargetEffect::Behind));
    hub.take_effect(&agent, report(made.seq.unwrap()), now()).unwrap();
    assert_eq!(about(&who).await.2, Some(TargetEffect::Carried));
    assert!(hub.decision_effect(&stranger, None, now()).await.is_err());
    hub.close().await;
}
