//! The embedded engine answers as the naive oracle does.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::Arc;

use common::{DAY, Oracle, TODAY, aggregation, event, query};
use palisade_event::{
    Credentials, Endpoint, Event, EventId, EventKind, SensorId, SessionId, Timestamp, Untrusted,
};
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query, TimeRange};
use palisade_store::{Aggregated, Config, Store};
use proptest::prelude::*;

fn open(dir: &std::path::Path) -> Store {
    Store::open(dir, &Config::default()).unwrap()
}

fn simple(at: i64, number: u128) -> Arc<Event> {
    let at = Timestamp::from_millis(at);
    let sensor = SensorId::new("edge").unwrap();
    Arc::new(Event::new(EventId::new(at, number), EventKind::AuthAttempted, at, sensor))
}

fn count(store: &Store) -> Aggregated {
    store.aggregate(&Query::ALL, &Aggregation::Count).unwrap()
}

fn check(store: &Store, oracle: &Oracle, query: &Query, aggregation: &Aggregation) {
    assert_eq!(
        store.aggregate(query, aggregation).unwrap(),
        oracle.aggregate(query, aggregation),
        "{query} {aggregation:?}"
    );
    let mut after = None;
    loop {
        let page = store.search(query, 7, after).unwrap();
        let expected: Vec<Event> = oracle.page(query, 7, after).into_iter().cloned().collect();
        assert_eq!(page.events, expected, "{query}");
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_oracle(
        batches in proptest::collection::vec(proptest::collection::vec(event(), 0..25), 1..4),
        questions in proptest::collection::vec((query(), aggregation()), 40),
        reopen in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut oracle = Oracle::default();
        for batch in batches {
            let batch: Vec<Arc<Event>> = batch.into_iter().map(Arc::new).collect();
            prop_assert_eq!(store.append(&batch).unwrap(), oracle.append(&batch));
            prop_assert_eq!(store.append(&batch).unwrap(), vec![false; batch.len()]);
            store.commit().unwrap();
            if reopen {
                drop(store);
                store = open(dir.path());
            }
            prop_assert_eq!(store.append(&batch).unwrap(), vec![false; batch.len()]);
        }
        for event in &oracle.events {
            let found = store.get(event.id).unwrap();
            prop_assert_eq!(found.as_ref(), Some(event));
        }
        for (query, aggregation) in &questions {
            check(&store, &oracle, query, aggregation);
        }
        // Sealing changes no answer.
        while store.maintain(Timestamp::from_millis(TODAY + 90 * DAY)).unwrap() {}
        for (query, aggregation) in questions.iter().take(10) {
            check(&store, &oracle, query, aggregation);
        }
        prop_assert_eq!(store.stats().events, oracle.events.len() as u64);
    }
}

#[test]
fn nothing_is_visible_before_the_commit_and_all_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&[simple(TODAY, 1)]).unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 0 });
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 1 });
}

#[test]
fn resent_batch_counts_once_after_a_crash_between_commits() {
    let dir = tempfile::tempdir().unwrap();
    let batch: Vec<Arc<Event>> =
        (0..100).map(|n| simple(TODAY + n * 2_400_000, n as u128)).collect();
    {
        let store = open(dir.path());
        store.append(&batch[..30]).unwrap();
        store.commit().unwrap();
        store.append(&batch).unwrap();
        // Dropped without a commit, as a crash would.
    }
    let store = open(dir.path());
    let new = store.append(&batch).unwrap();
    assert_eq!(new.iter().filter(|new| **new).count(), 70);
    let events: Vec<&Event> = batch.iter().map(AsRef::as_ref).collect();
    assert_eq!(store.contains(&events).unwrap(), vec![true; 100]);
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 100 });
}

#[test]
fn extreme_and_many_days_are_kept_apart_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = vec![simple(i64::MIN, 1), simple(i64::MAX, 2), simple(-1, 3), simple(0, 4)];
    batch.extend((0..80).map(|n| simple(TODAY - n * DAY, 9)));
    assert_eq!(store.append(&batch).unwrap(), vec![true; batch.len()]);
    store.commit().unwrap();
    assert_eq!(store.stats().days, 84);
    let all = store.search(&Query::ALL, 1000, None).unwrap().events;
    assert_eq!(all.len(), 84);
    assert!(all.windows(2).all(|pair| pair[0].observed_at > pair[1].observed_at));
    drop(store);
    let store = open(dir.path());
    for event in &batch {
        assert_eq!(store.get(event.id).unwrap().as_ref(), Some(&**event));
    }
}

