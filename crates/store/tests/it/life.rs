//! The files of a store: frozen formats, damage found and repaired, copies.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says where"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use palisade_event::{Event, wire};
use palisade_store::life::{self, Checked, Finding};
use palisade_store::query::Query;
use palisade_store::{Config, FORMAT, Store};

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fixtures/format/v{version}"))
}

/// What a frozen store holds, oldest first.
fn frozen(version: u32) -> Vec<String> {
    let text = fs::read_to_string(fixture(version).join("store.ndjson")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// A copy of a frozen store.
fn thawed(version: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture(version).join("store"), dir.path());
    dir
}

fn events(dir: &Path) -> Vec<String> {
    let store = Store::open(dir, &Config::default()).unwrap();
    let mut lines = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.search(&Query::ALL, 7, cursor).unwrap();
        let line = |event: &Event| String::from_utf8(wire::encode_event(event)).unwrap();
        lines.extend(page.events.iter().map(line));
        cursor = page.next;
        if cursor.is_none() {
            lines.reverse();
            return lines;
        }
    }
}

fn check(dir: &Path) -> Checked {
    life::check(dir, &mut |_| {}).unwrap()
}

fn found(dir: &Path) -> Vec<Finding> {
    check(dir).findings
}

fn day_dirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("days")).unwrap().map(|entry| entry.unwrap().path());
    let mut days: Vec<PathBuf> = entries.filter(|path| path.extension().is_none()).collect();
    days.sort();
    days
}

fn file_of(day: &Path, end: &str) -> PathBuf {
    let mut files = fs::read_dir(day).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|e| e == end)).unwrap()
}

fn assert_same(got: &[String], expected: &[String], what: &str) {
    let differs = got.iter().zip(expected).find(|(got, expected)| got != expected);
    assert_eq!(differs, None, "{what}");
    assert_eq!(got.len(), expected.len(), "{what}");
}

#[test]
fn a_store_of_every_version_opens_and_has_exactly_its_events() {
    for version in 1..=FORMAT {
        let dir = thawed(version);
        assert_same(&events(dir.path()), &frozen(version), &format!("format {version}"));
        let format = fs::read_to_string(dir.path().join("format")).unwrap();
        assert_eq!(format.trim(), FORMAT.to_string());
        assert_eq!(found(dir.path()), [], "format {version}");
        assert_eq!(check(dir.path()).events, 64);
        // What comes again counts once, also across the upgrade.
        let store = Store::open(dir.path(), &Config::default()).unwrap();
        let again = frozen(version);
        let event = |line: &String| Arc::new(wire::decode_event(line.as_bytes()).unwrap());
        let again: Vec<Arc<Event>> = again.iter().map(event).collect();
        assert!(store.append(&again).unwrap().iter().all(|new| !new));
    }
}

#[test]
fn an_upgrade_goes_on_wherever_it_was_interrupted() {
    let expected = frozen(1);
    let upgraded = thawed(1);
    events(upgraded.path());
    let day = "2026-11-19";
    type Interrupt = fn(&Path, &Path, &str);
    let interrupts: [Interrupt; 5] = [
        // The format is announced and nothing done.
        |old, _, _| fs::write(old.join("format"), "1 to 2\n").unwrap(),
        // The new index is half written.
        |old, _, day| {
            let half = old.join("days").join(format!("{day}.new"));
            fs::create_dir(&half).unwrap();
            fs::write(half.join("meta.json"), "{").unwrap();
        },
        // The new index is complete and the old one still in its place.
        |old, new, day| {
            let complete = old.join("days").join(format!("{day}.complete"));
            copy_dir(&new.join("days").join(day), &complete);
        },
        // The old one has gone aside and the new one has not come yet.
        |old, new, day| {
            let path = old.join("days").join(day);
            copy_dir(&new.join("days").join(day), &path.with_extension("complete"));
            fs::rename(&path, path.with_extension("replaced")).unwrap();
        },
        // The new one is in its place and the old one not removed yet.
        |old, new, day| {
            let path = old.join("days").join(day);
            fs::rename(&path, path.with_extension("replaced")).unwrap();
            copy_dir(&new.join("days").join(day), &path);
        },
    ];
    for (number, interrupt) in interrupts.iter().enumerate() {
        let dir = thawed(1);
        fs::write(dir.path().join("format"), "1 to 2\n").unwrap();
        interrupt(dir.path(), upgraded.path(), day);
        assert_same(&events(dir.path()), &expected, &format!("interrupt {number}"));
        let names = fs::read_dir(dir.path().join("days")).unwrap().count();
        assert_eq!(names, 3, "interrupt {number}: nothing is left over");
        assert_eq!(found(dir.path()), [], "interrupt {number}");
    }
}

