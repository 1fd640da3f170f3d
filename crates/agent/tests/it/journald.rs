//! The journal source with the real systemd-journald and journalctl: the
//! daemon ends, comes back and rotates its files while the agent reads. It runs
//! in namespaces of its own, so that the machine's journal is not touched.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use palisade_agent::{JournalSource, LogFormat, SourceConfig};
use support::{MemoryHub, Mood, Running, config, until};

const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";

/// Reads orders from standard input: `log FROM TO`, `restart`, `crash`, `rotate`.
const HOST: &str = r#"
set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/log/journal /run/systemd/journal
mount --bind "$1" /run/log/journal
begin() {
    /usr/lib/systemd/systemd-journald & daemon=$!
    n=0
    until [ -S /run/systemd/journal/dev-log ] && kill -0 "$daemon"; do
        n=$((n + 1)); [ "$n" -lt 100 ] || exit 3
        sleep 0.05
    done
}
end() {
    kill "$1" "$daemon"
    wait "$daemon" || true
    rm -f /run/systemd/journal/dev-log
}
begin
echo ready
while read -r order from to; do
    case "$order" in
    log)
        n=$from
        while [ "$n" -lt "$to" ]; do
            echo "Failed password for invalid user u$n from 203.0.113.9 port 4711 ssh2"
            n=$((n + 1))
        done | logger -u /run/systemd/journal/dev-log -t sshd
        ;;
    restart) end -TERM; begin ;;
    crash) end -KILL; begin ;;
    rotate) kill -USR2 "$daemon" ;;
    esac
    echo "done"
done
kill "$daemon"
"#;

struct Host(Child);

impl Host {
    fn start(journal: &Path) -> Option<Self> {
        let child = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", HOST, "host"])
            .arg(journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut host = Self(child.ok()?);
        (host.answer() == "ready").then_some(host)
    }

    /// The next line that it says; empty where it has ended.
    fn answer(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        let output = self.0.stdout.as_mut().unwrap();
        while std::io::Read::read(output, &mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    fn order(&mut self, order: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{order}").unwrap();
        assert_eq!(self.answer(), "done", "{order}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The end of its input ends it, and with it its namespace.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journald_that_restarts_crashes_and_rotates_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    assert!(
        Path::new(JOURNALD).exists(),
        "systemd is not installed; scripts/test-packages.sh installs it"
    );
    let Some(mut host) = Host::start(&journal) else {
        // As in a container without privileges.
        eprintln!("not tested here: namespaces of mounts are not allowed");
        return;
    };
    let command = folder.path().join("journalctl");
    let text = format!("#!/bin/sh\nexec journalctl --directory='{}' \"$@\"\n", journal.display());
    std::fs::write(&command, text).unwrap();
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
    // logger is no sshd, so it is found by what it calls itself.
    let source = SourceConfig::Journal(JournalSource {
        matches: vec!["SYSLOG_IDENTIFIER=sshd".into()],
        command,
        from: palisade_agent::StartFrom::Start,
        ..JournalSource::new(LogFormat::Sshd)
    });
    let hub = MemoryHub::new(Mood::Takes);
    let config = config(vec![source]);
    let data = folder.path().join("data");
    let running = Running::start(&config, &data, hub.clone()).await;
    host.order("log 0 40");
    hub.has_each_once(40).await;
    for (number, order) in ["restart", "rotate", "crash", "rotate"].iter().enumerate() {
        let from = 40 + number * 80;
        host.order(&format!("log {from} {}", from + 40));
        // What is written to a journal is there also where its writer is killed
        // a moment later.
        until(|| hub.users().len() >= from + 40, || format!("before {order}")).await;
        host.order(order);
        host.order(&format!("log {} {}", from + 40, from + 80));
        hub.has_each_once(from + 80).await;
    }
    running.crash();
    host.order("log 360 400");
    let running = Running::start(&config, &data, hub.clone()).await;
    hub.has_each_once(400).await;
    running.end().await;
}
