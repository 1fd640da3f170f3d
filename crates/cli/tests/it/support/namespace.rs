//! Network namespaces: machines with wires between them and firewalls of their
//! own, so that real packets are dropped there and nowhere else. A test runs
//! itself again inside of one.

#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::pause;

const INSIDE: &str = "PALISADE_TEST_INSIDE_NAMESPACE";

/// Runs the test of that name in a namespace of its own; `true` where this is
/// inside of it. `programs` must be there for the test.
pub(crate) fn inside(test: &str, programs: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        assert!(sh("ip link set lo up"));
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        // As in a container without privileges.
        eprintln!("not tested here: network namespaces are not allowed");
        return false;
    }
    if let Some(missing) = programs.iter().find(|name| !sh(&format!("command -v {name}"))) {
        eprintln!("not tested here: {missing} is missing");
        return false;
    }
    let output = unshare()
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

/// Whether a line of the shell ends well; nothing of it is shown.
pub(crate) fn sh(line: &str) -> bool {
    let (input, output) = (Stdio::null(), Stdio::null());
    Command::new("sh").args(["-c", line]).stdin(input).stdout(output).status().unwrap().success()
}

/// Another machine.
pub(crate) struct Host(Child);

impl Host {
    pub(crate) fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It answers once it is in its namespace.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let host = Self(child);
        assert!(host.sh("ip link set lo up"));
        host
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lays a wire named `wire` from the machine of the test to this one.
    pub(crate) fn wire(&self, wire: &str, ours: &str, theirs: &str) {
        let pid = self.pid();
        assert!(sh(&format!(
            "ip link add {wire} type veth peer name {wire} netns {pid} && ip addr add {ours} dev {wire} && ip link set {wire} up"
        )));
        assert!(self.sh(&format!("ip addr add {theirs} dev {wire} && ip link set {wire} up")));
    }

    /// Lays a wire to another machine.
    pub(crate) fn wire_to(&self, other: &Self, wire: &str, here: &str, there: &str) {
        let pid = other.pid();
        assert!(self.sh(&format!(
            "ip link add {wire} type veth peer name {wire} netns {pid} && ip addr add {here} dev {wire} && ip link set {wire} up"
        )));
        assert!(other.sh(&format!("ip addr add {there} dev {wire} && ip link set {wire} up")));
    }

    pub(crate) fn sh(&self, line: &str) -> bool {
        sh(&format!("nsenter --net=/proc/{}/ns/net sh -c '{line}'", self.pid()))
    }

    /// A program on this machine.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg(program.as_ref());
        command
    }

    /// Whether packets of this machine reach another one: a port where nobody
    /// listens answers at once that it is closed, a firewall that drops does not.
    /// `from` is the address to come from.
    pub(crate) fn reaches(&self, target: &str, from: &str) -> bool {
        let status = self
            .command("curl")
            .args(["-g", "-s", "-o", "/dev/null", "--max-time", "1", "--interface", from])
            .arg(format!("http://{target}:8077/"))
            .status();
        // 0: answered, 7: refused; 28: no answer in time.
        matches!(status.unwrap().code(), Some(0 | 7 | 52))
    }

    /// Waits until its packets get through, or are dropped.
    pub(crate) fn wait_reaches(&self, (target, from): (&str, &str), expected: bool, why: &str) {
        let begun = Instant::now();
        while self.reaches(target, from) != expected {
            assert!(begun.elapsed() < Duration::from_secs(30), "{why}");
            pause();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
