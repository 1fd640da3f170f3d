//! The life of events in the embedded store: days that are over are merged,
//! reopened by late events, and removed; events past their rule go; what comes
//! again counts once, whenever it comes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::path::Path;
use std::sync::Arc;

use palisade_event::{Domain, Event, EventId, EventKind, SensorId, Timestamp, Untrusted};
use palisade_store::query::{Aggregation, Query};
use palisade_store::{Aggregated, Config, KeepRule, Store};

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;
/// 2026-11-20T12:00:00Z.
const NOON: i64 = 1_795_176_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOON)
}

/// Event `number`, so many days before noon of today.
fn event(number: u64, days_ago: i64) -> Arc<Event> {
    let at = Timestamp::from_millis(NOON - days_ago * DAY - (number % 1000) as i64);
    let id = EventId::new(at, u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let sensor = SensorId::new("edge").unwrap();
    let mut event = Event::new(id, EventKind::AuthAttempted, at, sensor);
    event.request = Some(Untrusted::from(format!("word{number}")));
    Arc::new(event)
}

fn events(numbers: std::ops::Range<u64>, days_ago: i64) -> Vec<Arc<Event>> {
    numbers.map(|number| event(number, days_ago)).collect()
}

fn count_of(store: &Store, text: &str) -> u64 {
    let query = Query::parse(text, now()).unwrap();
    match store.aggregate(&query, &Aggregation::Count).unwrap() {
        Aggregated::Count { count } => count,
        other => panic!("{other:?}"),
    }
}

fn count(store: &Store) -> u64 {
    count_of(store, "*")
}

fn add(store: &Store, events: &[Arc<Event>]) -> usize {
    let new = store.append(events).unwrap();
    store.commit().unwrap();
    new.into_iter().filter(|new| *new).count()
}

/// Does all housekeeping; how many pieces it were. A writer that was just used
/// is closed by the second call.
fn maintain(store: &Store, now: Timestamp) -> usize {
    let all = || (0..1000).take_while(|_| store.maintain(now).unwrap()).count();
    all() + all()
}

fn segments(dir: &Path, days_ago: i64) -> usize {
    let day = Timestamp::from_millis(NOON - days_ago * DAY).day();
    let meta = std::fs::read(dir.join(format!("days/{day}/meta.json"))).unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
    meta["segments"].as_array().unwrap().len()
}

#[test]
fn a_late_event_reopens_a_sealed_day_which_is_sealed_again_once_it_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    for part in 0..4 {
        add(&store, &events(part * 100..(part + 1) * 100, 3));
    }
    maintain(&store, now());
    assert_eq!(segments(dir.path(), 3), 1);
    assert_eq!(add(&store, &events(400..401, 3)), 1);
    assert_eq!((count(&store), segments(dir.path(), 3)), (401, 2));
    maintain(&store, now().plus_millis(60_000));
    assert_eq!(segments(dir.path(), 3), 2, "a day that was just written to is left alone");
    maintain(&store, now().plus_millis(HOUR));
    assert_eq!((count(&store), segments(dir.path(), 3)), (401, 1));
}

#[test]
fn a_day_that_late_events_trickle_into_does_not_collect_segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    add(&store, &events(0..5000, 2));
    for late in 0..60 {
        add(&store, &events(5000 + late..5001 + late, 2));
        maintain(&store, now().plus_millis(late as i64 * 1000));
    }
    assert!(segments(dir.path(), 2) <= 24, "{}", segments(dir.path(), 2));
    assert_eq!(count(&store), 5060);
}

#[test]
fn a_resend_counts_once_after_a_restart_after_sealing_and_after_the_filters_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let old: Vec<Vec<Arc<Event>>> =
        (1..13).map(|day| events(day as u64 * 1000..day as u64 * 1000 + 300, day)).collect();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    for day in &old {
        assert_eq!(add(&store, day), 300);
    }
    let mixed: Vec<Arc<Event>> = old.iter().flatten().cloned().collect();
    assert_eq!(add(&store, &mixed), 0);
    // This drops all filters but one as well: two looks without a use between them.
    maintain(&store, now().plus_millis(HOUR));
    assert_eq!(add(&store, &mixed), 0, "after sealing");
    drop(store);
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    let refs: Vec<&Event> = mixed.iter().map(AsRef::as_ref).collect();
    assert_eq!(store.contains(&refs).unwrap(), vec![true; mixed.len()]);
    assert_eq!(add(&store, &mixed), 0, "after a restart");
    let twice: Vec<Arc<Event>> = [event(77, 5), event(77, 5), event(78, 5)].into();
    assert_eq!(store.append(&twice).unwrap(), [true, false, true]);
    assert_eq!(store.append(&twice).unwrap(), [false; 3], "before the commit");
    store.commit().unwrap();
    assert_eq!(count(&store), 12 * 300 + 2);
}

