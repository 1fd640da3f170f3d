//! The oracle: a store that keeps a list and answers by definition. And random
//! events and questions with few values, so that filters hit.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "shared test code"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use palisade_event::*;
use palisade_store::query::{
    Aggregation, AttributeTest, Cursor, Field, Filter, Interval, Query, TimeRange,
};
use palisade_store::{Aggregated, Bucket, Key};
use proptest::prelude::*;
use proptest::sample::select;

pub mod engine;
pub mod replicas;

/// An event of which nothing is known but when.
pub fn simple(at: i64, number: u128) -> Arc<Event> {
    let at = Timestamp::from_millis(at);
    let sensor = SensorId::new("edge").unwrap();
    Arc::new(Event::new(EventId::new(at, number), EventKind::AuthAttempted, at, sensor))
}

/// How many events a store holds.
pub fn count(store: &palisade_store::Store) -> Aggregated {
    store.aggregate(&Query::ALL, &Aggregation::Count).unwrap()
}

pub const DAY: i64 = 86_400_000;
/// 2026-11-20T00:00:00Z.
pub const TODAY: i64 = 1_795_132_800_000;

/// The naive store.
#[derive(Default)]
pub struct Oracle {
    pub events: Vec<Event>,
    ids: BTreeSet<(Day, EventId)>,
}

impl Oracle {
    pub fn append(&mut self, events: &[Arc<Event>]) -> Vec<bool> {
        let mut add = |event: &Arc<Event>| {
            let new = self.ids.insert((event.observed_at.day(), event.id));
            if new {
                self.events.push((**event).clone());
            }
            new
        };
        events.iter().map(&mut add).collect()
    }

    pub fn matching(&self, query: &Query) -> Vec<&Event> {
        let mut found: Vec<&Event> =
            self.events.iter().filter(|event| query.matches(event)).collect();
        found.sort_by_key(|event| std::cmp::Reverse((event.observed_at, event.id)));
        found
    }

    pub fn page(&self, query: &Query, limit: usize, after: Option<Cursor>) -> Vec<&Event> {
        let behind = |event: &&Event| {
            after.is_none_or(|a| (event.observed_at, event.id) < (a.observed_at, a.id))
        };
        self.matching(query).into_iter().filter(behind).take(limit).collect()
    }

    pub fn aggregate(&self, query: &Query, aggregation: &Aggregation) -> Aggregated {
        let events = self.matching(query);
        let first = events.iter().map(|e| e.observed_at.as_millis()).min();
        let last = events.iter().map(|e| e.observed_at.as_millis()).max();
        let low = query.range.from.map(Timestamp::as_millis).or(first);
        let high = query.range.to.map(|to| to.as_millis() - 1).or(last);
        answer(&events, aggregation, low.zip(high).filter(|(low, high)| low <= high))
    }
}

fn answer(events: &[&Event], aggregation: &Aggregation, span: Option<(i64, i64)>) -> Aggregated {
    let sub_of = |sub: &Option<Box<Aggregation>>, events: &[&Event]| {
        sub.as_deref().map(|sub| Box::new(answer(events, sub, span)))
    };
    match aggregation {
        Aggregation::Count => Aggregated::Count { count: events.len() as u64 },
        Aggregation::Distinct(field) => {
            let values: BTreeSet<Key> = events.iter().filter_map(|e| key(*field, e)).collect();
            Aggregated::Distinct { count: values.len() as u64, exact: true }
        }
        Aggregation::Histogram(interval, sub) => {
            let starts = span.map_or_else(Vec::new, |(low, high)| starts(*interval, low, high));
            let bucket = |pair: &[i64]| {
                let inside: Vec<&Event> = events
                    .iter()
                    .copied()
                    .filter(|e| (pair[0]..pair[1]).contains(&e.observed_at.as_millis()))
                    .collect();
                Bucket {
                    key: vec![Key::Text(Timestamp::from_millis(pair[0]).to_string())],
                    count: inside.len() as u64,
                    sub: sub_of(sub, &inside),
                }
            };
            Aggregated::Buckets { buckets: starts.windows(2).map(bucket).collect(), other: 0 }
        }
        Aggregation::Top(fields, k, sub) => {
            let mut groups: BTreeMap<Vec<Key>, Vec<&Event>> = BTreeMap::new();
            for event in events {
                let keys: Option<Vec<Key>> = fields.iter().map(|f| key(*f, event)).collect();
                if let Some(keys) = keys {
                    groups.entry(keys).or_default().push(event);
                }
            }
            let mut groups: Vec<(Vec<Key>, Vec<&Event>)> = groups.into_iter().collect();
            groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
            let other = groups.iter().skip(*k).map(|group| group.1.len() as u64).sum();
            let bucket = |(key, inside): (Vec<Key>, Vec<&Event>)| Bucket {
                key,
                count: inside.len() as u64,
                sub: sub_of(sub, &inside),
            };
            Aggregated::Buckets {
                buckets: groups.into_iter().take(*k).map(bucket).collect(),
                other,
            }
        }
    }
}

