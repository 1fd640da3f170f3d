//! Measures the questions of dashboards: `dashboards DIR EVENTS` fills a store
//! with thirty days of events, counts what can be counted in advance, and asks
//! while 5,000 events arrive a second; `dashboards DIR open` asks what is there.
//! A third argument `direct` asks without aggregates counted in advance.
#![allow(clippy::disallowed_methods, reason = "a load at a steady rate waits by the clock")]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, not a product"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_event::{
    Category, CountryCode, Credentials, Domain, Endpoint, Event, EventId, EventKind, Geo, HostName,
    Outcome, SensorId, SessionId, Timestamp, Transport,
};
use palisade_store::query::{Aggregation, Field, Interval, Query};
use palisade_store::{Config, Store};

/// 2026-11-20T12:30:17Z: the end of the data, in the middle of everything.
const NOW: i64 = 1_795_132_800_000 + 12 * 3_600_000 + 30 * 60_000 + 17_000;
const DAY: i64 = 86_400_000;
const DAYS: i64 = 30;
/// Events a second that arrive while questions are asked.
const RATE: u64 = 5_000;
const ROUNDS: usize = 100;

/// A cheap generator of numbers (splitmix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `most`, small ones far more often (about 1/x).
fn skewed(seed: u64, most: u64) -> u64 {
    let unit = (mix(seed) >> 11) as f64 / (1u64 << 53) as f64;
    ((most as f64).powf(unit) - 1.0) as u64
}

const CATEGORIES: [&str; 12] = [
    "SSH/console(cowrie)",
    "Network(honeytrap)",
    "Webpage",
    "RDP(rdpy)",
    "Passwords(heralding)",
    "Network(Dionaea)",
    "VNC(vnclowpot)",
    "E-Mail(mailoney)",
    "Service(ES)",
    "Network(cisco-asa)",
    "Industrial(conpot)",
    "Service(Medicine)",
];
const PORTS: [u16; 12] = [22, 445, 80, 3389, 23, 1433, 5900, 25, 9200, 8443, 102, 2575];

fn event(n: u64, at: i64) -> Arc<Event> {
    let r = mix(n);
    let at = Timestamp::from_millis(at);
    let id = EventId::new(at, u128::from(mix(r)) << 16 | u128::from(r & 0xffff));
    let sensor = skewed(r ^ 1, 200);
    let mut event = Event::new(
        id,
        EventKind::AuthAttempted,
        at,
        SensorId::new(&format!("edge-{sensor}")).unwrap(),
    );
    event.received_at = Some(at.plus_millis((r % 900) as i64));
    if !r.is_multiple_of(5) {
        event.domain = Domain::Community;
    }
    event.host = HostName::new(&format!("pot-{}", sensor / 2)).ok();
    let kind = skewed(r ^ 2, 12) as usize;
    event.category = Category::new(CATEGORIES[kind]).ok();
    // Most attackers come on a few days only.
    let day = at.as_millis().div_euclid(DAY) as u64;
    let attacker = if r.is_multiple_of(3) {
        skewed(r ^ 3, 300_000)
    } else {
        mix(day) % 1_000_000 + skewed(r ^ 3, 200_000)
    };
    let ip = mix(attacker);
    event.source = Some(Endpoint {
        address: IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (ip as u32 & 0x7fff_ffff))),
        port: Some(1024 + (r % 60_000) as u16),
        transport: Some(Transport::Tcp),
    });
    event.target = Some(Endpoint {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, (sensor % 250) as u8)),
        port: Some(if r % 10 < 8 { PORTS[kind] } else { skewed(r ^ 4, 65_535) as u16 }),
        transport: Some(Transport::Tcp),
    });
    let place = skewed(ip, 8_000);
    let code = mix(place) % 180;
    let letter = |n: u64| char::from(b'A' + (n % 26) as u8);
    let code: String = [letter(code / 26 + 2), letter(code)].iter().collect();
    event.source_geo = Some(Box::new(Geo {
        country: CountryCode::new(&code).ok(),
        asn: Some(skewed(ip ^ 5, 20_000) as u32),
        organisation: Some(format!("Network {}", skewed(ip ^ 5, 20_000)).into()),
        lat: Some((mix(place) % 18_000) as f64 / 100.0 - 90.0),
        lon: Some((mix(place ^ 9) % 36_000) as f64 / 100.0 - 180.0),
        ..Geo::default()
    }));
    if kind == 2 {
        event.kind = EventKind::HttpRequested;
        event.request = Some(format!("GET /{:x}/index.php", mix(skewed(r ^ 6, 40_000))).into());
    } else {
        let word = |n: u64, most: u64| format!("{:x}", mix(skewed(n, most)) & 0xff_ffff_ffff);
        event.credentials = Some(Credentials {
            username: Some(if r.is_multiple_of(2) {
                "root".into()
            } else {
                word(r ^ 7, 20_000).into()
            }),
            password: Some(word(r ^ 8, 200_000).into()),
            outcome: Some(Outcome::Failed),
        });
        event.client = Some("SSH-2.0-Go".into());
        event.session = SessionId::new(&format!("{:012x}", mix(r / 3) & 0xffff_ffff_ffff)).ok();
    }
    Arc::new(event)
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted =
        |line: &&str| ["VmRSS", "RssAnon", "VmHWM"].iter().any(|name| line.starts_with(name));
    let lines: Vec<String> = status
        .lines()
        .filter(wanted)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("  ")
}

