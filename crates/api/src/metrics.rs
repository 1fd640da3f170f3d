//! Counters of the API itself, written beside those of the hub.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::compat::hpfeeds;

/// Label of each class of answers, in the order of the counters.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What the API has done since its start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: [AtomicU64; 5],
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
