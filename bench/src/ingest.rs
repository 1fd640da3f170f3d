//! Events a second through HTTP into a running hub, each batch answered after
//! fsync; the sender runs on the same machine and its work is included.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use palisade_agent::{HttpUplink, HubConfig, Uplink as _};
use palisade_event::{Timestamp, wire};

use crate::generate::Events;
use crate::process::{self, Process};
use crate::table::{number, print};

const SENDERS: usize = 4;
const EVENTS: usize = 400_000;

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for batch in [100, 1_000] {
        let home = tempfile::tempdir_in(".")?;
        process::settings(home.path())?;
        let key_file = process::key(home.path(), "bench", "ingest")?;
        let palisade = Process::up(home.path())?;
        let hub = HubConfig { url: palisade.url.clone(), key_file, ..HubConfig::default() };
        let now = Timestamp::from(SystemTime::now());
        let batches: Vec<Vec<Vec<u8>>> = {
            let mut events = Events::new(9, now.plus_millis(-60_000_000), 150).take(EVENTS);
            std::iter::from_fn(|| {
                let chunk: Vec<Vec<u8>> =
                    events.by_ref().take(batch).map(|event| wire::encode_event(&event)).collect();
                (!chunk.is_empty()).then_some(chunk)
            })
            .collect()
        };
        let batches = Arc::new(std::sync::Mutex::new(batches.into_iter()));
        let (cpu_before, ..) = process::usage(palisade.pid())?;
        let begin = Instant::now();
        let mut senders = Vec::new();
        for _ in 0..SENDERS {
            let uplink = HttpUplink::new(&hub)?;
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
        let answered = begin.elapsed().as_secs_f64();
        // Until the last event can be found, too.
        loop {
            let output = tokio::process::Command::new(process::binary()?)
                .args(["query", "--count", "--data", "data", ""])
                .current_dir(home.path())
                .output()
                .await?;
            if String::from_utf8_lossy(&output.stdout).trim() == EVENTS.to_string() {
                break;
            }
        }
        let stored = begin.elapsed().as_secs_f64();
        let (cpu, rss, _) = process::usage(palisade.pid())?;
        rows.push(vec![
            batch.to_string(),
            number(EVENTS as f64 / answered),
            number(EVENTS as f64 / stored),
            format!("{:.1}", (cpu - cpu_before) * 1e6 / EVENTS as f64),
            format!("{:.0}", slowest.as_secs_f64() * 1e3),
            format!("{:.0}", rss as f64 / 1048576.0),
        ]);
        palisade.kill()?;
    }
    print(
        "Ingest over HTTP (zstd, 4 senders on the same machine), 400,000 events",
        &[
            "events/batch",
            "answered/s",
            "stored and found/s",
            "hub CPU us/event",
            "slowest answer ms",
            "RSS MiB after",
        ],
        &rows,
    );
    Ok(())
}
