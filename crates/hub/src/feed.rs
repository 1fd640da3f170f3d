//! The feed: all events as they are stored, in chunks, for dialects that hand
//! them on to others. Not the live stream of the page, which shows the newest
//! and leaves out the rest. A reader that is too slow loses chunks and is told
//! how many; the writer never waits.

use std::sync::Arc;

use palisade_event::Event;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Chunks that wait for the slowest reader; older ones are left out.
pub(crate) const FEED_CHUNKS: usize = 16;

/// Events that were stored together.
pub(crate) type Stored = Arc<[Arc<Event>]>;

/// What a feed gives.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// New events, enriched and durable.
    Events(Arc<[Arc<Event>]>),
    /// The reader was too slow; so many chunks were left out.
    Lagged(u64),
}

/// See [`crate::Hub::feed`].
pub struct Feed {
    chunks: broadcast::Receiver<Stored>,
    closed: CancellationToken,
}

impl Feed {
    pub(crate) fn new(chunks: broadcast::Receiver<Stored>, closed: CancellationToken) -> Self {
        Self { chunks, closed }
    }

    /// What comes next; `None` once the hub has closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        let received = tokio::select! {
            biased;
            received = self.chunks.recv() => received,
            () = self.closed.cancelled() => return None,
        };
        match received {
            Ok(events) => Some(FeedItem::Events(events)),
            Err(RecvError::Lagged(chunks)) => Some(FeedItem::Lagged(chunks)),
            Err(RecvError::Closed) => None,
        }
    }
}
