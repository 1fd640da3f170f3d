//! First-seen vulnerabilities, announced to a real receiver over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use palisade_api::{Config, Listener, Server};
use palisade_event::{Endpoint, Event, EventId, EventKind, SensorId, Timestamp, wire};
use palisade_hub::{Hub, Principal, Webhook, WebhookKind};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    hub: Hub,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

async fn run(data: &Path, url: String, kind: WebhookKind, secret: Option<&Path>) -> Running {
    let mut config = palisade_hub::Config::default();
    config.notify.retry_secs = 1;
    let secret_file = secret.map(Path::to_owned);
    config.notify.webhooks.push(Webhook { name: "soc".into(), url, secret_file, kind });
    assert_eq!(config.validate(), Ok(()));
    let hub = Hub::open(data, &config).await.unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener { address, tls: false, ..Listener::default() };
    let config = Config {
        listeners: vec![listener],
        public_url: Some("https://hub.example".into()),
        ..Config::default()
    };
    let server = Server::bind(&config, hub.clone(), data).await.unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(server.run(stop.clone()));
    Running { hub, stop, server }
}

impl Running {
    async fn exploit(&self, cve: &str) {
        let at = Timestamp::from(std::time::SystemTime::now());
        let sensor = SensorId::new("edge-1").unwrap();
        let id = EventId::new(at, cve.len() as u128 + u128::from(cve.as_bytes()[12]));
        let mut event = Event::new(id, EventKind::HttpRequested, at, sensor);
        event.source = Some(Endpoint::tcp("203.0.113.9:4000".parse().unwrap()));
        event.cve = Some(cve.into());
        let record = wire::encode_event(&event);
        self.hub.accept(&Principal::local(None), None, &[&record]).await.unwrap();
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.server).await.expect("it ends in time").unwrap();
        self.hub.close().await;
    }
}

/// A request as it came: head and body.
async fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.unwrap().unwrap();
        assert!(read > 0, "the request ends early");
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length: usize = header(&head, "content-length").parse().unwrap();
        if bytes.len() >= end + 4 + length {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    line.map_or("", |line| line.split_once(':').unwrap().1.trim())
}

async fn accept(receiver: &TcpListener) -> TcpStream {
    tokio::time::timeout(PATIENCE, receiver.accept()).await.expect("an announcement").unwrap().0
}

const OK: &[u8] = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_new_vulnerability_is_announced_once_signed_and_again_after_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "correct horse\n").unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", receiver.local_addr().unwrap());
    let running = run(&dir.path().join("data"), url, WebhookKind::Json, Some(&secret)).await;
    running.exploit("CVE-2026-24061").await;

    // The first time the receiver is out of order.
    let mut stream = accept(&receiver).await;
    let (_, body) = request(&mut stream).await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["repeated"], false);
    stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    drop(stream);

    let mut stream = accept(&receiver).await;
    let (head, body) = request(&mut stream).await;
    stream.write_all(OK).await.unwrap();
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&said["type"], &said["cve"]), (&"cve.first_seen".into(), &"CVE-2026-24061".into()));
    assert_eq!((&said["attempt"], &said["repeated"]), (&2.into(), &true.into()));
    assert_eq!(said["first_source"], "203.0.113.9");
    assert_eq!(said["url"], "https://hub.example/cves?cve=CVE-2026-24061");
    assert_eq!(header(&head, "x-palisade-id"), "soc/CVE-2026-24061");

    // The signature, as somebody else computes it.
    let signed = dir.path().join("signed");
    let mut text = header(&head, "x-palisade-timestamp").as_bytes().to_vec();
    text.push(b'.');
    text.extend_from_slice(&body);
    std::fs::write(&signed, text).unwrap();
    let openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", "correct horse"])
        .arg(&signed)
        .output()
        .unwrap();
    let computed = String::from_utf8(openssl.stdout).unwrap();
    let computed = computed.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(header(&head, "x-palisade-signature"), format!("sha256={computed}"));

    // Known ones are no news; the next that comes is another one.
    running.exploit("CVE-2026-24061").await;
    running.exploit("CVE-2026-9999").await;
    let mut stream = accept(&receiver).await;
    let (_, body) = request(&mut stream).await;
    stream.write_all(OK).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["cve"], "CVE-2026-9999");
    running.stop().await;
}

#[tokio::test]
async fn while_the_receiver_is_dead_nothing_else_waits_and_a_restart_announces() {
    let dir = tempfile::tempdir().unwrap();
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{port}/");
    let running = run(dir.path(), url.clone(), WebhookKind::Slack, None).await;
    running.exploit("CVE-2026-24061").await;
    let began = tokio::time::Instant::now();
    while !running.hub.metrics_text().contains("announcements_failed_total 1") {
        assert!(began.elapsed() < PATIENCE, "{}", running.hub.metrics_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let now = Timestamp::from(std::time::SystemTime::now());
    let cves = running.hub.cves(&Principal::local(None), now).await.unwrap();
    assert_eq!(cves.len(), 1);
    running.stop().await;

    let receiver = TcpListener::bind(port).await.unwrap();
    let running = run(dir.path(), url, WebhookKind::Slack, None).await;
    let mut stream = accept(&receiver).await;
    let (_, body) = request(&mut stream).await;
    stream.write_all(OK).await.unwrap();
    let said: Value = serde_json::from_slice(&body).unwrap();
    let text = said["text"].as_str().unwrap();
    assert!(text.contains("CVE-2026-24061") && text.contains("attempt 2"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_and_its_redirect_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", receiver.local_addr().unwrap());
    let running = run(dir.path(), url, WebhookKind::Json, None).await;
    running.exploit("CVE-2026-24061").await;

    // A head without an end: given up at its bound, long before this ends.
    let mut stream = accept(&receiver).await;
    request(&mut stream).await;
    let mut sent = 0_usize;
    stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    while stream.write_all(&[b"X-A: ", &[b'a'; 1000][..], b"\r\n"].concat()).await.is_ok() {
        sent += 1007;
        assert!(sent < 64 * 1024 * 1024, "it reads for ever");
    }
    // A body without an end, behind a redirect: neither is looked at.
    let mut stream = accept(&receiver).await;
    request(&mut stream).await;
    let to = elsewhere.local_addr().unwrap();
    let head =
        format!("HTTP/1.1 307 Go\r\nLocation: http://{to}/\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0_usize;
    while stream.write_all(&[b"400\r\n", &[b'b'; 1024][..], b"\r\n"].concat()).await.is_ok() {
        sent += 1031;
        assert!(sent < 64 * 1024 * 1024, "it reads for ever");
    }
    let followed = tokio::time::timeout(Duration::from_millis(300), elsewhere.accept()).await;
    assert!(followed.is_err(), "a redirect was followed");
    let text = running.hub.metrics_text();
    assert!(text.contains("palisade_announcements_total 0"), "{text}");
    running.stop().await;
}
