//! The counters of agent and honeypots as Prometheus metrics, beside those of
//! the hub.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_agent::Metrics;
use palisade_honeypot::{Refusal, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::zone::parent::ZoneCounters;

/// Reads the counters each time it is asked.
#[derive(Debug)]
struct Figures {
    agent: Arc<Metrics>,
    honeypot: Arc<Stats>,
    zone: Arc<ZoneCounters>,
}

/// Writes the metric families of agent and honeypots.
pub(crate) fn text(
    agent: Arc<Metrics>,
    honeypot: Arc<Stats>,
    zone: Arc<ZoneCounters>,
) -> impl Fn() -> String {
    let mut registry = Registry::with_prefix("palisade");
    registry.register_collector(Box::new(Figures { agent, honeypot, zone }));
    move || {
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = encode_registry(&mut text, &registry);
        text
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (agent, honeypot) = (&self.agent, &self.honeypot);
        let zone = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = [
            ("agent_lines", "Lines read from all log sources", agent.lines.get()),
            (
                "agent_lines_irrelevant",
                "Lines that were understood and say nothing new",
                agent.lines_irrelevant.get(),
            ),
            ("agent_lines_unparsed", "Lines that no parser understood", agent.lines_unparsed.get()),
            (
                "agent_lines_truncated",
                "Lines that were too long and cut",
                agent.lines_truncated.get(),
            ),
            (
                "agent_syslog_dropped",
                "Messages of syslog that the kernel dropped",
                agent.syslog_dropped.get(),
            ),
            (
                "agent_syslog_refused",
                "Senders of syslog that were turned away",
                agent.syslog_refused.get(),
            ),
            (
                "agent_syslog_incomplete",
                "Messages of syslog cut off by the end of their connection",
                agent.syslog_incomplete.get(),
            ),
            ("agent_events", "Events put into the agent's spool", agent.events.get()),
            (
                "agent_events_unspoolable",
                "Events that the spool can never take; see the log",
                agent.events_unspoolable.get(),
            ),
            (
                "agent_spool_retries",
                "Appends that failed and were repeated",
                agent.spool_retries.get(),
            ),
            (
                "agent_spool_dropped",
                "Records dropped at the spool's bound",
                agent.spool_dropped.get(),
            ),
            ("agent_forwarded", "Records that the hub has confirmed", agent.forwarded.get()),
            (
                "agent_send_retries",
                "Deliveries that failed and were repeated",
                agent.send_retries.get(),
            ),
            ("agent_alerts", "Alerts of scenarios", agent.alerts.get()),
            ("agent_decisions", "Decisions that were made", agent.decisions.get()),
            (
                "agent_decisions_spared",
                "Alerts about somebody whom the allowlist spares",
                agent.decisions_spared.get(),
            ),
            (
                "agent_decisions_withheld",
                "Alerts that led to nothing because the allowlist was not complete",
                agent.decisions_withheld.get(),
            ),
            (
                "agent_detect_evicted",
                "Sources no longer tracked because there were too many",
                agent.detect_evicted.get(),
            ),
            (
                "agent_detect_reset",
                "Sources counted anew because a clock was set back",
                agent.detect_reset.get(),
            ),
            (
                "agent_enforce_changes",
                "Changes that were ordered of the firewall",
                agent.enforce_changes.get(),
            ),
            (
                "agent_enforce_failures",
                "Orders and looks at the firewall that failed and were repeated",
                agent.enforce_failures.get(),
            ),
            (
                "agent_enforce_mended",
                "Bans and rules that were gone from the firewall and were made again",
                agent.enforce_mended.get(),
            ),
            (
                "agent_orders_dropped",
                "Bans that were not held because there were too many",
                agent.orders_dropped.get(),
            ),
            (
                "agent_orders_refused",
                "Orders of the hub about somebody who is spared, or too wide a network",
                agent.orders_refused.get(),
            ),
            ("agent_dead_letters", "Records the hub refused, set aside", agent.dead_letters.get()),
            ("honeypot_connections", "Connections that became a session", honeypot.accepted.get()),
            ("honeypot_events", "Events of honeypot sessions", honeypot.events.get()),
            ("honeypot_events_lost", "Events with nobody to take them", honeypot.events_lost.get()),
            ("honeypot_accept_errors", "Failed calls of accept", honeypot.accept_errors.get()),
            ("honeypot_datagrams", "Datagrams that came", honeypot.datagrams.get()),
            (
                "honeypot_datagrams_unrecorded",
                "Datagrams beyond the budgets",
                honeypot.datagrams_unrecorded.get(),
            ),
            (
                "honeypot_packets_captured",
                "Captured packets that were looked at",
                honeypot.packets_captured.get(),
            ),
            (
                "honeypot_packets_dropped",
                "Packets that the kernel dropped before they could be looked at",
                honeypot.packets_dropped.get(),
            ),
            ("honeypot_scans", "Scans that were told", honeypot.scans.get()),
            (
                "honeypot_scan_sources_evicted",
                "Sources forgotten for want of room before it was known whether they scan",
                honeypot.scan_sources_evicted.get(),
            ),
            ("honeypot_panics", "Services that panicked; each is a defect", honeypot.panics.get()),
            (
                "honeypot_process_failures",
                "Ends of the honeypots' process by itself; it was started again",
                zone(&self.zone.failures),
            ),
            (
                "honeypot_fetcher_failures",
                "Ends of the fetcher by itself; it was started again",
                zone(&self.zone.fetcher_failures),
            ),
            (
                "honeypot_events_refused",
                "Events of the honeypots' process that were not for it to tell",
                zone(&self.zone.events_refused),
            ),
            ("honeypot_sessions_aborted", "Sessions cut off at the end", honeypot.aborted.get()),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let gauges = [
            ("agent_enforce_held", "Bans in force", agent.enforce_held.get()),
            (
                "agent_enforce_dropped_packets",
                "Packets dropped by the bans in force",
                agent.enforce_dropped_packets.get(),
            ),
            ("agent_spool_pending", "Records the hub has not confirmed", agent.spool_pending.get()),
            ("agent_detect_tracked", "Sources that scenarios track", agent.detect_tracked.get()),
            ("agent_detect_bytes", "Bytes of their counters", agent.detect_bytes.get()),
            ("agent_spool_bytes", "Bytes of the agent's spool", agent.spool_bytes.get()),
            (
                "agent_sources_failing",
                "Log sources that cannot be read",
                agent.sources_failing.get(),
            ),
            ("honeypot_sessions_open", "Honeypot sessions open now", honeypot.open.get()),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let kind = ConstCounter::new(0u64).metric_type();
        let help = "Connections turned away, by reason";
        let mut refused = encoder.encode_descriptor("honeypot_refused", help, None, kind)?;
        for reason in Refusal::ALL {
            let metric = ConstCounter::new(honeypot.refused(reason));
            metric.encode(refused.encode_family(&[("reason", reason.as_str())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_written_once() {
        let text = text(Arc::default(), Arc::default(), Arc::default())();
        for line in [
            "palisade_agent_lines_total 0",
            "palisade_agent_spool_pending 0",
            "palisade_honeypot_refused_total{reason=\"per-address\"} 0",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }
}
