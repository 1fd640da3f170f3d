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

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::Palisade;
use support::namespace::{self, inside, sh};

const PORT: u16 = 18_443;
const OURS: &str = "10.78.0.1";
const THEIRS: &str = "10.78.0.2";
/// Longest wait for what a bouncer does at its next poll, each second.
const PATIENCE: Duration = Duration::from_secs(20);

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
    if !inside("bouncers::the_firewall_bouncer_drops_the_packets_of_who_is_banned", &[program]) {
        return;
    }
    let mut host = Host::new();
    let attacker = namespace::Host::new();
    attacker.wire("wire", &format!("{OURS}/24"), &format!("{THEIRS}/24"));
    let reaches = |expected, why| attacker.wait_reaches((OURS, THEIRS), expected, why);
    reaches(true, "nobody is banned");
    let config = firewall_config(&host, &host.key);
    let bouncer = Bouncer::start(program, &config);
    host.palisade(&["ban", THEIRS, "--for", "1h"]);
    reaches(false, "a ban drops packets");
    host.palisade(&["unban", THEIRS]);
    reaches(true, "a lift lets them through");
    // By its length.
    host.palisade(&["ban", THEIRS, "--for", "4s"]);
    reaches(false, "a short ban drops packets too");
    reaches(true, "it is over by itself");
    // A network, of which this bouncer would take the first address alone.
    host.palisade(&["ban", "10.78.0.0/30", "--for", "1h"]);
    reaches(false, "an address of a small network");
    // A restart of the hub, without a goodbye.
    host.crash();
    host.palisade(&["unban", "10.78.0.0/30"]);
    reaches(true, "a lift after a crash of the hub");
    host.palisade(&["ban", THEIRS, "--for", "1h"]);
    reaches(false, "a ban after a crash of the hub");
    // A restart of the bouncer.
    bouncer.stop();
    let bouncer = Bouncer::start(program, &config);
    std::thread::sleep(Duration::from_secs(2));
    reaches(false, "a bouncer that starts hears of all that is in force");
    host.palisade(&["allow", "10.78.0.0/24"]);
    reaches(true, "whoever is spared gets in");
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
    if !inside("bouncers::the_custom_bouncer_runs_its_program_for_each_ban_and_its_end", &[program])
    {
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
