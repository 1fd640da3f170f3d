//! Bans in the kernel, with real packets: this host and an attacker, each in a
//! network namespace of its own. The tests run themselves again inside of one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests: a failure is a panic"
)]

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use palisade_agent::{Config, DetectConfig, EnforceConfig, Method, flush_enforced};
use palisade_event::Timestamp;
use support::{MemoryHub, Mood, Running, append_text, config, file_source, until};

const INSIDE: &str = "PALISADE_TEST_INSIDE_NAMESPACE";
const OURS: &str = "10.77.0.1";
const THEIRS: &str = "10.77.0.2";
const THEIRS_6: &str = "fd77::2";

/// Runs the test of that name in a namespace; `true` where this is inside.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let allowed = Command::new("unshare").args(["--map-root-user", "--net", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        // As in a container without privileges.
        eprintln!("not tested here: network namespaces are not allowed");
        return false;
    }
    let status = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside of its namespace");
    false
}

fn sh(line: &str) -> bool {
    Command::new("sh").args(["-c", line]).stdin(Stdio::null()).status().unwrap().success()
}

/// Another machine on a wire to this one.
struct Attacker(Child);

impl Attacker {
    fn new() -> Self {
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
            "ip link set lo up && ip link add ours type veth peer name theirs netns {pid} && \
             ip addr add {OURS}/24 dev ours && ip addr add fd77::1/64 dev ours nodad && \
             ip link set ours up"
        )));
        assert!(attacker.sh(&format!(
            "ip addr add {THEIRS}/24 dev theirs && ip addr add {THEIRS_6}/64 dev theirs nodad && \
             ip link set theirs up"
        )));
        attacker
    }

    fn sh(&self, line: &str) -> bool {
        sh(&format!("nsenter --net=/proc/{}/ns/net sh -c '{line}'", self.0.id()))
    }

    /// Whether packets get through.
    fn reaches(&self, host: &str) -> bool {
        self.sh(&format!(
            "curl -g -s -o /dev/null --max-time 1 --connect-timeout 1 http://{host}:8077/"
        ))
    }

    fn reaches_within(&self, host: &str, seconds: u64, expected: bool) -> bool {
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
fn serve() {
    let listener = TcpListener::bind("[::]:8077").unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
}

fn attack(log: &Path, address: &str) {
    let at = Timestamp::from(SystemTime::now());
    let line =
        format!("{at} web01 sshd[9]: Failed password for root from {address} port 4711 ssh2\n");
    append_text(log, line.repeat(8).as_bytes());
}

fn enforcing(log: &Path, method: Method, ban: &str) -> Config {
    let mut detect = DetectConfig::default();
    detect.policy.ban = ban.parse().unwrap();
    detect.policy.jitter = 0.0;
    let enforce = EnforceConfig { method, ..EnforceConfig::default() };
    Config { detect, enforce, ..config(vec![file_source(log)]) }
}

async fn packets_stop_and_come_back(method: Method, wipe: &str) {
    serve();
    let attacker = Attacker::new();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    append_text(&log, b"");
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "nobody is banned yet");

    // A short ban ends by itself.
    let hub = MemoryHub::new(Mood::Takes);
    let data = folder.path().join("short");
    let running = Running::start(&enforcing(&log, method, "4s"), &data, hub.clone()).await;
    attack(&log, THEIRS);
    assert!(attacker.reaches_within(OURS, 10, false), "packets of the banned address stop");
    assert!(attacker.reaches_within("[fd77::1]", 10, true), "other addresses are not touched");
    assert!(attacker.reaches_within(OURS, 20, true), "and come back when the ban is over");
    running.end().await;

    // A long one outlives what others do to the firewall, and a crash.
    let config = enforcing(&log, method, "1h");
    let data = folder.path().join("long");
    let running = Running::start(&config, &data, hub.clone()).await;
    attack(&log, THEIRS);
    attack(&log, THEIRS_6);
    assert!(attacker.reaches_within(OURS, 10, false));
    assert!(attacker.reaches_within("[fd77::1]", 10, false), "IPv6 as well");
    let metrics = running.agent.metrics();
    assert!(sh(wipe));
    until(|| metrics.enforce_mended.get() > 0, || "somebody has flushed the firewall".into()).await;
    assert!(attacker.reaches_within(OURS, 20, false), "it is mended");
    assert_eq!(metrics.enforce_held.get(), 2);

    // A second agent does not meddle.
    let other = Running::start(&config, &folder.path().join("other"), hub.clone()).await;
    let refused = other.agent.metrics();
    until(|| refused.enforce_failures.get() > 0, || "the second is refused".into()).await;
    other.end().await;
    assert!(!attacker.reaches(OURS));

    running.crash();
    assert!(!attacker.reaches(OURS), "a crash lets nobody in");
    assert!(sh(wipe));
    assert!(attacker.reaches(OURS));
    let running = Running::start(&config, &data, hub.clone()).await;
    assert!(attacker.reaches_within(OURS, 10, false), "what is in force comes back at the start");
    running.end().await;

    flush_enforced(&config.enforce, &data).await.unwrap();
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "our rules are gone");
    flush_enforced(&config.enforce, &data).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nftables_keeps_packets_out() {
    if inside("nftables_keeps_packets_out") {
        packets_stop_and_come_back(Method::Nftables, "nft flush ruleset").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipset_keeps_packets_out() {
    if inside("ipset_keeps_packets_out") {
        packets_stop_and_come_back(
            Method::Ipset,
            "iptables -F && ip6tables -F && ipset destroy palisade4 && ipset destroy palisade6",
        )
        .await;
    }
}

/// Ubuntu's firewall, whose files are the namespace's own copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ufw_keeps_packets_out() {
    if !inside("ufw_keeps_packets_out") {
        return;
    }
    assert!(sh("command -v ufw"), "ufw is missing; `make test` installs it");
    let folder = tempfile::tempdir().unwrap();
    let copies = folder.path().display();
    for path in ["/etc/ufw", "/etc/default"] {
        assert!(sh(&format!(
            "mkdir -p {copies}{path} && cp -a {path}/. {copies}{path}/ && mount --bind {copies}{path} {path}"
        )));
    }
    assert!(sh("mount -t tmpfs none /run"));
    assert!(sh("(ufw --force enable && ufw default allow incoming) > /dev/null"));
    serve();
    let attacker = Attacker::new();
    let log = folder.path().join("auth.log");
    append_text(&log, b"");
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "nobody is banned yet");
    let hub = MemoryHub::new(Mood::Takes);
    let data = folder.path().join("data");
    let running = Running::start(&enforcing(&log, Method::Ufw, "5s"), &data, hub.clone()).await;
    attack(&log, THEIRS);
    assert!(attacker.reaches_within(OURS, 10, false), "packets of the banned address stop");
    assert!(attacker.reaches_within("[fd77::1]", 10, true), "other addresses are not touched");
    assert!(attacker.reaches_within(OURS, 20, true), "the rule goes when the ban is over");
    running.end().await;

    let config = enforcing(&log, Method::Ufw, "1h");
    let data = folder.path().join("long");
    let running = Running::start(&config, &data, hub.clone()).await;
    attack(&log, THEIRS);
    attack(&log, THEIRS_6);
    assert!(attacker.reaches_within(OURS, 10, false));
    assert!(attacker.reaches_within("[fd77::1]", 10, false), "IPv6 as well");
    running.crash();
    let running = Running::start(&config, &data, hub.clone()).await;
    let metrics = running.agent.metrics();
    until(|| metrics.enforce_held.get() == 2, || "both are known after a crash".into()).await;
    running.end().await;
    assert!(!attacker.reaches(OURS), "and still kept out");
    flush_enforced(&config.enforce, &data).await.unwrap();
    assert!(attacker.reaches(OURS) && attacker.reaches("[fd77::1]"), "our rules are gone");
}
