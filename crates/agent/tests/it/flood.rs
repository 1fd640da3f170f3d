//! A log that is flooded, with an attack and junk in the flood, and a line of a
//! gigabyte: nothing relevant is lost or doubled, no wrong decision, and memory
//! stays bounded. One test: the memory is that of the process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::io::{BufWriter, Write as _};

use palisade_agent::{Config, DetectConfig};
use palisade_event::{Decision, EventKind};
use support::{MemoryHub, Mood, Running, config, file_source, until};

/// Lines of the flood that mean nothing to anybody.
const LINES: usize = 400_000;
/// One of so many is a failed login.
const EACH: usize = 1_000;
/// A line with a hole in it, which reads as zeros.
const LINE_BYTES: u64 = 1 << 30;
/// What the process may grow by: queues of lines and events, spool and scanner.
const MAX_GROWTH_BYTES: u64 = 160 * 1024 * 1024;

/// The largest size that the process has had in memory.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_and_an_endless_line_hide_no_attack_and_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    std::fs::write(&log, "").unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let config = Config { detect: DetectConfig::default(), ..config(vec![file_source(&log)]) };
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    let before = peak_bytes();
    let file = std::fs::File::options().append(true).open(&log).unwrap();
    let mut to = BufWriter::with_capacity(1 << 20, file);
    for number in 0..LINES {
        if number == LINES / 2 {
            to.flush().unwrap();
            let length = to.get_ref().metadata().unwrap().len();
            to.get_ref().set_len(length + LINE_BYTES).unwrap();
            to.write_all(b" Failed password for root from 198.51.100.99 port 1 ssh2\n").unwrap();
        }
        let at = format!("2026-11-20T20:{:02}:{:02}Z web01", number / 10_000, number / 200 % 60);
        if number % EACH == 0 {
            // Each user once: what it is told by.
            let user = number / EACH;
            writeln!(to, "{at} sshd[7]: Failed password for invalid user u{user} from 198.51.100.7 port 4711 ssh2").unwrap();
        } else if number % 3 == 0 {
            // A name that looks like the end of a line about somebody else.
            writeln!(
                to,
                "{at} kernel: sshd[7]: Failed password for root from 203.0.113.5 port 22 ssh2"
            )
            .unwrap();
        } else if number % 3 == 1 {
            to.write_all(b"\xff\xfe\x00 sshd[7]: Failed \x1b[31m\n").unwrap();
        } else {
            writeln!(to, "{at} cron[12]: (root) CMD (run-parts /etc/cron.hourly)").unwrap();
        }
    }
    to.flush().unwrap();
    hub.has_each_once(LINES / EACH).await;
    let decisions = || -> Vec<String> {
        let events = hub.of(EventKind::DecisionMade);
        events.iter().map(|event| Decision::from_event(event).unwrap().target.to_string()).collect()
    };
    until(|| !decisions().is_empty(), || "no decision".into()).await;
    running.end().await;
    assert!(decisions().iter().all(|target| target == "198.51.100.7"), "{:?}", decisions());
    let growth = peak_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "grew by {growth} bytes");
}
