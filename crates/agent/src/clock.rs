//! Steps of the wall clock: it is set by hand, by NTP after a start without a
//! battery, or by a machine that was moved. What lasts four hours lasts four
//! hours of the clock that nobody sets.

use std::time::{Duration, Instant, SystemTime};

use palisade_event::Timestamp;

/// Less is not a step: clocks are slowed and hurried a little all the time.
const SMALLEST_STEP: Duration = Duration::from_secs(2);

/// Both clocks, at the last look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    wall: Timestamp,
    steady: Instant,
}

impl Clocks {
    pub(crate) fn now() -> Self {
        Self { wall: Timestamp::from(SystemTime::now()), steady: Instant::now() }
    }

    /// By how many milliseconds the wall clock was set since the last look; 0
    /// where it was not.
    pub(crate) fn step(&mut self) -> i64 {
        let (before, now) = (*self, Self::now());
        *self = now;
        now.step_since(before)
    }

    fn step_since(self, before: Self) -> i64 {
        let steady = self.steady.saturating_duration_since(before.steady).as_millis();
        let steady = i64::try_from(steady).unwrap_or(i64::MAX);
        let wall = self.wall.as_millis().saturating_sub(before.wall.as_millis());
        let step = wall.saturating_sub(steady);
        if u128::from(step.unsigned_abs()) < SMALLEST_STEP.as_millis() { 0 } else { step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_goes() {
        let begin = Clocks::now();
        let after = |wall: i64, steady: u64| Clocks {
            wall: begin.wall.plus_millis(wall),
            steady: begin.steady + Duration::from_millis(steady),
        };
        assert_eq!(after(60_000, 60_000).step_since(begin), 0);
        assert_eq!(after(61_500, 60_000).step_since(begin), 0);
        assert_eq!(after(3_660_000, 60_000).step_since(begin), 3_600_000);
        assert_eq!(after(-3_540_000, 60_000).step_since(begin), -3_600_000);
    }
}
