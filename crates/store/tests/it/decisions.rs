//! What the state promises about decisions, on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::postgres;

use palisade_event::{
    Change, Decision, DecisionOrigin, DecisionTarget, DecisionType, EventId, Lift, MadeDecision,
    ScenarioName, SensorId, Timestamp,
};
use palisade_store::state::{
    AllowEntry, BlocklistLink, Bouncer, BouncerUsage, Cover, DecisionQuery, Heard, KnockLink,
    Noted, Noting, PostgresUrl, State, StateConfig, StateError, StoredDirections, Which,
};

const MANY: u64 = 1_000;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn target(text: &str) -> DecisionTarget {
    text.parse().unwrap()
}

/// A ban of an hour from `secs` on.
fn ban(n: u128, who: &str, secs: i64) -> Noting {
    let decision = Decision {
        id: EventId::new(at(secs), n),
        kind: DecisionType::new("ban").unwrap(),
        target: target(who),
        from: at(secs),
        duration_secs: 3600,
        scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
        reason: "6 failed logins".into(),
        alert: EventId::new(at(secs), n + 1_000_000),
        evidence: vec![EventId::new(at(secs), n + 2_000_000)],
        simulated: false,
    };
    let origin = DecisionOrigin::Sensor { name: SensorId::new("web-1").unwrap(), host: None };
    Noting::Made(Box::new(MadeDecision { decision, origin, note: Some("seen".into()) }))
}

fn lift(n: u128, who: &str, secs: i64) -> Noting {
    let reason = Some("our own".into());
    let lift = Lift { target: target(who), by: "anna".into(), at: at(secs), reason };
    Noting::Lifted(EventId::new(at(secs), n), lift)
}

fn state_bouncer() -> Bouncer {
    Bouncer {
        id: "k1/192.0.2.1".into(),
        name: "fw".into(),
        address: "192.0.2.1".into(),
        agent: "crowdsec-firewall-bouncer/-".into(),
        last_seq: 7,
        last_pull: at(10),
        usage: None,
    }
}

fn entry(who: &str, until: Option<i64>) -> AllowEntry {
    AllowEntry {
        target: target(who),
        reason: Some("office".into()),
        by: "anna".into(),
        created_at: at(50),
        until: until.map(at),
    }
}

async fn note(state: &State, notings: &[Noting], secs: i64) -> Vec<Noted> {
    state.note_decisions(notings, MANY, at(secs)).await.unwrap()
}

fn seq(noted: &Noted) -> u64 {
    match noted {
        Noted::Changed(change, _) => change.seq,
        other => panic!("{other:?}"),
    }
}

async fn heard(state: &State, cursor: u64, secs: i64) -> (Vec<String>, u64) {
    match state.changes_after(cursor, 100, at(secs)).await.unwrap() {
        Heard::Changes(changes, head) => {
            let told = changes.iter().map(|change| match &change.change {
                Change::Made(made) => format!("+{}", made.decision.target),
                Change::Lifted(lift) => format!("-{}", lift.target),
                Change::Unknown {} => "?".to_owned(),
            });
            (told.collect(), head)
        }
        Heard::Unknown => panic!("{cursor} is unknown"),
    }
}

macro_rules! on_both {
    ($(async fn $name:ident($state:ident: &State) $body:block)*) => {
        mod bodies {
            use super::*;
            $(pub(super) async fn $name($state: &State) $body)*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let file = dir.path().join("state.db");
                let state = State::open(&file, &StateConfig::default()).await.unwrap();
                bodies::$name(&state).await;
            })*
        }
        mod postgresql {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let (_server, url) = tokio::task::spawn_blocking(|| {
                    let server = postgres::shared();
                    let url = server.url(&server.database());
                    (server, url)
                })
                .await
                .unwrap();
                let config =
                    StateConfig { postgres: Some(PostgresUrl::new(url)), ..Default::default() };
                let state = State::open(std::path::Path::new("unused"), &config).await.unwrap();
                bodies::$name(&state).await;
            })*
        }
    };
}

