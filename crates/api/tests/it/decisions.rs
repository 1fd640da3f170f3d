//! Bans over the API: by hand, listed, lifted, spared; and agents that wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::common;

use std::time::{Duration, Instant};

use common::{Doors, now, request, start};
use http::Method;
use palisade_event::{DecisionFeed, Domain, SensorId};
use palisade_hub::{Principal, Scope};
use serde_json::{Value, json};

async fn key(doors: &Doors, name: &str, scope: Scope) -> String {
    let (me, name) = (Principal::local(None), SensorId::new(name).unwrap());
    doors.hub.add_key(&me, name, &[scope], Domain::Private, now()).await.unwrap().key
}

async fn feed(doors: &Doors, key: &str, query: &str) -> DecisionFeed {
    let answer = doors.get(&format!("/api/v1/decisions/feed{query}"), key).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    DecisionFeed::decode(&answer.body).unwrap()
}

async fn delete(doors: &Doors, path: &str, key: &str) -> common::Answer {
    doors.send(request(Method::DELETE, path, key, "")).await
}

#[tokio::test]
async fn a_ban_by_hand_is_listed_found_and_lifted() {
    let doors = start(|_| {}).await;
    let admin = key(&doors, "boss", Scope::Admin).await;
    let body = json!({"target": "198.51.100.7", "duration_secs": 60, "reason": "scans", "note": "call anna"});
    let made = doors.post("/api/v1/decisions", &admin, &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(
        (&made["origin"]["kind"], &made["origin"]["name"]),
        (&json!("operator"), &json!("boss"))
    );
    assert_eq!((&made["active"], &made["note"]), (&json!(true), &json!("call anna")));
    for who in ["198.51.100.0/24", "192.0.2.0/24", "2001:db8::7"] {
        let body = json!({"target": who}).to_string();
        assert_eq!(doors.post("/api/v1/decisions", &admin, &body).await.status, 201, "{who}");
    }
    let targets = async |query: &str| -> Vec<String> {
        let answer = doors.get(&format!("/api/v1/decisions{query}"), &doors.read).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let list = answer.json()["decisions"].as_array().unwrap().clone();
        list.iter().map(|one| one["target"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(targets("?target=198.51.100.7").await, ["198.51.100.0/24", "198.51.100.7"]);
    assert_eq!(targets("?scenario=manual&origin=boss&target=2001:db8::/32").await, ["2001:db8::7"]);
    let first = doors.get("/api/v1/decisions?limit=3", &doors.read).await.json();
    let next = first["next"].as_str().unwrap();
    assert_eq!(targets(&format!("?limit=3&cursor={next}")).await, ["198.51.100.7"]);
    for path in ["198.51.100.0/24", "192.0.2.0%2F24?reason=ours"] {
        let lifted = delete(&doors, &format!("/api/v1/decisions/{path}"), &admin).await;
        assert_eq!((lifted.status.as_u16(), &lifted.json()["lifted"]), (200, &json!(1)), "{path}");
    }
    assert_eq!(targets("").await.len(), 2);
    let past = doors.get("/api/v1/decisions?state=past", &doors.read).await.json();
    assert_eq!(past["decisions"][0]["end_reason"], "ours");
    assert_eq!(targets("?state=all").await.len(), 4);
    doors.stop().await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_in_one_sentence() {
    let doors = start(|_| {}).await;
    let admin = key(&doors, "boss", Scope::Admin).await;
    let ban = async |body: Value| doors.post("/api/v1/decisions", &admin, &body.to_string()).await;
    for (body, word) in [
        (json!({"target": "example.net"}), "neither an address"),
        (json!({"target": "127.0.0.1"}), "loopback"),
        (json!({"target": "10.0.0.0/8"}), "/16"),
        (json!({"target": "192.0.2.1", "duration_secs": 0}), "1 second"),
        (json!({"target": "192.0.2.1", "note": "x".repeat(501)}), "500 bytes"),
    ] {
        let said = ban(body).await.problem(422);
        assert!(said.contains(word), "{said}");
    }
    for path in
        ["/api/v1/decisions?limit=0", "/api/v1/decisions?cursor=x", "/api/v1/decisions?target=x"]
    {
        doors.get(path, &doors.read).await.problem(422);
    }
    doors.get("/api/v1/decisions?x=1", &doors.read).await.problem(400);
    let body = json!({"target": "192.0.2.1"}).to_string();
    for key in [&doors.read, &doors.ingest] {
        doors.post("/api/v1/decisions", key, &body).await.problem(403);
        doors.post("/api/v1/allowlist", key, &body).await.problem(403);
        delete(&doors, "/api/v1/decisions/192.0.2.1", key).await.problem(403);
    }
    doors.post("/api/v1/decisions", "", &body).await.problem(401);
    doors.get("/api/v1/decisions/feed", &doors.read).await.problem(403);
    doors.get("/api/v1/decisions/feed", "").await.problem(401);
    doors.stop().await;
}

#[tokio::test]
async fn the_allowlist_ends_and_withholds_bans() {
    let doors = start(|_| {}).await;
    let admin = key(&doors, "boss", Scope::Admin).await;
    let ban = json!({"target": "192.0.2.7"}).to_string();
    assert_eq!(doors.post("/api/v1/decisions", &admin, &ban).await.status, 201);
    let entry = json!({"target": "192.0.2.0/24", "reason": "office", "duration_secs": 60});
    let made = doors.post("/api/v1/allowlist", &admin, &entry.to_string()).await;
    assert_eq!((made.status.as_u16(), &made.json()["freed"]), (201, &json!(1)));
    let said = doors.post("/api/v1/decisions", &admin, &ban).await.problem(422);
    assert!(said.contains("192.0.2.0/24"), "{said}");
    let list = doors.get("/api/v1/allowlist", &doors.read).await.json();
    assert_eq!(list["entries"][0]["reason"], "office");
    assert_eq!(delete(&doors, "/api/v1/allowlist/192.0.2.0/24", &admin).await.status, 204);
    delete(&doors, "/api/v1/allowlist/192.0.2.0/24", &admin).await.problem(404);
    doors.stop().await;
}

#[tokio::test]
async fn a_hundred_agents_wait_and_all_hear_at_once() {
    let doors = start(|config| config.limits.connections_per_address = 200).await;
    let (admin, agent) =
        (key(&doors, "boss", Scope::Admin).await, key(&doors, "a", Scope::Decisions).await);
    let cursor = feed(&doors, &agent, "").await.cursor;
    let query = format!("?after={cursor}&wait=30");
    let began = Instant::now();
    let body = json!({"target": "192.0.2.1"}).to_string();
    let (heard, ()) = tokio::join!(
        futures_util::future::join_all((0..100).map(|_| feed(&doors, &agent, &query))),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(doors.post("/api/v1/decisions", &admin, &body).await.status, 201);
        }
    );
    assert!(heard.iter().all(|page| page.changes.len() == 1 && !page.reset));
    assert!(began.elapsed() < Duration::from_secs(15), "nobody waits for the end of the wait");
    // The doors close although somebody waits.
    let last = heard[0].cursor;
    let path = format!("/api/v1/decisions/feed?after={last}&wait=30");
    let waits = tokio::join!(doors.get(&path, &agent), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        doors.close();
    });
    assert_eq!(waits.0.status, 503);
    doors.stop().await;
}

#[tokio::test]
async fn agents_report_what_they_carry_out_and_are_directed_where_they_know_of_it() {
    let doors = start(|_| {}).await;
    let admin = key(&doors, "boss", Scope::Admin).await;
    let agent = key(&doors, "web-1", Scope::Decisions).await;
    let entry = json!({"target": "192.0.2.0/24", "reason": "office"}).to_string();
    assert_eq!(doors.post("/api/v1/allowlist", &admin, &entry).await.status, 201);
    let ban = json!({"target": "198.51.100.7"}).to_string();
    assert_eq!(doors.post("/api/v1/decisions", &admin, &ban).await.status, 201);
    let page = feed(&doors, &agent, "").await;
    assert!(page.directions.is_none(), "it did not ask");
    let path = "/api/v1/decisions/feed";
    let mut asked = request(Method::GET, path, &agent, "");
    asked.headers_mut().insert("palisade-directions", "none".parse().unwrap());
    let page = DecisionFeed::decode(&doors.send(asked).await.body).unwrap();
    let directions = page.directions.unwrap();
    assert_eq!(directions.allow[0].target.to_string(), "192.0.2.0/24");

    let path = "/api/v1/decisions/effect";
    let report = |more: Value| {
        let mut report =
            json!({"method": "nftables", "cursor": page.cursor, "directions": directions.version});
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report.to_string()
    };
    let dropped =
        json!({"dropped": [{"target": "198.51.100.7", "packets": 12}], "dropped_packets": 12});
    let taken = doors.post(path, &agent, &report(dropped)).await;
    assert_eq!((taken.status.as_u16(), &taken.json()["all"]), (200, &json!(true)));
    let effect = doors.get(&format!("{path}?target=198.51.100.7"), &doors.read).await.json();
    assert_eq!(effect["target"]["dropped_packets"], 12);
    let host = &effect["hosts"][0];
    assert_eq!((&host["sensor"], &host["state"]), (&json!("web-1"), &json!("working")));
    assert_eq!((&host["directed"], &host["about"]["state"]), (&json!(true), &json!("carried-out")));
    let list = doors.get("/api/v1/decisions", &doors.read).await.json();
    assert_eq!(list["decisions"][0]["dropped_packets"], 12);
    assert_eq!(list["counts"]["active"], 1);
    let failing = json!({"failing": {"error": "nft: not found", "since": "2026-11-20T10:00:00Z"}});
    assert_eq!(doors.post(path, &agent, &report(failing)).await.status, 200);
    let effect = doors.get(path, &doors.read).await.json();
    assert_eq!(
        (&effect["hosts"][0]["state"], &effect["hosts"][0]["error"]),
        (&json!("failing"), &json!("nft: not found"))
    );
    assert_eq!(effect["target"], Value::Null);

    for body in ["", "{}", "[]", r#"{"method":"<b>"}"#] {
        doors.post(path, &agent, body).await.problem(422);
    }
    let long = report(json!({"x": "x".repeat(600 * 1024)}));
    doors.post(path, &agent, &long).await.problem(413);
    doors.post(path, &doors.read, &report(json!({}))).await.problem(403);
    doors.get(path, &agent).await.problem(403);
    doors.get(&format!("{path}?target=x"), &doors.read).await.problem(422);
    for (query, count) in
        [("find=198.51", 1), ("find=nobody", 0), ("state=withheld", 0), ("state=all&find=BOSS", 1)]
    {
        let list = doors.get(&format!("/api/v1/decisions?{query}"), &doors.read).await.json();
        assert_eq!(list["decisions"].as_array().unwrap().len(), count, "{query}");
    }
    doors.stop().await;
}
