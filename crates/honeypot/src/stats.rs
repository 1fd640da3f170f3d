//! Counters of the zone, readable while it runs. Not events: an event says
//! what an attacker did, a counter how the zone itself is doing.

use std::collections::BTreeMap;
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

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn decrease(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
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
    /// Datagrams that came.
    pub datagrams: Counter,
    /// Datagrams beyond the budgets: they are no events.
    pub datagrams_unrecorded: Counter,
    /// Captured packets that were looked at.
    pub packets_captured: Counter,
    /// Packets that the kernel dropped before they could be looked at.
    pub packets_dropped: Counter,
    /// Scans that were told.
    pub scans: Counter,
    /// Sources that were forgotten for want of room before it was known whether
    /// they scan.
    pub scan_sources_evicted: Counter,
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

    /// Every counter that only goes up, by its name.
    fn rising(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        let reasons = Refusal::ALL.iter().map(|reason| reason.as_str());
        [
            ("accepted", &self.accepted),
            ("events", &self.events),
            ("events_lost", &self.events_lost),
            ("accept_errors", &self.accept_errors),
            ("datagrams", &self.datagrams),
            ("datagrams_unrecorded", &self.datagrams_unrecorded),
            ("packets_captured", &self.packets_captured),
            ("packets_dropped", &self.packets_dropped),
            ("scans", &self.scans),
            ("scan_sources_evicted", &self.scan_sources_evicted),
            ("proxy_checks", &self.proxy_checks),
            ("panics", &self.panics),
            ("aborted", &self.aborted),
        ]
        .into_iter()
        .chain(reasons.zip(&self.refused))
    }

    /// All of it by name, for another process.
    #[must_use]
    pub fn report(&self) -> BTreeMap<String, u64> {
        let open = ("open", &self.open);
        let all = self.rising().chain([open]);
        all.map(|(name, counter)| (name.to_owned(), counter.get())).collect()
    }

    /// Shows what another process has reported on top of what its forerunners
    /// had, which is `before`. Names that are not known are left out.
    pub fn show(&self, before: &BTreeMap<String, u64>, report: &BTreeMap<String, u64>) {
        let of = |from: &BTreeMap<String, u64>, name| from.get(name).copied().unwrap_or(0);
        for (name, counter) in self.rising() {
            counter.set(of(before, name).saturating_add(of(report, name)));
        }
        self.open.set(of(report, "open"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_shown_on_top_of_what_was_before() {
        let there = Stats::default();
        there.accepted.increase();
        there.open.increase();
        there.refused_counter(Refusal::ProxyHeader).increase();
        let here = Stats::default();
        here.show(&BTreeMap::new(), &there.report());
        assert_eq!(here.report(), there.report());
        // The process ended: its sessions are gone, what it counted stays.
        let before = here.report();
        here.show(&before, &BTreeMap::new());
        assert_eq!((here.accepted.get(), here.open.get()), (1, 0));
        here.show(&before, &there.report());
        assert_eq!((here.accepted.get(), here.refused(Refusal::ProxyHeader)), (2, 2));
        assert_eq!(here.open.get(), 1);
    }
}
