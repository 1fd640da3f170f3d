//! What only ClickHouse has: other hubs, lost connections, other servers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use crate::common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::engine::{Engine, Place, Server, free_port};
use common::replicas::Cluster;
use common::{DAY, TODAY, count, simple};
use palisade_event::{AnalyzerName, Domain, Event, EventKind, Timestamp};
use palisade_store::query::{Aggregation, Field, Query};
use palisade_store::{Aggregated, ClickHouseConfig, Config, KeepRule, Store};

/// How long a test waits for something that must happen.
const DEADLINE: Duration = Duration::from_secs(120);
const SERVERS: [Engine; 2] = [Engine::Debian, Engine::Current];

fn events(numbers: std::ops::Range<usize>) -> Vec<Arc<Event>> {
    numbers.map(|n| simple(TODAY - (n % 2) as i64 * DAY + n as i64, n as u128)).collect()
}

fn config(settings: ClickHouseConfig) -> Config {
    Config { clickhouse: Some(settings), ..Config::default() }
}

/// Appends and commits until it went through, as the hub does.
fn store_all(store: &Store, batch: &[Arc<Event>]) {
    let began = Instant::now();
    let mut failure = None;
    while began.elapsed() < DEADLINE {
        match store.append(batch).and_then(|_| store.commit()) {
            Ok(()) => return,
            Err(error) => failure = Some(error),
        }
        store.roll_back();
    }
    panic!("never stored: {failure:?}, {:?}", store.check());
}

/// No id is ever counted twice.
fn assert_each_once(store: &Store) {
    let top = Aggregation::Top(vec![Field::Id], 3, None);
    let Aggregated::Buckets { buckets, .. } = store.aggregate(&Query::ALL, &top).unwrap() else {
        panic!("no buckets")
    };
    assert!(buckets.iter().all(|bucket| bucket.count == 1), "{buckets:?}");
}

#[test]
fn two_hubs_that_write_the_same_events_count_each_once_at_any_moment() {
    for engine in SERVERS {
        let Some(place) = Place::new(engine) else { continue };
        let other = tempfile::tempdir().unwrap();
        let stores = [place.open(), place.open_as(other.path())];
        let rounds = 12;
        let turn = std::sync::Barrier::new(2);
        let ended = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for store in &stores {
                let (turn, ended) = (&turn, &ended);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let batch = events(round * 100..round * 100 + 150);
                        turn.wait();
                        store.append(&batch).unwrap();
                        // Both have looked before either is published.
                        turn.wait();
                        store.commit().unwrap();
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            let reader = place.open();
            while ended.load(Ordering::SeqCst) < 2 {
                if reader.check().is_ok() {
                    assert_each_once(&reader);
                }
            }
        });
        let expected = Aggregated::Count { count: (rounds * 100 + 50) as u64 };
        for store in &stores {
            assert_eq!(count(store), expected);
            assert_each_once(store);
        }
        let rows = |table: &str| -> u64 {
            place.sql(&format!("SELECT count() FROM {{db}}.{table}")).trim().parse().unwrap()
        };
        assert!(rows("doubles") > 0, "the race never happened");
        // Upkeep removes the copies that do not count, and then what named them.
        let later = Timestamp::from(std::time::SystemTime::now()).plus_millis(2 * 3_600_000);
        while rows("events") > (rounds * 100 + 50) as u64 || rows("doubles") > 0 {
            while stores[0].maintain(later).unwrap() {}
            assert_eq!(count(&stores[1]), expected);
        }
        assert_eq!(stores[0].stats().events, (rounds * 100 + 50) as u64);
    }
}

/// Passes requests on to a server, and breaks one connection: before or after
/// the server had the request.
struct Breaker {
    port: u16,
    /// Requests until it breaks.
    left: Arc<AtomicUsize>,
    after: Arc<AtomicBool>,
}

impl Breaker {
    fn start(to: &str) -> Self {
        let to = to.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let after = Arc::new(AtomicBool::new(false));
        let (l, a) = (Arc::clone(&left), Arc::clone(&after));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (to, left, after) = (to.clone(), Arc::clone(&l), Arc::clone(&a));
                std::thread::spawn(move || serve(client.unwrap(), &to, &left, &after));
            }
        });
        Self { port, left, after }
    }
}

