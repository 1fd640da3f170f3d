//! Forwarding: events that match a target's query go on to another hub, an EWS
//! backend, an hpfeeds broker or DShield.
//!
//! Data flows: writer → [`Outlets::pass_on`] → the target's spool (fsync) →
//! [`Forwarder`] → [`Transport`] → far side. The writer frees the hub's spool only
//! after the targets' spools have what is theirs, and a target's spool is freed
//! only after the far side's OK, so nothing is lost while it is away; and as
//! events keep their ids, what is sent twice counts once.
//!
//! Loops: every forwarded event names the hubs that it has passed (attribute
//! [`VIA`]); what has passed this one is not taken again. And a target does not
//! get what came from it.

mod config;
mod forward;
mod origin;
mod outlet;

use std::path::Path;
use std::sync::Arc;

use palisade_event::Event;

pub(crate) use config::mistakes;
pub use config::{OutboundConfig, OutboundKind, read_secret};
pub use forward::{Forwarder, SendError, Sent, Transport};
pub(crate) use origin::Origin;
pub use origin::VIA;
pub use outlet::OutboundStatus;
pub(crate) use outlet::Outlet;

use crate::error::OpenError;

/// All targets of a hub.
#[derive(Default)]
pub(crate) struct Outlets(pub(crate) Vec<Arc<Outlet>>);

impl Outlets {
    /// Opens the queue of every target below `dir`. Blocks.
    pub(crate) fn open(
        dir: &Path,
        targets: &[OutboundConfig],
        origin: &Origin,
    ) -> Result<Self, OpenError> {
        let open = |target| Outlet::open(dir, target, origin.clone()).map(Arc::new);
        targets.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Puts events into the queues of the targets that they are for; returns
    /// after they are durable there.
    ///
    /// # Errors
    /// Why not; some queues may have some of them, which then come twice.
    pub(crate) async fn pass_on(&self, events: &[Arc<Event>]) -> Result<(), String> {
        for outlet in &self.0 {
            outlet.pass_on(events).await?;
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
