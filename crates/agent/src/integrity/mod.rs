//! File integrity: which files of the system changed, and how.
//!
//! ```text
//! inotify ─► paths, gathered for a second ─► examiner ─► file.changed ─► pipeline
//! each day: all files, paced ───────────────►   │  baseline on disk
//! ```
//! The first look makes the baseline and tells nothing. What changed while the agent
//! was away is told by the sweep at its start.

mod config;
mod culprit;
mod examiner;
mod state;
mod watches;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use palisade_event::{Event, HostName, SensorId, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

pub use config::IntegrityConfig;

use crate::apart;
use crate::inventory::collector::Teller;
use crate::source::{Ended, Outlet};
use examiner::{Examiner, How, Sweep};
use watches::{Heard, Watches};

/// Changes are gathered for so long: a file that is written has many of them.
const SETTLE: Duration = Duration::from_secs(1);
/// Most paths that are gathered; beyond them all files are looked at.
const MAX_GATHERED: usize = 4_096;
/// How soon the baseline is written after a change.
const SAVE_AFTER: Duration = Duration::from_secs(30);
/// How long after its start an agent that has a baseline reads all content.
const FIRST_FULL_AFTER: Duration = Duration::from_secs(3600);
/// Bytes and files of one step of a sweep.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
const STEP_FILES: usize = 200;

/// The task of file integrity.
pub(crate) struct Integrity {
    examiner: Examiner,
    config: IntegrityConfig,
    outlet: Outlet,
}

impl Integrity {
    pub(crate) fn new(
        config: &IntegrityConfig,
        who: (SensorId, Option<HostName>),
        folder: &Path,
        outlet: Outlet,
    ) -> Self {
        let teller = Teller { sensor: who.0, host: who.1 };
        let examiner = Examiner::new(config, teller, folder.join("integrity.ndjson"));
        Self { examiner, config: config.clone(), outlet }
    }

    /// Runs until the agent ends.
    pub(crate) async fn run(self) {
        let cancel = self.outlet.cancel().clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            ended = self.watch() => if ended.is_err() {
                tracing::debug!("file integrity has ended");
            },
        }
    }

    async fn watch(mut self) -> Result<(), Ended> {
        let mut watches = Watches::new(self.config.max_watches).map_err(|error| {
            tracing::warn!(%error, "files are not watched for immediate changes; the daily look sees them");
        }).ok();
        let day = Duration::from_secs(self.config.sweep_hours.saturating_mul(3600));
        let mut gathered: BTreeSet<PathBuf> = BTreeSet::new();
        let (mut look_at, mut save_at): (Option<Instant>, Option<Instant>) = (None, None);
        // Folders are watched before files are looked at, so that no change falls between.
        let full = !self.examiner.is_based();
        self = self.sweep(&mut watches, full).await?;
        // Soon after each start all content is read once: an agent that is started
        // every day would else never do it.
        let mut next_sweep = Instant::now() + if full { day } else { day.min(FIRST_FULL_AFTER) };
        loop {
            let heard = async {
                match &mut watches {
                    Some(watches) => watches.heard().await,
                    None => std::future::pending().await,
                }
            };
            let soonest = [look_at, save_at].into_iter().flatten().fold(next_sweep, Instant::min);
            let heard = tokio::select! {
                heard = heard => Some(heard),
                () = sleep_until(soonest) => None,
            };
            match heard {
                Some(Heard::Paths(paths)) => {
                    gathered.extend(paths);
                    look_at.get_or_insert(Instant::now() + SETTLE);
                    if gathered.len() <= MAX_GATHERED {
                        continue;
                    }
                    gathered.clear();
                    look_at = None;
                    self = self.sweep(&mut watches, false).await?;
                }
                Some(Heard::TooMuch) => {
                    sleep(SETTLE).await;
                    self = self.sweep(&mut watches, false).await?;
                }
                Some(Heard::Failed(error)) => {
                    tracing::warn!(%error, "files are not watched for immediate changes any more; the daily look sees them");
                    watches = None;
                }
                None => {}
            }
            let now = Instant::now();
            if look_at.is_some_and(|at| at <= now) {
                look_at = None;
                let paths = std::mem::take(&mut gathered);
                let events;
                (self, events) =
                    self.blocking(move |own| own.examiner.look(paths, How::Watch, clock())).await?;
                if let Some(watches) = &mut watches {
                    watches.add(self.examiner.new_folders());
                }
                self.send(events).await?;
                save_at.get_or_insert(now + SAVE_AFTER);
            }
            if save_at.is_some_and(|at| at <= now) {
                save_at = None;
                self = self.save().await?;
            }
            if next_sweep <= now {
                next_sweep = now + day;
                self = self.sweep(&mut watches, true).await?;
            }
        }
    }

    /// Looks at all files; `full` reads their content, else only of those that seem
    /// to have changed. Paced, so that nobody else waits for the disk.
    async fn sweep(mut self, watches: &mut Option<Watches>, full: bool) -> Result<Self, Ended> {
        let mut sweep: Sweep;
        (self, sweep) = self.blocking(move |own| own.examiner.begin(full)).await?;
        if let Some(watches) = watches {
            watches.add(sweep.folders());
        }
        let rate = self.config.sweep_mb_per_sec.saturating_mul(1_000_000).max(1);
        loop {
            let (events, read, done);
            (self, (sweep, events, read, done)) = self
                .blocking(move |own| {
                    let (events, read) =
                        own.examiner.step(&mut sweep, STEP_FILES, STEP_BYTES, clock());
                    let done = sweep.is_done();
                    (sweep, events, read, done)
                })
                .await?;
            self.send(events).await?;
            if done {
                break;
            }
            sleep(Duration::from_millis(5) + Duration::from_secs_f64(read as f64 / rate as f64))
                .await;
        }
        let events;
        (self, events) = self.blocking(move |own| own.examiner.end(sweep, clock())).await?;
        self.send(events).await?;
        self.save().await
    }

    /// Writes the baseline down once what was told of it is in the spool.
    async fn save(self) -> Result<Self, Ended> {
        self.outlet.reached().await?;
        let (own, ()) = self.blocking(|own| own.examiner.save()).await?;
        Ok(own)
    }

    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Result<(Self, T), Ended> {
        apart::blocking(self, "files cannot be watched any more", work).await
    }

    async fn send(&self, events: Vec<Event>) -> Result<(), Ended> {
        for event in events {
            self.outlet.event(event).await?;
        }
        Ok(())
    }
}

fn clock() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// Hashes all files below a folder, as a full sweep does, without pace: how many
/// files and bytes. For measuring.
///
/// # Errors
/// The folder cannot be read.
pub fn hash_folder(folder: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0u64, 0u64);
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
                continue;
            }
            let mut pace = |read: usize| bytes += read as u64;
            state::State::of(&entry.path(), None, u64::MAX, &mut pace)?;
            files += 1;
        }
    }
    Ok((files, bytes))
}
