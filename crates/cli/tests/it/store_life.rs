//! The life of the data, with the real binary: export, import, check, repair,
//! backup; broken off by kill -9 in the middle.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, Untrusted, wire};
use serde_json::Value;
use support::{BINARY, Palisade, cli, wait};

/// The frozen hostile events as if they had been observed in the last days.
fn hostile() -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/format/v1/store.ndjson");
    let text = fs::read_to_string(path).unwrap();
    let mut events: Vec<Event> =
        text.lines().map(|line| wire::decode_event(line.as_bytes()).unwrap()).collect();
    let newest = events.iter().map(|event| event.observed_at).max().unwrap();
    let shift = Timestamp::from(SystemTime::now()).as_millis() - newest.as_millis();
    for event in &mut events {
        event.observed_at = event.observed_at.plus_millis(shift);
        event.received_at = Some(event.observed_at.plus_millis(5));
    }
    events
}

/// Simple events, some a millisecond, over the last hours.
fn many(count: u32) -> Vec<Event> {
    let now = Timestamp::from(SystemTime::now());
    let event = |number: u32| {
        let at = now.plus_millis(-i64::from(number / 3) * 200 - 60_000);
        let sensor = SensorId::new(&format!("web-{}", number % 5)).unwrap();
        let id = EventId::new(at, u128::from(number));
        let mut event = Event::new(id, EventKind::CommandEntered, at, sensor);
        event.received_at = Some(at);
        event.request = Some(Untrusted::from(format!("wget http://198.51.100.7/{number}")));
        event
    };
    (0..count).map(event).collect()
}

fn write(path: &Path, events: &[Event]) {
    let mut text = Vec::new();
    for event in events {
        text.extend_from_slice(&wire::encode_event(event));
        text.push(b'\n');
    }
    fs::write(path, text).unwrap();
}

fn ok(output: Output) -> String {
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    let out = String::from_utf8(out).unwrap();
    assert!(output.status.success(), "{out}{err}");
    out
}

fn home() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// All events of a data directory as lines, newest first.
fn exported(home: &Path) -> String {
    ok(cli(home, &["export", "--output", "-", "--quiet"]))
}

fn count(home: &Path) -> u64 {
    ok(cli(home, &["query", "--count"])).trim().parse().unwrap()
}

#[test]
fn every_format_gives_the_same_events_back() {
    let (_keep, first) = home();
    let events = hostile();
    write(&first.join("events.ndjson"), &events);
    let said = ok(cli(&first, &["import", "events.ndjson"]));
    assert_eq!(said, "64 events imported, 0 were there, 0 rows bad\n");
    ok(cli(&first, &["import", "events.ndjson"]));
    let all = exported(&first);
    assert_eq!(all.lines().count(), 64);
    // Sensor, domain and time of receipt are those of the file.
    for line in all.lines() {
        let got = wire::decode_event(line.as_bytes()).unwrap();
        let gave = events.iter().find(|event| event.id == got.id).unwrap();
        assert_eq!((&got.sensor, got.domain), (&gave.sensor, gave.domain));
        assert_eq!((got.observed_at, got.received_at), (gave.observed_at, gave.received_at));
        if gave.source_geo.is_some() {
            assert_eq!(got.source_geo, gave.source_geo, "{line}");
        }
    }

    for name in ["all.ndjson", "all.csv", "all.parquet"] {
        let file = first.join(name);
        ok(cli(&first, &["export", "--output", name]));
        let left = fs::read_dir(&first).unwrap().map(|e| e.unwrap().file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().contains(".part")), "{name}");
        let (_keep, other) = home();
        ok(cli(&other, &["import", file.to_str().unwrap()]));
        assert_eq!(exported(&other), all, "{name}");
    }
    for (packed, tool) in [("all.ndjson.gz", "gzip"), ("all.csv.gz", "gzip")] {
        let plain = first.join(packed.trim_end_matches(".gz"));
        assert!(Command::new(tool).arg("-k").arg(&plain).status().unwrap().success());
        let (_keep, other) = home();
        ok(cli(&other, &["import", first.join(packed).to_str().unwrap()]));
        assert_eq!(exported(&other), all, "{packed}");
    }
}

