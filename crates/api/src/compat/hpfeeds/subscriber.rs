//! Who gets what: the subscribers of the broker and their queues. A frame is
//! encoded once and shared; a subscriber whose queue is full is cut off.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use palisade_event::Domain;
use palisade_hub::Principal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rights::Pattern;
use super::{Metrics, count};

/// Frames that wait for one subscriber; full: it is cut off.
pub(crate) const SUBSCRIBER_QUEUE_FRAMES: usize = 4096;
/// Bytes that wait for one subscriber; full: it is cut off.
pub(crate) const SUBSCRIBER_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Most channels or patterns that one connection is subscribed to.
const MAX_SUBSCRIPTIONS: usize = 256;

/// A connection that is signed in.
pub(crate) struct Subscriber {
    who: Principal,
    frames: mpsc::Sender<Bytes>,
    /// Bytes in the queue.
    queued: Arc<AtomicUsize>,
    channels: Mutex<HashSet<Pattern>>,
    /// The queue was full.
    pub(crate) too_slow: CancellationToken,
}

/// The other end of a subscriber's queue.
pub(crate) struct Queue {
    frames: mpsc::Receiver<Bytes>,
    queued: Arc<AtomicUsize>,
}

impl Queue {
    /// Waits for frames and takes some; `None` once nobody can send any.
    pub(crate) async fn next(&mut self, most: usize) -> Option<Vec<Bytes>> {
        let mut frames = Vec::new();
        if self.frames.recv_many(&mut frames, most).await == 0 {
            return None;
        }
        Some(frames)
    }

    /// These were written.
    pub(crate) fn written(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// All connections that are signed in.
#[derive(Default)]
pub(crate) struct Subscribers {
    all: Mutex<HashMap<u64, Arc<Subscriber>>>,
    next: AtomicU64,
}

/// Nothing panics while these locks are held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscribers {
    /// Adds a connection; it gets nothing until it subscribes.
    pub(crate) fn add(&self, who: Principal) -> (u64, Arc<Subscriber>, Queue) {
        let (frames, receiver) = mpsc::channel(SUBSCRIBER_QUEUE_FRAMES);
        let queued = Arc::new(AtomicUsize::new(0));
        let subscriber = Arc::new(Subscriber {
            who,
            frames,
            queued: Arc::clone(&queued),
            channels: Mutex::default(),
            too_slow: CancellationToken::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.all).insert(number, Arc::clone(&subscriber));
        (number, subscriber, Queue { frames: receiver, queued })
    }

    pub(crate) fn remove(&self, number: u64) {
        lock(&self.all).remove(&number);
    }

    /// Whether anybody may get events of ours: not to encode them for nobody.
    pub(crate) fn is_wanted(&self, channel: &[u8]) -> bool {
        lock(&self.all).values().any(|subscriber| subscriber.wants(channel))
    }

    /// Queues a frame for all who are subscribed to a channel and may see events
    /// of this domain.
    pub(crate) fn relay(&self, channel: &[u8], domain: Domain, frame: &Bytes, metrics: &Metrics) {
        lock(&self.all).retain(|_, subscriber| {
            if !subscriber.who.sees(domain) || !subscriber.wants(channel) {
                return true;
            }
            count(&metrics.relayed);
            let kept = subscriber.queue(frame.clone());
            if !kept {
                count(&metrics.dropped);
            }
            kept
        });
    }
}

impl Subscriber {
    fn wants(&self, channel: &[u8]) -> bool {
        lock(&self.channels).iter().any(|pattern| pattern.matches(channel))
    }

    /// Adds a channel or pattern; `false` where there are too many.
    pub(crate) fn subscribe(&self, pattern: Pattern) -> bool {
        let mut channels = lock(&self.channels);
        channels.insert(pattern);
        channels.len() <= MAX_SUBSCRIPTIONS
    }

    pub(crate) fn unsubscribe(&self, pattern: &Pattern) {
        lock(&self.channels).remove(pattern);
    }

    /// Queues a frame; `false` where the queue is full: then it is cut off.
    pub(crate) fn queue(&self, frame: Bytes) -> bool {
        let length = frame.len();
        let before = self.queued.fetch_add(length, Ordering::Relaxed);
        let fits = before == 0 || before + length <= SUBSCRIBER_QUEUE_BYTES;
        if fits && self.frames.try_send(frame).is_ok() {
            return true;
        }
        self.too_slow.cancel();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_event::SensorId;

    fn who(domain: Domain) -> Principal {
        Principal::publisher(SensorId::new("unit").unwrap(), domain)
    }

    #[tokio::test]
    async fn frames_reach_those_who_are_subscribed_and_may_see_them() {
        let (subscribers, metrics) = (Subscribers::default(), Metrics::default());
        let (_, open, mut open_queue) = subscribers.add(who(Domain::Community));
        let (_, own, mut own_queue) = subscribers.add(who(Domain::Private));
        for subscriber in [&open, &own] {
            assert!(subscriber.subscribe(Pattern::new("palisade.*").unwrap()));
        }
        let frame = |text: &'static str| Bytes::from_static(text.as_bytes());
        subscribers.relay(b"palisade.x", Domain::Private, &frame("private"), &metrics);
        subscribers.relay(b"palisade.x", Domain::Community, &frame("shared"), &metrics);
        subscribers.relay(b"other", Domain::Community, &frame("other"), &metrics);
        assert_eq!(own_queue.next(9).await.unwrap(), [frame("private"), frame("shared")]);
        assert_eq!(open_queue.next(9).await.unwrap(), [frame("shared")]);
        own.unsubscribe(&Pattern::new("palisade.*").unwrap());
        assert!(subscribers.is_wanted(b"palisade.y"));
        drop(open);
        assert!(!subscribers.is_wanted(b"other"));
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_is_cut_off_and_counted() {
        let (subscribers, metrics) = (Subscribers::default(), Metrics::default());
        let (_, slow, mut queue) = subscribers.add(who(Domain::Private));
        slow.subscribe(Pattern::new("*").unwrap());
        let frame = Bytes::from(vec![0; 1024 * 1024]);
        for _ in 0..4 {
            subscribers.relay(b"c", Domain::Private, &frame, &metrics);
        }
        assert!(!slow.too_slow.is_cancelled());
        let taken = queue.next(1).await.unwrap();
        queue.written(taken[0].len());
        subscribers.relay(b"c", Domain::Private, &frame, &metrics);
        assert!(!slow.too_slow.is_cancelled());
        subscribers.relay(b"c", Domain::Private, &frame, &metrics);
        assert!(slow.too_slow.is_cancelled());
        assert_eq!(metrics.dropped.load(Ordering::Relaxed), 1);
        assert!(!subscribers.is_wanted(b"c"));
    }
}
