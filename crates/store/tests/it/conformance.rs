//! Every engine answers as the naive oracle does: the embedded one, Debian's
//! ClickHouse, and a current ClickHouse where chdb is installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use crate::common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::engine::{Engine, Place};
use common::{DAY, Oracle, TODAY, aggregation, count, event, query, simple};
use palisade_event::{Credentials, Endpoint, Event, EventId, SessionId, Timestamp, Untrusted};
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query, TimeRange};
use palisade_store::{Aggregated, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

crate::on_every_engine! {
    the_engine_answers_as_the_oracle
    nothing_is_visible_before_the_commit_and_all_after_it
    what_was_rolled_back_is_new_again
    resent_batch_counts_once_after_a_crash_between_commits
    an_id_counts_once_a_day_whatever_its_time
    extreme_and_many_days_are_kept_apart_and_found
    late_and_future_events_and_day_boundaries_are_found
    hostile_texts_are_data
    pages_stay_good_while_events_arrive
    answers_during_ingest_are_those_of_some_commit
    long_texts_come_back_whole_and_group_by_their_head
    many_values_over_segments_and_days_are_grouped_as_by_the_oracle
    retention_removes_whole_days
}

fn check(store: &Store, oracle: &Oracle, query: &Query, aggregation: &Aggregation, page: usize) {
    assert_eq!(
        store.aggregate(query, aggregation).unwrap(),
        oracle.aggregate(query, aggregation),
        "{query} {aggregation:?}"
    );
    let mut after = None;
    loop {
        let found = store.search(query, page, after).unwrap();
        let expected: Vec<Event> = oracle.page(query, page, after).into_iter().cloned().collect();
        assert_eq!(found.events, expected, "{query}");
        match found.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
}

fn the_engine_answers_as_the_oracle(engine: Engine) {
    // A question over the network takes milliseconds, so there are fewer.
    let (cases, asked, page) = if engine == Engine::Embedded { (24, 40, 7) } else { (10, 20, 17) };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let story = (
        proptest::collection::vec(proptest::collection::vec(event(), 0..25), 1..4),
        proptest::collection::vec((query(), aggregation()), asked),
        any::<bool>(),
    );
    let result = TestRunner::new(config).run(&story, |(batches, questions, reopen)| {
        let Some(place) = Place::new(engine) else { return Ok(()) };
        let mut store = place.open();
        let mut oracle = Oracle::default();
        for batch in batches {
            let batch: Vec<Arc<Event>> = batch.into_iter().map(Arc::new).collect();
            prop_assert_eq!(store.append(&batch).unwrap(), oracle.append(&batch));
            prop_assert_eq!(store.append(&batch).unwrap(), vec![false; batch.len()]);
            store.commit().unwrap();
            if reopen {
                drop(store);
                store = place.open();
            }
            prop_assert_eq!(store.append(&batch).unwrap(), vec![false; batch.len()]);
        }
        for event in &oracle.events {
            let found = store.get(event.id).unwrap();
            prop_assert_eq!(found.as_ref(), Some(event));
        }
        for (query, aggregation) in &questions {
            check(&store, &oracle, query, aggregation, page);
        }
        // Upkeep changes no answer.
        while store.maintain(Timestamp::from_millis(TODAY + 90 * DAY)).unwrap() {}
        for (query, aggregation) in questions.iter().take(10) {
            check(&store, &oracle, query, aggregation, page);
        }
        prop_assert_eq!(store.stats().events, oracle.events.len() as u64);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn what_was_rolled_back_is_new_again(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    let batch: Vec<Arc<Event>> = (0..50).map(|n| simple(TODAY + n, n as u128)).collect();
    store.append(&batch).unwrap();
    store.roll_back();
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 0 });
    assert_eq!(store.append(&batch).unwrap(), vec![true; 50]);
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 50 });
}

fn an_id_counts_once_a_day_whatever_its_time(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    let mut oracle = Oracle::default();
    let made = Timestamp::from_millis(TODAY + 5000);
    let at = |millis: i64| {
        let mut event = (*simple(TODAY, 1)).clone();
        event.id = EventId::new(made, 7);
        event.observed_at = Timestamp::from_millis(millis);
        Arc::new(event)
    };
    // Its own time, others of the same day, another day; in several orders and commits.
    for batch in [
        vec![at(TODAY + 9), at(TODAY + 10)],
        vec![at(TODAY + 5000), at(TODAY - DAY), at(TODAY - DAY + 1)],
        vec![at(TODAY + 11), at(TODAY + 3 * DAY)],
    ] {
        assert_eq!(store.append(&batch).unwrap(), oracle.append(&batch));
        store.commit().unwrap();
        assert_eq!(store.append(&batch).unwrap(), vec![false; batch.len()]);
        let events: Vec<&Event> = batch.iter().map(AsRef::as_ref).collect();
        assert_eq!(store.contains(&events).unwrap(), vec![true; batch.len()]);
    }
    check(&store, &oracle, &Query::ALL, &Aggregation::Top(vec![Field::Id], 5, None), 2);
    let found = store.get(EventId::new(made, 7)).unwrap().unwrap();
    assert_eq!(found.observed_at.day(), made.day());
}

fn late_and_future_events_and_day_boundaries_are_found(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    let mut oracle = Oracle::default();
    let ahead = Timestamp::from(std::time::SystemTime::now()).as_millis() + 20 * 3_600_000;
    let times = [TODAY, TODAY - 1, TODAY + DAY - 1, TODAY + DAY, TODAY - 300 * DAY, ahead];
    for (number, at) in times.into_iter().enumerate() {
        let batch = [simple(at, number as u128)];
        store.append(&batch).unwrap();
        oracle.append(&batch);
        store.commit().unwrap();
    }
    for from in times {
        for to in times {
            let range = TimeRange {
                from: Some(Timestamp::from_millis(from)),
                to: Some(Timestamp::from_millis(to)),
            };
            let query = Query { range, filter: Filter::All };
            check(&store, &oracle, &query, &Aggregation::Count, 2);
        }
    }
    for width in [Interval::Month, Interval::Millis(DAY), Interval::Auto] {
        let by_kind = Aggregation::Top(vec![Field::Kind], 3, None);
        for sub in [None, Some(Box::new(by_kind))] {
            check(&store, &oracle, &Query::ALL, &Aggregation::Histogram(width, sub), 3);
        }
    }
}

/// Texts that would end a literal, a statement or a reader's patience.
fn hostile() -> Vec<Untrusted> {
    let mut texts: Vec<Untrusted> = [
        "'",
        "\\",
        "\\'",
        "''",
        "\"",
        "`",
        "%",
        "_",
        "a\0b",
        "\0",
        "\n",
        "\t",
        "--",
        "/*",
        "\u{feff}",
        "'; DROP TABLE events; --",
        "') OR 1=1 --",
        "\\'; SELECT 1 --",
        "${jndi:ldap://x}",
        "{x:String}",
        "unhex('00')",
        "*",
        "?",
        "\\*",
        "[",
        "]",
        "^$",
        "(?i)a",
        "\\x41",
        "{1}",
        " ",
        "é\u{301}",
        "\u{10ffff}",
    ]
    .map(Untrusted::from)
    .to_vec();
    texts.push(Untrusted::new([0xff, 0xfe, b'\'', 0]));
    texts.push(Untrusted::new(vec![b'\''; palisade_event::MAX_TEXT_BYTES]));
    texts.push(Untrusted::new(vec![b'\\'; 4096]));
    texts.push(Untrusted::new(vec![0xc3; 5000]));
    texts
}

fn hostile_texts_are_data(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    let mut oracle = Oracle::default();
    let texts = hostile();
    let batch: Vec<Arc<Event>> = (0..texts.len())
        .map(|n| {
            let mut event = (*simple(TODAY + n as i64, n as u128)).clone();
            event.request = Some(texts[n].clone());
            event.credentials = Some(Credentials {
                username: Some(texts[texts.len() - 1 - n].clone()),
                password: Some(texts[n / 2].clone()),
                outcome: None,
            });
            event.cve = Some("CVE-'\\".into());
            Arc::new(event.with("note", texts[n].clone()))
        })
        .collect();
    assert_eq!(store.append(&batch).unwrap(), oracle.append(&batch));
    store.commit().unwrap();
    let pairs = Aggregation::Top(vec![Field::User, Field::Request], 100, None);
    let nested = Aggregation::Top(vec![Field::Request], 100, Some(Box::new(pairs.clone())));
    check(&store, &oracle, &Query::ALL, &pairs, 50);
    check(&store, &oracle, &Query::ALL, &nested, 50);
    for text in &texts {
        let text = text.to_lossy();
        let head: String = text.chars().take(3).collect();
        for filter in [
            Filter::In(Field::Request, vec![text.to_string(), "x".into()]),
            Filter::Prefix(Field::Request, head.clone()),
            Filter::Wildcard(Field::Request, format!("*{}?", head.replace('*', "\\*"))),
            Filter::Wildcard(Field::User, format!("{head}*")),
            Filter::Text(text.chars().take(200).collect()),
            Filter::Not(Box::new(Filter::In(Field::Cve, vec![head]))),
        ] {
            let query = Query { filter, ..Query::ALL };
            check(&store, &oracle, &query, &Aggregation::Count, 50);
        }
    }
}

/// While one thread appends and commits, every answer is that of a commit between
/// the last that was done before the question and the last begun before its answer.
fn answers_during_ingest_are_those_of_some_commit(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    let commits: usize = if engine == Engine::Embedded { 60 } else { 25 };
    let batches: Vec<Vec<Arc<Event>>> = (0..commits)
        .map(|number| {
            // The embedded engine commits and reads day by day, ClickHouse all at once.
            let days = if engine == Engine::Embedded { 1 } else { 3 };
            let at = |n: usize| TODAY - (((n + number) % days) as i64) * DAY + n as i64;
            (0..40).map(|n| simple(at(n), (number * 40 + n) as u128)).collect()
        })
        .collect();
    let by_day = Aggregation::Histogram(Interval::Millis(DAY), None);
    let kinds = Aggregation::Top(vec![Field::Kind], 3, Some(by_day.clone().into()));
    let questions = [
        Aggregation::Count,
        by_day,
        kinds,
        Aggregation::Distinct(Field::Id),
        Aggregation::Top(vec![Field::Sensor], 3, Some(Box::new(Aggregation::Distinct(Field::Id)))),
    ];
    let mut oracle = Oracle::default();
    let mut expected = vec![questions.each_ref().map(|ask| oracle.aggregate(&Query::ALL, ask))];
    for batch in &batches {
        oracle.append(batch);
        expected.push(questions.each_ref().map(|ask| oracle.aggregate(&Query::ALL, ask)));
    }
    let (begun, done, ended) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in &batches {
                store.append(batch).unwrap();
                begun.fetch_add(1, Ordering::SeqCst);
                store.commit().unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            }
            ended.store(true, Ordering::SeqCst);
        });
        let mut round = 0;
        while !ended.load(Ordering::SeqCst) || round < questions.len() {
            let place = round % questions.len();
            let before = done.load(Ordering::SeqCst);
            let answer = store.aggregate(&Query::ALL, &questions[place]).unwrap();
            let after = begun.load(Ordering::SeqCst);
            let possible = (before..=after).any(|number| expected[number][place] == answer);
            assert!(possible, "{answer:?} is of no commit in {before}..={after}");
            let page = store.search(&Query::ALL, 10_000, None).unwrap();
            assert!(page.events.windows(2).all(|pair| {
                (pair[0].observed_at, pair[0].id) > (pair[1].observed_at, pair[1].id)
            }));
            assert_eq!(page.events.len() % 40, 0, "half a commit");
            round += 1;
        }
    });
    let all = store.aggregate(&Query::ALL, &Aggregation::Count).unwrap();
    assert_eq!(all, Aggregated::Count { count: commits as u64 * 40 });
}

