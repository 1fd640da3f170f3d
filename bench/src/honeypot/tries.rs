//! How a row ends though the other side does not answer: each step of a visit has
//! a deadline, a row has one, and nobody goes on where nothing works any more. What
//! was lost is counted with its reason, and what was not tried, too.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::AT_ONCE;

/// How long the other side may take for one answer: twice what one takes that needs
/// 60 ms for a login and has 256 of them at once.
pub(super) const STEP: Duration = Duration::from_secs(30);
/// How long a whole visit may take, with connecting.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Different reasons that are told apart.
const MAX_REASONS: usize = 32;

/// Waits for one step of a visit.
///
/// # Errors
/// It failed, or took longer than `limit`; `what` is in the reason.
pub(super) async fn step<T>(
    what: &'static str,
    limit: Duration,
    one: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(limit, one).await {
        Ok(done) => done.context(what),
        Err(_) => anyhow::bail!("{what}: nothing within {} s", limit.as_secs()),
    }
}

/// Waits for a whole visit, and tells why it is lost if it is.
pub(super) async fn visit<T>(
    limit: Duration,
    one: impl Future<Output = anyhow::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, one).await {
        Ok(done) => done.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("not done within {} s", limit.as_secs())),
    }
}

/// Why something was lost, and how often.
pub(super) type Lost = BTreeMap<String, usize>;

/// Counts a reason; past a bound of different ones all are one.
pub(super) fn count(lost: &mut Lost, why: String, how_often: usize) {
    let known = lost.len() < MAX_REASONS || lost.contains_key(&why);
    *lost.entry(if known { why } else { "other reasons".to_owned() }).or_insert(0) += how_often;
}

/// Says reasons in one line.
pub(super) fn told(lost: &Lost) -> String {
    lost.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join("; ")
}

/// The tries of one row, shared by its clients.
pub(super) struct Tries {
    next: AtomicUsize,
    end: usize,
    until: Instant,
    /// Failures since the last success, and at how many nobody tries any more.
    failures: AtomicUsize,
    most_failures: usize,
    lost: Mutex<Lost>,
}

impl Tries {
    /// Those of some numbers, for as long as `limit`; so many failures in a row end it.
    pub(super) fn new(numbers: Range<usize>, limit: Duration, most_failures: usize) -> Self {
        Self {
            next: AtomicUsize::new(numbers.start),
            end: numbers.end,
            until: Instant::now() + limit,
            failures: AtomicUsize::new(0),
            most_failures: most_failures.max(AT_ONCE),
            lost: Mutex::default(),
        }
    }

    /// The number of the next one, if there is to be one.
    pub(super) fn next(&self) -> Option<usize> {
        let over = self.gave_up() || Instant::now() >= self.until;
        if over {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then_some(number)
    }

    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        count(&mut self.lost.lock().unwrap_or_else(PoisonError::into_inner), why, 1);
    }

    /// Whether nothing worked any more.
    pub(super) fn gave_up(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= self.most_failures
    }

    /// What was lost.
    pub(super) fn lost(&self) -> Lost {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many were not tried, and why.
    pub(super) fn left(&self) -> Option<(String, usize)> {
        let left = self.end.saturating_sub(self.next.load(Ordering::Relaxed));
        let why = if self.gave_up() {
            format!("not tried after {} failures in a row", self.most_failures)
        } else {
            "not tried, the time of the row was over".to_owned()
        };
        (left > 0).then_some((why, left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_was_not_tried_is_lost_after_many_failures_in_a_row() {
        let tries = Tries::new(10..1_000, LONG, AT_ONCE);
        assert_eq!(tries.next(), Some(10));
        tries.failed("early".to_owned());
        assert_eq!(tries.next(), Some(11));
        tries.succeeded();
        for number in 12..12 + AT_ONCE {
            assert_eq!(tries.next(), Some(number));
            tries.failed("late".to_owned());
        }
        assert_eq!(tries.next(), None);
        let lost = tries.lost();
        assert_eq!(lost.get("early"), Some(&1));
        assert_eq!(lost.get("late"), Some(&AT_ONCE));
        let left = tries.left().unwrap();
        assert_eq!(left.0, format!("not tried after {AT_ONCE} failures in a row"));
        assert_eq!(lost.values().sum::<usize>() + 1 + left.1, 990, "one succeeded: {lost:?}");
    }

    #[test]
    fn a_row_whose_time_is_over_begins_nothing() {
        let tries = Tries::new(0..7, Duration::ZERO, AT_ONCE);
        assert_eq!(tries.next(), None);
        assert!(tries.lost().is_empty());
        assert_eq!(tries.left(), Some(("not tried, the time of the row was over".to_owned(), 7)));
    }

    #[test]
    fn all_tried_leaves_nothing() {
        let tries = Tries::new(0..2, LONG, AT_ONCE);
        assert_eq!([tries.next(), tries.next(), tries.next()], [Some(0), Some(1), None]);
        assert!(tries.lost().is_empty());
        assert_eq!(tries.left(), None);
    }

    #[test]
    fn reasons_without_end_are_one() {
        let mut lost = Lost::new();
        for number in 0..1_000 {
            count(&mut lost, format!("reason {number}"), 1);
        }
        assert_eq!(lost.len(), MAX_REASONS + 1);
        assert_eq!(lost.values().sum::<usize>(), 1_000);
    }
}
