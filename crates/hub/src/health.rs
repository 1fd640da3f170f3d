//! Whether the store keeps up, as the writer last saw it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_event::Timestamp;
use palisade_store::Stats;

use crate::status::{StoreState, StoreStatus};

/// Events that wait longer than this make the store "behind": 10 seconds.
const BEHIND_MILLIS: i64 = 10_000;

/// The writer's last word.
#[derive(Debug, Default)]
pub(crate) struct Health {
    engine: &'static str,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    stats: Stats,
    lag_millis: i64,
    failure: Option<String>,
    /// Why the server that holds the events cannot be used, as last looked.
    unreachable: Option<String>,
    /// When the oldest event arrived that the store does not have yet.
    waiting_since: Option<Timestamp>,
}

impl Health {
    /// Starts with the name of the store's engine and what it holds.
    pub(crate) fn new(engine: &'static str, stats: Stats) -> Self {
        Self { engine, seen: Mutex::new(Seen { stats, ..Seen::default() }) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit went through; its oldest event had waited so long.
    pub(crate) fn committed(&self, stats: Stats, lag_millis: i64) {
        *self.seen() = Seen { stats, lag_millis, ..Seen::default() };
    }

    /// Events that arrived at this instant, and later ones, wait for the store.
    /// Of several the oldest counts, until the next commit.
    pub(crate) fn waiting(&self, since: Timestamp) {
        let mut seen = self.seen();
        seen.waiting_since = Some(seen.waiting_since.map_or(since, |known| known.min(since)));
    }

    /// The store changed otherwise.
    pub(crate) fn measured(&self, stats: Stats) {
        self.seen().stats = stats;
    }

    /// What the store held when last looked.
    pub(crate) fn stats(&self) -> Stats {
        self.seen().stats
    }

    /// The store cannot be written.
    pub(crate) fn failed(&self, reason: &str) {
        self.seen().failure = Some(reason.to_owned());
    }

    /// The server that holds the events was looked for; whether that is news.
    pub(crate) fn looked(&self, found: Result<(), String>) -> bool {
        let mut seen = self.seen();
        let news = seen.unreachable.is_some() != found.is_err();
        seen.unreachable = found.err();
        news
    }

    /// The store's part of the status, where so many records wait.
    pub(crate) fn status(&self, pending_records: u64, now: Timestamp) -> StoreStatus {
        let seen = self.seen();
        let age = |since: Timestamp| now.as_millis() - since.as_millis();
        let waited = seen.waiting_since.filter(|_| pending_records > 0).map(age);
        let lag = waited.unwrap_or(0).max(seen.lag_millis);
        let (state, reason) = match seen.failure.as_ref().or(seen.unreachable.as_ref()) {
            Some(reason) => (StoreState::Failed, Some(reason.clone())),
            None if pending_records > 0 && lag > BEHIND_MILLIS => {
                let secs = lag / 1000;
                (StoreState::Behind, Some(format!("events wait {secs} s for the store")))
            }
            None => (StoreState::Ok, None),
        };
        let Stats { events, bytes, days, .. } = seen.stats;
        let behind_secs = waited.map_or(0, |millis| u64::try_from(millis / 1000).unwrap_or(0));
        StoreStatus { engine: self.engine, events, bytes, days, state, reason, behind_secs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_until_a_commit_and_lag_counts_only_while_something_waits() {
        let health = Health::default();
        let now = Timestamp::from_millis(1_000_000);
        let state = |pending| health.status(pending, now).state;
        assert_eq!(state(5), StoreState::Ok);
        health.failed("disk");
        assert_eq!(state(0), StoreState::Failed);
        assert_eq!(health.status(0, now).reason.as_deref(), Some("disk"));
        health.committed(Stats::default(), 60_000);
        assert_eq!(state(1), StoreState::Behind);
        assert_eq!(state(0), StoreState::Ok);
        health.committed(Stats::default(), 100);
        assert_eq!(state(1), StoreState::Ok);
    }

    #[test]
    fn a_server_that_is_away_fails_the_store_until_it_is_back() {
        let health = Health::default();
        let now = Timestamp::from_millis(0);
        assert!(!health.looked(Ok(())));
        assert!(health.looked(Err("away".into())));
        assert!(!health.looked(Err("still away".into())));
        assert_eq!(health.status(0, now).reason.as_deref(), Some("still away"));
        assert!(health.looked(Ok(())));
        assert_eq!(health.status(0, now).state, StoreState::Ok);
    }

    #[test]
    fn how_far_behind_the_store_is_grows_with_the_oldest_event_that_waits() {
        let health = Health::default();
        health.failed("disk");
        health.waiting(Timestamp::from_millis(5_000));
        health.waiting(Timestamp::from_millis(9_000));
        let status = |secs: i64| health.status(1, Timestamp::from_millis(secs * 1000));
        assert_eq!(status(65).behind_secs, 60);
        assert_eq!(status(125).behind_secs, 120);
        health.committed(Stats::default(), 0);
        assert_eq!(status(130).behind_secs, 0);
    }
}