fn serve(mut client: TcpStream, to: &str, left: &AtomicUsize, after: &AtomicBool) -> Option<()> {
    let request = request(&mut client)?;
    let breaks = left.fetch_sub(1, Ordering::SeqCst) == 1;
    if breaks && !after.load(Ordering::SeqCst) {
        return None;
    }
    let mut server = TcpStream::connect(to).ok()?;
    server.write_all(&request).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    answer.splice(head..head, b"\r\nConnection: close".iter().copied());
    if !breaks {
        client.write_all(&answer).ok()?;
    }
    None
}

/// One request, with the wish that the server closes the connection after it.
fn request(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        if let Some(head) = all.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&all[..head]).to_ascii_lowercase();
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let length = lines
                .filter(|line| line.0 == "content-length")
                .find_map(|line| line.1.trim().parse::<usize>().ok());
            if all.len() >= head + 4 + length.unwrap_or(0) {
                all.splice(head..head, b"\r\nConnection: close".iter().copied());
                return Some(all);
            }
        }
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
        }
    }
}

#[test]
fn a_connection_lost_at_any_request_loses_and_doubles_nothing() {
    for engine in SERVERS {
        let Some(mut place) = Place::new(engine) else { continue };
        let direct = place.open();
        let breaker = Breaker::start(&place.url());
        let settings = place.config.clickhouse.as_mut().unwrap();
        settings.urls = vec![format!("http://127.0.0.1:{}", breaker.port)];
        let mut store = place.open();
        let mut stored = 0;
        // A first commit is about 25 requests, a later one about 8.
        for at in (1..30).step_by(3).chain(2..9) {
            for after in [false, true] {
                let batch = events(stored..stored + 5);
                breaker.after.store(after, Ordering::SeqCst);
                breaker.left.store(at, Ordering::SeqCst);
                store_all(&store, &batch);
                stored += 5;
                assert_eq!(count(&direct), Aggregated::Count { count: stored as u64 }, "{at}");
                assert_each_once(&direct);
                breaker.left.store(usize::MAX, Ordering::SeqCst);
                assert_eq!(store.append(&batch).unwrap(), vec![false; 5]);
                // A hub that ended in the middle of a commit, and one that goes on.
                if at % 2 == 0 {
                    drop(store);
                    store = place.open();
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_server_is_said_in_a_sentence() {
    let place = Place::new(Engine::Debian).unwrap();
    let good = place.config.clickhouse.clone().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let said = |settings: ClickHouseConfig| {
        let store = Store::open(dir.path(), &config(settings)).unwrap();
        let said = store.check().unwrap_err();
        let append = store.append(&events(0..1)).unwrap_err().to_string();
        assert!(append.ends_with(&said), "{append} / {said}");
        assert!(store.aggregate(&Query::ALL, &Aggregation::Count).is_err());
        said
    };
    let password = dir.path().join("password");
    std::fs::write(&password, "wrong\n").unwrap();
    let hub = ClickHouseConfig {
        user: "hub".into(),
        password_file: Some(password.clone()),
        ..good.clone()
    };
    let refused = said(hub.clone());
    assert!(refused.contains("refuses the user 'hub'; check user and password_file"), "{refused}");
    std::fs::write(&password, "se'cret\n").unwrap();
    let store = Store::open(dir.path(), &config(hub)).unwrap();
    store_all(&store, &events(0..1));

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let away = said(ClickHouseConfig { urls: vec![nobody.clone()], ..good.clone() });
    assert!(away.contains(&nobody) && away.contains("does not answer"), "{away}");
    // Another that answers is used.
    let urls = vec![nobody, good.urls[0].clone()];
    let store =
        Store::open(dir.path(), &config(ClickHouseConfig { urls, ..good.clone() })).unwrap();
    assert_eq!(store.check(), Ok(()));

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let store =
        Store::open(dir.path(), &config(ClickHouseConfig { urls: vec![url], ..good.clone() }));
    let late = store.unwrap().check().unwrap_err();
    assert!(late.contains("does not answer"), "{late}");

    place.sql("INSERT INTO {db}.migrations (version) VALUES (9)");
    let newer = said(good.clone());
    assert!(newer.contains("have version 9") && newer.contains("reads version 2"), "{newer}");

    let unknown = said(ClickHouseConfig { cluster: Some("nowhere".into()), ..good });
    assert!(unknown.contains("knows no cluster 'nowhere'"), "{unknown}");

    let none = Store::open(
        dir.path(),
        &config(ClickHouseConfig { urls: vec![], ..place.config.clickhouse.clone().unwrap() }),
    );
    assert!(none.err().unwrap().to_string().contains("urls:"));
}

#[test]
fn tables_of_an_older_version_get_the_new_column_and_keep_their_events() {
    for engine in SERVERS {
        let Some(place) = Place::new(engine) else { continue };
        let old = events(0..20);
        store_all(&place.open(), &old);
        // What version 1 had.
        place.sql("ALTER TABLE {db}.events DROP COLUMN analyzer");
        place.sql("DROP TABLE {db}.migrations");
        place.sql(
            "CREATE TABLE {db}.migrations (version UInt32) ENGINE = MergeTree() ORDER BY version",
        );
        place.sql("INSERT INTO {db}.migrations (version) VALUES (1)");
        // Hubs of the new version that start at once.
        let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        std::thread::scope(|scope| {
            for dir in &dirs {
                let place = &place;
                scope.spawn(move || {
                    let store = place.open_as(dir.path());
                    while store.check().is_err() {
                        assert!(store.aggregate(&Query::ALL, &Aggregation::Count).is_ok());
                    }
                });
            }
        });
        let store = place.open();
        let mut new = (*events(20..21)[0]).clone();
        new.analyzer = AnalyzerName::new("cowrie, second").ok();
        store_all(&store, &[Arc::new(new.clone())]);
        assert_eq!(count(&store), Aggregated::Count { count: 21 });
        let now = Timestamp::from_millis(TODAY);
        let query = Query::parse("daemon:\"cowrie, second\"", now).unwrap();
        assert_eq!(store.search(&query, 5, None).unwrap().events, [new]);
        let without = store.search(&Query::parse("-analyzer:*", now).unwrap(), 50, None).unwrap();
        assert_eq!(without.events.len(), 20);
        for event in &old {
            assert!(without.events.contains(event));
        }
    }
}

#[test]
fn hubs_that_start_at_once_make_the_tables_once_and_get_numbers_of_their_own() {
    for engine in SERVERS {
        let Some(place) = Place::new(engine) else { continue };
        let dirs: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
        std::thread::scope(|scope| {
            for (number, dir) in dirs.iter().enumerate() {
                let place = &place;
                scope.spawn(move || {
                    let store = place.open_as(dir.path());
                    store_all(&store, &events(number * 10..number * 10 + 10));
                });
            }
        });
        let mut numbers: Vec<String> = dirs
            .iter()
            .map(|dir| std::fs::read_to_string(dir.path().join("clickhouse-writer")).unwrap())
            .map(|text| text.split(' ').next().unwrap().to_owned())
            .collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), 5);
        let store = place.open();
        store.check().unwrap();
        assert_eq!(count(&store), Aggregated::Count { count: 50 });
    }
}

#[test]
fn a_server_that_is_killed_keeps_what_was_acknowledged_and_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let ports = (free_port(), free_port());
    let start = || Server::start_in(dir.path(), ports, &[ports], None);
    let mut server = start();
    let hub = tempfile::tempdir().unwrap();
    let store = Store::open(hub.path(), &config(server.config("killed"))).unwrap();
    for round in 0..4 {
        store_all(&store, &events(round * 20..round * 20 + 20));
        store.append(&events(round * 20 + 15..round * 20 + 25)).unwrap();
        drop(server);
        assert!(store.commit().is_err());
        assert!(store.check().is_err());
        server = start();
        store.roll_back();
        assert_eq!(count(&store), Aggregated::Count { count: round as u64 * 20 + 20 });
    }
    drop(server);
}

#[test]
fn a_keep_rule_and_a_bound_of_bytes_remove_old_events() {
    for engine in SERVERS {
        let Some(mut place) = Place::new(engine) else { continue };
        let of = |n: i64, community: bool, kind: EventKind| {
            let mut event = (*simple(TODAY - n * DAY, if community { 1 } else { 2 })).clone();
            event.domain = if community { Domain::Community } else { Domain::Private };
            event.kind = kind;
            Arc::new(event)
        };
        let batch: Vec<Arc<Event>> = (0..6)
            .flat_map(|n| {
                [of(n, true, EventKind::AuthAttempted), of(n, false, EventKind::ConnectionOpened)]
            })
            .collect();
        place.config.keep = vec![KeepRule {
            domain: Some(Domain::Community),
            kind: Some(EventKind::AuthAttempted),
            days: 2,
        }];
        store_all(&place.open(), &batch);
        let store = place.open();
        store.retain(Timestamp::from_millis(TODAY)).unwrap();
        // Old servers rewrite their parts in the background.
        while count(&store) != (Aggregated::Count { count: 3 + 6 }) {
            assert!(matches!(count(&store), Aggregated::Count { count: 9..=12 }));
            std::thread::yield_now();
        }
        place.config.max_bytes = Some(1);
        let store = place.open();
        store.check().unwrap();
        assert_eq!(store.retain(Timestamp::from_millis(TODAY)).unwrap(), 5);
        assert_eq!((store.stats().days, count(&store)), (1, Aggregated::Count { count: 2 }));
    }
}

#[test]
fn a_cluster_of_two_shards_is_one_store() {
    let ports = [(free_port(), free_port()), (free_port(), free_port())];
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |n: usize| Server::start_in(dirs[n].path(), ports[n], &ports, None);
    let first = start(0);
    let second = start(1);
    let settings = ClickHouseConfig {
        urls: vec![first.url(), second.url()],
        cluster: Some("two".into()),
        ..first.config("spread")
    };
    let hub = tempfile::tempdir().unwrap();
    let store = Store::open(hub.path(), &config(settings.clone())).unwrap();
    let batch = events(0..400);
    store_all(&store, &batch);
    assert_eq!(store.append(&batch).unwrap(), vec![false; 400]);
    let on = |server: &Server| -> u64 {
        let sql = "SELECT count() FROM spread.events_local";
        common::engine::ask(&server.url(), sql).unwrap().trim().parse().unwrap()
    };
    let (left, right) = (on(&first), on(&second));
    assert!(left > 100 && right > 100 && left + right == 400, "{left} {right}");
    assert_eq!(count(&store), Aggregated::Count { count: 400 });
    assert_each_once(&store);
    assert_eq!(store.stats().events, 400);
    assert_eq!(store.search(&Query::ALL, 1000, None).unwrap().events.len(), 400);
    assert_eq!(store.get(batch[7].id).unwrap().as_ref(), Some(&*batch[7]));
    // An acknowledgement means every shard: with one away nothing is stored.
    drop(second);
    assert!(store.append(&events(400..500)).and_then(|_| store.commit()).is_err());
    store.roll_back();
    let said = store.check().unwrap_err();
    assert!(said.contains("ClickHouse at"), "{said}");
    let second = start(1);
    store_all(&store, &events(400..500));
    assert_eq!(count(&store), Aggregated::Count { count: 500 });
    assert_eq!(store.retain(Timestamp::from_millis(TODAY + 900 * DAY)).unwrap(), 2);
    assert_eq!((on(&first), on(&second)), (0, 0));
}

#[test]
fn of_three_replicas_one_may_be_away_while_events_are_stored() {
    let mut cluster = Cluster::start(1, 3);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = Store::open(dirs[0].path(), &config(cluster.config("three", 0, 0))).unwrap();
    store_all(&store, &events(0..100));
    cluster.kill(0, 2);
    store_all(&store, &events(50..400));
    assert_eq!(count(&store), Aggregated::Count { count: 400 });
    // One that was away is asked first, and lacks the last batches: others have them.
    cluster.start_again(0, 2);
    let other = Store::open(dirs[1].path(), &config(cluster.config("three", 0, 2))).unwrap();
    assert_eq!(count(&other), Aggregated::Count { count: 400 });
    store_all(&other, &events(300..500));
    // Any one of them may go.
    cluster.kill(0, 0);
    store_all(&other, &events(450..600));
    for store in [&store, &other] {
        assert_eq!(count(store), Aggregated::Count { count: 600 });
        assert_each_once(store);
    }
    cluster.start_again(0, 0);
    // While the replicas elect a leader nobody drops a day; the hub tries again later.
    let began = Instant::now();
    while other.retain(Timestamp::from_millis(TODAY + 900 * DAY)).is_err() {
        assert!(began.elapsed() < DEADLINE);
    }
    for replica in 0..3 {
        let sql = "SELECT count() FROM three.events_local";
        let url = cluster.url(0, replica);
        while common::engine::ask(&url, sql).unwrap().trim() != "0" {
            std::thread::yield_now();
        }
    }
}
