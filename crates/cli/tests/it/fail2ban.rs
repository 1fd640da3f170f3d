//! The real binary on a fail2ban configuration: questions as JSON, a log, and
//! the report of what is taken over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a failure is a panic")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn configuration() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            "filter.d/door.conf",
            "[INCLUDES]\nbefore = base.conf\n[Definition]\nfailregex = ^%(head)s<mode> <F-USER>\\S+</F-USER> from <HOST>$\nmode = refused\n",
        ),
        ("filter.d/base.conf", "[DEFAULT]\nhead = \\s*door\\[\\d+\\]:\\s\n"),
        (
            "action.d/tell.conf",
            "[Definition]\nactionban = tell <ip> \"<F-USER>\"\nactionunban = echo <ip> | mail root\n",
        ),
        (
            "jail.conf",
            "[DEFAULT]\nfilter = %(__name__)s\naction = tell\nbantime = 1h\n[door]\nlogpath = /var/log/door.log\n[gone]\nlogpath = /var/log/gone.log\n",
        ),
        ("jail.local", "[door]\nenabled = true\n"),
        (
            "door.log",
            "Aug 14 09:00:00 door[7]: refused bob from 192.0.2.1\nAug 14 09:00:01 door[7]: welcome\n",
        ),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn palisade(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .current_dir(folder)
        .args(args)
        .env("TZ", "UTC0")
        .env_remove("PALISADE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn questions_are_answered_in_order_with_the_zone_and_the_present_that_are_set() {
    let folder = configuration();
    let questions = r#"{"filter": "door", "line": "Aug 14 09:00:00 door[7]: refused bob from 192.0.2.1"}
{"filter": "door", "options": {"mode": "thrown out"}, "line": "door[7]: refused bob from 192.0.2.1"}
{"filter": "none", "line": ""}
"#;
    let out = palisade(
        folder.path(),
        &["fail2ban-regex", "--ndjson", "--config", ".", "--now", "1124013600"],
        questions,
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let answers: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), 3, "{text}");
    assert_eq!(answers[0]["host"], "192.0.2.1");
    assert_eq!(answers[0]["time_epoch"], 1_124_010_000);
    assert_eq!(answers[0]["attrs"]["user"], "bob");
    assert_eq!(answers[1]["match"], false);
    assert!(answers[2]["error"].as_str().unwrap().contains("filter.d/none.conf"));
}

#[test]
fn a_log_is_reported_on_as_fail2bans_tool_does() {
    let folder = configuration();
    let out = palisade(folder.path(), &["fail2ban-regex", "door.log", "door", "-c", "."], "");
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("Failregex: 1 total"), "{text}");
    assert!(text.contains("Lines: 2 lines, 0 ignored, 1 matched, 1 missed"), "{text}");
    let args = ["fail2ban-regex", "door.log", "refused \\S+ from <HOST>$", "--out", "ip"];
    let out = palisade(folder.path(), &args, "");
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "192.0.2.1\n");
}

#[test]
fn the_import_names_what_is_not_taken_over_and_why() {
    let folder = configuration();
    let args = ["import", "fail2ban", ".", "--all", "--format", "json"];
    let out = palisade(folder.path(), &args, "");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let door = &report["jails"][0];
    assert_eq!((&door["name"], &door["taken_over"]), (&"door".into(), &true.into()));
    let note = door["notes"][0].as_str().unwrap();
    assert!(note.starts_with("action.d/tell.conf:3: ") && note.contains("needs a shell"), "{note}");
    let gone = &report["jails"][1];
    assert_eq!(gone["taken_over"], false);
    assert!(gone["errors"][0].as_str().unwrap().starts_with("filter.d/gone.conf"), "{gone}");
}
