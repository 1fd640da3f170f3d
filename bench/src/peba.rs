//! Every question of the PEBA query API over HTTP, about a store of many events,
//! while more arrive: asked without a pause, and asked once in a while, when no
//! answer is remembered.

#![allow(clippy::disallowed_methods, reason = "a load at a steady rate waits by the clock")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use palisade_agent::{HttpUplink, HubConfig, Uplink as _};
use palisade_event::{
    AnalyzerName, Category, CountryCode, Event, EventId, Geo, HostName, Timestamp, wire,
};
use palisade_store::{Config, Store};

use crate::generate::{Attacks, Random};
use crate::process::{self, Process};
use crate::table::{number, print};

/// Days that the events are spread over.
const DAYS: u32 = 30;
/// Events of one append.
const BATCH: u64 = 2_000;
/// Events that arrive in a second while questions are asked, and how many at once.
const FEED_PER_SECOND: u64 = 5_000;
const FEED_BATCH: u64 = 500;
/// How often each question is asked, and for how long at most.
const ASKED: usize = 400;
const ASK_FOR: Duration = Duration::from_secs(5);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// How often each question is asked once in a while, and that while: longer than
/// an answer may be remembered.
const ASKED_COLD: usize = 8;
const COLD_PAUSE: Duration = Duration::from_millis(1_100);
/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Method, path and query. Every address of the dialect at least once.
const QUESTIONS: &[(&str, &str)] = &[
    ("GET", "/alert/retrieveAlertsCount?time=1&out=json"),
    ("GET", "/alert/retrieveAlertsCount?time=1440"),
    ("GET", "/alert/retrieveAlertsCount?time=10080&ci=-1"),
    ("GET", "/alert/retrieveAlertsCount?time=day&out=json"),
    ("GET", "/alert/retrieveAlertsCountWithType?time=1440"),
    ("GET", "/alert/retrieveAlertStats"),
    ("GET", "/alert/retrieveAlertsJson"),
    ("GET", "/alert/datasetAlertsPerMonth"),
    ("GET", "/alert/datasetAlertTypesPerMonth?days=28"),
    ("GET", "/alert/topCountriesAttacks"),
    ("GET", "/alert/topCountriesAttacks?monthOffset=1&ci=-1"),
    ("GET", "/alert/retrieveLatLonAttacks"),
    ("GET", "/alert/retrieveLatLonAttacks?offset=1&topx=100"),
    ("GET", "/alert/retrieveLatLonAttacks?direction=dst"),
    ("GET", "/alert/TpotStats?day=TODAY"),
    ("GET", "/alert/TpotStats?day=YESTERDAY"),
    ("GET", "/alert/getStats?gte=BEFORE+00:00:00&values=Webpage,SSH%2Fconsole(cowrie)"),
    ("GET", "/alert/tops?type=urls&days=1"),
    ("GET", "/alert/tops?type=urls&days=28&topx=30"),
    ("GET", "/alert/tops?type=destports&days=7"),
    ("GET", "/alert/tops?type=destports&days=28"),
    ("POST", "/alert/retrieveIPs?out=json&ci=-1"),
    ("POST", "/alert/retrieveIPs15m"),
    ("POST", "/alert/retrieveAlertsCyber"),
    ("POST", "/alert/querySingleIP?ip=ADDRESS"),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Events in the store
    #[arg(long, default_value_t = 3_000_000)]
    events: u64,
    /// Keep the data in this directory, and use it if it is there
    #[arg(long)]
    data: Option<PathBuf>,
}

/// An attack as T-Pot sends it: with a host, a daemon and a place of the target.
fn adapt(mut event: Event) -> Event {
    let sensor = event.sensor.as_str().bytes().fold(7u64, |n, b| n.wrapping_mul(31) + u64::from(b));
    event.host = HostName::new(&format!("tpot-{}", sensor % 997)).ok();
    if let Some(name) = event.category.as_ref().map(|category| category.as_str().to_owned()) {
        event.analyzer = AnalyzerName::new(&name).ok();
        if name.starts_with("Webpage") {
            event.category = Category::new("Webpage").ok();
        }
    }
    let places = [("DE", 51.2, 6.8), ("NL", 52.1, 5.1), ("US", 37.8, -97.8), ("SG", 1.3, 103.8)];
    event.target_geo = places.get((sensor % 4) as usize).map(|(country, lat, lon)| {
        Box::new(Geo {
            country: CountryCode::new(country).ok(),
            lat: Some(*lat),
            lon: Some(*lon),
            ..Geo::default()
        })
    });
    event
}

fn fill(dir: &Path, events: u64, now: Timestamp) -> anyhow::Result<()> {
    let store = Store::open(dir, &Config::default())?;
    if store.stats().events > 0 {
        ensure!(store.stats().events >= events, "{} holds other data", dir.display());
        return Ok(());
    }
    let attacks = Attacks::new(42, events, now, DAYS)?;
    let mut committed = Instant::now();
    let mut next = 0;
    while next < events {
        let end = (next + BATCH).min(events);
        let batch: Vec<Arc<Event>> =
            attacks.events(next..end).map(|event| Arc::new(adapt(event))).collect();
        store.append(&batch)?;
        next = end;
        if committed.elapsed() > Duration::from_secs(1) {
            store.commit()?;
            committed = Instant::now();
            eprintln!("{next} of {events} events");
        }
    }
    store.commit()?;
    while store.maintain(now)? {}
    Ok(())
}

