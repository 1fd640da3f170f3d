//! Decisions on the hub: noted when they are durable, told in order, kept over
//! a crash, and never about somebody who must not be banned.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::common;

use std::time::Duration;

use common::{DEADLINE, deliver, encoded, key, local, now, open, reopen};
use palisade_event::{
    Change, Decision, DecisionFeed, DecisionOrigin, DecisionTarget, DecisionType, Domain, Event,
    EventId, EventKind, ScenarioName, SensorId,
};
use palisade_hub::{
    AdminError, Ban, Cover, DecisionQuery, DecisionRecord, FeedPage, Hub, NewAllowEntry, Principal,
    QueryError, Role, Scope,
};

fn target(text: &str) -> DecisionTarget {
    text.parse().unwrap()
}

/// The event of a ban of an hour, as an agent makes it.
fn decided(n: u128, who: &str) -> Event {
    let from = now();
    let decision = Decision {
        id: EventId::new(from, n),
        kind: DecisionType::new("ban").unwrap(),
        target: target(who),
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

fn ban(who: &str) -> Ban {
    Ban { target: target(who), duration_secs: 60, reason: None, note: Some("seen".into()) }
}

/// A page as an agent reads it.
fn read(page: &FeedPage) -> DecisionFeed {
    DecisionFeed::decode(&page.encode()).unwrap()
}

fn told(page: &DecisionFeed) -> Vec<String> {
    let one = |change: &Change| match change {
        Change::Made(made) => format!("+{}", made.decision.target),
        Change::Lifted(lift) => format!("-{}", lift.target),
        Change::Unknown {} => "?".to_owned(),
    };
    page.changes.iter().map(|change| one(&change.change)).collect()
}

async fn ask(hub: &Hub, who: &Principal, after: Option<u64>) -> DecisionFeed {
    read(&hub.decision_feed(who, after, None, DEADLINE).await.unwrap())
}

async fn listed(hub: &Hub) -> Vec<DecisionRecord> {
    hub.decisions(&local(), &DecisionQuery::default(), 100).await.unwrap()
}

async fn until_listed(hub: &Hub, count: usize) -> Vec<DecisionRecord> {
    let began = std::time::Instant::now();
    loop {
        let found = listed(hub).await;
        if found.len() >= count {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "{found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_one_agent_decides_the_others_hear_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let a = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    let b = key(&hub, "web-2", &[Scope::Decisions], Domain::Private).await;
    let first = ask(&hub, &b, None).await;
    assert!(first.reset && first.changes.is_empty());
    let waiting = tokio::spawn({
        let (hub, b) = (hub.clone(), b.clone());
        async move { (ask(&hub, &b, Some(first.cursor)).await, std::time::Instant::now()) }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let sent = std::time::Instant::now();
    deliver(&hub, &a, &encoded(&[decided(1, "198.51.100.7")])).await;
    let (page, heard) = waiting.await.unwrap();
    assert_eq!(told(&page), ["+198.51.100.7"]);
    assert!(heard - sent < DEADLINE / 4, "it does not wait for the deadline");
    let Change::Made(made) = &page.changes[0].change else { panic!() };
    let name = SensorId::new("web-1").unwrap();
    assert_eq!(made.origin, DecisionOrigin::Sensor { name, host: None }, "by its credential");
    // Nothing new: the answer comes at the end of the wait, with the same cursor.
    let none = hub.decision_feed(&b, Some(page.cursor), None, Duration::from_millis(30)).await;
    let none = read(&none.unwrap());
    assert_eq!((none.cursor, none.changes.len(), none.reset), (page.cursor, 0, false));
    // A stranger's cursor.
    let all = ask(&hub, &b, Some(page.cursor + 1)).await;
    assert!(all.reset && told(&all) == ["+198.51.100.7"] && all.cursor == page.cursor);
    hub.close().await;
}

#[tokio::test]
async fn who_may_hear_of_decisions_is_an_agent_of_the_private_domain() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    for (scope, domain, may) in [
        (Scope::Ingest, Domain::Private, true),
        (Scope::Ingest, Domain::Community, false),
        (Scope::Read, Domain::Private, false),
        (Scope::Bouncer, Domain::Private, false),
    ] {
        let name = format!("k-{}-{}", scope.as_str(), domain.as_str());
        let who = key(&hub, &name, &[scope], domain).await;
        let heard = hub.decision_feed(&who, None, None, Duration::ZERO).await;
        assert_eq!(heard.is_ok(), may, "{name}");
        assert!(matches!(hub.ban(&who, ban("192.0.2.1"), now()).await, Err(AdminError::Denied(_))));
        let pulled = hub.bouncer_pull(&who, [127, 0, 0, 1].into(), "x", true, now()).await;
        assert_eq!(pulled.is_ok(), scope == Scope::Bouncer);
    }
    let public = hub.decisions(&Principal::public(), &DecisionQuery::default(), 1).await;
    assert!(public.is_err());
    hub.close().await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash_and_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut cursor = 0;
    let mut events = Vec::new();
    for round in 0..4_u128 {
        let hub = if round == 0 { open(dir.path()).await } else { reopen(dir.path()).await };
        let before = round as usize * 5;
        until_listed(&hub, before).await;
        if round > 0 {
            let page = hub.decision_feed(&local(), Some(cursor), None, Duration::ZERO).await;
            assert!(!page.unwrap().reset, "a cursor survives the restart");
        }
        let new: Vec<Event> = (0..5)
            .map(|n| decided(round * 10 + n, &format!("192.0.2.{}", round * 5 + n)))
            .collect();
        events.extend(new.clone());
        // All that came so far, once more.
        deliver(&hub, &local(), &encoded(&events)).await;
        if round == 1 {
            until_listed(&hub, before + 5).await;
        }
        cursor = ask(&hub, &local(), None).await.cursor;
        drop(hub);
    }
    let hub = reopen(dir.path()).await;
    until_listed(&hub, 20).await;
    let page = ask(&hub, &local(), None).await;
    let mut seen = told(&page);
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), page.changes.len()), (20, 20));
    hub.close().await;
}

#[tokio::test]
async fn an_operator_bans_and_lifts_and_both_are_events() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let cursor = ask(&hub, &local(), None).await.cursor;
    let made = hub.ban(&local(), ban("198.51.100.0/24"), now()).await.unwrap();
    assert_eq!(made.made.origin, DecisionOrigin::Operator { name: "local".into() });
    assert_eq!(made.made.decision.scenario.as_str(), "manual");
    let ended = hub.lift(&local(), target("198.51.100.0/24"), Some("ours".into()), now()).await;
    assert_eq!(ended.unwrap(), 1);
    let again = hub.lift(&local(), target("198.51.100.0/24"), None, now()).await;
    assert_eq!(again.unwrap(), 0);
    let page = ask(&hub, &local(), Some(cursor)).await;
    assert_eq!(told(&page), ["+198.51.100.0/24", "-198.51.100.0/24", "-198.51.100.0/24"]);
    let found = listed(&hub).await;
    assert_eq!(found[0].ended_by.as_deref(), Some("local"));
    let events = common::settled(&hub, 3).await;
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::DecisionLifted).count(), 2);
    assert_eq!(events[2].sensor.as_str(), "hub");
    // An agent that had decided the same before it heard of the lift.
    let mut late = decided(77, "198.51.100.0/24");
    late.observed_at = made.made.decision.from;
    deliver(&hub, &local(), &encoded(&[late])).await;
    until_listed(&hub, 2).await;
    assert_eq!(told(&ask(&hub, &local(), None).await), [""; 0]);
    hub.close().await;
}

