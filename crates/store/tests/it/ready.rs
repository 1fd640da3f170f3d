//! Aggregates counted in advance answer as the oracle does, and as counting
//! each event does, whatever happened to their files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod check;
mod segments;

use crate::common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{DAY, Oracle, TODAY, aggregation, event, query};
use palisade_event::*;
use palisade_store::query::{Aggregation, Field, Filter, Interval, Query, TimeRange};
use palisade_store::{Aggregated, Config, QueryError, ReadyOptions, Store};
use proptest::prelude::*;
use proptest::sample::select;

const HOUR: i64 = 3_600_000;

/// Keeps answers of the smallest segments, and of all that is asked twice.
fn eager() -> Config {
    let ready = ReadyOptions {
        min_events: 1,
        slow_ms: 0,
        few_counts: 0,
        min_sliced: 1,
        ..ReadyOptions::default()
    };
    Config { ready, ..Config::default() }
}

/// Counts each event.
fn direct() -> Config {
    let ready = ReadyOptions { min_events: u32::MAX, memory_bytes: 0, ..ReadyOptions::default() };
    Config { ready, ..Config::default() }
}

/// Remembers answers of every segment, as none is large enough for a file.
fn remembering() -> Config {
    let ready = ReadyOptions {
        min_events: u32::MAX,
        min_remembered: 0,
        min_sliced: 0,
        few_counts: 0,
        ..ReadyOptions::default()
    };
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
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

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
        let [dir, other, third] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let store = open(dir.path(), &eager());
        let counting = open(other.path(), &direct());
        let remembers = open(third.path(), &remembering());
        let mut oracle = Oracle::default();
        let mut now = TODAY;
        for (batch, keep) in batches {
            let batch = moved(batch, by);
            let new = oracle.append(&batch);
            for store in [&store, &counting, &remembers] {
                prop_assert_eq!(store.append(&batch).unwrap(), new.clone());
                store.append(&batch).unwrap();
                store.commit().unwrap();
            }
            if keep {
                upkeep(&store, now);
            }
            ask(&[&store, &counting, &remembers], &oracle, &questions[..10])?;
        }
        upkeep(&store, now);
        ask(&[&store, &remembers], &oracle, &questions)?;
        // What came again is kept now too.
        upkeep(&store, now);
        ask(&[&store, &remembers], &oracle, &questions)?;
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
        // What no question needed since it was damaged is still there, and only that.
        let found = engine(&store).check_ready().unwrap();
        prop_assert!(found.iter().all(|line| line.ends_with("are damaged")), "{:?}", found);
        prop_assert!(found.is_empty() || !damages.is_empty(), "{:?}", found);
        for day in std::fs::read_dir(dir.path().join("days")).unwrap() {
            let name = day.unwrap().file_name();
            engine(&store).rebuild_ready(name.to_str().unwrap().parse().unwrap()).unwrap();
        }
        prop_assert_eq!(engine(&store).check_ready().unwrap(), Vec::<String>::new());
        ask(&[&store], &oracle, &questions[..5])?;
    }
}

/// Many values, most of them seldom; ties at every place.
fn varied(n: u64) -> Arc<Event> {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let at = Timestamp::from_millis(TODAY - (n % 2) as i64 * DAY + (n as i64 * 7 % 1440) * 60_000);
    let sensor = SensorId::new("edge").unwrap();
    let mut event = Event::new(EventId::new(at, n.into()), EventKind::AuthAttempted, at, sensor);
    event.domain = if n.is_multiple_of(3) { Domain::Private } else { Domain::Community };
    let word = |n: u64| Some(Untrusted::from(format!("{n:x}")));
    event.credentials = Some(Credentials {
        username: word(mixed % 5),
        password: word(mixed % (1 + mixed / 3 % 400)),
        outcome: None,
    });
    event.source = Some(Endpoint {
        address: std::net::Ipv4Addr::from_bits((mixed % (1 + mixed / 11 % 5000)) as u32).into(),
        port: None,
        transport: None,
    });
    event.session = SessionId::new(&format!("{n:x}")).ok();
    Arc::new(event)
}

fn filled(dir: &Path, config: &Config, events: std::ops::Range<u64>) -> Store {
    let store = open(dir, config);
    let batch: Vec<Arc<Event>> = events.map(varied).collect();
    store.append(&batch).unwrap();
    store.commit().unwrap();
    store
}