/// The narrowest of the documented widths that makes at most 120 buckets.
/// The first instants of the buckets from `low` to `high`, and of the one after.
fn starts(interval: Interval, low: i64, high: i64) -> Vec<i64> {
    let even = |width: i64| -> Vec<i64> {
        (low.div_euclid(width)..=high.div_euclid(width) + 1).map(|number| number * width).collect()
    };
    match interval {
        Interval::Millis(width) => even(width),
        Interval::Month => {
            let day = Timestamp::from_millis(low).day().to_string();
            let mut first: jiff::civil::Date = day.parse().unwrap();
            first = first.first_of_month();
            let mut starts = Vec::new();
            loop {
                let start = first.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
                starts.push(start.timestamp().as_millisecond());
                if starts.last().is_some_and(|start| *start > high) {
                    return starts;
                }
                first = first.checked_add(jiff::Span::new().months(1)).unwrap();
            }
        }
        Interval::Auto => {
            let minutes = [1, 5, 15, 30, 60, 180, 360, 1440, 7 * 1440].map(|m| m * 60_000);
            let widths = [1, 10, 30].map(|s| s * 1000).into_iter().chain(minutes);
            let fits = |width: &i64| high.div_euclid(*width) - low.div_euclid(*width) < 120;
            if let Some(width) = widths.into_iter().find(fits) {
                return even(width);
            }
            let months = starts(Interval::Month, low, high);
            if months.len() <= 121 { months } else { even(364 * DAY) }
        }
    }
}

