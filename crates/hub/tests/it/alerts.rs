//! What the readers of a honeypot network are told equals a plain count over a
//! list of the same events: late ones, ones sent again, of both domains, at the
//! borders of hours, days and months. On both engines.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::engine;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use engine::{Engine, Place as Store};
use palisade_event::{
    Category, CountryCode, Domain, Endpoint, Event, EventId, EventKind, Geo, SensorId, Timestamp,
};
use palisade_hub::Home;
use palisade_hub::alerts::{Aim, Alerts, Counted, End, Span, Window};
use palisade_store::Domains;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-03-02T00:00:00Z: the month before is short.
const TODAY: i64 = 1_772_409_600_000;
const HOME: Home = Home { lat: 50.7, lon: 7.1 };

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Times of interest, in milliseconds before now: around the windows' ends.
fn ago() -> impl Strategy<Value = i64> {
    let borders = vec![0, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR, DAY, 7 * DAY, 28 * DAY];
    prop_oneof![
        2 => (select(borders), -2..=2i64).prop_map(|(border, off)| border + off),
        3 => 0..3 * HOUR,
        2 => 0..3 * DAY,
        1 => 0..62 * DAY,
    ]
}

fn geo() -> impl Strategy<Value = Option<Geo>> {
    select(vec![
        None,
        Some(("PIR", None)),
        Some(("DE", Some((51.1, 10.4)))),
        Some(("DE", Some((50.7, 7.1)))),
        Some(("CN", Some((36.0, 104.0)))),
        Some(("US", None)),
    ])
    .prop_map(|known| {
        known.map(|(country, place)| Geo {
            country: CountryCode::new(country).ok(),
            lat: place.map(|(lat, _)| lat),
            lon: place.map(|(_, lon)| lon),
            ..Geo::default()
        })
    })
}

fn event() -> impl Strategy<Value = (i64, i64, Event)> {
    let sources = ["8.8.8.8", "2a02:c207::1", "10.0.0.1", "192.0.2.7", "9.9.9.9"];
    let categories =
        vec![None, Some("Webpage"), Some("SSH/console(cowrie)"), Some("Network(glutton)")];
    let what = (
        select(EventKind::ALL),
        any::<bool>(),
        select(categories),
        proptest::option::of(select(sources.to_vec())),
        proptest::option::of(1..6u16),
        proptest::option::of(select(vec!["GET /", "GET /cgi-bin/<x>", "POST /login"])),
    );
    let late = prop_oneof![3 => 0..2_000i64, 1 => -HOUR..2 * DAY];
    (ago(), late, geo(), geo(), what, 0..500u128).prop_map(
        |(
            ago,
            late,
            source_geo,
            target_geo,
            (kind, community, category, ip, port, request),
            id,
        )| {
            let sensor = SensorId::new("edge").unwrap();
            let mut event = Event::new(EventId::from_u128(id), kind, at(0), sensor);
            event.domain = if community { Domain::Community } else { Domain::Private };
            event.category = category.and_then(|name| Category::new(name).ok());
            event.source = ip.map(|ip| Endpoint::address(ip.parse().unwrap()));
            event.target = port.map(|port| Endpoint {
                port: Some(port),
                ..Endpoint::address("192.0.2.1".parse().unwrap())
            });
            event.request = request.map(Into::into);
            event.source_geo = source_geo.map(Box::new);
            event.target_geo = target_geo.map(Box::new);
            (ago, late, event)
        },
    )
}

/// The naive counter.
struct Naive<'a> {
    events: Vec<&'a Event>,
}

impl Naive<'_> {
    fn received(&self, from: i64, to: i64) -> impl Iterator<Item = &Event> {
        let inside = move |event: &&&Event| {
            event.received_at.is_some_and(|at| (from..to).contains(&at.as_millis()))
        };
        self.events.iter().filter(inside).copied()
    }

    fn observed(&self, from: i64, to: i64) -> impl Iterator<Item = &Event> {
        let inside = move |event: &&&Event| (from..to).contains(&event.observed_at.as_millis());
        self.events.iter().filter(inside).copied()
    }
}

fn grouped<'a, K: Ord>(
    events: impl Iterator<Item = &'a Event>,
    key: impl Fn(&Event) -> Option<K>,
) -> BTreeMap<K, u64> {
    let mut groups = BTreeMap::new();
    for event in events {
        if let Some(key) = key(event) {
            *groups.entry(key).or_insert(0) += 1;
        }
    }
    groups
}

fn category(event: &Event) -> Option<Option<String>> {
    Some(event.category.as_ref().map(ToString::to_string))
}

