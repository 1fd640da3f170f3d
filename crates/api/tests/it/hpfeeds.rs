//! The hpfeeds broker and what hostile clients do to it, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Doors, PATIENCE, start};
use palisade_api::{HpfeedsConfig, HpfeedsIdent, HpfeedsListener};
use palisade_event::Domain;
use palisade_hub::Principal;
use palisade_store::query::Query;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn broker() -> Doors {
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let ident = |name: &str, domain| HpfeedsIdent {
        ident: name.to_owned(),
        secret_file: Some(file.clone()),
        secret_env: None,
        publish: vec!["c".to_owned(), "d*".to_owned()],
        subscribe: vec!["c".to_owned(), "palisade.*".to_owned()],
        domain,
        sensor: None,
    };
    start(|config| {
        let address = "127.0.0.1:0".parse().unwrap();
        config.hpfeeds = HpfeedsConfig {
            listeners: vec![HpfeedsListener { address, tls: false }],
            idents: vec![ident("own", Domain::Private), ident("open", Domain::Community)],
            ..HpfeedsConfig::default()
        };
        config.limits.handshake_secs = 2;
    })
    .await
}

fn frame(opcode: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(data.len() + 5).unwrap().to_be_bytes().to_vec();
    bytes.push(opcode);
    bytes.extend_from_slice(data);
    bytes
}

fn publish(ident: &str, channel: &str, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![u8::try_from(ident.len()).unwrap()];
    data.extend_from_slice(ident.as_bytes());
    data.push(u8::try_from(channel.len()).unwrap());
    data.extend_from_slice(channel.as_bytes());
    data.extend_from_slice(payload);
    frame(3, &data)
}

fn subscribe(ident: &str, channel: &str) -> Vec<u8> {
    let mut data = vec![u8::try_from(ident.len()).unwrap()];
    data.extend_from_slice(ident.as_bytes());
    data.extend_from_slice(channel.as_bytes());
    frame(4, &data)
}

struct Client(TcpStream);

impl Client {
    async fn connect(at: SocketAddr) -> (Self, Vec<u8>) {
        let mut client = Self(TcpStream::connect(at).await.unwrap());
        let (opcode, data) = client.read().await.expect("a greeting");
        assert_eq!(opcode, 1);
        let name = usize::from(data[0]);
        assert_eq!(&data[1..=name], b"palisade");
        (client, data[name + 1..].to_vec())
    }

    async fn sign_in(at: SocketAddr, ident: &str) -> Self {
        let (mut client, nonce) = Self::connect(at).await;
        client.auth(ident, &nonce, "s3cret").await;
        client
    }