#[test]
fn events_of_forty_days_at_once_are_each_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    let batch: Vec<Arc<Event>> = (0..8000).map(|n| event(n, (n % 40) as i64)).collect();
    for chunk in batch.chunks(1000) {
        assert_eq!(store.append(chunk).unwrap(), vec![true; chunk.len()]);
    }
    assert_eq!(count(&store), 0);
    store.commit().unwrap();
    assert_eq!((count(&store), store.stats().days), (8000, 40));
    assert_eq!(add(&store, &batch), 0);
}

#[test]
fn what_is_rolled_back_was_never_there_and_is_new_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    let batch: Vec<Arc<Event>> = (0..400).map(|n| event(n, (n % 4) as i64)).collect();
    assert_eq!(store.append(&batch).unwrap(), vec![true; 400]);
    store.roll_back();
    store.commit().unwrap();
    assert_eq!(count(&store), 0);
    assert_eq!(add(&store, &batch), 400);
    store.probe().unwrap();
    assert_eq!(count(&store), 400);
}

#[test]
fn events_that_a_failed_commit_had_stored_are_told_to_be_new_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    // A file where the folder of the oldest day belongs: its commit comes last and fails.
    let day = Timestamp::from_millis(NOON - 9 * DAY).day();
    let stone = dir.path().join(format!("days/{day}"));
    std::fs::write(&stone, "").unwrap();
    let parts = [events(0..10, 0), events(10..20, 1), events(20..30, 9)];
    for part in &parts {
        assert_eq!(store.append(part).unwrap(), vec![true; 10]);
    }
    store.commit().unwrap_err();
    assert_eq!(count(&store), 20, "half of it is stored");
    for part in &parts[..2] {
        assert_eq!(store.append(part).unwrap(), vec![true; 10], "and again");
    }
    store.append(&parts[2]).unwrap_err();
    std::fs::remove_file(&stone).unwrap();
    for part in &parts {
        assert_eq!(store.append(part).unwrap(), vec![true; 10], "nobody was told yet");
        assert_eq!(store.append(part).unwrap(), vec![false; 10], "told once");
    }
    store.commit().unwrap();
    assert_eq!(add(&store, &parts.concat()), 0);
    assert_eq!(count(&store), 30);
}

#[test]
fn above_its_bound_the_store_loses_its_oldest_days_but_never_today() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    for day in 0..6 {
        add(&store, &events(day * 1000..day * 1000 + 1000, day as i64));
    }
    let bytes = store.stats().bytes;
    drop(store);
    let config = Config { max_bytes: Some(bytes * 11 / 20), ..Config::default() };
    let store = Store::open(dir.path(), &config).unwrap();
    assert_eq!(store.retain(now()).unwrap(), 3);
    assert!(store.stats().bytes <= bytes * 11 / 20);
    assert_eq!((count(&store), count_of(&store, "day:2026-11-20")), (3000, 1000));
    let folders = std::fs::read_dir(dir.path().join("days")).unwrap().count();
    assert_eq!(folders, 3, "their space is back");
    // What was removed does not come back, not even after a restart.
    assert!(store.is_expired(&event(5000, 5), now()) && !store.is_expired(&event(1, 2), now()));
    drop(store);
    let store = Store::open(dir.path(), &config).unwrap();
    assert_eq!(add(&store, &events(5000..5010, 5)), 0);
    assert_eq!((count(&store), store.stats().of_removed_days), (3000, 10));
    drop(store);
    let config = Config { max_bytes: Some(1), ..Config::default() };
    let store = Store::open(dir.path(), &config).unwrap();
    store.retain(now()).unwrap();
    assert_eq!((count(&store), store.stats().days), (1000, 1));
}

