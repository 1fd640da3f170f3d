//! Machines, findings and changes by the native API.

use crate::common;

use common::{Doors, now, start};
use palisade_event::{AttributeValue, Event, EventId, EventKind, HostName, SensorId};
use serde_json::{Value, json};

fn event(number: u32, kind: EventKind) -> Event {
    let at = now().plus_millis(-60_000 + i64::from(number) * 1000);
    let id = EventId::new(at, u128::from(number) + 900);
    let mut event = Event::new(id, kind, at, SensorId::new("x").unwrap());
    event.host = HostName::new("web-1").ok();
    event
}

async fn told(doors: &Doors) {
    let events = [
        event(1, EventKind::HostReported)
            .with("section", "system")
            .with("snapshot", "s")
            .with("data", r#"{"os":{"name":"Debian 12"},"hostname":"web-1"}"#),
        event(2, EventKind::HostSampled)
            .with("cpu_pct", AttributeValue::Real(12.5))
            .with("load1", AttributeValue::Real(0.25)),
        event(3, EventKind::HostAlerted)
            .with("alert", "disk:/")
            .with("rule", "disk")
            .with("level", "warning")
            .with("message", "<b>/ is full</b>"),
        event(4, EventKind::FindingOpened)
            .with("check", "ssh-root-login")
            .with("title", "Root may log in")
            .with("severity", "high"),
        event(5, EventKind::HostChanged).with("section", "devices").with("action", "added"),
    ];
    doors.deliver(&events).await;
    doors.hub.look_at_hosts(now()).await.unwrap();
}

#[tokio::test]
async fn a_machine_is_listed_and_shown_with_what_it_told() {
    let doors = start(|_| {}).await;
    told(&doors).await;
    let list = doors.get("/api/v1/hosts", &doors.read).await.json();
    let host = &list["hosts"][0];
    assert_eq!(
        json!([
            host["id"],
            host["source"],
            host["name"],
            host["os"],
            host["state"],
            host["alerts"]
        ]),
        json!(["edge-1", "agent", "web-1", "Debian 12", "warning", 1])
    );
    assert_eq!(host["sample"], json!({"cpu_pct": 12.5, "load1": 0.25}));
    assert_eq!((&host["score"], &host["name_shared"]), (&Value::Null, &json!(false)));
    let shown = doors.get("/api/v1/hosts/edge-1", &doors.read).await.json();
    assert_eq!(shown["alerts"][0]["detail"]["message"], "<b>/ is full</b>");
    assert_eq!(shown["sections"]["system"]["data"]["os"]["name"], "Debian 12");
    doors.get("/api/v1/hosts/edge-9", &doors.read).await.problem(404);
    let samples = doors.get("/api/v1/hosts/edge-1/samples?hours=1&points=10", &doors.read).await;
    let samples = samples.json();
    assert_eq!((&samples["total"], &samples["picked"]), (&json!(1), &json!(false)));
    assert_eq!(samples["points"][0]["values"]["cpu_pct"], 12.5);
    // A time of its own: from is in it, to is not.
    let at = |minutes: i64| now().plus_millis(minutes * 60_000).to_string();
    let samples = async |range: String| {
        let path = format!("/api/v1/hosts/edge-1/samples?{range}");
        doors.get(&path, &doors.read).await.json()["total"].clone()
    };
    assert_eq!(samples(format!("from={}&to={}", at(-60), at(60))).await, 1);
    assert_eq!(samples(format!("from={}", at(-60))).await, 1);
    assert_eq!(samples(format!("to={}", at(-60))).await, 0);
    assert_eq!(samples(format!("from={}&to={}", at(30), at(60))).await, 0);
    let upside_down = format!("from={}&to={}", at(0), at(-60));
    let both = format!("hours=1&from={}", at(-60));
    for bad in [
        "hours=0",
        "hours=9999",
        "points=0",
        "points=9999",
        "x=1",
        "from=yesterday",
        "from=1990-01-01T00:00:00Z",
        "from=-9999-01-01T00:00:00Z&to=9999-12-31T00:00:00Z",
        &upside_down,
        &both,
    ] {
        let path = format!("/api/v1/hosts/edge-1/samples?{bad}");
        doors.get(&path, &doors.read).await.problem(400);
    }
    let changes = doors.get("/api/v1/changes?host=edge-1&limit=1", &doors.read).await.json();
    assert_eq!(
        json!([changes["changes"][0]["kind"], changes["changes"][0]["detail"]["section"]]),
        json!(["host.changed", "devices"])
    );
    let next = changes["next"].as_str().unwrap();
    let rest = doors.get(&format!("/api/v1/changes?cursor={next}"), &doors.read).await.json();
    assert_eq!(rest["changes"].as_array().unwrap().len(), 2);
    doors.get("/api/v1/changes?host=nobody", &doors.read).await.problem(404);
    doors.stop().await;
}

#[tokio::test]
async fn findings_are_suppressed_by_who_may_operate() {
    let doors = start(|_| {}).await;
    told(&doors).await;
    let list = doors.get("/api/v1/findings?new=true", &doors.read).await.json();
    assert_eq!(list["by_check"]["ssh-root-login"]["hosts"], 1);
    assert_eq!(list["by_severity"], json!({"high": 1}));
    let until = now().plus_millis(3_600_000).to_string();
    let new = json!({"check": "ssh-root-login", "reason": "a test", "until": until}).to_string();
    doors.post("/api/v1/findings/suppressions", &doors.read, &new).await.problem(403);
    let cookie = doors.sign_in().await;
    let send = async |method: http::Method, path: &str, body: &str| {
        let mut request = common::request(method, path, "", body);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("x-palisade", "1".parse().unwrap());
        doors.send(request).await
    };
    let path = "/api/v1/findings/suppressions";
    for bad in [
        json!({"check": "x", "reason": "", "until": until}),
        json!({"check": "x", "reason": "r", "until": "2001-01-01T00:00:00Z"}),
    ] {
        send(http::Method::POST, path, &bad.to_string()).await.problem(422);
    }
    let made = send(http::Method::POST, path, &new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let list = doors.get("/api/v1/findings", &doors.read).await.json();
    assert_eq!(list["by_check"]["ssh-root-login"]["hosts"], 0);
    assert_eq!(list["findings"][0]["suppressed"]["made_by"], "anna");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(doors.get(path, &doors.read).await.json()["suppressions"][0]["id"], id.as_str());
    let one = format!("{path}/{id}");
    assert_eq!(send(http::Method::DELETE, &one, "").await.status, 204);
    send(http::Method::DELETE, &one, "").await.problem(404);
    let gone = send(http::Method::DELETE, "/api/v1/hosts/edge-1", "").await;
    assert_eq!(gone.status, 204);
    doors.get("/api/v1/hosts/edge-1", &doors.read).await.problem(404);
    doors.stop().await;
}

#[tokio::test]
async fn a_stranger_sees_no_machine() {
    let doors = start(|_| {}).await;
    told(&doors).await;
    for path in ["/api/v1/hosts", "/api/v1/hosts/edge-1", "/api/v1/findings", "/api/v1/changes"] {
        doors.get(path, "").await.problem(401);
        doors.get(path, &doors.ingest).await.problem(403);
    }
    doors.stop().await;
}
