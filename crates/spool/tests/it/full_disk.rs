//! A disk that is really full: a small file system in memory. Needs the right
//! to mount; where that is missing, the tests with planned failures (in the
//! crate) remain.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panic"
)]

use crate::common;

use std::path::Path;
use std::process::Command;

use common::{block_on, config};
use palisade_spool::{AppendError, Reader, Spool, WhenFull};

/// Mounted until dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr);
                println!("skipped: cannot mount a small file system: {}", reason.trim());
                None
            }
            Err(error) => {
                println!("skipped: cannot run mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "cannot unmount {:?}", self.0);
    }
}

/// Appends until the disk is full; the acknowledged ones are added to `kept`.
async fn fill(spool: &Spool, kept: &mut Vec<(u64, Vec<u8>)>) {
    let mut failures = 0;
    for at in 0.. {
        assert!(at < 10_000, "the disk never became full");
        // Large first, then small ones until nothing at all fits.
        let record = vec![(at % 251) as u8; if failures == 0 { 9000 } else { 300 }];
        match spool.append(vec![record.clone(); 2]).await {
            Ok(position) => {
                kept.extend((position.0..).zip([record.clone(), record]));
            }
            Err(AppendError::Io(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
                failures += 1;
                if failures > 20 {
                    return;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn read(reader: &mut Reader, expected: &[(u64, Vec<u8>)]) {
    let mut all = Vec::new();
    while all.len() < expected.len() {
        let chunk = reader.next(64, 1 << 20).await.unwrap();
        let first = chunk.end - chunk.records.len() as u64;
        all.extend((first..).zip(chunk.records));
    }
    assert!(all == expected, "{} records read", all.len());
}

#[test]
fn full_disk_refuses_and_takes_again_when_there_is_space() {
    let Some(disk) = Disk::mount() else { return };
    let settings = || config(64 * 1024, 1 << 30, WhenFull::Refuse);
    let (dir, ballast) = (disk.path().join("spool"), disk.path().join("ballast"));
    std::fs::write(&ballast, vec![0; 300_000]).unwrap();
    block_on(async {
        let mut kept = Vec::new();
        let (spool, mut reader) = Spool::open(&dir, settings()).unwrap();
        fill(&spool, &mut kept).await;
        let first_fill = kept.len();
        assert!(first_fill > 50);
        // What was acknowledged is read while the disk is full.
        read(&mut reader, &kept).await;

        // Somebody else makes space: it goes on without reopening.
        std::fs::remove_file(&ballast).unwrap();
        fill(&spool, &mut kept).await;
        assert!(kept.len() > first_fill + 20);
        reader.rewind();
        read(&mut reader, &kept).await;
        drop((spool, reader));

        // A full disk can be opened, and committing frees it.
        let (spool, mut reader) = Spool::open(&dir, settings()).unwrap();
        read(&mut reader, &kept).await;
        let half = kept[kept.len() / 2].0;
        reader.commit(half).await.unwrap();
        let before = kept.len();
        fill(&spool, &mut kept).await;
        assert!(kept.len() > before + 20);
        kept.retain(|(at, _)| *at >= half);
        reader.rewind();
        read(&mut reader, &kept).await;
        assert_eq!(spool.stats().pending_records, kept.len() as u64);
        spool.close().await;
        drop((spool, reader));

        let (spool, mut reader) = Spool::open(&dir, settings()).unwrap();
        read(&mut reader, &kept).await;
        assert_eq!(spool.stats().corrupt_frames, 0);
        reader.commit(u64::MAX).await.unwrap();
        assert_eq!(spool.stats().pending_records, 0);
    });
}

#[test]
fn spool_larger_than_its_disk_still_drops_nothing_by_itself() {
    let Some(disk) = Disk::mount() else { return };
    let dir = disk.path().join("spool");
    block_on(async {
        let mut kept = Vec::new();
        let settings = config(64 * 1024, 1 << 30, WhenFull::DropOldest);
        let (spool, mut reader) = Spool::open(&dir, settings).unwrap();
        fill(&spool, &mut kept).await;
        read(&mut reader, &kept).await;
        assert_eq!(spool.stats().dropped_records, 0);
    });
}