#[test]
fn events_past_their_rule_go_the_others_stay_and_the_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let rule = |domain, kind, days| KeepRule { domain, kind, days };
    let config = Config {
        keep: vec![
            rule(None, Some(EventKind::ConnectionOpened), 9),
            rule(None, Some(EventKind::ConnectionOpened), 3),
            rule(Some(Domain::Community), Some(EventKind::AuthAttempted), 5),
        ],
        ..Config::default()
    };
    let store = Store::open(dir.path(), &config).unwrap();
    let kinds = [EventKind::ConnectionOpened, EventKind::AuthAttempted, EventKind::CommandEntered];
    let make = |number: u64, days_ago: i64| {
        let mut event = Event::clone(&event(number, days_ago));
        event.kind = kinds[number as usize % 3];
        event.domain = if number.is_multiple_of(2) { Domain::Community } else { Domain::Private };
        Arc::new(event)
    };
    for day in 0..8 {
        for part in 0..2 {
            let first = day * 1200 + part * 600;
            let batch: Vec<_> = (first..first + 600).map(|n| make(n, day as i64)).collect();
            assert_eq!(add(&store, &batch), 600);
        }
    }
    assert_eq!(count(&store), 9600);
    maintain(&store, now());
    // Today at noon, a day is past a rule of three days from four days ago on.
    for day in 0..8 {
        let date = Timestamp::from_millis(NOON - day * DAY).day();
        let of = |text: &str| count_of(&store, &format!("{text} day:{date}"));
        let opened = if day >= 4 { 0 } else { 400 };
        let shared = if day >= 6 { 0 } else { 200 };
        assert_eq!(of("kind:connection.opened"), opened, "{day}");
        assert_eq!(of("kind:auth.attempted domain:community"), shared, "{day}");
        assert_eq!(of("kind:auth.attempted domain:private"), 200, "{day}");
        assert_eq!(of("kind:command.entered"), 400, "{day}");
    }
    // Words of what is gone are gone, words of what is left are found.
    let of_day_six = |n: u64| count_of(&store, &format!("word{n}"));
    assert_eq!((of_day_six(7200), of_day_six(7202)), (0, 1));
    let kept = 9600 - 4 * 400 - 2 * 200;
    assert_eq!((count(&store), store.stats().events), (kept, kept));
    assert_eq!(maintain(&store, now()), 0, "what was done is not done again");
    let plain = Config::default();
    assert!(store.is_expired(&make(0, 4), now()) && !plain.is_expired(&make(0, 4), now()));
    drop(store);
    let store = Store::open(dir.path(), &config).unwrap();
    assert_eq!((maintain(&store, now()), count(&store)), (0, kept), "nor after a restart");
    // A day of which nothing is left goes.
    let late: Vec<_> = (0..30).map(|n| make(n * 3, 20)).collect();
    assert_eq!(add(&store, &late), 30);
    let days = store.stats().days;
    maintain(&store, now().plus_millis(HOUR));
    assert_eq!((store.stats().days, count(&store)), (days - 1, kept));
}

#[test]
fn the_space_of_events_past_their_rule_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let keep = vec![KeepRule { domain: Some(Domain::Community), kind: None, days: 2 }];
    let config = Config { keep, ..Config::default() };
    let store = Store::open(dir.path(), &config).unwrap();
    let make = |number: u64| {
        let mut event = Event::clone(&event(number, 5));
        event.domain = if number.is_multiple_of(4) { Domain::Private } else { Domain::Community };
        Arc::new(event)
    };
    add(&store, &(0..20_000).map(make).collect::<Vec<_>>());
    let before = store.stats().bytes;
    maintain(&store, now());
    let after = store.stats();
    assert_eq!((after.events, count(&store)), (5000, 5000));
    assert!(after.bytes * 2 < before, "{} of {before}", after.bytes);
}

#[test]
fn removing_a_day_does_not_disturb_a_query_that_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { retention_days: 5, ..Config::default() };
    let store = Arc::new(Store::open(dir.path(), &config).unwrap());
    add(&store, &events(0..10_000, 6));
    add(&store, &events(20_000..20_100, 0));
    let reading = Arc::clone(&store);
    let (started, ready) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        loop {
            let found = reading.search(&Query::ALL, 10_000, None).unwrap().events.len();
            let _ = started.try_send(());
            assert!([100, 10_000].contains(&found), "{found}");
            if found == 100 {
                return;
            }
        }
    });
    ready.recv().unwrap();
    assert_eq!(store.retain(now()).unwrap(), 1);
    reader.join().unwrap();
    assert_eq!(store.stats().days, 1);
}

#[test]
fn a_truncated_file_of_any_kind_puts_its_day_aside_and_kills_nobody() {
    let whole = tempfile::tempdir().unwrap();
    let store = Store::open(whole.path(), &Config::default()).unwrap();
    add(&store, &events(0..1000, 3));
    add(&store, &events(3000..3100, 2));
    drop(store);
    let day = Timestamp::from_millis(NOON - 3 * DAY).day().to_string();
    let parts = ["term", "idx", "pos", "fast", "fieldnorm", "store", "json"];
    let files: Vec<_> = std::fs::read_dir(whole.path().join("days").join(&day))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter(|entry| entry.path().extension().is_some_and(|end| parts.iter().any(|p| end == *p)))
        .collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let length = file.metadata().unwrap().len();
        for left in [0, 1, length / 2, length - 1] {
            let dir = tempfile::tempdir().unwrap();
            copy(whole.path(), dir.path());
            let path = dir.path().join("days").join(&day).join(file.file_name());
            std::fs::File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
            let case = format!("{} cut to {left} of {length}", path.display());
            let store = Store::open(dir.path(), &Config::default()).unwrap();
            let found = store.search(&Query::ALL, 10_000, None).unwrap().events.len();
            assert!([100, 1100].contains(&found), "{case}: {found}");
            assert_eq!(store.stats().corrupt_days, u32::from(found == 100), "{case}");
            assert_eq!(count_of(&store, "word3050"), 1, "{case}");
            // What was lost can be brought again.
            let brought = add(&store, &events(0..1000, 3));
            assert_eq!(brought, 1100 - found, "{case}");
            assert_eq!(count(&store), 1100, "{case}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