fn upkeep(store: &Store, now: i64) {
    let (start, mut pieces, mut longest) = (Instant::now(), 0, Duration::ZERO);
    loop {
        let piece = Instant::now();
        if !store.maintain(Timestamp::from_millis(now)).unwrap() {
            break;
        }
        pieces += 1;
        longest = longest.max(piece.elapsed());
    }
    println!("upkeep {:?}, {pieces} pieces, longest {longest:?}  {}", start.elapsed(), memory());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap();
    let what = arguments.next().unwrap();
    let mut config = Config::default();
    if arguments.next().is_some() {
        config.ready.min_events = u32::MAX;
        config.ready.memory_bytes = 0;
    }
    let start = Instant::now();
    let store = Store::open(Path::new(&dir), &config).unwrap();
    println!("open {:?}  {}", start.elapsed(), memory());
    if let Ok(total) = what.parse::<u64>() {
        let (start, mut committed) = (Instant::now(), Instant::now());
        let step = (DAYS * DAY) as f64 / total as f64;
        for first in (0..total).step_by(4096) {
            let at = |n: u64| NOW - DAYS * DAY + (n as f64 * step) as i64;
            let batch: Vec<_> =
                (first..(first + 4096).min(total)).map(|n| event(n, at(n))).collect();
            store.append(&batch).unwrap();
            if committed.elapsed() > Duration::from_secs(1) {
                store.commit().unwrap();
                committed = Instant::now();
            }
        }
        store.commit().unwrap();
        println!(
            "ingest {:.0} events/s  {}",
            total as f64 / start.elapsed().as_secs_f64(),
            memory()
        );
        upkeep(&store, NOW);
        // Days are merged once they were quiet for a while.
        upkeep(&store, NOW + 11 * 60_000);
    }
    let stats = store.stats();
    println!(
        "{} events, {:.1} bytes an event, of these ready {:.2}",
        stats.events,
        stats.bytes as f64 / stats.events as f64,
        stats.ready_bytes as f64 / stats.events as f64
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| arrive(&store, &stop));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.maintain(Timestamp::from_millis(NOW)).unwrap();
                std::thread::sleep(Duration::from_secs(10));
            }
        });
        ask(&store);
        stop.store(true, Ordering::Relaxed);
    });
    println!("{}  {:?}", memory(), store.stats());
}

