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
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

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
    // palisade query 'daemon:mine', palisade query 'kind:plugin.recorded daemon:mine' --format json
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