    async fn auth(&mut self, ident: &str, nonce: &[u8], secret: &str) {
        let digest = ring::digest::digest(
            &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            &[nonce, secret.as_bytes()].concat(),
        );
        let mut data = vec![u8::try_from(ident.len()).unwrap()];
        data.extend_from_slice(ident.as_bytes());
        data.extend_from_slice(digest.as_ref());
        self.send(&frame(2, &data)).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` once the broker has closed.
    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let mut data = vec![0; length - 5];
            self.0.read_exact(&mut data).await.ok()?;
            Some((head[4], data))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// The error that the broker says before it closes.
    async fn refused(mut self) -> String {
        loop {
            match self.read().await {
                Some((0, message)) => {
                    assert!(self.read().await.is_none(), "closed after an error");
                    return String::from_utf8(message).unwrap();
                }
                Some(_) => {}
                None => panic!("closed without an error"),
            }
        }
    }
}

async fn events(doors: &Doors, query: &str, count: usize) -> Vec<palisade_event::Event> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let query = Query::parse(query, common::now()).unwrap();
        let found = doors.hub.search(&Principal::local(None), query, 1000, None).await.unwrap();
        if found.events.len() >= count {
            return found.events;
        }
        assert!(tokio::time::Instant::now() < deadline, "{} of {count}", found.events.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_client_may_not_do_is_refused_in_words() {
    let doors = broker().await;
    let at = doors.hpfeeds[0];
    for (bytes, word) in [
        (publish("own", "other", b"x"), "not allowed to publish here: channel other"),
        (publish("open", "c", b"x"), "invalid ident in message: open"),
        (subscribe("own", "d1"), "not allowed to subscribe"),
        (subscribe("own", "*"), "not allowed to subscribe"),
        (frame(9, b""), "unknown opcode 9"),
        (frame(3, b"\xffshort"), "malformed publish frame"),
        (frame(1, b"\x01aabcd"), "unexpected frame"),
        (vec![0x7f, 0xff, 0xff, 0xff, 3], "frame of 2147483647 bytes"),
        (vec![0xff, 0xff, 0xff, 0xff, 3], "frame of -1 bytes"),
        (vec![0, 0, 0, 4, 3], "frame of 4 bytes"),
    ] {
        let mut client = Client::sign_in(at, "own").await;
        client.send(&bytes).await;
        let said = client.refused().await;
        assert!(said.contains(word), "{said} instead of {word}");
    }
    // Before it has signed in a client may say who it is, and nothing else.
    let (mut stranger, _) = Client::connect(at).await;
    stranger.send(&publish("own", "c", b"x")).await;
    assert_eq!(stranger.refused().await, "sign in first");
    let (mut stranger, _) = Client::connect(at).await;
    stranger.send(&[0, 0x10, 0, 0, 3]).await;
    assert!(stranger.refused().await.contains("frame of 1048576 bytes"));
    let (mut wrong, nonce) = Client::connect(at).await;
    wrong.auth("own", &nonce, "guess").await;
    assert_eq!(wrong.refused().await, "authentication failed for own");
    // And not take for ever.
    let (silent, _) = Client::connect(at).await;
    assert!(silent.refused().await.contains("not signed in within 2 s"));
    assert_eq!(events(&doors, "", 0).await.len(), 0, "nothing of it is an event");
    doors.stop().await;
}

#[tokio::test]
async fn guessing_secrets_is_slow_and_does_not_hold_up_who_knows_it() {
    let doors = broker().await;
    let at = doors.hpfeeds[0];
    for _ in 0..10 {
        let (mut client, nonce) = Client::connect(at).await;
        client.auth("own", &nonce, "guess").await;
        client.refused().await;
    }
    let barred = Client(TcpStream::connect(at).await.unwrap());
    assert!(barred.refused().await.contains("too many wrong secrets"));
    doors.stop().await;
}

#[tokio::test]
async fn payloads_before_a_mistake_count_and_those_of_a_private_ident_stay_private() {
    let doors = broker().await;
    let at = doors.hpfeeds[0];
    let mut open = Client::sign_in(at, "open").await;
    open.send(&subscribe("open", "c")).await;
    let mut own = Client::sign_in(at, "own").await;
    own.send(&subscribe("own", "c")).await;
    own.send(&subscribe("own", "palisade.*")).await;
    // A subscription is in force once what its sender publishes after it comes back.
    own.send(&publish("own", "c", b"mine")).await;
    let (opcode, data) = own.read().await.unwrap();
    assert_eq!((opcode, data.as_slice()), (3, &b"\x03own\x01cmine"[..]));
    let mut bad = publish("open", "c", b"shared");
    bad.extend(publish("open", "nowhere", b"x"));
    open.send(&bad).await;
    let said = open.refused().await;
    assert!(said.contains("not allowed"), "{said}");
    // `open` has got its own payload and nothing of `own`: the error came next.
    let kept = events(&doors, "kind:data.received", 2).await;
    let domains: Vec<_> = kept.iter().map(|event| event.domain).collect();
    assert!(domains.contains(&Domain::Community) && domains.contains(&Domain::Private));
    let mut channels = Vec::new();
    while channels.len() < 3 {
        let (_, data) = own.read().await.unwrap();
        let name = usize::from(data[0]) + 1;
        let channel = &data[name + 1..=name + usize::from(data[name])];
        channels.push(String::from_utf8(channel.to_vec()).unwrap());
    }
    channels.sort();
    assert_eq!(channels, ["c", "palisade.data.received", "palisade.data.received"]);
    doors.stop().await;
}

/// An alert as the poster of T-Pot publishes it, with bytes that were captured.
const ALERT: &str = "<Alert><Analyzer id=\"dionaea-1\"/>\
    <CreateTime tz=\"+0200\">TIME</CreateTime>\
    <Source category=\"ipv4\" port=\"4711\" protocol=\"tcp\">198.51.100.7</Source>\
    <Target category=\"ipv4\" port=\"445\" protocol=\"tcp\">203.0.113.5</Target>\
    <Request type=\"binary\">f0VMRgIBAQAAAAAAAAAAAA==</Request>\
    <AdditionalData type=\"string\" meaning=\"hostname\">trap</AdditionalData></Alert>";
/// The same in the form of xmltodict.
const ALERT_JSON: &str = r##"{"Alert": {"Analyzer": {"@id": "dionaea-1"},
    "CreateTime": {"@tz": "+0200", "#text": "TIME"},
    "Source": {"@category": "ipv4", "@port": "4711", "@protocol": "tcp", "#text": "198.51.100.7"},
    "Target": {"@category": "ipv4", "@port": "445", "@protocol": "tcp", "#text": "203.0.113.5"},
    "Request": {"@type": "binary", "#text": "f0VMRgIBAQAAAAAAAAAAAA=="},
    "AdditionalData": {"@type": "string", "@meaning": "hostname", "#text": "trap"}}}"##;

#[tokio::test]
async fn ews_alerts_become_events_once_in_either_form_and_what_they_captured_is_kept() {
    let doors = broker().await;
    let mut pot = Client::sign_in(doors.hpfeeds[0], "open").await;
    pot.send(&subscribe("open", "c")).await;
    let two_hours_on = common::now().plus_millis(2 * 3_600_000).to_string();
    let local = two_hours_on.get(..19).unwrap().replace('T', " ");
    let (xml, json) = (ALERT.replace("TIME", &local), ALERT_JSON.replace("TIME", &local));
    let bad = xml.replace("198.51.100.7", "nowhere");
    let long = vec![b'z'; 100_000];
    let payloads = [xml.as_bytes(), json.as_bytes(), xml.as_bytes(), bad.as_bytes(), &long];
    for payload in payloads {
        pot.send(&publish("open", "c", payload)).await;
    }
    // What it was is handed on as it came.
    for payload in payloads {
        let (_, data) = pot.read().await.unwrap();
        assert_eq!(&data[7..], payload);
    }
    let alerts = events(&doors, "kind:payload.captured", 1).await;
    let alert = &alerts[0];
    assert_eq!((alerts.len(), alert.sensor.as_str()), (1, "open"));
    assert_eq!(alert.domain, Domain::Community);
    assert_eq!(alert.category.as_ref().unwrap().as_str(), "Network(Dionaea)");
    assert_eq!(alert.host.as_ref().unwrap().as_str(), "trap");
    assert_eq!(alert.attributes.get("channel"), Some(&"c".into()));
    let me = Principal::local(None);
    let bytes = doors.hub.payload_bytes(&me, alert.payload.unwrap()).await.unwrap().unwrap();
    assert_eq!(bytes, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // What is too long for an event is kept whole beside it.
    let opaque = events(&doors, "kind:data.received", 1).await;
    assert_eq!(opaque[0].request.as_ref().unwrap().len(), 65_536);
    let bytes = doors.hub.payload_bytes(&me, opaque[0].payload.unwrap()).await.unwrap().unwrap();
    assert_eq!(bytes, long);
    assert_eq!(events(&doors, "", 2).await.len(), 2);
    let refused = doors.hub.quarantine(&me, 10).await.unwrap();
    assert_eq!(refused.records.len(), 1);
    assert!(refused.records[0].reason.contains("its Source is no address"), "{refused:?}");
    doors.stop().await;
}

#[tokio::test]
async fn a_subscriber_that_never_reads_is_cut_off_and_others_go_on() {
    let doors = broker().await;
    let at = doors.hpfeeds[0];
    let mut slow = Client::sign_in(at, "own").await;
    slow.send(&subscribe("own", "c")).await;
    let mut publisher = Client::sign_in(at, "own").await;
    let payload = vec![b'x'; 512 * 1024];
    let dropped = "palisade_hpfeeds_subscribers_dropped_total 1";
    let mut sent = 0;
    loop {
        let metrics = doors.get("/metrics", &doors.read).await.text();
        if metrics.contains(dropped) {
            break;
        }
        assert!(sent < 200, "{metrics}");
        publisher.send(&publish("own", "c", &payload)).await;
        sent += 1;
    }
    publisher.send(&publish("own", "d", b"still here")).await;
    events(&doors, "request:\"still here\"", 1).await;
    drop(slow);
    doors.stop().await;
}

#[tokio::test]
async fn a_hub_that_takes_nothing_holds_publishers_back() {
    let doors = broker().await;
    let mut publisher = Client::sign_in(doors.hpfeeds[0], "own").await;
    publisher.send(&publish("own", "c", b"first")).await;
    events(&doors, "request:first", 1).await;
    // A hub that is closed refuses as one that is full does.
    doors.hub.close().await;
    let payload = publish("own", "c", &vec![b'x'; 1024 * 1024 - 100]);
    let mut held = false;
    for _ in 0..64 {
        let written = publisher.0.write_all(&payload);
        if tokio::time::timeout(Duration::from_secs(2), written).await.is_err() {
            held = true;
            break;
        }
    }
    assert!(held, "64 MiB went nowhere");
    doors.stop().await;
}
