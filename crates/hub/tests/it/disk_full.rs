//! A disk of the store that runs full: ingest goes on into the spool, then
//! refuses; once there is room everything catches up by itself, once each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use crate::common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::*;
use palisade_hub::{Config, Hub, IngestError, StoreState};

/// A file system in memory, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs"];
        let done = Command::new("mount").args(options).arg(path).output().ok()?;
        done.status.success().then(|| Self(path.to_owned()))
    }

    fn grow(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=256m"]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A batch of events of three days that do not compress.
fn batch(number: u128) -> Vec<Vec<u8>> {
    let events: Vec<_> = (0..200)
        .map(|n| {
            let mut event = event(number * 1000 + n);
            event.observed_at = event.observed_at.plus_millis(-((n % 3) as i64) * 86_400_000);
            let word =
                |k: u64| (number as u64 * 9000 + n as u64 * 40 + k).wrapping_mul(u64::MAX / 59);
            let noise: String = (0..12).map(|k| format!("{:x}", word(k))).collect();
            event.request = Some(noise.into());
            event
        })
        .collect();
    encoded(&events)
}

async fn offer(hub: &Hub, number: u128) -> Result<u64, IngestError> {
    let records = batch(number);
    let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let receipt = hub.accept(&local(), None, &slices).await?;
    Ok(u64::from(receipt.accepted))
}

#[tokio::test]
async fn a_full_disk_of_the_store_holds_ingest_up_late_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&dir.path().join("store")) else {
        eprintln!("skipped: a small file system cannot be mounted here (that takes root)");
        return;
    };
    let mut config = Config::default();
    (config.spool.max_bytes, config.spool.segment_bytes) = (4 << 20, 512 << 10);
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let (mut accepted, mut number, mut taken_while_failed) = (0, 0, 0);
    loop {
        let failed = hub.status().store.state == StoreState::Failed;
        match offer(&hub, number).await {
            Ok(events) => {
                accepted += events;
                taken_while_failed += if failed { events } else { 0 };
            }
            Err(IngestError::Busy { .. }) if failed => break,
            Err(error) => panic!("{error}"),
        }
        // The disk runs full before the spool does.
        let waits = || {
            let status = hub.status();
            status.spool.pending_records > 0 && status.store.state != StoreState::Failed
        };
        while waits() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        number += 1;
        assert!(number < 10_000, "the disk never ran full: {:?}", hub.status());
    }
    assert!(taken_while_failed > 0, "ingest went on while the store failed");
    let status = hub.status();
    let reason = status.store.reason.unwrap_or_default();
    assert!(reason.contains("full"), "{reason}");
    assert!(status.spool.pending_records > 0);
    small.grow();
    let began = std::time::Instant::now();
    while hub.status().spool.pending_records > 0 || hub.status().store.state != StoreState::Ok {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", hub.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hub.status().store.events, accepted);
    // What was told to be new was told once.
    let sensors = hub.sensors(&local(), now()).await.unwrap();
    assert_eq!(sensors.iter().map(|one| one.events_total).sum::<u64>(), accepted);
    assert_eq!(offer(&hub, number).await.unwrap(), 200, "ingest goes on");
    hub.close().await;
}
