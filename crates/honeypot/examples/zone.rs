//! A zone alone, for load measurements: prints its addresses, takes events and
//! counts them. Arguments: telnet and HTTP listen addresses, the site of HTTP
//! (default: router), and a listen address for the same by HTTPS.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]

use palisade_event::SensorId;
use palisade_honeypot::{
    Accept, Config, Honeypot, HttpConfig, Limits, ServiceConfig, ServiceKind, TelnetConfig,
};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let mut telnet = ServiceConfig::new(ServiceKind::Telnet, next().unwrap().parse().unwrap());
    telnet.telnet = Some(TelnetConfig {
        accept: Accept::Never,
        attempts: 1_000_000,
        fail_delay_ms: 0,
        ..TelnetConfig::default()
    });
    let mut http = ServiceConfig::new(ServiceKind::Http, next().unwrap().parse().unwrap());
    let (site, https) = (next(), next());
    let requests = Some(1_000_000);
    http.http = Some(HttpConfig { site, requests, fail_delay_ms: 0, ..HttpConfig::default() });
    let mut services = vec![telnet, http.clone()];
    if let Some(listen) = https {
        let listen: std::net::SocketAddr = listen.parse().unwrap();
        services.push(ServiceConfig { tls: true, listen: listen.into(), ..http });
    }
    let limits =
        Limits { connections: 20_000, connections_per_address: 20_000, ..Limits::default() };
    let config = Config { services, limits, ..Config::default() };
    let (out, mut events) = tokio::sync::mpsc::channel(1_024);
    let sensor = SensorId::new("load").unwrap();
    let honeypot = Honeypot::bind(&config, sensor, None, out).await.unwrap();
    println!("{:?} pid {}", honeypot.addresses(), std::process::id());
    let running = tokio::spawn(honeypot.run(CancellationToken::new()));
    let mut bytes = 0usize;
    while let Some(event) = events.recv().await {
        // As much as the pipeline does with an event.
        bytes = bytes.wrapping_add(palisade_event::wire::encode_event(&event).len());
    }
    running.await.unwrap();
    println!("{bytes}");
}
