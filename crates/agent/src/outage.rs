//! What is said of a spool that cannot be written: once, however long it takes,
//! and at most once a minute where a disk is full again and again while it is
//! being emptied.

use std::time::Duration;

use palisade_spool::AppendError;
use tokio::time::Instant;

/// No more than one account in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whether the spool can be written.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Since when it cannot, and whether that was said.
    failing: Option<(Instant, bool)>,
    told: Option<Instant>,
}

impl Outage {
    /// It cannot be written, once more. Whether that is to be said.
    fn is_news(&mut self, now: Instant) -> bool {
        if self.failing.is_some() {
            return false;
        }
        let is_news = self.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        self.failing = Some((now, is_news));
        if is_news {
            self.told = Some(now);
        }
        is_news
    }

    /// Writing failed.
    pub(crate) fn begins(&mut self, error: &AppendError) {
        if self.is_news(Instant::now()) {
            tracing::error!(%error, "the data directory cannot be written; nothing is read until it can: check its free space and permissions");
        }
    }

    /// Writing worked.
    pub(crate) fn ends(&mut self) {
        if let Some((since, true)) = self.failing.take() {
            let failing_secs = since.elapsed().as_secs();
            tracing::info!(failing_secs, "the spool can be written again; reading goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_once_and_one_that_comes_and_goes_once_a_minute() {
        let mut outage = Outage::default();
        let start = Instant::now();
        let mut told = Vec::new();
        for second in 0..180 {
            let now = start + Duration::from_secs(second);
            if outage.is_news(now) {
                told.push(second);
            }
            // For days at first, then full every second.
            if second >= 30 {
                outage.ends();
            }
        }
        assert_eq!(told, [0, 60, 120]);
    }
}
