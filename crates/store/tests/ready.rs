//! Aggregates counted in advance answer as the oracle does, and as counting
//! each event does, whatever happened to their files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{DAY, Oracle, TODAY, aggregation, event, query};
use palisade_event::*;
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query, TimeRange};
use palisade_store::{Config, ReadyOptions, Store};
use proptest::prelude::*;
use proptest::sample::select;

const HOUR: i64 = 3_600_000;

/// Keeps answers of the smallest segments, and of all that is asked twice.
fn eager() -> Config {
    let ready =
        ReadyOptions { min_events: 1, slow_ms: 0, few_counts: 0, ..ReadyOptions::default() };
    Config { ready, ..Config::default() }
}

/// Counts each event.
fn direct() -> Config {
    let ready = ReadyOptions { min_events: u32::MAX, ..ReadyOptions::default() };
    Config { ready, ..Config::default() }
}

fn open(dir: &Path, config: &Config) -> Store {
    Store::open(dir, config).unwrap()
}

/// Upkeep at some time, until there is nothing more to do.
fn upkeep(store: &Store, now: i64) {
    while store.maintain(Timestamp::from_millis(now)).unwrap() {}
}

fn engine(store: &Store) -> &palisade_store::Embedded {
    match store {
        Store::Embedded(engine) => engine,
        Store::ClickHouse(_) => panic!("another engine"),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let days = std::fs::read_dir(dir.join("days")).unwrap();
    let files = days.flat_map(|day| std::fs::read_dir(day.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "ready" || end == "asked"))
        .collect();
    files.sort();
    files
}

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Damage {
    Delete,
    Truncate(usize),
    Flip(usize),
    /// The file of another segment, or an older one of this.
    Foreign(usize),
    Append,
}

fn damage(path: &Path, damage: &Damage, all: &[PathBuf]) {
    let mut bytes = std::fs::read(path).unwrap();
    match damage {
        Damage::Delete => return std::fs::remove_file(path).unwrap(),
        Damage::Truncate(at) => bytes.truncate(at % (bytes.len() + 1)),
        Damage::Flip(at) => {
            let place = at % (bytes.len() * 8);
            bytes[place / 8] ^= 1 << (place % 8);
        }
        Damage::Foreign(other) => {
            bytes = std::fs::read(&all[other % all.len()]).unwrap_or_default()
        }
        Damage::Append => bytes.extend([0; 100]),
    }
    std::fs::write(path, bytes).unwrap();
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Delete),
        any::<usize>().prop_map(Damage::Truncate),
        any::<usize>().prop_map(Damage::Flip),
        any::<usize>().prop_map(Damage::Foreign),
        Just(Damage::Append),
    ]
}

fn bound() -> impl Strategy<Value = Option<Timestamp>> {
    let near = select(vec![0, 1, -1, 17 * 60_000, 30 * 60_000, 300_000]);
    let some = (-30i64..30, near);
    proptest::option::weighted(
        0.7,
        some.prop_map(|(hour, near)| Timestamp::from_millis(TODAY + hour * HOUR + near)),
    )
}