#[test]
fn a_day_of_version_2_gets_a_longer_list_of_columns_and_keeps_its_segments() {
    let dir = thawed(2);
    let files = |dir: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let files = |day: PathBuf| fs::read_dir(day).unwrap().map(|entry| entry.unwrap().path());
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end != "json");
        let paths = day_dirs(dir).into_iter().flat_map(files).filter(is_segment);
        let mut all: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        all.retain(|(path, _)| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
        all.sort();
        all
    };
    let before = files(dir.path());
    // Interrupted after the first day.
    let done = thawed(2);
    events(done.path());
    let list = Path::new("days/2026-11-18/meta.json");
    fs::copy(done.path().join(list), dir.path().join(list)).unwrap();
    fs::write(dir.path().join("format"), "2 to 3\n").unwrap();
    assert_same(&events(dir.path()), &frozen(2), "upgraded");
    assert!(before == files(dir.path()), "segments are as they were");
    assert_eq!(found(dir.path()), []);

    // New events know their analyzer; old and new ones become one segment.
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    let mut new = wire::decode_event(frozen(2)[40].as_bytes()).unwrap();
    new.id = palisade_event::EventId::from_u128(7);
    new.analyzer = palisade_event::AnalyzerName::new("cowrie, second").ok();
    store.append(&[Arc::new(new.clone())]).unwrap();
    store.commit().unwrap();
    let ask = |text: &str| {
        let query = Query::parse(text, new.observed_at).unwrap();
        let page = store.search(&query, 100, None).unwrap();
        page.events.len()
    };
    let answers = || (ask("analyzer:\"cowrie, second\""), ask("daemon:cow*"), ask("-analyzer:*"));
    assert_eq!(answers(), (1, 1, 64));
    let later = palisade_event::Timestamp::from_millis(1_795_132_800_000 + 90 * 86_400_000);
    while store.maintain(later).unwrap() {}
    let later = later.plus_millis(3_600_000);
    while store.maintain(later).unwrap() {}
    assert_eq!(answers(), (1, 1, 64));
    drop(store);
    assert_eq!(found(dir.path()), []);
    let (old, new): (Vec<String>, Vec<String>) =
        events(dir.path()).into_iter().partition(|line| frozen(2).contains(line));
    assert_same(&old, &frozen(2), "merged");
    assert!(new.len() == 1 && new[0].contains("\"analyzer\":\"cowrie, second\""), "{new:?}");
    for day in life::survey(dir.path()).unwrap() {
        assert_eq!(day.segments, 1, "{}", day.folder);
    }
}

