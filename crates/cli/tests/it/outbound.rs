//! Forwarding with the real binary: to another hub that goes away and comes
//! back, through kill -9, and to backends that refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use palisade_event::{
    Credentials, Endpoint, Event, EventId, EventKind, Outcome, SensorId, Timestamp, wire,
};
use serde_json::Value;
use support::{Palisade, cli, cli_with_input, query_events, wait};

/// Events of which two of three are logins.
fn events(first: u32, count: u32) -> Vec<Event> {
    let now = Timestamp::from(std::time::SystemTime::now());
    let sensor = SensorId::new("pot-1").unwrap();
    (first..first + count)
        .map(|n| {
            let at = now.plus_millis(-i64::from(n));
            let kind = match n % 3 {
                0 => EventKind::ConnectionOpened,
                _ => EventKind::AuthAttempted,
            };
            let mut event = Event::new(EventId::new(at, u128::from(n)), kind, at, sensor.clone());
            event.source =
                Some(Endpoint::tcp(format!("8.8.4.{}:4711", n % 250 + 1).parse().unwrap()));
            event.target = Some(Endpoint::tcp("203.0.113.5:22".parse().unwrap()));
            event.credentials = (kind == EventKind::AuthAttempted).then(|| Credentials {
                username: Some("root".into()),
                password: Some(format!("p{n}").into()),
                outcome: Some(Outcome::Failed),
            });
            event.with("number", i64::from(n))
        })
        .collect()
}

