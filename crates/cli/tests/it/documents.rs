//! ARCHITECTURE.md and README.md say what is true.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_ten_files_an_event_passes_exist() {
    let text = read("ARCHITECTURE.md");
    let paths: Vec<&str> = text
        .lines()
        .filter(|line| line.split_once(". `crates/").is_some_and(|(n, _)| n.parse::<u32>().is_ok()))
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    assert_eq!(paths.len(), 10, "{paths:?}");
    for path in paths {
        assert!(read(path).starts_with("//!"), "{path} has no word on what it is");
    }
}

/// Rows such as `| … | `NAME` = 4096, `crates/x/src/y.rs` | … |`.
#[test]
fn the_tables_of_queues_and_limits_have_the_values_of_the_code() {
    let text = read("ARCHITECTURE.md");
    let mut checked = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && line.contains("` = ")) {
        let (name, rest) = line.split_once("` = ").unwrap();
        let name = name.rsplit('`').next().unwrap();
        let (value, path) = rest.split_once(", `").unwrap_or_else(|| panic!("no file: {line}"));
        let path = path.split('`').next().unwrap();
        let code = read(path);
        let declared = code
            .lines()
            .find(|code| code.contains(&format!("{name}: ")) && code.contains("const "))
            .unwrap_or_else(|| panic!("{name} is not in {path}"));
        let digits = |text: &str| text.replace('_', "");
        assert!(
            digits(declared).contains(&format!("= {};", digits(value))),
            "{name} is '{declared}' in {path}, not {value}"
        );
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} rows were found");
}

#[test]
fn every_command_of_the_readme_exists() {
    let makefile = read("Makefile");
    let readme = read("README.md");
    for line in readme.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["make", target, ..] = words[..] {
            assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
        }
        if let ["palisade", command, ..] = words[..] {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_palisade"))
                .args([command, "--help"])
                .output()
                .unwrap();
            assert!(output.status.success(), "palisade {command}");
        }
    }
    for (_, target) in readme.match_indices("](").map(|(at, _)| {
        let rest = &readme[at + 2..];
        (at, rest.split(')').next().unwrap())
    }) {
        if !target.starts_with("http") && !target.starts_with('#') {
            assert!(root().join(target).exists(), "README links to {target}");
        }
    }
}
