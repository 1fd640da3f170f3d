//! What the hub does by itself from time to time: writing sensors down,
//! retention, expired sessions.

use std::sync::Arc;
use std::time::Duration;

use palisade_event::Timestamp;
use palisade_store::Store;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::health::Health;
use crate::lock::Locked;
use crate::sensors::Sensors;

/// How often sensors are written down.
const SENSORS_EVERY: Duration = Duration::from_secs(5);
/// How often old days and sessions are removed; the first time soon after the start.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// When they are removed first: not while the start is still busy.
const FIRST_SWEEP: Duration = Duration::from_secs(60);

/// What the task works with.
pub(crate) struct Background {
    pub(crate) store: Arc<Locked<Store>>,
    pub(crate) sensors: Arc<Sensors>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) health: Arc<Health>,
    pub(crate) stop: CancellationToken,
}

impl Background {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) {
        let mut sensors = interval(SENSORS_EVERY);
        let mut sweep = interval_at(Instant::now() + FIRST_SWEEP, SWEEP_EVERY);
        sensors.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = sensors.tick() => {
                    if let Err(error) = self.sensors.flush().await {
                        tracing::error!(%error, "cannot write the sensors down");
                    }
                }
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    async fn sweep(&self) {
        let now = Timestamp::from(std::time::SystemTime::now());
        match self.auth.sessions.sweep(now).await {
            Ok(0) => {}
            Ok(sessions) => tracing::info!(sessions, "removed expired sessions"),
            Err(error) => tracing::error!(%error, "cannot remove expired sessions"),
        }
        let store = Arc::clone(&self.store);
        let retained = tokio::task::spawn_blocking(move || {
            let days = store.retain(now)?;
            // One day a call, so that a stop never waits for more than one merge.
            while store.maintain(now)? {}
            Ok::<_, palisade_store::AppendError>((days, store.stats()))
        })
        .await;
        match retained {
            Ok(Ok((days, stats))) => {
                self.health.measured(stats);
                if days > 0 {
                    tracing::info!(days, "removed days past the retention");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "cannot remove days past the retention"),
            Err(error) => tracing::error!(%error, "the removal of old days failed"),
        }
    }
}
