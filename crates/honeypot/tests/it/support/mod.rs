//! A running zone with its events, and small clients, for the tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod openssh;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_event::{AttributeValue, Event, EventKind, SensorId};
use palisade_honeypot::{
    Accept, Config, Honeypot, HttpConfig, Limits, ServiceConfig, ServiceKind, Stats, TelnetConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest time anything here may take; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A zone that runs.
pub(crate) struct Zone {
    pub(crate) ssh: SocketAddr,
    pub(crate) telnet: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) addresses: Vec<(ServiceKind, SocketAddr)>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) cancel: CancellationToken,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) running: JoinHandle<()>,
}

/// Two services on free ports, no delays.
pub(crate) fn config() -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut telnet = ServiceConfig::new(ServiceKind::Telnet, any);
    telnet.telnet =
        Some(TelnetConfig { fail_delay_ms: 0, accept: Accept::Never, ..TelnetConfig::default() });
    let mut http = ServiceConfig::new(ServiceKind::Http, any);
    http.http = Some(HttpConfig { fail_delay_ms: 0, ..HttpConfig::default() });
    let limits = Limits { connections_per_address: 10_000, ..Limits::default() };
    let mut config = Config { services: vec![telnet, http], limits, ..Config::default() };
    config.persona.hostname = Some("cam1".to_owned());
    config.persona.prompt = Some("\\w # ".to_owned());
    config
}

impl Zone {
    pub(crate) async fn start(config: &Config) -> Self {
        Self::with_channel(config, 1_024).await
    }

    pub(crate) async fn with_channel(config: &Config, bound: usize) -> Self {
        let (out, events) = mpsc::channel(bound);
        let sensor = SensorId::new("test").unwrap();
        let honeypot = Honeypot::bind(config, sensor, None, out).await.unwrap();
        let address = |kind| {
            let all = honeypot.addresses();
            all.iter().find(|(k, _)| *k == kind).map_or(all[0].1, |(_, address)| *address)
        };
        let ssh = address(ServiceKind::Ssh);
        let (telnet, http) = (address(ServiceKind::Telnet), address(ServiceKind::Http));
        let addresses = honeypot.addresses();
        let (stats, cancel) = (honeypot.stats(), CancellationToken::new());
        let running = tokio::spawn(honeypot.run(cancel.clone()));
        Self { ssh, telnet, http, addresses, stats, cancel, events, running }
    }

    /// The events up to and with the next end of a session.
    pub(crate) async fn session(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let last = event.kind == EventKind::SessionClosed;
            events.push(event);
            if last {
                return events;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.events.recv());
        next.await.expect("an event in time").expect("the zone runs")
    }

    /// Ends the zone and returns the events that were left.
    pub(crate) async fn end(mut self) -> Vec<Event> {
        self.cancel.cancel();
        let mut events = Vec::new();
        while let Some(event) = self.events.recv().await {
            events.push(event);
        }
        tokio::time::timeout(PATIENCE, self.running).await.expect("ends in time").unwrap();
        events
    }
}

pub(crate) fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

pub(crate) fn text<'a>(event: &'a Event, name: &str) -> &'a [u8] {
    match event.attributes.get(name) {
        Some(AttributeValue::Text(text)) => text.as_bytes(),
        other => panic!("{name}: {other:?} in {event:?}"),
    }
}

pub(crate) fn number(event: &Event, name: &str) -> i64 {
    match event.attributes.get(name) {
        Some(AttributeValue::Integer(number)) => *number,
        other => panic!("{name}: {other:?} in {event:?}"),
    }
}

pub(crate) fn request(event: &Event) -> &[u8] {
    event.request.as_ref().expect("a request").as_bytes()
}

/// Why the last event says that the session ended.
pub(crate) fn reason(events: &[Event]) -> String {
    String::from_utf8(text(events.last().unwrap(), "reason").to_vec()).unwrap()
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until `wanted` has come; returns all that came.
pub(crate) async fn read_until(stream: &mut TcpStream, wanted: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    let reading = async {
        while !got.windows(wanted.len()).any(|part| part == wanted) {
            let count = stream.read_buf(&mut got).await.unwrap();
            assert_ne!(count, 0, "closed after {}", got.escape_ascii());
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    assert!(in_time, "{} did not come in {}", wanted.escape_ascii(), got.escape_ascii());
    got
}

/// Reads to the end.
pub(crate) async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let reading = stream.read_to_end(&mut got);
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("closed in time");
    got
}

pub(crate) async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}
