//! Counters of the zone, readable while it runs. Not events: an event says
//! what an attacker did, a counter how the zone itself is doing.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that goes up, or a gauge that goes up and down.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn increase(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decrease(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many connections are open as the zone allows in all.
    Global,
    /// As many connections are open as one address may have.
    PerAddress,
    /// A PROXY header is required and the peer is not a trusted proxy.
    UntrustedProxy,
    /// A trusted proxy sent no valid PROXY header in time.
    ProxyHeader,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 4] =
        [Self::Global, Self::PerAddress, Self::UntrustedProxy, Self::ProxyHeader];

    /// Its name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::PerAddress => "per-address",
            Self::UntrustedProxy => "untrusted-proxy",
            Self::ProxyHeader => "proxy-header",
        }
    }
}

/// What the zone counted since it was bound.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections that became a session.
    pub accepted: Counter,
    /// Sessions open now.
    pub open: Counter,
    /// Events handed to the channel.
    pub events: Counter,
    /// Events that could not be handed over: the channel's reader was gone.
    pub events_lost: Counter,
    /// Calls to accept(2) that failed, such as for want of file descriptors.
    pub accept_errors: Counter,
    /// Connections of a proxy that checks whether the service is alive.
    pub proxy_checks: Counter,
    /// Services that panicked; each is a defect. Their sessions were closed.
    pub panics: Counter,
    /// Sessions cut off because they did not end before the shutdown deadline.
    pub aborted: Counter,
    refused: [Counter; 4],
}

impl Stats {
    /// How many connections were turned away for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused_counter(reason).get()
    }

    pub(crate) fn refused_counter(&self, reason: Refusal) -> &Counter {
        let [global, per_address, untrusted, header] = &self.refused;
        match reason {
            Refusal::Global => global,
            Refusal::PerAddress => per_address,
            Refusal::UntrustedProxy => untrusted,
            Refusal::ProxyHeader => header,
        }
    }
}
