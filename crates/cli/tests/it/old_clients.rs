//! Glimpse's script and Alpha's counting against the real binary, while it is killed
//! and started again and while the log is rotated: what was answered is there once,
//! what was logged counts once.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Palisade, append, settings, wait};

/// Marsaglia's xorshift: the same steps each time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn start(home: &Path) -> Palisade {
    let config = home.join("palisade.toml");
    if !config.exists() {
        let extra = "\n[api.glimpse]\nkey = \"glimpse\"\n\n[api.alpha]\nopen = \"all\"\n";
        fs::write(&config, settings(home) + extra).unwrap();
    }
    Palisade::up(home)
}

/// What the script does for each of its questions: a new connection by TLS, a method
/// and a JSON body, also with GET.
fn glimpse(palisade: &Palisade, method: &str, path: &str, body: &Value) -> Value {
    let output = Command::new("curl")
        .args(["-s", "-k", "-X", method, "-A", "python-requests/2.28.1", "--data-binary"])
        .args([&body.to_string(), "-H", "Content-Type: application/json"])
        .arg(format!("https://{}{path}", palisade.https_api()))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn what_the_script_was_told_is_there_is_there_once_over_kills_of_the_hub() {
    let home = tempfile::tempdir().unwrap();
    let mut draws = Draws(0x9E37_79B9_7F4A_7C15);
    let mut palisade = start(home.path());
    let ok = json!({"Status": "OK-REQUEST"});
    let mut said = Vec::new();
    for round in 0..4 {
        for number in 0..=draws.below(8) {
            let msg = format!("USB device {round}.{number} plugged in");
            let log = json!({"timestamp": "2026-11-20 20:07:14", "log_type": "Alert", "msg": msg});
            let body = json!({"API_KEY": "glimpse", "IP": "192.0.2.1", "log": log});
            assert_eq!(glimpse(&palisade, "POST", "/push_servers_logs", &body), ok);
            said.push(msg);
            let data = json!({"hostname": "web-1", "cpu": {"usage": draws.below(100)}});
            let body = json!({"API_KEY": "glimpse", "IP": "192.0.2.1", "data": data});
            assert_eq!(glimpse(&palisade, "POST", "/push_servers_info", &body), ok);
        }
        palisade.kill();
        palisade = start(home.path());
        let ask = json!({"API_KEY": "glimpse", "IP": "192.0.2.1", "get_logs": {"start": "100"}});
        let kept = wait("all entries of the log", || {
            let rows = glimpse(&palisade, "GET", "/get_servers_logs", &ask);
            let rows: Vec<String> = (1..=rows.as_object()?.len())
                .filter_map(|n| Some(rows[n.to_string()]["log"]["msg"].as_str()?.to_owned()))
                .collect();
            (rows.len() >= said.len()).then_some(rows)
        });
        assert_eq!(kept, said);
    }
    let ask = json!({"API_KEY": "glimpse", "request": {"list_servers": "all"}});
    assert_eq!(glimpse(&palisade, "GET", "/get_servers_info", &ask), json!({"1": "192.0.2.1"}));
    palisade.kill();
}

/// How a log is rotated: the two ways of logrotate(8).
#[derive(Clone, Copy, PartialEq)]
enum Rotation {
    Rename,
    CopyTruncate,
}

#[test]
fn a_log_that_is_renamed_while_the_agent_is_killed_counts_each_attempt_once() {
    rotate(Some(Rotation::Rename), 0xD1B5_4A32_D192_ED03);
}

#[test]
fn a_log_that_is_copied_and_cut_while_the_agent_is_killed_counts_each_attempt_once() {
    rotate(Some(Rotation::CopyTruncate), 0x9E37_79B9_7F4A_7C15);
}

#[test]
fn a_log_that_is_rotated_in_both_ways_counts_each_attempt_once() {
    for seed in 1..=3u64 {
        rotate(None, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

/// Rotates in one way, or in one after the other as it comes.
fn rotate(always: Option<Rotation>, seed: u64) {
    let home = tempfile::tempdir().unwrap();
    let mut draws = Draws(seed);
    let mut palisade = start(home.path());
    let log = home.path().join("auth.log");
    // The day is the lines' own, not the reader's.
    let day = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
    let day = day.strftime("%Y-%m-%d").to_string();
    let mut attempts = 0;
    append(&log, "");
    // The first look comes before the first rotation.
    attempts += attempt(&log, &day, attempts, &mut draws);
    counted(&palisade, &day, attempts);
    for step in 0..10 {
        for _ in 0..=draws.below(6) {
            attempts += attempt(&log, &day, attempts, &mut draws);
        }
        let rotated = log.with_extension(format!("log.{step}"));
        let how = always.unwrap_or_else(|| match draws.below(2) {
            0 => Rotation::Rename,
            _ => Rotation::CopyTruncate,
        });
        match (draws.below(4), how) {
            (0, Rotation::Rename) => fs::rename(&log, rotated).unwrap(),
            // Once what was there has been read: between the copy and the cut nobody
            // can say what was added.
            (0, Rotation::CopyTruncate) => {
                counted(&palisade, &day, attempts);
                fs::copy(&log, rotated).unwrap();
                fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
            }
            (1, _) => {
                palisade.kill();
                if how == Rotation::Rename {
                    // Rotated while nobody looks.
                    fs::rename(&log, rotated).unwrap();
                }
                attempts += attempt(&log, &day, attempts, &mut draws);
                palisade = start(home.path());
            }
            (2, _) => {
                palisade.terminate();
                attempts += attempt(&log, &day, attempts, &mut draws);
                palisade = start(home.path());
            }
            _ => {}
        }
    }
    counted(&palisade, &day, attempts);
    palisade.kill();
}

/// The lines of one process of sshd, between one and three of them.
fn attempt(log: &Path, day: &str, number: u64, draws: &mut Draws) -> u64 {
    let (pid, minute, second) = (1000 + number, number / 60, number % 60);
    let at = format!("{day}T08:{minute:02}:{second:02}+00:00");
    let line = |text: &str| format!("{at} web-1 sshd[{pid}]: {text}\n");
    let mut text = line("Failed password for root from 198.51.100.7 port 54957 ssh2");
    for _ in 0..draws.below(3) {
        text += &line("Connection closed by 198.51.100.7 port 54957 [preauth]");
    }
    append(log, &text);
    1
}

fn counted(palisade: &Palisade, day: &str, expected: u64) {
    let url = format!("http://{}/sshcount/test-1/{day}", palisade.http_api());
    let mut last = Value::Null;
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while std::time::Instant::now() < deadline {
        let output = Command::new("curl").args(["-s", &url]).output().unwrap();
        last = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        if last["ssh_login_attempt"] == expected {
            return;
        }
        assert!(last["ssh_login_attempt"].as_u64() <= Some(expected), "{last}, not {expected}");
        crate::support::pause();
    }
    let pids: std::collections::BTreeSet<u64> = palisade
        .query("kind:auth.attempted")
        .iter()
        .filter_map(|event| event["attributes"]["pid"].as_u64())
        .collect();
    let missing: Vec<u64> = (1000..1000 + expected).filter(|pid| !pids.contains(pid)).collect();
    panic!("{missing:?} are missing: {last} instead of {expected}; log:\n{}", palisade.errors());
}
