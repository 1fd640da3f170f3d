//! Knocking, with real packets: who is banned sends SYNs to closed ports. The
//! tests run themselves again in a network namespace.
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

use palisade_agent::{
    Config, DetectConfig, EnforceConfig, KnockConfig, KnockSecret, Method, knock_step,
};
use palisade_event::{EventKind, Timestamp};
use support::{MemoryHub, Mood, Running, append_text, config, file_source};

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

    fn sh(&self, line: &str) -> bool {
        sh(&format!("nsenter --net=/proc/{}/ns/net sh -c '{line}'", self.0.id()))
    }

    /// SYNs to these ports, one after the other, as bash sends them.
    fn knock(&self, host: &str, ports: &[u16]) {
        for port in ports {
            self.sh(&format!("timeout 0.3 bash -c \"</dev/tcp/{host}/{port}\" 2>/dev/null; true"));
        }
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

fn knocking(log: &Path, knock: KnockConfig) -> Config {
    Config { knock: Some(knock), ..enforcing(log, Method::Nftables, "1h") }
}

/// The agent with an attacker who is banned, and its log.
async fn banned(folder: &Path, knock: KnockConfig) -> (Attacker, MemoryHub, Running, Config) {
    serve();
    let attacker = Attacker::new();
    let log = folder.join("auth.log");
    append_text(&log, b"");
    let hub = MemoryHub::new(Mood::Takes);
    let config = knocking(&log, knock);
    let running = Running::start(&config, &folder.join("data"), hub.clone()).await;
    attack(&log, THEIRS);
    attack(&log, THEIRS_6);
    assert!(
        attacker.reaches_within(OURS, 10, false) && attacker.reaches_within("[fd77::1]", 10, false)
    );
    (attacker, hub, running, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knocks_in_the_right_order_is_let_in_though_banned() {
    if !inside("who_knocks_in_the_right_order_is_let_in_though_banned") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let knock = KnockConfig { sequence: vec![7102, 18_820, 9431], ..KnockConfig::default() };
    let (attacker, hub, running, config) = banned(folder.path(), knock).await;
    for wrong in [
        &[18_820, 7102, 9431][..],
        &[7102, 18_820, 5555, 9431],
        &[7102, 9431, 18_820],
        &[7102, 18_820],
    ] {
        attacker.knock(OURS, wrong);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!attacker.reaches(OURS), "{wrong:?}");
    }
    // The last one was a beginning: a wrong port ends it.
    attacker.knock(OURS, &[5555, 9431]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches(OURS));
    attacker.knock(OURS, &[7102, 7102, 18_820, 9431]);
    assert!(attacker.reaches_within(OURS, 10, true), "a SYN that is sent twice is no wrong one");
    assert!(!attacker.reaches("[fd77::1]"), "the other address has not knocked");
    attacker.knock("fd77::1", &[7102, 18_820, 9431]);
    assert!(attacker.reaches_within("[fd77::1]", 10, true));
    // Spared now, and after a restart.
    let log = folder.path().join("auth.log");
    attack(&log, THEIRS);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(attacker.reaches(OURS));
    running.end().await;
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    attack(&log, THEIRS);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(attacker.reaches(OURS), "a restart forgets nobody");
    running.end().await;
    assert_eq!(hub.of(EventKind::KnockAccepted).len(), 2);
    assert!(!sh("nft list table inet palisade_knock 2>/dev/null"), "our table goes with us");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_time_sequence_opens_once() {
    if !inside("a_one_time_sequence_opens_once") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, KnockSecret::generate()).unwrap();
    let secret = KnockSecret::read(&file).unwrap();
    let knock = KnockConfig { secret_file: Some(file), ..KnockConfig::default() };
    let (attacker, hub, running, config) = banned(folder.path(), knock).await;
    let now = || knock_step(Timestamp::from(SystemTime::now()));
    attacker.knock(OURS, &secret.ports(now() - 5));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches(OURS), "its time is over");
    let step = now();
    let heard = secret.ports(step);
    attacker.knock(OURS, &heard);
    assert!(attacker.reaches_within(OURS, 10, true));
    // Whoever heard it knocks the same from another address.
    attacker.knock("fd77::1", &heard);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches("[fd77::1]"), "each sequence counts once");
    running.end().await;
    let running = Running::start(&config, &folder.path().join("data"), hub.clone()).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    attacker.knock("fd77::1", &heard);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!attacker.reaches("[fd77::1]"), "also after a restart");
    // The next one is another.
    attacker.knock("fd77::1", &secret.ports(step + 1));
    if now() <= step + 2 {
        assert!(attacker.reaches_within("[fd77::1]", 10, true));
    }
    running.end().await;
    let told = hub.of(EventKind::KnockAccepted);
    assert!(
        told.iter().all(|event| format!("{:?}", event.attributes["method"]).contains("one-time"))
    );
    assert!(!told.is_empty());
}
