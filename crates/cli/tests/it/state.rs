//! The state database as an operator meets it: settings, doctor, start, loss,
//! move. With a PostgreSQL server of the tests' own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::postgres;
use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::*;

/// Settings with this `[hub.state]`.
fn configure(home: &Path, state: &str) {
    let text = format!("{}\n[hub.state]\nconnect_timeout_secs = 2\n{state}\n", settings(home));
    fs::write(home.join("palisade.toml"), text).unwrap();
}

fn with_config(home: &Path, args: &[&str]) -> std::process::Output {
    let mut args = args.to_vec();
    args.extend(["--config", "palisade.toml"]);
    cli(home, &args)
}

fn text(output: &std::process::Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The status and the body of an answer.
fn http(args: &[&str]) -> (u16, Value) {
    let output =
        Command::new("curl").args(["-s", "-w", "\n%{http_code}"]).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn doctor_and_config_check_say_what_is_wrong_with_postgresql() {
    let server = postgres::shared();
    let database = server.database();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let check = || with_config(home, &["config", "check"]);
    configure(home, &format!("postgres = \"{}\"", server.url(&database)));
    let good = check();
    assert!(good.status.success(), "{}", text(&good));
    let doctor = text(&with_config(home, &["doctor"]));
    assert!(doctor.contains("state database") && doctor.contains("fsync off"), "{doctor}");

    let none = format!("postgres = \"{}\"", server.url("none_such"));
    configure(home, &none);
    let bad = check();
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad).contains("[hub.state] cannot use PostgreSQL at"), "{}", text(&bad));
    assert!(text(&bad).contains("there is no database 'none_such'"), "{}", text(&bad));
    let doctor = with_config(home, &["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(text(&doctor).contains("there is no database 'none_such'"), "{}", text(&doctor));
    // What only the operator can mend ends the start at once.
    let up = with_config(home, &["up"]);
    assert_eq!(up.status.code(), Some(1));
    assert!(text(&up).contains("there is no database 'none_such'"), "{}", text(&up));

    configure(home, "postgres = \"postgres://anna:hunter2@127.0.0.1/p\"");
    let bad = check();
    assert!(text(&bad).contains("put it into password_file"), "{}", text(&bad));
    let shown = with_config(home, &["config", "show"]);
    assert!(text(&shown).contains("anna:***@"), "{}", text(&shown));
    for output in [bad, shown] {
        assert!(!text(&output).contains("hunter2"), "{}", text(&output));
    }
}

#[test]
fn a_hub_waits_for_postgresql_answers_503_while_it_is_away_and_recovers() {
    let server = postgres::Server::start(&[]);
    let database = server.database();
    server.stop();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    configure(home, &format!("postgres = \"{}\"\nstart_wait_secs = 0", server.url(&database)));
    let impatient = with_config(home, &["up"]);
    assert_eq!(impatient.status.code(), Some(1));
    assert!(text(&impatient).contains("cannot reach PostgreSQL at"), "{}", text(&impatient));

    configure(home, &format!("postgres = \"{}\"", server.url(&database)));
    let palisade = Palisade::spawn(home, &["up", "--config", "palisade.toml"]);
    wait("it says that it waits", || {
        palisade.errors().contains("waiting for the state database").then_some(())
    });
    server.run();
    let password = palisade.wait_printed("sign in as admin");
    let password = password.rsplit(' ').next().unwrap();
    palisade.wait_printed("ready");

    let url = format!("http://{}/api/v1/session", palisade.http_api());
    let health = format!("http://{}/healthz", palisade.http_api());
    let given = format!("{{\"username\":\"admin\",\"password\":\"{password}\"}}");
    let json = "content-type: application/json";
    let sign_in = || http(&["-H", json, "-H", "X-Palisade: 1", "-d", &given, &url]);
    let (code, body) = sign_in();
    assert_eq!(code, 200, "{body}");
    server.stop();
    let (code, body) = sign_in();
    assert_eq!((code, &body["type"]), (503, &"/docs/problems#state".into()), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("state database"), "{body}");
    let (code, body) = http(&[&health]);
    assert_eq!((code, &body["status"]), (200, &"degraded".into()), "a load balancer keeps it");
    // What attackers do meanwhile is not lost.
    append(
        &home.join("auth.log"),
        &sshd_line("Failed password for root from 192.0.2.9 port 22 ssh2"),
    );
    wait_stored(&palisade, 1);
    server.run();
    wait("signing in works again", || (sign_in().0 == 200).then_some(()));
    wait("it is well", || (http(&[&health]).1["status"] == "ok").then_some(()));
    assert_eq!(palisade.terminate(), Some(0));
}

fn wait_stored(palisade: &Palisade, events: u64) {
    let count = || palisade.cli(&["query", "--count", "user:root"]);
    wait("the event is found", || {
        (String::from_utf8_lossy(&count().stdout).trim() == events.to_string()).then_some(())
    });
}

#[test]
fn state_moves_from_the_file_to_postgresql_with_the_hub_stopped() {
    let server = postgres::shared();
    let database = server.database();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("palisade.toml"), settings(home)).unwrap();
    let add = ["user", "add", "anna", "--role", "viewer", "--password-stdin"];
    let added = cli_with_input(home, &add, "correct horse");
    assert!(added.status.success(), "{}", text(&added));
    assert!(cli(home, &["key", "add", "web-1", "--scope", "ingest"]).status.success());

    let url = server.url(&database);
    let moved = with_config(home, &["state", "move", "--to", &url, "--format", "json"]);
    assert!(moved.status.success(), "{}", text(&moved));
    let moved: Value = serde_json::from_slice(&moved.stdout).unwrap();
    let rows = |table: &str| {
        let moved = moved["moved"].as_array().unwrap();
        moved.iter().find(|one| one["table"] == table).unwrap()["rows"].clone()
    };
    assert_eq!((rows("account"), rows("api_key")), (1.into(), 1.into()));
    let again = with_config(home, &["state", "move", "--to", &url]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("the target is not empty"), "{}", text(&again));

    configure(home, &format!("postgres = \"{url}\""));
    let users = text(&with_config(home, &["user", "list"]));
    assert!(users.contains("anna"), "{users}");
    // Back, to another file.
    let back = with_config(home, &["state", "move", "--to", "back.db"]);
    assert!(back.status.success() && home.join("back.db").exists(), "{}", text(&back));
    let same = with_config(home, &["state", "move", "--from", &url, "--to", &url]);
    assert!(text(&same).contains("the same database"), "{}", text(&same));

    let palisade = Palisade::up(home);
    let busy = with_config(home, &["state", "move", "--to", "other.db"]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(text(&busy).contains("needs stopped hubs"), "{}", text(&busy));
    drop(palisade);
}
