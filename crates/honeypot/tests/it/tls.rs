//! Services behind TLS, over real sockets and with real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use palisade_event::Event;
use palisade_honeypot::tls::client_hello::ClientHello;
use palisade_honeypot::tls::ja4::ja4;
use palisade_honeypot::{Config, HttpConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use support::{PATIENCE, Zone, config, connect, kinds, read_all, request, send, text};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub(crate) fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// Telnet and nginx, both behind TLS with the certificate of these tests.
fn secured() -> Config {
    let mut config = config();
    let http =
        HttpConfig { site: Some("nginx".to_owned()), fail_delay_ms: 0, ..HttpConfig::default() };
    config.services[1].http = Some(http);
    config.persona.server = Some("debian12".to_owned());
    for service in &mut config.services {
        service.tls = true;
        service.certificate = Some(file("cert.pem"));
        service.key = Some(file("key.pem"));
    }
    config
}

async fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = spawned else {
        println!("skipped: {program} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("ends in time").unwrap();
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A client's configuration that trusts the certificate of these tests alone.
fn client(protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Asks over TLS on a thread of its own; the answer and the ClientHello.
pub(crate) async fn ask(
    address: std::net::SocketAddr,
    protocols: &[&str],
    asked: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let (config, asked) = (client(protocols), asked.to_vec());
    let asking = tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from("web1").unwrap();
        let mut tls = ClientConnection::new(config, name).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut socket, &hello).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        std::io::Write::write_all(&mut stream, &asked).unwrap();
        let mut answer = Vec::new();
        // The end is in order: no truncation.
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        (answer, hello)
    });
    tokio::time::timeout(PATIENCE, asking).await.expect("in time").unwrap()
}

fn fingerprint(event: &Event) -> String {
    event.fingerprints.as_ref().unwrap().ja4.as_ref().expect("JA4").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_tls_is_answered_and_its_client_recorded() {
    let mut zone = Zone::start(&secured()).await;
    let asked = b"GET / HTTP/1.1\r\nHost: web1\r\nConnection: close\r\n\r\n";
    let (answer, hello) = ask(zone.http, &["h2", "http/1.1"], asked).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n"));
    let events = zone.session().await;
    let wanted = ["connection.opened", "client.identified", "http.requested", "session.closed"];
    assert_eq!(kinds(&events), wanted);
    let offered = ClientHello::parse(&hello).unwrap().unwrap();
    assert_eq!(fingerprint(&events[1]), ja4(&offered));
    assert!(fingerprint(&events[1]).starts_with("t13d"));
    assert_eq!(fingerprint(&events[2]), ja4(&offered));
    assert_eq!(
        (text(&events[1], "sni"), text(&events[1], "alpn")),
        (&b"web1"[..], &b"h2,http/1.1"[..])
    );
    assert!(events.iter().all(|event| event.validate().is_ok()));
    // A client with protocols of others alone is answered all the same.
    let (answer, _) = ask(zone.http, &["h2"], asked).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_and_many_answers_go_through() {
    let mut zone = Zone::start(&secured()).await;
    let mut asked = b"POST /x HTTP/1.1\r\nHost: web1\r\nContent-Length: 300000\r\n\r\n".to_vec();
    asked.resize(asked.len() + 300_000, b'x');
    asked.extend(b"GET / HTTP/1.1\r\nHost: web1\r\n\r\n".repeat(100));
    asked.extend_from_slice(b"GET / HTTP/1.1\r\nHost: web1\r\nConnection: close\r\n\r\n");
    let (answer, _) = ask(zone.http, &[], &asked).await;
    let text = String::from_utf8(answer).unwrap();
    assert_eq!(
        (text.matches("HTTP/1.1 404 ").count(), text.matches("HTTP/1.1 200 ").count()),
        (1, 101)
    );
    let events = zone.session().await;
    assert_eq!(events.len(), 102 + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telnet_is_spoken_through_tls() {
    let mut zone = Zone::start(&secured()).await;
    let (answer, _) = ask(zone.telnet, &[], b"root\r\na\r\nroot\r\nb\r\nroot\r\nc\r\n").await;
    assert!(String::from_utf8_lossy(&answer).contains("cam1 login: "));
    let events = zone.session().await;
    let wanted = ["connection.opened", "client.identified", "auth.attempted"];
    assert_eq!(kinds(&events)[..3], wanted);
}

#[tokio::test]
async fn plain_http_where_tls_is_spoken_is_answered_as_nginx_does() {
    let mut zone = Zone::start(&secured()).await;
    let mut client = connect(zone.http).await;
    send(&mut client, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = String::from_utf8(read_all(&mut client).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n"), "{answer}");
    assert!(answer.contains("<center>The plain HTTP request was sent to HTTPS port</center>"));
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "http.requested", "session.closed"]);
    assert_eq!(support::number(&events[1], "status"), 400);
    // Where another protocol is behind TLS, nobody answers.
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"root\r\n").await;
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, b"");
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
    assert_eq!(request(&events[1]), b"root\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_where_none_is_spoken_is_recorded_with_its_fingerprint() {
    let mut config = secured();
    for service in &mut config.services {
        (service.tls, service.certificate, service.key) = (false, None, None);
    }
    let mut zone = Zone::start(&config).await;
    let name = ServerName::try_from("web1").unwrap();
    let mut tls = ClientConnection::new(client(&["http/1.1"]), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let mut socket = connect(zone.http).await;
    send(&mut socket, &hello).await;
    assert!(read_all(&mut socket).await.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    drop(socket);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
    assert_eq!(
        (text(&events[1], "protocol"), text(&events[1], "sni")),
        (&b"tls"[..], &b"web1"[..])
    );
    assert_eq!(fingerprint(&events[1]), ja4(&ClientHello::parse(&hello).unwrap().unwrap()));
}

#[tokio::test]
async fn a_handshake_that_fails_is_recorded_and_ends() {
    let mut zone = Zone::start(&secured()).await;
    // TLS 1.0 alone, a cipher of old.
    let hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x04\x00\x2f\x00\x05\x01\x00";
    let mut client = connect(zone.http).await;
    send(&mut client, hello).await;
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with(b"\x15\x03"), "an alert: {}", answer.escape_ascii());
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "client.identified", "session.closed"]);
    assert!(fingerprint(&events[1]).starts_with("t10i0200"), "{}", fingerprint(&events[1]));
    assert!(events[1].attributes.contains_key("failure"));
    // Who leaves within the handshake has offered something all the same.
    let name = ServerName::try_from("web1").unwrap();
    let mut tls = ClientConnection::new(self::client(&[]), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let mut client = connect(zone.http).await;
    send(&mut client, &hello).await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "client.identified", "session.closed"]);
    assert!(fingerprint(&events[1]).starts_with("t13d"), "{}", fingerprint(&events[1]));
    // Something that begins as TLS and is none.
    let mut client = connect(zone.http).await;
    send(&mut client, b"\x16\x03\x01\x00\x00\x00\x00").await;
    read_all(&mut client).await;
    drop(client);
    assert_eq!(
        kinds(&zone.session().await),
        ["connection.opened", "client.identified", "session.closed"]
    );
    assert_eq!(zone.stats.panics.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clients_shake_hands() {
    let mut zone = Zone::start(&secured()).await;
    let url = format!("https://127.0.0.1:{}/", zone.http.port());
    if let Some(shown) = run("curl", &["-s", "-i", "-k", "--max-time", "50", &url], b"").await {
        assert!(shown.starts_with("HTTP/1.1 200 OK\r\nServer: nginx/1.22.1"), "{shown}");
        let events = zone.session().await;
        assert_eq!(kinds(&events)[1..3], ["client.identified", "http.requested"]);
        assert_eq!(text(&events[2], "http_client"), b"curl");
    }
    let address = format!("127.0.0.1:{}", zone.http.port());
    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let arguments =
            ["s_client", "-connect", &address, version, "-servername", "a.example", "-ign_eof"];
        let asked = b"GET / HTTP/1.0\r\n\r\n";
        let Some(shown) = run("openssl", &arguments, asked).await else { return };
        assert!(shown.contains(named) && shown.contains("Welcome to nginx!"), "{shown}");
        assert!(shown.contains("CN = web1") || shown.contains("CN=web1"), "{shown}");
        assert_eq!(text(&zone.session().await[1], "sni"), b"a.example");
    }
}
