//! Everything that can happen to a log between two looks at it. One thread and
//! no `await` between the steps: the agent sees their result alone.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use crate::support;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use palisade_agent::SourceConfig;
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("log/auth.log")
    }

    async fn start(&self) -> Running {
        self.start_with(file_source(&self.log())).await
    }

    async fn start_with(&self, source: SourceConfig) -> Running {
        fs::create_dir_all(self.path("log")).unwrap();
        Running::start(&config(vec![source]), &self.path("data"), self.hub.clone()).await
    }

    fn cursor(&self) -> String {
        let Ok(cursors) = fs::read_dir(self.path("data/agent/cursors")) else {
            return String::new();
        };
        let paths = cursors.map(|entry| entry.unwrap().path());
        // What is being written is not there yet.
        let whole = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        whole.filter_map(|path| fs::read_to_string(path).ok()).collect()
    }

    /// Waits until the agent has looked and found nothing.
    async fn is_waiting(&self) {
        until(|| self.cursor().contains("\"absent_since\":{"), || self.cursor()).await;
    }

    /// Waits until the cursor says that all of the log has been stored.
    async fn is_stored(&self, log: &Path) {
        let offset = format!("\"offset\":{}}}", fs::metadata(log).unwrap().len());
        until(|| self.cursor().contains(&offset), || self.cursor()).await;
    }
}

/// Waits until the time of new files is later than that of `log`, so that they
/// are no longer told apart by luck. No look happens meanwhile.
fn later_than(log: &Path) {
    let at = fs::metadata(log).unwrap().modified().unwrap();
    let later = |_| tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap() > at;
    assert!((0..1_000_000).any(later));
}

fn rename(from: &Path, to: &str) {
    fs::rename(from, from.with_file_name(to)).unwrap();
}

#[tokio::test]
async fn a_log_that_is_rotated_before_its_first_look_is_read_completely() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    setup.is_waiting().await;
    append(&log, 0..40);
    later_than(&log);
    rename(&log, "auth.log.1");
    append(&log, 40..80);
    setup.hub.has_each_once(80).await;
    running.end().await;
}

#[tokio::test]
async fn rotations_in_a_row_before_the_first_look_lose_nothing() {
    let setup = Setup::new();
    // What comes after an absent log is new, whatever the first start wants.
    let running = setup.start_with(SourceConfig::sshd_file(setup.log())).await;
    let log = setup.log();
    setup.is_waiting().await;
    append(&log, 0..10);
    rename(&log, "auth.log.1");
    append(&log, 10..20);
    rename(&log.with_file_name("auth.log.1"), "auth.log.2");
    rename(&log, "auth.log.1");
    append(&log, 20..30);
    rename(&log.with_file_name("auth.log.2"), "auth.log.3");
    rename(&log.with_file_name("auth.log.1"), "auth.log.2");
    rename(&log, "auth.log.1");
    setup.hub.has_each_once(30).await;
    append(&log, 30..40);
    setup.hub.has_each_once(40).await;
    running.end().await;
}

#[tokio::test]
async fn a_log_that_moves_to_a_name_of_another_kind_is_read_completely() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    setup.is_waiting().await;
    append(&log, 0..10);
    rename(&log, "old-auth");
    append(&log, 10..20);
    rename(&log, "older");
    append(&log, 20..30);
    setup.hub.has_each_once(30).await;
    // The same while a log is followed.
    append(&log, 30..40);
    rename(&log, "a");
    append(&log, 40..50);
    rename(&log, "b");
    append(&log, 50..60);
    setup.hub.has_each_once(60).await;
    running.end().await;
}

#[tokio::test]
async fn a_folder_that_comes_with_a_rotated_log_in_it_is_read_completely() {
    let setup = Setup::new();
    let log = setup.path("log/late/auth.log");
    let running = setup.start_with(SourceConfig::sshd_file(&log)).await;
    setup.is_waiting().await;
    fs::create_dir(log.parent().unwrap()).unwrap();
    append(&log, 0..10);
    later_than(&log);
    rename(&log, "auth.log.1");
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    running.end().await;
}

#[tokio::test]
async fn a_rotation_is_found_though_the_queue_of_the_kernel_overflowed() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    setup.is_waiting().await;
    let flood = || {
        // The kernel's own default is 16,384 events; each file makes three.
        let other = setup.path("log/other");
        for _ in 0..8_000 {
            File::create(&other).unwrap();
            fs::remove_file(&other).unwrap();
        }
    };
    flood();
    append(&log, 0..10);
    later_than(&log);
    rename(&log, "auth.log.1");
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    flood();
    append(&log, 20..30);
    rename(&log, "auth.log.2");
    append(&log, 30..40);
    rename(&log, "auth.log.3");
    append(&log, 40..50);
    setup.hub.has_each_once(50).await;
    running.end().await;
}

