//! The public page's data: community events, and of them nothing but country,
//! place, type, time and our own words.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use common::{Doors, PATIENCE, attempt, start};
use palisade_event::{Category, Domain, Event, EventKind, SensorId, Untrusted, wire};
use palisade_hub::Principal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What must never be seen.
const SECRETS: [&str; 8] = [
    "8.8.8.8",
    "secret-user",
    "secret-password",
    "secret-request",
    "secret-sensor",
    "1.1.1.1",
    "private-type",
    "secret-host",
];

fn open(config: &mut palisade_api::Config) {
    config.public.enabled = true;
    config.public.title = "Attacks on us".into();
    config.public.link = Some("https://example.org/".into());
}

fn event(index: u64, domain: Domain) -> Event {
    let mut event = attempt(index, b"secret-user");
    event.domain = domain;
    event.sensor = SensorId::new("secret-sensor").unwrap();
    event.host = Some("secret-host".parse().unwrap());
    event.source.as_mut().unwrap().address = match domain {
        Domain::Community => "8.8.8.8".parse().unwrap(),
        Domain::Private => "1.1.1.1".parse().unwrap(),
    };
    event.category = Some(match domain {
        Domain::Community => Category::new("SSH/console(cowrie)").unwrap(),
        Domain::Private => Category::new("private-type").unwrap(),
    });
    event.request = Some(Untrusted::new(b"secret-request".to_vec()));
    event.credentials.as_mut().unwrap().password =
        Some(Untrusted::new(b"secret-password".to_vec()));
    event
}

/// Delivers as the hub's own process, which names domain and sensor.
async fn deliver(doors: &Doors, events: &[Event]) {
    let records: Vec<Vec<u8>> = events.iter().map(wire::encode_event).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let receipt = doors.hub.accept(&Principal::local(None), None, &records).await.unwrap();
    assert_eq!(receipt.accepted as usize, events.len());
    let began = tokio::time::Instant::now();
    while doors.hub.get(&Principal::local(None), events[0].id).await.unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "events become visible");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn assert_harmless(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn without_the_setting_there_is_no_public_page() {
    let doors = start(|_| {}).await;
    doors.get("/api/v1/public/summary", "").await.problem(404);
    doors.get("/api/v1/public/stream", "").await.problem(404);
    assert!(!doors.get("/public", "").await.text().contains("palisade-public"));
    doors.stop().await;
}

#[tokio::test]
async fn the_summary_counts_attacks_on_the_community_and_tells_nothing_else() {
    let doors = start(open).await;
    let mut closed = event(3, Domain::Community);
    closed.kind = EventKind::SessionClosed;
    let all = [
        event(1, Domain::Community),
        event(120, Domain::Community),
        event(2, Domain::Private),
        closed,
    ];
    deliver(&doors, &all).await;
    let answer = doors.get("/api/v1/public/summary", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "public, max-age=1");
    assert_harmless(&answer.text());
    let summary = answer.json();
    assert_eq!(summary["title"], "Attacks on us");
    assert_eq!(summary["link"], "https://example.org/");
    assert_eq!(summary["totals"], json!({"minute": 1, "hour": 2, "day": 2}));
    assert_eq!(summary["countries"], json!([{"country": "US", "count": 2}]));
    assert_eq!(summary["categories"], json!([{"category": "SSH/console(cowrie)", "count": 2}]));
    let bars = summary["timeline"].as_array().unwrap();
    assert_eq!(bars.iter().map(|bar| bar["count"].as_u64().unwrap()).sum::<u64>(), 2);
    let recent = summary["recent"].as_array().unwrap();
    assert_eq!(recent.len(), 2);
    let mut names: Vec<&String> = recent[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["at", "category", "country", "lat", "lon", "what"]);
    assert!(recent[0]["lat"].is_i64(), "whole degrees");
    assert_eq!(summary["home"], Value::Null);
    doors.stop().await;
}

#[tokio::test]
async fn one_answer_serves_all_visitors_of_a_second_and_an_address_may_not_ask_for_ever() {
    let doors = start(open).await;
    deliver(&doors, &[event(1, Domain::Community)]).await;
    let mut answers = std::collections::BTreeMap::new();
    let began = tokio::time::Instant::now();
    let mut asked = 0;
    let refused = loop {
        let answer = doors.get("/api/v1/public/summary", "").await;
        if answer.status != 200 {
            break answer;
        }
        asked += 1;
        *answers.entry(answer.json()["at"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        assert!(asked < 5_000);
    };
    assert!(asked >= 60, "{asked}");
    assert!(answers.len() as u64 <= began.elapsed().as_secs() + 2, "{answers:?}");
    assert!(refused.problem(429).contains("Too many"));
    assert!(!refused.header("retry-after").is_empty());
    doors.stop().await;
}

#[tokio::test]
async fn the_stream_has_attacks_on_the_community_alone_and_is_bounded_an_address() {
    let doors = start(open).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = doors.plain().await;
        let ask = b"GET /api/v1/public/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let mut head = vec![0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut head)).await.unwrap().unwrap();
        assert!(head[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        streams.push(stream);
    }
    doors.get("/api/v1/public/stream", "").await.problem(429);

    deliver(&doors, &[event(0, Domain::Private), event(1, Domain::Community)]).await;
    let mut heard = String::new();
    let mut bytes = vec![0; 4096];
    while !heard.contains("event: attack") {
        let read = tokio::time::timeout(PATIENCE, streams[0].read(&mut bytes)).await.unwrap();
        heard.push_str(&String::from_utf8_lossy(&bytes[..read.unwrap()]));
    }
    assert_harmless(&heard);
    assert_eq!(heard.matches("event: attack").count(), 1);
    assert!(heard.contains(r#""what":"Login attempt""#), "{heard}");
    // A place is free again once a visitor has left.
    drop(streams.pop());
    let began = tokio::time::Instant::now();
    loop {
        let mut stream = doors.plain().await;
        stream
            .write_all(b"GET /api/v1/public/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut head = vec![0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut head)).await.unwrap().unwrap();
        if head[..read].starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the place is given back");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    drop(streams);
    doors.stop().await;
}

#[tokio::test]
async fn a_visitor_may_do_nothing_else() {
    let doors = start(open).await;
    deliver(&doors, &[event(1, Domain::Community)]).await;
    for path in
        ["/api/v1/events", "/api/v1/cves", "/api/v1/sensors", "/api/v1/stream", "/api/v1/status"]
    {
        doors.get(path, "").await.problem(401);
    }
    doors.stop().await;
}
