//! Quantiles, and the table of what was promised and what is.

use std::time::{Duration, Instant};

use super::questions::Question;
use crate::table::{number, print};

/// Times of one question.
#[derive(Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    /// Runs and takes the time.
    pub(super) fn time(
        &mut self,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        work()?;
        let took = begun.elapsed();
        self.0.push(took);
        Ok(took)
    }

    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that a share of the samples did not exceed (nearest rank).
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Milliseconds with one decimal.
pub(super) fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// The table.
pub(super) struct Rows {
    rows: Vec<Vec<String>>,
    /// Whether figures are held to the aims.
    judges: bool,
}

impl Rows {
    pub(super) fn new(judges: bool) -> Self {
        Self { rows: Vec::new(), judges }
    }

    fn push(&mut self, what: &str, aim: String, found: String, met: Option<bool>) {
        let (aim, met) = if self.judges { (aim, met) } else { (String::new(), None) };
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        eprintln!("{what}: {found} {verdict}");
        self.rows.push(vec![what.to_owned(), aim, found, verdict.to_owned()]);
    }

    /// A figure without an aim.
    pub(super) fn plain(&mut self, what: &str, found: String) {
        self.push(what, String::new(), found, None);
    }

    /// More is better.
    pub(super) fn at_least(&mut self, what: &str, aim: f64, found: f64) {
        self.push(what, format!("≥ {}", number(aim)), number(found), Some(found >= aim));
    }

    /// Less is better.
    pub(super) fn at_most(&mut self, what: &str, unit: &str, aim: f64, found: f64) {
        let found_text = format!("{found:.1} {unit}");
        self.push(what, format!("≤ {aim} {unit}"), found_text, Some(found <= aim));
    }

    /// A question to an idle store: judged by its median unless it is a
    /// dashboard's, which is judged while events arrive.
    pub(super) fn question_idle(&mut self, question: &Question, samples: &Samples, first: &str) {
        let (p50, p99) = (samples.quantile(0.5), samples.quantile(0.99));
        let found = format!("{} / {} ms (first {first})", ms(p50), ms(p99));
        let met = p50.as_secs_f64() * 1e3 <= question.aim_ms;
        let (aim, met) = match question.dashboard {
            true => (String::new(), None),
            false => (format!("≤ {} ms", question.aim_ms), Some(met)),
        };
        self.push(&format!("{}: p50 / p99 idle", question.what), aim, found, met);
    }

    /// The same question while events arrive.
    pub(super) fn question_busy(&mut self, question: &Question, samples: &Samples) {
        let (p50, p99) = (samples.quantile(0.5), samples.quantile(0.99));
        let found = format!("{} / {} ms (of {})", ms(p50), ms(p99), samples.len());
        let judged = if question.dashboard { p99 } else { p50 };
        let met = judged.as_secs_f64() * 1e3 <= question.aim_ms;
        let (aim, met) = match question.dashboard {
            true => (format!("p99 ≤ {} ms", question.aim_ms), Some(met)),
            false => (String::new(), None),
        };
        let what = format!("… {}: p50 / p99 while events arrive", question.what);
        self.push(&what, aim, found, met);
    }

    pub(super) fn print(&self, title: &str) {
        print(title, &["what", "aim", "found", ""], &self.rows);
    }
}