/// Questions as dashboards ask them, and any others.
fn question() -> impl Strategy<Value = (Query, Aggregation)> {
    let community = Filter::In(Field::Domain, vec!["community".into()]);
    let web = Filter::In(Field::Category, vec!["Webpage".into()]);
    let both = Filter::And(vec![web.clone(), community.clone()]);
    let known = select(vec![Filter::All, community, web, both]);
    let kept = (bound(), bound(), known)
        .prop_map(|(from, to, filter)| Query { range: TimeRange { from, to }, filter })
        .boxed();
    let field = select(vec![
        Field::Country,
        Field::Ip,
        Field::User,
        Field::Password,
        Field::Port,
        Field::Category,
        Field::Request,
        Field::Asn,
    ]);
    let pair = select(vec![[Field::User, Field::Password], [Field::Password, Field::User]]);
    let fields = prop_oneof![3 => field.clone().prop_map(|field| vec![field]), 1 => pair.prop_map(|pair| pair.to_vec())];
    let width = select(vec![60_000i64, 300_000, 900_000, HOUR, 6 * HOUR, DAY, 7 * DAY]);
    let interval = prop_oneof![
        5 => width.prop_map(Interval::Millis),
        1 => Just(Interval::Auto),
        1 => Just(Interval::Month),
    ];
    let leaf = prop_oneof![
        1 => Just(Aggregation::Count),
        2 => field.prop_map(Aggregation::Distinct),
        3 => (fields, 1usize..5).prop_map(|(fields, k)| Aggregation::Top(fields, k, None)),
    ];
    let usual = (leaf, proptest::option::of(interval), any::<bool>())
        .prop_map(|(leaf, interval, outside)| match (leaf, interval) {
            (Aggregation::Top(fields, k, _), Some(interval)) if !outside => {
                let inner = Aggregation::Histogram(interval, None);
                Aggregation::Top(fields, k, Some(inner.into()))
            }
            (leaf, Some(interval)) if outside => {
                Aggregation::Histogram(interval, Some(leaf.into()))
            }
            (leaf, _) => leaf,
        })
        .boxed();
    let narrow = |(query, aggregation): (Query, Aggregation)| {
        // At most so many buckets are answered.
        let open = query.range.from.is_none() || query.range.to.is_none();
        let long = query
            .range
            .from
            .zip(query.range.to)
            .is_none_or(|(from, to)| to.as_millis() - from.as_millis() > 3 * DAY);
        let wide = |interval: Interval| match interval {
            Interval::Millis(width) if (open || long) && width < DAY => Interval::Millis(7 * DAY),
            interval => interval,
        };
        let aggregation = match aggregation {
            Aggregation::Histogram(interval, sub) => Aggregation::Histogram(wide(interval), sub),
            Aggregation::Top(fields, k, Some(sub)) => match *sub {
                Aggregation::Histogram(interval, sub) => {
                    let inner = Aggregation::Histogram(wide(interval), sub);
                    Aggregation::Top(fields, k, Some(inner.into()))
                }
                sub => Aggregation::Top(fields, k, Some(sub.into())),
            },
            other => other,
        };
        (query, aggregation)
    };
    prop_oneof![
        3 => (kept.clone(), usual.clone()).prop_map(narrow),
        1 => (query(), usual).prop_map(narrow),
        1 => (kept, aggregation()).prop_map(narrow),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = (0i64..26, select(vec![0, 1, 59_999, 60_000, HOUR - 1]));
    let one = (event(), proptest::option::weighted(0.7, at), any::<bool>()).prop_map(
        |(mut event, at, web)| {
            if let Some((hour, near)) = at {
                event.observed_at = Timestamp::from_millis(TODAY - HOUR + hour * HOUR + near);
            }
            if web {
                event.category = Category::new("Webpage").ok();
            }
            event
        },
    );
    proptest::collection::vec(one, 0..40)
}

/// Moves events to other years, such as those around 1970.
fn moved(events: Vec<Event>, by: i64) -> Vec<Arc<Event>> {
    let moved = |mut event: Event| {
        event.observed_at = event.observed_at.plus_millis(by);
        Arc::new(event)
    };
    events.into_iter().map(moved).collect()
}

fn ask(
    stores: &[&Store],
    oracle: &Oracle,
    questions: &[(Query, Aggregation)],
) -> Result<(), TestCaseError> {
    for (query, aggregation) in questions {
        let expected = oracle.aggregate(query, aggregation);
        for store in stores {
            let answer = store.aggregate(query, aggregation).unwrap();
            prop_assert_eq!(&answer, &expected, "{} {:?}", query, aggregation);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_the_oracle_whatever_happens_to_the_files(
        batches in proptest::collection::vec((events(), any::<bool>()), 1..4),
        questions in proptest::collection::vec(question(), 30),
        damages in proptest::collection::vec((any::<usize>(), any_damage()), 0..4),
        late in events(),
        by in select(vec![0, -TODAY]),
    ) {
        let questions: Vec<(Query, Aggregation)> = questions
            .into_iter()
            .map(|(mut query, aggregation)| {
                query.range.from = query.range.from.map(|from| from.plus_millis(by));
                query.range.to = query.range.to.map(|to| to.plus_millis(by));
                (query, aggregation)
            })
            .collect();
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(dir.path(), &eager());
        let counting = open(other.path(), &direct());
        let mut oracle = Oracle::default();
        let mut now = TODAY;
        for (batch, keep) in batches {
            let batch = moved(batch, by);
            let new = oracle.append(&batch);
            for store in [&store, &counting] {
                prop_assert_eq!(store.append(&batch).unwrap(), new.clone());
                store.append(&batch).unwrap();
                store.commit().unwrap();
            }
            if keep {
                upkeep(&store, now);
            }
            ask(&[&store, &counting], &oracle, &questions[..10])?;
        }
        upkeep(&store, now);
        ask(&[&store], &oracle, &questions)?;
        // What came again is kept now too.
        upkeep(&store, now);
        ask(&[&store], &oracle, &questions)?;
        prop_assert_eq!(engine(&store).check_ready().unwrap(), Vec::<String>::new());
        drop(store);
        let all = files(dir.path());
        for (file, kind) in damages.iter().filter(|_| !all.is_empty()) {
            let path = &all[file % all.len()];
            if path.exists() {
                damage(path, kind, &all);
            }
        }
        let store = open(dir.path(), &eager());
        ask(&[&store], &oracle, &questions)?;
        upkeep(&store, now);
        ask(&[&store], &oracle, &questions)?;
        // A late event reopens its day, a merge makes other segments.
        let late = moved(late, by);
        oracle.append(&late);
        store.append(&late).unwrap();
        store.commit().unwrap();
        ask(&[&store], &oracle, &questions)?;
        now += 90 * DAY;
        upkeep(&store, now);
        upkeep(&store, now + HOUR);
        ask(&[&store], &oracle, &questions)?;
        upkeep(&store, now + 2 * HOUR);
        prop_assert_eq!(engine(&store).check_ready().unwrap(), Vec::<String>::new());
        ask(&[&store], &oracle, &questions[..5])?;
    }
}
