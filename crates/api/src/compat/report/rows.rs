//! A session as the dialect shows it: when it was, who came, and a row for each
//! thing that happened in it. A row has `id`, `session`, `eventDateTime`,
//! `peerAddress` and `localAddress`, and the columns of the service beside them.
//!
//! Text of an attacker that is no UTF-8 is `{"base64": …}`, as everywhere.

use palisade_event::{AttributeValue, Credentials, Endpoint, Event, EventKind, Geo, Untrusted};
use palisade_hub::ReportedSession;
use serde_json::{Map, Value, json};

/// What categories of telnet services begin with.
const TELNET: &str = "Telnet";

/// A session. `connections` is how many of its source are in the answer.
pub(super) fn session(reported: &ReportedSession, connections: usize) -> Value {
    let events = &reported.events;
    let begin = events.iter().map(|event| event.observed_at).min();
    let end = events.iter().map(|event| event.observed_at).max();
    let told = events.iter().rev().find_map(|event| match event.attributes.get("duration_ms") {
        Some(AttributeValue::Integer(millis)) if event.kind == EventKind::SessionClosed => {
            Some((*millis).max(0))
        }
        _ => None,
    });
    let begin = match (told, end) {
        (Some(millis), Some(end)) => begin.map(|begin| begin.min(end.plus_millis(-millis))),
        _ => begin,
    };
    let millis = begin.zip(end).map_or(0, |(begin, end)| end.as_millis() - begin.as_millis());
    let source = events.iter().find_map(|event| event.source);
    let target = events.iter().find_map(|event| event.target);
    let mut shown = json!({
        "session": reported.id,
        "begin_time": begin,
        "end_time": end,
        "duration": duration(millis),
        "local_address": target.map(|end| end.address),
        "peer_address": source.map(|end| end.address),
        "session_items": events.iter().flat_map(rows).collect::<Vec<_>>(),
    });
    let geo = events.iter().find_map(|event| event.source_geo.as_deref());
    let place = geo.zip(source).map(|(geo, source)| location(geo, source));
    if let Some(shown) = shown.as_object_mut() {
        let more = [("p0f", p0f(events, connections)), ("location", place)];
        let more = more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        shown.extend(more);
    }
    shown
}

/// Hours, minutes, seconds, as Python writes a difference of times.
fn duration(millis: i64) -> String {
    let (secs, millis) = (millis.max(0) / 1000, millis.max(0) % 1000);
    format!("{}:{:02}:{:02}.{millis:03}", secs / 3600, secs / 60 % 60, secs % 60)
}

/// What a passive look at the connection told; `None` where nothing did.
fn p0f(events: &[Event], connections: usize) -> Option<Value> {
    let prints = || events.iter().filter_map(|event| event.fingerprints.as_deref());
    let attribute = |name: &str| events.iter().find_map(|event| event.attributes.get(name));
    let os = prints().find_map(|prints| prints.os.as_deref());
    let agent = prints().find_map(|prints| prints.user_agent.as_ref());
    let client = attribute("http_client");
    let language = attribute("language");
    if prints().next().is_none() && client.is_none() && language.is_none() {
        return None;
    }
    let (name, flavor) = os.map_or((None, None), |os| match os.split_once(' ') {
        Some((name, flavor)) => (Some(name), Some(flavor)),
        None => (Some(os), None),
    });
    Some(json!({
        "first_seen": events.first().map(|event| event.observed_at),
        "last_seen": events.last().map(|event| event.observed_at),
        "uptime": prints().find_map(|prints| prints.uptime_secs),
        "last_nat": null,
        "last_chg": null,
        "distance": prints().find_map(|prints| prints.distance),
        "bad_sw": null,
        "os_name": name,
        "os_flavor": flavor,
        "os_match_q": attribute("os_match"),
        "http_name": client,
        "http_flavor": agent,
        "total_conn": connections,
        "link_type": prints().find_map(|prints| prints.link.as_deref()),
        "language": language,
    }))
}

fn location(geo: &Geo, source: Endpoint) -> Value {
    json!({
        "ip": source.address,
        "hostname": null,
        "city": geo.city,
        "region": null,
        "country": geo.country.as_ref().map(|code| code.as_str()),
        "lat": geo.lat,
        "long": geo.lon,
        "org": geo.organisation,
        "postal": null,
    })
}

/// The rows of an event. The beginning and the end of a session are none: they
/// are its times.
fn rows(event: &Event) -> Vec<Value> {
    let telnet = event.category.as_ref().is_some_and(|of| of.as_str().starts_with(TELNET));
    match event.kind {
        EventKind::ConnectionOpened | EventKind::SessionClosed => Vec::new(),
        EventKind::AuthAttempted if telnet => {
            let Credentials { username, password, .. } =
                event.credentials.clone().unwrap_or_default();
            let parts = [("username", username), ("password", password)];
            let typed = parts.into_iter().filter_map(|(kind, text)| Some((kind, text?)));
            typed
                .map(|(kind, text)| input(event, &format!("{}-{kind}", event.id), kind, &text))
                .collect()
        }
        EventKind::CommandEntered => {
            let line = event.request.clone().unwrap_or_default();
            vec![input(event, &event.id.to_string(), "command", &line)]
        }
        EventKind::HttpRequested => vec![request(event)],
        _ => vec![other(event)],
    }
}

