//! Machines that lie, say nonsense or say too much, told to the real hub by HTTP as
//! somebody would who has the key of one machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use palisade_event::{EventId, Timestamp};
use serde_json::{Value, json};

use crate::support::{Palisade, wait};

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// An event of a machine that calls itself `name`.
fn event(kind: &str, name: &str, attributes: Value) -> Value {
    let number = rand::random::<u128>();
    json!({
        "id": EventId::new(now(), number).to_string(), "kind": kind, "observed_at": now().to_string(),
        "sensor": "whoever", "host": name, "attributes": attributes,
    })
}

/// A machine: the key of its agent.
struct Machine<'a> {
    palisade: &'a Palisade,
    key: String,
}

impl<'a> Machine<'a> {
    fn new(palisade: &'a Palisade, name: &str, scope: &str) -> Self {
        let made = palisade.cli(&["key", "add", name, "--scope", scope]);
        assert!(made.status.success());
        Self { palisade, key: String::from_utf8(made.stdout).unwrap().trim().to_owned() }
    }

    /// The status and the body of an answer; headers beside the key's.
    fn curl(&self, path: &str, headers: &[&str], body: Option<&Path>) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-s", "-w", "\n%{http_code}", "-H"]);
        command.arg(format!("Authorization: Bearer {}", self.key));
        for header in headers {
            command.args(["-H", header]);
        }
        if let Some(body) = body {
            command.args(["-H", "Content-Type: application/json", "--data-binary"]);
            command.arg(format!("@{}", body.display()));
        }
        let output = command.arg(format!("http://{}{path}", self.palisade.http_api())).output();
        let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    fn tell_with(&self, headers: &[&str], events: &[Value]) -> Value {
        let body = self.palisade.home.join("body");
        let batch = json!({"version": 1, "events": events});
        std::fs::write(&body, batch.to_string()).unwrap();
        let (status, answer) = self.curl("/api/v1/events", headers, Some(&body));
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn tell(&self, events: &[Value]) {
        let receipt = self.tell_with(&[], events);
        assert_eq!(receipt["accepted"], events.len(), "{receipt}");
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.curl(path, &[], None);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The machine of that id, once it is as is wanted.
    fn host(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while std::time::Instant::now() < deadline {
            last = self.get("/api/v1/hosts");
            let found = last["hosts"].as_array().unwrap().iter().find(|host| host["id"] == id);
            if let Some(host) = found.filter(|host| wanted(host)) {
                return host.clone();
            }
            crate::support::pause();
        }
        panic!("no such host {id}: {last}");
    }
}

fn sample(name: &str, cpu: f64) -> Value {
    event("host.sampled", name, json!({"cpu_pct": cpu, "load1": 0.5}))
}

#[test]
fn a_machine_that_lies_about_its_name_and_address_changes_nothing_of_another() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let [one, two] = ["edge-1", "edge-2"].map(|name| Machine::new(&palisade, name, "ingest"));
    let reader = Machine::new(&palisade, "reader", "read");
    let system = |address: &str| {
        let data = json!({"os": {"name": "Debian 12"}, "addresses": [address]}).to_string();
        event("host.reported", "web", json!({"section": "system", "snapshot": "s", "data": data}))
    };
    one.tell(&[sample("web", 1.0), system("192.0.2.1")]);
    reader.host("edge-1", |host| host["address"] == "192.0.2.1");
    // Its name, its address, its sensor, and that it came by Glimpse from elsewhere.
    let mut lie = sample("web", 99.0);
    lie["sensor"] = json!("edge-1");
    lie["attributes"]["via"] = json!("glimpse");
    lie["target"] = json!({"address": "192.0.2.1"});
    two.tell(&[sample("web", 98.0), system("192.0.2.1"), lie]);
    reader.host("edge-2~192.0.2.1", |host| host["sensor"] == "edge-2");
    reader.host("edge-2", |host| host["name_shared"] == true && host["sample"]["cpu_pct"] == 98.0);
    let first = reader.host("edge-1", |host| host["name_shared"] == true);
    assert_eq!((&first["sample"]["cpu_pct"], &first["name"]), (&json!(1.0), &json!("web")));
    // An address that is none, and a name that is none.
    let mut odd = sample("web", 2.0);
    odd["host"] = json!("a\u{1b}[31m\u{0}b");
    let receipt = one.tell_with(&[], &[odd, system("999.1.2.3"), system("::ffff:zz")]);
    assert_eq!(receipt["quarantined"].as_array().unwrap().len(), 1, "{receipt}");
    // It is renamed, and stays the same machine.
    one.tell(&[sample("web-1", 3.0)]);
    let renamed = reader.host("edge-1", |host| host["name"] == "web-1");
    assert_eq!((&renamed["former_name"], &renamed["name_shared"]), (&json!("web"), &json!(false)));
    assert_eq!(renamed["address"], "192.0.2.1");
    palisade.kill();
}

#[test]
fn what_makes_no_sense_is_an_event_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let one = Machine::new(&palisade, "edge-1", "ingest");
    let reader = Machine::new(&palisade, "reader", "read");
    let huge = "9".repeat(30_000);
    let part = |section: Value, part: Value, parts: Value, data: &str| {
        let attributes = json!({"section": section, "snapshot": "s", "part": part, "parts": parts, "data": data});
        event("host.reported", "web", attributes)
    };
    one.tell(&[
        event("host.reported", "web", json!({})),
        event("host.reported", "web", json!({"section": "system"})),
        part(json!("system"), json!(0), json!(1), "{\"os\":"),
        part(json!("../../etc"), json!(0), json!(1), "{}"),
        part(json!(7), json!("x"), json!(true), "[]"),
        part(json!("disks"), json!(-1), json!(3), "[]"),
        part(json!("disks"), json!(9), json!(3), "[]"),
        part(json!("disks"), json!(0), json!(9_000_000_000_000_000_000_i64), "[]"),
        part(json!("packages"), json!(0), json!(1), &"[".repeat(30_000)),
        event("host.sampled", "web", json!({"cpu_pct": "many", "load1": huge, "mem_total": -1})),
        event("host.alerted", "web", json!({})),
        event("host.alerted", "web", json!({"alert": "x".repeat(9_000), "level": 5, "since": "x"})),
        event("finding.opened", "web", json!({})),
        event("finding.opened", "web", json!({"check": "a b", "severity": "apocalyptic"})),
        event("finding.closed", "web", json!({"check": huge})),
        event("audit.completed", "web", json!({"score": 10_000, "failed_checks": "no list"})),
        event("host.changed", "web", json!({"section": 1})),
    ]);
    one.tell(&[sample("web", 4.0)]);
    let host = reader.host("edge-1", |host| host["sample"]["cpu_pct"] == 4.0);
    assert!(host["score"].is_null() || host["score"] == 100, "{host}");
    let shown = reader.get("/api/v1/hosts/edge-1");
    assert_eq!(shown["sections"].as_object().unwrap().len(), 0, "{shown}");
    for path in ["/api/v1/findings", "/api/v1/changes", "/api/v1/hosts/edge-1/samples"] {
        reader.get(path);
    }
    assert!(reader.curl("/metrics", &[], None).1.contains("palisade_host_up"));
    palisade.kill();
}

