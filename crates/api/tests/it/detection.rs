//! Scenarios, the switch of simulation and explanations, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use common::{Doors, attempt, now, request, start};
use http::Method;
use palisade_event::{AnalyzerName, Endpoint, Event, EventId, EventKind, SensorId};
use palisade_hub::{DetectionSetup, Principal, Role};
use palisade_rules::scenario::{parse_scenario, shipped_scenarios};
use palisade_rules::{Allowed, Allowlist, Detector, Engine, EngineOptions, Policy, PolicyConfig};
use serde_json::{Value, json};

const LINE: &str =
    "Nov 20 10:00:00 web-1 sshd[7]: Failed password for root from 198.51.100.7 port 22 ssh2";
const OWN: &str = "name = \"mine\"\ndescription = \"Mine\"\nkind = \"trigger\"\nfilter = \"kind:user.probed\"\nsimulation = true\n";

/// A hub with the shipped scenarios and one of its own, whose detector is `edge-1`.
async fn detecting() -> Doors {
    let doors = start(|_| {}).await;
    let mut scenarios = shipped_scenarios().unwrap();
    scenarios.push(parse_scenario(OWN, "/etc/palisade/scenarios/mine.toml").unwrap());
    let engine = Engine::new(scenarios, EngineOptions::default()).unwrap();
    let allowed = Allowed::new("203.0.113.0/24".parse().unwrap(), "");
    let policy = Policy::new(PolicyConfig::default());
    let detector = Detector::new(engine, Allowlist::new(vec![allowed]), policy);
    let here = Some(SensorId::new("edge-1").unwrap());
    let disabled = vec!["http-bad-bots".to_owned()];
    doors.hub.set_up_detection(DetectionSetup { detector, hub: None, disabled, here });
    doors
}

fn alert(index: u64, scenario: &str, address: &str) -> Event {
    let at = now().plus_millis(-i64::try_from(index).unwrap() * 1000);
    let id = EventId::new(at, u128::from(index) + 1);
    let sensor = SensorId::new("x").unwrap();
    let mut event = Event::new(id, EventKind::ScenarioTriggered, at, sensor);
    event.analyzer = AnalyzerName::new(scenario).ok();
    event.source = Some(Endpoint::address(address.parse().unwrap()));
    event.with("scenario", scenario)
}

fn scenario<'a>(list: &'a Value, name: &str) -> &'a Value {
    let all = list["scenarios"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} in {list}"))
}

/// A request of the signed-in admin.
async fn as_admin(doors: &Doors, method: Method, path: &str, body: &str) -> common::Answer {
    let cookie = doors.sign_in().await;
    let mut request = request(method, path, "", body);
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    request.headers_mut().insert("x-palisade", "1".parse().unwrap());
    doors.send(request).await
}

