//! The hub in this process: ingest, spool with fsync, writer, store, queries;
//! everything but HTTP.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use palisade_event::{EventId, Timestamp, wire};
use palisade_hub::{Hub, Principal};
use palisade_store::{Config, Store};
use tokio_util::sync::CancellationToken;

use super::figures::{Rows, Samples, ms};
use super::{Clock, questions, store_dir};
use crate::generate::{Attacks, Random};
use crate::process;
use crate::table::{number, print};

/// Events that arrive in a second while questions are asked.
const FEED_PER_SECOND: u64 = 5_000;
/// Of it in one batch.
const FEED_BATCH: u64 = 500;
/// How long each question is asked, and how often at most.
const ASK_FOR: Duration = Duration::from_secs(4);
const ASKED: usize = 300;
/// Pause between two questions, as a page asks now and then and not without pause.
const PAUSE: Duration = Duration::from_millis(10);
/// Events for the way through the hub.
const EVENTS: u64 = 600_000;
const BATCH: usize = 1_000;
const SENDERS: usize = 4;

fn settings(store: &Config) -> palisade_hub::Config {
    palisade_hub::Config { store: store.clone(), ..palisade_hub::Config::default() }
}

/// Asks every question while events arrive and are stored.
pub(super) async fn questions_under_load(
    data: &Path,
    config: &Config,
    clock: Clock,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let asked = {
        let store = Store::open(&store_dir(data), config)?;
        questions::all(&store, clock.now())?
    };
    let hub = Hub::open(data, &settings(config)).await?;
    let who = Principal::local(None);
    let stop = CancellationToken::new();
    let feeding = tokio::spawn(feed(hub.clone(), clock, stop.clone()));
    // The first batches open writers and filters.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut table = Vec::new();
    for question in asked {
        let mut samples = Samples::default();
        let begun = Instant::now();
        let mut n = 0;
        while n < ASKED && begun.elapsed() < ASK_FOR {
            let at = Instant::now();
            question.ask_hub(&hub, &who, n, clock.now()).await?;
            samples.add(at.elapsed());
            n += 1;
            tokio::time::sleep(PAUSE).await;
        }
        rows.question_busy(&question, &samples);
        table.push(vec![
            question.what.to_owned(),
            ms(samples.quantile(0.5)),
            ms(samples.quantile(0.99)),
            samples.len().to_string(),
        ]);
    }
    stop.cancel();
    let fed = feeding.await??;
    hub.close().await;
    print(
        &format!("Questions while {FEED_PER_SECOND} events/s arrive"),
        &["question", "p50 ms", "p99 ms", "times"],
        &table,
    );
    rows.plain("… events/s that arrived meanwhile", number(fed));
    Ok(())
}

/// Delivers events of now at a steady pace; returns how many a second it was.
async fn feed(hub: Hub, clock: Clock, stop: CancellationToken) -> anyhow::Result<f64> {
    let seed = u64::from(std::process::id());
    let attacks = Attacks::new(seed, 10_000_000, clock.end, 1)?;
    let mut random = Random::new(seed ^ clock.begun.elapsed().as_nanos() as u64);
    let who = Principal::local(None);
    let mut ticks =
        tokio::time::interval(Duration::from_secs(1) * FEED_BATCH as u32 / FEED_PER_SECOND as u32);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut sent = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(sent as f64 / begun.elapsed().as_secs_f64()),
            _ = ticks.tick() => {}
        }
        let records: Vec<Vec<u8>> = attacks
            .events(sent..sent + FEED_BATCH)
            .map(|mut event| {
                event.observed_at = clock.now();
                let entropy = u128::from(random.next()) << 64 | u128::from(random.next());
                event.id = EventId::new(event.observed_at, entropy);
                event.received_at = None;
                wire::encode_event(&event)
            })
            .collect();
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        hub.accept(&who, None, &slices).await?;
        sent += FEED_BATCH;
    }
}

/// How many events a second go through ingest, spool, writer and store.
pub(super) async fn throughput(store: &Config, rows: &mut Rows) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    let now = Timestamp::from(SystemTime::now());
    // As much of the time as the same number of events takes in the long run.
    let attacks = Attacks::new(9, EVENTS, now, 1)?;
    let mut batches = Vec::new();
    let mut batch = Vec::with_capacity(BATCH);
    for event in attacks.events(0..EVENTS) {
        batch.push(wire::encode_event(&event));
        if batch.len() == BATCH {
            batches.push(std::mem::take(&mut batch));
        }
    }
    let batches = Arc::new(Mutex::new(batches.into_iter()));
    let mut store = store.clone();
    if let Some(clickhouse) = &mut store.clickhouse {
        clickhouse.database.push_str("_hub");
    }
    let hub = Hub::open(home.path(), &settings(&store)).await?;
    let (cpu_before, ..) = process::usage(std::process::id())?;
    let begun = Instant::now();
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let (hub, batches) = (hub.clone(), Arc::clone(&batches));
        senders.push(tokio::spawn(async move {
            let who = Principal::local(None);
            loop {
                let next = batches.lock().ok().and_then(|mut batches| batches.next());
                let Some(batch) = next else { return Ok::<_, anyhow::Error>(()) };
                let records: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
                let receipt = hub.accept(&who, None, &records).await?;
                anyhow::ensure!(receipt.accepted as usize == batch.len(), "{receipt:?}");
            }
        }));
    }
    for sender in senders {
        sender.await??;
    }
    let answered = begun.elapsed().as_secs_f64();
    while hub.status().spool.pending_records > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stored = begun.elapsed().as_secs_f64();
    let (cpu, ..) = process::usage(std::process::id())?;
    hub.close().await;
    rows.plain(
        "events/s through the hub without HTTP (check, spool with fsync), answered",
        number(EVENTS as f64 / answered),
    );
    rows.plain(
        "… until they are in the store",
        format!(
            "{}/s, {:.2} µs CPU each",
            number(EVENTS as f64 / stored),
            (cpu - cpu_before) * 1e6 / EVENTS as f64
        ),
    );
    Ok(())
}
