//! Listeners, limits and hostile clients, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use bytes::Bytes;
use common::{PATIENCE, attempt, request, send_over, start};
use http::Method;
use http_body_util::Full;
use palisade_api::{Config, Listener, Server};
use palisade_hub::Hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Sends bytes, reads until the other side closes or `enough` came.
async fn raw(mut stream: impl common::Stream, bytes: &[u8], enough: usize) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        let mut step = [0u8; 4096];
        while answer.len() < enough {
            match stream.read(&mut step).await {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&step[..count]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer or an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn malformed_and_foreign_bodies_get_a_clear_answer() {
    let doors = start(|_| {}).await;
    let key = doors.ingest.clone();
    let detail = doors.post("/api/v1/events", &key, "{\"version\":1,").await.problem(400);
    assert!(detail.contains("not {\"version\":1"), "{detail}");
    let detail =
        doors.post("/api/v1/events", &key, r#"{"version":9,"events":[]}"#).await.problem(400);
    assert!(detail.contains("version 9"), "{detail}");

    let mut form = request(Method::POST, "/api/v1/events", &key, "a=b");
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    doors.send(form).await.problem(415);
    let mut brotli = request(Method::POST, "/api/v1/events", &key, "{}");
    brotli.headers_mut().insert("content-encoding", "br".parse().unwrap());
    doors.send(brotli).await.problem(415);
    let mut torn = request(Method::POST, "/api/v1/events", &key, "no zstd");
    torn.headers_mut().insert("content-encoding", "zstd".parse().unwrap());
    doors.send(torn).await.problem(400);
    let big = format!(r#"{{"username":"{}","password":""}}"#, "x".repeat(70_000));
    doors.post("/api/v1/session", "", &big).await.problem(413);
    doors.stop().await;
}

#[tokio::test]
async fn a_gigabyte_is_refused_before_it_is_read() {
    let doors = start(|_| {}).await;
    let head = |length: &str| {
        format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n",
            doors.ingest
        )
    };
    let announced =
        raw(doors.plain().await, head("Content-Length: 1073741824").as_bytes(), 12).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");

    // Not announced, so it is counted.
    let mut stream = doors.plain().await;
    stream.write_all(head("Transfer-Encoding: chunked").as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        let chunk = [b"10000\r\n".to_vec(), vec![b' '; 65536], b"\r\n".to_vec()].concat();
        let mut sent = 0u64;
        while sent < 1 << 30 && write.write_all(&chunk).await.is_ok() {
            sent += 65536;
        }
        sent
    });
    let mut start = [0u8; 12];
    tokio::time::timeout(PATIENCE, read.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    drop(read);
    let sent = tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert!(sent < 1 << 28, "{sent} bytes were taken");
    doors.stop().await;
}

#[tokio::test]
async fn a_zip_bomb_is_refused() {
    let doors = start(|_| {}).await;
    let mut bomb = request(Method::POST, "/api/v1/events", &doors.ingest, "");
    let zeros = vec![b' '; 64 * 1024 * 1024];
    *bomb.body_mut() = Full::new(Bytes::from(zstd::encode_all(&zeros[..], 3).unwrap()));
    bomb.headers_mut().insert("content-encoding", "zstd".parse().unwrap());
    let detail = doors.send(bomb).await.problem(413);
    assert!(detail.contains("unpacked"), "{detail}");
    doors.stop().await;
}

#[tokio::test]
async fn wrong_keys_and_sessions_are_refused_and_then_slowed_down() {
    let doors = start(|config| config.limits.unauthenticated_burst = 3).await;
    doors.get("/api/v1/status", "").await.problem(401);
    doors.get("/api/v1/status", "pal_AAAAAAAA_wrong").await.problem(401);
    let mut old = request(Method::GET, "/api/v1/status", "", "");
    old.headers_mut().insert("cookie", "palisade_session=gone".parse().unwrap());
    doors.send(old).await.problem(401);
    let slowed = doors.get("/api/v1/status", "").await;
    slowed.problem(429);
    assert!(slowed.header("retry-after").parse::<u32>().unwrap() >= 1);
    let valid = doors.get("/api/v1/status", &doors.read).await;
    assert_eq!(valid.status, 200, "a valid key still works from there");
    doors.post("/api/v1/events", &doors.read, r#"{"version":1,"events":[]}"#).await.problem(403);
    doors.get("/api/v1/events", &doors.ingest).await.problem(403);
    doors.get("/metrics", &doors.ingest).await.problem(403);
    doors.stop().await;
}

#[tokio::test]
async fn an_expired_session_is_refused() {
    let doors = start(|_| {}).await;
    let long_ago = common::now().plus_millis(-400 * 86_400_000);
    let begun = doors.hub.sign_in("anna", common::PASSWORD, None, None, long_ago).await.unwrap();
    let mut show = request(Method::GET, "/api/v1/session", "", "");
    let cookie = format!("palisade_session={}", begun.token);
    show.headers_mut().insert("cookie", cookie.parse().unwrap());
    doors.send(show).await.problem(401);
    doors.stop().await;
}

#[tokio::test]
async fn sign_in_is_limited_per_address() {
    let doors = start(|config| config.limits.sign_in_burst = 2).await;
    let guess = r#"{"username":"anna","password":"guess"}"#;
    doors.post("/api/v1/session", "", guess).await.problem(401);
    doors.post("/api/v1/session", "", guess).await.problem(401);
    let limited = doors.post("/api/v1/session", "", guess).await;
    limited.problem(429);
    assert!(!limited.header("retry-after").is_empty());
    doors.stop().await;
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_so() {
    let doors = start(|_| {}).await;
    let stream = tokio::net::TcpStream::connect(doors.addresses[0]).await.unwrap();
    let answer = raw(stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", usize::MAX).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("speaks HTTPS"), "{answer}");
    assert_eq!(doors.fingerprint.len(), 64);
    let over_tls = send_over(doors.tls().await, request(Method::GET, "/heartbeat", "", "")).await;
    assert_eq!(over_tls.status, 200);
    doors.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_by_prior_knowledge() {
    let doors = start(|_| {}).await;
    let io = hyper_util::rt::TokioIo::new(doors.plain().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut get = request(Method::GET, "/heartbeat", "", "");
    *get.uri_mut() = "http://localhost/heartbeat".parse().unwrap();
    assert_eq!(sender.send_request(get).await.unwrap().status(), 200);
    driver.abort();
    doors.stop().await;
}

/// Where the hub saw the last delivery come from.
async fn last_address(doors: &common::Doors) -> String {
    let sensors = doors.get("/api/v1/sensors", &doors.read).await;
    assert_eq!(sensors.status, 200, "{}", sensors.text());
    let sensors = sensors.json();
    sensors["sensors"][0]["last_address"].as_str().unwrap_or_default().to_owned()
}

fn delivery(doors: &common::Doors, index: u64) -> http::Request<Full<Bytes>> {
    let record = palisade_event::wire::encode_event(&attempt(index, b"root"));
    let body = String::from_utf8(palisade_event::wire::encode_batch(&[record])).unwrap();
    request(Method::POST, "/api/v1/events", &doors.ingest, &body)
}

#[tokio::test]
async fn a_client_cannot_say_it_is_another_address() {
    let doors = start(|_| {}).await;
    let mut spoofed = delivery(&doors, 0);
    spoofed.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    assert_eq!(doors.send(spoofed).await.status, 200);
    assert_eq!(last_address(&doors).await, "127.0.0.1");
    doors.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_may_name_the_client() {
    let doors = start(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let mut forwarded = delivery(&doors, 0);
    forwarded.headers_mut().insert("x-forwarded-for", "1.1.1.1, 203.0.113.9".parse().unwrap());
    assert_eq!(doors.send(forwarded).await.status, 200);
    assert_eq!(last_address(&doors).await, "203.0.113.9");
    doors.stop().await;
}

#[tokio::test]
async fn a_proxy_header_names_the_client_and_must_be_there() {
    let doors = start(|config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.listeners.push(Listener { proxy_protocol: true, ..config.listeners[1].clone() });
    })
    .await;
    let connect = async || tokio::net::TcpStream::connect(doors.addresses[2]).await.unwrap();
    let mut stream = connect().await;
    stream.write_all(b"PROXY TCP4 203.0.113.9 127.0.0.1 40022 8443\r\n").await.unwrap();
    assert_eq!(send_over(stream, delivery(&doors, 0)).await.status, 200);
    assert_eq!(last_address(&doors).await, "203.0.113.9");
    let without = raw(connect().await, b"GET /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n", 1).await;
    assert_eq!(without, "");
    doors.stop().await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let doors = start(|config| config.limits.connections_per_address = 2).await;
    let get = b"GET /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = doors.plain().await;
        stream.write_all(get).await.unwrap();
        let mut start = [0u8; 15];
        stream.read_exact(&mut start).await.unwrap();
        held.push(stream);
    }
    assert_eq!(raw(doors.plain().await, get, 1).await, "");
    drop(held);
    doors.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_no_header_is_cut_off() {
    let doors = start(|config| config.limits.header_secs = 1).await;
    assert_eq!(raw(doors.plain().await, b"GET / HT", usize::MAX).await, "");
    let never_ends = raw(doors.plain().await, b"PRI * HTT", usize::MAX).await;
    assert_eq!(never_ends, "");
    doors.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let doors = start(|_| {}).await;
    let address = doors.addresses[1];
    let listener = Listener { address, tls: false, ..Listener::default() };
    let config = Config { listeners: vec![listener], ..Config::default() };
    let hub: Hub = doors.hub.clone();
    let error = Server::bind(&config, hub, doors.data.path()).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: another program")), "{error}");
    assert!(error.contains("--listen"), "{error}");
    doors.stop().await;
}

#[tokio::test]
async fn the_management_socket_is_private_and_may_do_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let doors = start(|_| {}).await;
    let path = doors.data.path().join("palisade.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let users = send_over(stream, request(Method::GET, "/api/v1/users", "", "")).await;
    assert_eq!(users.status, 200, "{}", users.text());
    doors.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn pages_have_a_strict_policy_and_unknown_api_paths_are_problems() {
    let doors = start(|_| {}).await;
    for path in ["/", "/explore", "/attacker/192.0.2.7"] {
        let page = doors.get(path, "").await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-type").starts_with("text/html"));
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(page.header("strict-transport-security").is_empty());
    }
    for path in ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/events", "/assets/a-0.js"]
    {
        doors.get(path, "").await.problem(404);
    }
    doors.send(request(Method::PUT, "/api/v1/events", "", "")).await.problem(405);
    doors.stop().await;
}

#[tokio::test]
async fn the_documentation_comes_from_the_binary() {
    let doors = start(|_| {}).await;
    let index = doors.get("/docs/index.html", "").await;
    assert!(index.text().contains("swagger-ui-bundle.js"));
    assert!(index.header("content-security-policy").contains("script-src 'self';"));
    let script = doors.get("/docs/swagger-initializer.js", "").await;
    assert!(script.text().contains("../openapi.json"), "{}", script.text());
    let document = doors.get("/openapi.json", "").await.json();
    assert!(document["paths"]["/api/v1/events"].is_object());
    assert!(doors.get("/docs/problems", "").await.text().contains("id=\"query\""));
    doors.get("/docs/none.js", "").await.problem(404);
    doors.stop().await;
}

#[tokio::test]
async fn everything_lives_below_the_base_path() {
    let doors = start(|config| {
        config.base_path = "/palisade".into();
        config.public_url = Some("https://example.org/palisade".into());
    })
    .await;
    assert_eq!(doors.get("/palisade/heartbeat", "").await.status, 200);
    let page = doors.get("/palisade/explore", "").await.text();
    assert!(page.contains("/palisade/"), "{page}");
    let root = doors.get("/", "").await;
    assert_eq!((root.status.as_u16(), root.header("location")), (307, "/palisade/"));
    for path in ["/api/v1/status", "/palisadex/heartbeat"] {
        doors.get(path, &doors.read).await.problem(404);
    }
    let document = doors.get("/palisade/openapi.json", "").await.json();
    assert_eq!(document["servers"][0]["url"], "/palisade");
    let found = doors.get("/palisade/api/v1/events?q=user:root", &doors.read).await;
    assert_eq!(found.status, 200, "{}", found.text());
    let get = request(Method::GET, "/palisade/heartbeat", "", "");
    let over_tls = send_over(doors.tls().await, get).await;
    assert!(over_tls.header("strict-transport-security").contains("max-age"));
    doors.stop().await;
}