/// The columns that every row has, over those of its service: nobody else says
/// whose row it is.
fn row(event: &Event, id: &str, mut columns: Map<String, Value>) -> Value {
    columns.insert("id".into(), id.into());
    columns.insert("session".into(), json!(event.session));
    columns.insert("eventDateTime".into(), json!(event.observed_at));
    columns.insert("peerAddress".into(), json!(event.source.map(|end| end.address)));
    columns.insert("localAddress".into(), json!(event.target.map(|end| end.address)));
    Value::Object(columns)
}

fn input(event: &Event, id: &str, kind: &str, text: &Untrusted) -> Value {
    let mut columns = Map::new();
    columns.insert("input_type".into(), kind.into());
    columns.insert("user_input".into(), json!(text));
    row(event, id, columns)
}

fn request(event: &Event) -> Value {
    let line = event.request.as_ref().map(Untrusted::as_bytes).unwrap_or_default();
    let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (method, path) = line.split_at(space);
    let attribute = |name: &str| event.attributes.get(name).map_or(json!(""), |value| json!(value));
    let mut columns = Map::new();
    columns.insert("command".into(), json!(Untrusted::new(method)));
    columns.insert("path".into(), json!(Untrusted::new(path.trim_ascii())));
    columns.insert("headers".into(), attribute("headers"));
    columns.insert("body".into(), attribute("body"));
    row(event, &event.id.to_string(), columns)
}

/// Anything else: what a plug-in records are its own columns.
fn other(event: &Event) -> Value {
    let mut columns = Map::new();
    for (name, value) in &event.attributes {
        columns.insert(name.to_string(), json!(value));
    }
    let mut add = |name: &str, value: Value| {
        if !value.is_null() {
            columns.entry(name).or_insert(value);
        }
    };
    add("event", event.kind.as_str().into());
    add("request", json!(event.request));
    add("client", json!(event.client));
    if let Some(login) = &event.credentials {
        add("username", json!(login.username));
        add("password", json!(login.password));
        add("outcome", json!(login.outcome));
    }
    add("payload", json!(event.payload));
    add("payload_name", json!(event.payload_name));
    row(event, &event.id.to_string(), columns)
}

#[cfg(test)]
mod tests {
    use palisade_event::{Category, EventId, SensorId, SessionId, Timestamp};

    use super::*;

    fn event(kind: EventKind, at: i64) -> Event {
        let at = Timestamp::from_millis(1_790_000_000_000 + at);
        let mut event = Event::new(EventId::new(at, 7), kind, at, SensorId::new("pot").unwrap());
        event.session = Some(SessionId::new("s1").unwrap());
        event.source = Some(Endpoint::tcp("198.51.100.7:40022".parse().unwrap()));
        event.target = Some(Endpoint::tcp("192.0.2.1:9443".parse().unwrap()));
        event
    }

    #[test]
    fn each_input_of_telnet_is_a_row() {
        let mut login = event(EventKind::AuthAttempted, 0);
        login.category = Category::new("Telnet(palisade)").ok();
        login.credentials = Some(Credentials {
            username: Some("root".into()),
            password: Some("x\"y".into()),
            outcome: None,
        });
        let rows = rows(&login);
        let typed: Vec<_> =
            rows.iter().map(|row| (row["input_type"].clone(), row["user_input"].clone())).collect();
        assert_eq!(typed, [(json!("username"), json!("root")), (json!("password"), json!("x\"y"))]);
        assert_ne!(rows[0]["id"], rows[1]["id"]);
    }

    #[test]
    fn columns_of_a_plug_in_are_columns_but_never_those_of_the_frame() {
        let row = event(EventKind::DataReceived, 0)
            .with("session", "another")
            .with("id", 1_i64)
            .with("level", 3_i64)
            .with("name", "a\"b");
        let shown = &rows(&row)[0];
        assert_eq!(shown["session"], "s1");
        assert_eq!(shown["id"], json!(row.id));
        assert_eq!((&shown["level"], &shown["name"]), (&json!(3), &json!("a\"b")));
        assert_eq!(shown["peerAddress"], "198.51.100.7");
    }

    #[test]
    fn a_request_is_method_path_headers_and_body() {
        let mut asked = event(EventKind::HttpRequested, 0).with("headers", "Cookie: SESSION=x\"");
        asked.request = Some(Untrusted::new(b"GET /\xff?a b".to_vec()));
        let shown = &rows(&asked)[0];
        assert_eq!(shown["command"], "GET");
        assert_eq!(shown["path"]["base64"], "L/8/YSBi");
        assert_eq!(
            (&shown["headers"], &shown["body"]),
            (&json!("Cookie: SESSION=x\""), &json!(""))
        );
    }

    #[test]
    fn the_times_of_a_session_are_those_it_tells_at_its_end() {
        let events = vec![
            event(EventKind::DataReceived, 1_500),
            event(EventKind::SessionClosed, 2_000).with("duration_ms", 62_000_i64),
        ];
        let reported = ReportedSession {
            id: SessionId::new("s1").unwrap(),
            sensor: SensorId::new("pot").unwrap(),
            events,
        };
        let shown = session(&reported, 1);
        assert_eq!(shown["duration"], "0:01:02.000");
        assert_eq!(shown["session_items"].as_array().unwrap().len(), 1);
        assert!(shown.get("p0f").is_none());
        assert_eq!(shown["local_address"], "192.0.2.1");
    }
}
