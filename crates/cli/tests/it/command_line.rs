//! The commands, against a running hub and against the files of a stopped one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use support::{Palisade, cli, cli_with_input};

fn text(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn accounts_and_keys_are_managed_with_and_without_a_running_hub() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let add = ["user", "add", "alice", "--role", "operator", "--password-stdin"];
    text(&cli_with_input(home, &add, "correct horse battery\n"));
    let palisade = Palisade::up(home);
    let add = ["user", "add", "bob", "--role", "viewer", "--password-stdin"];
    text(&cli_with_input(home, &add, "another good one"));
    let users = text(&palisade.cli(&["user", "list"]));
    assert!(users.contains("alice") && users.contains("bob") && users.contains("admin"), "{users}");
    let again = cli_with_input(home, &add, "another good one");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("bob"));
    let bob = |role: &str| {
        let users = text(&palisade.cli(&["user", "list"]));
        users.lines().any(|line| line.contains("bob") && line.contains(role))
    };
    assert!(bob("viewer"));
    text(&palisade.cli(&["user", "role", "bob", "admin"]));
    assert!(bob("admin"));
    for (name, said) in [("admin", "admin"), ("nobody", "no")] {
        let refused = palisade.cli(&["user", "role", name, "viewer"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said));
    }
    assert_eq!(palisade.cli(&["user", "role", "bob", "king"]).status.code(), Some(2));
    text(&palisade.cli(&["user", "remove", "bob"]));
    assert_eq!(palisade.cli(&["user", "remove", "admin"]).status.code(), Some(1));

    let key =
        text(&palisade.cli(&["key", "add", "web-1", "--scope", "ingest", "--format", "json"]));
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    assert!(key["key"].as_str().unwrap().starts_with("pal_"));
    palisade.kill();
    let keys = text(&cli(home, &["key", "list", "--format", "json"]));
    assert!(keys.contains("web-1") && !keys.contains(key["key"].as_str().unwrap()), "{keys}");
}

#[test]
fn an_answer_of_any_length_is_printed_page_by_page() {
    use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, wire};
    use std::io::Read as _;
    const EVENTS: u64 = 1_100;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let palisade = Palisade::up(home);
    let now = Timestamp::from(std::time::SystemTime::now());
    let file = home.join("long.ndjson");
    let lines: Vec<u8> = (0..EVENTS)
        .flat_map(|n| {
            let at = now.plus_millis(-i64::try_from(n).unwrap());
            let sensor = SensorId::new("long").unwrap();
            let id = EventId::new(at, u128::from(n));
            let mut event = Event::new(id, EventKind::DataReceived, at, sensor);
            event.request = Some(format!("{n} {}", "x".repeat(63_000)).into());
            [wire::encode_event(&event), b"\n".to_vec()].concat()
        })
        .collect();
    std::fs::write(&file, lines).unwrap();
    text(&palisade.cli(&["import", file.to_str().unwrap()]));
    palisade.wait_count("sensor:long", EVENTS);

    let mut asked = std::process::Command::new(support::BINARY)
        .args(["query", "--format", "json", "--limit", "4000000000", "sensor:long"])
        .env("PALISADE_DATA", home.join("data"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = asked.stdout.take().unwrap();
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", asked.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    // It waits for us with its first page, and again when most of it is read.
    let mut printed = vec![0; 65 * 1024 * 1024];
    let (begin, rest) = printed.split_at_mut(64 * 1024);
    out.read_exact(begin).unwrap();
    let first = peak();
    out.read_exact(rest).unwrap();
    let more = peak() - first;
    out.read_to_end(&mut printed).unwrap();
    assert!(asked.wait().unwrap().success());
    let mut lines = 0;
    for line in printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert!(event["request"].as_str().unwrap().starts_with(&format!("{lines} x")));
        lines += 1;
    }
    assert_eq!(lines, EVENTS);
    assert!(more < 40 * 1024, "{more} kB more for {} bytes", printed.len());
}

#[test]
fn demo_events_arrive_marked_and_can_be_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let palisade = Palisade::up(home);
    let said = text(&palisade.cli(&["demo", "--rate", "500", "--count", "60"]));
    assert!(said.contains("took 60"), "{said}");
    palisade.wait_count("sensor:demo", 60);
    // A question may begin with what is left out; an option that is none is still told.
    assert_eq!(palisade.count("-sensor:elsewhere sensor:demo"), 60);
    assert_eq!(palisade.count("-sensor:demo sensor:demo"), 0);
    let wrong = palisade.cli(&["query", "sensor:demo", "--cuont"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
    let top = text(&palisade.cli(&["query", "--top", "country", "sensor:demo"]));
    assert!(top.starts_with("COUNT") || top.contains("COUNT"), "{top}");
    let sensors = text(&palisade.cli(&["sensors", "list"]));
    assert!(sensors.contains("demo"), "{sensors}");
    palisade.kill();
    // The same question, on the files alone.
    assert_eq!(text(&cli(home, &["query", "--count", "sensor:demo"])).trim(), "60");
}

#[test]
fn the_first_signal_ends_in_order_and_the_second_at_once() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    assert_eq!(palisade.terminate(), Some(0));
    let mut palisade = Palisade::up(home.path());
    palisade.signal("STOP");
    palisade.signal("TERM");
    palisade.signal("INT");
    palisade.signal("CONT");
    let code = support::wait("it ends", || palisade.child.try_wait().unwrap()).code();
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
}

