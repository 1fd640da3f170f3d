//! CrowdSec's local API, as its bouncers use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::common;

use bytes::Bytes;
use common::{Answer, Doors, now, start};
use http::{Method, Request};
use http_body_util::Full;
use palisade_event::{Domain, SensorId};
use palisade_hub::{Ban, Principal, Ranges, Scope};
use serde_json::{Value, json};

const FIREWALL: &str = "crowdsec-firewall-bouncer/-";
const CUSTOM: &str = "crowdsec-custom-bouncer/-";

async fn key(doors: &Doors, name: &str, scope: Scope, domain: Domain) -> String {
    let (me, name) = (Principal::local(None), SensorId::new(name).unwrap());
    doors.hub.add_key(&me, name, &[scope], domain, now()).await.unwrap().key
}

/// A request as the bouncers of Debian send it.
async fn ask(doors: &Doors, method: Method, path: &str, key: &str, agent: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8080")
        .header("user-agent", agent)
        .header("x-api-key", key)
        .header("accept-encoding", "identity")
        .body(Full::new(Bytes::new()))
        .unwrap();
    doors.send(request).await
}

async fn stream(doors: &Doors, query: &str, key: &str, agent: &str) -> Value {
    let answer = ask(doors, Method::GET, &format!("/v1/decisions/stream{query}"), key, agent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

async fn ban(doors: &Doors, who: &str, secs: u64) {
    let ban = Ban { target: who.parse().unwrap(), duration_secs: secs, reason: None, note: None };
    doors.hub.ban(&Principal::local(None), ban, now()).await.unwrap();
}

async fn lift(doors: &Doors, who: &str) {
    let target = who.parse().unwrap();
    doors.hub.lift(&Principal::local(None), target, None, now()).await.unwrap();
}

fn values(list: &Value) -> Vec<String> {
    let Some(list) = list.as_array() else { return Vec::new() };
    list.iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_bouncer_hears_all_at_first_then_what_is_new_and_what_is_over() {
    let doors = start(|_| {}).await;
    let key = key(&doors, "fw", Scope::Bouncer, Domain::Private).await;
    let empty = ask(&doors, Method::GET, "/v1/decisions/stream?startup=true", &key, CUSTOM).await;
    assert_eq!(empty.text(), r#"{"deleted":null,"new":null}"#);
    ban(&doors, "192.0.2.1", 14_400).await;
    let first = stream(&doors, "?", &key, CUSTOM).await;
    let one = &first["new"][0];
    assert_eq!(
        (&one["type"], &one["scope"], &one["origin"], &one["scenario"]),
        (&json!("ban"), &json!("Ip"), &json!("cscli"), &json!("manual"))
    );
    let duration = one["duration"].as_str().unwrap();
    assert!(duration.starts_with("3h59m59.") || duration == "4h0m0s", "{duration}");
    assert!(one["id"].as_u64().unwrap() > 0);
    assert_eq!(stream(&doors, "?", &key, CUSTOM).await, json!({"new": null, "deleted": null}));
    // A question by HEAD is no pull.
    ban(&doors, "2001:db8::1", 60).await;
    let head = ask(&doors, Method::HEAD, "/v1/decisions/stream", &key, CUSTOM).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(values(&stream(&doors, "", &key, CUSTOM).await["new"]), ["2001:db8::1"]);
    lift(&doors, "192.0.2.1").await;
    for _ in 0..2 {
        let over = stream(&doors, "", &key, CUSTOM).await;
        assert_eq!(values(&over["deleted"]), ["192.0.2.1"]);
        assert!(
            over["deleted"][0]["duration"].as_str().unwrap().starts_with('-')
                || over["deleted"][0]["duration"] == "0s"
        );
    }
    let again = stream(&doors, "?startup=true", &key, CUSTOM).await;
    assert_eq!(
        (values(&again["new"]), values(&again["deleted"])),
        (vec!["2001:db8::1".into()], vec!["192.0.2.1".into()])
    );
    doors.stop().await;
}

#[tokio::test]
async fn networks_are_passed_expanded_or_withheld_and_nobody_is_let_in_too_early() {
    let doors = start(|_| {}).await;
    let key = key(&doors, "fw", Scope::Bouncer, Domain::Private).await;
    ban(&doors, "198.51.100.0/30", 600).await;
    ban(&doors, "10.7.0.0/16", 600).await;
    ban(&doors, "198.51.100.1", 60).await;
    ban(&doors, "192.0.2.9", 60).await;
    let custom = stream(&doors, "?startup=true", &key, CUSTOM).await;
    assert_eq!(
        values(&custom["new"]),
        ["198.51.100.0/30", "10.7.0.0/16", "198.51.100.1", "192.0.2.9"]
    );
    let scoped = stream(&doors, "?startup=true&scopes=ip", &key, CUSTOM).await;
    assert_eq!(values(&scoped["new"]), ["198.51.100.1", "192.0.2.9"]);
    let fire = stream(&doors, "?startup=true", &key, FIREWALL).await;
    let expected = ["198.51.100.0", "198.51.100.1", "198.51.100.2", "198.51.100.3", "192.0.2.9"];
    assert_eq!(values(&fire["new"]), expected);
    assert!(fire["new"][1]["duration"].as_str().unwrap().starts_with("9m"), "the longest: {fire}");
    // Its own ban is over, the network's is not.
    lift(&doors, "198.51.100.1").await;
    assert_eq!(values(&stream(&doors, "", &key, FIREWALL).await["deleted"]), [""; 0]);
    ban(&doors, "198.51.100.2", 60).await;
    stream(&doors, "", &key, FIREWALL).await;
    lift(&doors, "198.51.100.0/30").await;
    let over = values(&stream(&doors, "", &key, FIREWALL).await["deleted"]);
    assert_eq!(over, ["198.51.100.0", "198.51.100.1", "198.51.100.3"]);
    doors.stop().await;
}

#[tokio::test]
async fn filters_are_those_of_crowdsec() {
    let doors = start(|_| {}).await;
    let key = key(&doors, "fw", Scope::Bouncer, Domain::Private).await;
    ban(&doors, "192.0.2.1", 60).await;
    let count = async |query: &str| {
        let all = stream(&doors, &format!("?startup=true&{query}"), &key, CUSTOM).await;
        values(&all["new"]).len()
    };
    for (query, found) in [
        ("origins=crowdsec%2Ccscli", 1),
        ("origins=CAPI", 0),
        ("scenarios_containing=MAN%2Chttp", 1),
        ("scenarios_containing=ssh", 0),
        ("scenarios_not_containing=foo", 1),
        ("scenarios_not_containing=man", 0),
        ("scopes=Range", 0),
        ("type=captcha", 0),
        ("unknown=1&scope=", 1),
    ] {
        assert_eq!(count(query).await, found, "{query}");
    }
    let live = async |query: &str| {
        ask(&doors, Method::GET, &format!("/v1/decisions{query}"), &key, CUSTOM).await
    };
    assert_eq!(values(&live("?ip=192.0.2.1").await.json()), ["192.0.2.1"]);
    assert_eq!(live("?ip=192.0.2.2").await.text(), "null");
    assert_eq!(live("?range=192.0.2.0/24").await.text(), "null");
    assert_eq!(values(&live("?range=192.0.2.0/24&contains=false").await.json()), ["192.0.2.1"]);
    let bad = live("?ip=garbage").await;
    assert_eq!(bad.status, 500);
    assert!(bad.json()["message"].as_str().unwrap().starts_with("unable to convert 'garbage'"));
    let head = ask(&doors, Method::HEAD, "/v1/decisions?ip=192.0.2.1", &key, CUSTOM).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    doors.stop().await;
}

#[tokio::test]
async fn who_has_no_key_of_a_bouncer_is_refused_in_crowdsecs_words() {
    let doors = start(|_| {}).await;
    let ours = key(&doors, "fw", Scope::Bouncer, Domain::Private).await;
    let community = key(&doors, "other", Scope::Bouncer, Domain::Community).await;
    for path in ["/v1/decisions/stream?startup=true", "/v1/decisions"] {
        for key in ["", "wrong", &format!("{ours}x"), &doors.read, &doors.ingest, &community] {
            let refused = ask(&doors, Method::GET, path, key, FIREWALL).await;
            assert_eq!(refused.status, 403, "{key}");
            assert_eq!(refused.text(), r#"{"message":"access forbidden"}"#);
        }
    }
    let status = async |method, path| ask(&doors, method, path, &ours, FIREWALL).await;
    let health = status(Method::GET, "/health").await;
    assert_eq!(health.text(), r#"{"status":"up"}"#);
    for (method, path, code) in [
        (Method::POST, "/v1/decisions/stream", 405),
        (Method::DELETE, "/v1/decisions", 405),
        (Method::GET, "/v1/usage-metrics", 405),
        (Method::GET, "/v1/nothing", 404),
    ] {
        let answer = status(method, path).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (code, 0), "{path}");
    }
    doors.stop().await;
}

#[tokio::test]
async fn the_numbers_of_a_bouncer_are_taken_where_they_can_be_read() {
    let doors = start(|_| {}).await;
    let key = key(&doors, "fw", Scope::Bouncer, Domain::Private).await;
    let tell = async |key: &str, body: String| {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/usage-metrics")
            .header("host", "hub")
            .header("x-api-key", key)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        doors.send(request).await
    };
    let component = json!({
        "type": "crowdsec-firewall-bouncer", "version": "v0.0.31", "feature_flags": [],
        "os": {"name": "debian", "family": "", "version": "12"}, "utc_startup_timestamp": 1,
        "metrics": [{"meta": {"window_size_seconds": 900, "utc_now_timestamp": 2}, "items": [
            {"name": "dropped", "value": 5, "unit": "packet", "labels": {"ip_type": "ipv4"}},
            {"name": "active_decisions", "value": 3, "unit": "ip"}
        ]}]
    });
    let body = |components: Value| json!({ "remediation_components": components }).to_string();
    let taken = tell(&key, body(json!([component]))).await;
    assert_eq!((taken.status.as_u16(), taken.body.len()), (201, 0));
    assert_eq!(tell(&key, body(json!([component, component]))).await.status, 422);
    assert_eq!(tell(&key, body(json!([]))).await.status, 422);
    assert_eq!(tell(&key, "{}".into()).await.status, 422);
    assert_eq!(tell(&key, "x".into()).await.status, 400);
    assert_eq!(tell(&key, "x".repeat(2 << 20)).await.status, 413);
    assert_eq!(tell("wrong", body(json!([component]))).await.status, 403);
    stream(&doors, "?startup=true", &key, FIREWALL).await;
    let mut newer = component.clone();
    newer["version"] = format!("v0.0.32{}\u{7}", "x".repeat(5000)).into();
    assert_eq!(tell(&key, body(json!([newer]))).await.status, 201);
    let listed = doors.get("/api/v1/bouncers", &doors.read).await.json();
    let one = &listed["bouncers"][0];
    assert_eq!(listed["bouncers"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&one["name"], &one["agent"]), (&json!("fw"), &json!(FIREWALL)));
    assert!(one["last_pull"].is_string(), "{one}");
    let usage = &one["usage"];
    assert_eq!(usage["version"].as_str().unwrap().len(), 200, "the newest, cut");
    assert_eq!((&usage["os"], &usage["dropped_packets"]), (&json!("debian 12"), &json!(5)));
    assert_eq!((&usage["active_decisions"], &usage["dropped_bytes"]), (&json!(3), &json!(null)));
    let metrics = doors.hub.metrics_text();
    for line in [
        r#"palisade_bouncer_dropped_packets_total{bouncer="fw"} 10"#,
        r#"palisade_bouncer_active_decisions{bouncer="fw"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    assert_eq!(doors.get("/api/v1/bouncers", &doors.ingest).await.status, 403);
    doors.stop().await;
}

#[tokio::test]
async fn what_a_key_says_of_networks_beats_what_the_bouncer_calls_itself() {
    let doors = start(|_| {}).await;
    ban(&doors, "198.51.100.0/31", 600).await;
    ban(&doors, "192.0.2.9", 60).await;
    let (me, scopes) = (Principal::local(None), [Scope::Bouncer]);
    for (ranges, agent, expected) in [
        (Ranges::Pass, FIREWALL, vec!["198.51.100.0/31", "192.0.2.9"]),
        (Ranges::Expand, CUSTOM, vec!["198.51.100.0", "198.51.100.1", "192.0.2.9"]),
        (Ranges::Withhold, CUSTOM, vec!["192.0.2.9"]),
    ] {
        let name = SensorId::new(ranges.as_str()).unwrap();
        let how = (Domain::Private, ranges);
        let key = doors.hub.add_bouncer_key(&me, name, &scopes, how, now()).await.unwrap().key;
        let told = stream(&doors, "?startup=true", &key, agent).await;
        assert_eq!(values(&told["new"]), expected, "{ranges}");
    }
    let name = SensorId::new("x").unwrap();
    let how = (Domain::Private, Ranges::Pass);
    let refused = doors.hub.add_bouncer_key(&me, name, &[Scope::Read], how, now()).await;
    assert!(refused.unwrap_err().to_string().contains("scope bouncer"));
    doors.stop().await;
}
