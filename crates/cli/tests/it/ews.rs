//! Honeypots post to the real binary, as the poster of T-Pot does: up to a
//! hundred alerts a message, kept in a spool until the answer is OK.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says where"
)]

use crate::postgres;
use crate::support;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use support::{PATIENCE, Palisade, cli_with_input};

const PATH: &str = "/ews-0.1/alert/postSimpleMessage";
const TOKEN: &str = "a token of some length";
/// Alerts of one message, and tries before it is given up, as the poster has them.
const MESSAGE_ALERTS: usize = 100;
const TRIES: u32 = 10;

/// One alert of a Cowrie, `n` making it another.
fn alert(n: usize) -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S");
    format!(
        "<Alert><Analyzer id=\"cowrie-community-01\"/><CreateTime tz=\"+0000\">{now}</CreateTime>\
         <Source category=\"ipv4\" port=\"{}\" protocol=\"tcp\">198.51.100.{}</Source>\
         <Target category=\"ipv4\" port=\"22\" protocol=\"tcp\">203.0.113.5</Target>\
         <Request type=\"description\">SSH Honeypot Cowrie</Request>\
         <AdditionalData type=\"string\" meaning=\"sessionid\">{n:012x}</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"username\">root</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"password\">{n}</AdditionalData></Alert>",
        1024 + n % 60_000,
        n % 250
    )
}

fn message(token: &str, alerts: &str) -> String {
    format!(
        "<EWS-SimpleMessage version=\"3.0\"><Authentication><username>tpot-1</username>\
         <token>{token}</token></Authentication>{alerts}</EWS-SimpleMessage>"
    )
}

