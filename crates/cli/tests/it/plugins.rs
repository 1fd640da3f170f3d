//! Plug-ins by the real binary: the guide is followed as it is written, a change
//! is taken while attackers talk, and the zone stays confined all the while.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that fails says where"
)]

use crate::support;

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use support::{PATIENCE, Palisade};

const GUIDE: &str = include_str!("../../../../docs/PLUGINS.md");

/// The blocks of the guide's first section in one language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let (_, section) = GUIDE.split_once("## Your first plug-in").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mark = format!("```{language}\n");
    section.split(&mark).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Commands of the guide, in their order.
fn commands() -> Vec<Vec<String>> {
    let lines: String = blocks("sh").concat();
    lines
        .lines()
        .map(|line| line.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect())
        .collect()
}

fn run(home: &Path, command: &[String]) -> String {
    assert_eq!(command[0], "palisade");
    let words: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    let output = support::cli(home, &words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{wrong}");
    said
}

fn address(palisade: &Palisade) -> SocketAddr {
    palisade.wait_printed("honeypot plugin on").rsplit(' ').next().unwrap().parse().unwrap()
}

fn talk(client: &mut TcpStream, wanted: &str, say: &str) -> String {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = support::read_until(client, wanted);
    client.write_all(say.as_bytes()).unwrap();
    said
}

/// A key that may read.
fn key(palisade: &Palisade) -> String {
    let key = palisade.cli(&["key", "add", "reads", "--scope", "read", "--format", "json"]);
    let key: Value = serde_json::from_slice(&key.stdout).unwrap();
    key["key"].as_str().unwrap().to_owned()
}

fn get(palisade: &Palisade, key: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(palisade.http_api()).unwrap();
    let asked = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    // A body in chunks or whole: the JSON is from the first brace to the last.
    let json = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_guide_leads_from_nothing_to_rows_of_ones_own() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let commands = commands();
    let mut next = commands.iter();
    // palisade plugin new mine, palisade plugin test mine
    run(home, next.next().unwrap());
    let said = run(home, next.next().unwrap());
    assert!(said.contains("ok      mine: first.txt"), "{said}");
    let luau = blocks("luau");
    assert_eq!(luau.len(), 1);
    fs::write(home.join("mine/init.luau"), &luau[0]).unwrap();
    let failed = support::cli(home, &["plugin", "test", "mine"]);
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(said.contains("line 2: expected \"login: \", got \"Welcome to "), "{said}");
    fs::write(home.join("mine/transcripts/first.txt"), &blocks("transcript")[0]).unwrap();
    // On a free port: another test may have that of the guide.
    let settings = support::settings(home) + &blocks("toml")[0] + "port = 0\n";
    fs::write(home.join("palisade.toml"), settings).unwrap();
    run(home, next.next().unwrap());
    let up = next.next().unwrap();
    let words: Vec<&str> = up[1..].iter().map(String::as_str).collect();
    let palisade = Palisade::start(home, &words);
    assert!(GUIDE.contains("It says `honeypot plugin on 127.0.0.1:7007`"));
    // telnet 127.0.0.1 7007
    assert_eq!(next.next().unwrap()[0], "telnet");
    let mut client = TcpStream::connect(address(&palisade)).unwrap();
    let greeting = talk(&mut client, "login: ", "root\r\n");
    assert!(greeting.starts_with("Welcome to "), "{greeting}");
    talk(&mut client, "password: ", "123456\r\n");
    talk(&mut client, "Login incorrect\r\n", "");
    // palisade query 'daemon:mine', palisade query 'attr.user:root attr.try:<2' --format json
    palisade.wait_count("kind:plugin.recorded daemon:mine", 1);
    let said = run(home, next.next().unwrap());
    assert!(said.contains("123456"), "{said}");
    let rest: Vec<String> = next.next().unwrap().clone();
    // Words of a quoted query were split.
    let (query, format) = (format!("{} {}", rest[2], rest[3]), &rest[4..]);
    let command = [vec!["palisade".into(), "query".into(), query], format.to_vec()].concat();
    let rows: Value = serde_json::from_str(run(home, &command).lines().next().unwrap())
        .unwrap_or_else(|_| serde_json::from_str(&run(home, &command)).unwrap());
    let row = rows.to_string();
    assert!(row.contains("\"user\":\"root\"") && row.contains("\"try\":1"), "{row}");
    assert!(next.next().is_none(), "the guide has more commands than this test follows");

    let key = key(&palisade);
    let rows = get(&palisade, &key, "/api/v1/plugins/mine/rows");
    assert_eq!(rows["rows"][0]["values"], serde_json::json!({ "user": "root", "try": 1 }));
    let columns = serde_json::json!([
        { "name": "user", "type": "TEXT" },
        { "name": "try", "type": "INTEGER" }
    ]);
    assert_eq!(rows["columns"], columns);
    // "Change the script while Palisade runs": new connections get it, old ones go on.
    fs::write(home.join("mine/init.luau"), luau[0].replace("Welcome to", "You are at")).unwrap();
    let new = support::wait("the changed script to serve", || {
        let mut client = TcpStream::connect(address(&palisade)).unwrap();
        let said = talk(&mut client, "login: ", "");
        said.starts_with("You are at").then_some(client)
    });
    talk(&mut client, "login: ", "old\r\n");
    talk(&mut client, "password: ", "code\r\n");
    drop((client, new));
    palisade.wait_count("kind:plugin.recorded daemon:mine", 2);
    // A broken change is named, and the code before it serves on.
    fs::write(home.join("mine/init.luau"), "return {").unwrap();
    let status = support::wait("the broken change to be reported", || {
        let status = get(&palisade, &key, "/api/v1/plugins")["plugins"][0].clone();
        status["reason"].is_string().then_some(status)
    });
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("a change is not used") && reason.contains("mine/init.luau, line 1"));
    assert_eq!((&status["name"], &status["state"]), (&"mine".into(), &"serving".into()));
    assert_eq!((&status["origin"], &status["loads"]), (&"folder".into(), &2.into()));
    let mut client = TcpStream::connect(address(&palisade)).unwrap();
    assert!(talk(&mut client, "login: ", "").starts_with("You are at"));
    assert_eq!(palisade.count("kind:sensor.failed"), 0, "the zone lives on");
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn a_plug_in_that_fails_is_told_and_the_rest_of_the_zone_serves() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for (name, body) in [("spins", "while true do end"), ("hogs", "string.rep('x', 1e9)")] {
        fs::create_dir_all(home.join("plugins").join(name)).unwrap();
        let init = format!(
            "return {{ api = 1, name = '{name}', about = 'x', ports = {{ tcp = {{ 7 }} }},\n serve = function(conn)\n conn:read(1)\n {body}\n end }}"
        );
        fs::write(home.join("plugins").join(name).join("init.luau"), init).unwrap();
    }
    fs::create_dir_all(home.join("plugins/broken")).unwrap();
    fs::write(home.join("plugins/broken/init.luau"), "return\nreturn").unwrap();
    let more = "\n[honeypot]\nplugins = \"plugins\"\n[[honeypot.plugin]]\nname = \"spins\"\nport = 0\n[[honeypot.plugin]]\nname = \"hogs\"\nport = 0\n";
    let settings = support::settings(home);
    let (head, services) = settings.split_once("[[honeypot.services]]").unwrap();
    let settings = format!("{head}{more}[[honeypot.services]]{services}");
    fs::write(home.join("palisade.toml"), settings).unwrap();
    let palisade = Palisade::up(home);
    let key = key(&palisade);
    let ports = |plugin: &Value| plugin["ports"].as_array().unwrap().clone();
    let status = support::wait("all plug-ins to be reported", || {
        let status = get(&palisade, &key, "/api/v1/plugins");
        (status["plugins"].as_array().unwrap().len() == 3).then_some(status)
    });
    let addresses: Vec<SocketAddr> = status["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(ports)
        .map(|port| port.as_str().unwrap().strip_prefix("tcp ").unwrap().parse().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2, "{status}");
    for address in addresses {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"x").unwrap();
        assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
    }
    palisade.wait_count("kind:plugin.failed", 2);
    let mut client = TcpStream::connect(palisade.telnet()).unwrap();
    talk(&mut client, "ogin: ", "");
    let status = get(&palisade, &key, "/api/v1/plugins");
    let of = |name: &str| {
        let all = status["plugins"].as_array().unwrap();
        all.iter().find(|plugin| plugin["name"] == name).unwrap().clone()
    };
    let broken = of("broken");
    assert_eq!(broken["state"], "failed");
    assert!(broken["reason"].as_str().unwrap().contains("broken/init.luau, line 2"), "{broken}");
    assert_eq!(of("spins")["state"], "serving");
    assert_eq!(palisade.count("kind:sensor.failed"), 0);
    assert_eq!(palisade.terminate(), Some(0));
}

