//! What the hub does by itself from time to time: writing sensors down, telling
//! what targets have lost, housekeeping of the store, retention, expired sessions.

use std::sync::Arc;
use std::time::Duration;

use palisade_event::Timestamp;
use palisade_store::state::{Engine, State};
use palisade_store::{AppendError, Store};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::cve::Cves;
use crate::decisions::Decisions;
use crate::detection::Detection;
use crate::health::Health;
use crate::hosts::Hosts;
use crate::ingest::Ingest;
use crate::lock::Locked;
use crate::metrics::Metrics;
use crate::notify;
use crate::outbound::Outlets;
use crate::payload::Payloads;
use crate::query::Queries;
use crate::sensors::Sensors;

/// How often sensors are written down.
const SENSORS_EVERY: Duration = Duration::from_secs(5);
/// Losses of one target are told at most every 60 s.
const LOSSES_MILLIS: i64 = 60 * 1000;
/// How often vulnerabilities are written down.
const CVES_EVERY: Duration = Duration::from_secs(1);
/// How often it is written down what machines tell of themselves.
const HOSTS_EVERY: Duration = Duration::from_secs(1);
/// How often silent machines are looked for.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Findings that were closed are remembered for 400 days.
const FINDING_MILLIS: i64 = 400 * 24 * 60 * 60 * 1000;
/// When it is tried again to find those that were not noted.
const CATCH_UP_EVERY: Duration = Duration::from_secs(30);
/// How often the state database is asked whether it answers.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How often a server that holds the events is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Batches of a writer of sensors that has ended are remembered for 30 days.
const WRITER_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How often the store is looked after: idle writers closed, days that are
/// over merged, events past their rule removed.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);
/// How often old days and sessions are removed; the first time soon after the start.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
/// When they are removed first: not while the start is still busy.
const FIRST_SWEEP: Duration = Duration::from_secs(60);

/// What the task works with.
pub(crate) struct Background {
    pub(crate) started_at: Timestamp,
    pub(crate) store: Arc<Locked<Store>>,
    pub(crate) sensors: Arc<Sensors>,
    pub(crate) cves: Arc<Cves>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) silent_millis: i64,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) detection: Arc<Detection>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) state: State,
    pub(crate) auth: Arc<Auth>,
    pub(crate) health: Arc<Health>,
    pub(crate) stop: CancellationToken,
}

impl Background {
    /// Runs until it is stopped. A long merge holds nothing else up.
    pub(crate) async fn run(self) {
        tokio::join!(
            self.write_sensors(),
            self.note_cves(),
            self.note_hosts(),
            self.watch_hosts(),
            self.find_cves(),
            self.ping(),
            self.look(),
            self.maintain(),
            self.sweep()
        );
    }

