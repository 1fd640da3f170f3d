//! Whether the database answers. While it does not, callers are told at once
//! instead of each waiting for a connection, and one a second tries again; so
//! an outage costs no threads and ends by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often somebody may try while the database is away.
const TRIAL_EVERY: Duration = Duration::from_secs(1);

/// What callers do while the database is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhileAway {
    /// All ask; the answer comes at once (a file).
    Ask,
    /// One a second asks (a server).
    Wait,
}

/// Whether the database answers.
#[derive(Debug)]
pub(super) struct Outage {
    while_away: WhileAway,
    is_lost: AtomicBool,
    lost: Mutex<Option<Lost>>,
}

#[derive(Debug)]
struct Lost {
    reason: String,
    since: Instant,
    next_trial: Instant,
}

impl Outage {
    pub(super) fn new(while_away: WhileAway) -> Self {
        Self { while_away, is_lost: AtomicBool::new(false), lost: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a caller pass, or says why not.
    pub(super) fn enter(&self) -> Result<(), String> {
        if !self.is_lost.load(Ordering::Acquire) || self.while_away == WhileAway::Ask {
            return Ok(());
        }
        let mut seen = self.seen();
        let Some(lost) = seen.as_mut() else { return Ok(()) };
        let now = Instant::now();
        if now < lost.next_trial {
            return Err(lost.reason.clone());
        }
        lost.next_trial = now + TRIAL_EVERY;
        Ok(())
    }

    /// The database has answered.
    pub(super) fn works(&self) {
        if !self.is_lost.load(Ordering::Acquire) {
            return;
        }
        let mut seen = self.seen();
        self.is_lost.store(false, Ordering::Release);
        if let Some(lost) = seen.take() {
            let secs = lost.since.elapsed().as_secs();
            tracing::info!(secs, "the state database answers again");
        }
    }

    /// The database has not answered.
    pub(super) fn lost(&self, reason: &str) {
        let mut seen = self.seen();
        self.is_lost.store(true, Ordering::Release);
        let now = Instant::now();
        let since = match seen.as_ref() {
            Some(lost) => lost.since,
            None => {
                tracing::error!(%reason, "the state database does not answer");
                now
            }
        };
        let (reason, next_trial) = (reason.to_owned(), now + TRIAL_EVERY);
        *seen = Some(Lost { reason, since, next_trial });
    }

    /// Why the database is away, where it is.
    pub(super) fn reason(&self) -> Option<String> {
        self.seen().as_ref().map(|lost| lost.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_a_second_tries_while_a_server_is_away() {
        let outage = Outage::new(WhileAway::Wait);
        assert_eq!(outage.enter(), Ok(()));
        outage.lost("refused");
        assert_eq!(outage.enter(), Err("refused".to_owned()));
        outage.seen().as_mut().unwrap().next_trial = Instant::now();
        assert_eq!(outage.enter(), Ok(()), "its second has come");
        assert_eq!(outage.enter(), Err("refused".to_owned()), "one is enough");
        assert_eq!(outage.reason().as_deref(), Some("refused"));
        outage.works();
        assert_eq!((outage.enter(), outage.reason()), (Ok(()), None));
    }

    #[test]
    fn a_file_is_asked_by_all() {
        let outage = Outage::new(WhileAway::Ask);
        outage.lost("disk full");
        assert_eq!(outage.enter(), Ok(()));
        assert_eq!(outage.reason().as_deref(), Some("disk full"));
    }
}