/// A plug-in that greets with a word and repeats lines.
fn script(name: &str, word: &str, ports: &str) -> String {
    format!(
        "return {{ api = 1, name = '{name}', about = 'x', ports = {{ {ports} }}, columns = {{ {{ 'line', 'TEXT' }} }},\n serve = function(conn)\n conn:write('{word}\\n')\n while true do\n local line = conn:read_line()\n if line == nil then return end\n record({{ line = line }})\n conn:write('{word} ' .. line .. '\\n')\n end\n end }}"
    )
}

fn write_plugin(home: &Path, name: &str, text: &str) {
    let folder = home.join("plugins").join(name);
    fs::create_dir_all(&folder).unwrap();
    // At once, as editors do: half a file would be named as broken.
    fs::write(folder.join("init.new"), text).unwrap();
    fs::rename(folder.join("init.new"), folder.join("init.luau")).unwrap();
}

/// Settings with the folder `plugins`, and more of the honeypots.
fn with_plugins(home: &Path, more: &str) {
    fs::create_dir_all(home.join("plugins")).unwrap();
    let settings = support::settings(home);
    let (head, services) = settings.split_once("[[honeypot.services]]").unwrap();
    let settings = format!(
        "{head}\n[honeypot]\nplugins = \"plugins\"\n{more}\n[[honeypot.services]]{services}"
    );
    fs::write(home.join("palisade.toml"), settings).unwrap();
}