#[test]
fn bad_rows_are_named_and_the_others_taken() {
    let (_keep, home) = home();
    let mut old = many(3);
    old[1].observed_at = Timestamp::from_millis(0);
    write(&home.join("events.ndjson"), &old);
    let mut text = fs::read_to_string(home.join("events.ndjson")).unwrap();
    text.push_str("{\"id\":7}\n\nno json\u{1b}[31m\n");
    fs::write(home.join("events.ndjson"), text).unwrap();
    let output = cli(&home, &["import", "events.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    for named in ["line 2: observed_at 1970", "line 4: ", "line 6: "] {
        assert!(errors.contains(&format!("events.ndjson: {named}")), "{named}: {errors}");
    }
    assert!(!errors.contains('\u{1b}'));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "2 events imported, 0 were there, 3 rows bad\n");
    let quarantine = cli(&home, &["import", "--strict", "events.ndjson"]);
    assert_eq!(quarantine.status.code(), Some(1));

    fs::write(home.join("wrong.csv"), "id,colour\r\n").unwrap();
    let output = cli(&home, &["import", "wrong.csv"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("'colour'"));
    fs::write(home.join("wrong.parquet"), "PAR1 is not enough PAR1").unwrap();
    let output = cli(&home, &["import", "wrong.parquet"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Parquet"));
    assert_eq!(count(&home), 2);
}

/// Starts a command, kills it with SIGKILL once `begun` is true; whether it was
/// still at work.
fn killed(home: &Path, args: &[&str], begun: impl Fn() -> bool) -> bool {
    let mut child = Command::new(BINARY)
        .args(args)
        .env("PALISADE_DATA", home.join("data"))
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if begun() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::yield_now();
    }
}

#[test]
fn killed_imports_and_exports_go_on_and_nothing_is_lost_or_double() {
    let (_keep, home) = home();
    let events = many(12_000);
    write(&home.join("events.ndjson"), &events);
    let state = home.join("events.ndjson.import");
    let began = |path: PathBuf| move || path.exists();
    assert!(killed(&home, &["import", "events.ndjson"], began(state.clone())));
    let output = cli(&home, &["import", "events.ndjson"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("going on after"));
    ok(output);
    assert!(!state.exists());
    assert_eq!(count(&home), 12_000);

    let whole = exported(&home);
    let ids: Vec<&str> = whole.lines().map(|line| &line[7..33]).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!((ids.len(), unique.len()), (12_000, 12_000));

    for (name, pieces) in [("all.ndjson", 1), ("all.csv", 1), ("all.parquet", 0)] {
        let file = home.join(name);
        let state = home.join(format!("{name}.part.json"));
        let begun = || {
            let text = fs::read(&state).unwrap_or_default();
            serde_json::from_slice::<Value>(&text)
                .is_ok_and(|state| state["events"].as_u64().unwrap() >= 2_000 * pieces)
        };
        assert!(killed(&home, &["export", "--output", name], begun), "{name} was too fast");
        assert!(!file.exists());
        let again = cli(&home, &["export", "--output", name]);
        assert!(String::from_utf8_lossy(&again.stderr).contains("--resume"), "{name}");
        ok(cli(&home, &["export", "--output", name, "--resume"]));
        assert!(!state.exists());
        if name == "all.ndjson" {
            assert!(fs::read_to_string(&file).unwrap() == whole, "not the same as in one go");
        }
        let (_keep, other) = self::home();
        let said = ok(cli(&other, &["import", file.to_str().unwrap(), "--quiet"]));
        assert_eq!(said, "");
        assert!(exported(&other) == whole, "{name}");
    }
}

#[test]
fn a_sensor_key_imports_as_itself_and_may_not_restore() {
    let (_keep, home) = home();
    let hub = Palisade::up(&home);
    write(&home.join("events.ndjson"), &many(10));
    let key = ok(hub.cli(&["key", "add", "edge-9", "--scope", "ingest"]));
    fs::write(home.join("key"), key.trim()).unwrap();
    let url = format!("http://{}", hub.http_api());
    let remote = ["--hub", &url, "--key-file", "key"];
    let args = |more: &[&'static str]| {
        let mut args = vec!["import", "events.ndjson"];
        args.extend(more);
        args.extend(remote);
        args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let run = |args: Vec<String>| hub.cli(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let refused = run(args(&[]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admin"), "{refused:?}");
    ok(run(args(&["--as-sensor"])));
    hub.wait_count("sensor:edge-9", 10);
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn damage_is_found_while_the_hub_runs_and_repaired_when_it_is_stopped() {
    let (_keep, home) = home();
    write(&home.join("events.ndjson"), &hostile());
    ok(cli(&home, &["import", "events.ndjson"]));
    let all = exported(&home);
    let said = ok(cli(&home, &["store", "check"]));
    assert!(said.contains("64 events") && said.contains("nothing is wrong"), "{said}");
    let stats = ok(cli(&home, &["store", "stats", "--format", "json"]));
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["events"], 64);
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(stats["newest"], lines[0]["observed_at"]);
    assert_eq!(stats["oldest"], lines[63]["observed_at"]);
    assert_eq!(stats["store"]["days"], stats["store"]["by_day"].as_array().unwrap().len());

    let days = home.join("data/store/days");
    let day = fs::read_dir(&days).unwrap().map(|day| day.unwrap().path()).min().unwrap();
    let meta = day.join("meta.json");
    let hub = Palisade::up(&home);
    let said = ok(hub.cli(&["store", "check"]));
    assert!(said.contains("a hub runs here"), "{said}");
    let refused = hub.cli(&["store", "repair"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by process"));
    fs::write(&meta, "{").unwrap();
    let checked = hub.cli(&["store", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(hub.terminate(), Some(0));

    let before = fs::read_dir(&day).unwrap().count();
    let said = ok(cli(&home, &["store", "repair"]));
    assert!(said.contains("1 days repaired, 0 events lost"), "{said}");
    let kept = day.with_extension("damaged");
    assert_eq!(fs::read_dir(&kept).unwrap().count(), before, "the originals stay");
    let restored = exported(&home);
    // Events of the agent and the hub came in the meantime.
    assert!(all.lines().all(|line| restored.contains(line)));
    ok(cli(&home, &["store", "check"]));
    assert_eq!(ok(cli(&home, &["store", "repair"])), "nothing had to be repaired\n");
}

#[test]
fn a_backup_under_ingest_has_every_acknowledged_event() {
    let (_keep, home) = home();
    let hub = Palisade::up(&home);
    let parts: Vec<PathBuf> = many(8_000)
        .chunks(500)
        .enumerate()
        .map(|(number, part)| {
            let path = home.join(format!("part-{number}.ndjson"));
            write(&path, part);
            path
        })
        .collect();
    let imported = std::sync::atomic::AtomicUsize::new(0);
    let done = std::thread::scope(|scope| {
        let importer = scope.spawn(|| {
            for part in &parts {
                ok(cli(&home, &["import", "--quiet", part.to_str().unwrap()]));
                imported.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let so_far = || imported.load(std::sync::atomic::Ordering::SeqCst);
        wait("some events are acknowledged", || (so_far() > 3).then_some(()));
        let first = so_far();
        let said = ok(hub.cli(&["store", "backup", "--to", "backups"]));
        assert!(said.contains("files shared"), "{said}");
        let second = so_far();
        ok(hub.cli(&["store", "backup", "--to", "backups"]));
        importer.join().unwrap();
        [first, second]
    });
    hub.kill();

    let mut backups: Vec<PathBuf> =
        fs::read_dir(home.join("backups")).unwrap().map(|entry| entry.unwrap().path()).collect();
    backups.sort();
    assert_eq!(backups.len(), 2);
    for (backup, acknowledged) in backups.iter().zip(done) {
        let manifest = fs::read_to_string(backup.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["findings"], serde_json::json!([]));
        // Restored: the folder takes the place of the data directory.
        let (_keep, other) = self::home();
        assert!(
            Command::new("cp")
                .arg("-a")
                .arg(backup)
                .arg(other.join("data"))
                .status()
                .unwrap()
                .success()
        );
        let have = exported(&other);
        for part in parts.iter().take(acknowledged) {
            for line in fs::read_to_string(part).unwrap().lines() {
                assert!(have.contains(&line[..33]), "{line}");
            }
        }
        ok(cli(&other, &["store", "check"]));
        // Accounts came along.
        assert!(ok(cli(&other, &["user", "list"])).contains("admin"));
    }
}
