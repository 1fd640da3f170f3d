//! How far each source has been read and acknowledged, and where that is kept.
//!
//! The pipeline acknowledges what the spool has; a keeper task a source writes
//! it down, at most every [`PERSIST_INTERVAL`] and never when nothing changed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::durable;

/// Least time between two writes of one cursor.
const PERSIST_INTERVAL: Duration = Duration::from_millis(500);
/// First bytes of a file that tell it from another one with the same inode.
pub(crate) const HEAD_BYTES: usize = 256;

/// Identifies a file for as long as it is followed: device, inode, and how
/// often it has begun anew by truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileKey {
    pub(crate) dev: u64,
    pub(crate) inode: u64,
    pub(crate) generation: u32,
}

/// The state of one source on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The source, for people who look at the file.
    pub(crate) source: String,
    /// Files being followed, the oldest first.
    #[serde(default)]
    pub(crate) files: Vec<FileCursor>,
    /// The journal's own cursor.
    #[serde(default)]
    pub(crate) journal: Option<String>,
    /// Since when the file is known not to exist; whatever comes after that is
    /// new. `None` once there is one.
    #[serde(default)]
    pub(crate) absent_since: Option<SystemTime>,
    /// Of a pattern of files: those that are or were followed and still exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) known: Option<Vec<KnownFile>>,
}

impl Cursor {
    /// Whether it says anything: a source that never got to look says nothing.
    fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.journal.is_none()
            && self.absent_since.is_none()
            && self.known.is_none()
    }
}

/// A file that a pattern has found, whatever its name is by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownFile {
    pub(crate) dev: u64,
    pub(crate) inode: u64,
    /// The name that it is followed by.
    pub(crate) path: PathBuf,
    /// SHA-256 in hex of the first `head_bytes` of the file.
    pub(crate) fingerprint: String,
    pub(crate) head_bytes: usize,
}

/// How far one file has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileCursor {
    pub(crate) dev: u64,
    pub(crate) inode: u64,
    /// How often the file has begun anew by truncation.
    #[serde(default)]
    pub(crate) generation: u32,
    /// SHA-256 in hex of the first `head_bytes` of the file.
    pub(crate) fingerprint: String,
    pub(crate) head_bytes: usize,
    /// Where the next unacknowledged line begins.
    pub(crate) offset: u64,
}

/// Fingerprint of the beginning of a file.
pub(crate) fn fingerprint(head: &[u8]) -> String {
    Sha256::digest(head).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One followed file in memory.
#[derive(Clone, Debug)]
struct Followed {
    key: FileKey,
    head: Vec<u8>,
    acknowledged: u64,
    /// Nothing after this offset will be read; forgotten once acknowledged.
    end: Option<u64>,
}

/// What a source has read and had acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    files: Vec<Followed>,
    journal: Option<String>,
    absent_since: Option<SystemTime>,
    known: Option<Vec<KnownFile>>,
}

impl Progress {
    fn to_cursor(&self, source: &str) -> Cursor {
        let files = self.files.iter().map(|file| {
            let length = usize::try_from(file.acknowledged).unwrap_or(usize::MAX);
            let head = file.head.get(..length).unwrap_or(&file.head);
            FileCursor {
                dev: file.key.dev,
                inode: file.key.inode,
                generation: file.key.generation,
                fingerprint: fingerprint(head),
                head_bytes: head.len(),
                offset: file.acknowledged,
            }
        });
        Cursor {
            source: source.to_owned(),
            files: files.collect(),
            journal: self.journal.clone(),
            absent_since: self.absent_since,
            known: self.known.clone(),
        }
    }

    fn forget_finished(&mut self) {
        self.files.retain(|file| file.end.is_none_or(|end| file.acknowledged < end));
    }
}

/// The writing end: sources say what they follow, the pipeline what is safe.
#[derive(Clone, Debug)]
pub(crate) struct Tracker(watch::Sender<Progress>);