    /// Waits for the next tick; `false` once it is to stop.
    async fn tick(&self, ticks: &mut Interval) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            _ = ticks.tick() => true,
        }
    }

    async fn write_sensors(&self) {
        let mut ticks = every(SENSORS_EVERY, SENSORS_EVERY);
        while self.tick(&mut ticks).await {
            if let Err(error) = self.sensors.flush(now()).await {
                tracing::warn!(%error, "sensors are not written down yet");
            }
            if let Err(error) = self.payloads.flush().await {
                tracing::warn!(%error, "sightings of payloads are not written down yet");
            }
            if let Err(error) = self.decisions.measure(now()).await {
                tracing::debug!(%error, "decisions are not counted");
            }
            let told = self.outlets.report_losses(&self.ingest, now(), LOSSES_MILLIS).await;
            if let Err(error) = told {
                tracing::warn!(%error, "losses of targets are not told yet");
            }
        }
    }

    async fn note_cves(&self) {
        let mut ticks = every(CVES_EVERY, CVES_EVERY);
        while self.tick(&mut ticks).await {
            if let Err(error) = self.cves.flush(now()).await {
                tracing::warn!(%error, "vulnerabilities are not written down yet");
            }
        }
    }

    /// What an end of the process may have taken is read first.
    async fn note_hosts(&self) {
        let mut ticks = every(Duration::ZERO, HOSTS_EVERY);
        let mut caught_up = false;
        while self.tick(&mut ticks).await {
            if !caught_up {
                match self.hosts.catch_up(&self.queries, self.started_at).await {
                    Ok(()) => caught_up = true,
                    Err(error) => tracing::warn!(%error, "cannot read of hosts again yet"),
                }
            }
            if let Err(error) = self.hosts.flush().await {
                tracing::warn!(%error, "hosts are not written down yet");
            }
            if let Err(error) = self.hosts.watch_clocks(&self.ingest, now()).await {
                tracing::warn!(%error, "clocks that are off are not told yet");
            }
        }
    }

    /// While this hub was away nobody could be heard.
    async fn watch_hosts(&self) {
        let Ok(millis) = u64::try_from(self.silent_millis) else { return };
        if millis == 0 {
            return;
        }
        let mut ticks = every(Duration::from_millis(millis), WATCH_EVERY);
        while self.tick(&mut ticks).await {
            if let Err(error) = self.hosts.watch(&self.ingest, self.silent_millis, now()).await {
                tracing::warn!(%error, "cannot look for silent hosts yet");
            }
        }
    }

    /// Once after the start.
    async fn find_cves(&self) {
        let mut ticks = every(Duration::ZERO, CATCH_UP_EVERY);
        while self.tick(&mut ticks).await {
            match self.cves.catch_up(&self.queries, self.started_at).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "cannot look for vulnerabilities yet"),
            }
        }
    }

    async fn ping(&self) {
        // A file needs no question.
        if self.state.engine() != Engine::Postgres {
            return;
        }
        let mut ticks = every(Duration::ZERO, PING_EVERY);
        while self.tick(&mut ticks).await {
            // The state notes the outcome itself.
            drop(self.state.ping().await);
            // What another hub has switched; while the state is away all stays as it is.
            drop(self.detection.refresh().await);
        }
    }

    /// Says in the status when the server that holds the events is away.
    async fn look(&self) {
        // Files on this machine's disk need no question.
        if matches!(&**self.store, Store::Embedded(_)) {
            return;
        }
        let mut ticks = every(Duration::ZERO, LOOK_EVERY);
        while self.tick(&mut ticks).await {
            let store = Arc::clone(&self.store);
            let looked = tokio::task::spawn_blocking(move || (store.check(), store.stats()));
            let Ok((found, stats)) = looked.await else { return };
            let reason = found.as_ref().err().cloned();
            if self.health.looked(found) {
                match reason {
                    Some(reason) => tracing::error!(%reason, "the store cannot be reached"),
                    None => tracing::info!("the store can be reached again"),
                }
            }
            self.health.measured(stats);
        }
    }

    async fn maintain(&self) {
        let mut ticks = every(MAINTAIN_EVERY, MAINTAIN_EVERY);
        while self.tick(&mut ticks).await {
            if let Err(error) = self.payloads.make_room().await {
                tracing::warn!(%error, "payloads above the bound are not removed yet");
            }
            // One piece a call, so that a stop never waits for more than one.
            while !self.stop.is_cancelled() {
                let now = now();
                let done = self.blocking(move |store| store.maintain(now)).await;
                if done != Some(true) {
                    break;
                }
            }
        }
    }

    async fn sweep(&self) {
        let mut ticks = every(FIRST_SWEEP, SWEEP_EVERY);
        while self.tick(&mut ticks).await {
            let now = now();
            match self.auth.sessions.sweep(now).await {
                Ok(0) => {}
                Ok(sessions) => tracing::info!(sessions, "removed expired sessions"),
                Err(error) => tracing::error!(%error, "cannot remove expired sessions"),
            }
            let too_old = now.plus_millis(-notify::GIVE_UP_MILLIS);
            match self.state.give_up_announcements(too_old).await {
                Ok(count) => self.metrics.announcements_dropped("age", count),
                Err(error) => tracing::warn!(%error, "cannot give up old announcements"),
            }
            if let Err(error) = self.decisions.sweep(now).await {
                tracing::warn!(%error, "cannot forget decisions that are over");
            }
            if let Err(error) = self.hosts.sweep(now.plus_millis(-FINDING_MILLIS)).await {
                tracing::warn!(%error, "cannot forget findings that were closed long ago");
            }
            if let Err(error) = self.state.forget_writers(now.plus_millis(-WRITER_MILLIS)).await {
                tracing::warn!(%error, "cannot forget writers of sensors that have ended");
            }
            if let Some(days @ 1..) = self.blocking(move |store| store.retain(now)).await {
                tracing::info!(days, "removed days past the retention");
            }
        }
    }

    /// Runs work on the store; `None` where it failed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, AppendError> + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&store)?;
            Ok::<_, AppendError>((done, store.stats()))
        });
        match done.await {
            Ok(Ok((done, stats))) => {
                self.health.measured(stats);
                Some(done)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "housekeeping of the store failed; it is tried again");
                None
            }
            Err(error) => {
                tracing::error!(%error, "housekeeping of the store broke off");
                None
            }
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

fn every(first: Duration, period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
