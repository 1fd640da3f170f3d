//! A disk that takes its time: what the store of a hub does on it is the test
//! below and one of the page's.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::disk::Disk;
use super::mount::{Mounted, Pace};

/// Where it is mounted.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An empty directory
    at: PathBuf,
}

/// Mounts it until standard input ends. Each line there says how many
/// milliseconds a write and a sync take from then on.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let pace = Arc::new(Pace::default());
    let disk = Arc::new(Mutex::new(Disk::new()));
    let mounted = Mounted::slow(&disk, &args.at, Arc::clone(&pace))?;
    println!("mounted");
    for line in std::io::stdin().lock().lines() {
        pace.set(line?.trim().parse()?);
    }
    pace.set(0);
    mounted.unmount()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail")]
mod tests {
    use super::*;
    use std::time::{Duration, Instant, SystemTime};

    use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, wire};
    use palisade_hub::{Config, Hub, IngestError, Principal, StoreState};
    use palisade_store::Aggregated;
    use palisade_store::query::{Aggregation, Query};

    /// How long a test waits for something that must happen.
    const DEADLINE: Duration = Duration::from_secs(120);
    /// What a write and a sync take on the slow disk.
    const SLOW_MILLIS: u64 = 150;
    const BATCH: u64 = 200;

    /// A batch of events of now that fill about 150 KiB.
    fn batch(number: u64) -> Vec<Vec<u8>> {
        let at = Timestamp::from(SystemTime::now());
        let sensor = SensorId::new("unit").unwrap();
        (0..BATCH)
            .map(|n| {
                let number = u128::from(number * BATCH + n);
                let id = EventId::new(at, number);
                let mut event = Event::new(id, EventKind::DataReceived, at, sensor.clone());
                let word = |k: u128| ((number * 40 + k) as u64).wrapping_mul(u64::MAX / 59);
                let noise: String = (0..30).map(|k| format!("{:x}", word(k))).collect();
                event.request = Some(noise.into());
                wire::encode_event(&event)
            })
            .collect()
    }

    async fn offer(hub: &Hub, number: u64) -> Result<u64, IngestError> {
        let records = batch(number);
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let receipt = hub.accept(&Principal::local(None), None, &slices).await?;
        Ok(u64::from(receipt.accepted))
    }

    async fn until(hub: &Hub, what: &str, wanted: impl Fn(&palisade_hub::Status) -> bool) {
        let began = Instant::now();
        while !wanted(&hub.status()) {
            assert!(began.elapsed() < DEADLINE, "{what}: {:?}", hub.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_disk_of_the_store_holds_ingest_up_late_and_costs_nothing() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("store");
        std::fs::create_dir(&at).unwrap();
        let pace = Arc::new(Pace::default());
        let disk = Arc::new(Mutex::new(Disk::new()));
        let Ok(mounted) = Mounted::slow(&disk, &at, Arc::clone(&pace)) else {
            eprintln!(
                "skipped: no file system can be mounted here (that takes root and /dev/fuse)"
            );
            return;
        };
        let mut config = Config::default();
        (config.spool.max_bytes, config.spool.segment_bytes) = (4 << 20, 512 << 10);
        let hub = Hub::open(home.path(), &config).await.unwrap();
        let mut accepted = offer(&hub, 0).await.unwrap();
        until(&hub, "first", |status| status.store.events == BATCH).await;

        pace.set(SLOW_MILLIS);
        let mut number = 1;
        loop {
            match offer(&hub, number).await {
                Ok(events) => accepted += events,
                Err(IngestError::Busy { .. }) => break,
                Err(error) => panic!("{error}"),
            }
            number += 1;
            assert!(number < 5_000, "the spool never filled: {:?}", hub.status());
        }
        // It says how much waits and for how long, and that is within the bound.
        until(&hub, "behind", |status| status.store.behind_secs >= 2).await;
        let status = hub.status();
        assert!(status.store.state != StoreState::Failed, "{status:?}");
        assert!(status.spool.pending_records > BATCH, "{status:?}");
        assert!(status.spool.bytes <= status.spool.max_bytes, "{status:?}");
        // What is stored is answered meanwhile.
        let who = Principal::local(None);
        let count = |hub: Hub| {
            let who = who.clone();
            async move { hub.aggregate(&who, Query::ALL, Aggregation::Count).await.unwrap() }
        };
        let Aggregated::Count { count: stored } = count(hub.clone()).await else { panic!() };
        assert!((BATCH..=accepted).contains(&stored), "{stored}");

        pace.set(0);
        until(&hub, "again", |status| {
            status.spool.pending_records == 0 && status.store.state == StoreState::Ok
        })
        .await;
        assert_eq!(count(hub.clone()).await, Aggregated::Count { count: accepted });
        assert_eq!(offer(&hub, number).await.unwrap(), BATCH, "ingest goes on");
        hub.close().await;
        drop(hub);
        mounted.unmount().unwrap();
    }
}
