//! The import rules of ARCHITECTURE.md, checked against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Which of our crates each crate may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("palisade-event", &[]),
    ("palisade-spool", &[]),
    ("palisade-resident", &[]),
    ("palisade-savedsyn", &[]),
    ("palisade-rules", &["palisade-event", "palisade-resident"]),
    ("palisade-store", &["palisade-event"]),
    ("palisade-honeypot", &["palisade-event", "palisade-savedsyn"]),
    ("palisade-agent", &["palisade-event", "palisade-rules", "palisade-spool"]),
    ("palisade-hub", &["palisade-event", "palisade-rules", "palisade-spool", "palisade-store"]),
    ("palisade-api", &["palisade-event", "palisade-hub", "palisade-store"]),
    (
        "palisade",
        &[
            "palisade-event",
            "palisade-rules",
            "palisade-spool",
            "palisade-store",
            "palisade-honeypot",
            "palisade-agent",
            "palisade-hub",
            "palisade-api",
            "palisade-resident",
        ],
    ),
];

/// Foreign crates a layer must not import, and why.
const DENIED: &[(&str, &[&str], &str)] = &[
    ("palisade-event", &["tokio", "hyper", "axum", "http", "rand"], "it has no I/O and no entropy"),
    ("palisade-rules", &["tokio", "hyper", "axum", "http", "rand"], "it is pure"),
    ("palisade-spool", &["hyper", "axum", "http"], "its records have no meaning"),
    ("palisade-store", &["hyper-util", "axum"], "it answers queries, not requests"),
    (
        "palisade-hub",
        &["axum", "hyper", "hyper-util", "http", "tower", "tower-http"],
        "it outlives any wire format",
    ),
    ("palisade-honeypot", &["hyper", "axum", "reqwest"], "attackers talk to it"),
];

/// Words that must not stand in a crate's sources, and why.
const DENIED_WORDS: &[(&str, &[&str], &str)] = &[
    ("crates/event", &["SystemTime::now", "std::fs", "std::process"], "it has no clock and no I/O"),
    (
        "crates/rules",
        &["SystemTime::now", "Timestamp::now", "std::fs", "std::process"],
        "it is pure",
    ),
    ("crates/honeypot", &["std::process", "tokio::process"], "it starts nothing"),
    ("crates/hub", &["std::process::Command", "tokio::process"], "it starts nothing"),
];

/// Reports every edge that the tables above do not allow.
pub(crate) fn check() -> anyhow::Result<()> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(crate::golden::root())
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut faults = Vec::new();
    let edges = edges(&metadata)?;
    for (name, imports) in &edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(layer, _)| layer == name) else {
            faults.push(format!("{name}: a product crate that the table does not know"));
            continue;
        };
        for import in imports.iter().filter(|import| import.starts_with("palisade-")) {
            if !allowed.contains(&import.as_str()) {
                faults.push(format!("{name} must not import {import}"));
            }
        }
        for (_, denied, reason) in DENIED.iter().filter(|(layer, ..)| layer == name) {
            for import in imports.iter().filter(|import| denied.contains(&import.as_str())) {
                faults.push(format!("{name} must not import {import}: {reason}"));
            }
        }
    }
    for (layer, _) in ALLOWED {
        if !edges.contains_key(*layer) {
            faults.push(format!("{layer} is in the table but not in the workspace"));
        }
    }
    for (folder, words, reason) in DENIED_WORDS {
        for (path, line, word) in
            find_words(&crate::golden::root().join(folder).join("src"), words)?
        {
            faults.push(format!("{path}:{line} must not use {word}: {reason}"));
        }
    }
    if faults.is_empty() {
        eprintln!("layers: {} crates keep the import rules", edges.len());
        return Ok(());
    }
    bail!("{} import rules broken:\n  {}", faults.len(), faults.join("\n  "));
}

/// Normal and build dependencies (tests may use anything) of each product crate.
fn edges(metadata: &serde_json::Value) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut edges = BTreeMap::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().context("no name")?;
        let manifest = package["manifest_path"].as_str().context("no manifest")?;
        if !manifest.contains("/crates/") {
            continue;
        }
        let imports = package["dependencies"]
            .as_array()
            .context("no dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str())
            .map(str::to_owned)
            .collect();
        edges.insert(name.to_owned(), imports);
    }
    Ok(edges)
}

/// Where a denied word stands outside comments and test modules.
fn find_words(
    folder: &std::path::Path,
    words: &[&str],
) -> anyhow::Result<Vec<(String, usize, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(find_words(&path, words)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for (index, line) in product.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for word in words.iter().filter(|word| code.contains(**word)) {
                    found.push((path.display().to_string(), index + 1, (*word).to_owned()));
                }
            }
        }
    }
    Ok(found)
}
