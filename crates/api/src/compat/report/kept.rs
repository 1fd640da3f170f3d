//! Answers that are given again for a minute, a bounded number of them. Who asks
//! while one is made waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// How long an answer is given.
const KEPT: Duration = Duration::from_secs(60);
/// Most answers; past it those that are too old go, else all.
const MAX_KEPT: usize = 64;

/// When it was made, and what it is; `None` while it is made for the first time.
type Slot<V> = Arc<Mutex<Option<(Instant, V)>>>;

/// See the module's first lines.
#[derive(Debug)]
pub(crate) struct Kept<K, V>(Mutex<HashMap<K, Slot<V>>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// The answer to a question; by `make` where none is young enough.
    pub(super) async fn get<E>(
        &self,
        key: K,
        now: Instant,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let young = |at: Instant| now.saturating_duration_since(at) < KEPT;
        let slot = {
            let mut slots = self.0.lock().await;
            if slots.len() >= MAX_KEPT && !slots.contains_key(&key) {
                slots.retain(|_, slot| match slot.try_lock() {
                    Ok(answer) => answer.as_ref().is_some_and(|(at, _)| young(*at)),
                    // It is being made.
                    Err(_) => true,
                });
                if slots.len() >= MAX_KEPT {
                    slots.clear();
                }
            }
            Arc::clone(slots.entry(key).or_default())
        };
        let mut answer = slot.lock().await;
        if let Some((_, value)) = answer.as_ref().filter(|(at, _)| young(*at)) {
            return Ok(value.clone());
        }
        let value = make.await?;
        *answer = Some((now, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_given_for_a_minute_and_then_made_anew() {
        let kept = Kept::default();
        let now = Instant::now();
        let ask = async |at, value: u32| kept.get("a", at, async { Ok::<_, ()>(value) }).await;
        assert_eq!(ask(now, 1).await, Ok(1));
        assert_eq!(ask(now + Duration::from_secs(59), 2).await, Ok(1));
        assert_eq!(ask(now + Duration::from_secs(60), 3).await, Ok(3));
        assert_eq!(kept.get("b", now, async { Err::<u32, _>("no") }).await, Err("no"));
        assert_eq!(kept.get("b", now, async { Ok::<_, ()>(4) }).await, Ok(4));
    }

    #[tokio::test]
    async fn there_are_never_too_many() {
        let kept = Kept::default();
        let now = Instant::now();
        for key in 0..MAX_KEPT * 3 {
            assert_eq!(kept.get(key, now, async { Ok::<_, ()>(key) }).await, Ok(key));
        }
        assert!(kept.0.lock().await.len() <= MAX_KEPT);
    }
}
