//! Fifty attacks, line by line as bots send them: each runs to its end, and
//! what was seen of it is held equal to a golden file.
//! `PALISADE_GOLDEN=write cargo test -p palisade-honeypot --test attacks` writes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use palisade_event::{SensorId, Timestamp};
use palisade_honeypot::shell::vfs::Visitors;
use palisade_honeypot::shell::{Act, Door, MAX_OUTPUT_BYTES, Shell, Who, World};
use palisade_honeypot::{Persona, PersonaConfig};

const NOW: Timestamp = Timestamp::from_millis(1_767_871_234_000);

fn seen(act: &Act) -> String {
    match act {
        Act::FetchAttempted { tool, url, outcome, .. } => format!("fetch {tool} {url} {outcome}"),
        Act::FileDropped { path, bytes, hash } => {
            format!("dropped {path} {} bytes {}", bytes.len(), &hash.to_string()[..12])
        }
        Act::FileExecuted { path, hash, .. } => {
            format!("executed {path} {}", &hash.to_string()[..12])
        }
        Act::KeyPlanted { path, fingerprint, .. } => {
            format!("key {path} {}", fingerprint.as_deref().unwrap_or("not a key"))
        }
        Act::PasswordChanged { user, password } => {
            format!("password {user} {}", password.escape_ascii())
        }
        Act::UserAdded { user } => format!("user {user}"),
        Act::StartupChanged { path, line } => format!("startup {path}: {}", line.escape_ascii()),
        Act::ProcessKilled { target } => format!("killed {target}"),
    }
}

#[test]
fn fifty_attacks_run_to_their_end_and_are_seen() {
    let config = PersonaConfig {
        seed: Some(21),
        server: Some("debian12".to_owned()),
        ..PersonaConfig::default()
    };
    let persona = Persona::new(&config, &SensorId::new("a").unwrap());
    let device = Arc::new(World::device(&persona, &config).unwrap());
    let server = Arc::new(World::server(&persona, &config).unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "iot" || end == "srv"));
    files.sort();
    assert_eq!(files.len(), 50);
    let mut report = String::new();
    for path in files {
        let iot = path.extension().is_some_and(|end| end == "iot");
        let door = if iot { Door::Telnet } else { Door::Ssh };
        let (world, visitors) = (if iot { &device } else { &server }, Visitors::default());
        let address = "192.0.2.250".parse().unwrap();
        let who = Who { user: "root".to_owned(), address, port: 50_000, door, tty: true };
        let mut shell = Shell::new(world, &visitors, &who, NOW);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let _ = writeln!(report, "== {name}");
        let script = std::fs::read_to_string(&path).unwrap();
        for line in script.lines() {
            let reply = shell.run(line.as_bytes(), NOW);
            assert!(reply.output.len() < MAX_OUTPUT_BYTES, "{name}: {line}");
            assert_ne!(reply.status, 137, "{name}: the budget ran out at {line}");
            for act in &reply.acts {
                let _ = writeln!(report, "! {}", seen(act));
            }
            let shown = String::from_utf8_lossy(&reply.output).into_owned();
            for line in shown.lines().take(12) {
                let line: String = line.chars().take(100).flat_map(char::escape_default).collect();
                let _ = writeln!(report, "  {line}");
            }
        }
        for act in shell.finish() {
            let _ = writeln!(report, "! {}", seen(&act));
        }
        // Nothing is left open.
        assert_eq!(shell.run(b"echo end of $((1))", NOW).output, b"end of 1\n", "{name}");
    }
    let golden = folder.join("seen.golden");
    if std::env::var_os("PALISADE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&golden, &report).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    for (line, (is, was)) in report.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, was, "line {} of {}", line + 1, golden.display());
    }
    assert_eq!(report.len(), expected.len());
}