#[tokio::test]
async fn a_log_that_was_absent_at_a_first_start_is_all_new_at_the_next() {
    let setup = Setup::new();
    let (log, source) = (setup.log(), SourceConfig::sshd_file(setup.log()));
    let running = setup.start_with(source.clone()).await;
    setup.is_waiting().await;
    running.crash();
    append(&log, 0..10);
    rename(&log, "auth.log.1");
    append(&log, 10..20);
    let running = setup.start_with(source.clone()).await;
    setup.hub.has_each_once(20).await;
    running.end().await;
    append(&log, 20..30);
    let running = setup.start_with(source).await;
    setup.hub.has_each_once(30).await;
    running.end().await;
}

#[tokio::test]
async fn a_first_start_that_could_not_look_is_still_a_first_start() {
    let setup = Setup::new();
    let (log, source) = (setup.log(), SourceConfig::sshd_file(setup.log()));
    fs::create_dir_all(&log).unwrap();
    let running = setup.start_with(source.clone()).await;
    let failing = running.agent.metrics();
    until(|| failing.sources_failing.get() == 1, || "the failure".into()).await;
    running.end().await;
    fs::remove_dir(&log).unwrap();
    append(&log, 100..200);
    let running = setup.start_with(source).await;
    until(|| setup.cursor().contains("fingerprint"), || setup.cursor()).await;
    append(&log, 0..1);
    setup.hub.has_each_once(1).await;
    running.end().await;
}

#[tokio::test]
async fn a_new_file_renamed_onto_the_log_is_read_and_so_is_the_end_of_the_old() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    append(&log, 0..10);
    setup.hub.has_each_once(10).await;
    append(&log, 10..20);
    append(&setup.path("new"), 20..30);
    fs::rename(setup.path("new"), &log).unwrap();
    setup.hub.has_each_once(30).await;
    running.end().await;
}

#[tokio::test]
async fn a_longer_copy_renamed_onto_the_log_goes_on_where_the_log_was() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    append(&log, 0..1_000);
    setup.hub.has_each_once(1_000).await;
    for round in 1..4 {
        // As rsync(1) updates a copy of a log of another machine.
        let new = log.with_file_name(".auth.log.x7Qz");
        fs::copy(&log, &new).unwrap();
        append(&new, round * 1_000..(round + 1) * 1_000);
        fs::rename(&new, &log).unwrap();
        setup.hub.has_each_once((round + 1) * 1_000).await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_deleted_log_is_read_on_while_its_daemon_still_writes_to_it() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    append(&log, 0..10);
    let mut daemon = OpenOptions::new().append(true).open(&log).unwrap();
    setup.hub.has_each_once(10).await;
    fs::remove_file(&log).unwrap();
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    let late: String = (20..30).map(line).collect();
    daemon.write_all(late.as_bytes()).unwrap();
    setup.hub.has_each_once(30).await;
    running.end().await;
}

#[tokio::test]
async fn logs_that_are_deleted_and_created_again_are_all_read() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    for round in 0..20 {
        append(&log, round * 10..round * 10 + 10);
        setup.hub.has_each_once(round * 10 + 10).await;
        setup.is_stored(&log).await;
        // The inode is free to be used again once nobody has it open.
        fs::remove_file(&log).unwrap();
    }
    running.end().await;
    append(&log, 200..210);
    let running = setup.start().await;
    setup.hub.has_each_once(210).await;
    running.end().await;
}

#[tokio::test]
async fn a_log_cut_to_a_part_and_written_again_loses_and_doubles_nothing() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    append(&log, 0..100);
    setup.hub.has_each_once(100).await;
    let part: usize = (0..60).map(|number| line(number).len()).sum();
    OpenOptions::new().write(true).open(&log).unwrap().set_len(part as u64).unwrap();
    // Longer again than it was, before anybody looks.
    append(&log, 100..200);
    setup.hub.has_each_once(200).await;
    running.end().await;
    // The same while the agent is away.
    OpenOptions::new().write(true).open(&log).unwrap().set_len(part as u64).unwrap();
    append_text(
        &log,
        b"2026-11-20T20:07:15Z web01 sshd[1]: Connection closed by 192.0.2.1 port 7\n",
    );
    append(&log, 200..400);
    let running = setup.start().await;
    setup.hub.has_each_once(400).await;
    running.end().await;
}

#[tokio::test]
async fn a_log_that_is_cut_and_then_renamed_while_the_agent_is_away_is_read_completely() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    append(&log, 0..10);
    setup.hub.has_each_once(10).await;
    setup.is_stored(&log).await;
    running.end().await;
    later_than(&log);
    fs::copy(&log, log.with_file_name("auth.log.1")).unwrap();
    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, 10..40);
    rename(&log, "auth.log.2");
    append(&log, 40..50);
    let running = setup.start().await;
    setup.hub.has_each_once(50).await;
    running.end().await;
}