#[test]
fn a_corrupt_day_is_put_aside_and_the_others_answer() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        store
            .append(&[simple(TODAY, 1), simple(TODAY - DAY, 2), simple(TODAY - 2 * DAY, 3)])
            .unwrap();
        store.commit().unwrap();
    }
    let day = |n: i64| {
        dir.path().join("days").join(Timestamp::from_millis(TODAY - n * DAY).day().to_string())
    };
    std::fs::write(day(0).join("meta.json"), "{").unwrap();
    for entry in std::fs::read_dir(day(1)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "fast") {
            std::fs::write(path, "broken").unwrap();
        }
    }
    let store = open(dir.path());
    assert_eq!(count(&store), Aggregated::Count { count: 1 });
    assert_eq!(store.stats().corrupt_days, 2);
    assert!(day(0).with_extension("corrupt").exists());
    store.append(&[simple(TODAY, 1)]).unwrap();
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 2 });
}

#[test]
fn a_newer_format_is_refused_with_a_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("format"), "2\n").unwrap();
    let error = Store::open(dir.path(), &Config::default()).err().unwrap().to_string();
    assert!(error.contains("format 2") && error.contains("reads format 1"), "{error}");
}

#[test]
fn retention_removes_the_folders_of_days_that_ended_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { retention_days: 2, ..Config::default() };
    let store = Store::open(dir.path(), &config).unwrap();
    let batch: Vec<Arc<Event>> = (0..5).map(|n| simple(TODAY - n * DAY, 1)).collect();
    store.append(&batch).unwrap();
    store.commit().unwrap();
    assert_eq!(store.retain(Timestamp::from_millis(TODAY)).unwrap(), 2);
    assert_eq!(store.stats().days, 3);
    assert_eq!(std::fs::read_dir(dir.path().join("days")).unwrap().count(), 3);
    assert_eq!(count(&store), Aggregated::Count { count: 3 });
}

#[test]
fn pages_stay_good_while_events_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch: Vec<Arc<Event>> = (0..20).map(|n| simple(TODAY + n * 1000, 1)).collect();
    store.append(&batch).unwrap();
    store.commit().unwrap();
    let first = store.search(&Query::ALL, 10, None).unwrap();
    let newer: Vec<Arc<Event>> = (20..40).map(|n| simple(TODAY + n * 1000, 1)).collect();
    store.append(&newer).unwrap();
    store.commit().unwrap();
    let second = store.search(&Query::ALL, 10, first.next).unwrap();
    let seen: Vec<&Event> = first.events.iter().chain(&second.events).rev().collect();
    assert_eq!(seen, batch.iter().map(AsRef::as_ref).collect::<Vec<&Event>>());
    assert_eq!(second.next, None);
}

#[test]
fn many_commits_leave_few_segments_and_sealing_leaves_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..60 {
        store.append(&[simple(TODAY + n, 1)]).unwrap();
        store.commit().unwrap();
    }
    // A commit without events closes the writer after its merges.
    store.commit().unwrap();
    let segments = || {
        std::fs::read_dir(dir.path().join("days/2026-11-20"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|end| end == "fast"))
            .count()
    };
    assert!(segments() <= 10, "{}", segments());
    assert!(!store.maintain(Timestamp::from_millis(TODAY)).unwrap(), "today stays as it is");
    assert!(store.maintain(Timestamp::from_millis(TODAY + 3 * DAY)).unwrap());
    assert_eq!(segments(), 1);
    assert_eq!(count(&store), Aggregated::Count { count: 60 });
}