#[test]
fn a_newer_format_and_an_unknown_one_are_refused_in_one_sentence() {
    let dir = thawed(1);
    for (format, expected) in [
        (format!("{}", FORMAT + 1), "use the version that wrote it, or a newer one"),
        (format!("{FORMAT} to {}", FORMAT + 1), "use the version that wrote it, or a newer one"),
        ("seven".to_owned(), "holds no number"),
    ] {
        fs::write(dir.path().join("format"), format).unwrap();
        let error = Store::open(dir.path(), &Config::default()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}

/// A store of this format with the frozen events in several segments.
fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    let lines = frozen(1);
    let event = |line: &String| Arc::new(wire::decode_event(line.as_bytes()).unwrap());
    for part in lines.chunks(22) {
        store.append(&part.iter().map(event).collect::<Vec<_>>()).unwrap();
        store.commit().unwrap();
    }
    drop(store);
    dir
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_of_each_kind_is_found_and_repair_keeps_what_can_be_read() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("wrong checksum", |day| flip(&file_of(day, "idx"), 3)),
        ("cut columns", |day| {
            let path = file_of(day, "fast");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a file is gone", |day| fs::remove_file(file_of(day, "store")).unwrap()),
        ("empty file", |day| fs::write(file_of(day, "term"), "").unwrap()),
        ("no list of segments", |day| fs::remove_file(day.join("meta.json")).unwrap()),
        ("torn list of segments", |day| fs::write(day.join("meta.json"), "{\"seg").unwrap()),
    ];
    let expected = events(store().path());
    for (name, damage) in damages {
        let dir = store();
        assert_eq!(found(dir.path()), [], "{name}");
        let day = day_dirs(dir.path())[1].clone();
        damage(&day);
        let checked = check(dir.path());
        assert!(!checked.findings.is_empty(), "{name}");
        let folder = Some("2026-11-19".to_owned());
        assert!(checked.findings.iter().all(|f| f.folder == folder), "{name}: {checked:?}");

        let repaired = life::repair(dir.path(), &Config::default(), &checked, &mut |_| {}).unwrap();
        assert_eq!(repaired.len(), 1, "{name}");
        assert_eq!(repaired[0].kept, [day.with_extension("damaged")], "{name}");
        assert_eq!(found(dir.path()), [], "{name}: after the repair");
        let left = events(dir.path());
        let lost = expected.len() - left.len();
        assert_eq!(lost as u64, repaired[0].lost, "{name}");
        let most = if name == "wrong checksum" || name.contains("list") { 0 } else { 22 };
        assert!(lost <= most, "{name}: {lost} lost");
        assert!(left.iter().all(|line| expected.contains(line)), "{name}");
    }
}

#[test]
fn a_day_that_was_put_aside_comes_back_and_counts_once() {
    let dir = store();
    let expected = events(dir.path());
    let day = day_dirs(dir.path())[1].clone();
    let meta = fs::read(day.join("meta.json")).unwrap();
    fs::write(day.join("meta.json"), "{").unwrap();
    // The engine puts the day aside and takes some of its events again.
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    assert!(store.stats().corrupt_days == 1);
    let event = |line: &String| Arc::new(wire::decode_event(line.as_bytes()).unwrap());
    let some: Vec<_> = expected[22..30].iter().map(event).collect();
    store.append(&some).unwrap();
    store.commit().unwrap();
    drop(store);
    fs::write(day.with_extension("corrupt").join("meta.json"), meta).unwrap();

    let checked = check(dir.path());
    assert!(checked.findings[0].what.contains("put aside"), "{checked:?}");
    let repaired = life::repair(dir.path(), &Config::default(), &checked, &mut |_| {}).unwrap();
    assert_eq!((repaired[0].lost, repaired[0].kept.len()), (0, 2));
    assert_same(&events(dir.path()), &expected, "repaired");
    assert_eq!(found(dir.path()), []);
}

#[test]
fn a_copy_of_a_store_that_is_written_to_is_whole() {
    let dir = store();
    let store = Store::open(dir.path(), &Config::default()).unwrap();
    let lines = frozen(1);
    let mut number = 0u128;
    let mut more = || {
        let mut batch = Vec::new();
        for line in &lines {
            number += 1;
            let mut event = wire::decode_event(line.as_bytes()).unwrap();
            event.id = palisade_event::EventId::from_u128(number);
            batch.push(Arc::new(event));
        }
        store.append(&batch).unwrap();
        store.commit().unwrap();
        store.stats().events
    };
    let copies = tempfile::tempdir().unwrap();
    let mut before = None;
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
        let (told, tells) = std::sync::mpsc::sync_channel(1024);
        scope.spawn(move || {
            while matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                let _ = told.send(more());
            }
        });
        for round in 0..5 {
            let have = tells.recv().unwrap();
            let to = copies.path().join(round.to_string());
            let copied = life::copy(dir.path(), &to, before.as_deref()).unwrap();
            assert!(copied.linked > 0 && copied.files > copied.linked);
            let checked = check(&to);
            assert_eq!(checked.findings, [], "round {round}");
            assert!(checked.events >= have, "{} of {have}", checked.events);
            before = Some(to);
        }
        drop(stop);
    });
}

#[test]
fn a_survey_counts_folders_without_opening_them() {
    let dir = store();
    let days = life::survey(dir.path()).unwrap();
    assert_eq!(days.iter().map(|day| day.events).sum::<u64>(), 64);
    assert!(days.iter().all(|day| day.in_use && day.bytes > 1000 && day.segments >= 1));
    assert_eq!(life::survey(&dir.path().join("nowhere")).unwrap().len(), 0);
}

#[test]
fn an_upgrade_without_room_says_what_it_needs_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|done| done.status.success())
    };
    if !mount("size=16m") {
        eprintln!("skipped: a small file system cannot be mounted here (that takes root)");
        return;
    }
    let store = dir.path().join("store");
    copy_dir(&fixture(1).join("store"), &store);
    let refused = Store::open(&store, &Config::default()).err().map(|error| error.to_string());
    let grown = mount("remount,size=256m");
    let after = events(&store);
    let unmounted = Command::new("umount").arg("-l").arg(dir.path()).status();
    assert!(grown && unmounted.unwrap().success());
    let refused = refused.unwrap();
    assert!(refused.contains("2026-11-18 needs 65 MiB of free disk space"), "{refused}");
    assert_same(&after, &frozen(1), "after there was room");
}
