//! The machine itself, as `palisade up` tells of it: inventory, samples, findings,
//! files that change.

#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{BINARY, Palisade, settings, wait};

/// Settings that tell of the machine, but watch one folder alone.
fn telling(home: &Path, watched: &Path) -> String {
    let own = format!(
        "[agent.inventory]\nsample_secs = 1\n\n[agent.audit]\nenabled = false\n\n[agent.integrity]\npaths = [\"{}\"]\n",
        watched.display()
    );
    let off = "[agent.inventory]\nenabled = false\n\n[agent.audit]\nenabled = false\n\n[agent.integrity]\nenabled = false\n";
    let all = settings(home);
    assert!(all.contains(off));
    all.replace(off, &own)
}

/// Asks until there are so many events.
fn ask(palisade: &Palisade, query: &str, least: usize) -> Vec<Value> {
    wait(query, || Some(palisade.query(query)).filter(|events| events.len() >= least))
}

#[test]
fn a_machine_tells_what_it_is_how_busy_it_is_and_which_files_change() {
    let home = tempfile::tempdir().unwrap();
    let watched = tempfile::tempdir().unwrap();
    let file = watched.path().join("watched.conf");
    fs::write(&file, "one").unwrap();
    let config = home.path().join("palisade.toml");
    fs::write(&config, telling(home.path(), watched.path())).unwrap();
    let palisade = Palisade::up(home.path());

    let query = "kind:host.reported";
    let system = wait("the machine is told", || {
        palisade.query(query).into_iter().find(|event| event["attributes"]["section"] == "system")
    });
    let data: Value = serde_json::from_str(system["attributes"]["data"].as_str().unwrap()).unwrap();
    assert!(data["mem"]["total"].as_u64() > Some(0) && data["cpu"]["t_cores"].as_u64() > Some(0));
    assert!(data["disk"]["total"].as_str().unwrap().ends_with("GB"));

    let sampled = ask(&palisade, "kind:host.sampled", 3);
    assert!(sampled[0]["attributes"]["mem_total"].as_u64() > Some(0));
    assert!(sampled[0]["attributes"]["cpu_pct"].as_f64().is_some());

    // The baseline is made when its file is there.
    let baseline = home.path().join("data/agent/integrity.ndjson");
    wait("the baseline is made", || baseline.exists().then_some(()));
    fs::write(&file, "two").unwrap();
    let changed = ask(&palisade, "kind:file.changed", 1);
    let attributes = &changed[0]["attributes"];
    assert_eq!(attributes["path"], file.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(attributes["change"], "modified");
    assert_eq!(attributes["how"], "watch");
    assert_ne!(attributes["old_hash"], attributes["new_hash"]);
    palisade.kill();
}

/// An agent that tells a hub, started by a line of the shell in a mount namespace of
/// its own; `None` where that is not allowed.
fn agent(home: &Path, hub: &Palisade, more: &str, before: &str) -> Option<Palisade> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    if !Command::new("unshare").args(["--mount", "sh", "-c", before]).status().unwrap().success() {
        eprintln!("not tested here: mounting needs root");
        return None;
    }
    let made = hub.cli(&["key", "add", "edge-1", "--scope", "ingest"]);
    fs::write(home.join("key"), made.stdout).unwrap();
    let config = home.join("agent.toml");
    let text = format!(
        "data = \"{0}/agent-data\"\nsensor = \"edge-1\"\n[agent.hub]\nurl = \"http://{1}\"\nkey_file = \"{0}/key\"\n{more}",
        home.display(),
        hub.http_api(),
    );
    fs::write(&config, text).unwrap();
    command.args([&format!("{before} && exec \"$@\""), "sh", BINARY]);
    let agent = Palisade::spawn_by(command, home, &["agent", "--config", config.to_str().unwrap()]);
    agent.wait_printed("ready");
    Some(agent)
}

