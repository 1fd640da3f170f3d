//! What the state database said of credentials, for two uses: a key that was
//! looked up a moment ago is not looked up again, and what was good before an
//! outage of the database stays good for a bounded time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_store::state;

use crate::error::StateError;

/// Credentials that are remembered; beyond, the one not confirmed for longest goes.
const MAX_REMEMBERED: usize = 10_000;

/// The answer about a credential that was good before is waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers of the database by credential.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    /// An answer is used without asking for so long.
    fresh: Duration,
    /// An answer is used where the database is away for so long.
    outage: Duration,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    entries: HashMap<String, Entry<T>>,
    /// Counts what was forgotten, so that an answer from before is not kept.
    forgotten: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    /// When the database last said so.
    confirmed: Instant,
    /// When it was last asked, answer or not.
    asked: Instant,
}

/// Taken before the database is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question(u64);

impl<T: Clone> Remembered<T> {
    pub(super) fn new(fresh: Duration, outage: Duration) -> Self {
        let inner = Inner { entries: HashMap::new(), forgotten: 0 };
        Self { fresh, outage, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said a moment ago.
    pub(super) fn fresh(&self, id: &str, now: Instant) -> Option<T> {
        let inner = self.inner();
        let entry = inner.entries.get(id)?;
        let fresh = now.saturating_duration_since(entry.asked) < self.fresh;
        (fresh && self.holds(entry, now)).then(|| entry.value.clone())
    }

    /// What was said last, where the database does not answer now.
    pub(super) fn in_outage(&self, id: &str, now: Instant) -> Option<T> {
        let mut inner = self.inner();
        let entry = inner.entries.get_mut(id)?;
        if !self.holds(entry, now) {
            return None;
        }
        entry.asked = now;
        Some(entry.value.clone())
    }

    fn holds(&self, entry: &Entry<T>, now: Instant) -> bool {
        now.saturating_duration_since(entry.confirmed) < self.outage.max(self.fresh)
    }

    /// The credential as the database has it; as it had it, where it does not
    /// answer.
    pub(super) async fn look_up(
        &self,
        id: &str,
        asked: impl Future<Output = Result<Option<T>, state::StateError>>,
    ) -> Result<Option<T>, StateError> {
        let before = self.in_outage(id, Instant::now());
        let question = self.question();
        let answer = match before {
            None => asked.await,
            Some(before) => match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Err(state::StateError::Unavailable(_))) | Err(_) => return Ok(Some(before)),
                Ok(answer) => answer,
            },
        };
        match &answer {
            Ok(Some(found)) => self.keep(question, id, found.clone(), Instant::now()),
            Ok(None) => self.unknown(id),
            Err(_) => {}
        }
        Ok(answer?)
    }

    /// Begins to ask the database.
    pub(super) fn question(&self) -> Question {
        Question(self.inner().forgotten)
    }

    /// Keeps an answer, unless something was forgotten since the question.
    pub(super) fn keep(&self, question: Question, id: &str, value: T, now: Instant) {
        let mut inner = self.inner();
        if inner.forgotten != question.0 {
            return;
        }
        if inner.entries.len() >= MAX_REMEMBERED && !inner.entries.contains_key(id) {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.confirmed);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                inner.entries.remove(&oldest);
            }
        }
        inner.entries.insert(id.to_owned(), Entry { value, confirmed: now, asked: now });
    }

    /// The credential is not good any more.
    pub(super) fn forget(&self, id: &str) {
        let mut inner = self.inner();
        inner.forgotten += 1;
        inner.entries.remove(id);
    }

    /// The database does not know the credential. Strangers cause this, so it
    /// does not touch what is remembered of others.
    pub(super) fn unknown(&self, id: &str) {
        self.inner().entries.remove(id);
    }

    /// Any of them may not be good any more.
    pub(super) fn forget_all(&self) {
        let mut inner = self.inner();
        inner.forgotten += 1;
        inner.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn remembered(at: Instant) -> Remembered<u32> {
        let remembered = Remembered::new(2 * SECOND, 60 * SECOND);
        remembered.keep(remembered.question(), "a", 1, at);
        remembered
    }

    #[test]
    fn an_answer_is_fresh_for_two_seconds_and_holds_for_the_outage() {
        let at = Instant::now();
        let remembered = remembered(at);
        assert_eq!(remembered.fresh("a", at + SECOND), Some(1));
        assert_eq!(remembered.fresh("a", at + 2 * SECOND), None);
        assert_eq!(remembered.fresh("b", at), None);
        assert_eq!(remembered.in_outage("a", at + 59 * SECOND), Some(1));
        assert_eq!(remembered.fresh("a", at + 59 * SECOND), Some(1), "not asked each time");
        assert_eq!(remembered.fresh("a", at + 60 * SECOND), None, "an outage prolongs nothing");
        assert_eq!(remembered.in_outage("a", at + 60 * SECOND), None);
    }

    #[test]
    fn an_answer_from_before_a_removal_is_not_kept() {
        let at = Instant::now();
        let remembered = remembered(at);
        let question = remembered.question();
        remembered.forget("a");
        remembered.keep(question, "a", 1, at);
        assert_eq!(remembered.in_outage("a", at), None);
        remembered.keep(remembered.question(), "a", 2, at);
        assert_eq!(remembered.fresh("a", at), Some(2));
        remembered.forget_all();
        assert_eq!(remembered.fresh("a", at), None);
    }

    #[test]
    fn the_longest_unconfirmed_goes_at_the_bound() {
        let at = Instant::now();
        let remembered = remembered(at);
        for n in 0..MAX_REMEMBERED {
            remembered.keep(remembered.question(), &n.to_string(), 0, at + SECOND);
        }
        assert_eq!(remembered.inner().entries.len(), MAX_REMEMBERED);
        assert_eq!(remembered.fresh("a", at), None);
    }
}
