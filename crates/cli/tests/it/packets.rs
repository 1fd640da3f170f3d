//! Ban everywhere, with real packets: hosts A and B and an attacker, each in a
//! network namespace, the real binary as hub and agents.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_event::Timestamp;
use serde_json::Value;
use support::namespace::{Host, inside, sh};
use support::{BINARY, Palisade, append, cli, wait};

/// Where the hub is reached, and B from the attacker.
const HUB: &str = "10.79.1.1:18443";
const B: &str = "10.79.2.2";
/// The attacker's addresses.
const FIRST: &str = "10.79.2.1";
const SECOND: &str = "10.79.2.11";
const THIRD: &str = "10.79.2.12";

/// Host A is where the test runs, with the hub.
struct Fleet {
    folder: tempfile::TempDir,
    hub: Option<Palisade>,
    pin: String,
    b: Host,
    attacker: Host,
}

impl Fleet {
    fn new() -> Self {
        let (b, attacker) = (Host::new(), Host::new());
        b.wire("a-b", "10.79.1.1/24", "10.79.1.2/24");
        b.wire_to(&attacker, "b-x", &format!("{B}/24"), &format!("{FIRST}/24"));
        for address in [SECOND, THIRD] {
            assert!(attacker.sh(&format!("ip addr add {address}/24 dev b-x")));
        }
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = Self { folder, hub: None, pin: String::new(), b, attacker };
        let home = fleet.home("hub");
        let text = format!(
            "data = \"{}/data\"\nsensor = \"hub\"\n[[api.listeners]]\naddress = \"{HUB}\"\n",
            home.display()
        );
        fs::write(home.join("palisade.toml"), text).unwrap();
        fleet.start_hub();
        fleet.pin = fleet.hub.as_ref().unwrap().fingerprint();
        fleet
    }

    fn start_hub(&mut self) {
        let home = self.home("hub");
        let config = home.join("palisade.toml");
        self.hub = Some(Palisade::start(&home, &["hub", "--config", config.to_str().unwrap()]));
    }

    fn home(&self, name: &str) -> PathBuf {
        let home = self.folder.path().join(name);
        fs::create_dir_all(&home).unwrap();
        home
    }

