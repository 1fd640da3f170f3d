//! When: more by day than by night, some days more than others.

use palisade_event::Timestamp;

use super::{mix, unit};

const CELL_MS: i64 = 600_000;
const DAY_MS: i64 = 86_400_000;

/// Maps shares of all events to times.
pub(super) struct Rhythm {
    begin: i64,
    /// Share of the events before the end of each cell of ten minutes.
    shares: Vec<f64>,
}

impl Rhythm {
    pub(super) fn new(seed: u64, end: Timestamp, days: u32) -> Self {
        let cells = i64::from(days.max(1)) * (DAY_MS / CELL_MS);
        let begin = end.as_millis() - cells * CELL_MS;
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (0..cells)
            .map(|cell| {
                let at = begin + cell * CELL_MS;
                let hour = at.rem_euclid(DAY_MS) as f64 / 3_600_000.0;
                let daily = 1.0 + 0.45 * ((hour - 8.0) / 24.0 * std::f64::consts::TAU).sin();
                let day = 0.75 + 0.5 * unit(mix(seed, at.div_euclid(DAY_MS) as u64));
                sum += daily * day;
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self { begin, shares }
    }

    /// The time by which a share of the events has come.
    pub(super) fn at(&self, share: f64) -> i64 {
        let cell = self.shares.partition_point(|end| *end <= share);
        let cell = cell.min(self.shares.len().saturating_sub(1));
        let end = self.shares.get(cell).copied().unwrap_or(1.0);
        let start = cell.checked_sub(1).and_then(|cell| self.shares.get(cell)).copied();
        let start = start.unwrap_or(0.0);
        let within = ((share - start) / (end - start)).clamp(0.0, 1.0);
        self.begin + cell as i64 * CELL_MS + (within * CELL_MS as f64) as i64
    }
}