fn retention_removes_whole_days(engine: Engine) {
    let Some(mut place) = Place::new(engine) else { return };
    place.config.retention_days = 2;
    let store = place.open();
    let batch: Vec<Arc<Event>> = (0..5).map(|n| simple(TODAY - n * DAY, 1)).collect();
    store.append(&batch).unwrap();
    store.commit().unwrap();
    assert_eq!(store.retain(Timestamp::from_millis(TODAY)).unwrap(), 2);
    assert_eq!(store.stats().days, 3);
    assert_eq!(count(&store), Aggregated::Count { count: 3 });
    // What comes again of a removed day is new.
    assert_eq!(store.retain(Timestamp::from_millis(TODAY)).unwrap(), 0);
}

fn nothing_is_visible_before_the_commit_and_all_after_it(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    store.append(&[simple(TODAY, 1)]).unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 0 });
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 1 });
}

fn resent_batch_counts_once_after_a_crash_between_commits(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let batch: Vec<Arc<Event>> =
        (0..100).map(|n| simple(TODAY + n * 2_400_000, n as u128)).collect();
    {
        let store = place.open();
        store.append(&batch[..30]).unwrap();
        store.commit().unwrap();
        store.append(&batch).unwrap();
        // Dropped without a commit, as a crash would.
    }
    let store = place.open();
    let new = store.append(&batch).unwrap();
    assert_eq!(new.iter().filter(|new| **new).count(), 70);
    let events: Vec<&Event> = batch.iter().map(AsRef::as_ref).collect();
    assert_eq!(store.contains(&events).unwrap(), vec![true; 100]);
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: 100 });
}