#[tokio::test]
async fn scenarios_are_listed_with_their_hits() {
    let doors = detecting().await;
    let list = doors.get("/api/v1/scenarios", &doors.read).await.json();
    assert_eq!(scenario(&list, "ssh-bruteforce")["last_hit"], json!(null), "none has hit yet");
    doors
        .deliver(&[
            attempt(0, b"root"),
            alert(1, "ssh-bruteforce", "198.51.100.7"),
            alert(2, "ssh-bruteforce", "198.51.100.7"),
            alert(3, "ssh-bruteforce", "198.51.100.8"),
            alert(4, "of-another-agent", "198.51.100.9"),
            alert(40_000, "port-scan", "198.51.100.9"),
        ])
        .await;
    let list = doors.get("/api/v1/scenarios?q=since:1h", &doors.read).await.json();
    let brute = scenario(&list, "ssh-bruteforce");
    assert_eq!(brute["hits"], 3);
    assert_eq!(
        brute["addresses"],
        json!([{"value": "198.51.100.7", "count": 2}, {"value": "198.51.100.8", "count": 1}])
    );
    let timeline = brute["timeline"].as_array().unwrap();
    assert_eq!(timeline.iter().map(|bar| bar["count"].as_u64().unwrap()).sum::<u64>(), 3);
    let last = brute["last_hit"]["id"].as_str().unwrap();
    let event = doors.get(&format!("/api/v1/events/{last}"), &doors.read).await.json();
    assert_eq!(event["source"]["address"], "198.51.100.7");
    let rule = &brute["rule"];
    assert_eq!(rule["threshold"], "more than 5 at once, one forgotten each 10s");
    assert_eq!((&rule["file"], &rule["break_in"]), (&json!(null), &json!(false)));
    assert_eq!(scenario(&list, "ssh-break-in")["rule"]["break_in"], true);
    let own = scenario(&list, "mine");
    assert_eq!(own["rule"]["file"], "/etc/palisade/scenarios/mine.toml");
    assert_eq!((&own["simulated"], &own["switched"]), (&json!(true), &json!(null)));
    let other = scenario(&list, "of-another-agent");
    assert_eq!((&other["hits"], &other["rule"]), (&json!(1), &json!(null)));
    assert_eq!(scenario(&list, "port-scan")["hits"], 0, "its hit is out of the range");
    assert_eq!(list["disabled"], json!(["http-bad-bots"]));
    let detectors = json!([{"sensor": "edge-1", "hits": 4, "reached": true, "here": true}]);
    assert_eq!(list["detectors"], detectors);

    let narrowed = doors.get("/api/v1/scenarios?q=ip:198.51.100.8", &doors.read).await.json();
    assert_eq!(scenario(&narrowed, "ssh-bruteforce")["hits"], 1);
    let detail = doors.get("/api/v1/scenarios?q=colour:red", &doors.read).await.problem(422);
    assert!(detail.contains("colour"), "{detail}");
    doors.get("/api/v1/scenarios", "").await.problem(401);
    doors.get("/api/v1/scenarios", &doors.ingest).await.problem(403);
    doors.stop().await;
}

