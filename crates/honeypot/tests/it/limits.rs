//! What strangers may use up, and how the zone ends, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::collections::HashSet;

use palisade_event::SensorId;
use palisade_honeypot::{BindError, Honeypot, ProxyMode, Refusal, ServiceConfig, ServiceKind};
use support::{PATIENCE, Zone, config, connect, kinds, number, read_all, read_until, reason, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[tokio::test]
async fn one_address_has_no_more_than_its_share() {
    let mut config = config();
    config.limits.connections_per_address = 2;
    let mut zone = Zone::start(&config).await;
    let mut first = connect(zone.telnet).await;
    let mut second = connect(zone.http).await;
    read_until(&mut first, b"login: ").await;
    send(&mut second, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    read_until(&mut second, b"</html>").await;
    assert_eq!(read_all(&mut connect(zone.telnet).await).await, b"", "turned away");
    assert_eq!(zone.stats.refused(Refusal::PerAddress), 1);
    drop(first);
    zone.session().await;
    // The place is given back when the session is over, not a moment before its last event.
    while zone.stats.open.get() == 2 {
        tokio::task::yield_now().await;
    }
    read_until(&mut connect(zone.telnet).await, b"login: ").await;
    assert_eq!(zone.stats.accepted.get(), 3);
}

#[tokio::test]
async fn all_together_have_no_more_than_there_is() {
    let mut config = config();
    config.limits.connections = 1;
    let zone = Zone::start(&config).await;
    let mut first = connect(zone.telnet).await;
    read_until(&mut first, b"login: ").await;
    assert_eq!(read_all(&mut connect(zone.http).await).await, b"", "turned away");
    assert_eq!(zone.stats.refused(Refusal::Global), 1);
    drop(first);
    let events = zone.end().await;
    assert_eq!(kinds(&events), ["connection.opened", "session.closed"]);
}

#[tokio::test]
async fn a_silent_session_ends() {
    let mut config = config();
    config.limits.idle_secs = 1;
    let mut zone = Zone::start(&config).await;
    let mut client = connect(zone.telnet).await;
    read_all(&mut client).await;
    assert_eq!(reason(&zone.session().await), "idle");
}

#[tokio::test]
async fn a_session_ends_at_its_deadline_however_busy() {
    let mut config = config();
    config.limits.session_secs = 1;
    let mut zone = Zone::start(&config).await;
    let mut client = connect(zone.telnet).await;
    let (mut reader, mut writer) = client.split();
    let writing = async { while writer.write_all(b"a\x7f").await.is_ok() {} };
    let reading = async {
        let mut scrap = [0u8; 4_096];
        while reader.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
    };
    let both = async { tokio::join!(writing, reading) };
    tokio::time::timeout(PATIENCE, both).await.expect("cut off");
    assert_eq!(reason(&zone.session().await), "deadline");
}

#[tokio::test]
async fn a_dripping_request_ends_and_is_recorded() {
    let mut config = config();
    config.services[1].http.as_mut().unwrap().request_secs = 1;
    let mut zone = Zone::start(&config).await;
    let client = connect(zone.http).await;
    let (mut reader, mut writer) = client.into_split();
    let dripping = tokio::spawn(async move {
        let mut bytes = b"GET / HTTP/1.1\r\nX: ".to_vec();
        while writer.write_all(&bytes).await.is_ok() {
            bytes = b"a".to_vec();
            tokio::task::yield_now().await;
        }
    });
    let mut scrap = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut scrap)).await.expect("cut off");
    dripping.abort();
    let events = zone.session().await;
    assert_eq!(kinds(&events)[1], "data.received");
    assert!(support::request(&events[1]).starts_with(b"GET / HTTP/1.1\r\nX: a"));
}

#[tokio::test]
async fn bytes_are_a_budget_both_ways() {
    let mut config = config();
    (config.limits.bytes_in, config.limits.bytes_out) = (100, 1_000_000);
    let mut zone = Zone::start(&config).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, &[b'x'; 500]).await;
    read_all(&mut client).await;
    let events = zone.session().await;
    assert_eq!((reason(&events).as_str(), number(&events[1], "bytes_in")), ("byte-budget", 100));

    (config.limits.bytes_in, config.limits.bytes_out) = (1_000_000, 100);
    let mut zone = Zone::start(&config).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, &[b'x'; 500]).await;
    read_all(&mut client).await;
    let events = zone.session().await;
    assert_eq!((reason(&events).as_str(), number(&events[1], "bytes_out")), ("byte-budget", 100));
}