/// Sends events of now until told to stop; how many went out.
async fn feed(hub: HubConfig, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> anyhow::Result<()> {
    let uplink = HttpUplink::new(&hub)?;
    let attacks = Attacks::new(7, 10_000_000, now(), 1)?;
    let mut random = Random::new(u64::from(std::process::id()));
    let pause = Duration::from_millis(1_000 * FEED_BATCH / FEED_PER_SECOND);
    let mut tick = tokio::time::interval(pause);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let at = now();
        let records: Vec<Vec<u8>> = attacks
            .events(next..next + FEED_BATCH)
            .map(|event| {
                let id = u128::from(random.next()) << 16 | u128::from(random.next() & 0xffff);
                let id = EventId::new(at, id);
                let event = Event { id, observed_at: at, received_at: None, ..adapt(event) };
                wire::encode_event(&event)
            })
            .collect();
        next += FEED_BATCH;
        let receipt = uplink.send(&records).await?;
        sent.fetch_add(receipt.accepted.into(), Ordering::Relaxed);
    }
    Ok(())
}

/// Makes an API key and writes it to a file.
fn key(home: &Path, data: &Path, scope: &str, domain: &str) -> anyhow::Result<PathBuf> {
    let output = std::process::Command::new(process::binary()?)
        .args(["key", "add", &format!("bench-{scope}-{}", std::process::id())])
        .args(["--scope", scope, "--domain", domain, "--data"])
        .arg(data)
        .output()?;
    ensure!(output.status.success(), "no key: {}", String::from_utf8_lossy(&output.stderr));
    let path = home.join(format!("key-{scope}"));
    std::fs::write(&path, output.stdout)?;
    Ok(path)
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A connection that stays open.
struct Client {
    stream: BufReader<TcpStream>,
    key: String,
}

impl Client {
    fn connect(url: &str, key: String) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("no plain address")?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), key })
    }

    /// The bytes of the answer's body, and how long it took.
    fn ask(&mut self, method: &str, path: &str) -> anyhow::Result<(Vec<u8>, Duration)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\
             Content-Length: 0\r\n\r\n",
            self.key
        );
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let length = length.filter(|length| *length <= MAX_ANSWER_BYTES).context("no length")?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((body, begun.elapsed()))
    }
}

fn quantile(samples: &mut [Duration], share: f64) -> String {
    samples.sort_unstable();
    let rank = (share * samples.len() as f64).ceil() as usize;
    let found = samples.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    format!("{:.1}", found.as_secs_f64() * 1e3)
}

/// Asks everything; the rows of the table.
fn ask_all(url: &str, key: String) -> anyhow::Result<Vec<Vec<String>>> {
    let mut client = Client::connect(url, key)?;
    let (newest, _) = client.ask("POST", "/alert/retrieveIPs15m?out=json")?;
    let newest: serde_json::Value = serde_json::from_slice(&newest)?;
    let address =
        newest.pointer("/9/ip").and_then(serde_json::Value::as_str).context("no address")?;
    let day = |ago: i64| now().plus_millis(-ago * 86_400_000).day().to_string();
    let path = |path: &str| {
        path.replace("TODAY", &day(0).replace('-', ""))
            .replace("YESTERDAY", &day(1).replace('-', ""))
            .replace("BEFORE", &day(i64::from(DAYS) - 2))
            .replace("ADDRESS", address)
    };
    let mut rows = Vec::new();
    for (method, template) in QUESTIONS {
        let path = path(template);
        let (body, first) = client.ask(method, &path)?;
        if body == b"Nope" {
            bail!("{path} was not understood");
        }
        let mut hot = Vec::new();
        let begun = Instant::now();
        while hot.len() < ASKED && begun.elapsed() < ASK_FOR {
            hot.push(client.ask(method, &path)?.1);
            std::thread::sleep(PAUSE);
        }
        let mut cold = Vec::new();
        for _ in 0..ASKED_COLD {
            std::thread::sleep(COLD_PAUSE);
            cold.push(client.ask(method, &path)?.1);
        }
        rows.push(vec![
            format!("{method} {path}"),
            number(body.len() as f64),
            format!("{:.1}", first.as_secs_f64() * 1e3),
            quantile(&mut hot, 0.5),
            quantile(&mut hot, 0.99),
            quantile(&mut cold, 0.5),
            quantile(&mut cold, 1.0),
        ]);
        eprintln!("{}", rows.last().map(|row| row.join("  ")).unwrap_or_default());
    }
    Ok(rows)
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    let data = args.data.unwrap_or_else(|| home.path().join("data"));
    std::fs::create_dir_all(&data)?;
    let data = data.canonicalize()?;
    let (store, events) = (data.join("store"), args.events);
    std::fs::create_dir_all(&store)?;
    tokio::task::spawn_blocking(move || fill(&store, events, now())).await??;
    process::settings(home.path(), &data)?;
    let ingest = key(home.path(), &data, "ingest", "community")?;
    let read = key(home.path(), &data, "read", "private")?;
    let palisade = Process::up(home.path())?;
    let hub = HubConfig { url: palisade.url.clone(), key_file: ingest, ..HubConfig::default() };
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let feeding = tokio::spawn(feed(hub, Arc::clone(&stop), Arc::clone(&sent)));
    // The first batches open writers and filters.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (url, key) = (palisade.url.clone(), std::fs::read_to_string(read)?.trim().to_owned());
    let begun = Instant::now();
    let before = sent.load(Ordering::Relaxed);
    let rows = tokio::task::spawn_blocking(move || ask_all(&url, key)).await??;
    let rate = (sent.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    feeding.await??;
    let (_, rss, _) = process::usage(palisade.pid())?;
    palisade.kill()?;
    print(
        &format!(
            "PEBA queries over HTTP: {} events stored, {}/s arrive, hub at {:.0} MB",
            number(events as f64),
            number(rate),
            rss as f64 / 1048576.0
        ),
        &["question", "bytes", "first ms", "p50 ms", "p99 ms", "after a pause: p50", "slowest"],
        &rows,
    );
    Ok(())
}
