//! What only the embedded engine has: folders of days, formats, segments.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use crate::common;

use std::sync::Arc;

use common::{DAY, TODAY, count, simple};
use palisade_event::{AnalyzerName, AttributeValue, Event, EventKind, Timestamp};
use palisade_store::query::{Aggregation, Query};
use palisade_store::{Aggregated, Config, Store};

fn open(dir: &std::path::Path) -> Store {
    Store::open(dir, &Config::default()).unwrap()
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
    let (newer, mine) = (palisade_store::FORMAT + 1, palisade_store::FORMAT);
    std::fs::write(dir.path().join("format"), format!("{newer}\n")).unwrap();
    let error = Store::open(dir.path(), &Config::default()).err().unwrap().to_string();
    let said = [format!("format {newer}"), format!("reads format {mine}")];
    assert!(said.iter().all(|part| error.contains(part)), "{error}");
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

/// A plug-in's columns are attributes of its events: whatever it declares later,
/// what it has recorded stays and is found.
#[test]
fn a_hundred_thousand_rows_outlive_a_change_of_their_columns() {
    const ROWS: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let row = |number: usize, columns: &[(&str, AttributeValue)]| {
        let mut event = Event::clone(&simple(TODAY + number as i64, 1 + number as u128));
        event.kind = EventKind::PluginRecorded;
        event.analyzer = AnalyzerName::new("mine").ok();
        for (name, value) in columns {
            event.attributes.insert((*name).into(), value.clone());
        }
        Arc::new(event)
    };
    {
        let store = open(dir.path());
        let old = |number: usize| {
            row(number, &[("user", "root".into()), ("tries", (number as i64).into())])
        };
        let all: Vec<Arc<Event>> = (0..ROWS).map(old).collect();
        for batch in all.chunks(10_000) {
            store.append(batch).unwrap();
        }
        store.commit().unwrap();
        // `tries` becomes a text, `user` is gone, `host` is new.
        let new = row(ROWS, &[("tries", "many".into()), ("host", "a".into())]);
        store.append(&[new]).unwrap();
        store.commit().unwrap();
    }
    let store = open(dir.path());
    let query = Query::parse("kind:plugin.recorded daemon:mine", Timestamp::from_millis(TODAY));
    let query = query.unwrap();
    let Aggregated::Count { count } = store.aggregate(&query, &Aggregation::Count).unwrap() else {
        panic!("a count");
    };
    assert_eq!(count, ROWS as u64 + 1);
    // By their columns, whichever they were declared with.
    for (asked, found) in [
        ("attr.user:root", ROWS),
        ("attr.tries:>=99990", 10),
        ("attr.tries:(7,7.0,many)", 2),
        ("attr.tries:*", ROWS + 1),
        ("attr.host:a attr.tries:man*", 1),
        ("-attr.user:root", 1),
    ] {
        let query = Query::parse(asked, Timestamp::from_millis(TODAY)).unwrap();
        let counted = store.aggregate(&query, &Aggregation::Count).unwrap();
        assert_eq!(counted, Aggregated::Count { count: found as u64 }, "{asked}");
    }
    let newest = store.search(&query, 1, None).unwrap().events.remove(0);
    assert_eq!(newest.attributes["tries"], "many".into());
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = store.search(&query, 1_000, after).unwrap();
        for event in page.events.iter().filter(|event| event.attributes.contains_key("user")) {
            assert_eq!(event.attributes["user"], "root".into());
            assert!(matches!(event.attributes["tries"], AttributeValue::Integer(_)));
            seen += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ROWS);
}
