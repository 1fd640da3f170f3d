//! The process is killed with SIGKILL at random moments: every record whose
//! append had returned is there, whole, under its number.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{block_on, config};
use palisade_spool::{Config, Spool, WhenFull};

const DIR: &str = "PALISADE_SPOOL_KILL_DIR";
const ROUND: &str = "PALISADE_SPOOL_KILL_ROUND";
const ROUNDS: u64 = 10;

fn settings() -> Config {
    config(16 * 1024, 1 << 30, WhenFull::Refuse)
}

/// The records of one append, recognisable in every byte.
fn records(name: &str, at: u64) -> Vec<Vec<u8>> {
    let count = 1 + at % 5;
    (0..count)
        .map(|i| format!("{name}/{at} {i}/{count} {}", "x".repeat(at as usize % 400)).into_bytes())
        .collect()
}

fn say(line: &str) {
    // One write, so that lines do not mix and none is held back.
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "run by killed_process_has_lost_nothing_it_acknowledged"]
fn child() {
    let (Some(dir), Ok(round)) = (std::env::var_os(DIR), std::env::var(ROUND)) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (spool, mut reader) = Spool::open(Path::new(&dir), settings()).unwrap();
        for task in 0..4 {
            let (spool, name) = (spool.clone(), format!("{round}-{task}"));
            tokio::spawn(async move {
                for at in 0.. {
                    let position = spool.append(records(&name, at)).await.unwrap();
                    say(&format!("ack {name} {at} {}", position.0));
                }
            });
        }
        loop {
            // A consumer that is behind: commits what it read 3 chunks ago.
            let mut ends = Vec::new();
            for _ in 0..4 {
                ends.push(reader.next(50, 10_000).await.unwrap().end);
            }
            say(&format!("commit {}", ends[0]));
            reader.commit(ends[0]).await.unwrap();
            if ends[3] % 2 == 0 {
                reader.rewind();
            }
        }
    });
}

#[test]
fn killed_process_has_lost_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let random = RandomState::new();
    // Number of the first record → its append; the highest commit asked for.
    let mut acknowledged: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    let mut commit_asked = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut hasher = random.build_hasher();
        hasher.write_u64(round);
        let kill_after = hasher.finish() % 1500;
        let mut lines = 0;
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["ack", name, at, first] => {
                    let append = (name.to_owned(), at.parse().unwrap());
                    let before = acknowledged.insert(first.parse().unwrap(), append);
                    assert_eq!(before, None, "number {first} was given out twice");
                }
                ["commit", end] => commit_asked = commit_asked.max(end.parse().unwrap()),
                _ => panic!("the child says: {line}"),
            }
            lines += 1;
            if lines == kill_after + 1 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "killed");
        check(dir.path(), &acknowledged, commit_asked);
    }
    assert!(acknowledged.len() > 1000, "{} appends", acknowledged.len());
}

fn check(dir: &Path, acknowledged: &BTreeMap<u64, (String, u64)>, commit_asked: u64) {
    let (spool, mut reader) = Spool::open(dir, settings()).unwrap();
    let committed = reader.committed();
    assert!(committed <= commit_asked, "{committed} was never asked for");
    let found: HashMap<u64, Vec<u8>> =
        block_on(common::drain(&spool, &mut reader)).into_iter().collect();
    for (first, (name, at)) in acknowledged {
        for (number, record) in (*first..).zip(records(name, *at)) {
            if number >= committed {
                assert_eq!(found.get(&number), Some(&record), "number {number}");
            }
        }
    }
    // What was not acknowledged is there as a whole or not at all.
    for (number, record) in &found {
        let text = std::str::from_utf8(record).unwrap();
        let mut words = text.split(' ');
        let (name, at) = words.next().unwrap().split_once('/').unwrap();
        let (index, _) = words.next().unwrap().split_once('/').unwrap();
        let first = number - index.parse::<u64>().unwrap();
        for (number, record) in (first..).zip(records(name, at.parse().unwrap())) {
            if number >= committed {
                assert_eq!(found.get(&number), Some(&record), "number {number}");
            }
        }
    }
    assert_eq!(spool.stats().corrupt_frames, 0);
}
