//! What a target has lost: events that went at the bound of its queue, and
//! events that never came into it, as it could not be written. Each loss is
//! told once, in an event `loss.recorded` of the sensor `hub`.
//!
//! The account is a file beside the queues, `losses/NAME.json`, so that a full
//! disk of a queue is not in its way. A report is written down with its id
//! before the hub takes it; after a crash in between the same event is made again.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, Untrusted};
use palisade_spool::{AppendError, Stats};
use serde::{Deserialize, Serialize};

use crate::auth::Principal;
use crate::error::OpenError;
use crate::ingest::Ingest;
use crate::lock::make_dir;

/// The sensor of the hub's own reports.
const SENSOR: &str = "hub";
/// Longest account that is read, in bytes.
const MAX_ACCOUNT_BYTES: u64 = 64 * 1024;
/// A queue that has not been tried for so long may be told of while it fails.
const TELL_ANYWAY: Duration = Duration::from_secs(60);

/// Events and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    records: u64,
    bytes: u64,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_sub(other.records),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// How events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Cause {
    /// The queue was full.
    Bound,
    /// The queue could not be written.
    Disk,
}

/// A report that the hub may not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    id: EventId,
    at: Timestamp,
    cause: Cause,
    /// What was lost by it, ever.
    total: Count,
}

/// What is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Account {
    /// What never came into the queue, ever.
    unqueued: Count,
    /// How much of that was told.
    unqueued_told: Count,
    /// How much was told of what the queue has dropped, which it counts itself.
    dropped_told: Count,
    pending: Option<Pending>,
}

/// What happens while the writer runs.
#[derive(Debug, Default)]
struct Live {
    /// Never came into the queue, ever.
    unqueued: Count,
    /// The same since the last commit of the store. Where that fails the events
    /// come again, so nothing is lost yet.
    uncertain: Count,
    /// When it failed last and why, until it works again.
    failing: Option<(Instant, String)>,
    /// Why it failed last.
    reason: String,
}

/// What a target has lost.
#[derive(Debug)]
pub(super) struct Losses {
    target: SensorId,
    path: PathBuf,
    live: Mutex<Live>,
    /// Held by who reports.
    account: tokio::sync::Mutex<(Account, Option<Timestamp>)>,
}