fn extreme_and_many_days_are_kept_apart_and_found(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
    let mut batch = vec![simple(i64::MIN, 1), simple(i64::MAX, 2), simple(-1, 3), simple(0, 4)];
    batch.extend((0..80).map(|n| simple(TODAY - n * DAY, 9)));
    assert_eq!(store.append(&batch).unwrap(), vec![true; batch.len()]);
    store.commit().unwrap();
    assert_eq!(store.stats().days, 84);
    let all = store.search(&Query::ALL, 1000, None).unwrap().events;
    assert_eq!(all.len(), 84);
    assert!(all.windows(2).all(|pair| pair[0].observed_at > pair[1].observed_at));
    drop(store);
    let store = place.open();
    for event in &batch {
        assert_eq!(store.get(event.id).unwrap().as_ref(), Some(&**event));
    }
}

fn pages_stay_good_while_events_arrive(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
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

fn long_texts_come_back_whole_and_group_by_their_head(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
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

fn many_values_over_segments_and_days_are_grouped_as_by_the_oracle(engine: Engine) {
    let Some(place) = Place::new(engine) else { return };
    let store = place.open();
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
    // A question over the network takes milliseconds, so there are fewer.
    let asked = if engine == Engine::Embedded { 4 } else { 2 };
    for query in queries.iter().rev().take(asked) {
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
