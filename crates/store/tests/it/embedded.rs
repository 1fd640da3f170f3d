//! What only the embedded engine has: folders of days, formats, segments.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use crate::common;

use std::sync::Arc;

use common::{DAY, TODAY, count, simple};
use palisade_event::{Event, Timestamp};
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