/// Sends raw bytes and reads the whole answer; empty where there is none.
fn exchange(to: SocketAddr, request: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(to) else { return String::new() };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(to: SocketAddr, headers: &str, body: &[u8]) -> String {
    let length = body.len();
    let mut request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    exchange(to, &request)
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// What the poster takes for "it is safe there".
fn is_ok(answer: &str) -> bool {
    status(answer) == 200 && answer.contains("<StatusCode>OK</StatusCode>")
}

/// The poster: a spool of messages, sent in order, deleted on OK.
struct Poster {
    spool: VecDeque<(String, u32)>,
    given_up: usize,
}

impl Poster {
    fn new(alerts: usize) -> Self {
        let alerts: Vec<String> = (0..alerts).map(alert).collect();
        let messages =
            alerts.chunks(MESSAGE_ALERTS).map(|chunk| (message(TOKEN, &chunk.concat()), 0));
        Self { spool: messages.collect(), given_up: 0 }
    }

    /// Sends all there is once; what was not OK stays, up to ten times.
    fn round(&mut self, to: SocketAddr) -> usize {
        let mut done = 0;
        for _ in 0..self.spool.len() {
            let (message, tries) = self.spool.pop_front().unwrap();
            if is_ok(&post(to, "Content-Type: text/xml\r\n", message.as_bytes())) {
                done += 1;
            } else if tries + 1 < TRIES {
                self.spool.push_back((message, tries + 1));
            } else {
                self.given_up += 1;
            }
        }
        done
    }
}

fn add_user(home: &Path) {
    let add = ["user", "add", "tpot-1", "--ews", "--token-stdin"];
    let added = cli_with_input(home, &add, TOKEN);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
}

#[test]
fn a_poster_delivers_everything_once_though_the_hub_is_killed() {
    let home = tempfile::tempdir().unwrap();
    add_user(home.path());
    let mut poster = Poster::new(1_050);
    assert_eq!(poster.round("127.0.0.1:9".parse().unwrap()), 0, "nobody is there");
    for _ in 0..4 {
        let palisade = Palisade::up(home.path());
        let to = palisade.http_api();
        let sending = std::thread::spawn(move || {
            poster.round(to);
            poster
        });
        support::pause();
        palisade.kill();
        poster = sending.join().unwrap();
    }
    let palisade = Palisade::up(home.path());
    while poster.round(palisade.http_api()) > 0 {}
    assert_eq!((poster.spool.len(), poster.given_up), (0, 0));
    // Each kill is told too: the honeypots were not drained.
    palisade.wait_count("not kind:sensor.failed", 1_050);
    // The same alert three times, in two layouts, is one.
    let mut again = Poster::new(0);
    let five = alert(5);
    again
        .spool
        .push_back((message(TOKEN, &format!("{five}\n  {}", five.replace("><", ">\n <"))), 0));
    again.spool.push_back((message(TOKEN, &five), 0));
    assert_eq!(again.round(palisade.http_api()), 2);
    palisade
        .wait_count("user:root type:\"SSH/console(cowrie)\" domain:private sensor:tpot-1", 1_051);
}

#[test]
fn the_answer_says_what_became_of_a_message() {
    let home = tempfile::tempdir().unwrap();
    add_user(home.path());
    let palisade = Palisade::up(home.path());
    let to = palisade.http_api();
    let good = message(TOKEN, &alert(1));

    let answer = post(to, "", good.as_bytes());
    assert!(is_ok(&answer), "{answer}");
    assert!(answer.to_lowercase().contains("content-type: text/xml"), "{answer}");
    assert!(
        answer.ends_with("<Result><StatusCode>OK</StatusCode><Text></Text></Result>"),
        "{answer}"
    );

    let get = exchange(
        to,
        format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    assert_eq!(status(&get), 500);
    assert!(get.to_lowercase().contains("content-type: text/html"), "{get}");
    assert!(get.ends_with("POST is required for this action."), "{get}");

    for wrong in ["another", "", "a token of some length!"] {
        assert_eq!(status(&post(to, "", message(wrong, &alert(1)).as_bytes())), 403, "{wrong}");
    }
    let nobody = "<EWS-SimpleMessage></EWS-SimpleMessage>";
    assert_eq!(status(&post(to, "", nobody.as_bytes())), 403);

    let nesting = format!("<EWS-SimpleMessage>{}", "<a>".repeat(1_000_000));
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><EWS-SimpleMessage>&b;</EWS-SimpleMessage>";
    for malformed in [
        "",
        "hello",
        &good[..good.len() - 5],
        &good.replace("</Alert>", "</Alarm>"),
        bomb,
        &nesting,
        "\0\0\0",
    ] {
        let answer = post(to, "", malformed.as_bytes());
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.ends_with("Nope"), "{answer}");
    }

    // Any content type, any packing, one connection for many or each its own.
    for (headers, body) in [
        ("Content-Type: application/json\r\n", good.clone().into_bytes()),
        ("Content-Type: \r\n", good.clone().into_bytes()),
        ("Content-Encoding: zstd\r\n", zstd::encode_all(good.as_bytes(), 3).unwrap()),
        ("Content-Encoding: gzip\r\n", gzip(good.as_bytes())),
    ] {
        assert!(is_ok(&post(to, headers, &body)), "{headers}");
    }
    assert!(post(to, "Content-Encoding: br\r\n", good.as_bytes()).ends_with("Nope"));
    let twice =
        format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{good}", good.len());
    let close = twice.replacen("Host: x", "Host: x\r\nConnection: close", 1);
    let answers = exchange(to, format!("{twice}{close}").as_bytes());
    assert_eq!(answers.matches("<StatusCode>OK</StatusCode>").count(), 2, "{answers}");
    palisade.wait_count("", 1);
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_bad_alert_costs_no_other_and_is_kept_with_its_reason() {
    let home = tempfile::tempdir().unwrap();
    add_user(home.path());
    let palisade = Palisade::up(home.path());
    let good = alert(1);
    let far = |year: &str| {
        let at = good.find("+0000\">").unwrap() + 7;
        format!("{}{year}{}", &good[..at], &good[at + 4..])
    };
    let bad = [
        good.replace("198.51.100.1", "localhost"),
        good.replace("+0000", "+9959"),
        far("0000"),
        far("9999"),
        far("1999"),
        good.replace("category=\"ipv4\"", "category=\"ipv4\" category=\"ipv4\""),
        good.replace(
            "SSH Honeypot Cowrie</Request>",
            "x</Request><Request type=\"raw\">%%%</Request>",
        ),
    ];
    let nul = alert(2).replace(">root<", ">ro\0ot%zz<");
    let private = alert(3).replace("198.51.100.3", "10.0.0.3");
    let alerts = format!("{}{nul}{private}{good}", bad.concat());
    let answer = post(palisade.http_api(), "", message(TOKEN, &alerts).as_bytes());
    assert!(is_ok(&answer), "{answer}");
    palisade.wait_count("", 3);
    palisade.wait_count("ip:10.0.0.3 country:PIR", 1);
    let key = palisade.cli(&["key", "add", "boss", "--scope", "admin"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let ask = format!(
        "GET /api/v1/quarantine HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        key.trim()
    );
    let listed = exchange(palisade.http_api(), ask.as_bytes());
    assert!(listed.contains("\"total\":7"), "{listed}");
    for reason in [
        "no address",
        "not like +0200",
        "not like 2026",
        "24 h ahead",
        "retention",
        "twice",
        "base64",
    ] {
        assert!(listed.contains(reason), "{reason}: {listed}");
    }
}

#[test]
fn a_message_without_end_is_refused_and_costs_no_memory() {
    let home = tempfile::tempdir().unwrap();
    add_user(home.path());
    let palisade = Palisade::up(home.path());
    let to = palisade.http_api();
    // 1 GiB is announced; it ends long before that, for a stranger at once.
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n");
    for (begin, expected) in [
        ("<EWS-SimpleMessage><Alert>".to_owned(), 403),
        (message(TOKEN, "").replace("</EWS-SimpleMessage>", ""), 413),
    ] {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(begin.as_bytes());
        let more = alert(7).repeat(200);
        while stream.write_all(more.as_bytes()).is_ok() {}
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // The connection may be cut before the answer is read.
        assert!(answer.is_empty() || status(&answer) == expected, "{expected}: {answer}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", palisade.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 400 * 1024, "{peak} kB");
    assert!(is_ok(&post(to, "", message(TOKEN, &alert(8)).as_bytes())));
}

#[test]
fn what_was_captured_is_kept_once_and_given_out_locked() {
    let home = tempfile::tempdir().unwrap();
    add_user(home.path());
    let palisade = Palisade::up(home.path());
    let raw = |n: usize, host: &str, body: &str| {
        let text = format!("POST /x HTTP/1.1\r\nHost: {host}\r\nUser-Agent: zgrab\r\n\r\n{body}");
        let request = format!("<Request type=\"raw\">{}</Request>", base64(text.as_bytes()));
        alert(n)
            .replace("cowrie-community-01", "tanner")
            .replace("<Request type=\"description\">SSH Honeypot Cowrie</Request>", &request)
    };
    let alerts = [raw(1, "a", "same"), raw(2, "b", "same"), raw(3, "a", "other")].concat();
    let to = palisade.http_api();
    for _ in 0..2 {
        assert!(is_ok(&post(to, "", message(TOKEN, &alerts).as_bytes())));
    }
    palisade.wait_count("", 3);
    let key = palisade.cli(&["key", "add", "boss", "--scope", "admin"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let get = |path: &str| {
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            key.trim()
        );
        exchange(to, ask.as_bytes())
    };
    let listed = support::wait("both payloads are counted", || {
        let answer = get("/api/v1/payloads?mime=message/");
        let body = answer.split_once("\r\n\r\n")?.1.to_owned();
        let list: serde_json::Value = serde_json::from_str(&body).ok()?;
        let seen = list["payloads"]
            .as_array()?
            .iter()
            .map(|p| p["events_total"].as_u64().unwrap())
            .sum::<u64>();
        (seen == 3).then_some(list)
    });
    assert_eq!(listed["payloads"].as_array().unwrap().len(), 2, "{listed}");
    let twice =
        listed["payloads"].as_array().unwrap().iter().find(|p| p["events_total"] == 2).unwrap();
    let hash = twice["sha256"].as_str().unwrap();
    palisade.wait_count(&format!("payload:{hash}"), 2);
    let zip = get(&format!("/api/v1/payloads/{hash}/download"));
    assert!(zip.contains("application/zip") && !zip.contains("zgrab"), "{}", zip.len());
    let raw = get(&format!("/api/v1/payloads/{hash}/download?format=raw"));
    assert!(raw.contains("application/octet-stream") && raw.contains(".bin\""), "{raw}");
    assert!(raw.to_lowercase().contains("x-content-type-options: nosniff"), "{raw}");
    assert!(raw.ends_with("User-Agent: zgrab\r\n\r\nsame"), "{raw}");
    assert_eq!(status(&get(&format!("/api/v1/payloads/{hash}/download?format=exe"))), 400);
    let two = get(&format!("/api/v1/payloads?hash=00000000,{hash}"));
    assert_eq!(two.matches("\"sha256\"").count(), 1, "{two}");
    let many = vec!["ab"; 51].join(",");
    assert_eq!(status(&get(&format!("/api/v1/payloads?hash={many}"))), 400);
    assert_eq!(status(&get("/api/v1/payloads?hash=ab,xy")), 400);
    assert_eq!(status(&get("/api/v1/payloads/x")), 400);
    assert_eq!(status(&get(&format!("/api/v1/payloads/{}", "0".repeat(64)))), 404);
}

#[test]
fn the_door_with_its_state_in_postgresql_waits_while_that_is_away() {
    let server = postgres::Server::start(&[]);
    let database = server.database();
    let state = format!(
        "\n[hub.state]\nconnect_timeout_secs = 2\npostgres = \"{}\"\n",
        server.url(&database)
    );
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for home in [&one, &two] {
        let text = support::settings(home.path()) + &state;
        std::fs::write(home.path().join("palisade.toml"), text).unwrap();
    }
    let add = ["user", "add", "tpot-1", "--ews", "--token-stdin", "--config", "palisade.toml"];
    let added = cli_with_input(one.path(), &add, TOKEN);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    // Two doors of one network: whom one knows the other knows, and what was
    // captured is kept once.
    let (first, second) = (Palisade::up(one.path()), Palisade::up(two.path()));
    let doors = [first.http_api(), second.http_api()];
    let captured = |n: usize, text: &str| {
        let request = format!("<Request type=\"raw\">{}</Request>", base64(text.as_bytes()));
        alert(n).replace("<Request type=\"description\">SSH Honeypot Cowrie</Request>", &request)
    };
    for (n, door) in doors.iter().enumerate() {
        let answer = post(*door, "", message(TOKEN, &captured(n, "\u{1}same")).as_bytes());
        assert!(is_ok(&answer), "{answer}");
        assert_eq!(status(&post(*door, "", message("wrong", &alert(9)).as_bytes())), 403);
    }
    first.wait_count("sensor:tpot-1", 1);
    second.wait_count("sensor:tpot-1", 1);
    let known = || server.sql(&database, "SELECT count(*), sum(seen) FROM payload");
    support::wait("both sightings are written down", || (known() == "1|2").then_some(()));

    server.stop();
    // Whom the door knows it still takes; what it cannot keep, it does not.
    let answer = post(doors[0], "", message(TOKEN, &alert(10)).as_bytes());
    assert!(is_ok(&answer), "{answer}");
    let new = message(TOKEN, &captured(11, "\u{1}another"));
    let answer = post(doors[0], "", new.as_bytes());
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.to_lowercase().contains("retry-after:"), "{answer}");
    let stranger = new.replace("tpot-1", "tpot-2");
    assert_eq!(status(&post(doors[0], "", stranger.as_bytes())), 503);
    server.run();
    support::wait("it takes them again", || {
        is_ok(&post(doors[0], "", new.as_bytes())).then_some(())
    });
    assert!(is_ok(&post(doors[0], "", new.as_bytes())));
    support::wait("a stranger is refused again", || {
        (status(&post(doors[0], "", stranger.as_bytes())) == 403).then_some(())
    });
    first.wait_count("sensor:tpot-1", 3);
    assert_eq!(first.terminate(), Some(0));
    assert_eq!(second.terminate(), Some(0));
    assert_eq!(known(), "2|3");
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(DIGITS[(number >> (18 - 6 * place)) as usize & 63]));
        }
        out.push_str(&"=".repeat(3 - chunk.len()));
    }
    out
}
