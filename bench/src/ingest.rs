//! Events a second through HTTP into a running hub, each batch answered after
//! fsync; the sender runs on the same machine and its work is included.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use palisade_agent::{HttpUplink, HubConfig, Uplink as _};
use palisade_event::{Timestamp, wire};

use crate::generate::Attacks;
use crate::process::{self, Process};
use crate::table::{number, print};

const SENDERS: usize = 4;
const EVENTS: u64 = 400_000;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What one run found.
pub(crate) struct Measured {
    pub(crate) answered_per_second: f64,
    pub(crate) stored_per_second: f64,
    cpu_micros: f64,
    slowest: Duration,
    peak_bytes: u64,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for batch in [100, 1_000] {
        let found = measure(batch, EVENTS).await?;
        rows.push(vec![
            batch.to_string(),
            number(found.answered_per_second),
            number(found.stored_per_second),
            format!("{:.1}", found.cpu_micros),
            format!("{:.0}", found.slowest.as_secs_f64() * 1e3),
            format!("{:.0}", found.peak_bytes as f64 / 1048576.0),
        ]);
    }
    print(
        "Ingest over HTTP (zstd, 4 senders on the same machine), 400,000 events",
        &[
            "events/batch",
            "answered/s",
            "stored and found/s",
            "hub CPU us/event",
            "slowest answer ms",
            "highest RSS MiB",
        ],
        &rows,
    );
    Ok(())
}

/// Encoded events of the hours before `now`, in batches.
fn batches(batch: usize, events: u64, now: Timestamp) -> anyhow::Result<Vec<Vec<Vec<u8>>>> {
    let seed = u64::from(std::process::id()) ^ 9;
    let attacks = Attacks::new(seed, events, now, 1)?;
    let mut encoded = attacks.events(0..events).map(|event| wire::encode_event(&event));
    Ok(std::iter::from_fn(|| {
        let chunk: Vec<Vec<u8>> = encoded.by_ref().take(batch).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
    .collect())
}

/// Sends all batches from several senders; the slowest answer.
async fn deliver(hub: &HubConfig, batches: Vec<Vec<Vec<u8>>>) -> anyhow::Result<Duration> {
    let batches = Arc::new(Mutex::new(batches.into_iter()));
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let uplink = HttpUplink::new(hub)?;
        let batches = Arc::clone(&batches);
        senders.push(tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            loop {
                let next = batches.lock().ok().and_then(|mut batches| batches.next());
                let Some(records) = next else { return Ok::<_, anyhow::Error>(slowest) };
                let sent = Instant::now();
                let receipt = uplink.send(&records).await?;
                anyhow::ensure!(receipt.accepted as usize == records.len(), "{receipt:?}");
                slowest = slowest.max(sent.elapsed());
            }
        }));
    }
    let mut slowest = Duration::ZERO;
    for sender in senders {
        slowest = slowest.max(sender.await??);
    }
    Ok(slowest)
}

/// Watches how much memory a process has until told to stop.
pub(crate) struct Watch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    pub(crate) fn of(pid: u32) -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (Arc::clone(&peak), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                if let Ok((_, rss, _)) = process::usage(pid) {
                    seen.fetch_max(rss, Ordering::Relaxed);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { peak, stop, task }
    }

    pub(crate) async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        // It ends by itself within one look.
        let _ = self.task.await;
        self.peak.load(Ordering::Relaxed)
    }
}

/// A fresh hub: events a second until answered and until found by a query.
pub(crate) async fn measure(batch: usize, events: u64) -> anyhow::Result<Measured> {
    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), &home.path().join("data"))?;
    let key_file = process::key(home.path(), "bench", "ingest")?;
    let now = Timestamp::from(SystemTime::now());
    let batches = batches(batch, events, now)?;
    let palisade = Process::up(home.path())?;
    let hub = HubConfig { url: palisade.url.clone(), key_file, ..HubConfig::default() };
    let watch = Watch::of(palisade.pid());
    let (cpu_before, ..) = process::usage(palisade.pid())?;
    let begin = Instant::now();
    let slowest = deliver(&hub, batches).await?;
    let answered = begin.elapsed().as_secs_f64();
    // Until the last event can be found, too.
    loop {
        let output = tokio::process::Command::new(process::binary()?)
            .args(["query", "--count", "--data", "data", ""])
            .current_dir(home.path())
            .output()
            .await?;
        if String::from_utf8_lossy(&output.stdout).trim() == events.to_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stored = begin.elapsed().as_secs_f64();
    let (cpu, ..) = process::usage(palisade.pid())?;
    let peak_bytes = watch.end().await;
    palisade.kill()?;
    Ok(Measured {
        answered_per_second: events as f64 / answered,
        stored_per_second: events as f64 / stored,
        cpu_micros: (cpu - cpu_before) * 1e6 / events as f64,
        slowest,
        peak_bytes,
    })
}

/// Sends as fast as it goes into a hub that runs; the most memory it had and
/// the events a second that were answered.
pub(crate) async fn flood(
    palisade: &Process,
    key_file: PathBuf,
    now: Timestamp,
    events: u64,
) -> anyhow::Result<(u64, f64)> {
    let hub = HubConfig { url: palisade.url.clone(), key_file, ..HubConfig::default() };
    let batches = batches(1_000, events, now)?;
    let watch = Watch::of(palisade.pid());
    let begin = Instant::now();
    deliver(&hub, batches).await?;
    let per_second = events as f64 / begin.elapsed().as_secs_f64();
    // What is in the spool still goes into the store.
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok((watch.end().await, per_second))
}
