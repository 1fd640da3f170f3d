//! What a monitor sees: Prometheus metrics, health, the heartbeat. With curl,
//! as an operator would look first.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use crate::support;

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

#[test]
fn systemd_is_told_when_the_start_is_over_and_when_the_end_begins() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("notify");
    let told = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(support::PATIENCE)).unwrap();
    std::fs::write(home.path().join("palisade.toml"), support::settings(home.path())).unwrap();
    let mut child = Command::new(support::BINARY)
        .args(["up", "--config", "palisade.toml"])
        .current_dir(home.path())
        .env("NOTIFY_SOCKET", &socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let next = || {
        let mut text = [0u8; 256];
        let length = told.recv(&mut text).unwrap();
        String::from_utf8_lossy(text.get(..length).unwrap()).into_owned()
    };
    assert!(next().contains("READY=1"));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(next().contains("STOPPING=1"));
    assert!(child.wait().unwrap().success());
}