#[test]
fn help_has_examples_and_completions_are_scripts() {
    let home = tempfile::tempdir().unwrap();
    assert!(text(&cli(home.path(), &["--help"])).contains("Examples:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&cli(home.path(), &["completions", shell])).contains("palisade"));
    }
    let shown = text(&cli(home.path(), &["config", "show"]));
    assert!(shown.contains("[hub"), "{shown}");
}

#[test]
fn doctor_says_what_it_found() {
    let home = tempfile::tempdir().unwrap();
    let output = cli(home.path(), &["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("data directory") && said.contains("disk"), "{said}");
}

#[test]
fn links_to_be_let_in_are_made_listed_and_revoked() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let made = text(&palisade.cli(&["knock", "link", "--note", "hotel of Anna"]));
    let (id, secret) = made.split_once("/knock/").unwrap().1.split_once('_').unwrap();
    let listed = text(&palisade.cli(&["knock", "links"]));
    assert!(listed.contains(id) && listed.contains("hotel of Anna"), "{listed}");
    assert!(!listed.contains(secret.lines().next().unwrap()), "{listed}");
    text(&palisade.cli(&["knock", "revoke", id]));
    assert_eq!(palisade.cli(&["knock", "revoke", id]).status.code(), Some(1));
    assert!(text(&palisade.cli(&["knock", "links"])).contains("no links"));
}

#[test]
fn doctor_says_what_a_detector_of_honeypots_would_see() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("palisade.toml");
    let careful = r#"
        [[honeypot.services]]
        type = "ssh"
        listen = "127.0.0.1:22"
        ssh = { accept = { list = ["root:admin123"] } }
        [[honeypot.services]]
        type = "telnet"
        listen = "127.0.0.2:23"
        telnet = { accept = "never" }
    "#;
    let ask = |settings: &str, more: &[&str]| {
        std::fs::write(&config, settings).unwrap();
        let mut arguments = vec!["doctor", "--honeypots", "--config", config.to_str().unwrap()];
        arguments.extend(more);
        cli(home.path(), &arguments)
    };
    let found: serde_json::Value =
        serde_json::from_str(&text(&ask(careful, &["--format", "json"]))).unwrap();
    let tells = found["tells"].as_array().unwrap();
    assert!(tells.len() > 50 && tells.iter().all(|tell| tell["verdict"] != "shown"), "{found}");
    assert!(!home.path().join("ssh-host-keys").exists(), "nothing is written");

    let careless = careful.replace("127.0.0.2:23", "0.0.0.0:2323");
    let shown = ask(&careless, &[]);
    assert_eq!(shown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(said.contains("2323, a port that honeypots are known by"), "{said}");
    assert!(said.contains("what to do") && said.contains("redirect them"), "{said}");
}

#[test]
fn ews_users_are_managed_imported_and_the_community_has_a_token_from_the_start() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let palisade = Palisade::up(home);
    let token = palisade.wait_printed("community token: ");
    assert_eq!(token.rsplit(' ').next().unwrap().len(), 64, "{token}");
    let add = ["user", "add", "tpot-1", "--ews", "--token-stdin", "--read-only"];
    text(&cli_with_input(home, &add, "a token of some length\n"));
    let users = "name,token,getOnly\nold,900150983cd24fb0d6963f7d28e17f72,no\nbad,plain,no\n";
    let import = ["import", "peba-users", "-"];
    let output = cli_with_input(home, &import, users);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("line 3: its token is neither"), "{said}");
    assert!(said.contains("1 users added, 0 were there, 1 rows bad"), "{said}");
    let again = cli_with_input(home, &import, users);
    assert!(String::from_utf8_lossy(&again.stdout).contains("0 users added, 1 were there"));
    let listed = text(&palisade.cli(&["user", "list"]));
    for line in ["community-01-user", "ews private, read-only", "old", "admin"] {
        assert!(listed.contains(line), "{listed}");
    }
    text(&palisade.cli(&["user", "remove", "old"]));
    let listed = text(&palisade.cli(&["user", "list", "--format", "json"]));
    assert!(!listed.contains("\"old\"") && listed.contains("\"tpot-1\""), "{listed}");
    assert_eq!(palisade.cli(&["user", "add", "x", "--ews"]).status.code(), Some(2));
    assert_eq!(palisade.cli(&["user", "add", "x", "--read-only"]).status.code(), Some(2));
}
