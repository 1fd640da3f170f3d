//! Scans of real scanners over a wire between two machines: each is one event
//! with what it did, and the services stay up. Other packets that a firewall has
//! to bring: the catch-all with its rules as shipped.

use crate::support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::namespace::{Host, inside, sh};
use support::{BINARY, PATIENCE, Palisade, read_until, wait};

/// The sensor, and the addresses of who scans it.
const SENSOR: &str = "10.80.1.1";
const SCANNERS: [&str; 9] = [
    "10.80.1.10",
    "10.80.1.11",
    "10.80.1.12",
    "10.80.1.13",
    "10.80.1.14",
    "10.80.1.15",
    "10.80.1.16",
    "10.80.1.17",
    "10.80.1.18",
];

/// A sensor on the machine of the test, and another that scans it.
struct Wire {
    home: tempfile::TempDir,
    other: Host,
}

impl Wire {
    fn new() -> Self {
        let other = Host::new();
        other.wire("s-x", &format!("{SENSOR}/24"), &format!("{}/24", SCANNERS[0]));
        for address in SCANNERS.iter().skip(1) {
            assert!(other.sh(&format!("ip addr add {address}/24 dev s-x")));
        }
        Self { home: tempfile::tempdir().unwrap(), other }
    }

    fn up(&self, more: &str) -> Palisade {
        let home = self.home.path();
        let service = |kind: &str, port: u16| {
            format!("[[honeypot.services]]\ntype = \"{kind}\"\nlisten = \"{SENSOR}:{port}\"\n")
        };
        let services = [service("ssh", 22), service("telnet", 23), service("http", 80)].concat();
        let text = format!(
            "data = \"{}/data\"\nsensor = \"s\"\n[[api.listeners]]\naddress = \"127.0.0.1:0\"\ntls = false\n{services}[honeypot.scans]\nquiet_secs = 12\n[honeypot.limits]\nconnections_per_address = 1000\n{more}",
            home.display()
        );
        fs::write(home.join("palisade.toml"), text).unwrap();
        Palisade::up(home)
    }

    /// Runs a program of the other machine, which comes from `address`.
    fn from(&self, address: &str, program: &str, arguments: &[&str]) -> String {
        let route = format!("ip route replace {SENSOR}/32 dev s-x src {address}");
        assert!(self.other.sh(&route));
        let output = self.other.command(program).args(arguments).output().unwrap();
        let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {shown}");
        shown
    }
}

/// The one scan of an address.
fn scan(palisade: &Palisade, address: &str) -> Value {
    palisade.first(&format!("kind:scan.detected ip:{address}"))
}

fn kinds(scan: &Value) -> Vec<&str> {
    scan["attributes"]["kinds"].as_str().unwrap().split(',').collect()
}

fn port_count(scan: &Value) -> u64 {
    scan["attributes"]["port_count"].as_u64().unwrap()
}