#[tokio::test]
async fn an_admin_switches_simulation_and_the_detector_hears_of_it() {
    let doors = detecting().await;
    let mut switches = doors.hub.switches();
    assert!(switches.borrow_and_update().is_empty());
    let path = "/api/v1/scenarios/port-scan/simulation";
    let on = r#"{"simulated":true}"#;
    let answer = as_admin(&doors, Method::PUT, path, on).await;
    assert_eq!(
        answer.json(),
        json!({"scenario": "port-scan", "simulated": true, "reached": ["edge-1"]})
    );
    assert!(switches.has_changed().unwrap());
    let heard: Vec<(String, bool)> = switches
        .borrow_and_update()
        .iter()
        .map(|(name, simulated)| (name.to_string(), *simulated))
        .collect();
    assert_eq!(heard, [("port-scan".to_owned(), true)]);
    let list = doors.get("/api/v1/scenarios", &doors.read).await.json();
    let port_scan = scenario(&list, "port-scan");
    assert_eq!(
        (&port_scan["simulated"], &port_scan["switched"]["by"]),
        (&json!(true), &json!("anna"))
    );
    assert_eq!(port_scan["rule"]["simulated_by_settings"], false);

    // What is as the settings say is no switch any more.
    as_admin(&doors, Method::PUT, path, r#"{"simulated":false}"#).await.json();
    assert!(switches.borrow_and_update().is_empty());
    let own = "/api/v1/scenarios/mine/simulation";
    as_admin(&doors, Method::PUT, own, r#"{"simulated":false}"#).await.json();
    let list = doors.get("/api/v1/scenarios", &doors.read).await.json();
    assert_eq!(scenario(&list, "mine")["simulated"], false);

    let detail = as_admin(&doors, Method::PUT, "/api/v1/scenarios/none%1b/simulation", on).await;
    assert!(!detail.problem(404).contains('\u{1b}'));
    as_admin(&doors, Method::PUT, path, r#"{"simulated":1}"#).await.problem(422);
    doors.send(request(Method::PUT, path, &doors.read, on)).await.problem(403);
    let me = Principal::local(None);
    doors.hub.add_account(&me, "olga", common::PASSWORD, Role::Operator, now()).await.unwrap();
    let olga = doors.hub.sign_in("olga", common::PASSWORD, None, None, now()).await.unwrap();
    let olga = olga.principal;
    assert!(doors.hub.simulate(&olga, "port-scan", true, now()).await.is_err());
    doors.stop().await;
}

#[tokio::test]
async fn a_switch_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let config = palisade_hub::Config::default();
    let me = Principal::local(None);
    for turn in 0..2 {
        let hub = palisade_hub::Hub::open(data.path(), &config).await.unwrap();
        let engine = Engine::new(shipped_scenarios().unwrap(), EngineOptions::default()).unwrap();
        let policy = Policy::new(PolicyConfig::default());
        let detector = Detector::new(engine, Allowlist::default(), policy);
        hub.set_up_detection(DetectionSetup {
            detector,
            hub: None,
            disabled: Vec::new(),
            here: None,
        });
        if turn == 0 {
            let reached = hub.simulate(&me, "port-scan", true, now()).await.unwrap();
            assert_eq!(reached, [], "no detector runs here");
        }
        assert_eq!(hub.switches().borrow().values().collect::<Vec<_>>(), [&true], "{turn}");
        hub.close().await;
    }
}

#[tokio::test]
async fn lines_are_explained_as_on_the_command_line() {
    let doors = detecting().await;
    let text = format!("{LINE}\r\n\n").repeat(6);
    let body = json!({"text": text, "parser": "sshd"}).to_string();
    let answer = doors.post("/api/v1/explain", &doors.read, &body).await.json();
    let lines = answer["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 6);
    assert_eq!((&lines[0]["line"], &lines[0]["parser"]), (&json!(LINE), &json!("sshd")));
    assert_eq!(lines[0]["sightings"][0]["scenarios"][0]["of"], 6);
    let decision = &lines[5]["sightings"][0]["alerts"][0]["decision"];
    assert_eq!((&decision["type"], &decision["value"]), (&json!("ban"), &json!("198.51.100.7")));
    assert_eq!(decision["simulated"], false);

    // Another question counts anew, knows the allowlist and what was switched.
    let path = "/api/v1/scenarios/ssh-bruteforce/simulation";
    as_admin(&doors, Method::PUT, path, r#"{"simulated":true}"#).await.json();
    let again = doors.post("/api/v1/explain", &doors.read, &body).await.json();
    assert_eq!(again["lines"][0]["sightings"][0]["scenarios"][0]["count"], 1);
    assert_eq!(again["lines"][5]["sightings"][0]["alerts"][0]["decision"]["simulated"], true);
    let spared = json!({"text": text.replace("198.51.100.7", "203.0.113.7")}).to_string();
    let spared = doors.post("/api/v1/explain", &doors.read, &spared).await.json();
    let verdict = spared["lines"][5]["sightings"][0]["alerts"][0]["verdict"].clone();
    assert_eq!(verdict, "allowed by 203.0.113.0/24");

    let all = json!({"text": "\u{1b}[31m what", "all": true}).to_string();
    let unknown = doors.post("/api/v1/explain", &doors.read, &all).await.json();
    assert_eq!(unknown["lines"][0]["understood"], false);
    doors.stop().await;
}

#[tokio::test]
async fn what_cannot_be_explained_is_one_clear_sentence() {
    let doors = detecting().await;
    let ask =
        async |body: Value| doors.post("/api/v1/explain", &doors.read, &body.to_string()).await;
    let detail = ask(json!({"text": " \n\r\n"})).await.problem(422);
    assert!(detail.contains("no line"), "{detail}");
    let detail = ask(json!({"text": "x\n".repeat(21)})).await.problem(422);
    assert!(detail.contains("21 lines") && detail.contains("20"), "{detail}");
    let detail = ask(json!({"text": "x", "parser": "kippo"})).await.problem(422);
    assert!(detail.contains("unknown log format 'kippo'"), "{detail}");
    ask(json!({"text": "x".repeat(65 * 1024)})).await.problem(413);
    ask(json!({"lines": ["x"]})).await.problem(422);
    doors.post("/api/v1/explain", "", "{}").await.problem(401);
    let body = json!({"text": LINE}).to_string();
    doors.post("/api/v1/explain", &doors.ingest, &body).await.problem(403);
    doors.stop().await;
}
