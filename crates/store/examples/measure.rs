//! Measures the embedded engine: `measure DIR EVENTS` fills a store and asks,
//! `measure DIR open` opens it and asks. A third argument is a query that all
//! questions are narrowed by, such as `since:7d`; `-` asks nothing. A fourth
//! spreads the events over so many days, in no order.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, not a product"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use palisade_event::{
    Category, CountryCode, Credentials, Endpoint, Event, EventId, EventKind, Geo, GeoPrecision,
    Outcome, SensorId, SessionId, Timestamp, Transport,
};
use palisade_store::query::{Aggregation, Field, Interval, Query};
use palisade_store::{Aggregated, Config, Store};

/// 2026-11-20T00:00:00Z.
const TODAY: i64 = 1_795_132_800_000;

/// A cheap generator of numbers (splitmix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn event(n: u64, total: u64, at: Option<Timestamp>) -> Arc<Event> {
    let r = mix(n);
    // A million events a day, newest today.
    let in_order = Timestamp::from_millis(TODAY - ((total - n) as i64) * 86);
    let at = at.unwrap_or(in_order);
    let id = EventId::new(at, u128::from(mix(r)) << 16 | u128::from(r & 0xffff));
    let mut event = Event::new(
        id,
        EventKind::AuthAttempted,
        at,
        SensorId::new(&format!("edge-{}", r % 20)).unwrap(),
    );
    event.received_at = Some(at.plus_millis((r % 900) as i64));
    event.category = Category::new("SSH/console(cowrie)").ok();
    let skewed = mix(r >> 7) % (1 + mix(r >> 9) % 40_000);
    let address = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (mix(skewed) as u32 & 0x7fff_ffff)));
    let port = Some(1024 + (r % 60_000) as u16);
    event.source = Some(Endpoint { address, port, transport: Some(Transport::Tcp) });
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
    let code = [["CN", "DE", "US", "RU"], ["BR", "IN", "FR", "VN"]][(skewed & 1) as usize]
        [(skewed as usize >> 1) & 3];
    event.source_geo = Some(Box::new(Geo {
        country: CountryCode::new(code).ok(),
        asn: Some((skewed % 3000) as u32),
        lat: Some((skewed % 180) as f64 - 90.0),
        lon: Some((skewed % 360) as f64 - 180.0),
        precision: Some(GeoPrecision::Country),
        ..Geo::default()
    }));
    Arc::new(event)
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

/// Which of `days` days event `n` is of, and when; 0: in order, a million a day.
fn spread(n: u64, days: u64) -> Option<Timestamp> {
    let back = mix(n ^ 0xdead) % days.max(1) * 86_400_000 + mix(n ^ 0xbeef) % 86_000_000;
    (days > 0).then(|| Timestamp::from_millis(TODAY - 86_400_000 - back as i64))
}

