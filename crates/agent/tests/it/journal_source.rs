//! The journal source, with a script in the place of `journalctl`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_agent::{JournalSource, LogFormat, SourceConfig, StartFrom};
use palisade_event::EventKind;
use support::{MemoryHub, Mood, Running, config, until};

/// A command that notes its arguments and then runs `body`.
fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("journalctl");
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\n{body}\n",
        folder.join("args").display()
    );
    // Written beside and renamed: a script that is being written cannot be run.
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::set_permissions(folder.join("new"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(folder.join("new"), &path).unwrap();
    path
}

fn source(command: PathBuf) -> SourceConfig {
    SourceConfig::Journal(JournalSource {
        units: Vec::new(),
        matches: Vec::new(),
        ignore: Vec::new(),
        programs: vec!["sshd".into(), "sshd-session".into()],
        parser: LogFormat::Sshd,
        from: StartFrom::End,
        command,
    })
}

fn entry(number: usize) -> String {
    format!(
        r#"{{"__CURSOR":"s=a;i={number}","__REALTIME_TIMESTAMP":"1795206000000000","_SOURCE_REALTIME_TIMESTAMP":"1795206000123456","_HOSTNAME":"web03","_PID":"77","MESSAGE":"Failed password for invalid user u{number} from 203.0.113.9 port 4711 ssh2"}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_become_events_and_a_restart_goes_on_after_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let data = folder.path().join("data");
    let bytes =
        r#"{"__CURSOR":"s=a;i=2","__REALTIME_TIMESTAMP":"1795206000000000","MESSAGE":[255,254]}"#;
    let body = format!(
        "echo '{}'\necho 'no json'\necho '{}'\necho '{bytes}'\nexec sleep 600",
        entry(0),
        entry(1)
    );
    let config = config(vec![source(script(folder.path(), &body))]);
    let running = Running::start(&config, &data, hub.clone()).await;
    hub.has_each_once(2).await;
    let event = hub.of(EventKind::AuthAttempted).remove(0);
    assert_eq!(event.observed_at.to_string(), "2026-11-20T20:20:00.123Z");
    assert_eq!(event.host.unwrap().as_str(), "web03");
    assert_eq!(event.attributes["pid"].to_string(), "77");
    let metrics = running.agent.metrics();
    until(|| metrics.lines_unparsed.get() == 1, || "the odd entry".into()).await;
    running.end().await;

    script(folder.path(), &format!("echo '{}'\nexec sleep 600", entry(2)));
    let running = Running::start(&config, &data, hub.clone()).await;
    hub.has_each_once(3).await;
    running.end().await;
    let arguments = std::fs::read_to_string(folder.path().join("args")).unwrap();
    let arguments: Vec<&str> = arguments.lines().collect();
    assert!(
        arguments[0].contains("--lines=0")
            && arguments[0].ends_with("_COMM=sshd _COMM=sshd-session")
    );
    assert!(arguments[1].contains("--after-cursor=s=a;i=2"), "{}", arguments[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_command_is_told_and_its_recovery_too() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let config = config(vec![source(folder.path().join("journalctl"))]);
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    until(|| !hub.of(EventKind::SourceFailed).is_empty(), || "source.failed".into()).await;
    let reason = hub.of(EventKind::SourceFailed)[0].attributes["reason"].to_string();
    assert!(reason.contains("cannot run") && reason.contains("No such file"), "{reason}");
    script(folder.path(), &format!("echo '{}'\nexec sleep 600", entry(0)));
    hub.has_each_once(1).await;
    until(|| !hub.of(EventKind::SourceRecovered).is_empty(), || "recovery".into()).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ends_is_started_again_and_its_complaint_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let body = format!("echo '{}'\necho 'No journal files were opened' >&2\nexit 1", entry(0));
    let config = config(vec![source(script(folder.path(), &body))]);
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    until(|| !hub.of(EventKind::SourceFailed).is_empty(), || "source.failed".into()).await;
    let reason = hub.of(EventKind::SourceFailed)[0].attributes["reason"].to_string();
    assert!(reason.contains("No journal files were opened"), "{reason}");
    let started = || std::fs::read_to_string(folder.path().join("args")).unwrap().lines().count();
    until(|| started() >= 2, || "a second start".into()).await;
    hub.has_each_once(1).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_as_they_are_are_counted_and_ignored_beginnings_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = MemoryHub::new(Mood::Takes);
    let message = |number: usize, text: &str| {
        format!(
            r#"{{"__CURSOR":"s=b;i={number}","__REALTIME_TIMESTAMP":"1795206000000000","SYSLOG_IDENTIFIER":"sshd-session","MESSAGE":"{text}"}}"#
        )
    };
    let mut body = String::new();
    for number in 0..6 {
        let text = match number % 2 {
            0 => "Invalid user 192.0.2.1 from 198.51.100.7 port 22",
            _ => "Disconnect from 198.51.100.7",
        };
        body.push_str(&format!("echo '{}'\n", message(number, text)));
    }
    body.push_str("exec sleep 600");
    let made = palisade_rules::read_strongmonitor(
        r#"{"modules": {"SSHD": {"no_log": ["Disconnect from"], "rules": [
            {"name": "Invalid user", "mode": "start", "str": "Invalid user", "limit": 2}
        ]}}}"#,
        None,
    )
    .unwrap();
    let scenarios = folder.path().join("scenarios");
    std::fs::create_dir(&scenarios).unwrap();
    for (name, text) in &made.scenarios {
        std::fs::write(scenarios.join(format!("{name}.toml")), text).unwrap();
    }
    let mut config = config(vec![source(script(folder.path(), &body))]);
    let SourceConfig::Journal(journal) = &mut config.sources[0] else { panic!() };
    journal.parser = LogFormat::Lines;
    journal.ignore = vec!["Disconnect from".into()];
    config.detect.enabled = true;
    config.detect.scenarios = Some(scenarios);
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    until(|| !hub.of(EventKind::DecisionMade).is_empty(), || "a decision".into()).await;
    running.end().await;
    assert_eq!(hub.of(EventKind::LineMatched).len(), 3, "what is ignored is not kept");
    let decision = hub.of(EventKind::DecisionMade).remove(0);
    assert_eq!(decision.source.unwrap().address.to_string(), "198.51.100.7", "the last address");
    assert_eq!(decision.attributes["scenario"].to_string(), "sshd-invalid-user");
}
