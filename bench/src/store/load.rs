//! Fills a store with thirty days of attacks, as fast as it takes them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_event::{Event, Timestamp};
use palisade_store::{Config, Store};

use super::clickhouse::Server;
use super::figures::Rows;
use super::{DAYS, store_dir};
use crate::generate::Attacks;
use crate::process;

/// What the seed of all made-up data is.
pub(crate) const SEED: u64 = 42;
/// Events of one call to the embedded store, about as the hub's writer does.
const BATCH: u64 = 2_000;
/// Batches that wait at most.
const QUEUE: usize = 8;
/// Says when the data ends; written when all of it is in.
const MANIFEST: &str = "bench.json";

/// What loading took.
pub(crate) struct Loaded {
    seconds: f64,
    /// CPU seconds of the thread that made the events.
    making: f64,
    commits: Vec<Duration>,
}

/// When the data in a directory ends, where there is some.
pub(super) fn end_of(data: &Path) -> Option<Timestamp> {
    let text = std::fs::read_to_string(data.join(MANIFEST)).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    manifest.get("end").and_then(serde_json::Value::as_i64).map(Timestamp::from_millis)
}

/// Appends events up to `end`, commits every second; `progress` hears how many.
pub(crate) fn fill(
    store: &Store,
    events: u64,
    end: Timestamp,
    progress: impl Fn(u64),
) -> anyhow::Result<Loaded> {
    let attacks = Attacks::new(SEED, events, end, DAYS)?;
    let pace = store.pace();
    let size = match store {
        Store::Embedded(_) => BATCH,
        Store::ClickHouse(_) => pace.chunk_records as u64,
    };
    let (sender, receiver) = sync_channel::<Vec<Arc<Event>>>(QUEUE);
    let maker = std::thread::Builder::new().name("maker".into()).spawn(move || {
        let mut i = 0;
        while i < events {
            let batch = attacks.events(i..(i + size).min(events)).map(Arc::new).collect();
            if sender.send(batch).is_err() {
                break;
            }
            i += size;
        }
        process::thread_cpu_seconds()
    })?;
    let begun = Instant::now();
    let mut committed = Instant::now();
    let mut commits = Vec::new();
    let (mut done, mut uncommitted) = (0, 0);
    let mut commit = || {
        let begun = Instant::now();
        store.commit()?;
        commits.push(begun.elapsed());
        Ok::<_, palisade_store::AppendError>(())
    };
    for batch in receiver {
        done += batch.len() as u64;
        store.append(&batch)?;
        uncommitted += batch.len();
        if committed.elapsed() > Duration::from_secs(1) || uncommitted >= pace.uncommitted_records {
            commit()?;
            (committed, uncommitted) = (Instant::now(), 0);
            progress(done);
        }
    }
    commit()?;
    let seconds = begun.elapsed().as_secs_f64();
    let making = maker.join().map_err(|_| anyhow::anyhow!("the maker panicked"))?;
    Ok(Loaded { seconds, making, commits })
}

/// Loads, seals, and says what it took.
pub(super) fn run(
    data: &Path,
    events: u64,
    end: Timestamp,
    config: &Config,
    server: Option<&Server>,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let dir = store_dir(data);
    let store = Store::open(&dir, config)?;
    anyhow::ensure!(store.stats().events == 0, "{} holds other data", dir.display());
    process::reset_peak()?;
    let (cpu_before, ..) = process::usage(std::process::id())?;
    let server_before = server.and_then(Server::usage).map_or(0.0, |(cpu, _)| cpu);
    let next = std::cell::Cell::new(0);
    let loaded = fill(&store, events, end, |done| {
        if done >= next.get() {
            eprintln!("{done} of {events} events");
            next.set(done + events / 10);
        }
    })?;
    let (cpu, rss, anon) = process::usage(std::process::id())?;
    let peak = process::peak_bytes()?;
    let per_second = events as f64 / loaded.seconds;
    rows.at_least(
        "events/s into the store, commit every second, HTTP excluded",
        250_000.0,
        per_second,
    );
    let own = (cpu - cpu_before - loaded.making) * 1e6 / events as f64;
    rows.plain(
        "… CPU of the store (of the made-up events)",
        format!("{own:.2} µs/event ({:.2})", loaded.making * 1e6 / events as f64),
    );
    let mut commits = loaded.commits;
    commits.sort_unstable();
    let longest = commits.last().copied().unwrap_or_default();
    let median = commits.get(commits.len() / 2).copied().unwrap_or_default();
    rows.plain(
        "… commit p50 / longest",
        format!("{} / {} ms", super::ms(median), super::ms(longest)),
    );
    let mib = |bytes: u64| bytes as f64 / 1048576.0;
    rows.at_most("… most resident memory of this process meanwhile", "MB", 600.0, mib(peak));
    rows.plain("… after it", format!("{:.0} MB, of it {:.0} anonymous", mib(rss), mib(anon)));
    if let Some((cpu, rss)) = server.and_then(Server::usage) {
        let found = format!("{:.2} µs/event", (cpu - server_before) * 1e6 / events as f64);
        rows.plain("… CPU of the server", found);
        rows.plain("… resident memory of the server after it", format!("{} MB", rss >> 20));
    }
    let on_disk = |store: &Store| match server {
        Some(_) => store.stats().bytes,
        None => crate::idle::folder_bytes(&dir),
    };
    let bytes = on_disk(&store);
    rows.plain("bytes an event before sealing", format!("{:.1}", bytes as f64 / events as f64));
    let begun = Instant::now();
    let (cpu_before, ..) = process::usage(std::process::id())?;
    while store.maintain(end)? {}
    if let Some(server) = server {
        server.settle()?;
    }
    let (cpu, ..) = process::usage(std::process::id())?;
    rows.plain(
        "sealing and ready aggregates (merges) of all days",
        format!("{:.1} s, {:.1} s CPU", begun.elapsed().as_secs_f64(), cpu - cpu_before),
    );
    let stats = store.stats();
    anyhow::ensure!(stats.events == events, "{} events instead of {events}", stats.events);
    let merged = on_disk(&store);
    drop(store);
    // Closed, the embedded engine has removed what merges left.
    let bytes = if server.is_some() { merged } else { crate::idle::folder_bytes(&dir) };
    rows.at_most("bytes an event on disk, everything", "B", 60.0, bytes as f64 / events as f64);
    std::fs::write(
        data.join(MANIFEST),
        serde_json::json!({"events": events, "end": end.as_millis(), "seed": SEED}).to_string(),
    )
    .context("the manifest")?;
    Ok(())
}
