//! A disk without space below the agent's data directory.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use crate::support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{MemoryHub, Mood, Running, append, config, file_source, until};
use tracing::field::{Field, Visit};
use tracing::span;

/// A file system of two MiB, for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(at).output();
        done.is_ok_and(|done| done.status.success()).then(|| Self(at.into()))
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Keeps the messages of the agent that say that something is wrong.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    fn about(&self, words: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|message| message.contains(words)).count()
    }
}

impl Visit for Complaints {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Complaints {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn lines_wait_in_the_log_while_the_disk_is_full_and_are_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("data")) else {
        eprintln!("skipped: a file system cannot be mounted here; that needs root");
        return;
    };
    let complaints = Complaints::default();
    tracing::subscriber::set_global_default(complaints.clone()).unwrap();
    let log = folder.path().join("auth.log");
    let hub = MemoryHub::new(Mood::Takes);
    let config = config(vec![file_source(&log)]);
    append(&log, 0..100);
    let running = Running::start(&config, &disk.0, hub.clone()).await;
    hub.has_each_once(100).await;
    let metrics = running.agent.metrics();
    until(|| metrics.forwarded.get() == 100, || "the receipts".into()).await;

    // Far more than the queues hold, and rotated meanwhile.
    disk.fill();
    append(&log, 100..70_000);
    until(|| metrics.spool_retries.get() >= 3, || "three retries".into()).await;
    fs::rename(&log, folder.path().join("auth.log.1")).unwrap();
    append(&log, 70_000..75_000);
    let (lines, retries) = (metrics.lines.get(), metrics.spool_retries.get());
    assert!(lines < 70_000, "{lines} lines were read though nothing takes them");
    // An account of what failed, not a loop: a retry a second and fewer.
    assert!(retries < 10, "{retries} retries");
    assert_eq!(complaints.about("the data directory cannot be written"), 1);
    assert!(complaints.about("a cursor cannot be written") <= 1);

    disk.free();
    hub.has_each_once(75_000).await;
    assert_eq!(complaints.about("the data directory cannot be written"), 1);
    running.end().await;

    // Full at the end and at the next start as well: the lines still wait.
    append(&log, 75_000..75_100);
    disk.fill();
    let running = Running::start(&config, &disk.0, hub.clone()).await;
    let metrics = running.agent.metrics();
    until(|| metrics.spool_retries.get() >= 1, || "a retry".into()).await;
    running.crash();
    disk.free();
    let running = Running::start(&config, &disk.0, hub.clone()).await;
    hub.has_each_once(75_100).await;
    tokio::time::timeout(Duration::from_secs(30), running.end()).await.unwrap();
}