#[tokio::test]
async fn nobody_is_banned_who_must_not_be_whoever_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let agent = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    let stranger = key(&hub, "pot", &[Scope::Ingest], Domain::Community).await;
    let hostile = ["127.0.0.1", "0.0.0.0/0", "::1", "10.0.0.0/8", "::/0", "2001:db8::/31"];
    let events: Vec<Event> = (1..).zip(hostile).map(|(n, who)| decided(n, who)).collect();
    deliver(&hub, &agent, &encoded(&events)).await;
    deliver(&hub, &stranger, &encoded(&[decided(20, "192.0.2.20")])).await;
    let mut lift = decided(21, "192.0.2.21");
    lift.kind = EventKind::DecisionLifted;
    let forged = decided(22, "192.0.2.22").with("by", "anna");
    deliver(&hub, &agent, &encoded(&[lift.with("by", "anna"), forged])).await;
    let found = until_listed(&hub, 1).await;
    common::settled(&hub, 9).await;
    assert_eq!(listed(&hub).await.len(), 1);
    assert!(matches!(found[0].made.origin, DecisionOrigin::Sensor { .. }), "no operator said so");
    let metrics = hub.metrics_text();
    for (reason, count) in [("target", 6), ("community", 1), ("lift", 1)] {
        let line = format!("palisade_decisions_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    for who in hostile {
        let refused = hub.ban(&local(), ban(who), now()).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{who}");
    }
    let mut long = ban("192.0.2.1");
    long.note = Some("x".repeat(501));
    assert!(matches!(hub.ban(&local(), long, now()).await, Err(AdminError::Invalid(_))));
    hub.close().await;
}