#[tokio::test]
async fn a_log_rotated_by_a_hard_link_is_read_completely() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    setup.is_waiting().await;
    append(&log, 0..10);
    fs::hard_link(&log, setup.path("log/auth.log.1")).unwrap();
    fs::remove_file(&log).unwrap();
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    fs::hard_link(&log, setup.path("log/auth.log.2")).unwrap();
    append(&log, 20..30);
    setup.hub.has_each_once(30).await;
    // Truncates what the link leads to as well.
    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, 30..50);
    setup.hub.has_each_once(50).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_of_single_bytes_is_understood() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    let mut file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
    for number in 0..20 {
        for byte in line(number).as_bytes() {
            file.write_all(&[*byte]).unwrap();
        }
    }
    setup.hub.has_each_once(20).await;
    running.end().await;
}

#[tokio::test]
async fn a_log_may_become_a_folder_and_a_log_again() {
    let setup = Setup::new();
    let (log, running) = (setup.log(), setup.start().await);
    append(&log, 0..10);
    setup.hub.has_each_once(10).await;
    append(&log, 10..20);
    later_than(&log);
    rename(&log, "auth.log.1");
    fs::create_dir(&log).unwrap();
    let metrics = running.agent.metrics();
    until(|| metrics.sources_failing.get() == 1, || "the failure".into()).await;
    append(&log.with_file_name("auth.log.1"), 20..30);
    setup.hub.has_each_once(30).await;
    fs::remove_dir(&log).unwrap();
    append(&log, 30..40);
    rename(&log, "auth.log.2");
    append(&log, 40..50);
    setup.hub.has_each_once(50).await;
    running.end().await;
}

#[tokio::test]
async fn a_target_of_a_link_that_is_rotated_twice_at_once_is_read_completely() {
    let setup = Setup::new();
    let running = setup.start().await;
    let target = setup.path("elsewhere/real");
    fs::create_dir(setup.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(&target, setup.log()).unwrap();
    append(&target, 0..10);
    setup.hub.has_each_once(10).await;
    append(&target, 10..20);
    rename(&target, "real-a");
    append(&target, 20..30);
    rename(&target, "real-b");
    append(&target, 30..40);
    setup.hub.has_each_once(40).await;
    running.end().await;
}

#[tokio::test]
async fn folders_on_the_way_may_be_links_and_may_be_exchanged() {
    let setup = Setup::new();
    let log = setup.path("log/current/x/auth.log");
    for folder in ["log/1/x", "log/2/x"] {
        fs::create_dir_all(setup.path(folder)).unwrap();
    }
    std::os::unix::fs::symlink("1", setup.path("log/current")).unwrap();
    append(&log, 0..10);
    let running = setup.start_with(file_source(&log)).await;
    setup.hub.has_each_once(10).await;
    std::os::unix::fs::symlink("2", setup.path("log/new")).unwrap();
    fs::rename(setup.path("log/new"), setup.path("log/current")).unwrap();
    append(&log, 10..20);
    setup.hub.has_each_once(20).await;
    fs::rename(setup.path("log/2"), setup.path("log/3")).unwrap();
    fs::create_dir_all(log.parent().unwrap().canonicalize().unwrap_or(setup.path("log/2/x")))
        .unwrap();
    append(&log, 20..30);
    setup.hub.has_each_once(30).await;
    running.end().await;
}

/// Growing, rotating, copying and truncating, ends and crashes of the agent in any
/// order: each attempt is there once, with the number of its process.
#[tokio::test]
async fn whatever_happens_to_a_log_each_attempt_is_there_once() {
    for seed in 1..=8_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // Marsaglia's xorshift: the same steps each time.
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let setup = Setup::new();
        let (log, mut running) = (setup.log(), setup.start().await);
        // What was rotated before the very first look is of the time before.
        setup.is_waiting().await;
        let (mut lines, mut steps) = (0, Vec::new());
        for _ in 0..12 {
            let more = usize::try_from(draw(20)).unwrap() + 1;
            append(&log, lines..lines + more);
            lines += more;
            let step = draw(5);
            steps.push((more, step));
            match step {
                0 => {
                    later_than(&log);
                    for number in (1..9).rev() {
                        let old = log.with_file_name(format!("auth.log.{number}"));
                        if old.exists() {
                            rename(&old, &format!("auth.log.{}", number + 1));
                        }
                    }
                    rename(&log, "auth.log.1");
                }
                1 => {
                    setup.is_stored(&log).await;
                    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
                    // What grows past its old size at once cannot be told from what
                    // was never cut.
                    setup.is_stored(&log).await;
                }
                2 => {
                    running.end().await;
                    running = setup.start().await;
                }
                3 => {
                    running.crash();
                    running = setup.start().await;
                }
                _ => {}
            }
        }
        let found =
            || format!("seed {seed}: {} of {lines} after {steps:?}", setup.hub.users().len());
        until(|| setup.hub.users().len() >= lines, found).await;
        setup.hub.has_each_once(lines).await;
        for event in setup.hub.of(palisade_event::EventKind::AuthAttempted) {
            let user = event.credentials.unwrap().username.unwrap().to_string();
            let number: i64 = user.trim_start_matches('u').parse().unwrap();
            let pid = palisade_event::AttributeValue::Integer(number + 1);
            assert_eq!(event.attributes.get("pid"), Some(&pid), "seed {seed}");
        }
        running.end().await;
    }
}
