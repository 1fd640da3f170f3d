//! Whether the store keeps up, as the writer last saw it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_store::Stats;

use crate::status::{StoreState, StoreStatus};

/// Events that wait longer than this make the store "behind": 10 seconds.
const BEHIND_MILLIS: i64 = 10_000;

/// The writer's last word.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    stats: Stats,
    lag_millis: i64,
    failure: Option<String>,
}

impl Health {
    /// Starts with what the store holds.
    pub(crate) fn new(stats: Stats) -> Self {
        Self(Mutex::new(Seen { stats, ..Seen::default() }))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit went through; its oldest event had waited so long.
    pub(crate) fn committed(&self, stats: Stats, lag_millis: i64) {
        *self.seen() = Seen { stats, lag_millis, failure: None };
    }

    /// The store changed otherwise.
    pub(crate) fn measured(&self, stats: Stats) {
        self.seen().stats = stats;
    }

    /// The store cannot be written.
    pub(crate) fn failed(&self, reason: &str) {
        self.seen().failure = Some(reason.to_owned());
    }

    /// The store's part of the status, where so many records wait.
    pub(crate) fn status(&self, pending_records: u64) -> StoreStatus {
        let seen = self.seen();
        let (state, reason) = match &seen.failure {
            Some(reason) => (StoreState::Failed, Some(reason.clone())),
            None if pending_records > 0 && seen.lag_millis > BEHIND_MILLIS => {
                let secs = seen.lag_millis / 1000;
                (StoreState::Behind, Some(format!("events wait {secs} s for the store")))
            }
            None => (StoreState::Ok, None),
        };
        let Stats { events, bytes, days, .. } = seen.stats;
        StoreStatus { events, bytes, days, state, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_until_a_commit_and_lag_counts_only_while_something_waits() {
        let health = Health::default();
        assert_eq!(health.status(5).state, StoreState::Ok);
        health.failed("disk");
        assert_eq!(health.status(0).state, StoreState::Failed);
        assert_eq!(health.status(0).reason.as_deref(), Some("disk"));
        health.committed(Stats::default(), 60_000);
        assert_eq!(health.status(1).state, StoreState::Behind);
        assert_eq!(health.status(0).state, StoreState::Ok);
        health.committed(Stats::default(), 100);
        assert_eq!(health.status(1).state, StoreState::Ok);
    }
}
