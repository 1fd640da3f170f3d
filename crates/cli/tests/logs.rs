//! Logs of honeypots by every door: a watched file, the command line, HTTP.
//! However a line comes, it counts once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

mod support;

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
