//! Counters of the API itself, written beside those of the hub.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use palisade_event::wire::Receipt;

use crate::compat::ews::answer::Answer;

use crate::compat::hpfeeds;

/// Label of each class of answers, in the order of the counters.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What EWS messages are answered.
const EWS_ANSWERS: [&str; 5] = ["ok", "malformed", "forbidden", "too_large", "busy"];
/// What became of alerts in them.
const EWS_ALERTS: [&str; 3] = ["accepted", "duplicate", "quarantined"];

/// What the API has done since its start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: [AtomicU64; 5],
    /// EWS messages by answer, in the order of [`EWS_ANSWERS`].
    ews: [AtomicU64; 5],
    /// Alerts in EWS messages: new, there before, refused.
    ews_alerts: [AtomicU64; 3],
    /// Live streams that are open.
    pub(crate) streams: AtomicU64,
    /// Connections that have ended.
    pub(crate) connections: AtomicU64,
    /// Connections that ended for a limit, a deadline or malformed bytes.
    pub(crate) connections_broken: AtomicU64,
    /// What hpfeeds has done.
    pub(crate) hpfeeds: hpfeeds::Metrics,
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.answers.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the answer to an EWS message.
    pub(crate) fn ews_answered(&self, answer: &Answer) {
        let place = match answer {
            Answer::Taken => 0,
            Answer::Default(_) | Answer::NotPost => 1,
            Answer::Forbidden => 2,
            Answer::TooLarge(_) => 3,
            Answer::Busy(_) | Answer::TooSlow => 4,
        };
        if let Some(counter) = self.ews.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the alerts of an EWS message.
    pub(crate) fn ews_alerts(&self, receipt: &Receipt) {
        let [accepted, duplicate, quarantined] = &self.ews_alerts;
        accepted.fetch_add(receipt.accepted.into(), Ordering::Relaxed);
        duplicate.fetch_add(receipt.duplicate.into(), Ordering::Relaxed);
        quarantined.fetch_add(receipt.quarantined.len() as u64, Ordering::Relaxed);
    }

    /// Adds the counters, and the families in `beside`, to a text in the
    /// OpenMetrics format, which ends with a line of its own.
    pub(crate) fn append_to(&self, mut text: String, beside: &str) -> String {
        let end = "# EOF\n";
        let length = text.strip_suffix(end).map_or(text.len(), str::len);
        text.truncate(length);
        text.push_str(beside);
        text.push_str("# HELP palisade_http_answers Answers by class of status.\n");
        text.push_str("# TYPE palisade_http_answers counter\n");
        for (class, counter) in CLASSES.iter().zip(&self.answers) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(text, "palisade_http_answers_total{{class=\"{class}\"}} {count}");
        }
        text.push_str("# HELP palisade_ews_messages EWS messages by what they were answered.\n");
        text.push_str("# TYPE palisade_ews_messages counter\n");
        for (answer, counter) in EWS_ANSWERS.iter().zip(&self.ews) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(text, "palisade_ews_messages_total{{answer=\"{answer}\"}} {count}");
        }
        text.push_str(
            "# HELP palisade_ews_alerts Alerts in EWS messages by what became of them.\n",
        );
        text.push_str("# TYPE palisade_ews_alerts counter\n");
        for (fate, counter) in EWS_ALERTS.iter().zip(&self.ews_alerts) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(text, "palisade_ews_alerts_total{{fate=\"{fate}\"}} {count}");
        }
        let mut family = |name: &str, kind: &str, suffix: &str, help: &str, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{suffix} {value}\n"
            );
        };
        family(
            "palisade_http_connections",
            "counter",
            "_total",
            "Connections that have ended.",
            &self.connections,
        );
        family(
            "palisade_http_connections_broken",
            "counter",
            "_total",
            "Connections that ended for a limit, a deadline or malformed bytes.",
            &self.connections_broken,
        );
        family("palisade_http_streams", "gauge", "", "Live streams that are open.", &self.streams);
        self.hpfeeds.write(&mut text);
        text.push_str(end);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_come_before_the_end_of_the_text() {
        let metrics = Metrics::default();
        metrics.answered(StatusCode::NOT_FOUND);
        let text = metrics.append_to("# TYPE a gauge\na 1\n# EOF\n".into(), "b 2\n");
        assert!(text.starts_with("# TYPE a gauge\na 1\nb 2\n# HELP palisade_http_answers"));
        assert!(text.contains("palisade_http_answers_total{class=\"4xx\"} 1\n"));
        assert!(text.contains("palisade_http_streams 0\n"));
        assert!(text.ends_with("palisade_hpfeeds_reconnects_total 0\n# EOF\n"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