/// A field's value, written independently of the engine.
fn key(field: Field, event: &Event) -> Option<Key> {
    let login = event.credentials.as_ref();
    let prints = event.fingerprints.as_deref();
    let geo = event.source_geo.as_deref();
    let cut = |text: &str| {
        let mut end = text.len().min(palisade_store::query::MAX_COMPARED_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    let hostile = |text: &Option<Untrusted>| text.as_ref().map(|t| cut(&t.to_lossy()));
    let text = match field {
        Field::SourcePort => return Some(Key::Integer(event.source?.port?.into())),
        Field::Port => return Some(Key::Integer(event.target?.port?.into())),
        Field::Asn => return Some(Key::Integer(geo?.asn?.into())),
        Field::Kind => Some(event.kind.as_str().to_owned()),
        Field::Domain => Some(event.domain.as_str().to_owned()),
        Field::Sensor => Some(event.sensor.to_string()),
        Field::Host => event.host.as_ref().map(ToString::to_string),
        Field::Analyzer => event.analyzer.as_ref().map(ToString::to_string),
        Field::Category => event.category.as_ref().map(ToString::to_string),
        Field::Ip => event.source.map(|end| end.address.to_canonical().to_string()),
        Field::Target => event.target.map(|end| end.address.to_canonical().to_string()),
        Field::Transport => event
            .target
            .and_then(|end| end.transport)
            .or(event.source.and_then(|end| end.transport))
            .map(|transport| transport.as_str().to_owned()),
        Field::Session => event.session.as_ref().map(ToString::to_string),
        Field::User => hostile(&login?.username),
        Field::Password => hostile(&login?.password),
        Field::Outcome => login?.outcome.map(|outcome| outcome.as_str().to_owned()),
        Field::Request => hostile(&event.request),
        Field::Client => hostile(&event.client),
        Field::UserAgent => hostile(&prints?.user_agent),
        Field::Os => prints?.os.as_deref().map(cut),
        Field::Hassh => prints?.hassh.as_deref().map(cut),
        Field::Ja4 => prints?.ja4.as_deref().map(cut),
        Field::Payload => event.payload.map(|hash| hash.to_string()),
        Field::PayloadName => hostile(&event.payload_name),
        Field::Cve => event.cve.as_deref().map(cut),
        Field::Country => geo?.country.map(|code| code.to_string()),
        Field::City => geo?.city.as_deref().map(cut),
        Field::Location => geo?.lat.zip(geo?.lon).map(|(lat, lon)| format!("{lat},{lon}")),
        Field::Org => geo?.organisation.as_deref().map(cut),
        Field::TargetCountry => event.target_geo.as_ref()?.country.map(|code| code.to_string()),
        Field::Id => Some(event.id.to_string()),
        Field::ObservedAt => Some(event.observed_at.to_string()),
        Field::ReceivedAt => event.received_at.map(|at| at.to_string()),
    };
    text.map(Key::Text)
}

fn word() -> impl Strategy<Value = String> {
    select(vec![
        "root",
        "admin",
        "Admin",
        "wget",
        "é",
        "",
        "a\0b",
        "x*y",
        "\"",
        "GET /a b",
        "ß\u{130}",
    ])
    .prop_map(str::to_owned)
}

fn hostile() -> impl Strategy<Value = Untrusted> {
    prop_oneof![
        8 => word().prop_map(Untrusted::from),
        1 => proptest::collection::vec(any::<u8>(), 0..12).prop_map(Untrusted::new),
        1 => (4090usize..4100, word()).prop_map(|(n, w)| Untrusted::from("é ".repeat(n / 3) + &w)),
        1 => Just(Untrusted::new(vec![b'x'; MAX_TEXT_BYTES])),
    ]
}

fn end() -> impl Strategy<Value = Endpoint> {
    let address =
        select(vec!["198.51.100.7", "198.51.100.9", "::1", "2001:db8::1", "::ffff:192.0.2.1"]);
    let transport = select(vec![Transport::Tcp, Transport::Udp, Transport::Icmp]);
    let port = proptest::option::of(select(vec![1u16, 22, 80, 65535]));
    (address, port, proptest::option::of(transport)).prop_map(|(address, port, transport)| {
        Endpoint { address: address.parse().unwrap(), port, transport }
    })
}

fn geo() -> impl Strategy<Value = Box<Geo>> {
    let some = proptest::option::of::<BoxedStrategy<Box<str>>>;
    (
        proptest::option::of(select(vec!["CN", "DE", "PIR"])),
        some(word().prop_map(String::into_boxed_str).boxed()),
        proptest::option::of(select(vec![0u32, 7, u32::MAX])),
        some(word().prop_map(String::into_boxed_str).boxed()),
        proptest::option::of(any::<f64>().prop_filter("number", |v| !v.is_nan())),
        proptest::option::of(select(vec![GeoPrecision::City, GeoPrecision::Country])),
    )
        .prop_map(|(country, city, asn, organisation, lat, precision)| {
            Box::new(Geo {
                country: country.map(|code| CountryCode::new(code).unwrap()),
                city,
                asn,
                organisation,
                lat,
                lon: lat.map(|lat| -lat),
                precision,
            })
        })
}

fn instant() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0i64..40).prop_map(|n| TODAY + n * 3_600_000 / 2),
        1 => Just(TODAY - 1),
        1 => (0i64..3).prop_map(|n| TODAY - n * DAY + 17),
        1 => Just(TODAY + 30 * DAY),
    ]
}

