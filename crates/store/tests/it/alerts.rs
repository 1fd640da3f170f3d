//! Alerts are counted as a list of the same events would be counted: by both
//! clocks, with late events, events sent again, both domains, and ranges that
//! begin and end anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may fail"
)]

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::engine::{Engine, Place as Store_};
use common::{DAY, Oracle, TODAY, event};
use palisade_event::{
    AnalyzerName, Category, Domain, Endpoint, Event, EventId, EventKind, Geo, HostName, SensorId,
    Timestamp,
};
use palisade_store::{
    AlertField, AlertGroup, AlertKey, AlertOptions, AlertQuestion, Clock, Domains, HoneypotCount,
    HoneypotDay, Place, Store, WEB_CATEGORY,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

crate::on_every_engine! {
    alerts_are_counted_as_by_the_oracle
    the_order_of_equals_is_that_of_their_values
}

const FIELDS: [AlertField; 8] = [
    AlertField::Category,
    AlertField::Country,
    AlertField::TargetCountry,
    AlertField::Place,
    AlertField::TargetPlace,
    AlertField::Port,
    AlertField::WebRequest,
    AlertField::Source,
];

fn place(geo: Option<&Geo>) -> AlertKey {
    let known = geo.and_then(|geo| geo.lat.zip(geo.lon));
    match known {
        Some((lat, lon)) => AlertKey::Place(Place { lat, lon }),
        None if geo.and_then(|geo| geo.country).is_some_and(|c| c.as_str() == "PIR") => {
            AlertKey::Private
        }
        None => AlertKey::Unknown,
    }
}

/// The value of an event, or `None` where it does not count.
fn value(event: &Event, by: AlertField) -> Option<AlertKey> {
    let text = |text: Option<String>| text.map_or(AlertKey::Unknown, AlertKey::Text);
    let country = |geo: &Option<Box<Geo>>| {
        text(geo.as_ref().and_then(|geo| geo.country).map(|country| country.to_string()))
    };
    let category = event.category.as_ref().map(ToString::to_string);
    Some(match by {
        AlertField::Category => text(category),
        AlertField::Country => country(&event.source_geo),
        AlertField::TargetCountry => country(&event.target_geo),
        AlertField::Place => place(event.source_geo.as_deref()),
        AlertField::TargetPlace => place(event.target_geo.as_deref()),
        AlertField::Port => AlertKey::Port(event.target?.port?),
        AlertField::WebRequest if category.as_deref() != Some(WEB_CATEGORY) => return None,
        AlertField::WebRequest => {
            // As far as texts are compared.
            let text = event.request.as_ref()?.to_lossy().into_owned();
            let mut end = text.len().min(palisade_store::query::MAX_COMPARED_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            AlertKey::Text(text[..end].to_owned())
        }
        AlertField::Source => AlertKey::Address(event.source?.address.to_canonical()),
    })
}

fn order(a: &AlertKey, b: &AlertKey) -> std::cmp::Ordering {
    let rank = |key: &AlertKey| match key {
        AlertKey::Unknown => 0,
        AlertKey::Private => 1,
        AlertKey::Text(_) => 2,
        AlertKey::Port(_) => 3,
        AlertKey::Address(_) => 4,
        AlertKey::Place(_) => 5,
    };
    match (a, b) {
        (AlertKey::Text(a), AlertKey::Text(b)) => a.cmp(b),
        (AlertKey::Port(a), AlertKey::Port(b)) => a.cmp(b),
        (AlertKey::Place(a), AlertKey::Place(b)) => {
            a.lat.partial_cmp(&b.lat).unwrap().then(a.lon.partial_cmp(&b.lon).unwrap())
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn naive(events: &[Event], question: &AlertQuestion) -> Vec<AlertGroup> {
    let mut groups: Vec<AlertGroup> = Vec::new();
    let (from, to) = (question.from.as_millis(), question.to.as_millis());
    let buckets = question.bucket_ms.map_or(0, |width| ((to - from) / width) as usize);
    for event in events {
        let Some(at) = question.clock.of(event) else { continue };
        let in_range = question.from <= at && at < question.to;
        if !in_range || !event.kind.is_attack() || !question.domains.has(event.domain) {
            continue;
        }
        let Some(key) = value(event, question.by) else { continue };
        let place = groups.iter().position(|group| group.key == key).unwrap_or_else(|| {
            groups.push(AlertGroup { key, count: 0, buckets: vec![0; buckets] });
            groups.len() - 1
        });
        groups[place].count += 1;
        if let Some(width) = question.bucket_ms {
            groups[place].buckets[((at.as_millis() - from) / width) as usize] += 1;
        }
    }
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| order(&a.key, &b.key)));
    groups.truncate(question.most.unwrap_or(usize::MAX));
    groups
}

fn naive_day(events: &[Event], day: palisade_event::Day, domains: Domains) -> HoneypotDay {
    let mut found = HoneypotDay::default();
    let (mut pots, mut daemons) = (BTreeSet::new(), BTreeSet::new());
    let mut by_category: BTreeMap<String, (u64, BTreeSet<String>)> = BTreeMap::new();
    for event in events {
        let counts = event.kind.is_attack() && domains.has(event.domain);
        if !counts || event.observed_at.day() != day {
            continue;
        }
        let pot = match (&event.host, event.target) {
            (Some(host), _) => format!("host {host}"),
            (None, Some(target)) => format!("target {}", target.address.to_canonical()),
            (None, None) => format!("sensor {}", event.sensor),
        };
        let daemon = match &event.analyzer {
            Some(analyzer) => format!("analyzer {analyzer}"),
            None => format!("sensor {}", event.sensor),
        };
        let category = event.category.as_ref().map_or("Unclassified".into(), ToString::to_string);
        let of_category = by_category.entry(category).or_default();
        of_category.0 += 1;
        of_category.1.insert(pot.clone());
        daemons.insert((pot.clone(), daemon));
        pots.insert(pot);
        found.alerts += 1;
    }
    found.honeypots = pots.len() as u64;
    found.daemons = daemons.len() as u64;
    let count = |(alerts, pots): (u64, BTreeSet<String>)| HoneypotCount {
        alerts,
        honeypots: pots.len() as u64,
    };
    found.by_category = by_category.into_iter().map(|(key, of)| (key, count(of))).collect();
    found
}

/// An alert, most of the time received soon after it happened.
fn alert() -> impl Strategy<Value = Event> {
    let names = (
        select(vec![None, Some(WEB_CATEGORY), Some("SSH/console(cowrie)"), Some("Unclassified")]),
        select(vec![None, Some("pot-1"), Some("pot-2"), Some("10.0.0.1")]),
        select(vec![None, Some("cowrie"), Some("edge-0")]),
    );
    let delay = prop_oneof![3 => 0..90_000i64, 1 => -3_600_000..5 * DAY];
    (event(), names, delay).prop_map(|(mut event, (category, host, analyzer), delay)| {
        event.category = category.and_then(|name| Category::new(name).ok());
        event.host = host.and_then(|name| HostName::new(name).ok());
        event.analyzer = analyzer.and_then(|name| AnalyzerName::new(name).ok());
        event.received_at = Some(event.observed_at.plus_millis(delay));
        event
    })
}

fn question() -> impl Strategy<Value = AlertQuestion> {
    let domains = select(vec![Domains::Community, Domains::Private, Domains::Both]);
    let clock = select(vec![Clock::Observed, Clock::Received]);
    let width = select(vec![1, 60_000, 600_000, 3_600_000, 6 * 3_600_000, DAY]);
    let range = (-3 * DAY..2 * DAY, 0..4 * DAY);
    let most = proptest::option::of(1..6usize);
    (domains, clock, select(FIELDS.to_vec()), width, any::<bool>(), range, most).prop_map(
        |(domains, clock, by, width, buckets, (from, length), most)| {
            let even = |at: i64| at.div_euclid(width) * width;
            let bucketed = buckets && width >= 3_600_000 && by != AlertField::Source;
            AlertQuestion {
                domains,
                clock,
                from: Timestamp::from_millis(TODAY + even(from)),
                to: Timestamp::from_millis(TODAY + even(from) + even(length)),
                by,
                bucket_ms: bucketed.then_some(width),
                most: most.filter(|_| by != AlertField::Source),
            }
        },
    )
}

fn check(store: &Store, events: &[Event], question: &AlertQuestion) {
    let mut found = store.count_alerts(question).unwrap();
    let mut expected = naive(events, question);
    if question.by == AlertField::Source {
        for groups in [&mut found, &mut expected] {
            groups.sort_by_key(|group| format!("{:?}", group.key));
        }
    }
    assert_eq!(found, expected, "{question:?}");
}

fn alerts_are_counted_as_by_the_oracle(engine: Engine) {
    let (cases, asked) = if engine == Engine::Embedded { (24, 60) } else { (6, 25) };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let story = (
        proptest::collection::vec(proptest::collection::vec(alert(), 0..40), 1..5),
        proptest::collection::vec(question(), asked),
        // From how many events on units of time answer, and whether days are merged.
        select(vec![0, 10, 65_536]),
        any::<bool>(),
    );
    TestRunner::new(config)
        .run(&story, |(batches, questions, few_events, merged)| {
            let Some(mut place) = Store_::new(engine) else { return Ok(()) };
            place.config.alerts = AlertOptions { few_events, unit_events: 4 };
            let store = place.open();
            let mut oracle = Oracle::default();
            for (number, batch) in batches.iter().enumerate() {
                let batch: Vec<Arc<Event>> = batch.iter().cloned().map(Arc::new).collect();
                oracle.append(&batch);
                store.append(&batch).unwrap();
                // Once more: it counts once.
                store.append(&batch).unwrap();
                store.commit().unwrap();
                // What was kept in between must not be what is answered later.
                for question in questions.iter().skip(number).step_by(batches.len()) {
                    check(&store, &oracle.events, question);
                }
            }
            if merged {
                let much_later = Timestamp::from_millis(TODAY + 30 * DAY);
                while store.maintain(much_later).unwrap() {}
            }
            for question in &questions {
                check(&store, &oracle.events, question);
                let day = question.from.day();
                let found = store.count_honeypots(day, question.domains).unwrap();
                assert_eq!(found, naive_day(&oracle.events, day, question.domains), "{day}");
            }
            Ok(())
        })
        .unwrap();
}

fn the_order_of_equals_is_that_of_their_values(engine: Engine) {
    let Some(place) = Store_::new(engine) else { return };
    let store = place.open();
    let events: Vec<Arc<Event>> = (0..60u16)
        .map(|n| {
            let at = Timestamp::from_millis(TODAY + i64::from(n));
            let id = EventId::new(at, n.into());
            let sensor = SensorId::new("edge").unwrap();
            let mut event = Event::new(id, EventKind::ConnectionOpened, at, sensor);
            event.received_at = Some(at);
            event.domain = Domain::Community;
            let mut target = Endpoint::address("192.0.2.1".parse().unwrap());
            target.port = Some(60 - n);
            event.target = Some(target);
            Arc::new(event)
        })
        .collect();
    for half in events.chunks(30) {
        store.append(half).unwrap();
        store.commit().unwrap();
    }
    let question = AlertQuestion {
        domains: Domains::Community,
        clock: Clock::Received,
        from: Timestamp::from_millis(TODAY),
        to: Timestamp::from_millis(TODAY + DAY),
        by: AlertField::Port,
        bucket_ms: None,
        most: Some(12),
    };
    let found = store.count_alerts(&question).unwrap();
    let expected: Vec<AlertKey> = (1..=12).map(AlertKey::Port).collect();
    assert_eq!(found.into_iter().map(|group| group.key).collect::<Vec<_>>(), expected);
}

/// More events than are looked at together, so that some of a segment are left
/// out by their chunk.
#[test]
fn a_long_segment_that_a_range_cuts_is_counted_exactly() {
    let mut place = Store_::new(Engine::Embedded).unwrap();
    place.config.alerts = AlertOptions { few_events: 0, unit_events: 1_000_000 };
    let store = place.open();
    let events: Vec<Arc<Event>> = (0..40_000u32)
        .map(|n| {
            let at = Timestamp::from_millis(TODAY + i64::from(n) * 2_000);
            let id = EventId::new(at, n.into());
            let sensor = SensorId::new("edge").unwrap();
            let mut event = Event::new(id, EventKind::AuthAttempted, at, sensor);
            // One in a thousand comes late, or its sensor's clock is ahead.
            let delay = if n % 1_000 == 7 { 7_200_000 } else { 50 };
            event.received_at = Some(at.plus_millis(if n % 1_000 == 9 { -40_000 } else { delay }));
            event.source = Some(Endpoint::address(std::net::Ipv4Addr::from_bits(n % 77).into()));
            Arc::new(event)
        })
        .collect();
    store.append(&events).unwrap();
    store.commit().unwrap();
    let all: Vec<Event> = events.iter().map(|event| Event::clone(event)).collect();
    for (from, to) in [(0, 1), (1, 70_000_000), (33_333_333, 33_999_999), (79_990_000, 90_000_000)]
    {
        for clock in [Clock::Observed, Clock::Received] {
            for by in [AlertField::Category, AlertField::Source] {
                let question = AlertQuestion {
                    domains: Domains::Both,
                    clock,
                    from: Timestamp::from_millis(TODAY + from),
                    to: Timestamp::from_millis(TODAY + to),
                    by,
                    bucket_ms: None,
                    most: None,
                };
                check(&store, &all, &question);
                check(&store, &all, &question);
            }
        }
    }
}