fn top(field: Field, k: usize) -> Aggregation {
    Aggregation::Top(vec![field], k, None)
}

fn parse(text: &str) -> Query {
    Query::parse(text, Timestamp::from_millis(TODAY + DAY)).unwrap()
}

/// How often files answered for a segment, and how often events were counted.
fn counters(store: &Store) -> (u64, u64) {
    let stats = store.stats();
    (stats.ready_answers, stats.ready_misses)
}

#[test]
fn what_is_kept_is_not_counted_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &eager(), 0..1000);
    let query = parse("*");
    let before = store.aggregate(&query, &top(Field::Ip, 5)).unwrap();
    assert_eq!(counters(&store), (0, 2), "two segments, no file");
    upkeep(&store, TODAY);
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(store.stats().ready_bytes, bytes_of(&files(dir.path())));
    assert_eq!(store.aggregate(&query, &top(Field::Ip, 5)).unwrap(), before);
    assert_eq!(counters(&store), (2, 2));
    // Within one segment, from half an hour past one hour to half past another.
    let part = parse("since:2026-11-20T03:30:00Z until:2026-11-20T09:30:00Z");
    let hours = Aggregation::Histogram(Interval::Millis(HOUR), Some(top(Field::User, 3).into()));
    for aggregation in [hours, Aggregation::Distinct(Field::Ip), Aggregation::Count] {
        let (answers, _) = counters(&store);
        store.aggregate(&part, &aggregation).unwrap();
        let (after, misses) = counters(&store);
        assert!(after > answers, "{aggregation:?}");
        assert_eq!(misses, 2, "{aggregation:?}");
    }
    // Without the files, and after they were made anew.
    files(dir.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    drop(store);
    let store = open(dir.path(), &eager());
    assert_eq!(store.aggregate(&query, &top(Field::Ip, 5)).unwrap(), before);
    assert_eq!(counters(&store), (0, 2));
    upkeep(&store, TODAY);
    assert_eq!(store.aggregate(&query, &top(Field::Ip, 5)).unwrap(), before);
    assert_eq!(counters(&store), (2, 2));
}

fn bytes_of(files: &[PathBuf]) -> u64 {
    files.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn small_segments_have_no_file_and_a_merged_one_takes_the_place_of_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let ready = ReadyOptions { min_events: 300, memory_bytes: 0, ..eager().ready };
    let config = Config { ready, ..Config::default() };
    let store = filled(dir.path(), &config, 0..200);
    upkeep(&store, TODAY);
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    let more: Vec<Arc<Event>> = (200..1000).map(varied).collect();
    store.append(&more).unwrap();
    store.commit().unwrap();
    upkeep(&store, TODAY);
    let before = files(dir.path());
    assert_eq!(before.len(), 2);
    std::fs::write(before[0].with_extension("ready.draft"), "torn").unwrap();
    store.append(&[varied(1000), varied(1001)]).unwrap();
    store.commit().unwrap();
    let counted = Aggregated::Count { count: 1002 };
    assert_eq!(store.aggregate(&Query::ALL, &Aggregation::Count).unwrap(), counted);
    assert_eq!(counters(&store).0, 2);
    upkeep(&store, TODAY + 30 * DAY);
    upkeep(&store, TODAY + 30 * DAY + HOUR);
    let after = files(dir.path());
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|path| !before.contains(path)));
    let day = after[0].parent().unwrap();
    let drafts = std::fs::read_dir(day)
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "draft"));
    assert_eq!(drafts.count(), 0);
    assert_eq!(store.aggregate(&Query::ALL, &Aggregation::Count).unwrap(), counted);
}