/// An arbitrary event near today.
pub fn event() -> impl Strategy<Value = Event> {
    // Rows of plug-ins lie in the index in a way of their own.
    let kind = prop_oneof![
        2 => select(EventKind::ALL),
        1 => Just(EventKind::PluginRecorded),
    ];
    let head = (instant(), 0u128..60, kind, any::<bool>(), 0..3u8);
    let ends = (proptest::option::of(end()), proptest::option::of(end()));
    let login = proptest::option::of((
        proptest::option::of(hostile()),
        proptest::option::of(hostile()),
        proptest::option::of(select(vec![Outcome::Accepted, Outcome::Failed])),
    ));
    let texts = (proptest::option::of(hostile()), proptest::option::of(hostile()));
    let prints = proptest::option::of((
        proptest::option::of(word()),
        proptest::option::of(any::<u8>()),
        proptest::option::of(any::<u64>()),
        proptest::option::of(hostile()),
    ));
    let geos = (proptest::option::of(geo()), proptest::option::of(geo()));
    let rest = (
        proptest::option::of(any::<[u8; 32]>()),
        proptest::option::of(instant()),
        proptest::collection::vec((0..4u8, hostile(), any::<f64>(), any::<i64>()), 0..3),
        any::<bool>(),
        proptest::option::of(hostile()),
    );
    (head, ends, login, texts, prints, geos, rest).prop_map(
        |((at, id, kind, community, sensor), ends, login, texts, prints, geos, rest)| {
            let at = Timestamp::from_millis(at);
            // Few ids, so that some come twice.
            let id = EventId::new(at, id);
            let sensor = SensorId::new(&format!("edge-{sensor}")).unwrap();
            let mut event = Event::new(id, kind, at, sensor);
            if community {
                event.domain = Domain::Community;
                event.host = HostName::new("web:1").ok();
                event.analyzer = AnalyzerName::new("cowrie 2").ok();
                event.category = Category::new("SSH/login(sshd)").ok();
            }
            (event.source, event.target) = ends;
            event.credentials = login.map(|(username, password, outcome)| Credentials {
                username,
                password,
                outcome,
            });
            (event.request, event.client) = texts;
            event.fingerprints = prints.map(|(os, distance, uptime_secs, user_agent)| {
                let os = os.map(String::into_boxed_str);
                let (link, hassh) = (os.clone(), os.clone());
                Box::new(Fingerprints {
                    os,
                    distance,
                    uptime_secs,
                    link,
                    hassh,
                    ja4: None,
                    user_agent,
                })
            });
            (event.source_geo, event.target_geo) = geos;
            event.payload = rest.0.map(PayloadHash);
            event.payload_name = rest.4;
            event.received_at = rest.1.map(Timestamp::from_millis);
            for (kind, text, real, integer) in rest.2 {
                let value = match kind {
                    0 => AttributeValue::Flag(true),
                    1 => AttributeValue::Integer(if integer % 2 == 0 {
                        integer % 9
                    } else {
                        integer
                    }),
                    2 if integer % 3 == 0 => AttributeValue::Real((integer % 20) as f64 / 2.0),
                    2 if !real.is_nan() => AttributeValue::Real(real),
                    _ => AttributeValue::Text(text),
                };
                event.attributes.insert(format!("a{kind}").into(), value);
            }
            if rest.3 {
                event.cve = Some("CVE-2026-24061".into());
                event.session = SessionId::new("s-1").ok();
            }
            event
        },
    )
}

pub fn field() -> impl Strategy<Value = Field> {
    select(Field::ALL)
}