/// A port that nobody has, below 1024 where that may be bound.
fn free_port() -> u16 {
    let low = (600..1024).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let any = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    low.unwrap_or_else(any)
}

/// What a plug-in says there at first; nothing where nobody listens, or where a
/// port is closed this moment.
fn greeting(port: u16) -> Option<String> {
    let client = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    match BufReader::new(client).read_line(&mut said) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        read => read.map(|_| said).ok().filter(|said| !said.is_empty()),
    }
}

#[test]
fn a_folder_put_there_while_it_runs_serves_and_so_do_its_changed_ports() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    with_plugins(home, "");
    let palisade = Palisade::up(home);
    let first = free_port();
    write_plugin(home, "late", &script("late", "one", &format!("tcp = {{ {first} }}")));
    let said = support::wait("the new folder to serve", || greeting(first));
    assert_eq!(said, "one\n");
    let mut held = TcpStream::connect(("127.0.0.1", first)).unwrap();
    talk(&mut held, "one\n", "a\n");
    talk(&mut held, "one a\n", "");
    let second = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = format!("tcp = {{ {second} }}, udp = {{ {second} }}");
    write_plugin(
        home,
        "late",
        &script("late", "two", &ports)
            .replace("serve =", "datagram = function(packet) return packet.data end, serve ="),
    );
    let said = support::wait("the changed port to serve", || greeting(second));
    assert_eq!(said, "two\n");
    support::wait("the old port to close", || greeting(first).is_none().then_some(()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"ping", ("127.0.0.1", second)).unwrap();
    assert_eq!(socket.recv_from(&mut [0; 8]).unwrap().0, 4);
    // Whoever was there goes on with what was there.
    talk(&mut held, "", "b\n");
    talk(&mut held, "one b\n", "");
    let key = key(&palisade);
    let status = support::wait("the ports to be reported", || {
        let status = get(&palisade, &key, "/api/v1/plugins")["plugins"][0].clone();
        let ports = status["ports"].to_string();
        ports.contains(&format!("tcp 127.0.0.1:{second}")).then_some(status)
    });
    assert_eq!(status["state"], "serving", "{status}");
    assert!(!status["ports"].to_string().contains(&first.to_string()), "{status}");
    // A new folder that is wrong is named, and serves when it is mended.
    write_plugin(home, "wrong", "return {");
    let reason = support::wait("the broken folder to be reported", || {
        let status = get(&palisade, &key, "/api/v1/plugins");
        let all = status["plugins"].as_array().unwrap();
        let wrong = all.iter().find(|plugin| plugin["name"] == "wrong")?;
        Some((wrong["state"].clone(), wrong["reason"].as_str()?.to_owned()))
    });
    assert!(reason.1.contains("wrong/init.luau, line 1"), "{reason:?}");
    assert_eq!(reason.0, "failed");
    let third = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    write_plugin(home, "wrong", &script("wrong", "right", &format!("tcp = {{ {third} }}")));
    assert_eq!(support::wait("the mended folder to serve", || greeting(third)), "right\n");
    palisade.wait_count("kind:plugin.recorded attr.line:(a,b)", 2);
    assert_eq!(palisade.count("kind:sensor.failed"), 0, "one zone all the while");
    assert_eq!(palisade.terminate(), Some(0));
}

