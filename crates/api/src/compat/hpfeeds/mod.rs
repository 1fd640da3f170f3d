//! hpfeeds: a broker of our own, and a client of brokers elsewhere.
//!
//! ```text
//! publisher ─► session ─► delivery ─► hub (payload store, then fsync) ─► subscribers
//! hub.feed ─► announce ────────────────────────────────────────────────► subscribers
//! broker elsewhere ─► client ─► delivery ─► hub
//! ```
//!
//! The protocol has no acknowledgement. What we promise: a payload is handed on
//! to subscribers only after its events are on disk; while the hub cannot take
//! events, nothing more is read from publishers, so that TCP holds them back.
//! What is on its way when the connection breaks, only its sender can send again.

mod announce;
mod broker;
pub(crate) mod client;
pub(crate) mod codec;
mod config;
mod delivery;
mod payload;
mod rights;
mod session;
mod subscriber;

pub(crate) use announce::{CHANNEL_PREFIX, run as announce};
pub(crate) use broker::Broker;
pub(crate) use client::subscribe;
pub use config::{
    Config as HpfeedsConfig, Ident as HpfeedsIdent, Listener as HpfeedsListener,
    Subscription as HpfeedsSubscription,
};
pub(crate) use payload::fuzz as fuzz_payload;
pub(crate) use session::serve;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// What broker and client have done since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Connections to the broker that are open.
    pub(crate) open: AtomicU64,
    /// Connections that were signed in.
    pub(crate) signed_in: AtomicU64,
    /// Connections refused: limits, wrong secret, malformed or forbidden frames.
    pub(crate) refused: AtomicU64,
    /// Payloads that were published to the broker.
    pub(crate) published: AtomicU64,
    /// Frames that were queued for subscribers.
    pub(crate) relayed: AtomicU64,
    /// Subscribers that were cut off as they were too slow.
    pub(crate) dropped: AtomicU64,
    /// Chunks of our events that no subscriber saw, as there were too many at once.
    pub(crate) left_out: AtomicU64,
    /// Times that a publisher was held back as the hub was full.
    pub(crate) held_back: AtomicU64,
    /// Payloads that came from brokers elsewhere.
    pub(crate) received: AtomicU64,
    /// Connections to brokers elsewhere that failed or broke.
    pub(crate) reconnects: AtomicU64,
}

impl Metrics {
    /// Adds the families to a text in the OpenMetrics format.
    pub(crate) fn write(&self, text: &mut String) {
        let open = self.open.load(Ordering::Relaxed);
        let _ = write!(
            text,
            "# HELP palisade_hpfeeds_open Open connections to the hpfeeds broker.\n\
             # TYPE palisade_hpfeeds_open gauge\npalisade_hpfeeds_open {open}\n"
        );
        for (name, help, counter) in [
            ("signed_in", "Connections that were signed in.", &self.signed_in),
            ("refused", "Connections that were refused or cut off.", &self.refused),
            ("published", "Payloads that were published here.", &self.published),
            ("relayed", "Frames that were queued for subscribers.", &self.relayed),
            ("subscribers_dropped", "Subscribers cut off as too slow.", &self.dropped),
            ("chunks_left_out", "Chunks of events that no subscriber saw.", &self.left_out),
            ("held_back", "Times that a publisher waited for the hub.", &self.held_back),
            ("received", "Payloads that came from other brokers.", &self.received),
            ("reconnects", "Connections to other brokers that broke.", &self.reconnects),
        ] {
            let value = counter.load(Ordering::Relaxed);
            let _ = write!(
                text,
                "# HELP palisade_hpfeeds_{name} {help}\n# TYPE palisade_hpfeeds_{name} counter\n\
                 palisade_hpfeeds_{name}_total {value}\n"
            );
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
