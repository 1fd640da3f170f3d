//! Counters of the agent, for whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::enforce::Effect;

/// A number that only grows, or is set to what is there now.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What the agent has done since it was started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Lines read from all sources.
    pub lines: Counter,
    /// Lines that were understood and say nothing new.
    pub lines_irrelevant: Counter,
    /// Lines that no parser understood.
    pub lines_unparsed: Counter,
    /// Lines that were longer than the limit and were cut.
    pub lines_truncated: Counter,
    /// Messages of syslog that the kernel dropped because its buffer was full.
    pub syslog_dropped: Counter,
    /// Senders of syslog that were turned away: not allowed, too many, no TLS.
    pub syslog_refused: Counter,
    /// Messages of syslog that were cut off by the end of their connection.
    pub syslog_incomplete: Counter,
    /// Events put into the spool, from logs and honeypots.
    pub events: Counter,
    /// Events that the spool can never take; see the log.
    pub events_unspoolable: Counter,
    /// Attempts to append to the spool that failed and were repeated.
    pub spool_retries: Counter,
    /// Records in the spool that the hub has not confirmed.
    pub spool_pending: Counter,
    /// Bytes of the spool on disk.
    pub spool_bytes: Counter,
    /// Records ever dropped at the spool's bound.
    pub spool_dropped: Counter,
    /// Records that the hub has confirmed.
    pub forwarded: Counter,
    /// Of these, records that the hub had already.
    pub duplicate: Counter,
    /// Of these, records that the hub keeps in quarantine.
    pub quarantined: Counter,
    /// Attempts to deliver that failed and were repeated.
    pub send_retries: Counter,
    /// Records that the hub refused by themselves and that were set aside.
    pub dead_letters: Counter,
    /// Alerts of scenarios.
    pub alerts: Counter,
    /// Decisions that were made, simulated ones too.
    pub decisions: Counter,
    /// Alerts about somebody whom the allowlist spares.
    pub decisions_spared: Counter,
    /// Alerts that led to nothing because the allowlist was not complete.
    pub decisions_withheld: Counter,
    /// Sources that scenarios track now.
    pub detect_tracked: Counter,
    /// Bytes of their counters.
    pub detect_bytes: Counter,
    /// Sources that were given up because there were too many.
    pub detect_evicted: Counter,
    /// Sources whose counting began anew because a clock was set back.
    pub detect_reset: Counter,
    /// Bans in force, by the agent's ledger.
    pub enforce_held: Counter,
    /// Changes that were ordered of the firewall.
    pub enforce_changes: Counter,
    /// Orders and looks that failed; they are repeated.
    pub enforce_failures: Counter,
    /// Bans and rules that were gone from the firewall and were made again.
    pub enforce_mended: Counter,
    /// Packets that the bans in force have dropped, where they are counted.
    pub enforce_dropped_packets: Counter,
    /// Bans that were not held because there were too many.
    pub orders_dropped: Counter,
    /// Orders of the hub that were not obeyed: about somebody who is spared, or
    /// a network that is too wide.
    pub orders_refused: Counter,
    /// Log sources that cannot be read now.
    pub sources_failing: Counter,
    /// What comes of decisions here, for the hub.
    pub(crate) effect: Effect,
}
