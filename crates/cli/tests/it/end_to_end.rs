//! Real attackers' tools against the real binary, from socket and log file to
//! the store and back, across kill -9.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::process::Command;

use support::{Palisade, append, run_with_input, sshd_line};

#[test]
fn attacks_by_real_tools_are_all_there_after_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let palisade = Palisade::up(home);

    // Lines of sshd, while the log is rotated by rename and then truncated.
    let log = home.join("auth.log");
    let mut expected = 0;
    for round in 0..3 {
        for number in 0..40 {
            let line = format!(
                "Failed password for invalid user r{round}n{number} from 198.51.100.7 port 40022 ssh2"
            );
            append(&log, &sshd_line(&line));
            expected += 1;
        }
        match round {
            0 => fs::rename(&log, home.join("auth.log.1")).unwrap(),
            1 => {
                // copytruncate loses what comes between copy and truncation by
                // its nature, so let the lines be read first.
                palisade.wait_count("kind:auth.attempted category:\"SSH/login(sshd)\"", expected);
                fs::copy(&log, home.join("auth.log.2")).unwrap();
                fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
            }
            _ => {}
        }
    }

    // telnet(1), fed through a pipe with pauses as a person makes them.
    let telnet = palisade.telnet();
    let script = format!(
        "(sleep 1; echo root; sleep 1; echo hunter2; sleep 2; echo admin; sleep 1; echo letmein; sleep 2) | telnet {} {}",
        telnet.ip(),
        telnet.port()
    );
    let output = run_with_input(Command::new("sh").args(["-c", &script]), "");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("login:"), "{shown}");

    // curl(1): a form login and a probe.
    let http = palisade.http();
    for args in [
        vec!["-s", "-d", "username=admin&password=s3cret%21", "/login"],
        vec!["-s", "--path-as-is", "/cgi-bin/../../etc/passwd"],
    ] {
        let (path, options) = args.split_last().unwrap();
        let output = Command::new("curl")
            .args(options)
            .arg(format!("http://{http}{path}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    // nmap(1): version detection of both services.
    let ports = format!("{},{}", telnet.port(), http.port());
    let output =
        Command::new("nmap").args(["-Pn", "-sV", "-p", &ports, "127.0.0.1"]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(report.contains("open"), "{report}");
    for giveaway in ["honeypot", "cowrie", "palisade"] {
        assert!(!report.contains(giveaway), "{report}");
    }

    palisade.wait_count("kind:auth.attempted category:\"SSH/login(sshd)\"", expected);
    palisade.wait_count("user:root password:hunter2", 1);
    palisade.wait_count("user:admin password:letmein", 1);
    palisade.wait_count("user:admin password:\"s3cret!\"", 1);
    palisade.wait_count("kind:http.requested request:\"GET /cgi-bin/../../etc/passwd\"", 1);
    // Every session that was opened ends, also those nmap cut off.
    support::wait("as many sessions closed as opened", || {
        let opened = palisade.count("kind:connection.opened");
        (opened > 4 && opened == palisade.count("kind:session.closed")).then_some(())
    });

    let mut before: Vec<String> = palisade.query("").iter().map(|e| e["id"].to_string()).collect();
    palisade.kill();
    let again = Palisade::up(home);
    again.wait_count("", before.len() as u64);
    let mut after: Vec<String> = again.query("").iter().map(|e| e["id"].to_string()).collect();
    before.sort();
    after.sort();
    assert_eq!(before, after, "the same events, each once");
    let event = again.first("user:root password:hunter2");
    assert_eq!(event["sensor"], "test-1");
    assert_eq!(event["source_geo"]["country"], "PIR");
    assert!(event["received_at"].is_string());
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn a_failed_login_of_a_real_sshd_is_seen() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let palisade = Palisade::up(home);
    let Some(sshd) = Sshd::start(home) else {
        eprintln!("skipped: sshd needs root to run here");
        return;
    };
    let output = Command::new("ssh")
        .args(["-p", &sshd.port.to_string(), "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"])
        .args(["intruder@127.0.0.1", "true"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    sshd.stop_and_copy(&home.join("auth.log"));
    palisade.wait_count("kind:user.probed user:intruder ip:127.0.0.1", 1);
}

/// OpenSSH's daemon on a free port, logging to a file of its own. The lines get
/// the header that the system's log daemon would give them.
struct Sshd {
    child: std::process::Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Sshd {
    fn start(home: &std::path::Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let (key, log) = (home.join("host_key"), home.join("sshd.log"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f", "/dev/null", "-h"])
            .arg(&key)
            .arg("-E")
            .arg(&log)
            .args(["-o", &format!("Port={port}"), "-o", "ListenAddress=127.0.0.1"])
            .args(["-o", "PidFile=none", "-o", "UsePAM=no"])
            .spawn()
            .unwrap();
        support::wait("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { child, port, log })
    }

    fn stop_and_copy(mut self, to: &std::path::Path) {
        support::wait("sshd has logged the client's end", || {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            text.contains("closed by invalid user").then_some(())
        });
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for line in fs::read_to_string(&self.log).unwrap().lines() {
            append(to, &sshd_line(line.trim_end()));
        }
    }
}

#[test]
fn an_agent_delivers_to_a_hub_elsewhere_and_waits_while_it_is_away() {
    let (hub_home, agent_home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (hub_home, agent_home) = (hub_home.path(), agent_home.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let start_hub = || Palisade::start(hub_home, &["hub", "--data", "data", "--listen", &listen]);
    let hub = start_hub();
    let key = hub.cli(&["key", "add", "web-9", "--scope", "ingest", "--format", "json"]);
    let key: serde_json::Value = serde_json::from_slice(&key.stdout).unwrap();
    fs::write(agent_home.join("key"), key["key"].as_str().unwrap()).unwrap();

    let config = support::settings(agent_home);
    fs::write(agent_home.join("agent.toml"), config).unwrap();
    let url = format!("https://{listen}");
    let pin = hub.fingerprint();
    let args =
        ["agent", "--config", "agent.toml", "--hub", &url, "--key-file", "key", "--pin", &pin];
    let agent = Palisade::start(agent_home, &args);
    let log = agent_home.join("auth.log");
    append(&log, &sshd_line("Failed password for root from 203.0.113.9 port 1022 ssh2"));
    hub.wait_count("user:root ip:203.0.113.9", 1);

    hub.kill();
    for number in 0..50 {
        append(
            &log,
            &sshd_line(&format!("Failed password for u{number} from 203.0.113.9 port 1022 ssh2")),
        );
    }
    let hub = start_hub();
    hub.wait_count("kind:auth.attempted ip:203.0.113.9", 51);
    let decided = hub.first("kind:decision.made ip:203.0.113.9");
    assert_eq!(decided["attributes"]["type"], "ban", "what follows from it has arrived too");
    let event = hub.first("user:u49");
    assert_eq!(event["sensor"], "web-9", "the name is the key's, not the agent's own");
    assert_eq!(agent.terminate(), Some(0));
    assert_eq!(hub.terminate(), Some(0));
}
