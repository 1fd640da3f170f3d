//! HoneyPotR's report API, as its users' dashboards ask it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::common;

use common::{Answer, Doors, now, request, send_over, start};
use http::Method;
use palisade_api::{Dialect, Listener, Openness};
use palisade_event::{
    Category, Credentials, Endpoint, Event, EventId, EventKind, Fingerprints, SensorId, SessionId,
    Untrusted,
};
use serde_json::{Value, json};

/// Events of sessions, a second after each other, ten minutes ago.
#[derive(Default)]
struct Maker {
    number: u32,
    events: Vec<Event>,
}

impl Maker {
    fn add(&mut self, session: &str, from: &str, port: u16, kind: EventKind) -> &mut Event {
        self.number += 1;
        let at = now().plus_millis(i64::from(self.number) * 1_000 - 600_000);
        let id = EventId::new(at, u128::from(self.number) + 77);
        let mut event = Event::new(id, kind, at, SensorId::new("x").unwrap());
        event.session = Some(SessionId::new(session).unwrap());
        event.source =
            Some(Endpoint::tcp(std::net::SocketAddr::new(from.parse().unwrap(), 40_022)));
        event.target = Some(Endpoint::tcp(format!("192.0.2.1:{port}").parse().unwrap()));
        self.events.push(event);
        self.events.last_mut().unwrap()
    }

    fn login(&mut self, session: &str, from: &str, port: u16, user: &str) {
        let event = self.add(session, from, port, EventKind::AuthAttempted);
        event.category = Category::new("Telnet(palisade)").ok();
        event.credentials = Some(Credentials {
            username: Some(user.into()),
            password: Some("12345".into()),
            outcome: None,
        });
    }
}

/// Two sessions at 23 from one address, one at 23 and one at 9443 from another.
fn visits() -> Vec<Event> {
    let mut made = Maker::default();
    made.add("a", "8.8.8.8", 23, EventKind::ConnectionOpened).fingerprints =
        Some(Box::new(Fingerprints {
            os: Some("Linux 3.11 and newer".into()),
            distance: Some(9),
            link: Some("Ethernet or modem".into()),
            ..Fingerprints::default()
        }));
    made.login("a", "8.8.8.8", 23, "root");
    made.add("a", "8.8.8.8", 23, EventKind::CommandEntered).request = Some("id; uname -a".into());
    made.login("b", "8.8.8.8", 23, "admin");
    made.login("c", "2001:4860:4860::8888", 23, "pi");
    let asked = made.add("d", "2001:4860:4860::8888", 9443, EventKind::HttpRequested);
    asked.category = Category::new("Webpage").ok();
    asked.request = Some("POST /login".into());
    let head = Untrusted::from("Host: a\r\nCookie: SESSION=x\"\r\n");
    asked.attributes.insert("headers".into(), head.into());
    asked.attributes.insert("body".into(), "username=a&password=b".into());
    made.events
}

async fn reported(doors: &Doors) {
    doors.deliver(&visits()).await;
}

async fn ask(doors: &Doors, path: &str) -> Answer {
    doors.get(&format!("/v1/analytics{path}"), &doors.read).await
}

