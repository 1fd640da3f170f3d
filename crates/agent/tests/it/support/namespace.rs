//! This host and an attacker on a wire, each in a network namespace of its own, so
//! that real packets are dropped there and nowhere else. A test runs itself again
//! inside of one.

#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use palisade_agent::{Config, DetectConfig, EnforceConfig, Method};
use palisade_event::Timestamp;

use super::{append_text, config, file_source};

const INSIDE: &str = "PALISADE_TEST_INSIDE_NAMESPACE";
pub(crate) const OURS: &str = "10.77.0.1";
pub(crate) const THEIRS: &str = "10.77.0.2";
pub(crate) const THEIRS_6: &str = "fd77::2";

/// Runs the test of that name in a namespace; `true` where this is inside.
pub(crate) fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let allowed = Command::new("unshare").args(["--map-root-user", "--net", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        // As in a container without privileges.
        eprintln!("not tested here: network namespaces are not allowed");
        return false;
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // A name that no test has would end well, too.
    let ran = output.status.success() && shown.contains("1 passed");
    assert!(ran, "{test} failed inside of its namespace:\n{shown}");
    false
}

pub(crate) fn sh(line: &str) -> bool {
    Command::new("sh").args(["-c", line]).stdin(Stdio::null()).status().unwrap().success()
}

/// Another machine on a wire to this one.
pub(crate) struct Attacker(Child);

impl Attacker {
    pub(crate) fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut attacker = Self(child);
        // It answers once it is in its namespace.
        attacker.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(attacker.0.stdout.as_mut().unwrap(), &mut byte).unwrap();
        let pid = attacker.0.id();
        assert!(sh(&format!(
            "ip link set lo up && ip link add ours address 02:00:00:00:00:01 type veth peer name theirs address 02:00:00:00:00:02 netns {pid} && \
             ip addr add {OURS}/24 dev ours && ip addr add fd77::1/64 dev ours nodad && \
             ip link set ours up && \
             ip -6 neigh replace {THEIRS_6} lladdr 02:00:00:00:00:02 dev ours nud permanent"
        )));
        assert!(attacker.sh(&format!(
            "ip addr add {THEIRS}/24 dev theirs && ip addr add {THEIRS_6}/64 dev theirs nodad && \
             ip link set theirs up && \
             ip -6 neigh replace fd77::1 lladdr 02:00:00:00:00:01 dev theirs nud permanent"
        )));
        attacker
    }

    pub(crate) fn sh(&self, line: &str) -> bool {
        sh(&format!("nsenter --net=/proc/{}/ns/net sh -c '{line}'", self.0.id()))
    }

    /// SYNs to these ports, one after the other, as bash sends them.
    pub(crate) fn knock(&self, host: &str, ports: &[u16]) {
        for port in ports {
            self.sh(&format!("timeout 0.3 bash -c \"</dev/tcp/{host}/{port}\" 2>/dev/null; true"));
        }
    }

    /// Whether packets get through.
    pub(crate) fn reaches(&self, host: &str) -> bool {
        self.sh(&format!(
            "curl -g -s -o /dev/null --max-time 1 --connect-timeout 1 http://{host}:8077/"
        ))
    }

    pub(crate) fn reaches_within(&self, host: &str, seconds: u64, expected: bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            if self.reaches(host) == expected {
                return true;
            }
        }
        false
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Answers everybody who comes, by IPv4 and IPv6.
pub(crate) fn serve() {
    let listener = TcpListener::bind("[::]:8077").unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
}

/// A brute force attack of an address, as sshd logs it.
pub(crate) fn attack(log: &Path, address: &str) {
    let at = Timestamp::from(SystemTime::now());
    let line =
        format!("{at} web01 sshd[9]: Failed password for root from {address} port 4711 ssh2\n");
    append_text(log, line.repeat(8).as_bytes());
}

/// An agent that reads `log` and bans for so long.
pub(crate) fn enforcing(log: &Path, method: Method, ban: &str) -> Config {
    let mut detect = DetectConfig::default();
    detect.policy.ban = ban.parse().unwrap();
    detect.policy.jitter = 0.0;
    let enforce = EnforceConfig { method, ..EnforceConfig::default() };
    Config { detect, enforce, ..config(vec![file_source(log)]) }
}