/// Brings events into a running hub; returns once they are acknowledged.
fn import(home: &Path, events: &[Event]) {
    let file = home.join("events.ndjson");
    let lines: Vec<u8> = events
        .iter()
        .flat_map(|event| [wire::encode_event(event), b"\n".to_vec()].concat())
        .collect();
    fs::write(&file, lines).unwrap();
    let output = cli(home, &["import", "--restart", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn hub_settings(home: &Path, port: u16, more: &str) {
    let text = format!(
        "data = \"{}/data\"\nsensor = \"test\"\n[[api.listeners]]\naddress = \"127.0.0.1:{port}\"\ntls = false\n{more}",
        home.display()
    );
    fs::write(home.join("palisade.toml"), text).unwrap();
}

fn start_hub(home: &Path) -> Palisade {
    Palisade::start(home, &["hub", "--config", home.join("palisade.toml").to_str().unwrap()])
}

/// How the one target of a hub is doing.
fn target(palisade: &Palisade) -> Value {
    status(palisade)["outbound"][0].clone()
}

/// How a hub is doing.
fn status(palisade: &Palisade) -> Value {
    let output = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(palisade.home.join("data/palisade.sock"))
        .arg("http://localhost/api/v1/status")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// What both hubs must agree on: all but what each sets itself.
fn comparable(home: &Path) -> Vec<String> {
    let mut events: Vec<String> = query_events(home, "kind:auth.attempted")
        .into_iter()
        .map(|mut event| {
            for own in ["sensor", "received_at", "domain", "source_geo", "target_geo"] {
                event.as_object_mut().unwrap().remove(own);
            }
            event["attributes"].as_object_mut().unwrap().remove("via");
            event.to_string()
        })
        .collect();
    events.sort();
    events
}

#[test]
fn another_hub_gets_all_that_matches_once_though_both_are_killed() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    hub_settings(far.path(), port, "");
    let hub = start_hub(far.path());
    let output = cli(far.path(), &["key", "add", "near", "--scope", "ingest"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(near.path().join("far.key"), &output.stdout).unwrap();
    let config = format!(
        "[[hub.outbound]]\nname = \"far\"\nkind = \"palisade\"\nquery = \"kind:auth.attempted\"\n\
         url = \"http://127.0.0.1:{port}\"\nkey_file = \"{}/far.key\"\n",
        near.path().display()
    );
    hub_settings(near.path(), 0, &config);
    let sender = start_hub(near.path());
    import(near.path(), &events(0, 600));
    hub.wait_count("sensor:near", 400);
    assert_eq!(hub.count("kind:connection.opened"), 0);

    // The far side goes; what comes meanwhile waits, and says why.
    hub.kill();
    import(near.path(), &events(600, 3000));
    let waiting = wait("events wait and the reason is shown", || {
        let target = target(&sender);
        (target["pending"].as_u64() == Some(2000) && target["error"].is_string()).then_some(target)
    });
    assert!(waiting["error"].as_str().unwrap().contains("connect"), "{waiting}");
    assert_eq!(waiting["sent"], 400);

    // It comes back, and the near side is killed while it forwards.
    let hub = start_hub(far.path());
    wait("some have arrived", || (hub.count("sensor:near") > 400).then_some(()));
    sender.kill();
    let sender = start_hub(near.path());
    import(near.path(), &events(3600, 30));
    hub.wait_count("sensor:near", 2420);
    sender.wait_count("kind:auth.attempted", 2420);
    wait("nothing waits any more", || (target(&sender)["pending"] == 0).then_some(()));
    assert_eq!(comparable(far.path()), comparable(near.path()));

    // An event that comes back is known, whatever sensor brings it.
    let mut returned: Event =
        serde_json::from_value(query_events(far.path(), "kind:auth.attempted")[0].clone()).unwrap();
    returned.id = EventId::new(returned.observed_at, 77);
    let output = cli(near.path(), &["key", "add", "far", "--scope", "ingest"]);
    let key = String::from_utf8(output.stdout).unwrap();
    let body = wire::encode_batch(&[wire::encode_event(&returned)]);
    let answer = std::process::Command::new("curl")
        .args(["-s", "-H", &format!("Authorization: Bearer {}", key.trim())])
        .args(["-H", "Content-Type: application/json", "--data-binary"])
        .arg(String::from_utf8(body).unwrap())
        .arg(format!("http://{}/api/v1/events", sender.http_api()))
        .output()
        .unwrap();
    let receipt: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&receipt["accepted"], &receipt["duplicate"]), (&Value::from(0), &Value::from(1)));
}

/// What the far side must know of each login, by the id that it had here.
fn logins(home: &Path, query: &str, id: impl Fn(&Value) -> Value) -> Vec<String> {
    let mut logins: Vec<String> = query_events(home, query)
        .iter()
        .map(|event| {
            serde_json::json!([
                id(event),
                event["attributes"]["number"],
                event["credentials"],
                event["source"],
                event["target"],
            ])
            .to_string()
        })
        .collect();
    logins.sort();
    logins
}

#[test]
fn the_ews_door_of_another_hub_gets_each_alert_once_though_both_are_killed() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    hub_settings(far.path(), port, "");
    let hub = start_hub(far.path());
    let add = ["user", "add", "branch", "--ews", "--token-stdin"];
    let added = cli_with_input(far.path(), &add, "a token of some length");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    fs::write(near.path().join("token"), "a token of some length\n").unwrap();
    let config = format!(
        "[[hub.outbound]]\nname = \"far\"\nkind = \"ews\"\nquery = \"kind:auth.attempted\"\n\
         url = \"http://127.0.0.1:{port}\"\nuser = \"branch\"\nsecret_file = \"{}/token\"\n",
        near.path().display()
    );
    hub_settings(near.path(), 0, &config);
    let sender = start_hub(near.path());
    import(near.path(), &events(0, 600));
    hub.wait_count("sensor:branch kind:auth.attempted", 400);

    hub.kill();
    import(near.path(), &events(600, 3000));
    let waiting = wait("alerts wait and the reason is shown", || {
        let target = target(&sender);
        (target["pending"].as_u64() == Some(2000) && target["error"].is_string()).then_some(target)
    });
    assert_eq!((&waiting["sent"], &waiting["dropped"]), (&Value::from(400), &Value::from(0)));

    // It comes back, is killed while it takes them, and then the near side too.
    let hub = start_hub(far.path());
    wait("some have arrived", || (hub.count("sensor:branch") > 400).then_some(()));
    hub.kill();
    let hub = start_hub(far.path());
    let before = hub.count("sensor:branch");
    wait("more have arrived", || {
        let now = hub.count("sensor:branch");
        (now > before || now == 2400).then_some(())
    });
    sender.kill();
    let sender = start_hub(near.path());
    import(near.path(), &events(3600, 30));
    hub.wait_count("sensor:branch", 2420);
    // What is forwarded may be committed here a second later.
    sender.wait_count("kind:auth.attempted", 2420);
    wait("nothing waits any more", || (target(&sender)["pending"] == 0).then_some(()));
    let here = logins(near.path(), "kind:auth.attempted", |event| event["id"].clone());
    let there =
        logins(far.path(), "sensor:branch", |event| event["attributes"]["event_id"].clone());
    assert_eq!(here.len(), 2420);
    assert_eq!(there, here);
    let quarantined = status(&hub)["quarantine"]["total"].clone();
    assert_eq!(quarantined, 0);
}

/// A web server that answers as it is told, request by request, and then OK.
struct Backend {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    fn start(answers: &[&str], ok: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        let mut answers: Vec<String> = answers.iter().rev().map(|a| (*a).to_owned()).collect();
        let ok = ok.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                let mut head = String::new();
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
                    continue;
                }
                kept.lock().unwrap().push(head + &String::from_utf8_lossy(&body));
                let answer = answers.pop().unwrap_or_else(|| ok.clone());
                let (status, text) = answer.split_once('|').unwrap();
                let _ = write!(
                    stream.get_mut(),
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                );
            }
        });
        Self { port, bodies }
    }

    fn requests(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

const EWS_OK: &str = "200 OK|<Result><StatusCode>OK</StatusCode><Text></Text></Result>";

#[test]
fn a_backend_that_does_not_say_ok_gets_the_same_alerts_again() {
    let home = tempfile::tempdir().unwrap();
    let backend = Backend::start(
        &["500 Oops|", "200 OK|Nope", "200 OK|<Result><StatusCode>FAIL</StatusCode></Result>"],
        EWS_OK,
    );
    fs::write(home.path().join("token"), "t0ken\n").unwrap();
    let config = format!(
        "[[hub.outbound]]\nname = \"peba\"\nkind = \"ews\"\nquery = \"kind:auth.attempted\"\n\
         url = \"http://127.0.0.1:{}\"\nuser = \"community-01-user\"\nsecret_file = \"{}/token\"\n",
        backend.port,
        home.path().display()
    );
    hub_settings(home.path(), 0, &config);
    let hub = start_hub(home.path());
    import(home.path(), &events(0, 300));
    let done = wait("all are confirmed", || {
        let target = target(&hub);
        (target["sent"] == 200 && target["pending"] == 0).then_some(target)
    });
    assert_eq!(done["retries"], 3);
    assert!(done["error"].is_null());
    let requests = backend.requests();
    let body = |n: usize| requests[n].split_once('<').unwrap().1.to_owned();
    assert!(requests[0].starts_with("POST /ews-0.1/alert/postSimpleMessage HTTP/1.1"));
    assert!(requests[0].contains("<username>community-01-user</username><token>t0ken</token>"));
    assert_eq!((body(0), body(1)), (body(1), body(2)));
    let alerts: usize = requests[3..].iter().map(|body| body.matches("<Alert>").count()).sum();
    assert_eq!(alerts, 200);
    assert!(requests.iter().all(|body| body.matches("<Alert>").count() <= 100));
    let metrics = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(home.path().join("data/palisade.sock"))
        .arg("http://localhost/metrics")
        .output()
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    assert!(metrics.contains("palisade_outbound_sent_events{target=\"peba\"} 200"), "{metrics}");
    // A wrong credential keeps everything, too.
    assert_eq!(hub.terminate(), Some(0));
    let refusing = Backend::start(&[], "403 Forbidden|");
    let config = config.replace(&backend.port.to_string(), &refusing.port.to_string());
    hub_settings(home.path(), 0, &config);
    let hub = start_hub(home.path());
    import(home.path(), &events(300, 3));
    let refused = wait("the reason is shown", || {
        Some(target(&hub)).filter(|target| target["error"].is_string())
    });
    assert!(refused["error"].as_str().unwrap().contains("check user and token"), "{refused}");
    assert_eq!(refused["pending"], 2);
}

#[test]
fn dshield_gets_signed_reports_of_connections() {
    let home = tempfile::tempdir().unwrap();
    let backend = Backend::start(&["503 Busy|"], "200 OK|ok");
    let config = format!(
        "[[hub.outbound]]\nname = \"isc\"\nkind = \"dshield\"\nquery = \"\"\n\
         url = \"http://127.0.0.1:{}/submitapi/\"\nuser = \"123456\"\nsecret_env = \"ISC_KEY\"\n",
        backend.port,
    );
    hub_settings(home.path(), 0, &config);
    let key = home.path().join("key");
    fs::write(&key, "a2V5").unwrap();
    let config = fs::read_to_string(home.path().join("palisade.toml")).unwrap();
    let with_file = format!("secret_file = \"{}\"", key.display());
    let config = config.replace("secret_env = \"ISC_KEY\"", &with_file);
    fs::write(home.path().join("palisade.toml"), config).unwrap();
    let hub = start_hub(home.path());
    import(home.path(), &events(0, 30));
    wait("all are reported", || (target(&hub)["sent"] == 30).then_some(()));
    let requests = backend.requests();
    let last = requests.last().unwrap().to_lowercase();
    assert!(last.starts_with("post /submitapi/ http/1.1"), "{last}");
    assert!(last.contains("x-isc-authorization: isc-hmac-sha256 credentials="), "{last}");
    assert!(last.contains("userid=123456 nonce=") && last.contains("x-isc-logtype: firewall"));
    assert!(!last.contains("a2v5"), "the key itself is never sent");
    let body = requests.last().unwrap().split_once('{').unwrap().1;
    let report: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
    assert_eq!(report["type"], "firewall");
    assert_eq!(report["logs"][0]["dip"], "203.0.113.5");
}