/// Appends at a steady rate, a commit a second.
fn arrive(store: &Store, stop: &AtomicBool) {
    let start = Instant::now();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * RATE as f64) as u64;
        let base = std::process::id() as u64 * 1_000_000_000;
        let batch: Vec<_> =
            (n..due).map(|n| event(base + n, NOW + (n * 1000 / RATE) as i64)).collect();
        n = due;
        store.append(&batch).unwrap();
        store.commit().unwrap();
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn ask(store: &Store) {
    let top = |fields: &[Field], k: usize, sub: Option<Aggregation>| {
        Aggregation::Top(fields.to_vec(), k, sub.map(Box::new))
    };
    let every = |minutes: i64, sub: Option<Aggregation>| {
        Aggregation::Histogram(Interval::Millis(minutes * 60_000), sub.map(Box::new))
    };
    let day = 24 * 60;
    let questions = [
        ("day by type", "domain:community since:24h", top(&[Field::Category], 100, None)),
        ("day by type, 15 min", "since:24h", every(15, Some(top(&[Field::Category], 8, None)))),
        ("30 days", "domain:community since:30d", every(day, None)),
        (
            "30 days by type",
            "domain:community since:30d",
            every(day, Some(top(&[Field::Category], 100, None))),
        ),
        (
            "countries of the month",
            "domain:community month:2026-11",
            top(&[Field::Country], 250, None),
        ),
        (
            "top URLs, 7 d, 6 h",
            "category:Webpage domain:community since:7d",
            top(&[Field::Request], 10, Some(every(360, None))),
        ),
        (
            "top URLs, 28 d, 1 d",
            "category:Webpage domain:community since:28d",
            top(&[Field::Request], 10, Some(every(day, None))),
        ),
        (
            "top ports, 7 d, 6 h",
            "domain:community since:7d",
            top(&[Field::Port], 10, Some(every(360, None))),
        ),
        (
            "top ports, 28 d, 1 d",
            "domain:community since:28d",
            top(&[Field::Port], 10, Some(every(day, None))),
        ),
        ("lat/lon 24 h", "domain:community since:24h", top(&[Field::Location], 10, None)),
        ("lat/lon of a day", "domain:community day:2026-11-17", top(&[Field::Location], 10, None)),
        ("page: countries 24 h", "since:24h", top(&[Field::Country], 250, None)),
        ("page: addresses 24 h", "since:24h", top(&[Field::Ip], 8, None)),
        ("page: user, password 24 h", "since:24h", top(&[Field::User, Field::Password], 8, None)),
        ("page: passwords 30 d", "since:30d", top(&[Field::Password], 8, None)),
        ("page: addresses 30 d", "since:30d", top(&[Field::Ip], 8, None)),
        ("page: user, password 30 d", "since:30d", top(&[Field::User, Field::Password], 8, None)),
        ("addresses by day, 30 d", "since:30d", every(day, Some(top(&[Field::Ip], 10, None)))),
        ("distinct addresses 24 h", "since:24h", Aggregation::Distinct(Field::Ip)),
        ("distinct countries 24 h", "since:24h", Aggregation::Distinct(Field::Country)),
        ("distinct addresses 30 d", "since:30d", Aggregation::Distinct(Field::Ip)),
        ("count 24 h", "since:24h", Aggregation::Count),
    ];
    for (name, text, aggregation) in &questions {
        let mut times = Vec::new();
        let mut first = Duration::ZERO;
        let rounds = Instant::now();
        for round in 0..ROUNDS {
            // Now goes on while questions are asked.
            let now = Timestamp::from_millis(NOW + round as i64 * 137);
            let query = Query::parse(text, now).unwrap();
            let begin = Instant::now();
            store.aggregate(&query, aggregation).unwrap();
            let took = begin.elapsed();
            if round == 0 {
                first = took
            } else {
                times.push(took)
            }
            if rounds.elapsed() > Duration::from_secs(15) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        times.sort_unstable();
        let at =
            |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{name:28} first {:8.2} ms  p50 {:8.2}  p99 {:8.2}  ({} times)",
            first.as_secs_f64() * 1e3,
            at(0.5),
            at(0.99),
            times.len()
        );
    }
}
