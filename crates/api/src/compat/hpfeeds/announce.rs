//! Our own events for subscribers: on channels by kind, such as
//! `palisade.auth.attempted`, as the JSON of our wire form.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_event::{EventKind, wire};
use palisade_hub::FeedItem;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::codec;

/// Begins the channels of our events; the kind follows.
pub(crate) const CHANNEL_PREFIX: &str = "palisade.";

/// Announces events until the hub closes.
pub(crate) async fn run(broker: Arc<Broker>, cancel: CancellationToken) {
    let mut feed = broker.hub().feed();
    let metrics = &broker.app.metrics.hpfeeds;
    loop {
        let item = tokio::select! {
            () = cancel.cancelled() => return,
            item = feed.next() => item,
        };
        let events = match item {
            Some(FeedItem::Events(events)) => events,
            Some(FeedItem::Lagged(chunks)) => {
                metrics.left_out.fetch_add(chunks, Ordering::Relaxed);
                continue;
            }
            None => return,
        };
        let mut channels: HashMap<EventKind, Option<String>> = HashMap::new();
        for event in events.iter() {
            let channel = channels.entry(event.kind).or_insert_with(|| {
                let channel = format!("{CHANNEL_PREFIX}{}", event.kind);
                broker.subscribers.is_wanted(channel.as_bytes()).then_some(channel)
            });
            let Some(channel) = channel else { continue };
            let payload = wire::encode_event(event);
            if !codec::fits(&broker.name, channel.as_bytes(), &payload) {
                continue;
            }
            let frame = codec::publish(&broker.name, channel.as_bytes(), &payload);
            broker.subscribers.relay(channel.as_bytes(), event.domain, &frame, metrics);
        }
        // A long chunk must not hold up what else runs on this thread.
        tokio::task::yield_now().await;
    }
}