impl Tracker {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Progress::default()))
    }

    /// What is written down.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.0.subscribe()
    }

    /// From now on `key` is followed, beginning at `offset`.
    pub(crate) fn follow(&self, key: FileKey, head: &[u8], offset: u64) {
        self.0.send_modify(|progress| {
            let head = head.to_vec();
            progress.files.push(Followed { key, head, acknowledged: offset, end: None });
            progress.absent_since = None;
        });
    }

    /// Device, inode and beginning of each file that is followed.
    pub(crate) fn files(&self) -> Vec<(FileKey, Vec<u8>)> {
        self.0.borrow().files.iter().map(|file| (file.key, file.head.clone())).collect()
    }

    /// These files of a pattern are known.
    pub(crate) fn know(&self, known: Vec<KnownFile>) {
        self.0.send_if_modified(|progress| {
            let is_new = progress.known.as_ref() != Some(&known);
            progress.known = Some(known);
            is_new
        });
    }

    /// There has been no file since `at`.
    pub(crate) fn absent(&self, at: SystemTime) {
        self.0.send_modify(|progress| progress.absent_since = Some(at));
    }

    /// Waits until a finished `key` is acknowledged, so that the same key can
    /// stand for another file.
    pub(crate) async fn forgotten(&self, key: FileKey) {
        let mut progress = self.0.subscribe();
        // An error is impossible: the sender is here.
        let _ = progress
            .wait_for(|progress| {
                !progress.files.iter().any(|file| file.key == key && file.end.is_some())
            })
            .await;
    }

    /// The file has grown a longer beginning.
    pub(crate) fn head(&self, key: FileKey, head: &[u8]) {
        self.0.send_modify(|progress| {
            if let Some(file) = progress.files.iter_mut().find(|file| file.key == key) {
                file.head = head.to_vec();
            }
        });
    }

    /// Nothing of `key` after `end` will be read.
    pub(crate) fn finish(&self, key: FileKey, end: u64) {
        self.0.send_modify(|progress| {
            if let Some(file) = progress.files.iter_mut().find(|file| file.key == key) {
                file.end = Some(end);
            }
            progress.forget_finished();
        });
    }

    /// The spool has everything of these before the offsets.
    pub(crate) fn acknowledge(&self, offsets: &[(FileKey, u64)]) {
        self.0.send_modify(|progress| {
            for (key, offset) in offsets {
                if let Some(file) = progress.files.iter_mut().find(|file| file.key == *key) {
                    file.acknowledged = *offset;
                }
            }
            progress.forget_finished();
        });
    }

    /// The spool has everything of the journal up to `cursor`.
    pub(crate) fn acknowledge_journal(&self, cursor: String) {
        self.0.send_modify(|progress| progress.journal = Some(cursor));
    }
}

/// Where the cursor of `source` is kept below the agent's folder.
pub(crate) fn path(folder: &Path, source: &str) -> PathBuf {
    let name: String = fingerprint(source.as_bytes()).chars().take(24).collect();
    folder.join(format!("{name}.json"))
}

/// Reads a cursor. One that cannot be read is reported and counts as none: the
/// source then begins as at a first start.
pub(crate) fn load(path: &Path) -> Option<Cursor> {
    durable::read(path).unwrap_or_else(|error| {
        tracing::error!(
            path = %path.display(), %error,
            "a cursor cannot be read; the source begins anew, lines may be missing or come twice"
        );
        None
    })
}

