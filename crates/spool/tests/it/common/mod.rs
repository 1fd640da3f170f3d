//! What the tests of the spool share.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::future::Future;
use std::path::{Path, PathBuf};

use palisade_spool::{Config, Reader, Spool, WhenFull};
use tempfile::TempDir;

/// A directory in memory where there is one: tests that open a spool a
/// thousand times need no disk to be slow.
pub(crate) fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.unwrap()
}

pub(crate) fn config(segment_bytes: u64, max_bytes: u64, when_full: WhenFull) -> Config {
    Config { segment_bytes, max_bytes, when_full }
}

/// Roomy, with small segments.
pub(crate) fn small_segments() -> Config {
    config(200, 1 << 20, WhenFull::Refuse)
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

/// All that is there now, as (number, record), without waiting for more.
pub(crate) async fn drain(spool: &Spool, reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
    spool.close().await;
    let mut all = Vec::new();
    while let Ok(chunk) = reader.next(7, 64).await {
        let first = chunk.end - chunk.records.len() as u64;
        all.extend((first..).zip(chunk.records));
    }
    all
}

/// The segment files, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    paths.sort();
    paths
}

pub(crate) fn segment_bytes(dir: &Path) -> u64 {
    segments(dir).iter().map(|path| path.metadata().unwrap().len()).sum()
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(crate) fn texts(records: &[&str]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.as_bytes().to_vec()).collect()
}