impl Losses {
    /// Reads the account of a target. Blocks.
    pub(super) fn open(hub_dir: &Path, target: &SensorId) -> Result<Self, OpenError> {
        let dir = hub_dir.join("losses");
        make_dir(&dir)?;
        let path = dir.join(format!("{target}.json"));
        let account = read(&path).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the account of losses cannot be read; they are told again");
            Account::default()
        });
        let live = Live { unqueued: account.unqueued, ..Live::default() };
        Ok(Self {
            target: target.clone(),
            path,
            live: Mutex::new(live),
            account: tokio::sync::Mutex::new((account, None)),
        })
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that never came into the queue, ever.
    pub(super) fn unqueued(&self) -> u64 {
        self.live().unqueued.records
    }

    /// The queue has taken something.
    pub(super) fn queued(&self) {
        if self.live().failing.take().is_some() {
            tracing::info!(outbound = %self.target, "the target's queue can be written again");
        }
    }

    /// The queue could not take these.
    pub(super) fn not_queued(&self, records: &[Vec<u8>], error: &AppendError) {
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let lost = Count { records: records.len() as u64, bytes };
        let mut live = self.live();
        live.uncertain = live.uncertain.plus(lost);
        live.reason = error.to_string();
        let reason = live.reason.clone();
        if live.failing.replace((Instant::now(), reason)).is_none() {
            tracing::error!(outbound = %self.target, %error, "the target's queue cannot be written; events go on without it and are counted");
        }
    }

    /// The events of late will not come again.
    pub(super) fn committed(&self) {
        let mut live = self.live();
        let lost = std::mem::take(&mut live.uncertain);
        live.unqueued = live.unqueued.plus(lost);
    }

    /// The events of late will come again.
    pub(super) fn rolled_back(&self) {
        self.live().uncertain = Count::default();
    }

    /// Tells what was lost and not told, if nothing was for `every` milliseconds.
    ///
    /// # Errors
    /// One sentence; the same is told the next time.
    pub(super) async fn report(
        &self,
        queue: Stats,
        ingest: &Ingest,
        now: Timestamp,
        every: i64,
    ) -> Result<(), String> {
        let mut guard = self.account.lock().await;
        let (account, told_at) = &mut *guard;
        let dropped = Count { records: queue.dropped_records, bytes: queue.dropped_bytes };
        let (unqueued, fails, reason) = {
            let live = self.live();
            let fails = live.failing.as_ref().is_some_and(|(at, _)| at.elapsed() < TELL_ANYWAY);
            (live.unqueued, fails, live.reason.clone())
        };
        if unqueued != account.unqueued {
            let next = Account { unqueued, ..*account };
            self.write(account, next).await?;
        }
        let is_due = told_at.is_none_or(|at| now.as_millis() - at.as_millis() >= every);
        loop {
            let pending = match account.pending {
                Some(pending) => pending,
                None if !is_due => return Ok(()),
                None => {
                    let (cause, total) = if dropped.records > account.dropped_told.records {
                        (Cause::Bound, dropped)
                    } else if unqueued.records > account.unqueued_told.records && !fails {
                        (Cause::Disk, unqueued)
                    } else {
                        return Ok(());
                    };
                    let id = EventId::new(now, rand::random());
                    let pending = Pending { id, at: now, cause, total };
                    let next = Account { pending: Some(pending), ..*account };
                    self.write(account, next).await?;
                    pending
                }
            };
            let event = self.event(account, pending, &reason)?;
            let me = Principal::local(None);
            let taken = ingest.accept_events(&me, None, vec![event], Vec::new(), now).await;
            taken
                .map_err(|error| format!("a loss of '{}' is not told yet: {error}", self.target))?;
            let mut next = Account { pending: None, ..*account };
            match pending.cause {
                Cause::Bound => next.dropped_told = pending.total,
                Cause::Disk => next.unqueued_told = pending.total,
            }
            self.write(account, next).await?;
            *told_at = Some(now);
        }
    }

    fn event(&self, account: &Account, pending: Pending, why: &str) -> Result<Event, String> {
        let (told, reason) = match pending.cause {
            Cause::Bound => {
                let reason = format!("the queue of the target '{}' reached its bound", self.target);
                (account.dropped_told, reason)
            }
            Cause::Disk => {
                let mut reason =
                    format!("the queue of the target '{}' could not be written", self.target);
                if !why.is_empty() {
                    reason.push_str(": ");
                    reason.push_str(why);
                }
                (account.unqueued_told, reason)
            }
        };
        let lost = pending.total.minus(told);
        let sensor = SensorId::new(SENSOR).map_err(|error| error.to_string())?;
        Ok(Event::new(pending.id, EventKind::LossRecorded, pending.at, sensor)
            .with("records", lost.records)
            .with("bytes", lost.bytes)
            .with("total_records", pending.total.records)
            .with("outbound", Untrusted::from(self.target.as_str()))
            .with("reason", Untrusted::from(reason.as_str())))
    }

    /// Writes down what was not told, for the next start to tell.
    pub(super) async fn save(&self) {
        let mut guard = self.account.lock().await;
        let account = &mut guard.0;
        let unqueued = self.live().unqueued;
        if unqueued == account.unqueued {
            return;
        }
        let next = Account { unqueued, ..*account };
        if let Err(error) = self.write(account, next).await {
            tracing::error!(outbound = %self.target, records = unqueued.records, %error, "events that the target has lost are not written down");
        }
    }

    async fn write(&self, account: &mut Account, next: Account) -> Result<(), String> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &next)).await;
        let written = written.map_err(io::Error::other).and_then(|written| written);
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
        *account = next;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Account> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_ACCOUNT_BYTES => {
            return Err(io::Error::other("it is too long to be ours"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Account::default()),
        Err(error) => return Err(error),
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Replaces the account: a new file, synced, then renamed.
fn write(path: &Path, account: &Account) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(account)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_again_is_not_lost_and_the_account_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let target = SensorId::new("far").unwrap();
        let losses = Losses::open(dir.path(), &target).unwrap();
        let error = AppendError::Io(std::sync::Arc::new(io::Error::other("no space")));
        let records = [vec![0; 10], vec![0; 5]];
        losses.not_queued(&records, &error);
        losses.rolled_back();
        losses.committed();
        assert_eq!(losses.unqueued(), 0, "the store failed, so the events come again");
        losses.not_queued(&records, &error);
        losses.not_queued(&records, &error);
        losses.committed();
        losses.rolled_back();
        assert_eq!(losses.unqueued(), 4);
        assert!(losses.live().failing.is_some());
        losses.queued();
        assert!(losses.live().failing.is_none());
        losses.save().await;
        let again = Losses::open(dir.path(), &target).unwrap();
        assert_eq!(again.live().unqueued, Count { records: 4, bytes: 30 });
        std::fs::write(dir.path().join("losses/far.json"), "{").unwrap();
        assert_eq!(Losses::open(dir.path(), &target).unwrap().unqueued(), 0);
    }
}
