//! What the hub counts, for Prometheus (OpenMetrics text).

use std::time::Duration;

use palisade_event::Timestamp;
use palisade_store::state::BouncerUsage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::outbound::OutboundStatus;

/// Upper bounds of query times, in seconds.
const QUERY_SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Why a record went to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

/// The name of a bouncer's key: as many as an administrator has made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bouncer {
    bouncer: String,
}

/// A target that events are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Target {
    pub(crate) target: String,
}

/// How a sign-in ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

/// Counters and gauges.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) accepted: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) past_retention: Counter,
    pub(crate) quarantined: Family<Reason, Counter>,
    pub(crate) refused: Counter,
    pub(crate) cves_left_out: Family<Reason, Counter>,
    pub(crate) hosts_left_out: Counter,
    pub(crate) decisions_noted: Counter,
    pub(crate) decisions_withheld: Counter,
    pub(crate) decisions_refused: Family<Reason, Counter>,
    pub(crate) decisions_active: Gauge,
    pub(crate) correlation_counted: Counter,
    pub(crate) correlation_left_out: Family<Reason, Counter>,
    pub(crate) correlation_alerts: Counter,
    pub(crate) correlation_decisions: Counter,
    pub(crate) correlation_tracked: Gauge,
    pub(crate) correlation_evicted: Gauge,
    pub(crate) correlation_behind: Gauge,
    bouncer_dropped_packets: Family<Bouncer, Counter>,
    bouncer_dropped_bytes: Family<Bouncer, Counter>,
    bouncer_active: Family<Bouncer, Gauge>,
    bouncer_pulled: Family<Bouncer, Gauge>,
    pub(crate) announcements: Counter,
    pub(crate) announcements_failed: Counter,
    announcements_dropped: Family<Reason, Counter>,
    pub(crate) stored: Counter,
    pub(crate) commits: Counter,
    pub(crate) store_failures: Counter,
    pub(crate) writer_lag: Gauge<f64, std::sync::atomic::AtomicU64>,
    pub(crate) spool_pending: Gauge,
    pub(crate) spool_bytes: Gauge,
    pub(crate) spool_corrupt: Gauge,
    pub(crate) store_events: Gauge,
    pub(crate) store_bytes: Gauge,
    pub(crate) store_behind: Gauge,
    pub(crate) store_removed_days: Gauge,
    pub(crate) ready_answers: Gauge,
    pub(crate) ready_misses: Gauge,
    pub(crate) ready_bytes: Gauge,
    pub(crate) state_up: Gauge,
    pub(crate) quarantine_records: Gauge,
    pub(crate) quarantine_dropped: Gauge,
    pub(crate) payloads_too_large: Gauge,
    pub(crate) payloads_evicted: Gauge,
    pub(crate) payloads_uncounted: Gauge,
    pub(crate) live_subscribers: Gauge,
    pub(crate) live_lagged: Counter,
    pub(crate) sign_ins: Family<Outcome, Counter>,
    pub(crate) query_seconds: Histogram,
    outbound_pending: Family<Target, Gauge>,
    outbound_bytes: Family<Target, Gauge>,
    outbound_sent: Family<Target, Gauge>,
    outbound_left_out: Family<Target, Gauge>,
    outbound_refused: Family<Target, Gauge>,
    outbound_dropped: Family<Target, Gauge>,
    outbound_unqueued: Family<Target, Gauge>,
    outbound_retries: Family<Target, Gauge>,
    outbound_failing: Family<Target, Gauge>,
}