    fn cli(&self, args: &[&str]) {
        let output = cli(&self.home("hub"), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Settings of an agent, which trusts the hub by its certificate.
    fn settings(&self, name: &str, method: &str) -> PathBuf {
        let home = self.home(name);
        let made =
            cli(&self.home("hub"), &["key", "add", name, "--scope", "ingest", "--format", "json"]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        fs::write(home.join("key"), made["key"].as_str().unwrap()).unwrap();
        append(&home.join("auth.log"), "");
        let text = format!(
            r#"
data = "{home}/data"
sensor = "{name}"
[agent.hub]
url = "https://{HUB}"
key_file = "{home}/key"
pin = "{pin}"
[agent.enforce]
method = "{method}"
[[agent.sources]]
type = "file"
path = "{home}/auth.log"
from = "start"
"#,
            home = home.display(),
            pin = self.pin
        );
        let config = home.join("palisade.toml");
        fs::write(&config, text).unwrap();
        config
    }

    /// The agent of host A or B, with something in its environment.
    fn agent(&self, name: &str, config: &Path, environment: &[(&str, String)]) -> Palisade {
        let mut command = if name == "host-b" {
            self.b.command(BINARY)
        } else {
            std::process::Command::new(BINARY)
        };
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let args = ["agent", "--config", config.to_str().unwrap()];
        let agent = Palisade::spawn_by(command, &self.home(name), &args);
        agent.wait_printed("ready");
        agent
    }

    fn attack(&self, host: &str, address: &str) {
        let at = Timestamp::from(std::time::SystemTime::now());
        let line =
            format!("{at} web sshd[9]: Failed password for root from {address} port 1 ssh2\n");
        append(&self.home(host).join("auth.log"), &line.repeat(8));
    }

    fn wait(&self, from: &str, reaches: bool, why: &str) {
        self.attacker.wait_reaches((B, from), reaches, why);
    }
}

#[test]
fn a_line_on_one_host_stops_packets_on_another_until_the_ban_is_over() {
    if !inside(
        "packets::a_line_on_one_host_stops_packets_on_another_until_the_ban_is_over",
        &["nft", "curl"],
    ) {
        return;
    }
    let mut fleet = Fleet::new();
    let (a, b) = (fleet.settings("host-a", "dry-run"), fleet.settings("host-b", "nftables"));
    let _a = fleet.agent("host-a", &a, &[]);
    let _b = fleet.agent("host-b", &b, &[]);
    fleet.wait(FIRST, true, "nobody is banned");
    fleet.attack("host-a", FIRST);
    fleet.wait(FIRST, false, "what A has seen is dropped on B");
    fleet.wait(SECOND, true, "somebody else gets through");
    fleet.cli(&["unban", FIRST]);
    fleet.wait(FIRST, true, "a lift gives packets back");
    fleet.cli(&["ban", SECOND, "--for", "4s"]);
    fleet.wait(SECOND, false, "a short ban drops packets");
    fleet.wait(SECOND, true, "its end gives them back");

    // The hub is away, killed: B decides alone, and hears of what A has seen when
    // the hub is back, also of what A had decided meanwhile.
    fleet.hub.take().unwrap().kill();
    fleet.attack("host-b", FIRST);
    fleet.attack("host-a", SECOND);
    fleet.wait(FIRST, false, "B decides alone");
    fleet.wait(SECOND, true, "and does not know what A knows");
    fleet.start_hub();
    fleet.wait(SECOND, false, "until the hub is back");
    // Whose packets are dropped is never the hub's: B still hears of it.
    fleet.cli(&["ban", "10.79.1.0/24", "--for", "1h"]);
    fleet.cli(&["ban", THIRD, "--for", "1h"]);
    fleet.wait(THIRD, false, "the network of its own hub is not banned");
}

#[test]
fn an_agent_that_is_killed_between_decision_and_firewall_bans_when_it_is_back() {
    if !inside(
        "packets::an_agent_that_is_killed_between_decision_and_firewall_bans_when_it_is_back",
        &["nft", "curl"],
    ) {
        return;
    }
    let fleet = Fleet::new();
    let b = fleet.settings("host-b", "nftables");
    // A firewall that takes no orders: what is decided does not reach it.
    let slow = fleet.home("slow");
    fs::write(slow.join("nft"), "#!/bin/sh\nexec sleep 600\n").unwrap();
    assert!(sh(&format!("chmod +x {}/nft", slow.display())));
    let path = format!("{}:{}", slow.display(), std::env::var("PATH").unwrap());
    let agent = fleet.agent("host-b", &b, &[("PATH", path)]);
    fleet.attack("host-b", FIRST);
    fleet.cli(&["ban", SECOND, "--for", "1h"]);
    fleet.cli(&["ban", THIRD, "--for", "1h"]);
    fleet.cli(&["unban", THIRD]);
    // The agent's own decision is at the hub, so it was durable; the hub's orders
    // were heard when the cursor is beyond them.
    wait("the decision", || {
        let listed = cli(&fleet.home("hub"), &["bans", "--format", "json"]);
        String::from_utf8_lossy(&listed.stdout).contains(FIRST).then_some(())
    });
    fleet.wait(FIRST, true, "nothing is in the firewall");
    agent.kill();
    let agent = fleet.agent("host-b", &b, &[]);
    fleet.wait(FIRST, false, "its own decision, after kill -9");
    fleet.wait(SECOND, false, "the hub's order, after kill -9");
    fleet.wait(THIRD, true, "what was lifted stays lifted");
    // Killed again, with all in force, while the hub lifts one of them.
    agent.kill();
    fleet.wait(FIRST, false, "the firewall outlives the agent");
    fleet.cli(&["unban", SECOND]);
    std::thread::sleep(Duration::from_millis(200));
    let _agent = fleet.agent("host-b", &b, &[]);
    fleet.wait(SECOND, true, "a lift that came while it was away");
    fleet.wait(FIRST, false, "and nothing else");
}

/// The library that lies about the time, where it is installed.
fn faketime() -> Option<String> {
    let paths = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
    let library = |folder| format!("{folder}/faketime/libfaketimeMT.so.1");
    paths.into_iter().map(library).find(|path| Path::new(path).exists())
}

#[test]
fn a_clock_that_is_set_makes_no_ban_longer_or_shorter() {
    if !inside("packets::a_clock_that_is_set_makes_no_ban_longer_or_shorter", &["nft", "curl"]) {
        return;
    }
    let library = faketime().expect("faketime is missing; `make test` installs it");
    let fleet = Fleet::new();
    let b = fleet.settings("host-b", "nftables");
    let clock = fleet.home("clock").join("clock");
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, &clock).unwrap();
    };
    set("+0");
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let agent = fleet.agent("host-b", &b, &environment);
    let was_set = |times: usize| {
        wait("the agent sees that its clock was set", || {
            (agent.errors().matches("the clock was set").count() >= times).then_some(())
        });
    };
    fleet.cli(&["ban", FIRST, "--for", "1h"]);
    fleet.wait(FIRST, false, "a ban");
    // A day ahead: the ban is not over. A day behind of that: a short ban ends.
    set("+1d");
    was_set(1);
    assert!(!fleet.attacker.reaches(B, FIRST), "an hour is an hour");
    fleet.cli(&["ban", SECOND, "--for", "1h"]);
    fleet.wait(SECOND, false, "an order of a hub whose clock is a day behind");
    fleet.cli(&["ban", THIRD, "--for", "8s"]);
    fleet.wait(THIRD, false, "a short one");
    set("-1d");
    was_set(2);
    fleet.wait(THIRD, true, "eight seconds are eight seconds");
    assert!(!fleet.attacker.reaches(B, FIRST) && !fleet.attacker.reaches(B, SECOND));
    // Whoever is banned again, by the agent itself, is banned again.
    fleet.cli(&["unban", FIRST]);
    fleet.wait(FIRST, true, "a lift by a hub whose clock is a day ahead");
    fleet.attack("host-b", FIRST);
    fleet.wait(FIRST, false, "a new offence");
}