#[test]
fn a_question_that_comes_again_is_kept_and_goes_when_there_is_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &eager(), 0..1000);
    upkeep(&store, TODAY);
    let query = parse("-user:1 password:1*");
    let ask = |store: &Store| store.aggregate(&query, &top(Field::User, 5)).unwrap();
    let answer = ask(&store);
    upkeep(&store, TODAY);
    assert_eq!(files(dir.path()).len(), 2, "asked once");
    assert_eq!(ask(&store), answer);
    upkeep(&store, TODAY);
    assert_eq!(files(dir.path()).len(), 4, "asked twice");
    let (answers, misses) = counters(&store);
    // The same question in other words.
    let other = parse("password:1* -user:1 -user:1");
    assert_eq!(store.aggregate(&other, &top(Field::User, 5)).unwrap(), answer);
    assert_eq!(counters(&store), (answers + 2, misses));
    drop(store);
    let store = open(dir.path(), &eager());
    assert_eq!(ask(&store), answer);
    assert_eq!(counters(&store), (2, 0), "kept over a restart");
    drop(store);

    let asked = files(dir.path()).into_iter().filter(|p| p.extension().unwrap() == "asked");
    let asked: Vec<PathBuf> = asked.collect();
    let ready = ReadyOptions { max_asked_bytes: bytes_of(&asked), ..eager().ready };
    let store = open(dir.path(), &Config { ready, ..Config::default() });
    for _ in 0..2 {
        store.aggregate(&parse("-user:2 password:2*"), &top(Field::User, 5)).unwrap();
    }
    upkeep(&store, TODAY);
    assert!(asked.iter().all(|path| !path.exists()), "the older one went");
    assert_eq!(ask(&store), answer);
}

#[test]
fn long_lists_are_ranked_by_thresholds_as_by_adding_up() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(dir.path(), &eager(), 0..20_000);
    let counting = filled(other.path(), &direct(), 0..20_000);
    upkeep(&store, TODAY);
    let queries = ["*", "day:2026-11-20", "since:2026-11-19T05:17:00Z until:2026-11-20T21:03:00Z"];
    for query in queries.map(parse) {
        for fields in [
            vec![Field::Password],
            vec![Field::Ip],
            vec![Field::User, Field::Password],
            vec![Field::Password, Field::User],
        ] {
            for k in [1, 7, 100, 1000] {
                let aggregation = Aggregation::Top(fields.clone(), k, None);
                let answer = store.aggregate(&query, &aggregation).unwrap();
                assert_eq!(
                    answer,
                    counting.aggregate(&query, &aggregation).unwrap(),
                    "{query} {k}"
                );
            }
            let inner = Aggregation::Top(fields.clone(), 4, None);
            let days = Aggregation::Histogram(Interval::Millis(DAY), Some(inner.clone().into()));
            let six = Aggregation::Histogram(Interval::Millis(6 * HOUR), None);
            let outer = Aggregation::Top(fields, 30, Some(six.into()));
            for aggregation in [days, outer] {
                let answer = store.aggregate(&query, &aggregation).unwrap();
                assert_eq!(answer, counting.aggregate(&query, &aggregation).unwrap(), "{query}");
                assert_eq!(counters(&store).1, 0, "{query} {aggregation:?}");
            }
        }
    }
    assert_eq!(counters(&store).1, 0, "only edges were counted");
}

#[test]
fn what_takes_too_much_memory_is_counted_share_by_share_and_refused_past_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::default();
    let batch: Vec<Arc<Event>> = (0..6000).map(varied).collect();
    oracle.append(&batch);
    drop(filled(dir.path(), &direct(), 0..6000));
    let limited = |tally_bytes: usize| {
        let ready = ReadyOptions { tally_bytes, ..direct().ready };
        open(dir.path(), &Config { ready, ..Config::default() })
    };
    let pairs = Aggregation::Top(vec![Field::Session, Field::User], 10, None);
    let nested = Aggregation::Top(vec![Field::User], 3, Some(top(Field::Session, 4).into()));
    let distinct = Aggregation::Distinct(Field::Session);
    let distinct = Aggregation::Top(vec![Field::User], 3, Some(distinct.into()));
    let days = Aggregation::Histogram(Interval::Millis(DAY), Some(top(Field::Session, 4).into()));
    let aggregations = [top(Field::Session, 10), top(Field::Ip, 10), pairs, nested, distinct, days];
    // About a quarter and a sixteenth of what it takes.
    for bytes in [200_000, 60_000] {
        let store = limited(bytes);
        for aggregation in &aggregations {
            let answer = store.aggregate(&Query::ALL, aggregation);
            assert_eq!(answer.unwrap(), oracle.aggregate(&Query::ALL, aggregation), "{bytes}");
        }
    }
    let refused = limited(2_000).aggregate(&Query::ALL, &top(Field::Session, 10));
    let Err(QueryError::Unsupported(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("too many different values"), "{reason}");
}
