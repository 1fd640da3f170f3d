//! The honeypots' process: what it may not do, and what happens when it or its
//! parent dies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use support::{BINARY, PATIENCE, Palisade, wait};

/// What an intruder would try, and whether root alone can do it at all.
const ATTEMPTS: &[(&str, bool)] = &[
    ("read-file", false),
    ("list-folder", false),
    ("write-file", false),
    ("execute", false),
    ("become-root", true),
    ("trace", false),
    // The parent of the test belongs to root where another user tries.
    ("signal", true),
    ("connect", false),
    ("bind", false),
    ("send-udp", false),
    ("local-socket", false),
    ("new-process", false),
    ("change-filter", false),
];
/// Exit code of an attempt that was refused.
const REFUSED: i32 = 10;
const SIGSYS: i32 = 31;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn attempt(what: &str, more: &[&str], uid: Option<u32>) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["zone", "--try", what]).args(more).current_dir("/");
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command.output().unwrap()
}

fn was_refused(status: ExitStatus) -> bool {
    status.code() == Some(REFUSED) || status.signal() == Some(SIGSYS)
}

#[test]
fn a_confined_process_is_refused_what_one_that_is_not_may_do() {
    // As root, which becomes another user, and as somebody without rights.
    let users: &[Option<u32>] = if is_root() { &[None, Some(4_321)] } else { &[None] };
    for uid in users {
        let root = uid.is_none() && is_root();
        let about = attempt("nothing", &[], *uid);
        assert!(about.status.success(), "{about:?}");
        let about: serde_json::Value = serde_json::from_slice(&about.stdout).unwrap();
        assert_eq!(about["seccomp"], true);
        assert_ne!(about["uid"], 0);
        for (what, by_root) in ATTEMPTS {
            let output = attempt(what, &[], *uid);
            assert!(was_refused(output.status), "{what} as {uid:?}: {output:?}");
            if root || !by_root {
                let output = attempt(what, &["--unconfined"], *uid);
                assert!(output.status.success(), "{what} as {uid:?} shows nothing: {output:?}");
            }
        }
    }
}

/// Value of a line such as `Seccomp:\t2` of `/proc/PID/status`.
fn status_of(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.split(':').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name}: {status}")).split_once(':').unwrap().1.trim().to_owned()
}

/// The zone that a parent has now.
fn zone_of(parent: u32) -> Option<u32> {
    let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let is = |name: &str, value: &str| {
            status.lines().any(|line| line.split_once(':') == Some((name, value)))
        };
        // A thread filters calls once it is confined; a dead one is no zone.
        (is("PPid", &format!("\t{parent}")) && is("Seccomp", "\t2") && !status.contains("(zombie)"))
            .then_some(pid)
    });
    children.max()
}

/// One failed login, told apart by its password.
fn log_in(telnet: SocketAddr, password: &str) {
    let mut stream = TcpStream::connect(telnet).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut until = |end: &[u8]| {
        let mut seen = Vec::new();
        while !seen.ends_with(end) {
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
    };
    until(b"login: ");
    stream.write_all(b"root\r\n").unwrap();
    until(b"assword: ");
    stream.write_all(format!("{password}\r\n").as_bytes()).unwrap();
    // What is answered was told before.
    until(b"login: ");
}

const QUICK_TELNET: &str =
    "telnet = { accept = \"never\", weak_credentials = false, fail_delay_ms = 0 }\n";

/// Settings with a telnet honeypot that answers at once.
fn settings(home: &Path, more: &str) {
    let kind = "type = \"telnet\"\n";
    let text = support::settings(home).replace(kind, &format!("{kind}{QUICK_TELNET}"));
    fs::write(home.join("palisade.toml"), format!("{text}\n{more}")).unwrap();
}

#[test]
fn a_root_of_a_namespace_without_other_users_is_confined_too() {
    let mut command = Command::new("unshare");
    let there = command.args(["--map-root-user", "true"]).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("not tested here: user namespaces are not allowed");
        return;
    }
    let inside = |what: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", BINARY, "zone", "--try", what]).current_dir("/");
        command.output().unwrap()
    };
    let about: serde_json::Value = serde_json::from_slice(&inside("nothing").stdout).unwrap();
    assert_eq!((&about["uid"], &about["seccomp"]), (&0.into(), &true.into()));
    assert!(about["missing"][0].as_str().unwrap().contains("no other users"), "{about}");
    for (what, _) in ATTEMPTS {
        let output = inside(what);
        assert!(was_refused(output.status), "{what}: {output:?}");
    }
}