fn named(counted: &[Counted]) -> BTreeMap<Option<String>, u64> {
    let all: BTreeMap<_, _> =
        counted.iter().map(|counted| (counted.name.clone(), counted.count)).collect();
    assert_eq!(all.len(), counted.len(), "each name once: {counted:?}");
    all
}

/// Whether a list is the largest groups, the largest first.
#[track_caller]
fn assert_largest<K: Ord + Clone + std::fmt::Debug>(
    found: &[(K, u64)],
    groups: &BTreeMap<K, u64>,
    most: usize,
) {
    assert_eq!(found.len(), groups.len().min(most), "{found:?} of {groups:?}");
    assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{found:?}");
    let mut counts: Vec<u64> = groups.values().copied().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    for ((key, count), largest) in found.iter().zip(counts) {
        assert_eq!((groups.get(key), *count), (Some(&largest), largest), "{key:?}");
    }
    assert_eq!(found.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len(), found.len());
}

fn check(alerts: &Alerts<'_>, naive: &Naive<'_>, now: i64) {
    let day_start = now.div_euclid(DAY) * DAY;
    let windows = [1, 5, 15, 60, 24 * 60, 40 * 24 * 60].map(Window::Minutes);
    for window in windows.into_iter().chain([Window::Today]) {
        let from = match window {
            Window::Minutes(minutes) => now - i64::from(minutes) * MINUTE,
            Window::Today => day_start,
        };
        let expected = grouped(naive.received(from, now + 1), category);
        assert_eq!(named(&alerts.categories(window, at(now)).unwrap()), expected, "{window:?}");
        assert_eq!(alerts.count(window, at(now)).unwrap(), expected.values().sum::<u64>());
    }
    let recent = alerts.recent(at(now)).unwrap();
    let last = |millis: i64| naive.received(now - millis, now + 1).count() as u64;
    assert_eq!(
        [recent.day, recent.hour, recent.five_minutes, recent.minute],
        [last(DAY), last(HOUR), last(5 * MINUTE), last(MINUTE)]
    );

    for (before, days) in [(Some(1), 1), (Some(40), 40), (None, -1)] {
        let series = alerts.days(before, at(now)).unwrap();
        if days >= 0 {
            assert_eq!(series.len(), days as usize + 1, "every day is there");
        } else {
            // Since the same day of the month before.
            assert!((28..=32).contains(&series.len()), "{}", series.len());
        }
        for (number, (day, counted)) in series.iter().rev().enumerate() {
            let start = day_start - number as i64 * DAY;
            assert_eq!(day.start().as_millis(), start);
            let expected = grouped(naive.observed(start, start + DAY), category);
            assert_eq!(named(counted), expected, "{day}");
        }
    }

    let country = |geo: &Option<Box<Geo>>| {
        Some(geo.as_ref().and_then(|geo| geo.country).map(|country| country.to_string()))
    };
    let months = [("2026-03", 0, 31), ("2026-02", -28, 28), ("2026-01", -59, 31)];
    let first = at(TODAY).day().start().as_millis() - DAY;
    for (months_ago, (name, start, days)) in (0u16..).zip(months) {
        let (from, to) = (first + start * DAY, first + (start + days) * DAY);
        let month = alerts.countries(months_ago, 3, at(now)).unwrap();
        assert_eq!(month.name, name);
        let pairs = |counted: Vec<Counted>| -> Vec<(Option<String>, u64)> {
            counted.into_iter().map(|counted| (counted.name, counted.count)).collect()
        };
        let sources = grouped(naive.received(from, to), |event| country(&event.source_geo));
        assert_largest(&pairs(month.sources), &sources, 3);
        let targets = grouped(naive.received(from, to), |event| country(&event.target_geo));
        assert_largest(&pairs(month.targets), &targets, 3);
    }

    let place = |geo: &Option<Box<Geo>>| {
        let geo = geo.as_ref()?;
        let home = (geo.country == Some(CountryCode::PRIVATE)).then_some((HOME.lat, HOME.lon));
        let (lat, lon) = geo.lat.zip(geo.lon).or(home)?;
        Some(format!("{lat} {lon}"))
    };
    for (days_ago, from, to) in [
        (None, now - DAY, now + 1),
        (Some(1), day_start - DAY, day_start),
        (Some(3), day_start - 3 * DAY, day_start - 2 * DAY),
    ] {
        for end in [End::Source, End::Target] {
            let of = |event: &Event| match end {
                End::Source => place(&event.source_geo),
                End::Target => place(&event.target_geo),
            };
            let expected = grouped(naive.observed(from, to), of);
            let found = alerts.places(days_ago, end, 2, at(now)).unwrap();
            let found: Vec<(String, u64)> = found
                .into_iter()
                .map(|(place, count)| (format!("{} {}", place.lat, place.lon), count))
                .collect();
            assert_largest(&found, &expected, 2);
        }
    }

    for (span, days, width) in
        [(Span::Day, 1, HOUR), (Span::Week, 7, 6 * HOUR), (Span::FourWeeks, 28, DAY)]
    {
        let end = (now.div_euclid(width) + 1) * width;
        let first = end - days * DAY;
        for aim in [Aim::WebRequests, Aim::Ports] {
            let of = |event: &Event| match aim {
                Aim::Ports => event.target?.port.map(|port| port.to_string()),
                Aim::WebRequests => {
                    let is_web = event.category.as_ref().is_some_and(|c| c.as_str() == "Webpage");
                    event.request.as_ref().filter(|_| is_web).map(|r| r.to_lossy().into_owned())
                }
            };
            let found = alerts.tops(aim, span, 4, at(now)).unwrap();
            let starts: Vec<i64> = (first..end).step_by(width as usize).collect();
            assert_eq!(found.starts, starts.iter().map(|start| at(*start)).collect::<Vec<_>>());
            let totals: Vec<(String, u64)> = found
                .tops
                .iter()
                .map(|(name, counts)| (name.clone(), counts.iter().sum()))
                .collect();
            assert_largest(&totals, &grouped(naive.received(first, end), of), 4);
            for (number, start) in starts.iter().enumerate() {
                let inside = grouped(naive.received(*start, start + width), of);
                for (name, counts) in &found.tops {
                    assert_eq!(counts[number], inside.get(name).copied().unwrap_or(0), "{name}");
                }
            }
        }
    }

    for minutes in [15, 120] {
        let from = now - i64::from(minutes) * MINUTE;
        let public: BTreeSet<IpAddr> =
            ["8.8.8.8", "2a02:c207::1", "9.9.9.9"].map(|ip| ip.parse().unwrap()).into();
        let expected = grouped(naive.received(from, now + 1), |event| {
            event.source.map(|end| end.address).filter(|address| public.contains(address))
        });
        assert_largest(&alerts.addresses(minutes, at(now)).unwrap(), &expected, usize::MAX);
    }

    let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
    let mut newest: Vec<&Event> = naive.events.clone();
    newest.sort_by_key(|event| std::cmp::Reverse((event.observed_at, event.id)));
    let expected: Vec<EventId> = newest.iter().take(9).map(|event| event.id).collect();
    assert_eq!(ids(&alerts.newest(9).unwrap()), expected);
    let one: IpAddr = "8.8.8.8".parse().unwrap();
    let of_one = newest.iter().filter(|event| event.source.is_some_and(|end| end.address == one));
    let expected: Vec<EventId> = of_one.take(5).map(|event| event.id).collect();
    assert_eq!(ids(&alerts.newest_of(one, 5).unwrap()), expected);
    assert!(alerts.newest_of("10.0.0.1".parse().unwrap(), 5).unwrap().is_empty());
}

