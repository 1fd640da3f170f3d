//! Bytes that no honest client sends: nothing panics, every session ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code outside of test functions"
)]

use crate::support;

use std::net::SocketAddr;
use std::time::Duration;

use palisade_event::{Event, MAX_TEXT_BYTES};
use palisade_honeypot::{
    Accept, Config, OneOrMore, PluginConfig, ServiceConfig, ServiceKind, TcpConfig, TelnetConfig,
};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use support::{PATIENCE, Zone, config, connect, openssh, reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Random bytes behind a beginning that gets them deeper into the service.
fn hostile(beginnings: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let tail = proptest::collection::vec(any::<u8>(), 0..2_000);
    (proptest::sample::select(beginnings), tail)
        .prop_map(|(beginning, tail)| [beginning, tail.as_slice()].concat())
}

/// Sends `bytes` to both services; both sessions must end and nothing panic.
fn survives(cases: u32, telnet: bool, beginnings: &'static [&'static [u8]]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = config();
    config.limits.idle_secs = 5;
    let attempts = TelnetConfig { fail_delay_ms: 0, ..TelnetConfig::default() };
    config.services[0].telnet = Some(attempts);
    let mut zone = runtime.block_on(Zone::start(&config));
    let address = if telnet { zone.telnet } else { zone.http };
    let shared = tokio::sync::Mutex::new(&mut zone);
    TestRunner::new(Runs { cases, failure_persistence: None, ..Runs::default() })
        .run(&hostile(beginnings), |bytes| {
            runtime.block_on(async {
                let client = connect(address).await;
                let (mut reader, mut writer) = client.into_split();
                let sending = async {
                    // The service may have hung up before all is sent.
                    let _ = writer.write_all(&bytes).await;
                    let _ = writer.shutdown().await;
                };
                let mut answers = Vec::new();
                let reading = async { drop(reader.read_to_end(&mut answers).await) };
                let both = async { tokio::join!(sending, reading) };
                tokio::time::timeout(PATIENCE, both).await.expect("ends");
                let events = shared.lock().await.session().await;
                for event in &events {
                    prop_assert_eq!(event.validate(), Ok(()));
                }
                let why = reason(&events);
                prop_assert!(why == "client-closed" || why == "completed", "{}", why);
                Ok(())
            })
        })
        .unwrap();
    assert!(zone.stats.accepted.get() >= u64::from(cases));
    assert_eq!(zone.stats.panics.get(), 0);
    assert_eq!(runtime.block_on(zone.end()).len(), 0);
}

#[test]
fn telnet_survives_any_bytes() {
    survives(
        500,
        true,
        &[
            b"",
            b"\xff\xfa\x18",
            b"\xff",
            b"root\r\nroot\r\n",
            b"root\nroot\necho -e '\\x4",
            b"\x16\x03\x01",
        ],
    );
}

#[test]
fn http_survives_any_bytes() {
    survives(
        500,
        false,
        &[
            b"",
            b"GET ",
            b"GET / HTTP/1.1\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n",
            b"POST /login HTTP/1.0\r\nContent-Length: 900\r\n\r\npassword=",
            b"\r\n\r",
        ],
    );
}

/// One of every kind of service, each on a port of its own; and their names.
const EVERY: [&str; 7] = ["telnet", "telnet shell", "http", "https", "ssh", "tcp", "plug-in"];

/// A plug-in that waits for a line, as most do.
const PLUGIN: &str = "return { api = 1, name = 'lines', about = 'x', ports = { tcp = {7} },
    columns = { {'t', 'TEXT'} },
    serve = function(conn) while true do local line = conn:read_line() if not line then return end record({ t = line }) end end }";

