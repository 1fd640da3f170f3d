//! Ban everywhere, with the real binary: a hub and two agents in a network
//! namespace, one of which keeps people out by nftables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::fs;
use std::path::Path;

use palisade_event::Timestamp;
use serde_json::Value;
use support::namespace::{inside, sh};
use support::{Palisade, append, cli};

const PORT: u16 = 18_443;

fn hub(home: &Path) -> Palisade {
    let text = format!(
        "data = \"{}/data\"\nsensor = \"hub\"\n[[api.listeners]]\naddress = \"127.0.0.1:{PORT}\"\ntls = false\n",
        home.display()
    );
    fs::write(home.join("palisade.toml"), text).unwrap();
    Palisade::start(home, &["hub", "--config", home.join("palisade.toml").to_str().unwrap()])
}

fn agent(home: &Path, hub: &Path, method: &str) -> Palisade {
    let name = home.file_name().unwrap().to_str().unwrap();
    let key_file = home.join("key");
    if !key_file.exists() {
        let made = cli(hub, &["key", "add", name, "--scope", "ingest", "--format", "json"]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        fs::write(&key_file, made["key"].as_str().unwrap()).unwrap();
        append(&home.join("auth.log"), "");
    }
    let text = format!(
        r#"
data = "{home}/data"
sensor = "{name}"
[agent.hub]
url = "http://127.0.0.1:{PORT}"
key_file = "{home}/key"
[agent.enforce]
method = "{method}"
[[agent.sources]]
type = "file"
path = "{home}/auth.log"
from = "start"
"#,
        home = home.display()
    );
    fs::write(home.join("palisade.toml"), text).unwrap();
    Palisade::start(home, &["agent", "--config", home.join("palisade.toml").to_str().unwrap()])
}

fn attack(home: &Path, address: &str) {
    let at = Timestamp::from(std::time::SystemTime::now());
    let line = format!("{at} web sshd[9]: Failed password for root from {address} port 1 ssh2\n");
    append(&home.join("auth.log"), &line.repeat(8));
}

/// Who is kept out by an agent's firewall.
fn kept_out(home: &Path) -> Vec<String> {
    let config = home.join("palisade.toml");
    let config = config.to_str().unwrap();
    let listed = cli(home, &["enforce", "list", "--format", "json", "--config", config]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let bans = listed["bans"].as_array().cloned().unwrap_or_default();
    bans.iter().map(|ban| ban["target"].as_str().unwrap().to_owned()).collect()
}

fn wait_kept_out(home: &Path, expected: &[&str]) {
    let mut now = Vec::new();
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while std::time::Instant::now() < deadline {
        now = kept_out(home);
        if now == expected {
            return;
        }
        support::pause();
    }
    panic!("{now:?} are kept out instead of {expected:?}");
}

fn run(home: &Path, args: &[&str]) {
    let output = cli(home, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_one_server_sees_is_banned_on_all_of_them() {
    if !inside("fleet::what_one_server_sees_is_banned_on_all_of_them", &["nft"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = |name: &str| {
        let home = folder.path().join(name);
        fs::create_dir_all(&home).unwrap();
        home
    };
    let (hub_home, a, b) = (home("hub"), home("agent-a"), home("agent-b"));
    let server = hub(&hub_home);
    let agent_a = agent(&a, &hub_home, "dry-run");
    let agent_b = agent(&b, &hub_home, "nftables");

    attack(&a, "198.51.100.7");
    wait_kept_out(&b, &["198.51.100.7"]);
    run(&hub_home, &["unban", "198.51.100.7"]);
    wait_kept_out(&b, &[]);
    run(&hub_home, &["ban", "203.0.113.0/24", "--for", "1h", "--reason", "scans us"]);
    wait_kept_out(&b, &["203.0.113.0/24"]);
    for refused in ["127.0.0.1", "0.0.0.0/0", "10.0.0.0/8"] {
        let output = cli(&hub_home, &["ban", refused]);
        assert!(!output.status.success(), "{refused}");
    }

    // The hub is away: agents decide alone, and catch up afterwards.
    server.kill();
    attack(&a, "198.51.100.8");
    attack(&b, "198.51.100.9");
    wait_kept_out(&b, &["198.51.100.9", "203.0.113.0/24"]);
    let server = hub(&hub_home);
    wait_kept_out(&b, &["198.51.100.8", "198.51.100.9", "203.0.113.0/24"]);

    // An agent that is away hears of everything when it is back.
    agent_b.kill();
    assert!(sh("nft flush ruleset"));
    run(&hub_home, &["unban", "198.51.100.8"]);
    run(&hub_home, &["ban", "2001:db8::7", "--for", "1h"]);
    let agent_b = agent(&b, &hub_home, "nftables");
    wait_kept_out(&b, &["198.51.100.9", "2001:db8::7", "203.0.113.0/24"]);

    // Whom the hub allows is let in everywhere.
    run(&hub_home, &["allow", "198.51.100.0/24", "--reason", "office"]);
    wait_kept_out(&b, &["2001:db8::7", "203.0.113.0/24"]);
    // Agents know that themselves: also without the hub, and after a restart.
    server.kill();
    agent_b.kill();
    let agent_b = agent(&b, &hub_home, "nftables");
    attack(&b, "198.51.100.77");
    attack(&b, "192.0.2.77");
    wait_kept_out(&b, &["192.0.2.77", "2001:db8::7", "203.0.113.0/24"]);
    agent_b.kill();
    run(&b, &["enforce", "flush", "--config", b.join("palisade.toml").to_str().unwrap()]);
    assert_eq!(kept_out(&b), [""; 0]);
    agent_a.kill();
}

#[test]
fn what_the_honeypots_of_a_sensor_are_known_by_is_on_the_hubs_page() {
    let home = tempfile::tempdir().unwrap();
    let (hub_home, sensor_home) = (home.path().join("hub"), home.path().join("edge-7"));
    for folder in [&hub_home, &sensor_home] {
        fs::create_dir(folder).unwrap();
    }
    let text = format!(
        "data = \"{}/data\"\nsensor = \"hub\"\n[[api.listeners]]\naddress = \"127.0.0.1:0\"\ntls = false\n",
        hub_home.display()
    );
    fs::write(hub_home.join("palisade.toml"), text).unwrap();
    let config = hub_home.join("palisade.toml");
    let hub = Palisade::start(&hub_home, &["hub", "--config", config.to_str().unwrap()]);
    let door = hub.http_api();
    let key = |name: &str, scope: &str| {
        let made = cli(&hub_home, &["key", "add", name, "--scope", scope, "--format", "json"]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        made["key"].as_str().unwrap().to_owned()
    };
    fs::write(sensor_home.join("key"), key("edge-7", "ingest")).unwrap();
    let admin = key("page", "admin");
    let text = format!(
        r#"
data = "{home}/data"
sensor = "edge-7"
[agent.hub]
url = "http://{door}"
key_file = "{home}/key"
[[honeypot.services]]
type = "telnet"
listen = "127.0.0.1:0"
telnet = {{ accept = "always" }}
"#,
        home = sensor_home.display()
    );
    fs::write(sensor_home.join("palisade.toml"), text).unwrap();
    let config = sensor_home.join("palisade.toml");
    let sensor = Palisade::start(&sensor_home, &["sensor", "--config", config.to_str().unwrap()]);
    let told = hub.first("kind:sensor.checked");
    assert_eq!((&told["sensor"], &told["attributes"]["shown"]), (&"edge-7".into(), &1.into()));
    let answer = std::process::Command::new("curl")
        .args(["-s", "-H", &format!("Authorization: Bearer {admin}")])
        .arg(format!("http://{door}/api/v1/honeypot/tells"))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(answer["report"].is_null(), "no honeypot runs beside the hub");
    let others = answer["others"].as_array().unwrap();
    assert_eq!((others.len(), &others[0]["sensor"]), (1, &"edge-7".into()));
    let tells = others[0]["tells"].as_array().unwrap();
    let shown: Vec<_> = tells.iter().filter(|tell| tell["verdict"] == "shown").collect();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(shown[0]["id"], "telnet-any-password");
    assert_eq!(sensor.terminate(), Some(0));
    assert_eq!(hub.terminate(), Some(0));
}
