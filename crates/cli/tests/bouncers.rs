//! CrowdSec's bouncers, as Debian ships them, against this hub: in a network
//! namespace, so that real packets are dropped there and nowhere else. The
//! tests run themselves again inside of one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic"
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::Palisade;

const INSIDE: &str = "PALISADE_TEST_INSIDE_NAMESPACE";
const PORT: u16 = 18_443;
const OURS: &str = "10.78.0.1";
const THEIRS: &str = "10.78.0.2";
/// Longest wait for what a bouncer does at its next poll, each second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the test of that name in a namespace; `true` where this is inside.
fn inside(test: &str, program: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let allowed = Command::new("unshare").args(["--map-root-user", "--net", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) || !sh(&format!("command -v {program}")) {
        eprintln!("not tested here: {program} or network namespaces are missing");
        return false;
    }
    let status = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside of its namespace");
    false
}

fn sh(line: &str) -> bool {
    let quiet =
        Command::new("sh").args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    quiet.unwrap().success()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A hub on this side of the wire, and a key for a bouncer.
struct Host {
    home: tempfile::TempDir,
    hub: Option<Palisade>,
    key: String,
}

impl Host {
    fn new() -> Self {
        assert!(sh("ip link set lo up"));
        let home = tempfile::tempdir().unwrap();
        let config = format!(
            "data = \"{}/data\"\n[[api.listeners]]\naddress = \"127.0.0.1:{PORT}\"\ntls = false\n",
            home.path().display()
        );
        fs::write(home.path().join("palisade.toml"), config).unwrap();
        let mut host = Self { home, hub: None, key: String::new() };
        host.start();
        host.key = host.palisade(&["key", "add", "bouncer-1", "--scope", "bouncer"]).trim().into();
        host
    }

    fn start(&mut self) {
        self.hub = None;
        let config = self.home.path().join("palisade.toml");
        let args = ["hub", "--config", config.to_str().unwrap()];
        self.hub = Some(Palisade::start(self.home.path(), &args));
    }

    /// kill -9, and a new start.
    fn crash(&mut self) {
        self.hub.take().unwrap().kill();
        self.start();
    }

    fn palisade(&self, args: &[&str]) -> String {
        let output = support::cli(self.home.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// A bouncer that runs.
struct Bouncer(Child);

impl Bouncer {
    fn start(program: &str, config: &Path) -> Self {
        let child = Command::new(program)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Asks it to end, and waits until it has.
    fn stop(mut self) {
        assert!(sh(&format!("kill {}", self.0.id())));
        until("the bouncer ends", || self.0.try_wait().unwrap().is_some());
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another machine on a wire to this one.
struct Attacker(Child);

impl Attacker {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It answers once it is in its namespace.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let pid = child.id();
        assert!(sh(&format!(
            "ip link add ours type veth peer name theirs netns {pid} && \
             ip addr add {OURS}/24 dev ours && ip link set ours up"
        )));
        let attacker = Self(child);
        assert!(
            attacker.sh(&format!("ip addr add {THEIRS}/24 dev theirs && ip link set theirs up"))
        );
        let listener = TcpListener::bind((OURS, 8077)).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            }
        });
        attacker
    }

    fn sh(&self, line: &str) -> bool {
        sh(&format!("nsenter --net=/proc/{}/ns/net sh -c '{line}'", self.0.id()))
    }

    /// Waits until its packets get through, or are dropped.
    fn wait_reaches(&self, expected: bool, why: &str) {
        let line =
            format!("curl -s -o /dev/null --max-time 1 --connect-timeout 1 http://{OURS}:8077/");
        until(why, || self.sh(&line) == expected);
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn firewall_config(host: &Host, key: &str) -> PathBuf {
    let text = format!(
        "mode: nftables\npid_dir: {home}/\nupdate_frequency: 1s\ndaemonize: false\nlog_mode: file\n\
         log_dir: {home}/\nlog_level: debug\napi_url: http://127.0.0.1:{PORT}/\napi_key: {key}\n\
         disable_ipv6: false\ndeny_action: DROP\ndeny_log: false\nsupported_decisions_types:\n  - ban\n\
         blacklists_ipv4: crowdsec-blacklists\nblacklists_ipv6: crowdsec6-blacklists\n\
         nftables:\n  ipv4:\n    enabled: true\n    set-only: false\n    table: crowdsec\n    chain: crowdsec-chain\n\
         \x20 ipv6:\n    enabled: true\n    set-only: false\n    table: crowdsec6\n    chain: crowdsec6-chain\n",
        home = host.home.path().display()
    );
    host.write("firewall.yaml", &text)
}

#[test]
fn the_firewall_bouncer_drops_the_packets_of_who_is_banned() {
    let program = "crowdsec-firewall-bouncer";
    if !inside("the_firewall_bouncer_drops_the_packets_of_who_is_banned", program) {
        return;
    }
    let mut host = Host::new();
    let attacker = Attacker::new();
    attacker.wait_reaches(true, "nobody is banned");
    let config = firewall_config(&host, &host.key);
    let bouncer = Bouncer::start(program, &config);
    host.palisade(&["ban", THEIRS, "--for", "1h"]);
    attacker.wait_reaches(false, "a ban drops packets");
    host.palisade(&["unban", THEIRS]);
    attacker.wait_reaches(true, "a lift lets them through");
    // By its length.
    host.palisade(&["ban", THEIRS, "--for", "4s"]);
    attacker.wait_reaches(false, "a short ban drops packets too");
    attacker.wait_reaches(true, "it is over by itself");
    // A network, of which this bouncer would take the first address alone.
    host.palisade(&["ban", "10.78.0.0/30", "--for", "1h"]);
    attacker.wait_reaches(false, "an address of a small network");
    // A restart of the hub, without a goodbye.
    host.crash();
    host.palisade(&["unban", "10.78.0.0/30"]);
    attacker.wait_reaches(true, "a lift after a crash of the hub");
    host.palisade(&["ban", THEIRS, "--for", "1h"]);
    attacker.wait_reaches(false, "a ban after a crash of the hub");
    // A restart of the bouncer.
    bouncer.stop();
    let bouncer = Bouncer::start(program, &config);
    std::thread::sleep(Duration::from_secs(2));
    attacker.wait_reaches(false, "a bouncer that starts hears of all that is in force");
    host.palisade(&["allow", "10.78.0.0/24"]);
    attacker.wait_reaches(true, "whoever is spared gets in");
    bouncer.stop();
    // A wrong key: it says so and ends.
    let mut wrong = Bouncer::start(program, &firewall_config(&host, "wrong"));
    until("a bouncer with a wrong key ends", || wrong.0.try_wait().unwrap().is_some());
    let log = fs::read_to_string(host.home.path().join("crowdsec-firewall-bouncer.log"));
    assert!(log.unwrap().contains("access forbidden"));
}

#[test]
fn the_custom_bouncer_runs_its_program_for_each_ban_and_its_end() {
    let program = "crowdsec-custom-bouncer";
    if !inside("the_custom_bouncer_runs_its_program_for_each_ban_and_its_end", program) {
        return;
    }
    let mut host = Host::new();
    let (home, calls) = (host.home.path().display().to_string(), host.home.path().join("calls"));
    let script = host.write("note.sh", &format!("#!/bin/sh\necho \"$1 $2 $3\" >> {home}/calls\n"));
    assert!(sh(&format!("chmod +x {}", script.display())));
    let config = |key: &str| {
        format!(
            "bin_path: {home}/note.sh\nfeed_via_stdin: false\ntotal_retries: 0\nscenarios_containing: []\n\
             scenarios_not_containing: []\norigins: []\npiddir: {home}/\nupdate_frequency: 1s\n\
             cache_retention_duration: 1s\ndaemonize: false\nlog_mode: file\nlog_dir: {home}/\nlog_level: debug\n\
             api_url: http://127.0.0.1:{PORT}/\napi_key: {key}\n"
        )
    };
    let path = host.write("custom.yaml", &config(&host.key));
    host.palisade(&["ban", "192.0.2.1", "--for", "1h"]);
    let bouncer = Bouncer::start(program, &path);
    let called = |words: &str| {
        fs::read_to_string(&calls)
            .is_ok_and(|text| text.lines().any(|line| line.starts_with(words)))
    };
    until("what was in force before its start", || called("add 192.0.2.1 35"));
    host.palisade(&["ban", "198.51.100.0/24", "--for", "1h"]);
    host.palisade(&["ban", "2001:db8::7", "--for", "3s"]);
    until("a network as it is", || called("add 198.51.100.0/24 35"));
    until("an IPv6 address", || called("add 2001:db8::7 "));
    until("what is over by itself", || called("del 2001:db8::7 "));
    host.crash();
    host.palisade(&["unban", "192.0.2.1"]);
    until("a lift after a crash of the hub", || called("del 192.0.2.1 "));
    bouncer.stop();
    let before = fs::read_to_string(&calls).unwrap();
    let path = host.write("custom.yaml", &config("wrong"));
    let _wrong = Bouncer::start(program, &path);
    let log = host.home.path().join("crowdsec-custom-bouncer.log");
    until("a wrong key is told", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("access forbidden"))
    });
    assert_eq!(fs::read_to_string(&calls).unwrap(), before, "and nothing is done");
}
