//! What a monitor sees: Prometheus metrics, health, the heartbeat. With curl,
//! as an operator would look first.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::process::Command;

use support::{Palisade, append, sshd_line};

fn curl(args: &[&str]) -> String {
    let output =
        Command::new("curl").args(["-sk", "--max-time", "20"]).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn metrics_count_what_the_parts_have_done() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let line = sshd_line("Failed password for root from 198.51.100.7 port 40022 ssh2");
    append(&home.path().join("auth.log"), &line);
    palisade.wait_count("user:root", 1);
    let key = palisade.cli(&["key", "add", "prometheus", "--scope", "read"]);
    let key = format!("Authorization: Bearer {}", String::from_utf8(key.stdout).unwrap().trim());
    let base = format!("https://{}", palisade.https_api());
    let text = curl(&["-H", &key, &format!("{base}/metrics")]);
    for family in [
        "palisade_agent_lines_total 1",
        "palisade_agent_forwarded_total 1",
        "palisade_honeypot_refused_total{reason=\"global\"} 0",
        "palisade_store_events 1",
    ] {
        assert!(text.contains(family), "{family} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    assert!(curl(&[&format!("{base}/heartbeat")]).contains("I'm alive"));
    assert!(curl(&[&format!("{base}/healthz")]).contains("\"ok\""));
    assert!(curl(&[&format!("{base}/metrics")]).contains("401"), "without a key nothing is shown");
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let said = curl(&[&format!("http://{}/", palisade.https_api())]);
    assert!(said.to_lowercase().contains("https"), "{said}");
}