/// A certificate of this name at the paths of the configuration.
fn certify(home: &Path, name: &str) {
    let subject = format!("/CN={name}");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", &subject, "-keyout", "key.new", "-out", "cert.new"])
        .current_dir(home)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::rename(home.join("key.new"), home.join("key.pem")).unwrap();
    fs::rename(home.join("cert.new"), home.join("cert.pem")).unwrap();
}

#[test]
fn a_changed_certificate_is_shown_to_the_next_client() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    with_plugins(
        home,
        &format!(
            "[[honeypot.plugin]]\nname = \"safe\"\ntls_port = {port}\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n"
        ),
    );
    certify(home, "first.example");
    write_plugin(home, "safe", &script("safe", "hi", "tls = { 1 }"));
    let palisade = Palisade::up(home);
    let subject = || {
        let asked = std::process::Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "x"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&asked.stdout).into_owned()
    };
    assert!(subject().contains("first.example"));
    certify(home, "second.example");
    support::wait("the changed certificate", || subject().contains("second.example").then_some(()));
    assert_eq!(palisade.count("kind:sensor.failed"), 0);
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn nobody_is_lost_while_a_plug_in_is_changed_again_and_again() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    with_plugins(home, "");
    let palisade = Palisade::up(home);
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, other) = (free(), free());
    let ports = |round: usize| match round % 2 {
        0 => format!("tcp = {{ {port} }}"),
        _ => format!("tcp = {{ {port}, {other} }}"),
    };
    write_plugin(home, "busy", &script("busy", "word0", &ports(0)));
    support::wait("the plug-in to serve", || greeting(port));
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (done, served) = (&done, &served);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    talk(&mut stream, "\n", &format!("c{client}\n"));
                    let said = talk(&mut stream, "\n", "");
                    assert!(said.contains(&format!(" c{client}")), "{said}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=6 {
            let word = format!("word{round}");
            write_plugin(home, "busy", &script("busy", &word, &ports(round)));
            let wanted = format!("{word}\n");
            support::wait("the change to serve", || {
                greeting(port).filter(|said| *said == wanted).map(|_| ())
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    let served = served.into_inner();
    assert!(served > 100, "{served}");
    // Each of them is a row: nobody's words are lost either.
    palisade.wait_count("kind:plugin.recorded attr.line:c*", served as u64);
    assert_eq!(palisade.count("kind:sensor.failed"), 0);
    assert_eq!(palisade.terminate(), Some(0));
}
