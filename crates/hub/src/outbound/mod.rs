//! Forwarding: events that match a target's query go on to another hub, an EWS
//! backend, an hpfeeds broker or DShield; and decisions to webhooks.
//!
//! Data flows: writer → [`Outlets::pass_on`] → the target's spool (fsync) →
//! [`Forwarder`] → [`Transport`] → far side. The writer frees the hub's spool only
//! after the targets' spools have what is theirs, and a target's spool is freed
//! only after the far side's OK, so nothing is lost while it is away; and as
//! events keep their ids, what is sent twice counts once.
//!
//! Where a target's spool cannot be written (its disk is full), the hub and the
//! other targets go on without it; what it misses, as what goes at the bound of
//! its spool, is counted and told in an event ([`loss`]).
//!
//! Loops: every forwarded event names the hubs that it has passed (attribute
//! [`VIA`]); what has passed this one is not taken again. And a target does not
//! get what came from it.

mod config;
mod forward;
mod loss;
mod origin;
mod outlet;
mod webhook;

use std::path::Path;
use std::sync::Arc;

use palisade_event::{Event, Timestamp};

pub(crate) use config::mistakes;
pub use config::{OutboundConfig, OutboundKind, read_secret};
pub use forward::{Forwarder, SendError, Sent, Transport};
pub(crate) use origin::Origin;
pub use origin::VIA;
pub use outlet::OutboundStatus;
pub(crate) use outlet::Outlet;
pub use webhook::{DecisionWebhook, DecisionWebhookKind, News, Occasion};
pub(crate) use webhook::{hook_mistakes, news};

use crate::error::OpenError;
use crate::ingest::Ingest;

/// All targets of a hub.
#[derive(Default)]
pub(crate) struct Outlets(pub(crate) Vec<Arc<Outlet>>);

impl Outlets {
    /// Opens the queue of every target below the hub's directory. Blocks.
    pub(crate) fn open(
        hub_dir: &Path,
        targets: &[OutboundConfig],
        origin: &Origin,
    ) -> Result<Self, OpenError> {
        let open = |target| Outlet::open(hub_dir, target, origin.clone()).map(Arc::new);
        targets.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Puts events into the queues of the targets that they are for; returns
    /// after they are durable there, or counted where a queue cannot be written.
    pub(crate) async fn pass_on(&self, events: &[Arc<Event>]) {
        for outlet in &self.0 {
            outlet.pass_on(events).await;
        }
    }

    /// The store has what was passed on; it will not come again.
    pub(crate) fn committed(&self) {
        self.0.iter().for_each(|outlet| outlet.losses.committed());
    }

    /// What was passed on since the last commit will come again.
    pub(crate) fn rolled_back(&self) {
        self.0.iter().for_each(|outlet| outlet.losses.rolled_back());
    }

    /// Tells in events what targets have lost, of one target at most once in
    /// `every` milliseconds.
    ///
    /// # Errors
    /// One sentence; the same is told the next time.
    pub(crate) async fn report_losses(
        &self,
        ingest: &Ingest,
        now: Timestamp,
        every: i64,
    ) -> Result<(), String> {
        for outlet in &self.0 {
            let stats = outlet.spool.stats();
            outlet.losses.report(stats, ingest, now, every).await?;
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        for outlet in &self.0 {
            outlet.close().await;
        }
    }

    pub(crate) fn status(&self) -> Vec<OutboundStatus> {
        self.0.iter().map(|outlet| outlet.status()).collect()
    }
}