#[test]
fn a_machine_whose_proc_cannot_be_read_says_so_and_is_told_all_the_same() {
    let (hub_home, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = Palisade::up(hub_home.path());
    let more = "[agent.inventory]\nsample_secs = 1\n[agent.audit]\nenabled = false\n[agent.integrity]\nenabled = false\n";
    let Some(agent) = agent(home.path(), &hub, more, "mount -t tmpfs tmpfs /proc") else { return };
    let sampled = ask(&hub, "kind:host.sampled sensor:edge-1", 3);
    for name in ["cpu_pct", "load1", "mem_total", "uptime_secs"] {
        assert!(sampled[0]["attributes"].get(name).is_none(), "{name}: {}", sampled[0]);
    }
    // What stands in other files is told, what does not is named with its reason.
    let section = |name: &str| {
        wait(name, || {
            let all = hub.query("kind:host.reported sensor:edge-1");
            all.into_iter().find(|event| event["attributes"]["section"] == name)
        })["attributes"]
            .clone()
    };
    assert!(section("accounts")["data"].as_str().unwrap().contains("root"));
    for name in ["sockets", "disks"] {
        let section = section(name);
        assert_eq!(section["data"], "[]", "{name}");
        assert!(section["unseen"].as_str().is_some_and(|why| why.len() > 4), "{name}: {section}");
    }
    agent.terminate();
    hub.kill();
}

/// A small disk below a folder, for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(at);
        mount.status().unwrap().success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_changes_while_the_disk_is_full_is_told_once_there_is_room() {
    let (hub_home, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let watched = tempfile::tempdir().unwrap();
    let file = watched.path().join("watched.conf");
    fs::write(&file, "one").unwrap();
    let data = home.path().join("agent-data");
    let Some(_disk) = Disk::mount(&data) else {
        eprintln!("not tested here: mounting a small disk needs root");
        return;
    };
    let hub = Palisade::up(hub_home.path());
    let more = format!(
        "[agent.inventory]\nsample_secs = 1\n[agent.audit]\nenabled = false\n[agent.integrity]\npaths = [\"{}\"]\n",
        watched.path().display()
    );
    let Some(agent) = agent(home.path(), &hub, &more, "true") else { return };
    let baseline = data.join("agent/integrity.ndjson");
    wait("the baseline is made", || baseline.exists().then_some(()));
    ask(&hub, "kind:host.sampled sensor:edge-1", 1);
    let ballast = data.join("ballast");
    fs::write(&ballast, vec![0u8; 32 << 20]).unwrap_err();
    fs::write(&file, "two").unwrap();
    // It goes on, and says what is wrong.
    wait("the agent says that its disk is full", || {
        agent.errors().to_lowercase().contains("no space").then_some(())
    });
    fs::remove_file(&ballast).unwrap();
    let changed = ask(&hub, "kind:file.changed sensor:edge-1", 1);
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(changed[0]["attributes"]["change"], "modified");
    let before = hub.count("kind:host.sampled sensor:edge-1");
    wait("samples go on", || {
        (hub.count("kind:host.sampled sensor:edge-1") > before + 1).then_some(())
    });
    agent.terminate();
    hub.kill();
}

#[test]
fn a_setting_that_is_changed_is_judged_again_within_a_minute() {
    let (hub_home, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = home.path().join("login.defs");
    fs::write(&settings, "PASS_MIN_DAYS 0\n").unwrap();
    let hub = Palisade::up(hub_home.path());
    // Not the looks at all files: this machine may have many.
    let more = "[agent.inventory]\nenabled = false\n[agent.integrity]\nenabled = false\n[agent.audit]\ndisable = [\"file-tmp-sticky\", \"tree-world-writable\", \"tree-sticky-folders\", \"tree-owned\", \"tree-setuid-known\", \"tree-setuid-writable\"]\n";
    let before = format!("mount --bind {} /etc/login.defs", settings.display());
    let Some(agent) = agent(home.path(), &hub, more, &before) else { return };
    let told = |kind: &str| {
        let query = format!("kind:{kind} sensor:edge-1");
        let events = hub.query(&query);
        events.into_iter().find(|event| event["attributes"]["check"] == "password-min-days")
    };
    wait("the first audit", || told("finding.opened"));
    let audits = hub.count("kind:audit.completed");
    fs::write(&settings, "PASS_MIN_DAYS 1\n").unwrap();
    let closed = wait("the finding is closed", || told("finding.closed"));
    assert_eq!(closed["attributes"]["reason"], "passes");
    wait("the new score", || (hub.count("kind:audit.completed") > audits).then_some(()));
    agent.terminate();
    hub.kill();
}
