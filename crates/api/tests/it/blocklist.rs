//! Block lists over the API: formats, queries, tags, links.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::common;

use std::io::Read as _;

use common::{Answer, Doors, now, request, start};
use http::{HeaderValue, Method, header};
use palisade_event::{Decision, DecisionType, Domain, EventId, ScenarioName, SensorId};
use palisade_hub::{Principal, Scope};
use serde_json::{Value, json};

const FORMATS: [&str; 8] = ["txt", "csv", "json", "nft", "ipset", "nginx", "pfsense", "stix"];

async fn key(doors: &Doors, name: &str, scope: Scope, domain: Domain) -> String {
    let (me, name) = (Principal::local(None), SensorId::new(name).unwrap());
    doors.hub.add_key(&me, name, &[scope], domain, now()).await.unwrap().key
}

async fn admin(doors: &Doors) -> String {
    key(doors, "boss", Scope::Admin, Domain::Private).await
}

async fn ban(doors: &Doors, admin: &str, target: &str, reason: &str) {
    let body = json!({"target": target, "reason": reason, "note": "for colleagues alone"});
    let made = doors.post("/api/v1/decisions", admin, &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

async fn text(doors: &Doors, key: &str, path: &str) -> String {
    let answer = doors.get(path, key).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text()
}

async fn with(
    doors: &Doors,
    path: &str,
    key: &str,
    name: header::HeaderName,
    value: &str,
) -> Answer {
    let mut asked = request(Method::GET, path, key, "");
    asked.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    doors.send(asked).await
}

#[tokio::test]
async fn the_list_has_what_is_in_force_and_nothing_else() {
    let doors = start(|_| {}).await;
    let admin = admin(&doors).await;
    assert_eq!(text(&doors, &doors.read, "/api/v1/blocklist.txt").await, "");
    ban(&doors, &admin, "198.51.100.7", "scans").await;
    ban(&doors, &admin, "198.51.100.7", "scans again").await;
    ban(&doors, &admin, "192.0.2.0/24", "=1+1, \"x\"").await;
    ban(&doors, &admin, "8.8.8.8", "resolver").await;
    ban(&doors, &admin, "2001:db8::7", "scans").await;
    // Simulated, withheld and other words than ban: nobody is kept out by them.
    let at = now();
    let allowed = json!({"target": "203.0.113.0/24"}).to_string();
    assert_eq!(doors.post("/api/v1/allowlist", &admin, &allowed).await.status, 201);
    let decision = |place: u128, target: &str, kind: &str, simulated| {
        let decision = Decision {
            id: EventId::new(at, place),
            kind: DecisionType::new(kind).unwrap(),
            target: target.parse().unwrap(),
            from: at,
            duration_secs: 600,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: "6 failed logins".into(),
            alert: EventId::new(at, 99),
            evidence: Vec::new(),
            simulated,
        };
        decision.to_event(SensorId::new("web-1").unwrap())
    };
    doors
        .deliver(&[
            decision(1, "198.51.100.20", "ban", true),
            decision(2, "203.0.113.9", "ban", false),
            decision(3, "198.51.100.21", "captcha", false),
            decision(4, "198.51.100.22", "ban", false),
        ])
        .await;
    let plain = "8.8.8.8\n192.0.2.0/24\n198.51.100.7\n198.51.100.22\n2001:db8::7\n";
    assert_eq!(text(&doors, &doors.read, "/api/v1/blocklist.txt").await, plain);
    for format in FORMATS {
        let answer = doors.get(&format!("/api/v1/blocklist.{format}"), &doors.read).await;
        assert!(answer.text().contains("198.51.100.22"), "{format}");
        assert!(!answer.text().contains("198.51.100.2 "), "{format}");
        for secret in ["colleagues", "boss", "203.0.113", "198.51.100.20", "captcha"] {
            assert!(!answer.text().contains(secret), "{format}: {secret}");
        }
        assert_eq!(answer.header("cache-control"), "private, max-age=10", "{format}");
    }
    let csv = doors.get("/api/v1/blocklist.csv", &doors.read).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.text().contains(",manual,operator,,\"'=1+1, \"\"x\"\"\","), "{}", csv.text());
    // What is lifted is gone at once, also from what is kept.
    let lift = request(Method::DELETE, "/api/v1/decisions/8.8.8.8", &admin, "");
    assert_eq!(doors.send(lift).await.status, 200);
    assert!(!text(&doors, &doors.read, "/api/v1/blocklist.txt").await.contains("8.8.8.8"));
    doors.stop().await;
}

#[tokio::test]
async fn a_query_says_which_and_a_wrong_one_what_is_wrong() {
    let doors = start(|_| {}).await;
    let admin = admin(&doors).await;
    for target in ["8.8.8.8", "192.0.2.0/24", "198.51.100.7"] {
        ban(&doors, &admin, target, &format!("reason of {target}")).await;
    }
    let targets = async |query: &str| -> Vec<String> {
        let list = text(&doors, &doors.read, &format!("/api/v1/blocklist.txt?q={query}")).await;
        list.lines().map(str::to_owned).collect()
    };
    assert_eq!(targets("country:US").await, ["8.8.8.8"]);
    assert_eq!(targets("ip:192.0.0.0/16").await, ["192.0.2.0/24"]);
    assert_eq!(targets("user:boss%20-country:US").await, ["192.0.2.0/24", "198.51.100.7"]);
    assert_eq!(targets("analyzer:manual%20since:1h%20%22198.51.100.7%22").await, ["198.51.100.7"]);
    assert_eq!(targets("sensor:web-1").await, Vec::<String>::new());
    let said = doors.get("/api/v1/blocklist.txt?q=colour:red", &doors.read).await.problem(422);
    assert!(said.contains("colour"), "{said}");
    doors.get("/api/v1/blocklist.txt?x=1", &doors.read).await.problem(400);
    doors.get("/api/v1/blocklist.exe", &doors.read).await.problem(404);
    doors.stop().await;
}

#[tokio::test]
async fn who_has_it_already_is_told_so_and_who_takes_gzip_gets_it() {
    let doors = start(|_| {}).await;
    let admin = admin(&doors).await;
    ban(&doors, &admin, "198.51.100.7", "scans").await;
    for format in FORMATS {
        let path = format!("/api/v1/blocklist.{format}");
        let first = doors.get(&path, &doors.read).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{format}: {tag}");
        let again = with(&doors, &path, &doors.read, header::IF_NONE_MATCH, &tag).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{format}");
        assert_eq!(again.header("etag"), tag);
        let packed = with(&doors, &path, &doors.read, header::ACCEPT_ENCODING, "gzip").await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{format}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
        assert_eq!((text, packed.header("etag")), (first.text(), &*tag), "{format}");
    }
    let path = "/api/v1/blocklist.txt";
    let tag = doors.get(path, &doors.read).await.header("etag").to_owned();
    ban(&doors, &admin, "198.51.100.8", "scans").await;
    let changed = with(&doors, path, &doors.read, header::IF_NONE_MATCH, &tag).await;
    assert_eq!(changed.status, 200);
    // The tag is of what is said: another query that gives the same has the same.
    let other = doors.get("/api/v1/blocklist.txt?q=user:boss", &doors.read).await;
    assert_eq!(other.header("etag"), changed.header("etag"));
    doors.stop().await;
}

#[tokio::test]
async fn only_who_may_has_the_list() {
    let doors = start(|_| {}).await;
    let path = "/api/v1/blocklist.txt";
    for (name, scope) in [("a", Scope::Decisions), ("b", Scope::Bouncer), ("c", Scope::Ingest)] {
        let key = key(&doors, name, scope, Domain::Private).await;
        assert_eq!(doors.get(path, &key).await.status, 200, "{name}");
        doors.get("/api/v1/blocklist-links", &key).await.problem(403);
        doors.post("/api/v1/blocklist-links", &key, r#"{"format":"txt"}"#).await.problem(403);
    }
    let stranger = key(&doors, "d", Scope::Read, Domain::Community).await;
    doors.get(path, &stranger).await.problem(403);
    doors.get(path, "").await.problem(401);
    doors.get("/api/v1/blocklist/misp/manifest.json", "").await.problem(401);
    doors.stop().await;
}

async fn link(doors: &Doors, admin: &str, body: Value) -> Value {
    let made = doors.post("/api/v1/blocklist-links", admin, &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

#[tokio::test]
async fn a_link_opens_one_list_until_it_is_revoked() {
    let doors = start(|config| config.limits.unauthenticated_burst = 100).await;
    let admin = admin(&doors).await;
    ban(&doors, &admin, "198.51.100.7", "scans").await;
    ban(&doors, &admin, "8.8.8.8", "scans").await;
    let body =
        json!({"format": "nft", "query": "country:US \"a & b\" or ip:8.8.8.8", "note": "edge"});
    let made = link(&doors, &admin, body).await;
    let path = made["path"].as_str().unwrap();
    let list = text(&doors, "", path).await;
    assert!(list.contains("8.8.8.8") && !list.contains("198.51.100.7"), "{list}");
    // Nothing of it may be another: path, query, end, id, signature.
    let expires = made["link"]["expires_at"].as_str().unwrap().to_owned();
    assert!(expires > now().plus_millis(89 * 86_400_000).to_string(), "{expires}");
    let (before, signature) = path.rsplit_once('=').unwrap();
    let mut wrong = signature.to_owned();
    let last = if wrong.ends_with('0') { "1" } else { "0" };
    wrong.replace_range(63.., last);
    let seconds = path.split("expires=").nth(1).unwrap().split('&').next().unwrap();
    let later = format!("expires={}", seconds.parse::<i64>().unwrap() + 1);
    for path in [
        format!("{before}={wrong}"),
        format!("{before}="),
        before.rsplit_once('&').unwrap().0.to_owned(),
        path.replace("blocklist.nft", "blocklist.txt"),
        path.replace("country%3AUS", "country%3ACN"),
        path.replace(&format!("expires={seconds}"), &later),
        path.replace("link=", "link=0"),
    ] {
        let said = doors.get(&path, "").await.problem(403);
        assert!(said.contains("link does not work"), "{path}: {said}");
    }
    let listed = doors.get("/api/v1/blocklist-links", &admin).await;
    assert!(!listed.text().contains(signature));
    let listed = listed.json();
    let id = listed["links"][0]["id"].as_str().unwrap();
    assert_eq!(
        (&listed["links"][0]["note"], &listed["links"][0]["by"]),
        (&json!("edge"), &json!("boss"))
    );
    let remove =
        |id: &str| request(Method::DELETE, &format!("/api/v1/blocklist-links/{id}"), &admin, "");
    assert_eq!(doors.send(remove(id)).await.status, 204);
    doors.send(remove(id)).await.problem(404);
    doors.get(path, "").await.problem(403);
    for (body, word) in [
        (json!({"format": "txt", "query": "colour:red"}), "colour"),
        (json!({"format": "txt", "duration_secs": 0}), "1 second"),
        (json!({"format": "txt", "note": "a\nb"}), "control"),
    ] {
        let said =
            doors.post("/api/v1/blocklist-links", &admin, &body.to_string()).await.problem(422);
        assert!(said.contains(word), "{said}");
    }
    doors.stop().await;
}

#[tokio::test]
async fn a_link_ends_in_its_time() {
    let doors = start(|_| {}).await;
    let admin = admin(&doors).await;
    let made = link(&doors, &admin, json!({"format": "txt", "duration_secs": 1})).await;
    let path = made["path"].as_str().unwrap();
    let began = std::time::Instant::now();
    while doors.get(path, "").await.status == 200 {
        assert!(began.elapsed() < common::PATIENCE, "it ends");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    doors.get(path, "").await.problem(403);
    doors.stop().await;
}

#[tokio::test]
async fn a_misp_feed_is_read_by_key_and_by_link() {
    let doors = start(|_| {}).await;
    let admin = admin(&doors).await;
    ban(&doors, &admin, "198.51.100.7", "scans").await;
    ban(&doors, &admin, "8.8.8.8", "scans").await;
    let made = link(&doors, &admin, json!({"format": "misp", "query": "country:US"})).await;
    let shared = made["path"].as_str().unwrap();
    for (base, key, bans) in [("/api/v1/blocklist/misp", &*doors.read, 2), (shared, "", 1)] {
        let manifest = doors.get(&format!("{base}/manifest.json"), key).await.json();
        let (id, named) = manifest.as_object().unwrap().iter().next().unwrap();
        let event = doors.get(&format!("{base}/{id}.json"), key).await.json();
        assert_eq!(event["Event"]["timestamp"], named["timestamp"]);
        assert_eq!(event["Event"]["Attribute"].as_array().unwrap().len(), bans, "{base}");
        doors.get(&format!("{base}/hashes.csv"), key).await.problem(404);
    }
    let wrong = shared.replace("misp/", "misp/0");
    doors.get(&format!("{wrong}/manifest.json"), "").await.problem(403);
    doors.stop().await;
}
