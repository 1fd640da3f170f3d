//! A disk that runs full while the store commits: nothing is lost or counted
//! twice once there is room again.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, Untrusted};
use palisade_store::query::{Aggregation, Query};
use palisade_store::{Aggregated, AppendError, Config, Store};

/// A file system in memory, unmounted when dropped; lazily, as a writer that
/// failed lets go of its files in its own time.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
        let done = Command::new("mount").args(options).arg(path).output().ok()?;
        done.status.success().then_some(Self(path))
    }

    fn grow(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=64m"]).arg(self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn event(number: u64) -> Arc<Event> {
    let at = Timestamp::from_millis(1_795_132_800_000 + number as i64);
    let sensor = SensorId::new("edge").unwrap();
    let mut event =
        Event::new(EventId::new(at, number.into()), EventKind::DataReceived, at, sensor);
    let noise: String = (0..100u64)
        .map(|n| format!("{:x}", (number * 100 + n).wrapping_mul(u64::MAX / 59)))
        .collect();
    event.request = Some(Untrusted::from(noise));
    Arc::new(event)
}

#[test]
fn a_full_disk_is_reported_and_what_was_refused_is_taken_later_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path()) else {
        eprintln!("skipped: a small file system cannot be mounted here (that takes root)");
        return;
    };
    let store = Store::open(small.0, &Config::default()).unwrap();
    let count = |store: &Store| store.aggregate(&Query::ALL, &Aggregation::Count).unwrap();
    let batch = |number: u64| (number * 500..(number + 1) * 500).map(event).collect::<Vec<_>>();
    let mut stored = 0;
    let error = loop {
        let result = store.append(&batch(stored)).and_then(|_| store.commit());
        match result {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the disk never ran full");
    };
    assert!(matches!(error, AppendError::DiskFull(_)), "{error}");
    assert!(stored > 0, "the disk was full at once");
    assert_eq!(count(&store), Aggregated::Count { count: stored * 500 });
    small.grow();
    assert_eq!(store.append(&batch(stored)).unwrap(), vec![true; 500]);
    store.commit().unwrap();
    assert_eq!(count(&store), Aggregated::Count { count: (stored + 1) * 500 });
    drop(store);
    let store = Store::open(small.0, &Config::default()).unwrap();
    assert_eq!(store.append(&batch(stored)).unwrap(), vec![false; 500]);
    assert_eq!(count(&store), Aggregated::Count { count: (stored + 1) * 500 });
    drop(store);
}
