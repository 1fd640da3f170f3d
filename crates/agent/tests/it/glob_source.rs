//! Several files by a pattern: those that come later, those that are rotated,
//! and restarts, and each line counts once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::path::Path;
use std::time::Duration;

use palisade_agent::{Config, FileSource, LogFormat, SourceConfig, StartFrom};
use support::*;

fn pattern(folder: &Path, pattern: &str, from: StartFrom) -> Config {
    config(vec![SourceConfig::File(FileSource {
        path: folder.join(pattern),
        parser: LogFormat::Syslog,
        zone: Some("UTC".into()),
        from,
    })])
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_come_later_are_read_from_their_start() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir_all(logs.join("a")).unwrap();
    append(&logs.join("a/access.log"), 100..110);
    let config = pattern(&logs, "*/access*.log", StartFrom::End);
    let hub = MemoryHub::new(Mood::Takes);
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    // What was there before is not read; what is added is, once it is followed.
    until(
        || {
            append(&logs.join("a/access.log"), 100..101);
            !hub.users().is_empty()
        },
        || "the first file".into(),
    )
    .await;
    hub.0.lock().unwrap().events.clear();
    std::fs::create_dir(logs.join("b")).unwrap();
    append(&logs.join("b/access.log"), 0..5);
    append(&logs.join("b/other.log"), 50..60);
    append(&logs.join("b/.access.log"), 50..60);
    append(&logs.join("a/access-ssl.log"), 5..10);
    until(
        || hub.users().contains_key("u9") && hub.users().contains_key("u4"),
        || "new files".into(),
    )
    .await;
    running.end().await;
    // A file that came while nobody looked is new too.
    append(&logs.join("b/access-2.log"), 10..15);
    append(&logs.join("b/access.log"), 15..20);
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    until(|| hub.users().len() >= 20, || format!("{:?}", hub.users())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let users = hub.users();
    for number in 0..20 {
        assert_eq!(users.get(&format!("u{number}")), Some(&1), "u{number}");
    }
    assert!(!users.contains_key("u50"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_rotated_to_a_name_that_matches_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    let config = pattern(&logs, "app*", StartFrom::Start);
    let hub = MemoryHub::new(Mood::Takes);
    let mut running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    let path = logs.join("app.log");
    let mut number = 0;
    for turn in 0..8 {
        append(&path, number..number + 50);
        number += 50;
        until(|| hub.users().len() >= number, || format!("{} of {number}", hub.users().len()))
            .await;
        match turn % 4 {
            0 => std::fs::rename(&path, logs.join(format!("app.log.{turn}"))).unwrap(),
            1 => std::fs::rename(&path, logs.join(format!("app-{turn}-20261120.log"))).unwrap(),
            2 => std::fs::rename(&path, logs.join(format!("app-old{turn}.log"))).unwrap(),
            _ => {
                running.end().await;
                std::fs::rename(&path, logs.join(format!("app.log-2026112{turn}"))).unwrap();
                running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(1300)).await;
    }
    hub.has_each_once(number).await;
    running.end().await;
}