#[tokio::test]
async fn a_full_channel_slows_the_attacker_and_loses_nothing() {
    const REQUESTS: usize = 50;
    let mut zone = Zone::with_channel(&config(), 1).await;
    let mut client = connect(zone.http).await;
    send(&mut client, &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(REQUESTS)).await;
    client.shutdown().await.unwrap();
    // Nothing is taken yet: at most what fits is recorded.
    while zone.stats.events.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(zone.stats.events.get(), 1);
    let events = zone.session().await;
    assert_eq!(events.len(), REQUESTS + 2);
    let _ = read_all(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_at_once_are_all_recorded() {
    const CLIENTS: usize = 2_000;
    let mut zone = Zone::start(&config()).await;
    let address = zone.telnet;
    let clients = tokio::spawn(async move {
        let mut all = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            all.push(connect(address).await);
        }
        // Every one is open now; each tries one login and leaves.
        let mut visits = tokio::task::JoinSet::new();
        for (number, mut client) in all.into_iter().enumerate() {
            visits.spawn(async move {
                send(&mut client, format!("u{number}\r\nwrong\r\n").as_bytes()).await;
                read_until(&mut client, b"incorrect").await;
            });
        }
        while let Some(done) = visits.join_next().await {
            done.unwrap();
        }
    });
    let (mut names, mut opened, mut closed) = (HashSet::new(), HashSet::new(), 0);
    while closed < CLIENTS {
        let event = zone.next().await;
        match event.kind.as_str() {
            "connection.opened" => assert!(opened.insert(event.session)),
            "session.closed" => closed += 1,
            _ => drop(names.insert(event.credentials.unwrap().username)),
        }
    }
    clients.await.unwrap();
    assert_eq!((names.len(), opened.len()), (CLIENTS, CLIENTS));
    assert!(zone.end().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_end_loses_no_event() {
    const CLIENTS: usize = 100;
    // A tiny channel: most sessions wait for room when the end comes.
    let zone = Zone::with_channel(&config(), 4).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = connect(zone.telnet).await;
        send(&mut client, format!("u{number}\r\nwrong\r\n").as_bytes()).await;
        clients.push(client);
    }
    while zone.stats.accepted.get() < CLIENTS as u64 {
        tokio::task::yield_now().await;
    }
    let (address, stats) = (zone.telnet, zone.stats.clone());
    let events = zone.end().await;
    let count = |kind: &str| events.iter().filter(|event| event.kind.as_str() == kind).count();
    assert_eq!((count("connection.opened"), count("session.closed")), (CLIENTS, CLIENTS));
    assert_eq!(stats.events.get(), events.len() as u64);
    assert_eq!((stats.open.get(), stats.aborted.get(), stats.events_lost.get()), (0, 0, 0));
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn the_zone_ends_in_time_even_if_nobody_takes_its_events() {
    let mut config = config();
    config.limits.shutdown_secs = 1;
    let zone = Zone::with_channel(&config, 1).await;
    let (_one, _two) = (connect(zone.telnet).await, connect(zone.telnet).await);
    while zone.stats.accepted.get() < 2 {
        tokio::task::yield_now().await;
    }
    zone.cancel.cancel();
    tokio::time::timeout(PATIENCE, zone.running).await.expect("ends").unwrap();
    assert!(zone.stats.aborted.get() > 0);
    assert_eq!(zone.stats.open.get(), 0);
}

#[tokio::test]
async fn the_zone_ends_when_nobody_can_take_events_any_more() {
    let zone = Zone::start(&config()).await;
    drop(zone.events);
    tokio::time::timeout(PATIENCE, zone.running).await.expect("ends").unwrap();
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let mut config = config();
    config.services[0].proxy_protocol = ProxyMode::Required;
    config.services[0].trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let mut zone = Zone::start(&config).await;
    let mut client = connect(zone.telnet).await;
    send(&mut client, b"PROXY TCP4 192.0.2.9 198.51.100.7 4711 23\r\nroot\r\nwrong\r\n").await;
    read_until(&mut client, b"incorrect").await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "auth.attempted", "session.closed"]);
    for event in &events {
        let (source, target) = (event.source.unwrap(), event.target.unwrap());
        assert_eq!((source.address.to_string(), source.port), ("192.0.2.9".into(), Some(4711)));
        assert_eq!((target.address.to_string(), target.port), ("198.51.100.7".into(), Some(23)));
    }
    let mut rude = connect(zone.telnet).await;
    send(&mut rude, b"root\r\n").await;
    assert_eq!(read_all(&mut rude).await, b"");
    assert_eq!(zone.stats.refused(Refusal::ProxyHeader), 1);
    let mut check = connect(zone.telnet).await;
    send(&mut check, b"PROXY UNKNOWN\r\n").await;
    assert_eq!(read_all(&mut check).await, b"");
    assert_eq!(zone.stats.proxy_checks.get(), 1);
    assert!(zone.end().await.is_empty());
}

#[tokio::test]
async fn a_header_of_anyone_else_is_not_believed() {
    let mut config = config();
    config.services[0].proxy_protocol = ProxyMode::Required;
    config.services[0].trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
    let mut zone = Zone::start(&config).await;
    assert_eq!(read_all(&mut connect(zone.telnet).await).await, b"");
    assert_eq!(zone.stats.refused(Refusal::UntrustedProxy), 1);
    // Where the mode is off it is no header but garbage.
    let mut client = connect(zone.http).await;
    send(&mut client, b"PROXY TCP4 192.0.2.9 198.51.100.7 4711 80\r\n").await;
    read_all(&mut client).await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(kinds(&events)[1], "data.received");
    assert!(events[1].source.unwrap().address.is_loopback());
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.services = vec![ServiceConfig::new(ServiceKind::Telnet, taken.local_addr().unwrap())];
    let (out, _events) = mpsc::channel(1);
    let error = Honeypot::bind(&config, SensorId::new("a").unwrap(), None, out).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(error.to_string().starts_with("cannot start the telnet honeypot on 127.0.0.1:"));
}

#[tokio::test]
async fn one_socket_takes_both_address_families() {
    let mut config = config();
    config.services[0].listen = "[::]:0".parse().unwrap();
    let mut zone = Zone::start(&config).await;
    for address in ["127.0.0.1", "::1"] {
        let address = std::net::SocketAddr::new(address.parse().unwrap(), zone.telnet.port());
        let Ok(mut client) = TcpStream::connect(address).await else {
            assert!(address.is_ipv6(), "IPv4 must work");
            println!("skipped: this machine has no IPv6 loopback");
            continue;
        };
        read_until(&mut client, b"login: ").await;
        drop(client);
        let events = zone.session().await;
        assert_eq!(events[0].source.unwrap().address, address.ip(), "no mapped address");
    }
}