#[test]
fn each_scan_of_nmap_is_one_event_and_the_services_stay_up() {
    if !inside("scans::each_scan_of_nmap_is_one_event_and_the_services_stay_up", &["nmap", "nping"])
    {
        return;
    }
    let wire = Wire::new();
    let palisade = wire.up("[honeypot.capture]\ninterface = \"any\"\n");
    let nmap = |scanner: usize, arguments: &str| {
        let mut all = vec!["-Pn", "-n", "--max-retries", "2"];
        all.extend(arguments.split(' '));
        all.push(SENSOR);
        wire.from(SCANNERS[scanner], "nmap", &all)
    };
    let shown = nmap(0, "-sS -p 1-1000");
    assert!(shown.contains("23/tcp open"), "{shown}");
    nmap(1, "-sT -p 1-1000");
    nmap(2, "-sV -p 22,23,80");
    nmap(3, "-A --max-os-tries 1 -p 23,80,81");
    nmap(4, "-p- -T5 --min-rate 5000");
    nmap(5, "-sX -p 1-50");
    nmap(6, "-sN -p 23");
    // As Mirai's scanner and its kind: the sequence number is the address.
    let sequence = u32::from_be_bytes([10, 80, 1, 1]).to_string();
    let mirai = ["--tcp", "--flags", "syn", "--seq", &sequence, "-p", "23", "-c", "1", SENSOR];
    wire.from(SCANNERS[7], "nping", &mirai);
    // Who comes for a page is no scan.
    wire.from(SCANNERS[8], "curl", &["-s", &format!("http://{SENSOR}/")]);

    let half_open = scan(&palisade, SCANNERS[0]);
    assert_eq!(kinds(&half_open), ["half-open", "syn"]);
    // Packets beyond the room that the kernel has for them are not seen.
    assert!((900..=1_000).contains(&port_count(&half_open)), "{half_open}");
    assert_eq!(half_open["attributes"]["tool"], "nmap SYN scan");
    assert_eq!(half_open["attributes"]["reason"], "unanswered");
    assert_eq!(half_open["attributes"]["spoofable"], true);
    let connect = scan(&palisade, SCANNERS[1]);
    assert_eq!(kinds(&connect), ["syn", "connect"]);
    assert!((900..=1_000).contains(&port_count(&connect)), "{connect}");
    assert_eq!(connect["attributes"]["reason"], "connected");
    let versions = scan(&palisade, SCANNERS[2]);
    assert!(kinds(&versions).contains(&"version-detection"), "{versions}");
    assert_eq!(versions["attributes"]["ports"], "22-23,80");
    let everything = scan(&palisade, SCANNERS[3]);
    for kind in ["syn", "connect", "os-detection", "version-detection", "script"] {
        assert!(kinds(&everything).contains(&kind), "{kind}: {everything}");
    }
    let all = scan(&palisade, SCANNERS[4]);
    assert!(port_count(&all) > 50_000, "{all}");
    assert!(kinds(&scan(&palisade, SCANNERS[5])).contains(&"xmas"));
    assert!(kinds(&scan(&palisade, SCANNERS[6])).contains(&"null"));
    let mirai = scan(&palisade, SCANNERS[7]);
    assert_eq!((&mirai["attributes"]["tool"], port_count(&mirai)), (&"Mirai".into(), 1));
    assert_eq!(mirai["target"]["port"], 23);

    // One of each, none of the visitor's, and the ban is for those that are real.
    palisade.wait_count("kind:scan.detected", 8);
    assert_eq!(palisade.count(&format!("kind:scan.detected ip:{}", SCANNERS[8])), 0);
    let alerts = |address: &str| {
        let all = palisade.query(&format!("kind:scenario.triggered ip:{address}"));
        all.iter().filter(|alert| alert["attributes"]["scenario"] == "scan").count()
    };
    wait("the scan is an alert", || (alerts(SCANNERS[1]) == 1).then_some(()));
    assert_eq!(alerts(SCANNERS[0]), 0, "it may have been somebody else");
    assert_eq!(palisade.count("kind:sensor.failed"), 0);
    let page = wire.from(SCANNERS[8], "curl", &["-s", &format!("http://{SENSOR}/")]);
    assert!(page.contains("<html") || page.contains("<HTML"), "{page}");
    assert!(!palisade.errors().contains("panicked"), "{}", palisade.errors());
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn packets_that_the_kernel_drops_before_they_are_seen_are_counted() {
    let name = "scans::packets_that_the_kernel_drops_before_they_are_seen_are_counted";
    if !inside(name, &["nmap", "curl", "pgrep"]) {
        return;
    }
    let wire = Wire::new();
    let palisade = wire.up("[honeypot.capture]\ninterface = \"any\"\n");
    let key = palisade.cli(&["key", "add", "metrics", "--scope", "read"]);
    let key = format!("Authorization: Bearer {}", String::from_utf8(key.stdout).unwrap().trim());
    let place = format!("http://{}/metrics", palisade.http_api());
    let dropped = || -> u64 {
        let shown = Command::new("curl").args(["-s", "-H", &key, &place]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let name = "palisade_honeypot_packets_dropped_total ";
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{shown}")).parse().unwrap()
    };
    assert_eq!(dropped(), 0);
    // The kernel answers while nobody takes what was captured.
    let zone = format!("pgrep -P {} palisade-zone || pgrep -P {0}", palisade.child.id());
    assert!(sh(&format!("kill -STOP $({zone})")));
    wire.from(
        SCANNERS[0],
        "nmap",
        &["-Pn", "-n", "-sS", "-p-", "-T5", "--min-rate", "20000", SENSOR],
    );
    assert!(sh(&format!("kill -CONT $({zone})")));
    let count = wait("drops are counted", || Some(dropped()).filter(|count| *count > 0));
    assert!(count <= 200_000, "{count}");
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn without_capture_a_scan_is_told_by_what_connected() {
    if !inside("scans::without_capture_a_scan_is_told_by_what_connected", &["nmap"]) {
        return;
    }
    let wire = Wire::new();
    let more: String = (1_000..1_010)
        .map(|port| {
            format!("[[honeypot.services]]\ntype = \"tcp\"\nlisten = \"{SENSOR}:{port}\"\n")
        })
        .collect();
    let palisade = wire.up(&more);
    wire.from(SCANNERS[0], "nmap", &["-Pn", "-n", "-sT", "-p", "1000-1009", SENSOR]);
    wire.from(SCANNERS[1], "nmap", &["-Pn", "-n", "-sS", "-p", "1-100", SENSOR]);
    let connected = scan(&palisade, SCANNERS[0]);
    assert_eq!((kinds(&connected), port_count(&connected)), (vec!["connect"], 10));
    // What is left when it ends is told, too: two ports of a third are none.
    for port in ["22", "23"] {
        let mut telnet = wire.other.command("nc");
        let quick = ["-z", "-w", "2", "-s", SCANNERS[2], SENSOR, port];
        assert!(telnet.args(quick).status().unwrap().success());
    }
    palisade.wait_count(&format!("kind:session.closed ip:{}", SCANNERS[2]), 2);
    assert_eq!(palisade.terminate(), Some(0));
    let again = Palisade::up(wire.home.path());
    assert_eq!(again.count("kind:scan.detected"), 1);
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn a_capture_that_cannot_be_is_named_in_one_sentence() {
    let home = tempfile::tempdir().unwrap();
    let mut text = support::settings(home.path());
    text.push_str("[honeypot.capture]\ninterface = \"none-such\"\n");
    fs::write(home.path().join("palisade.toml"), &text).unwrap();
    let up = || {
        // Root has all rights but this one; nobody else has it.
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", BINARY]);
                command
            }
            false => Command::new(BINARY),
        };
        let output = command
            .args(["up", "--config", "palisade.toml"])
            .current_dir(home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let shown = up();
    let sentence = "[honeypot.capture] interface 'none-such': this machine has none of that name";
    assert!(shown.contains(sentence), "{shown}");
    fs::write(home.path().join("palisade.toml"), text.replace("none-such", "any")).unwrap();
    let shown = up();
    assert!(shown.contains("[honeypot.capture] needs the right CAP_NET_RAW"), "{shown}");
}

#[test]
fn the_catch_all_behind_its_rules_gets_every_port_that_is_not_served() {
    let name = "scans::the_catch_all_behind_its_rules_gets_every_port_that_is_not_served";
    if !inside(name, &["nft", "nc"]) {
        return;
    }
    let wire = Wire::new();
    let more = "[[honeypot.services]]\ntype = \"catch-all\"\nlisten = \"[::]:64999\"\n";
    let palisade = wire.up(more);
    let shipped =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/nftables/catch-all.nft");
    let rules = wire.home.path().join("catch-all.nft");
    let text = fs::read_to_string(shipped).unwrap();
    let adapted = text.replace("{ 22, 80, 443, 8443 }", "{ 22, 23, 80 }");
    assert_ne!(adapted, text);
    fs::write(&rules, adapted).unwrap();
    if !sh(&format!("nft -f {}", rules.display())) {
        eprintln!("not tested here: this kernel's nftables has no redirect");
        return;
    }
    let send = |port: &str, bytes: &str| {
        let line = format!("printf \"{bytes}\" | nc -w 2 -q 1 {SENSOR} {port}");
        // How it ends does not matter.
        wire.other.sh(&line);
    };
    send("7777", "GET / HTTP/1.0\\r\\n\\r\\n");
    send("6379", "PING\\r\\n");
    let http = palisade.first("kind:connection.opened port:7777");
    assert_eq!(http["target"]["address"], SENSOR);
    let redis = palisade.first("kind:data.received port:6379");
    assert_eq!(redis["attributes"]["protocol"], "redis");
    // Its own port is no door, and what is served stays what it was.
    let direct = wire.other.command("nc").args(["-z", "-w", "1", SENSOR, "64999"]).status();
    assert!(!direct.unwrap().success());
    assert_eq!(palisade.count("port:64999"), 0);
    let mut telnet = wire.other.command("nc");
    let mut telnet =
        telnet.args([SENSOR, "23"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut greeting = [0; 12];
    telnet.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
    assert_eq!(greeting[0], 0xff);
    telnet.kill().unwrap();
    telnet.wait().unwrap();
    assert!(sh("nft delete table inet palisade_catch_all"));
    let closed = wire.other.command("nc").args(["-z", "-w", "1", SENSOR, "7777"]).status();
    assert!(!closed.unwrap().success(), "taken back");
    assert_eq!(palisade.terminate(), Some(0));
}

/// The address of a service of this kind, as it was printed.
fn place(palisade: &Palisade, label: &str) -> SocketAddr {
    let line = palisade.wait_printed(label);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn datagrams_tarpits_and_ranges_are_served_from_within_the_zone() {
    let home = tempfile::tempdir().unwrap();
    // A range that is free: the system chooses ports one at a time.
    let [.., high, low] = std::process::id().to_be_bytes();
    let there = format!("127.2.{high}.{low}");
    let text = format!(
        r#"{}
[[honeypot.services]]
type = "udp"
listen = "127.0.0.1:0"
udp = {{ echo = true }}
[[honeypot.services]]
type = "ssh"
listen = "127.0.0.1:0"
tarpit = true
tarpit_secs = 1
[[honeypot.services]]
type = "tcp"
listen = "{there}:7000-7009"
[honeypot.limits]
tarpits = 1
"#,
        support::settings(home.path())
    );
    fs::write(home.path().join("palisade.toml"), text).unwrap();
    let palisade = Palisade::up(home.path());

    // nc(1) over UDP, and a datagram by hand.
    let udp = place(&palisade, "honeypot udp on");
    let mut nc = Command::new("nc")
        .args(["-u", "-w", "1", "127.0.0.1", &udp.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    nc.stdin.take().unwrap().write_all(b"by netcat\n").unwrap();
    let echoed = nc.wait_with_output().unwrap();
    assert_eq!(echoed.stdout, b"by netcat\n");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"\0\x01file\0octet\0", udp).unwrap();
    palisade.wait_count(&format!("kind:data.received port:{}", udp.port()), 2);
    let datagrams = palisade.query(&format!("kind:data.received port:{}", udp.port()));
    assert!(datagrams.iter().all(|event| event["source"]["transport"] == "udp"));
    assert!(datagrams.iter().any(|event| event["attributes"]["protocol"] == "tftp"));

    // A tarpit sends something that never becomes a version; one is held, a second is not.
    let ssh = place(&palisade, "honeypot ssh on");
    let mut held = TcpStream::connect(ssh).unwrap();
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 3];
    held.read_exact(&mut bytes).unwrap();
    assert!(!bytes.starts_with(b"SSH"), "{bytes:?}");
    let mut second = TcpStream::connect(ssh).unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(second.read(&mut [0; 8]).unwrap_or(0), 0);
    drop(held);

    for port in [7_000, 7_004, 7_009] {
        let mut stream = TcpStream::connect((there.as_str(), port)).unwrap();
        stream.write_all(b"hello range\n").unwrap();
        drop(stream);
        palisade.wait_count(&format!("kind:data.received port:{port}"), 1);
    }
    assert!(TcpStream::connect((there.as_str(), 7_010)).is_err());
    assert_eq!(palisade.count("kind:sensor.failed"), 0);
    // All of it from a process without rights.
    let mut telnet = TcpStream::connect(palisade.telnet()).unwrap();
    read_until(&mut telnet, "login:");
    drop(telnet);
    assert_eq!(palisade.terminate(), Some(0));
}