fn fill(store: &Store, total: u64, days: u64) {
    let begin = Instant::now();
    let before = ticks();
    let sample = 200_000.min(total);
    for n in 0..sample {
        std::hint::black_box(event(n, total, None));
    }
    let making = (ticks() - before) as f64 * 10_000.0 / sample as f64;
    println!("making an event takes {making:.2} us of CPU, {:?}", begin.elapsed() / sample as u32);
    let begin = Instant::now();
    let before = ticks();
    let mut committed = Instant::now();
    let mut commits = Vec::new();
    for first in (0..total).step_by(2000) {
        let batch: Vec<_> =
            (first..(first + 2000).min(total)).map(|n| event(n, total, spread(n, days))).collect();
        store.append(&batch).unwrap();
        if committed.elapsed().as_secs() >= 1 {
            let begin = Instant::now();
            store.commit().unwrap();
            commits.push(begin.elapsed().as_secs_f64());
            committed = Instant::now();
        }
    }
    store.commit().unwrap();
    let took = begin.elapsed().as_secs_f64();
    let cpu = (ticks() - before) as f64 * 10_000.0 / total as f64;
    commits.sort_by(f64::total_cmp);
    println!(
        "ingest {:.0} events/s, {cpu:.2} us of CPU an event ({:.2} without making it)",
        total as f64 / took,
        cpu - making,
    );
    println!(
        "{} commits, median {:.3} s, longest {:.3} s; {} bytes/event  {}",
        commits.len(),
        commits.get(commits.len() / 2).copied().unwrap_or(0.0),
        commits.last().copied().unwrap_or(0.0),
        store.stats().bytes / store.stats().events,
        memory()
    );
    let begin = Instant::now();
    let before = ticks();
    let now = Timestamp::from_millis(TODAY + 2 * 86_400_000);
    let mut calls = 0;
    while store.maintain(now).unwrap() {
        calls += 1;
    }
    store.maintain(now).unwrap();
    let stats = store.stats();
    println!(
        "{calls} pieces of housekeeping in {:?}, {:.2} us of CPU an event; {} bytes/event  {}",
        begin.elapsed(),
        (ticks() - before) as f64 * 10_000.0 / total as f64,
        stats.bytes / stats.events,
        memory()
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap();
    let what = arguments.next().unwrap();
    let narrowed = arguments.next().unwrap_or_default();
    let days = arguments.next().map_or(0, |days| days.parse().unwrap());
    let start = Instant::now();
    let store = Store::open(Path::new(&dir), &Config::default()).unwrap();
    println!("open {:?}  {}  {:?}", start.elapsed(), memory(), store.stats());
    if let Ok(total) = what.parse::<u64>() {
        fill(&store, total, days);
    }
    if narrowed == "-" {
        return;
    }
    let top = |fields: &[Field], sub| Aggregation::Top(fields.to_vec(), 10, sub);
    let hour = |sub| Aggregation::Histogram(Interval::Millis(3_600_000), sub);
    let ask = [
        ("count", "*", Aggregation::Count),
        ("hours", "*", hour(None)),
        ("top country", "*", top(&[Field::Country], None)),
        ("top password", "*", top(&[Field::Password], None)),
        ("top user+password of CN", "country:CN", top(&[Field::User, Field::Password], None)),
        ("top ip", "*", top(&[Field::Ip], None)),
        ("top session", "*", top(&[Field::Session], None)),
        ("distinct ip", "*", Aggregation::Distinct(Field::Ip)),
        ("distinct session", "*", Aggregation::Distinct(Field::Session)),
        ("top country x hours", "*", top(&[Field::Country], Some(Box::new(hour(None))))),
        ("filtered count", "country:CN port:22 password:w1*", Aggregation::Count),
        ("free text", "root w1a2", Aggregation::Count),
    ];
    for (name, text, aggregation) in ask {
        let text = format!("{text} {narrowed}");
        let query = Query::parse(&text, Timestamp::from_millis(TODAY)).unwrap();
        let begin = Instant::now();
        let answer = match store.aggregate(&query, &aggregation) {
            Ok(answer) => answer,
            Err(error) => {
                println!("{name}: {error}");
                continue;
            }
        };
        let first = begin.elapsed();
        let again: Vec<_> = (0..5)
            .map(|_| {
                let begin = Instant::now();
                store.aggregate(&query, &aggregation).unwrap();
                begin.elapsed()
            })
            .collect();
        let what = match answer {
            Aggregated::Buckets { buckets, other } => format!("{} and {other}", buckets.len()),
            answer => format!("{answer:?}"),
        };
        println!("{name}: first {first:?}, best of 5 {:?}  ({what})", again.iter().min().unwrap());
    }
    for text in ["*", "country:CN password:w1a*"] {
        let query = Query::parse(text, Timestamp::from_millis(TODAY)).unwrap();
        let begin = Instant::now();
        store.search(&query, 50, None).unwrap();
        println!("newest 50 of {text}: {:?}", begin.elapsed());
    }
    println!("{}", memory());
}
