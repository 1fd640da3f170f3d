//! The machine itself, as `palisade up` tells of it: inventory, samples, findings,
//! files that change.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Palisade, settings, wait};

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
