//! The live stream: events as they become visible to queries. A slow
//! subscriber loses events and is told how many; ingest never waits.

use std::sync::Arc;

use palisade_event::{Domain, Event};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;
use crate::metrics::Metrics;

/// Events that wait for the slowest subscriber; older ones are left out.
pub(crate) const LIVE_EVENTS: usize = 256;

/// What goes to all subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// An event that queries can see now.
    Event(Arc<Event>),
    /// So many events came at once that these were left out.
    LeftOut(u64),
}

/// What a live subscription gives.
#[derive(Clone, Debug)]
pub enum LiveItem {
    /// A newly stored event, enriched, that the subscriber may see.
    Event(Arc<Event>),
    /// The subscriber was too slow, or too much came at once; so many events were left out.
    Lagged(u64),
}

/// A live subscription; see [`crate::Hub::live`].
pub struct Live {
    events: broadcast::Receiver<Shown>,
    closed: CancellationToken,
    who: Principal,
    metrics: Arc<Metrics>,
}

impl Live {
    pub(crate) fn new(
        events: broadcast::Receiver<Shown>,
        closed: CancellationToken,
        who: Principal,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.live_subscribers.inc();
        Self { events, closed, who, metrics }
    }

    /// The next event that the subscriber may see; `None` once the hub has
    /// closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<LiveItem> {
        loop {
            let received = tokio::select! {
                biased;
                received = self.events.recv() => received,
                () = self.closed.cancelled() => return None,
            };
            match received {
                Ok(Shown::Event(event)) if self.sees(event.domain) => {
                    return Some(LiveItem::Event(event));
                }
                Ok(Shown::Event(_)) => {}
                Ok(Shown::LeftOut(missed)) | Err(RecvError::Lagged(missed)) => {
                    self.metrics.live_lagged.inc_by(missed);
                    return Some(LiveItem::Lagged(missed));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn sees(&self, domain: Domain) -> bool {
        self.who.sees(domain)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.metrics.live_subscribers.dec();
    }
}