#[test]
fn long_texts_come_back_whole_and_group_by_their_head() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let long = |number, end: &str| {
        let mut event = (*simple(TODAY, number)).clone();
        event.request = Some(Untrusted::from("y".repeat(65_530) + end));
        Arc::new(event)
    };
    let batch = [long(1, "a"), long(2, "b")];
    store.append(&batch).unwrap();
    store.commit().unwrap();
    assert_eq!(store.get(batch[1].id).unwrap().as_ref(), Some(&*batch[1]));
    let distinct = store.aggregate(&Query::ALL, &Aggregation::Distinct(Field::Request)).unwrap();
    assert_eq!(distinct, Aggregated::Distinct { count: 1, exact: true });
    let query = Query { filter: Filter::Prefix(Field::Request, "yyy".into()), ..Query::ALL };
    assert_eq!(store.search(&query, 10, None).unwrap().events.len(), 2);
}

/// Many values: most once, so that the last place of a top is a tie over every
/// segment and day; some beyond the compared length; some missing.
fn varied(n: u64) -> Arc<Event> {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let at = TODAY - (n % 3) as i64 * DAY + (n as i64 % 1000) * 60_000;
    let mut event = (*simple(at, n.into())).clone();
    event.session =
        SessionId::new(&format!("{:06x}", mixed % 1500)).ok().filter(|_| !n.is_multiple_of(7));
    let password = match n % 5 {
        0 => None,
        1 => Some(Untrusted::from("z".repeat(4094) + &format!("{:03}", n % 150))),
        _ => Some(Untrusted::from(format!("p{}", mixed % 97))),
    };
    let username = Some(Untrusted::from(format!("u{}", n % 11))).filter(|_| !n.is_multiple_of(13));
    event.credentials = Some(Credentials { username, password, outcome: None });
    event.source = Some(Endpoint {
        address: std::net::Ipv6Addr::from_bits(0x2001 << 112 | u128::from(mixed % 700)).into(),
        port: Some((mixed % 900) as u16).filter(|_| !n.is_multiple_of(3)),
        transport: None,
    });
    Arc::new(event)
}

#[test]
fn many_values_over_segments_and_days_are_grouped_as_by_the_oracle() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut oracle = Oracle::default();
    for part in 0..4 {
        let batch: Vec<Arc<Event>> = (part * 400..(part + 1) * 400).map(varied).collect();
        assert_eq!(store.append(&batch).unwrap(), oracle.append(&batch));
        store.commit().unwrap();
    }
    let fields = [
        Field::Session,
        Field::Password,
        Field::User,
        Field::Ip,
        Field::SourcePort,
        Field::Id,
        Field::ObservedAt,
        Field::Sensor,
    ];
    let some = Filter::In(Field::User, vec!["u3".into(), "u4".into()]);
    let today = TimeRange { from: Some(Timestamp::from_millis(TODAY + 7_000_000)), to: None };
    let queries = [
        Query::ALL,
        Query { filter: some.clone(), ..Query::ALL },
        Query { range: today, filter: Filter::All },
        Query { range: today, filter: Filter::Not(Box::new(some)) },
    ];
    let ask = |query: &Query, aggregation: Aggregation| {
        assert_eq!(
            store.aggregate(query, &aggregation).unwrap(),
            oracle.aggregate(query, &aggregation),
            "{query} {aggregation:?}"
        );
    };
    for query in &queries {
        for field in fields {
            ask(query, Aggregation::Distinct(field));
            for k in [1, 10, 1000] {
                ask(query, Aggregation::Top(vec![field], k, None));
            }
            for other in fields {
                ask(query, Aggregation::Top(vec![field, other], 25, None));
                let distinct = Some(Box::new(Aggregation::Distinct(other)));
                ask(query, Aggregation::Top(vec![field], 4, distinct.clone()));
                ask(query, Aggregation::Top(vec![Field::User, field], 4, distinct.clone()));
                ask(query, Aggregation::Histogram(Interval::Millis(DAY), distinct));
            }
            let pairs = Aggregation::Top(vec![field, Field::Password], 3, None);
            ask(query, Aggregation::Top(vec![Field::Session, Field::User], 4, Some(pairs.into())));
            let auto = Aggregation::Histogram(Interval::Auto, None);
            ask(query, Aggregation::Top(vec![field], 3, Some(auto.into())));
        }
        ask(query, Aggregation::Histogram(Interval::Auto, None));
    }
}