fn every(folder: &std::path::Path) -> Config {
    let any = || "127.0.0.1:0".parse::<SocketAddr>().unwrap();
    let mut config = config();
    let [telnet, http] = config.services.as_slice() else { unreachable!() };
    let (telnet, http) = (telnet.clone(), http.clone());
    let mut shell = telnet.clone();
    shell.telnet.as_mut().unwrap().accept = Accept::Always;
    let mut https = http.clone();
    https.tls = true;
    https.certificate = Some(crate::tls::file("cert.pem"));
    https.key = Some(crate::tls::file("key.pem"));
    let ssh = openssh::config(openssh::ssh_config()).services.remove(0);
    let mut tcp = ServiceConfig::new(ServiceKind::Tcp, any());
    tcp.tcp = Some(TcpConfig::default());
    config.services = vec![telnet, shell, http, https, ssh, tcp];
    let lines = folder.join("lines");
    std::fs::create_dir_all(&lines).unwrap();
    std::fs::write(lines.join("init.luau"), PLUGIN).unwrap();
    let mut plugin = PluginConfig::new(None, Some(lines));
    plugin.port = Some(OneOrMore::One(0));
    config.plugin = vec![plugin];
    config
}

/// Reads away what a service says until it closes.
async fn drained(mut reader: tokio::net::tcp::OwnedReadHalf) {
    let mut scrap = vec![0; 64 * 1024];
    while reader.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
}

/// The rest of a session that a client has left; of a plug-in without its reports.
async fn rest(zone: &mut Zone, name: &str) -> Vec<Event> {
    let events = tokio::time::timeout(PATIENCE, zone.session()).await;
    let events = events.unwrap_or_else(|_| panic!("{name}: the session does not end"));
    for event in &events {
        assert_eq!(event.validate(), Ok(()), "{name}");
    }
    events
}

/// Every task has ended, a moment after its last event.
async fn all_gone(zone: &Zone) {
    let gone = async {
        while zone.stats.open.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("sessions are given back");
    assert_eq!(zone.stats.panics.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_byte_now_and_then_is_cut_off_by_every_service() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = every(folder.path());
    config.limits.session_secs = 2;
    let mut zone = Zone::start(&config).await;
    let addresses = zone.addresses.clone();
    assert_eq!(addresses.len(), EVERY.len());
    for (name, (_, address)) in EVERY.iter().zip(addresses) {
        let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let beginning: &[u8] = match *name {
            "telnet shell" => b"root\nroot\n",
            "http" => b"GET / HTTP/1.1\r\nX: ",
            // A ClientHello of 16 kB that never comes whole.
            "https" => b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03",
            "ssh" => b"SSH-2.0-",
            _ => b"",
        };
        let dripping = async {
            let mut drops = tokio::time::interval(Duration::from_millis(20));
            let mut sent = writer.write_all(beginning).await;
            while sent.is_ok() {
                drops.tick().await;
                sent = writer.write_all(b"a").await;
            }
        };
        let both = async { tokio::join!(dripping, drained(reader)) };
        let ended = tokio::time::timeout(PATIENCE, both).await;
        assert!(ended.is_ok(), "{name} goes on listening");
        let events = rest(&mut zone, name).await;
        let why = reason(&events);
        assert!(matches!(why.as_str(), "deadline" | "idle" | "completed"), "{name}: {why}");
    }
    all_gone(&zone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_100_megabytes_is_cut_by_every_service() {
    const MEGABYTES: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let config = every(folder.path());
    let bound = config.limits.bytes_in;
    let mut zone = Zone::start(&config).await;
    for (name, (_, address)) in EVERY.iter().zip(zone.addresses.clone()) {
        let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let flooding = async {
            if *name == "telnet shell" {
                writer.write_all(b"root\nroot\n").await.unwrap();
            }
            let piece = vec![b'a'; 1024 * 1024];
            for _ in 0..MEGABYTES {
                if writer.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        };
        let both = async { tokio::join!(flooding, drained(reader)) };
        let ended = tokio::time::timeout(PATIENCE, both).await;
        assert!(ended.is_ok(), "{name} goes on reading");
        let events = rest(&mut zone, name).await;
        assert!(support::number(events.last().unwrap(), "bytes_in") as u64 <= bound, "{name}");
        let kept = events.iter().filter_map(|event| event.request.as_ref());
        assert!(kept.map(|text| text.as_bytes().len()).all(|length| length <= MAX_TEXT_BYTES));
    }
    all_gone(&zone).await;
}
