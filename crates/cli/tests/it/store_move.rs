//! `palisade store move` with the real binary and Debian's ClickHouse: killed
//! in the middle, run again, and back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says where"
)]

#[allow(
    dead_code,
    unreachable_pub,
    unused_macros,
    reason = "the part that starts a server is used"
)]
use crate::engine;
use crate::support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use engine::Server;
use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, Untrusted, wire};
use support::{BINARY, cli};

fn events(count: u32) -> Vec<u8> {
    let now = Timestamp::from(SystemTime::now());
    let mut text = Vec::new();
    for number in 0..count {
        // Three days.
        let at = now.plus_millis(-i64::from(number) * 8_000 - 60_000);
        let id = EventId::new(at, u128::from(number));
        let sensor = SensorId::new("web-1").unwrap();
        let mut event = Event::new(id, EventKind::CommandEntered, at, sensor);
        event.received_at = Some(at);
        event.request = Some(Untrusted::new(vec![b'w', (number % 256) as u8, 0xff]));
        text.extend_from_slice(&wire::encode_event(&event));
        text.push(b'\n');
    }
    text
}

fn run(home: &Path, args: &[&str]) -> String {
    let output = cli(home, args);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    out
}

#[test]
fn a_killed_move_goes_on_and_both_sides_agree_there_and_back() {
    let server = Server::debian();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let config =
        format!("[hub.store.clickhouse]\nurls = [\"{}\"]\ndatabase = \"moved\"\n", server.url());
    fs::write(home.join("clickhouse.toml"), config).unwrap();
    fs::write(home.join("events.ndjson"), events(30_000)).unwrap();
    run(home, &["import", "events.ndjson", "--quiet"]);
    let all = run(home, &["export", "--output", "-", "--quiet"]);
    assert_eq!(all.lines().count(), 30_000);

    let there = ["store", "move", "--to", "clickhouse"];
    let without = cli(home, &there);
    assert!(String::from_utf8_lossy(&without.stderr).contains("[hub.store.clickhouse]"));
    let there = [&there[..], &["--config", "clickhouse.toml"]].concat();
    let mut child = Command::new(BINARY)
        .args(&there)
        .env("PALISADE_DATA", home.join("data"))
        .current_dir(home)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let state = home.join("data/store-move.json");
    while !state.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the move ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let said = run(home, &there);
    assert!(said.contains("30000 events moved; counts and ids of"), "{said}");
    assert!(!state.exists());
    // Once more moves nothing and agrees again.
    assert!(run(home, &there).contains("agree"));
    let count = server_count(&server);
    assert_eq!(count, "30000", "none twice");
    let moved = ["export", "--output", "-", "--quiet", "--config", "clickhouse.toml"];
    assert!(run(home, &moved) == all);

    fs::remove_dir_all(home.join("data/store")).unwrap();
    let back = ["store", "move", "--to", "embedded", "--config", "clickhouse.toml"];
    assert!(run(home, &back).contains("30000 events moved"));
    assert!(run(home, &["export", "--output", "-", "--quiet"]) == all);
    run(home, &["store", "check"]);
}

fn server_count(server: &Server) -> String {
    let tables =
        engine::ask(&server.url(), "SELECT name FROM system.tables WHERE database = 'moved'");
    assert!(tables.unwrap().lines().any(|name| name == "events"));
    engine::ask(&server.url(), "SELECT count() FROM moved.events").unwrap().trim().to_owned()
}
