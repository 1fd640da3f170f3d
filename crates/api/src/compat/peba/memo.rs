//! Remembers answers that took long to make, for a moment.
//!
//! The dialect lets every answer be a second old. An answer that was made in a
//! moment is never remembered, so a small installation always gets the present.
//! One that took longer is given again for at most [`KEPT`]; until nobody has
//! asked for it for [`AWAITED`] a new one is made meanwhile, so that a site that
//! asks every second or two does not wait for it. Whoever asks the same at the
//! same time gets the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Longest age of an answer.
const KEPT: Duration = Duration::from_secs(1);
/// An answer that is awaited is made anew so long before it is too old, in
/// times that it took to make, and at this age at the earliest.
const AHEAD: u32 = 4;
const RENEWED: Duration = Duration::from_millis(300);
/// For so long after somebody asked an answer is made anew, unless making one
/// takes longer than [`DEAR`]: then only what was asked for while it was kept.
const AWAITED: Duration = Duration::from_secs(5);
const DEAR: Duration = Duration::from_millis(100);
/// An answer that took less is not remembered.
const QUICK: Duration = Duration::from_millis(2);
/// Most answers; of more all that are old go, else all.
const MAX_ANSWERS: usize = 256;

struct Answer<V> {
    value: V,
    /// When it began to be made.
    at: Instant,
    took: Duration,
}

impl<V> Answer<V> {
    /// When the next one is to be begun.
    fn renew_at(&self) -> Instant {
        let ahead = self.took.saturating_mul(AHEAD).min(KEPT);
        self.at + RENEWED.max(KEPT - ahead)
    }

    /// Whether the next one is worth making for somebody who last asked then.
    fn is_awaited(&self, asked: Instant, now: Instant) -> bool {
        let patience = if self.took <= DEAR { AWAITED } else { KEPT };
        now.saturating_duration_since(asked) < patience
    }
}

struct Slot<V> {
    answer: Mutex<Option<Answer<V>>>,
    /// When somebody last asked.
    asked: Mutex<Instant>,
    /// Held while one is made that somebody waits for.
    making: tokio::sync::Mutex<()>,
    /// Whether new ones are made that nobody waits for.
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
    fn young(&self, now: Instant) -> Option<V> {
        let answer = lock(&self.answer);
        let answer = answer.as_ref()?;
        (now.saturating_duration_since(answer.at) < KEPT).then(|| answer.value.clone())
    }

    /// Remembers an answer that was not made in a moment; whether it was not.
    fn keep(&self, value: &V, at: Instant, took: Duration) -> bool {
        let answer = (took >= QUICK).then(|| Answer { value: value.clone(), at, took });
        let is_slow = answer.is_some();
        *lock(&self.answer) = answer;
        is_slow
    }

    /// Makes answers anew until nobody waits for them.
    async fn renew<E, F: Future<Output = Result<V, E>>>(&self, make: impl Fn() -> F) {
        loop {
            let Some(at) = lock(&self.answer).as_ref().map(Answer::renew_at) else { return };
            tokio::time::sleep_until(at.into()).await;
            let (asked, now) = (*lock(&self.asked), Instant::now());
            if !lock(&self.answer).as_ref().is_some_and(|answer| answer.is_awaited(asked, now)) {
                return;
            }
            // Where it fails, who asks next is told why.
            let Ok(value) = make().await else { return };
            self.keep(&value, now, now.elapsed());
        }
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
            asked: Mutex::new(now),
            making: tokio::sync::Mutex::new(()),
            renewing: Mutex::new(false),
        });
        slots.insert(key.clone(), Arc::clone(&slot));
        slot
    }

    /// The answer to a question, by `make` where none is remembered; after
    /// `end` none is made that nobody waits for.
    pub(crate) async fn get<E, F>(
        &self,
        key: &K,
        end: &CancellationToken,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + 'static,
    {
        let slot = self.slot(key, Instant::now());
        *lock(&slot.asked) = Instant::now();
        if let Some(value) = slot.young(Instant::now()) {
            Self::renew(slot, end, make);
            return Ok(value);
        }
        let _making = slot.making.lock().await;
        if let Some(value) = slot.young(Instant::now()) {
            return Ok(value);
        }
        let at = Instant::now();
        let value = make().await?;
        if slot.keep(&value, at, at.elapsed()) {
            Self::renew(Arc::clone(&slot), end, make);
        }
        Ok(value)
    }

    /// Begins to make answers anew, unless that goes on already.
    fn renew<E, F>(
        slot: Arc<Slot<V>>,
        end: &CancellationToken,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + 'static,
    {
        if !std::mem::replace(&mut *lock(&slot.renewing), true) {
            let end = end.clone();
            tokio::spawn(async move {
                end.run_until_cancelled(slot.renew(make)).await;
                *lock(&slot.renewing) = false;
            });
        }
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
            memo.get(&7, &CancellationToken::new(), make).await.unwrap()
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
        assert!(slot.keep(&99, long_ago, QUICK));
        let maker = Maker { made: Arc::default(), takes: QUICK };
        assert_eq!(maker.ask(&memo).await, 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_asked_for_is_made_anew_before_it_is_too_old() {
        let memo = Memo::<u8, u32>::default();
        let maker = Maker { made: Arc::default(), takes: QUICK };
        assert_eq!(maker.ask(&memo).await, 1);
        // Nobody asks meanwhile.
        while maker.made.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(QUICK).await;
        }
        let slot = memo.slot(&7, Instant::now());
        *lock(&slot.asked) = Instant::now().checked_sub(AWAITED).unwrap();
        while *lock(&slot.renewing) {
            tokio::time::sleep(QUICK).await;
        }
        // A slow machine may have begun one more before.
        let made = maker.made.load(Ordering::SeqCst);
        assert_eq!(lock(&slot.answer).as_ref().map(|answer| answer.value), Some(made));
    }

    #[test]
    fn what_takes_long_is_not_made_for_those_who_left() {
        let now = Instant::now();
        let asked = now.checked_sub(KEPT).unwrap();
        let answer = |took| Answer { value: (), at: now, took };
        assert!(answer(DEAR).is_awaited(asked, now));
        assert!(!answer(DEAR * 2).is_awaited(asked, now));
        assert!(answer(DEAR * 2).is_awaited(now, now));
        assert_eq!(answer(KEPT).renew_at(), now + RENEWED);
        assert_eq!(answer(QUICK).renew_at(), now + (KEPT - QUICK * AHEAD));
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
