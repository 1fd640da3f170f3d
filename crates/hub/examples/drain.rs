//! Measures how fast the hub takes events from its spool into the store:
//! `drain DIR EVENTS` fills a spool, then opens a hub on it and waits until
//! queries find every event.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, not a product")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use palisade_event::{
    Category, Credentials, Endpoint, Event, EventId, EventKind, Outcome, SensorId, SessionId,
    Timestamp, Transport, wire,
};
use palisade_hub::{Config, Hub};
use palisade_spool::{Spool, WhenFull};

/// A cheap generator of numbers (splitmix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn event(n: u64, total: u64, now: Timestamp) -> Event {
    let r = mix(n);
    let at = now.plus_millis(-((total - n) as i64) / 10);
    let id = EventId::new(at, u128::from(mix(r)) << 16 | u128::from(r & 0xffff));
    let sensor = SensorId::new(&format!("edge-{}", r % 20)).unwrap();
    let mut event = Event::new(id, EventKind::AuthAttempted, at, sensor);
    event.received_at = Some(at.plus_millis((r % 900) as i64));
    event.category = Category::new("SSH/console(cowrie)").ok();
    let skewed = mix(r >> 7) % (1 + mix(r >> 9) % 40_000);
    let address = Ipv4Addr::from(0x0b00_0000 + (mix(skewed) as u32 & 0x7fff_ffff));
    event.source = Some(Endpoint {
        address: IpAddr::V4(address),
        port: Some(1024 + (r % 60_000) as u16),
        transport: Some(Transport::Tcp),
    });
    event.target = Some(Endpoint {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, (r % 200) as u8)),
        port: Some(if r.is_multiple_of(3) { 2222 } else { 22 }),
        transport: Some(Transport::Tcp),
    });
    event.session = SessionId::new(&format!("{:012x}", mix(r / 3) & 0xffff_ffff_ffff)).ok();
    let word = |n: u64| format!("w{:x}", mix(n) % (1 + mix(n >> 3) % 20_000));
    event.credentials = Some(Credentials {
        username: Some(if r.is_multiple_of(2) { "root".into() } else { word(r).into() }),
        password: Some(word(r ^ 77).into()),
        outcome: Some(Outcome::Failed),
    });
    event.client = Some("SSH-2.0-Go".into());
    event
}

/// User and system time of this process so far, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = |line: &&str| line.starts_with("VmRSS") || line.starts_with("VmHWM");
    status.lines().filter(wanted).collect::<Vec<_>>().join("  ")
}

async fn fill(dir: &Path, total: u64) {
    let config = palisade_spool::Config {
        segment_bytes: 16 << 20,
        max_bytes: 1 << 40,
        when_full: WhenFull::Refuse,
    };
    std::fs::create_dir_all(dir).unwrap();
    let (spool, _reader) = Spool::open(dir, config).unwrap();
    let now = Timestamp::from(SystemTime::now());
    for first in (0..total).step_by(2000) {
        let records = (first..(first + 2000).min(total))
            .map(|n| wire::encode_event(&event(n, total, now)))
            .collect();
        spool.append(records).await.unwrap();
    }
    spool.close().await;
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap();
    let dir = Path::new(&dir);
    let total: u64 = arguments.next().unwrap().parse().unwrap();
    fill(&dir.join("hub/spool"), total).await;
    println!("filled  {}", memory());
    let mut config = Config::default();
    config.spool.max_bytes = 1 << 40;
    let begin = Instant::now();
    let before = ticks();
    let hub = Hub::open(dir, &config).await.unwrap();
    while hub.status().store.events < total {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begin.elapsed().as_secs_f64();
    println!(
        "{:.0} events/s, {:.2} us of CPU an event  {}",
        total as f64 / took,
        (ticks() - before) as f64 * 10_000.0 / total as f64,
        memory()
    );
    for wait in [0, 12, 12, 30] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        println!("after {:.0} s: {}", begin.elapsed().as_secs_f64() - took, memory());
    }
    hub.close().await;
}