/// Writes down what `tracker` says until its last clone is gone. Writes
/// nothing as long as it says nothing, so that what was there stays.
pub(crate) async fn keep(path: PathBuf, source: String, mut progress: watch::Receiver<Progress>) {
    let mut failing = None;
    let mut open = progress.changed().await.is_ok();
    loop {
        let cursor = progress.borrow_and_update().to_cursor(&source);
        if !cursor.is_empty() {
            let target = path.clone();
            let written =
                tokio::task::spawn_blocking(move || durable::write(&target, &cursor)).await;
            match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) if failing.take().is_some() => {
                    tracing::info!(path = %path.display(), "a cursor can be written again");
                }
                Ok(()) => {}
                Err(error) if failing.is_none() => {
                    failing = Some(Backoff::default());
                    tracing::error!(
                        path = %path.display(), %error,
                        "a cursor cannot be written; after a restart lines are read again (and count once)"
                    );
                }
                Err(_) => {}
            }
        }
        if !open {
            return;
        }
        // Throttle. The end of the tracker cuts it short, for the last write.
        let mut changed = false;
        let wait = async {
            while progress.changed().await.is_ok() {
                changed = true;
            }
        };
        let throttle = failing.as_mut().map_or(PERSIST_INTERVAL, Backoff::next);
        if tokio::time::timeout(throttle, wait).await.is_ok() {
            open = false;
        } else if !changed && failing.is_none() {
            open = progress.changed().await.is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: FileKey = FileKey { dev: 1, inode: 2, generation: 0 };
    const OTHER: FileKey = FileKey { dev: 1, inode: 3, generation: 0 };

    #[tokio::test]
    async fn the_cursor_on_disk_is_what_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "/var/log/auth.log");
        let tracker = Tracker::new();
        let keeper = tokio::spawn(keep(file.clone(), "name".into(), tracker.subscribe()));
        tracker.follow(KEY, b"first line", 0);
        tracker.follow(OTHER, b"other", 5);
        tracker.acknowledge(&[(KEY, 4)]);
        tracker.finish(KEY, 10);
        drop(tracker);
        keeper.await.unwrap();
        let cursor = load(&file).unwrap();
        assert_eq!(cursor.files.len(), 2);
        assert_eq!(cursor.files[0].offset, 4);
        assert_eq!(cursor.files[0].fingerprint, fingerprint(b"firs"));
        assert_eq!(cursor.files[1].offset, 5);
    }

    #[tokio::test]
    async fn a_finished_file_stays_until_all_of_it_is_acknowledged() {
        let tracker = Tracker::new();
        tracker.follow(KEY, b"x", 0);
        tracker.finish(KEY, 10);
        assert_eq!(tracker.0.borrow().files.len(), 1);
        tracker.acknowledge(&[(KEY, 10)]);
        assert!(tracker.0.borrow().files.is_empty());
    }

    #[tokio::test]
    async fn a_source_that_never_looked_leaves_the_cursor_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "x");
        std::fs::write(&file, b"old").unwrap();
        let tracker = Tracker::new();
        let keeper = tokio::spawn(keep(file.clone(), "x".into(), tracker.subscribe()));
        drop(tracker);
        keeper.await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
    }

    #[tokio::test]
    async fn an_absent_log_is_remembered_until_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "x");
        for (followed, absent) in [(false, true), (true, false)] {
            let tracker = Tracker::new();
            let keeper = tokio::spawn(keep(file.clone(), "x".into(), tracker.subscribe()));
            tracker.absent(SystemTime::UNIX_EPOCH);
            if followed {
                tracker.follow(KEY, b"x", 0);
            }
            drop(tracker);
            keeper.await.unwrap();
            assert_eq!(load(&file).unwrap().absent_since.is_some(), absent);
        }
    }

    #[tokio::test]
    async fn a_key_is_free_again_once_its_file_is_acknowledged() {
        let tracker = Tracker::new();
        tracker.follow(KEY, b"x", 0);
        tracker.finish(KEY, 10);
        let other = tracker.clone();
        let free = tokio::spawn(async move { other.forgotten(KEY).await });
        tracker.acknowledge(&[(KEY, 10)]);
        free.await.unwrap();
    }

    #[test]
    fn a_broken_cursor_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "x");
        assert_eq!(load(&file), None);
        std::fs::write(&file, b"{\"source\":").unwrap();
        assert_eq!(load(&file), None);
    }
}