#[track_caller]
fn found(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

#[tokio::test]
async fn ports_are_listed_with_sessions_and_addresses_as_text() {
    let doors = start(|_| {}).await;
    reported(&doors).await;
    let links = found(&ask(&doors, "").await);
    assert_eq!(
        links,
        json!({"links": ["rel: ports, href: http://localhost/v1/analytics/ports",
            "rel: ipaddresses, href:http://localhost/v1/analytics/ipaddresses"]})
    );
    let ports = found(&ask(&doors, "/ports").await);
    let row = |port: &str, attacks: &str, addresses: &str| {
        json!({"port": port, "total_attacks": attacks, "unique_ipaddresses": addresses,
            "timespan": "days=1",
            "rel_link": format!("http://localhost/v1/analytics/ports/{port}?days=1")})
    };
    assert_eq!(ports, json!([row("23", "3", "2"), row("9443", "1", "1")]));
    // Ten minutes ago is not in the last minute.
    assert_eq!(found(&ask(&doors, "/ports?minutes=1").await), json!([]));
    let hour = found(&ask(&doors, "/ports/?hours=1").await);
    assert_eq!((&hour[0]["timespan"], &hour[0]["total_attacks"]), (&json!("hours=1"), &json!("3")));
    doors.stop().await;
}

#[tokio::test]
async fn the_sessions_of_a_port_hold_what_was_typed_and_what_the_packets_told() {
    let doors = start(|_| {}).await;
    reported(&doors).await;
    let shown = found(&ask(&doors, "/ports/23?hours=2").await);
    assert_eq!((&shown["port"], &shown["timespan"]), (&json!("23"), &json!("hours=2")));
    assert!(shown.get("next").is_none() && shown.get("truncated").is_none());
    let items = shown["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().map(|one| one["session"].as_str().unwrap()).collect();
    assert_eq!(names, ["c", "b", "a"]);
    let first = &items[2];
    assert_eq!(first["duration"], "0:00:02.000");
    assert_eq!(
        (&first["local_address"], &first["peer_address"]),
        (&json!("192.0.2.1"), &json!("8.8.8.8"))
    );
    let rows = first["session_items"].as_array().unwrap();
    let typed: Vec<Value> =
        rows.iter().map(|row| json!([row["input_type"], row["user_input"]])).collect();
    assert_eq!(
        json!(typed),
        json!([["username", "root"], ["password", "12345"], ["command", "id; uname -a"]])
    );
    for row in rows {
        assert_eq!((&row["session"], &row["peerAddress"]), (&json!("a"), &json!("8.8.8.8")));
        assert_eq!(row["localAddress"], "192.0.2.1");
        assert!(row["id"].is_string() && row["eventDateTime"].is_string());
    }
    let facts = &first["p0f"];
    assert_eq!(
        json!([facts["os_name"], facts["os_flavor"], facts["distance"], facts["link_type"]]),
        json!(["Linux", "3.11 and newer", 9, "Ethernet or modem"])
    );
    // Two of the sessions are from this address.
    assert_eq!((&facts["total_conn"], &facts["last_nat"]), (&json!(2), &Value::Null));
    assert_eq!(first["location"]["ip"], "8.8.8.8");
    assert_eq!(first["location"]["country"], "US");
    // The rest comes with the next page.
    let one = found(&ask(&doors, "/ports/23?limit=2").await);
    assert_eq!(one["items"].as_array().unwrap().len(), 2);
    let next = one["next"].as_str().unwrap();
    let two = found(&ask(&doors, &format!("/ports/23?limit=2&cursor={next}")).await);
    assert_eq!(two["items"][0]["session"], "a");
    assert!(two.get("next").is_none());
    doors.stop().await;
}

#[tokio::test]
async fn what_broke_the_original_is_answered() {
    let doors = start(|_| {}).await;
    reported(&doors).await;
    // Ports from 9000 on, and a cookie with a quotation mark in it.
    let shown = found(&ask(&doors, "/ports/9443").await);
    let row = &shown["items"][0]["session_items"][0];
    assert_eq!(
        json!([row["command"], row["path"], row["headers"], row["body"]]),
        json!(["POST", "/login", "Host: a\r\nCookie: SESSION=x\"\r\n", "username=a&password=b"])
    );
    // The list of addresses was not there at all.
    let addresses = found(&ask(&doors, "/ipaddresses?weeks=1").await);
    assert_eq!(
        addresses,
        json!([
            {"ipaddress": "2001:4860:4860::8888", "total_attacks": "2", "unique_ports": "2",
             "timespan": "weeks=1",
             "rel_link": "http://localhost/v1/analytics/ipaddresses/2001:4860:4860::8888?weeks=1"},
            {"ipaddress": "8.8.8.8", "total_attacks": "2", "unique_ports": "1",
             "timespan": "weeks=1",
             "rel_link": "http://localhost/v1/analytics/ipaddresses/8.8.8.8?weeks=1"},
        ])
    );
    for path in ["/ipaddresses/2001:4860:4860::8888", "/ipaddresses/2001%3A4860:4860::8888"] {
        let shown = found(&ask(&doors, path).await);
        assert_eq!(shown["ipaddress"], "2001:4860:4860::8888");
        let ports = shown["ports"].as_array().unwrap();
        assert_eq!(ports[0]["23"][0]["session"], "c");
        assert_eq!(ports[1]["9443"][0]["session"], "d");
    }
    let none = found(&ask(&doors, "/ipaddresses/192.0.2.77").await);
    assert_eq!(none, json!({"ipaddress": "192.0.2.77", "timespan": "days=1", "ports": []}));
    doors.stop().await;
}

#[tokio::test]
async fn bad_questions_get_one_clear_sentence_each() {
    let doors = start(|_| {}).await;
    for (path, said) in [
        ("/ports/0", "invalid port given"),
        ("/ports/65536", "invalid port given"),
        ("/ports/-1", "invalid port given"),
        ("/ports/telnet", "invalid port given"),
        ("/ports?days=0", "days must be a whole number from 1 to 3660"),
        ("/ports?days=x", "days must be a whole number from 1 to 3660"),
        ("/ports/23?hours=1e9", "hours must be"),
        ("/ports/23?weeks=99999999999999999999", "weeks must be"),
        ("/ports/23?limit=0", "limit must be from 1 to"),
        ("/ports/23?cursor=x", "cursor must be"),
        ("/ipaddresses/1.2.3", "invalid ipaddress given"),
        ("/ipaddresses/1.2.3.4.5", "invalid ipaddress given"),
        ("/ipaddresses/%00", "invalid ipaddress given"),
        ("/worldmap?minutes=-5", "minutes must be"),
    ] {
        let answer = ask(&doors, path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        let body = answer.json();
        assert!(body["error"].as_str().unwrap().starts_with(said), "{path}: {body}");
        assert_eq!(body.as_object().unwrap().len(), 1);
    }
    let nothing = ask(&doors, "/hosts").await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.json()["error"].is_string());
    doors.stop().await;
}

#[tokio::test]
async fn who_may_ask_is_in_the_settings() {
    let doors = start(|config| {
        config.report.site = Some("http://localhost:8000".into());
        let first = config.listeners[1].clone();
        config.listeners.push(Listener { dialects: vec![Dialect::Report], ..first });
    })
    .await;
    reported(&doors).await;
    let stranger = doors.get("/v1/analytics/ports", "").await;
    assert_eq!(stranger.status, 401, "{}", stranger.text());
    assert!(stranger.json()["error"].as_str().unwrap().contains("scope 'read'"));
    assert!(stranger.header("www-authenticate").starts_with("Basic"));
    assert_eq!(stranger.header("access-control-allow-origin"), "http://localhost:8000");
    let delivers = doors.get("/v1/analytics/ports", &doors.ingest).await;
    assert_eq!(delivers.status, 403);
    // A listener of this dialect alone has nothing else.
    let alone = async |path: &str| {
        let stream = tokio::net::TcpStream::connect(doors.addresses[2]).await.unwrap();
        send_over(stream, request(Method::GET, path, &doors.read, "")).await
    };
    assert_eq!(alone("/v1/analytics/ports").await.status, 200);
    assert_eq!(alone("/api/v1/events").await.status, 404);
    assert_eq!(alone("/alert/retrieveAlertsCount?time=1").await.status, 404);
    doors.stop().await;

    for (open, ports) in [(Openness::Community, 0), (Openness::All, 2)] {
        let doors = start(|config| config.report.open = open).await;
        reported(&doors).await;
        let seen = found(&doors.get("/v1/analytics/ports", "").await);
        // What was delivered is private.
        assert_eq!(seen.as_array().unwrap().len(), ports, "{open:?}");
        doors.stop().await;
    }
}

#[tokio::test]
async fn the_world_map_is_a_picture_with_counts_that_is_kept_for_a_minute() {
    let doors = start(|_| {}).await;
    let empty = ask(&doors, "/worldmap?weeks=1").await;
    reported(&doors).await;
    let picture = ask(&doors, "/worldmap?days=7").await;
    assert_eq!(picture.status, 200, "{}", picture.text());
    assert_eq!(picture.header("content-type"), "image/png");
    let red = |answer: &Answer| {
        let map = tiny_skia::Pixmap::decode_png(&answer.body).unwrap();
        assert_eq!((map.width(), map.height()), (1_200, 680));
        map.pixels().iter().filter(|dot| dot.red() > 150 && dot.green() < 120).count()
    };
    assert_eq!(red(&empty), 0);
    assert!(red(&picture) > 10, "{}", red(&picture));
    let again = ask(&doors, "/worldmap?weeks=1").await;
    assert_eq!(again.body, empty.body);
    doors.stop().await;
}
