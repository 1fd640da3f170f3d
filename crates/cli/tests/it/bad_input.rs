//! What an operator gets wrong, and what the machine gets wrong: each a clear
//! answer, nothing lost, no panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::{BINARY, Palisade, append, cli, sshd_line};

/// The one error sentence of a command that must fail.
fn failure(home: &std::path::Path, args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).current_dir(home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_port_in_use_is_named() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = failure(home.path(), &["hub", "--data", "data", "--listen", &address]);
    assert!(said.contains(&address) && said.contains("another program"), "{said}");
}

#[test]
fn a_data_directory_in_use_names_the_other_process() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let said = failure(home.path(), &["hub", "--data", "data", "--listen", "127.0.0.1:0"]);
    assert!(said.contains(&palisade.child.id().to_string()), "{said}");
}

#[test]
fn an_unwritable_data_directory_is_named() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let said = failure(home.path(), &["hub", "--data", "file/data", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("file/data"), "{said}");
}

#[test]
fn a_mistake_in_the_settings_is_named_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("p.toml"), "data = \"d\"\n\n[honeypt]\n").unwrap();
    let said = failure(home.path(), &["up", "--config", "p.toml"]);
    assert!(said.contains("line 3") && said.contains("honeypt"), "{said}");
    let said = failure(home.path(), &["config", "check", "--config", "absent.toml"]);
    assert!(said.contains("absent.toml"), "{said}");
}

#[test]
fn a_malformed_query_is_pointed_at() {
    let home = tempfile::tempdir().unwrap();
    let output = cli(home.path(), &["query", "contry:DE"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("contry") && said.contains("country"), "{said}");
}

#[test]
fn wrong_usage_exits_with_two() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(cli(home.path(), &["unban-everything"]).status.code(), Some(2));
    assert_eq!(cli(home.path(), &["user", "add", "x", "--role", "king"]).status.code(), Some(2));
}

#[test]
fn an_unreadable_log_is_reported_and_read_once_it_can_be() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to become a user who may not read");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::set_permissions(home, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(home.join("palisade.toml"), support::settings(home)).unwrap();
    let log = home.join("auth.log");
    append(&log, &sshd_line("Failed password for root from 203.0.113.9 port 1022 ssh2"));
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
    // The binary may lie where others cannot go; a copy is reachable.
    let binary = home.join("palisade");
    fs::copy(BINARY, &binary).unwrap();
    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["up", "--config"])
        .arg(home.join("palisade.toml"))
        .current_dir(home)
        .spawn()
        .unwrap();
    let count = |query: &str| {
        let output = cli(home, &["query", "--count", query]);
        String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().ok()
    };
    support::wait("the hub runs", || home.join("data/palisade.sock").exists().then_some(()));
    support::wait("the failure is an event", || (count("kind:source.failed")? == 1).then_some(()));
    fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
    support::wait("the line is read", || (count("user:root")? == 1).then_some(()));
    support::wait("the recovery is an event", || {
        (count("kind:source.recovered")? == 1).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_corrupt_spool_segment_costs_no_other_event() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let palisade = Palisade::up(home);
    append(
        &home.join("auth.log"),
        &sshd_line("Failed password for one from 203.0.113.9 port 22 ssh2"),
    );
    palisade.wait_count("user:one", 1);
    palisade.kill();
    for folder in ["hub/spool", "agent/spool"] {
        let folder = home.join("data").join(folder);
        let newest = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .filter(|path| fs::metadata(path).unwrap().len() > 64)
            .max();
        if let Some(path) = newest {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&path, bytes).unwrap();
        }
    }
    let palisade = Palisade::up(home);
    append(
        &home.join("auth.log"),
        &sshd_line("Failed password for two from 203.0.113.9 port 22 ssh2"),
    );
    palisade.wait_count("user:two", 1);
    palisade.wait_count("user:one", 1);
}

#[test]
fn a_full_disk_refuses_and_recovers_without_loss() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let data = home.join("data");
    fs::create_dir(&data).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(&data)
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("skipped: mounting a small disk needs root");
        return;
    }
    let _unmount = Unmount(data.clone());
    let palisade = Palisade::up(home);
    append(
        &home.join("auth.log"),
        &sshd_line("Failed password for before from 203.0.113.9 port 22 ssh2"),
    );
    palisade.wait_count("user:before", 1);
    let key = palisade.cli(&["key", "add", "filler", "--scope", "ingest"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let ballast = data.join("ballast");
    fs::write(&ballast, vec![0u8; 64 << 20]).unwrap_err();
    let url = format!("http://{}/api/v1/events", palisade.http_api());
    let post = |number: u32| {
        let event = format!(
            r#"{{"version":1,"events":[{{"id":"{}","kind":"connection.opened","observed_at":"{}","sensor":"x","request":"{}"}}]}}"#,
            palisade_event::EventId::new(std::time::SystemTime::now().into(), rand_bits(number)),
            palisade_event::Timestamp::from(std::time::SystemTime::now()),
            "x".repeat(50_000),
        );
        fs::write(home.join("body"), event).unwrap();
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code} %header{retry-after}"])
            .args(["-H", &format!("Authorization: Bearer {}", key.trim())])
            .args(["-H", "Content-Type: application/json", "--data-binary"])
            .arg(format!("@{}", home.join("body").display()))
            .arg(&url)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut accepted = 0u64;
    let refused = (0..50)
        .map(|number| {
            let answer = post(number);
            accepted += u64::from(answer.starts_with("200"));
            answer
        })
        .find(|answer| answer.starts_with("503"))
        .expect("a full disk is answered with 503");
    assert!(refused.len() > "503 ".len(), "Retry-After is sent: {refused}");

    fs::remove_file(&ballast).unwrap();
    support::wait("events are taken again", || post(1000).starts_with("200").then_some(()));
    palisade.wait_count("kind:connection.opened", accepted + 1);
    assert_eq!(palisade.count("user:before"), 1);
}

/// A distinct 80-bit number for each call.
fn rand_bits(number: u32) -> u128 {
    u128::from(std::process::id()) << 40 | u128::from(number)
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