impl Metrics {
    /// So many announcements will not be made.
    pub(crate) fn announcements_dropped(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.announcements_dropped.get_or_create_owned(&Reason { reason }).inc_by(count);
            tracing::warn!(reason, count, "announcements were given up");
        }
    }

    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("palisade");
        macro_rules! made {
            ($metric:expr, $name:literal, $help:literal) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let query_seconds = Histogram::new(QUERY_SECONDS);
        registry.register_with_unit(
            "query",
            "Time to answer a query",
            Unit::Seconds,
            query_seconds.clone(),
        );
        let writer_lag = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        registry.register_with_unit(
            "writer_lag",
            "Age of the oldest event of the last commit",
            Unit::Seconds,
            writer_lag.clone(),
        );
        Self {
            accepted: made!(Counter::default(), "events_accepted", "Events that were new"),
            duplicate: made!(
                Counter::default(),
                "events_duplicate",
                "Events that were here already"
            ),
            past_retention: made!(
                Counter::default(),
                "events_past_retention",
                "Events that came when their life was over: answered for at the door, never stored"
            ),
            quarantined: made!(
                Family::default(),
                "events_quarantined",
                "Records that could not be understood"
            ),
            cves_left_out: made!(
                Family::default(),
                "cves_left_out",
                "Vulnerabilities that were not remembered"
            ),
            hosts_left_out: made!(
                Counter::default(),
                "hosts_left_out",
                "Events that told of hosts and were not noted, as too much waited"
            ),
            decisions_noted: made!(
                Counter::default(),
                "decisions_noted",
                "Decisions and lifts that went to agents and bouncers"
            ),
            decisions_withheld: made!(
                Counter::default(),
                "decisions_withheld",
                "Decisions that are listed and never carried out: simulated, about somebody on the allowlist, lifted or over when they came"
            ),
            decisions_refused: made!(
                Family::default(),
                "decisions_refused",
                "Decisions that were not accepted"
            ),
            decisions_active: made!(Gauge::default(), "decisions_active", "Decisions in force"),
            correlation_counted: made!(
                Counter::default(),
                "correlation_counted",
                "Events that scenarios of the hub have counted"
            ),
            correlation_left_out: made!(
                Family::default(),
                "correlation_left_out",
                "Events that scenarios of the hub have not counted"
            ),
            correlation_alerts: made!(
                Counter::default(),
                "correlation_alerts",
                "Alerts of the hub's scenarios"
            ),
            correlation_decisions: made!(
                Counter::default(),
                "correlation_decisions",
                "Decisions of the hub's scenarios"
            ),
            correlation_tracked: made!(
                Gauge::default(),
                "correlation_tracked",
                "Sources that scenarios of the hub track"
            ),
            correlation_evicted: made!(
                Gauge::default(),
                "correlation_evicted",
                "Sources that the hub's scenarios gave up as there were too many, since the start"
            ),
            correlation_behind: made!(
                Gauge::default(),
                "correlation_behind_records",
                "Records of the spool that wait to be counted"
            ),
            bouncer_dropped_packets: made!(
                Family::default(),
                "bouncer_dropped_packets",
                "Packets that bouncers say they have dropped, since the start, by the name of the key"
            ),
            bouncer_dropped_bytes: made!(
                Family::default(),
                "bouncer_dropped_bytes",
                "Bytes that bouncers say they have dropped, since the start, by the name of the key"
            ),
            bouncer_active: made!(
                Family::default(),
                "bouncer_active_decisions",
                "Decisions that the bouncer carries out, as the last one with this key said"
            ),
            bouncer_pulled: made!(
                Family::default(),
                "bouncer_last_pull_timestamp_seconds",
                "When a bouncer with this key last asked, in seconds since 1970"
            ),
            announcements: made!(
                Counter::default(),
                "announcements",
                "Announcements that were heard"
            ),
            announcements_failed: made!(
                Counter::default(),
                "announcements_failed",
                "Attempts to announce that failed"
            ),
            announcements_dropped: made!(
                Family::default(),
                "announcements_dropped",
                "Announcements that were given up"
            ),
            refused: made!(Counter::default(), "batches_refused", "Batches that were not taken"),
            stored: made!(Counter::default(), "events_stored", "Events that the store added"),
            commits: made!(Counter::default(), "store_commits", "Commits of the store"),
            store_failures: made!(
                Counter::default(),
                "store_failures",
                "Attempts to write to the store that failed and were repeated"
            ),
            writer_lag,
            spool_pending: made!(
                Gauge::default(),
                "spool_pending_records",
                "Records that wait for the store"
            ),
            spool_bytes: made!(Gauge::default(), "spool_bytes", "Bytes of the spool on disk"),
            spool_corrupt: made!(
                Gauge::default(),
                "spool_corrupt_records",
                "Records lost to damage on disk, ever"
            ),
            store_events: made!(Gauge::default(), "store_events", "Events in the store"),
            store_bytes: made!(Gauge::default(), "store_bytes", "Bytes of the store on disk"),
            store_behind: made!(
                Gauge::default(),
                "store_behind_seconds",
                "Seconds that the oldest event has waited which the store does not have yet"
            ),
            store_removed_days: made!(
                Gauge::default(),
                "store_events_of_removed_days",
                "Events that were taken and not stored, as their day was removed meanwhile for want of space, since the start"
            ),
            ready_answers: made!(
                Gauge::default(),
                "store_ready_answers",
                "Parts of the store that answered from ready aggregates, since the start"
            ),
            ready_misses: made!(
                Gauge::default(),
                "store_ready_misses",
                "Parts of the store that had no ready aggregates for a question, since the start"
            ),
            ready_bytes: made!(
                Gauge::default(),
                "store_ready_bytes",
                "Bytes of ready aggregates on disk"
            ),
            state_up: made!(
                Gauge::default(),
                "state_up",
                "Whether the state database answers: 1 or 0"
            ),
            quarantine_records: made!(
                Gauge::default(),
                "quarantine_records",
                "Records in quarantine"
            ),
            quarantine_dropped: made!(
                Gauge::default(),
                "quarantine_dropped_records",
                "Records dropped from quarantine at its bound, ever"
            ),
            payloads_too_large: made!(
                Gauge::default(),
                "payloads_too_large",
                "Payloads that were larger than is kept, since the start"
            ),
            payloads_evicted: made!(
                Gauge::default(),
                "payloads_evicted",
                "Payloads whose bytes were removed at the bound, since the start"
            ),
            payloads_uncounted: made!(
                Gauge::default(),
                "payloads_uncounted_sightings",
                "Sightings of payloads that were not counted, since the start"
            ),
            live_subscribers: made!(Gauge::default(), "live_subscribers", "Live subscriptions"),
            live_lagged: made!(
                Counter::default(),
                "live_lagged_events",
                "Events left out for slow subscribers"
            ),
            sign_ins: made!(Family::default(), "sign_ins", "Attempts to sign in"),
            query_seconds,
            outbound_pending: made!(
                Family::default(),
                "outbound_pending_events",
                "Events that wait for a target"
            ),
            outbound_bytes: made!(
                Family::default(),
                "outbound_bytes",
                "Bytes of a target's queue on disk"
            ),
            outbound_sent: made!(
                Family::default(),
                "outbound_sent_events",
                "Events that a target has confirmed, since the start"
            ),
            outbound_left_out: made!(
                Family::default(),
                "outbound_left_out_events",
                "Events that a target's dialect cannot express, since the start"
            ),
            outbound_refused: made!(
                Family::default(),
                "outbound_refused_events",
                "Events that a target refuses, since the start"
            ),
            outbound_dropped: made!(
                Family::default(),
                "outbound_dropped_events",
                "Events dropped as a target's queue was full, ever"
            ),
            outbound_unqueued: made!(
                Family::default(),
                "outbound_unqueued_events",
                "Events that never came into a target's queue, as it could not be written, ever"
            ),
            outbound_retries: made!(
                Family::default(),
                "outbound_retries",
                "Deliveries to a target that failed and were repeated, since the start"
            ),
            outbound_failing: made!(
                Family::default(),
                "outbound_failing",
                "Whether the last delivery to a target failed: 1 or 0"
            ),
            registry,
        }
    }

    /// Notes how the targets are doing.
    pub(crate) fn outbound(&self, targets: &[OutboundStatus]) {
        for status in targets {
            let target = Target { target: status.name.to_string() };
            let set = |family: &Family<Target, Gauge>, value: u64| {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                family.get_or_create(&target).set(value);
            };
            set(&self.outbound_pending, status.pending);
            set(&self.outbound_bytes, status.bytes);
            set(&self.outbound_sent, status.sent);
            set(&self.outbound_left_out, status.left_out);
            set(&self.outbound_refused, status.refused);
            set(&self.outbound_dropped, status.dropped);
            set(&self.outbound_unqueued, status.unqueued);
            set(&self.outbound_retries, status.retries);
            set(&self.outbound_failing, u64::from(status.error.is_some()));
        }
    }

    /// A bouncer was told what is new.
    pub(crate) fn bouncer_pulled(&self, name: &str, at: Timestamp) {
        let label = Bouncer { bouncer: name.to_owned() };
        self.bouncer_pulled.get_or_create(&label).set(at.as_millis() / 1000);
    }

    /// A bouncer told of its work.
    pub(crate) fn bouncer_usage(&self, name: &str, usage: &BouncerUsage) {
        let label = Bouncer { bouncer: name.to_owned() };
        let count = |family: &Family<Bouncer, Counter>, value: Option<u64>| {
            family.get_or_create(&label).inc_by(value.unwrap_or(0));
        };
        count(&self.bouncer_dropped_packets, usage.dropped_packets);
        count(&self.bouncer_dropped_bytes, usage.dropped_bytes);
        if let Some(active) = usage.active_decisions {
            let active = i64::try_from(active).unwrap_or(i64::MAX);
            self.bouncer_active.get_or_create(&label).set(active);
        }
    }

    /// Counts a query.
    pub(crate) fn queried(&self, took: Duration) {
        self.query_seconds.observe(took.as_secs_f64());
    }

    /// Records that went to quarantine, for whatever reason.
    pub(crate) fn quarantined_total(&self) -> u64 {
        crate::ingest::REASONS
            .iter()
            .filter_map(|reason| self.quarantined.get(&Reason { reason }))
            .map(|counter| counter.get())
            .sum()
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