#[tokio::test]
async fn the_allowlist_and_the_sessions_of_operators_withhold_what_agents_decide() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let word = "correct horse battery staple";
    for (name, role) in [("olga", Role::Operator), ("vera", Role::Viewer)] {
        hub.add_account(&local(), name, word, role, now()).await.unwrap();
    }
    for (name, from) in [("olga", "192.0.2.99"), ("vera", "192.0.2.98")] {
        hub.sign_in(name, word, Some(from.parse().unwrap()), None, now()).await.unwrap();
    }
    deliver(&hub, &local(), &encoded(&[decided(1, "198.51.100.7"), decided(2, "198.51.0.0/16")]))
        .await;
    until_listed(&hub, 2).await;
    let cursor = ask(&hub, &local(), None).await.cursor;
    let office = NewAllowEntry {
        target: target("198.51.100.0/24"),
        reason: Some("office".into()),
        duration_secs: None,
    };
    let (entry, freed) = hub.allow(&local(), office.clone(), now()).await.unwrap();
    assert_eq!((entry.by.as_str(), freed), ("local", 2));
    let mut lifted = told(&ask(&hub, &local(), Some(cursor)).await);
    lifted.sort();
    assert_eq!(lifted, ["-198.51.0.0/16", "-198.51.100.7"]);
    let batch = [
        decided(3, "198.51.100.8"),
        decided(4, "192.0.2.99"),
        decided(5, "192.0.2.0/24"),
        decided(6, "192.0.2.98"),
    ];
    deliver(&hub, &local(), &encoded(&batch)).await;
    until_listed(&hub, 6).await;
    assert_eq!(told(&ask(&hub, &local(), None).await), ["+192.0.2.98"]);
    let refused = hub.ban(&local(), ban("198.51.100.9"), now()).await.unwrap_err().to_string();
    assert!(refused.contains("198.51.100.0/24"), "{refused}");
    let operator = hub.ban(&local(), ban("192.0.2.99"), now()).await.unwrap_err().to_string();
    assert!(operator.contains("signed in"), "{operator}");
    hub.disallow(&local(), &office.target).await.unwrap();
    assert!(matches!(hub.disallow(&local(), &office.target).await, Err(AdminError::NotFound(_))));
    hub.ban(&local(), ban("198.51.100.9"), now()).await.unwrap();
    let all = NewAllowEntry { target: target("0.0.0.0/0"), reason: None, duration_secs: None };
    assert!(matches!(hub.allow(&local(), all, now()).await, Err(AdminError::Invalid(_))));
    hub.close().await;
}

