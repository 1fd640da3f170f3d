//! Services without a protocol of their own: TCP, UDP, tarpits, ranges of
//! ports, and the catch-all behind a firewall's redirection.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::net::SocketAddr;
use std::process::Command;

use palisade_event::{AttributeValue, Transport};
use palisade_honeypot::{Config, ServiceConfig, ServiceKind, TcpConfig, UdpConfig};
use support::{
    PATIENCE, Zone, config, connect, kinds, number, read_all, read_until, reason, request, send,
    text,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn with(service: ServiceConfig) -> Config {
    let mut config = config();
    config.services.insert(0, service);
    config
}

fn tcp(settings: TcpConfig) -> Config {
    let mut service = ServiceConfig::new(ServiceKind::Tcp, any());
    service.tcp = Some(settings);
    with(service)
}

fn address(zone: &Zone, kind: ServiceKind) -> SocketAddr {
    zone.addresses.iter().find(|(of, _)| *of == kind).unwrap().1
}

#[tokio::test]
async fn first_bytes_are_recorded_with_their_protocol() {
    let settings = TcpConfig { banner: Some("220 ready\r\n".to_owned()), ..TcpConfig::default() };
    let mut zone = Zone::start(&tcp(settings)).await;
    let mut client = connect(address(&zone, ServiceKind::Tcp)).await;
    read_until(&mut client, b"220 ready\r\n").await;
    send(&mut client, b"*1\r\n$4\r\nINFO\r\n").await;
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, b"");
    let events = zone.session().await;
    assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
    assert_eq!(request(&events[1]), b"*1\r\n$4\r\nINFO\r\n");
    assert_eq!(text(&events[1], "protocol"), b"redis");
    assert_eq!(events[1].category.as_ref().unwrap().as_str(), "Network(palisade)");
    assert_eq!(reason(&events), "client-closed");
}

#[tokio::test]
async fn a_flood_is_recorded_as_far_as_is_wanted() {
    let mut zone = Zone::start(&tcp(TcpConfig { bytes: 10, ..TcpConfig::default() })).await;
    let mut client = connect(address(&zone, ServiceKind::Tcp)).await;
    send(&mut client, &[b'x'; 5_000]).await;
    drop(client);
    let events = zone.session().await;
    assert_eq!(request(&events[1]), b"xxxxxxxxxx");
    assert_eq!(events[1].attributes.get("truncated"), Some(&AttributeValue::Flag(true)));
    assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
}

#[tokio::test]
async fn an_echo_says_everything_back() {
    let settings = TcpConfig { echo: true, bytes: 4, ..TcpConfig::default() };
    let mut zone = Zone::start(&tcp(settings)).await;
    let mut client = connect(address(&zone, ServiceKind::Tcp)).await;
    send(&mut client, b"hello, world").await;
    read_until(&mut client, b"hello, world").await;
    drop(client);
    assert_eq!(request(&zone.session().await[1]), b"hell");
}

#[tokio::test]
async fn a_range_of_ports_is_one_service() {
    // Four ports in a row that are free.
    let first = (20_000..60_000u16)
        .step_by(7)
        .find(|first| {
            (*first..first + 4).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        })
        .unwrap();
    let listen = format!("type = \"tcp\"\nlisten = \"127.0.0.1:{first}-{}\"", first + 3);
    let service: ServiceConfig = toml::from_str(&listen).unwrap();
    let mut zone = Zone::start(&with(service)).await;
    assert_eq!(zone.addresses.iter().filter(|(kind, _)| *kind == ServiceKind::Tcp).count(), 4);
    for port in first..first + 4 {
        drop(connect(SocketAddr::from(([127, 0, 0, 1], port))).await);
        assert_eq!(zone.session().await[0].target.unwrap().port, Some(port));
    }
}

#[tokio::test]
async fn datagrams_are_recorded_and_not_answered() {
    let mut service = ServiceConfig::new(ServiceKind::Udp, "0.0.0.0:0".parse().unwrap());
    service.udp = Some(UdpConfig { bytes: 20, per_address: 3, ..UdpConfig::default() });
    let mut zone = Zone::start(&with(service)).await;
    let port = address(&zone, ServiceKind::Udp).port();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
    client.send_to(dns, ("127.0.0.1", port)).await.unwrap();
    let event = zone.next().await;
    assert_eq!(event.kind.as_str(), "data.received");
    assert_eq!(event.validate(), Ok(()));
    assert_eq!((request(&event), text(&event, "protocol")), (&dns[..20], &b"dns"[..]));
    assert_eq!(number(&event, "size"), dns.len() as i64);
    assert_eq!(event.attributes.get("spoofable"), Some(&AttributeValue::Flag(true)));
    let (source, target) = (event.source.unwrap(), event.target.unwrap());
    assert_eq!(source.port, Some(client.local_addr().unwrap().port()));
    assert_eq!((source.transport, target.transport), (Some(Transport::Udp), Some(Transport::Udp)));
    // The address that was meant, though the socket has all.
    assert_eq!((target.address.to_string(), target.port), ("127.0.0.1".to_owned(), Some(port)));
    assert_eq!(event.session, None);
    // Beyond the budget they are counted.
    for _ in 0..4 {
        client.send_to(b"x", ("127.0.0.1", port)).await.unwrap();
    }
    while zone.stats.datagrams.get() < 5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(zone.stats.datagrams_unrecorded.get(), 2);
    let mut answer = [0; 8];
    let none = client.try_recv(&mut answer).unwrap_err();
    assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(zone.end().await.len(), 2);
}

