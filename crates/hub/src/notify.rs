//! Announcements on their way to receivers outside: an outbox in the state
//! database, so that a restart loses none. Not how they are sent: a dialect
//! takes one on, sends it, and says how that went.
//!
//! An announcement is made at least once: where the answer was lost it is made
//! again, under the same id and with the number of the attempt.

use std::sync::Arc;
use std::time::Duration;

use palisade_event::Timestamp;
use palisade_store::state::State;
use tokio::sync::Notify as Bell;

use crate::config::Webhook;
use crate::cve::{CveInfo, Cves};
use crate::error::StateError;
use crate::metrics::Metrics;

/// Who takes an announcement on has it for so long, in milliseconds: longer
/// than sending it can take.
const LEASE_MILLIS: i64 = 60_000;
/// Longest wait after a failure, in milliseconds.
const LONGEST_WAIT_MILLIS: i64 = 15 * 60 * 1000;
/// An announcement that nobody took for so long is given up, and counted.
pub(crate) const GIVE_UP_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How often it is looked for what is due, without news.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Wakes who sends.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    bell: Bell,
}

impl Notify {
    /// There is something new to announce.
    pub(crate) fn wake(&self) {
        self.bell.notify_waiters();
    }
}

/// An announcement that the caller has taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Names it: the same each time it is made.
    pub id: String,
    /// Which try this is, from 1; above 1 the receiver may know it already.
    pub attempt: u32,
    /// What is announced.
    pub cve: CveInfo,
}

/// The announcements to one receiver.
pub struct Outbox {
    pub(crate) hook: Webhook,
    /// First wait after a failure, in seconds; doubles each time.
    pub(crate) retry_secs: u32,
    pub(crate) state: State,
    pub(crate) cves: Arc<Cves>,
    pub(crate) notify: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Outbox {
    /// To whom.
    #[must_use]
    pub fn hook(&self) -> &Webhook {
        &self.hook
    }

    /// Takes on the announcement that is due for longest, if there is one.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn take(&self, now: Timestamp) -> Result<Option<Announcement>, StateError> {
        loop {
            let lease = now.plus_millis(LEASE_MILLIS);
            let taken = self.state.take_announcement(&self.hook.name, now, lease).await?;
            let Some(taken) = taken else { return Ok(None) };
            match self.cves.one(&taken.cve).await? {
                Some(cve) => {
                    return Ok(Some(Announcement { id: taken.id, attempt: taken.attempt, cve }));
                }
                // What it is about is gone.
                None => self.state.end_announcement(&taken.id).await?,
            }
        }
    }

    /// It was heard.
    ///
    /// # Errors
    /// [`StateError`]: it will be made once more.
    pub async fn heard(&self, announcement: &Announcement) -> Result<(), StateError> {
        self.metrics.announcements.inc();
        Ok(self.state.end_announcement(&announcement.id).await?)
    }

    /// It was not heard; it is due again later: after `wait` where the receiver
    /// has asked for that, else after a time that doubles.
    ///
    /// # Errors
    /// [`StateError`]: it is due when its lease ends.
    pub async fn failed(
        &self,
        announcement: &Announcement,
        wait: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.metrics.announcements_failed.inc();
        let asked = wait.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let wait = asked
            .unwrap_or(0)
            .max(backoff(self.retry_secs, announcement.attempt))
            .min(LONGEST_WAIT_MILLIS);
        let due = now.plus_millis(wait);
        Ok(self.state.put_off_announcement(&announcement.id, due).await?)
    }

    /// Returns when it is worth looking again.
    pub async fn changed(&self) {
        let _ = tokio::time::timeout(LOOK_EVERY, self.notify.bell.notified()).await;
    }
}

/// How long to wait after this many attempts, in milliseconds.
fn backoff(first_secs: u32, attempt: u32) -> i64 {
    let doubled = 1_i64.checked_shl(attempt.saturating_sub(1).min(32)).unwrap_or(i64::MAX);
    (i64::from(first_secs) * 1000).saturating_mul(doubled).min(LONGEST_WAIT_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        assert_eq!([1, 2, 3].map(|n| backoff(5, n)), [5_000, 10_000, 20_000]);
        assert_eq!(
            [8, 9, 40, u32::MAX].map(|n| backoff(5, n)),
            [640_000, 900_000, 900_000, 900_000]
        );
    }
}