on_both! {
    async fn a_decision_counts_once_and_reads_back_as_written(state: &State) {
        let first = ban(1, "198.51.100.7", 100);
        let noted = note(state, &[first.clone(), first.clone()], 101).await;
        let number = seq(&noted[0]);
        assert!(number >= 101_000, "at least the time: {number}");
        assert_eq!(noted[1], Noted::Known);
        assert_eq!(note(state, std::slice::from_ref(&first), 102).await, [Noted::Known]);
        let found = state.decisions(&DecisionQuery::default(), 10).await.unwrap();
        let Noting::Made(made) = first else { unreachable!() };
        assert_eq!((&found[0].made, found.len()), (&*made, 1));
        assert_eq!((found[0].ended_at, found[0].seq), (at(3700), Some(number)));
        assert_eq!(heard(state, 0, 102).await.1, number);
    }

    async fn who_has_heard_something_hears_what_came_after_it_in_order(state: &State) {
        let noted = note(state, &[ban(1, "192.0.2.1", 100), ban(2, "192.0.2.2", 100)], 100).await;
        let cursor = seq(&noted[0]);
        note(state, &[lift(3, "192.0.2.2", 101), ban(4, "2001:db8::/48", 102)], 102).await;
        let (told, head) = heard(state, cursor, 103).await;
        assert_eq!(told, ["-192.0.2.2", "+2001:db8::/48"], "what is over is left out");
        assert_eq!(heard(state, head, 103).await, (vec![], head));
        assert_eq!(state.decision_head().await.unwrap(), head);
        // In the time of nobody, and of a database that was set back.
        for unknown in [1, cursor + 1_000, head + 1, u64::MAX] {
            let found = state.changes_after(unknown, 10, at(103)).await.unwrap();
            assert_eq!(found, Heard::Unknown, "{unknown}");
        }
        let all = state.decisions_between(0, head, 10, at(103)).await.unwrap();
        assert_eq!(all.len(), 2);
    }

    async fn a_lift_ends_what_was_decided_before_it_and_nothing_after(state: &State) {
        note(state, &[ban(1, "192.0.2.1", 100)], 100).await;
        let noted = note(state, &[lift(2, "192.0.2.1", 200)], 201).await;
        assert!(matches!(&noted[0], Noted::Changed(_, 1)), "{noted:?}");
        assert_eq!(note(state, &[lift(2, "192.0.2.1", 200)], 202).await, [Noted::Known]);
        // One that was on its way when the other was lifted.
        let late = note(state, &[ban(3, "192.0.2.1", 150)], 210).await;
        assert!(matches!(&late[0], Noted::Recorded(why) if why.contains("anna")), "{late:?}");
        assert_eq!(state.active_decisions(at(210)).await.unwrap(), 0);
        let again = note(state, &[ban(4, "192.0.2.1", 220)], 221).await;
        seq(&again[0]);
        let ended = state.decisions_ended(at(200), at(201), 10).await.unwrap();
        assert_eq!(ended[0].ended_by.as_deref(), Some("anna"));
        assert_eq!(ended[0].end_reason.as_deref(), Some("our own"));
    }

    async fn what_is_simulated_allowed_or_over_is_listed_and_told_nobody(state: &State) {
        let mut simulated = ban(1, "192.0.2.1", 100);
        if let Noting::Made(made) = &mut simulated {
            made.decision.simulated = true;
        }
        state.add_allow_entry(&entry("198.51.100.0/24", Some(200)), 10).await.unwrap();
        let batch = [
            simulated,
            ban(2, "198.51.100.7", 100),
            ban(3, "198.51.0.0/16", 100),
            ban(4, "192.0.2.4", -3_000),
            ban(5, "192.0.2.5", 100),
        ];
        let noted = note(state, &batch, 1_000).await;
        assert!(noted[1..3].iter().all(|one| matches!(one, Noted::Changed(..))), "has expired");
        state.add_allow_entry(&entry("198.51.100.0/24", None), 10).await.unwrap();
        let batch = batch.map(|noting| match noting {
            Noting::Made(mut made) => {
                let was: DecisionTarget = made.decision.target;
                made.decision.id = EventId::new(at(1), was.bounds().0.to_bits());
                Noting::Made(made)
            }
            other => other,
        });
        let noted = note(state, &batch, 1_000).await;
        assert!(noted[..4].iter().all(|one| matches!(one, Noted::Recorded(_))), "{noted:?}");
        seq(&noted[4]);
        let about = DecisionQuery { target: Some(target("198.51.100.7")), ..Default::default() };
        let found = state.decisions(&about, 10).await.unwrap();
        let withheld = found.iter().filter(|one| one.withheld.is_some()).count();
        assert_eq!((found.len(), withheld), (4, 2), "addresses find the networks around them");
        assert_eq!(state.allow_entries(at(60)).await.unwrap(), [entry("198.51.100.0/24", None)]);
        assert!(matches!(
            state.add_allow_entry(&entry("192.0.2.1", None), 1).await,
            Err(StateError::Full)
        ));
        assert!(state.remove_allow_entry(&target("198.51.100.0/24")).await.unwrap());
        assert!(!state.remove_allow_entry(&target("198.51.100.0/24")).await.unwrap());
    }

    async fn links_have_one_secret_an_end_and_a_bound(state: &State) {
        assert_eq!(state.link_secret("first").await.unwrap(), "first");
        assert_eq!(state.link_secret("second").await.unwrap(), "first", "of all hubs");
        let link = |id: &str, made: i64, ends: i64| BlocklistLink {
            id: id.into(),
            format: "txt".into(),
            query: String::new(),
            note: None,
            by: "anna".into(),
            created_at: at(made),
            expires_at: at(ends),
        };
        state.add_link(&link("a", 100, 200), 2).await.unwrap();
        state.add_link(&link("b", 101, 300), 2).await.unwrap();
        let full = state.add_link(&link("c", 102, 300), 2).await;
        assert!(matches!(full, Err(StateError::Full)), "{full:?}");
        // Who has ended makes room.
        state.add_link(&link("c", 200, 300), 2).await.unwrap();
        let ids = |links: Vec<BlocklistLink>| -> Vec<String> {
            links.into_iter().map(|link| link.id).collect()
        };
        assert_eq!(ids(state.links(at(200)).await.unwrap()), ["c", "b"]);
        assert_eq!(state.link("b", at(299)).await.unwrap(), Some(link("b", 101, 300)));
        assert_eq!(state.link("b", at(300)).await.unwrap(), None);
        assert!(state.remove_link("b").await.unwrap() && !state.remove_link("b").await.unwrap());
        assert_eq!(state.link("b", at(200)).await.unwrap(), None);
    }

    async fn decisions_are_found_by_address_and_paged(state: &State) {
        let all: Vec<Noting> =
            (1..=250).map(|n| ban(n, &format!("192.0.2.{}", n % 250), 100)).collect();
        note(state, &all, 100).await;
        note(state, &[ban(900, "192.0.2.0/24", 100), ban(901, "2001:db8::7", 100)], 101).await;
        let mut query = DecisionQuery { which: Some(Which::Active(at(102))), ..Default::default() };
        let mut seen = std::collections::HashSet::new();
        loop {
            let page = state.decisions(&query, 100).await.unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some((last.noted_at, last.made.decision.id.to_string()));
            seen.extend(page.iter().map(|one| one.made.decision.id));
        }
        assert_eq!(seen.len(), 252);
        let around = async |who: &str, cover| {
            let found = state.active_covering(&target(who), cover, 1_000, at(102)).await.unwrap();
            found.len()
        };
        assert_eq!(around("192.0.2.9", Cover::Around).await, 2);
        assert_eq!(around("192.0.2.0/24", Cover::Around).await, 1);
        assert_eq!(around("192.0.2.0/24", Cover::Inside).await, 251);
        assert_eq!(around("2001:db8::/32", Cover::Inside).await, 1);
        assert_eq!(around("192.0.2.9", Cover::Around).await, 2);
        let about = ["192.0.2.9".to_owned(), "2001:db8::7".to_owned()];
        assert_eq!(state.active_about(&about, at(102)).await.unwrap().len(), 2);
        assert_eq!(state.active_about(&about, at(9_000)).await.unwrap().len(), 0);
        let none = DecisionQuery { scenario: Some("x".into()), ..Default::default() };
        assert!(state.decisions(&none, 10).await.unwrap().is_empty());
        let past = DecisionQuery { which: Some(Which::Past(at(9_000))), ..Default::default() };
        assert_eq!(state.decisions(&past, 1_000).await.unwrap().len(), 252);
        let find = async |text: &str| {
            let query = DecisionQuery { find: Some(text.into()), ..Default::default() };
            state.decisions(&query, 1_000).await.unwrap().len()
        };
        assert_eq!((find("2001:DB8").await, find("192.0.2.0/").await), (1, 1));
        assert_eq!((find("%").await, find("_").await, find("'").await), (0, 0, 0));
        let id = EventId::new(at(100), 900).to_string();
        let first = DecisionQuery { id: Some(id), ..Default::default() };
        assert_eq!(state.decisions(&first, 10).await.unwrap().len(), 1);
        let counts = state.decision_counts(at(102)).await.unwrap();
        assert_eq!((counts.active, counts.ended, counts.withheld), (252, 0, 0));
        assert_eq!(state.decision_counts(at(9_000)).await.unwrap().ended, 252);
    }

    async fn directions_have_a_number_that_grows_when_they_change(state: &State) {
        let mark = |stored: &StoredDirections| format!("{:?}{:?}", stored.allow, stored.switches);
        let number = async |secs| state.number_directions("simulate/", at(secs), mark).await.unwrap();
        let first = number(100).await;
        assert_eq!(number(101).await.version, first.version);
        assert_eq!(state.directions("simulate/", at(101)).await.unwrap(), first);
        state.add_allow_entry(&entry("192.0.2.0/24", Some(200)), 10).await.unwrap();
        let second = number(102).await;
        assert!(second.version > first.version && second.allow.len() == 1);
        state.set_meta("simulate/port-scan", "x").await.unwrap();
        let third = number(102).await;
        assert!(third.version > second.version && third.switches.len() == 1);
        let over = number(300).await;
        assert!(over.version > third.version && over.allow.is_empty(), "an end is a change");
    }

    async fn their_number_is_bounded_and_who_slept_too_long_begins_anew(state: &State) {
        let batch = [ban(1, "192.0.2.1", 100), ban(2, "192.0.2.2", 100), ban(3, "192.0.2.3", 100)];
        let noted = state.note_decisions(&batch, 2, at(100)).await.unwrap();
        assert_eq!(noted[2], Noted::Full);
        let cursor = seq(&noted[0]);
        note(state, &[lift(4, "192.0.2.2", 101)], 101).await;
        let head = state.decision_head().await.unwrap();
        assert_eq!(state.forget_decisions(at(50), MANY, at(200)).await.unwrap(), 0);
        // The lift is forgotten; the decision in force never.
        assert_eq!(state.forget_decisions(at(150), MANY, at(200)).await.unwrap(), 2);
        assert_eq!(state.changes_after(cursor, 10, at(200)).await.unwrap(), Heard::Unknown);
        assert_eq!(heard(state, head, 200).await, (vec![], head));
        assert_eq!(state.active_decisions(at(200)).await.unwrap(), 1);
        let more: Vec<Noting> = (10..20).map(|n| ban(n, "192.0.2.9", 100 + n as i64)).collect();
        note(state, &more, 300).await;
        assert_eq!(state.forget_decisions(at(0), 4, at(9_000)).await.unwrap(), 7);
    }

    async fn hubs_that_note_at_once_number_in_one_order(state: &State) {
        let tasks = (0..8_u128).map(|hub| {
            let state = state.clone();
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for n in 0..20 {
                    // Each decision comes to two of them.
                    let noting = ban(hub / 2 * 100 + n, "192.0.2.1", 100);
                    for noted in note(&state, &[noting], 100).await {
                        numbers.extend(match noted {
                            Noted::Changed(change, _) => Some(change.seq),
                            _ => None,
                        });
                    }
                }
                numbers
            })
        });
        let mut numbers = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            numbers.extend(task.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers.len(), 80);
        numbers.dedup();
        assert_eq!(numbers.len(), 80);
        assert_eq!(state.decision_head().await.unwrap(), *numbers.last().unwrap());
    }

    async fn a_knock_link_is_spent_once_and_not_after_its_end(state: &State) {
        let link = |id: &str, end: i64| KnockLink {
            id: id.into(),
            hash: "ff".into(),
            made_by: "anna".into(),
            account: Some("anna".into()),
            note: None,
            created_at: at(10),
            expires_at: at(end),
            allow_secs: 60,
            spent: None,
        };
        state.add_knock_link(&link("a", 100), 2).await.unwrap();
        state.add_knock_link(&link("b", 20), 2).await.unwrap();
        assert!(matches!(state.add_knock_link(&link("c", 100), 2).await, Err(StateError::Full)));
        assert_eq!(state.knock_link("a").await.unwrap(), Some(link("a", 100)));
        assert!(!state.spend_knock_link("b", "192.0.2.1", at(20)).await.unwrap(), "it is over");
        assert_eq!(state.knock_links(at(20), 9).await.unwrap(), [link("a", 100)]);
        state.add_knock_link(&link("d", 100), 9).await.unwrap();
        assert_eq!(state.knock_links(at(20), 1).await.unwrap().len(), 1);
        assert!(state.remove_knock_link("d").await.unwrap());
        assert!(!state.remove_knock_link("d").await.unwrap(), "it is gone");
        let (one, other) = tokio::join!(
            state.spend_knock_link("a", "192.0.2.1", at(50)),
            state.spend_knock_link("a", "192.0.2.2", at(50)),
        );
        assert!(one.unwrap() ^ other.unwrap(), "one of both");
        assert!(!state.spend_knock_link("a", "192.0.2.3", at(51)).await.unwrap());
        let (when, _) = state.knock_link("a").await.unwrap().unwrap().spent.unwrap();
        assert_eq!(when, at(50));
        assert_eq!(state.knock_links(at(51), 9).await.unwrap(), [], "it is spent");
        assert!(!state.remove_knock_link("a").await.unwrap(), "what was used stays known");
        assert!(!state.spend_knock_link("none", "192.0.2.3", at(51)).await.unwrap());
        assert_eq!(state.forget_knock_links(at(21)).await.unwrap(), 1);
    }

    async fn a_bouncer_is_remembered_and_forgotten(state: &State) {
        let mut one = state_bouncer();
        assert_eq!(state.bouncer(&one.id).await.unwrap(), None);
        state.set_bouncer(&one).await.unwrap();
        (one.last_seq, one.last_pull) = (9, at(20));
        state.set_bouncer(&one).await.unwrap();
        assert_eq!(state.bouncer(&one.id).await.unwrap(), Some(one.clone()));
        assert_eq!(state.bouncers(10).await.unwrap(), [one.clone()]);
        let usage = BouncerUsage {
            kind: "crowdsec-firewall-bouncer".into(),
            dropped_packets: Some(u64::MAX),
            told_at: Some(at(20)),
            ..BouncerUsage::default()
        };
        one.usage = Some(usage.clone());
        state.set_bouncer_usage(&Bouncer { last_seq: 0, ..one.clone() }).await.unwrap();
        assert_eq!(state.bouncer(&one.id).await.unwrap().as_ref(), Some(&one), "only the usage");
        one.last_seq = 11;
        state.set_bouncer(&Bouncer { usage: None, ..one.clone() }).await.unwrap();
        assert_eq!(state.bouncer(&one.id).await.unwrap(), Some(one), "it stays");
        let id = "k2/192.0.2.9".to_owned();
        let unheard = Bouncer { id, last_pull: at(0), usage: Some(usage), ..state_bouncer() };
        state.set_bouncer_usage(&unheard).await.unwrap();
        assert_eq!(state.bouncer(&unheard.id).await.unwrap(), Some(unheard));
        assert_eq!(state.forget_bouncers(at(20), 2).await.unwrap(), 1);
        assert_eq!(state.forget_bouncers(at(20), 1).await.unwrap(), 0);
        assert_eq!(state.forget_bouncers(at(21), 1).await.unwrap(), 1);
        for n in 0..5 {
            let (id, last_pull) = (format!("k1/192.0.2.{n}"), at(30 + n));
            let other = Bouncer { id, last_pull, ..state_bouncer() };
            state.set_bouncer(&other).await.unwrap();
        }
        assert_eq!(state.forget_bouncers(at(0), 2).await.unwrap(), 3);
    }
}
