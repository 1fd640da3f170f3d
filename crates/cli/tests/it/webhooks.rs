//! Webhooks on decisions with the real binary: a receiver that is away, refuses,
//! redirects, and kill -9 on either side.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade_event::{
    Decision, DecisionType, Event, EventId, ScenarioName, SensorId, Timestamp, wire,
};
use serde_json::Value;
use support::{Palisade, cli, run_with_input, wait};

/// A request as it came.
#[derive(Clone)]
struct Told {
    head: String,
    body: String,
    at: Instant,
}

impl Told {
    fn header(&self, name: &str) -> String {
        let find = |line: &str| {
            line.split_once(": ")
                .filter(|(is, _)| is.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        self.head.lines().find_map(find).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A web server that answers as it is told, then with 204; it keeps connections.
struct Receiver {
    told: Arc<Mutex<Vec<Told>>>,
}

impl Receiver {
    fn start(port: u16, answers: &[&str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<String> = answers.iter().rev().map(|a| (*a).to_owned()).collect();
        let (kept, answers) = (Arc::clone(&told), Arc::new(Mutex::new(answers)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answers) = (Arc::clone(&kept), Arc::clone(&answers));
                std::thread::spawn(move || serve(stream.unwrap(), &kept, &answers));
            }
        });
        Self { told }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<Told>>, answers: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut head) = (0, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        if head.is_empty() || stream.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8(body).unwrap();
        let answer = answers.lock().unwrap().pop().unwrap_or_else(|| "204 No Content".to_owned());
        // What it does not take it does not know.
        if answer.starts_with("204") {
            kept.lock().unwrap().push(Told { head, body, at: Instant::now() });
        }
        let length = if answer.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        let answer = format!("HTTP/1.1 {answer}\r\n{length}\r\n");
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn settings(home: &Path, hooks: &str) {
    fs::write(home.join("secret"), "hunter2\n").unwrap();
    let text = format!(
        "data = \"{}/data\"\nsensor = \"test\"\n[[api.listeners]]\naddress = \"127.0.0.1:0\"\ntls = false\n{hooks}",
        home.display()
    );
    fs::write(home.join("palisade.toml"), text).unwrap();
}

fn start_hub(home: &Path) -> Palisade {
    Palisade::start(home, &["hub", "--config", home.join("palisade.toml").to_str().unwrap()])
}

fn palisade(home: &Path, args: &[&str]) -> String {
    let output = cli(home, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn target(hub: &Palisade, name: &str) -> Value {
    let output = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(hub.home.join("data/palisade.sock"))
        .arg("http://localhost/api/v1/status")
        .output()
        .unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let all = status["outbound"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|target| target["name"] == name).unwrap_or_default()
}

fn ban(number: u32, simulated: bool) -> Event {
    let at = Timestamp::from(std::time::SystemTime::now());
    let decision = Decision {
        id: EventId::new(at, u128::from(number)),
        kind: DecisionType::new("ban").unwrap(),
        target: format!("198.18.{}.{}", number / 200, number % 200 + 1).parse().unwrap(),
        from: at,
        duration_secs: 3600,
        scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
        reason: format!("<!channel> number {number}").into(),
        alert: EventId::new(at, 0),
        evidence: Vec::new(),
        simulated,
    };
    decision.to_event(SensorId::new("web-1").unwrap())
}

/// Delivers as an agent does; returns once they are acknowledged.
fn deliver(hub: &Palisade, key: &str, events: &[Event]) {
    let records: Vec<Vec<u8>> = events.iter().map(wire::encode_event).collect();
    let body = String::from_utf8(wire::encode_batch(&records)).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-sf", "-H", &format!("Authorization: Bearer {}", key.trim())])
        .args(["-H", "Content-Type: application/json", "--data-binary", "@-"])
        .arg(format!("http://{}/api/v1/events", hub.http_api()));
    let answer = run_with_input(&mut curl, &body);
    let receipt: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(receipt["accepted"].as_u64(), Some(events.len() as u64));
}

#[test]
fn every_acknowledged_ban_is_told_though_both_sides_are_killed() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    settings(
        home.path(),
        &format!(
            "[[hub.webhooks]]\nname = \"soc\"\nurl = \"http://127.0.0.1:{port}/hook?a=b\"\n\
             query = \"analyzer:ssh-* or sensor:hub\"\nsecret_file = \"{}/secret\"\n",
            home.path().display()
        ),
    );
    let mut hub = start_hub(home.path());
    let key = palisade(home.path(), &["key", "add", "web-1", "--scope", "ingest"]);
    // The receiver is away; what comes waits, over a crash.
    let mut expected = BTreeSet::new();
    let mut next = 0;
    let mut some = |hub: &Palisade, count: u32| {
        let events: Vec<Event> =
            (next..next + count).map(|number| ban(number, number % 10 == 0)).collect();
        next += count;
        deliver(hub, &key, &events);
        // Simulated ones and the one that is withheld are told nobody.
        let bans = events.iter().filter(|event| {
            event.attributes["simulated"] != true.into()
                && event.attributes["value"] != "198.18.0.5".into()
        });
        expected.extend(bans.map(|event| event.id.to_string()));
    };
    palisade(home.path(), &["allow", "198.18.0.5", "--reason", "ours"]);
    some(&hub, 500);
    hub.kill();
    hub = start_hub(home.path());
    wait("it says why", || target(&hub, "soc")["error"].as_str().map(str::to_owned));
    some(&hub, 500);
    // It comes, refuses at first, and the hub is killed while it tells.
    let receiver = Receiver::start(port, &["500 Oops", "429 Slow\r\nRetry-After: 1", "503 Later"]);
    for _ in 0..3 {
        let before = receiver.told().len();
        wait("some are told", || (receiver.told().len() > before + 20).then_some(()));
        hub.kill();
        hub = start_hub(home.path());
        some(&hub, 100);
    }
    palisade(home.path(), &["unban", "198.18.0.9", "--reason", "mistake"]);
    // It comes after all others.
    wait("the lift is told", || {
        let told = receiver.told();
        told.iter().any(|one| one.json()["type"] == "decision.lifted").then_some(())
    });
    wait("nothing waits any more", || (target(&hub, "soc")["pending"] == 0).then_some(()));
    let mut told: BTreeMap<String, Value> = BTreeMap::new();
    let mut lifted = 0;
    for one in receiver.told() {
        let mut json = one.json();
        assert_eq!(one.header("x-palisade-id"), json["id"].as_str().unwrap());
        json.as_object_mut().unwrap().remove("sent_at");
        if json["type"] == "decision.lifted" {
            assert_eq!(json["lift"]["reason"], "mistake");
            lifted += 1;
            continue;
        }
        assert_eq!(json["decision"]["origin"]["sensor"]["name"], "web-1");
        let id = json["id"].as_str().unwrap().to_owned();
        // What comes twice says the same.
        assert_eq!(told.entry(id).or_insert_with(|| json.clone()), &json);
    }
    let told: BTreeSet<String> = told.into_keys().collect();
    let missing: Vec<&String> = expected.difference(&told).collect();
    assert!(missing.is_empty(), "of {} are missing: {missing:?}", expected.len());
    assert!(told == expected && lifted >= 1);
    let all = receiver.told().len();
    // Twice comes what was under way, and what the store had not committed.
    assert!(all < expected.len() * 2, "few are told twice: {all}");

    // The signature is what a receiver computes.
    let one = receiver.told().pop().unwrap();
    assert!(one.head.starts_with("POST /hook?a=b HTTP/1.1"));
    let signature = one.header("x-palisade-signature");
    let (at, hash) = signature.strip_prefix("t=").unwrap().split_once(",sha256=").unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", "hunter2"]);
    let computed = run_with_input(&mut openssl, &format!("{at}.{}", one.body));
    assert!(String::from_utf8_lossy(&computed.stdout).trim().ends_with(hash), "{signature}");
    assert!(!hub.errors().contains("hunter2"));
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn slack_gets_few_messages_with_many_bans() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let receiver = Receiver::start(port, &[]);
    settings(
        home.path(),
        &format!(
            "[[hub.webhooks]]\nname = \"chat\"\nurl = \"http://127.0.0.1:{port}/\"\nkind = \"slack\"\non = [\"made\"]\n"
        ),
    );
    let hub = start_hub(home.path());
    let key = palisade(home.path(), &["key", "add", "web-1", "--scope", "ingest"]);
    for round in 0..8 {
        let events: Vec<Event> = (round * 250..(round + 1) * 250).map(|n| ban(n, false)).collect();
        deliver(&hub, &key, &events);
    }
    palisade(home.path(), &["unban", "198.18.0.9"]);
    wait("all are told", || {
        let chat = target(&hub, "chat");
        (chat["sent"] == 2000 && chat["pending"] == 0).then_some(())
    });
    let told = receiver.told();
    assert!(told.len() <= 10, "{}", told.len());
    for pair in told.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(950), "at most one a second");
    }
    let mut counted = 0;
    for one in &told {
        let text = one.json()["text"].as_str().unwrap().to_owned();
        assert!(!text.contains("<!channel>") && text.contains("&lt;!channel&gt;"), "{text}");
        assert!(!text.contains("Lifted"));
        counted += match text.strip_prefix('*').and_then(|text| text.split_once(" banned")) {
            Some((count, _)) => count.parse::<u32>().unwrap(),
            None => 1,
        };
    }
    assert_eq!(counted, 2000);
}

#[test]
fn a_redirect_is_not_followed_and_what_is_refused_holds_nothing_up() {
    let home = tempfile::tempdir().unwrap();
    let (port, elsewhere, refusing) = (free_port(), free_port(), free_port());
    let away = Receiver::start(elsewhere, &[]);
    let moved = format!("302 Found\r\nLocation: http://127.0.0.1:{elsewhere}/");
    let _redirecting = Receiver::start(port, &[&moved, &moved, &moved]);
    let receiver = Receiver::start(refusing, &["422 No"]);
    let hook = |name: &str, port: u16| {
        format!("[[hub.webhooks]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/\"\n")
    };
    settings(home.path(), &(hook("moved", port) + &hook("picky", refusing)));
    let hub = start_hub(home.path());
    palisade(home.path(), &["ban", "198.51.100.7", "--reason", "first"]);
    wait("it says why", || {
        let error = target(&hub, "moved")["error"].as_str().map(str::to_owned)?;
        error.contains("redirects are not followed").then_some(())
    });
    assert_eq!(target(&hub, "moved")["pending"], 1);
    assert!(away.told().is_empty());
    palisade(home.path(), &["ban", "198.51.100.8", "--reason", "second"]);
    wait("the next one is told", || (!receiver.told().is_empty()).then_some(()));
    assert_eq!(receiver.told()[0].json()["decision"]["reason"], "second");
    wait("the first is in quarantine", || (target(&hub, "picky")["refused"] == 1).then_some(()));

    // Wrong settings are named before anything starts.
    settings(
        home.path(),
        "[[hub.webhooks]]\nname = \"x\"\nurl = \"http://chat.example/\"\nquery = \"since:1h\"\n",
    );
    let output = cli(
        home.path(),
        &["config", "check", "--config", home.path().join("palisade.toml").to_str().unwrap()],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("allow_http") && said.contains("times"),
        "{said}"
    );
}
