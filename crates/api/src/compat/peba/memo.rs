//! Remembers answers that took long to make, for a moment.
//!
//! The dialect lets every answer be a second old. An answer that was made in a
//! moment is never remembered, so a small installation always gets the present.
//! One that took longer is given again for at most [`KEPT`]; while it is asked
//! for again and again a new one is made meanwhile, so that nobody waits for it.
//! Whoever asks the same at the same time gets the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest age of an answer.
const KEPT: Duration = Duration::from_secs(1);
/// From this age on a new one is made.
const RENEWED: Duration = Duration::from_millis(300);
/// An answer that took less is not remembered.
const QUICK: Duration = Duration::from_millis(2);
/// Most answers; of more all that are old go, else all.
const MAX_ANSWERS: usize = 256;

struct Answer<V> {
    value: V,
    /// When it began to be made.
    at: Instant,
}

struct Slot<V> {
    answer: Mutex<Option<Answer<V>>>,
    /// Held while one is made that somebody waits for.
    making: tokio::sync::Mutex<()>,
    /// Held while one is made that nobody waits for.
    renewing: Mutex<bool>,
}

/// Answers by question.
pub(crate) struct Memo<K, V>(Mutex<HashMap<K, Arc<Slot<V>>>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Clone> Slot<V> {
    fn young(&self, now: Instant) -> Option<(V, Duration)> {
        let answer = lock(&self.answer);
        let answer = answer.as_ref()?;
        let age = now.saturating_duration_since(answer.at);
        (age < KEPT).then(|| (answer.value.clone(), age))
    }

    fn keep(&self, value: &V, at: Instant, took: Duration) {
        let answer = (took >= QUICK).then(|| Answer { value: value.clone(), at });
        *lock(&self.answer) = answer;
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Send + Sync + 'static> Memo<K, V> {
    fn slot(&self, key: &K, now: Instant) -> Arc<Slot<V>> {
        let mut slots = lock(&self.0);
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        if slots.len() >= MAX_ANSWERS {
            slots.retain(|_, slot| slot.young(now).is_some());
            if slots.len() >= MAX_ANSWERS {
                slots.clear();
            }
        }
        let slot = Arc::new(Slot {
            answer: Mutex::new(None),
            making: tokio::sync::Mutex::new(()),
            renewing: Mutex::new(false),
        });
        slots.insert(key.clone(), Arc::clone(&slot));
        slot
    }

    /// The answer to a question, by `make` where none is remembered.
    pub(crate) async fn get<E, F>(
        &self,
        key: &K,
        make: impl Fn() -> F + Send + 'static,
    ) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + 'static,
    {
        let slot = self.slot(key, Instant::now());
        if let Some((value, age)) = slot.young(Instant::now()) {
            if age >= RENEWED && !std::mem::replace(&mut *lock(&slot.renewing), true) {
                let (slot, at) = (Arc::clone(&slot), Instant::now());
                let made = make();
                tokio::spawn(async move {
                    // Where it fails, who asks next is told why.
                    if let Ok(value) = made.await {
                        slot.keep(&value, at, at.elapsed());
                    }
                    *lock(&slot.renewing) = false;
                });
            }
            return Ok(value);
        }
        let _making = slot.making.lock().await;
        if let Some((value, _)) = slot.young(Instant::now()) {
            return Ok(value);
        }
        let at = Instant::now();
        let value = make().await?;
        slot.keep(&value, at, at.elapsed());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Makes numbers; each takes as long as the test says.
    struct Maker {
        made: Arc<AtomicU32>,
        takes: Duration,
    }

    impl Maker {
        async fn ask(&self, memo: &Memo<u8, u32>) -> u32 {
            let (made, takes) = (Arc::clone(&self.made), self.takes);
            let make = move || {
                let made = Arc::clone(&made);
                async move {
                    #[allow(clippy::disallowed_methods, reason = "it looks at the real clock")]
                    std::thread::sleep(takes);
                    Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst) + 1)
                }
            };
            memo.get(&7, make).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_quick_answer_is_made_anew_and_a_slow_one_is_given_again() {
        let memo = Memo::default();
        let quick = Maker { made: Arc::default(), takes: Duration::ZERO };
        assert_eq!((quick.ask(&memo).await, quick.ask(&memo).await), (1, 2));
        let memo = Memo::default();
        let slow = Maker { made: Arc::default(), takes: QUICK * 2 };
        assert_eq!((slow.ask(&memo).await, slow.ask(&memo).await), (1, 1));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_old_is_not_given() {
        let memo = Memo::<u8, u32>::default();
        let slot = memo.slot(&7, Instant::now());
        let long_ago = Instant::now().checked_sub(KEPT).unwrap();
        slot.keep(&99, long_ago, QUICK);
        let maker = Maker { made: Arc::default(), takes: QUICK };
        assert_eq!(maker.ask(&memo).await, 1);
        // One that is not young is given once more, and a new one made meanwhile.
        let a_while_ago = Instant::now().checked_sub(RENEWED).unwrap();
        slot.keep(&98, a_while_ago, QUICK);
        assert_eq!(maker.ask(&memo).await, 98);
        while maker.made.load(Ordering::SeqCst) < 2 || *lock(&slot.renewing) {
            tokio::task::yield_now().await;
        }
        assert_eq!(slot.young(Instant::now()).map(|(value, _)| value), Some(2));
    }

    #[tokio::test]
    async fn there_are_never_too_many_answers() {
        let memo = Memo::<usize, u32>::default();
        for key in 0..MAX_ANSWERS * 2 {
            memo.slot(&key, Instant::now());
        }
        assert!(lock(&memo.0).len() <= MAX_ANSWERS);
    }
}