fn every_number_equals_a_naive_count(engine: Engine) {
    let cases = if engine == Engine::Embedded { 16 } else { 3 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let story = (
        proptest::collection::vec(proptest::collection::vec(event(), 0..60), 1..4),
        // Now, also at the very borders of a day and an hour.
        prop_oneof![select(vec![0, -1, 1, HOUR, HOUR - 1, DAY - 1]), 0..DAY],
    );
    TestRunner::new(config)
        .run(&story, |(batches, of_day)| {
            let Some(place) = Store::new(engine) else { return Ok(()) };
            let now = TODAY + of_day;
            let store = place.open();
            let mut all: Vec<Event> = Vec::new();
            let mut ids = BTreeSet::new();
            for batch in batches {
                let mut stored = Vec::new();
                for (ago, late, mut event) in batch {
                    // Nothing is received in the future.
                    let received = now - ago.max(0);
                    event.received_at = Some(at(received));
                    event.observed_at = at(received - late);
                    stored.push(Arc::new(event.clone()));
                    if ids.insert((event.observed_at.day(), event.id)) {
                        all.push(event);
                    }
                }
                store.append(&stored).unwrap();
                store.commit().unwrap();
                store.append(&stored).unwrap();
                store.commit().unwrap();
            }
            for domains in [Domains::Community, Domains::Private, Domains::Both] {
                let counts = |event: &&Event| event.kind.is_attack() && domains.has(event.domain);
                let naive = Naive { events: all.iter().filter(counts).collect() };
                check(&Alerts::new(&store, domains, Some(HOME)), &naive, now);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_number_equals_a_naive_count_in_the_embedded_store() {
    every_number_equals_a_naive_count(Engine::Embedded);
}

#[test]
fn every_number_equals_a_naive_count_in_clickhouse() {
    every_number_equals_a_naive_count(Engine::Debian);
}
