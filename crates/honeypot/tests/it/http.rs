//! The HTTP service over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use crate::support;

use palisade_event::Event;
use support::{
    Zone, config, connect, kinds, number, read_all, read_until, reason, request, send, text,
};

fn login(event: &Event) -> (&[u8], &[u8]) {
    let credentials = event.credentials.as_ref().expect("credentials");
    (
        credentials.username.as_ref().unwrap().as_bytes(),
        credentials.password.as_ref().unwrap().as_bytes(),
    )
}

/// Sends all at once, reads to the end; the events and the answer.
async fn exchange(zone: &mut Zone, bytes: &[u8]) -> (Vec<Event>, String) {
    let mut client = connect(zone.http).await;
    send(&mut client, bytes).await;
    let answer = read_all(&mut client).await;
    drop(client);
    (zone.session().await, String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn a_request_is_recorded_whole() {
    let mut zone = Zone::start(&config()).await;
    let request_bytes =
        b"GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nUser-Agent: x\xff curl/8\r\nAccept-Language: ru,en;q=0.5\r\nConnection: close\r\n\r\n";
    let (events, answer) = exchange(&mut zone, request_bytes).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert_eq!(kinds(&events), ["connection.opened", "http.requested", "session.closed"]);
    let event = &events[1];
    assert_eq!(event.validate(), Ok(()));
    assert_eq!(request(event), b"GET /a?b=c");
    let headers = b"Host: h:80\r\nUser-Agent: x\xff curl/8\r\nAccept-Language: ru,en;q=0.5\r\nConnection: close";
    assert_eq!(text(event, "headers"), headers);
    assert_eq!((text(event, "http_client"), text(event, "language")), (&b"curl"[..], &b"ru"[..]));
    assert_eq!((text(event, "host"), text(event, "version")), (&b"h:80"[..], &b"HTTP/1.1"[..]));
    assert_eq!(number(event, "status"), 404);
    let agent = event.fingerprints.as_ref().unwrap().user_agent.as_ref().unwrap();
    assert_eq!(agent.as_bytes(), b"x\xff curl/8");
    assert_eq!(event.category.as_ref().unwrap().as_str(), "Webpage");
    assert_eq!(reason(&events), "completed");
}

#[tokio::test]
async fn logins_of_every_kind_are_recorded() {
    let mut zone = Zone::start(&config()).await;
    let requests = "GET / HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /login.cgi HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
        Content-Length: 28\r\n\r\nusername=ad%6Din&password=%ff\
        GET /cgi-bin/x?user=u&pwd=p HTTP/1.1\r\nHost: h\r\n\r\n\
        HEAD / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic cm9vdDp0b29y\r\nConnection: close\r\n\r\n";
    let requests = requests.replace("Content-Length: 28", "Content-Length: 29");
    let (events, answer) = exchange(&mut zone, requests.as_bytes()).await;
    assert_eq!(
        kinds(&events),
        [
            "connection.opened",
            "http.requested",
            "http.requested",
            "auth.attempted",
            "http.requested",
            "auth.attempted",
            "http.requested",
            "auth.attempted",
            "session.closed"
        ]
    );
    assert_eq!(
        (text(&events[3], "method"), login(&events[3])),
        (&b"http-form"[..], (&b"admin"[..], &b"\xff"[..]))
    );
    assert_eq!(text(&events[2], "body"), b"username=ad%6Din&password=%ff");
    assert_eq!(
        (text(&events[5], "method"), login(&events[5])),
        (&b"http-form"[..], (&b"u"[..], &b"p"[..]))
    );
    assert_eq!(
        (text(&events[7], "method"), login(&events[7])),
        (&b"http-basic"[..], (&b"root"[..], &b"toor"[..]))
    );
    let statuses: Vec<i64> = [1, 2, 4, 6].map(|at: usize| number(&events[at], "status")).to_vec();
    assert_eq!(statuses, [200, 200, 404, 401]);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 4);
    assert_eq!(answer.matches("is incorrect").count(), 1, "{answer}");
    assert!(answer.trim_end().ends_with(|c: char| c.is_ascii_digit()), "HEAD has no body");
}

#[tokio::test]
async fn a_body_is_read_however_it_is_framed() {
    let mut zone = Zone::start(&config()).await;
    let chunked =
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    let (events, _) = exchange(&mut zone, chunked).await;
    assert_eq!(text(&events[1], "body"), b"abcde");

    let mut client = connect(zone.http).await;
    send(
        &mut client,
        b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    )
    .await;
    assert_eq!(read_until(&mut client, b"\r\n\r\n").await, b"HTTP/1.1 100 Continue\r\n\r\n");
    send(&mut client, b"abc").await;
    read_until(&mut client, b"</html>").await;
    drop(client);
    assert_eq!(text(&zone.session().await[1], "body"), b"abc");
}

#[tokio::test]
async fn a_long_body_is_cut_and_marked() {
    let mut zone = Zone::start(&config()).await;
    let head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    let mut client = connect(zone.http).await;
    send(&mut client, &[head.as_slice(), &[b'x'; 100_000]].concat()).await;
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", answer.escape_ascii());
    drop(client);
    let events = zone.session().await;
    assert_eq!(text(&events[1], "body").len(), 64 * 1024);
    assert!(events[1].attributes.contains_key("truncated"));
    assert_eq!(events[1].validate(), Ok(()));
}

#[tokio::test]
async fn what_did_not_come_whole_is_recorded_all_the_same() {
    let mut zone = Zone::start(&config()).await;
    let cases: [(&[u8], &str); 2] = [
        (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", "http.requested"),
        (b"GET /x HTTP/1.1\r\nHost: ", "data.received"),
    ];
    for (bytes, kind) in cases {
        let mut client = connect(zone.http).await;
        send(&mut client, bytes).await;
        drop(client);
        let events = zone.session().await;
        assert_eq!(kinds(&events), ["connection.opened", kind, "session.closed"]);
        assert_eq!(reason(&events), "client-closed");
    }
}

#[tokio::test]
async fn what_is_not_http_is_recorded_and_answered_with_400() {
    let mut zone = Zone::start(&config()).await;
    let probes: [(&[u8], Option<&[u8]>); 5] = [
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", Some(b"tls")),
        (b"SSH-2.0-libssh_0.9\r\n", Some(b"ssh")),
        (b"\r\n\r\n", None),
        (b"\0\0\0\x10", None),
        (b"GET / HTTP/1.1\r\nHost : a\0b\r\n\r\n", Some(b"http")),
    ];
    for (bytes, protocol) in probes {
        let (events, answer) = exchange(&mut zone, bytes).await;
        assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");
        assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
        assert_eq!(request(&events[1]), bytes);
        assert_eq!(events[1].attributes.contains_key("protocol"), protocol.is_some());
        protocol.inspect(|name| assert_eq!(&text(&events[1], "protocol"), name));
    }
}

#[tokio::test]
async fn a_connection_has_a_bound_on_requests() {
    let mut config = config();
    config.services[1].http.as_mut().unwrap().requests = Some(3);
    let mut zone = Zone::start(&config).await;
    let (events, answer) =
        exchange(&mut zone, &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(5)).await;
    assert_eq!(events.len(), 5);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answer.matches("Connection: close").count(), 1);
}

#[tokio::test]
async fn every_answer_comes_from_one_server() {
    let mut zone = Zone::start(&config()).await;
    let mut servers = std::collections::BTreeSet::new();
    for bytes in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"GET /x HTTP/1.0\r\n\r\n",
        b"PUT / HTTP/1.0\r\n\r\n",
        b"\0",
        b"OPTIONS / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        let (_, answer) = exchange(&mut zone, bytes).await;
        let field = |name: &str| {
            let line = answer.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("{name} in {answer}")).to_owned()
        };
        assert!(field("Date: ").ends_with(" GMT"));
        servers.insert(field("Server: "));
    }
    assert_eq!(servers.len(), 1, "{servers:?}");
}