#[tokio::test]
async fn thousands_in_force_come_page_by_page_and_what_changes_meanwhile_follows() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let events: Vec<Event> =
        (0..5_000_u128).map(|n| decided(n, &format!("10.7.{}.{}", n / 250, n % 250))).collect();
    deliver(&hub, &local(), &encoded(&events)).await;
    let began = std::time::Instant::now();
    while !hub
        .decisions(&local(), &DecisionQuery::default(), 5_000)
        .await
        .is_ok_and(|all| all.len() == 5_000)
    {
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut page = ask(&hub, &local(), None).await;
    hub.lift(&local(), target("10.7.0.0"), None, now()).await.unwrap();
    let mut seen = page.changes.len();
    while let Some(snapshot) = page.snapshot {
        let next = hub.decision_feed(&local(), Some(page.cursor), Some(snapshot), DEADLINE).await;
        page = read(&next.unwrap());
        assert!(page.reset);
        seen += page.changes.len();
    }
    assert_eq!(seen, 5_000);
    assert_eq!(told(&ask(&hub, &local(), Some(page.cursor)).await), ["-10.7.0.0"]);
    hub.close().await;
}

#[tokio::test]
async fn a_bouncer_is_told_the_longest_and_each_end_and_what_was_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let who = key(&hub, "fw", &[Scope::Bouncer], Domain::Private).await;
    let from = "192.0.2.200".parse().unwrap();
    let pull = async |startup| hub.bouncer_pull(&who, from, "fw/1", startup, now()).await.unwrap();
    let names = |records: &[DecisionRecord]| -> Vec<String> {
        records.iter().map(|one| one.made.decision.target.to_string()).collect()
    };
    assert!(matches!(
        hub.bouncer_pull(&local(), from, "x", true, now()).await,
        Ok(_) | Err(QueryError::Forbidden)
    ));
    let start = pull(true).await;
    assert!(start.new.is_empty() && start.ended.is_empty());
    hub.bouncer_told(&start.told).await.unwrap();
    let mut long = ban("192.0.2.1");
    long.duration_secs = 7_200;
    hub.ban(&local(), ban("192.0.2.1"), now()).await.unwrap();
    hub.ban(&local(), long, now()).await.unwrap();
    let lost = pull(false).await;
    assert_eq!(names(&lost.new), ["192.0.2.1"]);
    assert_eq!(lost.new[0].made.decision.duration_secs, 7_200);
    let sent = pull(false).await;
    assert_eq!(names(&sent.new), ["192.0.2.1"], "it was not told: it hears the same");
    hub.bouncer_told(&sent.told).await.unwrap();
    hub.ban(&local(), ban("192.0.2.1"), now()).await.unwrap();
    let shorter = pull(false).await;
    assert!(shorter.new.is_empty(), "the longer one goes on");
    hub.bouncer_told(&shorter.told).await.unwrap();
    hub.lift(&local(), target("192.0.2.1"), None, now()).await.unwrap();
    for _ in 0..2 {
        let over = pull(false).await;
        assert_eq!((names(&over.ended), over.new.len()), (vec!["192.0.2.1".to_owned()], 0));
        hub.bouncer_told(&over.told).await.unwrap();
    }
    hub.ban(&local(), ban("192.0.2.1"), now()).await.unwrap();
    let again = pull(false).await;
    assert_eq!((names(&again.new), again.ended.len()), (vec!["192.0.2.1".to_owned()], 0));
    let about = target("192.0.2.1");
    let found = hub.bouncer_asks(&who, Some(&about), Cover::Around, now()).await.unwrap();
    assert_eq!(names(&found), ["192.0.2.1"]);
    hub.close().await;
    // It goes on where it was after a restart of the hub.
    drop(hub);
    let hub = reopen(dir.path()).await;
    let after = hub.bouncer_pull(&who, from, "fw/1", false, now()).await.unwrap();
    assert_eq!(names(&after.new), ["192.0.2.1"], "the last pull was not confirmed");
    hub.close().await;
}