#[test]
fn an_inventory_of_a_hundred_megabytes_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let one = Machine::new(&palisade, "edge-1", "ingest");
    let reader = Machine::new(&palisade, "reader", "read");
    // At once: refused.
    let body = home.path().join("body");
    std::fs::File::create(&body).unwrap().set_len(100 << 20).unwrap();
    let (status, answer) = one.curl("/api/v1/events", &["Expect:"], Some(&body));
    assert!(status == 413 || answer.is_empty(), "{status} {answer}");
    // In pieces that are taken: 1,700 parts of 60,000 bytes, all of which are events.
    let entry = format!("[{}]", vec!["\"0123456789012345\""; 3_150].join(","));
    for batch in 0..35 {
        let parts: Vec<Value> = (0..50)
            .map(|part| {
                let attributes = json!({
                    "section": format!("s{batch}"), "snapshot": "s", "part": part, "parts": 64,
                    "count": 1_000_000_000_i64, "left_out": -5, "data": entry,
                });
                event("host.reported", "web", attributes)
            })
            .collect();
        one.tell(&parts);
    }
    one.tell(&[sample("web", 5.0)]);
    reader.host("edge-1", |host| host["sample"]["cpu_pct"] == 5.0);
    let (status, shown) = reader.curl("/api/v1/hosts/edge-1", &[], None);
    assert_eq!(status, 200);
    assert!(shown.len() < 64 << 20, "{}", shown.len());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for (name, section) in shown["sections"].as_object().unwrap() {
        assert_eq!(
            (&section["incomplete"], &section["left_out"]),
            (&json!(true), &json!(0)),
            "{name}"
        );
    }
    palisade.kill();
}

#[test]
fn a_clock_that_is_off_by_years_is_said_so() {
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    let one = Machine::new(&palisade, "edge-1", "ingest");
    let reader = Machine::new(&palisade, "reader", "read");
    for (date, instant, way) in [
        ("Date: Tue, 02 Jan 2001 03:04:05 GMT", "2001-01-02T03:04:05.000Z", "behind"),
        ("Date: Fri, 01 Jan 2100 00:00:00 GMT", "2100-01-01T00:00:00.000Z", "ahead of"),
    ] {
        let mut wrong = sample("web", 1.0);
        wrong["observed_at"] = json!(instant);
        let receipt = one.tell_with(&[date], &[wrong]);
        let said = receipt["quarantined"][0]["reason"].as_str().unwrap();
        assert!(said.contains(&instant[..10]), "{said}");
        reader.host("edge-1", |host| host["state"] == "alert");
        let shown = wait("how far it is off", || {
            let shown = reader.get("/api/v1/hosts/edge-1")["alerts"][0].clone();
            let message = shown["detail"]["message"].as_str()?.to_owned();
            message.contains(way).then_some(message)
        });
        assert!(shown.starts_with("its clock is ") && shown.contains(" days "), "{shown}");
    }
    // A date that is none changes nothing; the right one ends it.
    one.tell_with(&["Date: yesterday"], &[sample("web", 1.0)]);
    let right = Command::new("date").args(["-u", "-R"]).env("LC_ALL", "C").output().unwrap();
    let right = format!("Date: {}", String::from_utf8(right.stdout).unwrap().trim());
    one.tell_with(&[&right], &[sample("web", 2.0)]);
    reader.host("edge-1", |host| host["state"] == "ok" && host["sample"]["cpu_pct"] == 2.0);
    palisade.kill();
}