/// An arbitrary filter over values that occur.
pub fn filter() -> impl Strategy<Value = Filter> {
    let value = prop_oneof![
        3 => word(),
        1 => select(EventKind::ALL).prop_map(|kind| kind.as_str().to_owned()),
        2 => select(vec!["22", "80", "cn", "DE", "198.51.100.7", "::1", "tcp", "failed", "edge-1",
            "community", "2026-11-20T00:30:00Z", "192.0.2.1", "SSH/login(sshd)", "cowrie 2", "7"])
            .prop_map(str::to_owned),
    ];
    let bound = || {
        proptest::option::of(prop_oneof![select(vec![0i64, 22, 79, 65535, i64::MAX]), instant()])
    };
    let number = || select(vec![-7.5, 0.0, 1.0, 7.0, 1e300]);
    let test = prop_oneof![
        1 => Just(AttributeTest::Exists),
        3 => proptest::collection::vec(value.clone(), 0..3).prop_map(AttributeTest::In),
        1 => hostile().prop_map(|text| AttributeTest::In(vec![text.to_lossy().into_owned()])),
        1 => "[aArex1\"\\\\]{0,2}".prop_map(AttributeTest::Prefix),
        2 => "[a*?rx\"\\\\]{0,4}".prop_map(|pattern| AttributeTest::pattern(&pattern)),
        1 => number().prop_map(|at| AttributeTest::Range(Bound::Excluded(at), Bound::Unbounded)),
        1 => number().prop_map(|at| AttributeTest::Range(Bound::Unbounded, Bound::Excluded(at))),
        1 => (number(), number())
            .prop_map(|(a, b)| AttributeTest::Range(Bound::Included(a), Bound::Included(b))),
    ];
    let leaf = prop_oneof![
        1 => Just(Filter::All),
        3 => (0..5u8, test).prop_map(|(name, test)| {
            Filter::Attribute(format!("a{name}").parse().unwrap(), test)
        }),
        2 => field().prop_map(Filter::Exists),
        4 => (field(), proptest::collection::vec(value.clone(), 0..3))
            .prop_map(|(f, v)| Filter::In(f, v)),
        2 => (field(), "[aArex1]{0,2}").prop_map(|(f, v)| Filter::Prefix(f, v)),
        2 => (field(), "[a*?rx\\\\]{0,4}").prop_map(|(f, v)| Filter::Wildcard(f, v)),
        2 => (field(), select(vec!["198.51.100.7", "::", "2001:db8::"]), 0u8..130)
            .prop_map(|(f, a, b)| Filter::Network(f, a.parse().unwrap(), b)),
        3 => (field(), bound(), bound()).prop_map(|(f, a, b)| Filter::Between(f, a, b)),
        3 => (word(), word()).prop_map(|(a, b)| Filter::Text(format!("{a} {b}"))),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|f| Filter::Not(Box::new(f))),
        ]
    })
}

/// An arbitrary query.
pub fn query() -> impl Strategy<Value = Query> {
    let bound = || proptest::option::weighted(0.4, instant().prop_map(Timestamp::from_millis));
    (bound(), bound(), filter())
        .prop_map(|(from, to, filter)| Query { range: TimeRange { from, to }, filter })
}

fn leaf_aggregation() -> impl Strategy<Value = Aggregation> {
    let widths = [3_600_000, 6 * 3_600_000, DAY, 7 * DAY].map(Interval::Millis);
    let interval = select([&widths[..], &[Interval::Auto, Interval::Month]].concat());
    prop_oneof![
        Just(Aggregation::Count),
        field().prop_map(Aggregation::Distinct),
        interval.prop_map(|interval| Aggregation::Histogram(interval, None)),
        (proptest::collection::vec(field(), 1..3), 1usize..5)
            .prop_map(|(fields, k)| Aggregation::Top(fields, k, None)),
    ]
}

/// An arbitrary aggregation that engines must answer.
pub fn aggregation() -> impl Strategy<Value = Aggregation> {
    (leaf_aggregation(), proptest::option::of(leaf_aggregation())).prop_map(|(outer, sub)| {
        let sub = sub.map(Box::new);
        match outer {
            Aggregation::Histogram(interval, _) => {
                let sub = sub.filter(|sub| !matches!(**sub, Aggregation::Histogram(..)));
                Aggregation::Histogram(interval, sub)
            }
            Aggregation::Top(fields, k, _) => Aggregation::Top(fields, k, sub),
            other => other,
        }
    })
}