#[test]
fn the_zone_has_no_rights_and_is_replaced_when_it_is_killed() {
    let home = tempfile::tempdir().unwrap();
    // A port that root alone may bind, on an address that no other test has.
    let [.., high, low] = std::process::id().to_be_bytes();
    let privileged = SocketAddr::from(([127, 1, high, low], 923));
    let more = format!(
        "[[honeypot.services]]\ntype = \"telnet\"\nlisten = \"{privileged}\"\n{QUICK_TELNET}"
    );
    settings(home.path(), if is_root() { &more } else { "" });
    let palisade = Palisade::up(home.path());
    let parent = palisade.child.id();
    let zone = zone_of(parent).expect("a zone");
    assert_eq!(status_of(zone, "NoNewPrivs"), "1");
    assert_eq!(status_of(zone, "Seccomp"), "2");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_of(zone, set).trim_matches('0'), "", "{set}");
    }
    if is_root() {
        let nobody = status_of(zone, "Uid");
        assert!(nobody.split('\t').all(|uid| uid == "65534"), "{nobody}");
        assert!(status_of(zone, "Gid").split('\t').all(|gid| gid == "65534"));
        assert_eq!(status_of(zone, "Groups"), "");
        assert_eq!(status_of(zone, "CapBnd").trim_matches('0'), "");
    }
    // No threads of the parent, none before it was confined.
    for thread in fs::read_dir(format!("/proc/{zone}/task")).unwrap() {
        let thread: u32 = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        assert_eq!(status_of(thread, "Seccomp"), "2");
    }

    if is_root() {
        log_in(privileged, "low");
        palisade.wait_count("password:low", 1);
    }
    let telnet = palisade.telnet();
    log_in(telnet, "before");
    palisade.wait_count("password:before", 1);
    kill(zone, "KILL");
    // Nobody is turned away meanwhile.
    log_in(telnet, "after");
    palisade.wait_count("password:after", 1);
    let another = wait("another zone", || zone_of(parent));
    assert_ne!(another, zone);
    let failed = palisade.first("kind:sensor.failed");
    assert_eq!(failed["attributes"]["signal"], 9);
    assert_eq!(failed["attributes"]["process"], "honeypots");
    assert_eq!(failed["sensor"], "test-1");
    assert!(palisade.errors().contains("the process of the honeypots ended by itself"));
    // The other way round: the zone ends with its parent.
    palisade.kill();
    wait("the zone ends", || (!Path::new(&format!("/proc/{another}")).exists()).then_some(()));
    let again = Palisade::up(home.path());
    again.wait_count("password:after", 1);
    // It says that the newest events may be lost, and how many at most.
    again.wait_count("kind:sensor.failed", 2);
    let failures = again.query("kind:sensor.failed");
    let undrained = |event: &&serde_json::Value| event["attributes"]["at_most"] == 1_536;
    assert_eq!(failures.iter().filter(undrained).count(), 1, "{failures:?}");
    let zone = zone_of(again.child.id()).unwrap();
    assert_eq!(again.terminate(), Some(0));
    assert!(!home.path().join("data/honeypots.running").exists());
    assert!(!Path::new(&format!("/proc/{zone}")).exists());
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn while_the_parent_stands_still_attackers_wait_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    settings(home.path(), "[honeypot.limits]\nconnections_per_address = 4096\n");
    let palisade = Palisade::up(home.path());
    let telnet = palisade.telnet();
    palisade.signal("STOP");
    // More than the queues between them hold: of a session there are three
    // events, and 1,024 may be on their way.
    let sessions = 600;
    let done = AtomicU64::new(0);
    let done = &done;
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                for number in 0..sessions / 8 {
                    log_in(telnet, &format!("c{client}n{number}"));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut seen = (0, 0);
        wait("no login is answered any more", || {
            let now = done.load(Ordering::Relaxed);
            seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
            (now > 0 && seen.1 == 20).then_some(())
        });
        assert!(seen.0 < sessions, "all were answered, with nobody to take the events");
        palisade.signal("CONT");
    });
    palisade.wait_count("kind:auth.attempted", sessions);
    palisade.wait_count("kind:connection.opened", sessions);
    palisade.wait_count("kind:session.closed", sessions);
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn a_file_of_an_attacker_is_kept_whole() {
    let home = tempfile::tempdir().unwrap();
    settings(home.path(), "");
    let config = home.path().join("palisade.toml");
    let text = fs::read_to_string(&config).unwrap().replace("\"never\"", "\"always\"");
    fs::write(&config, text).unwrap();
    let palisade = Palisade::up(home.path());
    let typed = b"root\r\nx\r\ndd if=/dev/zero of=/tmp/big bs=1024 count=200\r\nexit\r\n";
    // Once in pieces, then by its hash alone.
    for sessions in 1..=2 {
        let mut stream = TcpStream::connect(palisade.telnet()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(typed).unwrap();
        let mut shown = Vec::new();
        let _ = stream.read_to_end(&mut shown);
        palisade.wait_count("kind:session.closed", sessions);
    }
    let captured = palisade.query("kind:payload.captured");
    assert_eq!(captured.len(), 2, "{captured:?}");
    // sha256sum of 204,800 zero bytes.
    let hash = "8eafc7bd411c1f02b9e972a83d2b0a4164eefc5ef51e6b63ad7acc78be4ad44f";
    for event in &captured {
        assert_eq!(event["payload"], hash);
        assert_eq!(event["attributes"]["size"], 204_800);
        for left in ["contents", "truncated", "parts"] {
            assert!(event["attributes"].get(left).is_none(), "{left}: {event}");
        }
    }
    let file = home.path().join(format!("data/hub/payloads/{}/{hash}", &hash[..2]));
    assert_eq!(fs::read(file).unwrap(), vec![0; 204_800]);
    assert_eq!(palisade.count("kind:payload.part"), 0);
    assert_eq!(palisade.terminate(), Some(0));
}
