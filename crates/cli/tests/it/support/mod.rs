//! Starts the real binary in a temporary directory on free ports and talks to
//! it as an operator would.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

pub(crate) mod namespace;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_palisade");
/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `palisade`.
pub(crate) struct Palisade {
    pub(crate) child: Child,
    pub(crate) home: PathBuf,
    /// What it printed so far.
    printed: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<String>>,
}

/// Settings for tests: free ports, one watched log file; nothing that depends on the
/// machine they run on.
pub(crate) fn settings(home: &Path) -> String {
    format!(
        r#"
data = "{home}/data"
sensor = "test-1"

[agent.inventory]
enabled = false

[agent.audit]
enabled = false

[agent.integrity]
enabled = false

[[api.listeners]]
address = "127.0.0.1:0"
tls = true

[[api.listeners]]
address = "127.0.0.1:0"
tls = false

[[agent.sources]]
type = "file"
path = "{home}/auth.log"
parser = "sshd"
from = "start"

[[honeypot.services]]
type = "telnet"
listen = "127.0.0.1:0"

[[honeypot.services]]
type = "http"
listen = "127.0.0.1:0"
"#,
        home = home.display()
    )
}

impl Palisade {
    /// `palisade up` with [`settings`] in `home`.
    pub(crate) fn up(home: &Path) -> Self {
        let config = home.join("palisade.toml");
        if !config.exists() {
            fs::write(&config, settings(home)).unwrap();
        }
        Self::start(home, &["up", "--config", config.to_str().unwrap()])
    }

    /// Any long-running command; waits until it has printed its last line of the start.
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        let palisade = Self::spawn(home, args);
        palisade.wait_printed("ready");
        palisade
    }

    pub(crate) fn spawn(home: &Path, args: &[&str]) -> Self {
        Self::spawn_by(Command::new(BINARY), home, args)
    }

    /// The same by a command that starts the binary.
    pub(crate) fn spawn_by(mut command: Command, home: &Path, args: &[&str]) -> Self {
        let mut child = command
            .args(args)
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(String::new()));
        let (lines, out) = (Arc::clone(&printed), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let (text, err) = (Arc::clone(&errors), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                let mut text = text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { child, home: home.to_owned(), printed, errors }
    }

    pub(crate) fn wait_printed(&self, word: &str) -> String {
        wait(&format!("'{word}' printed; log:\n{}", self.errors()), || {
            self.printed.lock().unwrap().iter().find(|line| line.contains(word)).cloned()
        })
    }

    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().join("\n")
    }

    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    fn address(&self, label: &str) -> SocketAddr {
        let line = self.wait_printed(label);
        line.trim_end_matches('/').rsplit(['/', ' ']).next().unwrap().parse().unwrap()
    }

    pub(crate) fn telnet(&self) -> SocketAddr {
        self.address("honeypot telnet on")
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.address("honeypot http on")
    }

    pub(crate) fn https_api(&self) -> SocketAddr {
        self.address("on https://")
    }

    pub(crate) fn http_api(&self) -> SocketAddr {
        self.address("on http://")
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.wait_printed("certificate SHA-256").rsplit(' ').next().unwrap().to_owned()
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        cli(&self.home, args)
    }

    /// The events that match, as JSON.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        query_events(&self.home, query)
    }

    /// The first event that matches, awaited: what follows from an event may
    /// arrive after it.
    pub(crate) fn first(&self, query: &str) -> Value {
        wait(&format!("an event of {query}"), || self.query(query).into_iter().next())
    }

    pub(crate) fn count(&self, query: &str) -> u64 {
        let output = self.cli(&["query", "--count", query]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }

    /// Waits until so many events match.
    pub(crate) fn wait_count(&self, query: &str, expected: u64) {
        let mut last = 0;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.count(query);
            if last == expected {
                return;
            }
            pause();
        }
        panic!("{query}: {last} events instead of {expected}; log:\n{}", self.errors());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let mut status = None;
        wait("the process ends", || {
            status = self.child.try_wait().unwrap();
            status
        });
        status.unwrap().code()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Palisade {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn cli(home: &Path, args: &[&str]) -> Output {
    cli_with_input(home, args, "")
}

pub(crate) fn cli_with_input(home: &Path, args: &[&str], input: &str) -> Output {
    let data = home.join("data");
    run_with_input(
        Command::new(BINARY).args(args).env("PALISADE_DATA", data).current_dir(home),
        input,
    )
}

pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{command:?}: {error}; `make test` installs what is needed")
        });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn query_events(home: &Path, query: &str) -> Vec<Value> {
    let output = cli(home, &["query", "--format", "json", "--limit", "100000", query]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs `probe` until it gives something.
pub(crate) fn wait<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        pause();
    }
}

#[allow(clippy::disallowed_methods, reason = "waits for another process, not for a clock")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// A line as OpenSSH writes it through rsyslog, at the present second.
pub(crate) fn sshd_line(message: &str) -> String {
    let now = jiff::Timestamp::now();
    format!("{} web-1 sshd[4711]: {message}\n", now.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00"))
}

pub(crate) fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Reads a socket until `word` comes.
pub(crate) fn read_until(stream: &mut std::net::TcpStream, word: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = Vec::new();
    let mut byte = [0u8; 1];
    while !String::from_utf8_lossy(&seen).contains(word) {
        let n = stream.read(&mut byte).unwrap();
        assert!(n > 0, "ended before '{word}': {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}