#[tokio::test]
async fn an_echo_of_datagrams_is_never_longer_than_what_came() {
    let mut service = ServiceConfig::new(ServiceKind::Udp, any());
    service.udp = Some(UdpConfig { echo: true, ..UdpConfig::default() });
    let mut zone = Zone::start(&with(service)).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address(&zone, ServiceKind::Udp)).await.unwrap();
    client.send(b"abc").await.unwrap();
    let mut answer = [0; 64];
    let length = tokio::time::timeout(PATIENCE, client.recv(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer[..length], b"abc");
    zone.next().await;
}

#[tokio::test]
async fn datagrams_that_wait_are_recorded_before_the_end() {
    let mut service = ServiceConfig::new(ServiceKind::Udp, any());
    service.udp = Some(UdpConfig { per_address: 1_000, ..UdpConfig::default() });
    // A tiny channel: the service waits for room while the kernel holds the rest.
    let zone = Zone::with_channel(&with(service), 1).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address(&zone, ServiceKind::Udp)).await.unwrap();
    for number in 0..100 {
        client.send(format!("{number}").as_bytes()).await.unwrap();
    }
    let events = zone.end().await;
    assert_eq!(events.len(), 100);
    assert_eq!(request(&events[99]), b"99");
}

#[tokio::test]
async fn a_tarpit_drips_and_holds_few() {
    let mut config = config();
    config.limits.tarpits = 1;
    for service in &mut config.services {
        (service.tarpit, service.tarpit_secs) = (true, 1);
    }
    let mut zone = Zone::start(&config).await;
    let mut held = connect(zone.http).await;
    send(&mut held, b"GET /.env HTTP/1.1\r\nHost: h\r\n\r\n").await;
    read_until(&mut held, b"H").await;
    // All places are taken.
    assert_eq!(read_all(&mut connect(zone.telnet).await).await, b"");
    let events = zone.session().await;
    let of = |events: &[palisade_event::Event], kind: &str| {
        events.iter().filter(|event| event.kind.as_str() == kind).count()
    };
    assert_eq!(text(events.last().unwrap(), "tarpit"), b"full");
    assert_eq!((of(&events, "connection.opened"), of(&events, "data.received")), (2, 1));
    let recorded = events.iter().find(|event| event.kind.as_str() == "data.received").unwrap();
    assert_eq!(text(recorded, "protocol"), b"http");
    read_until(&mut held, b"T").await;
    drop(held);
    assert_eq!(text(zone.session().await.last().unwrap(), "tarpit"), b"held");
}

/// Whether this runs in a network of its own; else runs the test again there.
fn inside(test: &str) -> bool {
    const INSIDE: &str = "PALISADE_TEST_INSIDE_NETWORK";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]);
        command
    };
    let allowed = unshare().args(["sh", "-c", "command -v nft && ip link set lo up"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: no network namespaces, or nft and ip are not installed");
        return false;
    }
    let output = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    false
}

#[test]
fn a_catch_all_knows_which_of_all_ports_was_meant() {
    if !inside("generic::a_catch_all_knows_which_of_all_ports_was_meant") {
        return;
    }
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("ip", &["link", "set", "lo", "up"]);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let mut zone = Zone::start(&with(ServiceConfig::new(ServiceKind::CatchAll, any()))).await;
        let port = address(&zone, ServiceKind::CatchAll).port();
        // As packaging/nftables/catch-all.nft has it, for packets of this machine.
        let spared = zone.addresses.iter().map(|(_, address)| address.port().to_string());
        let spared = spared.collect::<Vec<_>>().join(", ");
        let rules = format!(
            "add table inet t; add chain inet t out {{ type nat hook output priority -100; }}; \
             add rule inet t out tcp dport != {{ {spared} }} redirect to :{port}"
        );
        run("nft", &[&rules]);
        for (port, bytes, protocol) in [
            (6_379u16, &b"*1\r\n$4\r\nPING\r\n"[..], &b"redis"[..]),
            (445, b"\0\0\0\x85\xffSMBr", b"smb"),
            (50_000, b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x01a", b"mqtt"),
        ] {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            send(&mut client, bytes).await;
            client.shutdown().await.unwrap();
            read_all(&mut client).await;
            let events = zone.session().await;
            assert_eq!(kinds(&events), ["connection.opened", "data.received", "session.closed"]);
            assert_eq!(text(&events[1], "protocol"), protocol);
            assert!(events.iter().all(|event| event.target.unwrap().port == Some(port)));
        }
        // Who speaks a protocol of a service here is handed to it.
        let mut client = TcpStream::connect(("127.0.0.1", 8_888)).await.unwrap();
        send(&mut client, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(read_all(&mut client).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let events = zone.session().await;
        assert_eq!(kinds(&events), ["connection.opened", "http.requested", "session.closed"]);
        assert_eq!(events[1].target.unwrap().port, Some(8_888));
        assert_eq!(events[1].category.as_ref().unwrap().as_str(), "Webpage");
        // Telnet's clients wait; its ports are known.
        let mut client = TcpStream::connect(("127.0.0.1", 23)).await.unwrap();
        read_until(&mut client, b"login: ").await;
        drop(client);
        assert_eq!(zone.session().await[0].target.unwrap().port, Some(23));
    });
}
