//! Logs of honeypots by every door: a watched file, the command line, HTTP.
//! However a line comes, it counts once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::{Palisade, append, cli_with_input, settings};

/// Samples of a format, moved to the present day so that they are kept.
fn samples(format: &str, file: &str) -> String {
    let path = format!("{}/../../fixtures/logs/{format}/{file}.log", env!("CARGO_MANIFEST_DIR"));
    let day = jiff::Timestamp::now().strftime("%Y-%m-%dT").to_string();
    // The samples are of an evening; the hub takes up to a day ahead.
    fs::read_to_string(path).unwrap().replace("2026-11-20T", &day)
}

#[test]
fn a_line_counts_once_by_file_standard_input_and_http() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("cowrie.json");
    let config = settings(home.path())
        + &format!(
            "\n[[agent.sources]]\ntype = \"file\"\npath = \"{}\"\nparser = \"cowrie\"\nfrom = \"start\"\n",
            log.display()
        );
    fs::write(home.path().join("palisade.toml"), config).unwrap();
    let palisade = Palisade::up(home.path());
    let lines = samples("cowrie", "cowrie");
    append(&log, &lines);
    palisade.wait_count("type:\"SSH/console(cowrie)\"", 20);
    palisade.wait_count("kind:auth.attempted outcome:accepted host:pot-1", 1);

    let import = ["import", "logs", "--parser", "cowrie", "-"];
    let output = cli_with_input(home.path(), &import, &lines);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Five lines of the samples are no events of Cowrie.
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("24 lines: 0 events imported, 20 were there"), "{text}");
    assert!(text.contains("5 could not be taken"), "{text}");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("line 20: no line of the format cowrie"), "{errors}");

    let key = palisade.cli(&["key", "add", "web-2", "--scope", "ingest"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let post = |parser: &str, body: &str| {
        let file = home.path().join("body");
        fs::write(&file, body).unwrap();
        let output = Command::new("curl")
            .args([
                "-s",
                "-w",
                "\n%{http_code}",
                "-H",
                &format!("Authorization: Bearer {}", key.trim()),
            ])
            .arg("--data-binary")
            .arg(format!("@{}", file.display()))
            .arg(format!("http://{}/api/v1/logs/{parser}", palisade.http_api()))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), serde_json::from_str::<Value>(body).unwrap_or_default())
    };
    let (status, receipt) = post("cowrie", &lines);
    assert_eq!((status.as_str(), &receipt["accepted"]), ("200", &Value::from(0)), "{receipt}");
    assert_eq!(receipt["duplicate"], 20);
    let (status, receipt) = post("dionaea", &samples("dionaea", "dionaea"));
    assert_eq!((status.as_str(), &receipt["accepted"]), ("200", &Value::from(11)), "{receipt}");
    palisade.wait_count("sensor:web-2", 11);
    assert_eq!(post("kippo", "x").0, "404");
    let many = "x\n".repeat(20_001);
    assert_eq!(post("cowrie", &many).0, "413");
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn every_format_is_read_from_standard_input_into_the_files_of_a_stopped_hub() {
    let home = tempfile::tempdir().unwrap();
    for (format, file, expected) in
        [("suricata", "eve", 4), ("opencanary", "opencanary", 8), ("endlessh", "endlessh", 4)]
    {
        let lines = samples(format, file)
            .replace("2026-11-20 ", &format!("{} ", jiff::Timestamp::now().strftime("%Y-%m-%d")));
        let output = cli_with_input(
            home.path(),
            &["import", "logs", "--parser", format, "--sensor", format, "-"],
            &lines,
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains(&format!(": {expected} events imported")),
            "{format}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let found = support::query_events(home.path(), &format!("sensor:{format}"));
        assert_eq!(found.len(), expected, "{format}");
    }
    let output = cli_with_input(home.path(), &["import", "logs", "--parser", "kippo", "-"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown log format 'kippo'"));
}

/// The present moment as web servers write it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[test]
fn logs_of_servers_are_imported_and_requests_that_nobody_asks_about_are_not() {
    let home = tempfile::tempdir().unwrap();
    let now = now();
    let lines = format!(
        "203.0.113.9 - - [{now}] \"GET /.env HTTP/1.1\" 404 153 \"-\" \"curl/8.5.0\"\n\
         203.0.113.9 - - [{now}] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl/8.5.0\"\n\
         203.0.113.9 - bob [{now}] \"GET /private HTTP/1.1\" 401 612 \"-\" \"-\"\n"
    );
    let output = cli_with_input(home.path(), &["import", "logs", "--parser", "nginx", "-"], &lines);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("3 lines: 2 events imported, 0 were there, 1 lines say nothing new"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found = support::query_events(home.path(), "kind:request.answered");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["request"], "/.env");
    assert_eq!(found[0]["analyzer"], "nginx");
    let found = support::query_events(home.path(), "kind:auth.attempted user:bob outcome:failed");
    assert_eq!(found.len(), 1);
}

#[test]
fn own_parsers_are_used_and_their_mistakes_are_told_before_anything_starts() {
    let home = tempfile::tempdir().unwrap();
    let parsers = home.path().join("ruleset/parsers");
    fs::create_dir_all(&parsers).unwrap();
    let config = home.path().join("palisade.toml");
    let log = home.path().join("door.log");
    let text = format!(
        "ruleset = \"{}\"\n{}\n[[agent.sources]]\ntype = \"file\"\npath = \"{}\"\nparser = \"door\"\nfrom = \"start\"\n",
        home.path().join("ruleset").display(),
        settings(home.path()),
        home.path().join("door*.log").display()
    );
    fs::write(&config, text).unwrap();
    let check = || {
        let output = Command::new(support::BINARY)
            .args(["config", "check", "--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Nobody knows the parser yet.
    let (code, errors) = check();
    assert_eq!(code, Some(1));
    assert!(errors.contains("unknown log format 'door'"), "{errors}");
    let door = "name = \"door\"\nabout = \"The door.\"\nprograms = [\"doord\"]\n[[patterns]]\n\
                match = '''^knock by (?<user>.*) from (?<source>\\S+)'''\nkind = \"auth.attempted\"\noutcome = \"failed\"\n";
    fs::write(parsers.join("door.toml"), door).unwrap();
    let (code, errors) = check();
    assert_eq!(code, Some(1));
    assert!(errors.contains("door.toml: pattern 1 ("), "{errors}");
    assert!(errors.contains("does not end with '$'"), "{errors}");
    fs::write(parsers.join("door.toml"), door.replace("\\S+)'''", "\\S+)$'''")).unwrap();
    assert_eq!(check(), (Some(0), String::new()));

    let palisade = Palisade::up(home.path());
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    append(&log, &format!("{stamp} web01 doord[7]: knock by bob from 203.0.113.9\n"));
    palisade.wait_count("kind:auth.attempted user:bob ip:203.0.113.9", 1);
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn standard_input_is_a_source_of_the_agent() {
    let home = tempfile::tempdir().unwrap();
    let config = settings(home.path())
        + "\n[[agent.sources]]\ntype = \"stdin\"\nparser = \"syslog\"\nzone = \"UTC\"\n";
    fs::write(home.path().join("palisade.toml"), config).unwrap();
    let mut palisade = Palisade::up(home.path());
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut input = palisade.child.stdin.take().unwrap();
    let line = format!(
        "{stamp} mail postfix/smtpd[7]: warning: unknown[203.0.113.9]: SASL LOGIN authentication failed: x, sasl_username=eve"
    );
    // The last line needs no newline.
    std::io::Write::write_all(&mut input, line.as_bytes()).unwrap();
    drop(input);
    palisade.wait_count("kind:auth.attempted user:eve analyzer:postfix", 1);
    assert_eq!(palisade.terminate(), Some(0));
}
