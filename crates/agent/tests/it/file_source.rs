//! The file source against real files: everything that happens to logs.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use crate::support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use palisade_event::EventKind;
use support::{MemoryHub, Mood, Running, append, append_text, config, file_source, line, until};
use tempfile::TempDir;

struct Setup {
    folder: TempDir,
    hub: MemoryHub,
}

impl Setup {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), hub: MemoryHub::new(Mood::Takes) }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn start(&self, log: &Path) -> Running {
        let data = self.path("data");
        Running::start(&config(vec![file_source(log)]), &data, self.hub.clone()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_a_busy_log_is_renamed() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append(&log, 0..1);
    let running = setup.start(&log).await;
    // Before the first look nothing is known that could be looked for.
    setup.hub.has_each_once(1).await;
    let (path, total) = (log.clone(), 20_000);
    let writer = std::thread::spawn(move || {
        let mut written = 1;
        let mut rotation = 0;
        while written < total {
            let next = (written + 37).min(total);
            append(&path, written..next);
            written = next;
            if written / 1_000 > rotation {
                rotation = written / 1_000;
                std::fs::rename(&path, path.with_extension(format!("log.{rotation}"))).unwrap();
                // A daemon goes on with the old file for a moment.
                let after = (written + 3).min(total);
                append(&path.with_extension(format!("log.{rotation}")), written..after);
                written = after;
            }
        }
    });
    setup.hub.has_each_once(total).await;
    writer.join().unwrap();
    running.end().await;
    assert_eq!(setup.hub.users().len(), total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_and_truncated_log_begins_anew() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append(&log, 0..1);
    let running = setup.start(&log).await;
    let total = 20_000;
    let mut written = 1;
    let mut rotation = 0;
    while written < total {
        let next = (written + 500).min(total);
        append(&log, written..next);
        written = next;
        if written / 4_000 > rotation {
            // The writer pauses: what comes between copy and truncation is lost by nature.
            setup.hub.has_each_once(written).await;
            rotation = written / 4_000;
            std::fs::copy(&log, log.with_extension(format!("log.{rotation}"))).unwrap();
            std::fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
        }
    }
    setup.hub.has_each_once(total).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_counts_every_line_once() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    let total = 6_000;
    let mut written = 0;
    for round in 0..6 {
        let running = setup.start(&log).await;
        append(&log, written..written + 1_000);
        written += 1_000;
        if round % 2 == 0 {
            let seen = written - 500;
            until(|| setup.hub.users().len() >= seen, || "half of a round".into()).await;
        }
        running.crash();
        // Rotated while nobody looks.
        if round == 3 {
            std::fs::rename(&log, setup.path("auth.log.1")).unwrap();
        }
    }
    let running = setup.start(&log).await;
    setup.hub.has_each_once(total).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_rotated_twice_while_the_agent_was_away_is_read_completely() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append(&log, 0..10);
    let running = setup.start(&log).await;
    setup.hub.has_each_once(10).await;
    running.end().await;
    append(&log, 10..20);
    std::fs::rename(&log, setup.path("auth.log-1")).unwrap();
    append(&log, 20..30);
    std::fs::rename(&log, setup.path("auth.log.1")).unwrap();
    append(&log, 30..40);
    std::fs::write(setup.path("auth.log.2.gz"), line(99)).unwrap();
    std::fs::write(setup.path("auth.login"), line(99)).unwrap();
    let running = setup.start(&log).await;
    setup.hub.has_each_once(40).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_copied_and_truncated_while_the_agent_was_away_is_read_completely() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append(&log, 0..10);
    let running = setup.start(&log).await;
    setup.hub.has_each_once(10).await;
    running.end().await;
    append(&log, 10..20);
    std::fs::copy(&log, setup.path("auth.log.1")).unwrap();
    std::fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, 20..60);
    let running = setup.start(&log).await;
    setup.hub.has_each_once(60).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_leaves_nothing_to_be_read_again() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append(&log, 0..100);
    let running = setup.start(&log).await;
    setup.hub.has_each_once(100).await;
    running.end().await;
    let running = setup.start(&log).await;
    append(&log, 100..101);
    setup.hub.has_each_once(101).await;
    assert_eq!(running.agent.metrics().lines.get(), 1);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_begins_at_the_end_unless_told_otherwise() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append(&log, 0..5);
    append_text(&log, b"2026-11-20T20:07:14Z web01 ssh");
    let sources = vec![palisade_agent::SourceConfig::sshd_file(&log)];
    let running = Running::start(&config(sources), &setup.path("data"), setup.hub.clone()).await;
    let cursors = setup.path("data/agent/cursors");
    until(|| std::fs::read_dir(&cursors).unwrap().count() > 0, || "the cursor".into()).await;
    append_text(&log, b"d[7]: Failed password for root from 203.0.113.9 port 1 ssh2\n");
    until(|| !setup.hub.users().is_empty(), || "the line".into()).await;
    assert_eq!(setup.hub.users().keys().collect::<Vec<_>>(), ["root"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_and_its_folder_may_come_late_go_and_come_again() {
    let setup = Setup::new();
    let log = setup.path("var/log/auth.log");
    let running = setup.start(&log).await;
    until(|| setup.path("data/agent/spool").exists(), || "the start".into()).await;
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, 0..10);
    setup.hub.has_each_once(10).await;
    std::fs::remove_file(&log).unwrap();
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    std::fs::remove_dir_all(setup.path("var")).unwrap();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, 20..30);
    setup.hub.has_each_once(30).await;
    running.end().await;
}

/// A folder whose deleted file is still open says nothing when it is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_may_go_a_while_after_its_log_and_come_again() {
    let setup = Setup::new();
    let log = setup.path("var/log/auth.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let running = setup.start(&log).await;
    append(&log, 0..10);
    setup.hub.has_each_once(10).await;
    std::fs::remove_file(&log).unwrap();
    // Long enough for the agent to see that there is no log.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    std::fs::remove_dir_all(setup.path("var")).unwrap();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_symbolic_link_may_be_turned_to_another_file() {
    let setup = Setup::new();
    let link = setup.path("auth.log");
    let (first, second) = (setup.path("a/first"), setup.path("b/second"));
    std::fs::create_dir(setup.path("a")).unwrap();
    std::fs::create_dir(setup.path("b")).unwrap();
    append(&first, 0..10);
    append(&second, 10..20);
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let running = setup.start(&link).await;
    setup.hub.has_each_once(10).await;
    std::os::unix::fs::symlink(&second, setup.path("new")).unwrap();
    std::fs::rename(setup.path("new"), &link).unwrap();
    setup.hub.has_each_once(20).await;
    // The target is rotated where it is.
    std::fs::rename(&second, setup.path("b/second.1")).unwrap();
    append(&second, 20..30);
    setup.hub.has_each_once(30).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_log_is_told_once_and_its_recovery_too() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    // Root may read anything, so a folder stands for the file without permission.
    std::fs::create_dir(&log).unwrap();
    let running = setup.start(&log).await;
    until(|| !setup.hub.of(EventKind::SourceFailed).is_empty(), || "source.failed".into()).await;
    let failed = setup.hub.of(EventKind::SourceFailed).remove(0);
    assert_eq!(failed.attributes["source"].to_string(), log.display().to_string());
    assert_eq!(failed.attributes["reason"].to_string(), "it is not a regular file");
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::remove_dir(&log).unwrap();
    append(&log, 0..10);
    setup.hub.has_each_once(10).await;
    until(|| !setup.hub.of(EventKind::SourceRecovered).is_empty(), || "recovery".into()).await;
    assert_eq!(setup.hub.of(EventKind::SourceFailed).len(), 1);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_bytes_and_endless_lines_do_not_disturb_the_rest() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    append_text(&log, &[0; 100_000]);
    append(&log, 0..1);
    append_text(&log, b"\xff\xfe\0\n\n");
    append_text(&log, &vec![b'x'; 300_000]);
    append_text(&log, b"\n");
    append(&log, 1..2);
    let long = "y".repeat(70_000);
    let text = format!(
        "2026-11-20T20:07:14Z h sshd[1]: Failed password for u2 from 192.0.2.7 port 1 ssh2 {long}\n"
    );
    append_text(&log, text.as_bytes());
    append(&log, 2..3);
    let running = setup.start(&log).await;
    setup.hub.has_each_once(3).await;
    let metrics = running.agent.metrics();
    assert_eq!(metrics.lines_truncated.get(), 2);
    assert_eq!(metrics.lines.get(), 7);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_waits_for_its_newline() {
    let setup = Setup::new();
    let log = setup.path("auth.log");
    let text = line(0) + &line(1);
    let (first, second) = text.split_at(text.len() - 10);
    append_text(&log, first.as_bytes());
    let running = setup.start(&log).await;
    setup.hub.has_each_once(1).await;
    append_text(&log, second.as_bytes());
    setup.hub.has_each_once(2).await;
    running.end().await;
}
