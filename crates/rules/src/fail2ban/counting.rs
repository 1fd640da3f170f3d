//! How many failures make a ban, and for how long.
//!
//! fail2ban keeps no list of times. A counter has a first and a last moment;
//! when a failure comes later than `findtime` after the first, the count is
//! scaled down to the rate so far. A port of the same arithmetic, so that the
//! same lines ban at the same failure.

use std::collections::HashMap;
use std::hash::Hash;

use super::expression::{Names, formula};

/// Earlier bans that still count double; more do not change the time.
const MAX_DOUBLINGS: u32 = 20;

/// A counter of one address.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Count {
    first: f64,
    last: f64,
    retries: u32,
}

/// Counters of a jail by whatever identifies who failed.
#[derive(Clone, Debug)]
pub struct Failures<K> {
    max_retry: u32,
    find_secs: f64,
    counts: HashMap<K, Count>,
}

impl<K: Clone + Eq + Hash> Failures<K> {
    /// Bans at the `max_retry`th failure within `find_secs`.
    #[must_use]
    pub fn new(max_retry: u32, find_secs: f64) -> Self {
        Self { max_retry: max_retry.max(1), find_secs, counts: HashMap::new() }
    }

    /// Counts `weight` failures at a moment in seconds; true where they make a
    /// ban, and the counter is then gone.
    pub fn add(&mut self, key: &K, at: f64, weight: u32) -> bool {
        let find = self.find_secs;
        let count = match self.counts.get_mut(key) {
            Some(count) => {
                if at > count.last {
                    if count.first < at - find {
                        let rate = f64::from(count.retries) / (at - count.first);
                        count.retries = (rate * find).round_ties_even() as u32;
                        count.first = at - find;
                    }
                    count.last = at;
                }
                count.retries = count.retries.saturating_add(weight);
                *count
            }
            None => {
                let count = Count { first: at, last: at, retries: weight.max(1) };
                self.counts.insert(key.clone(), count);
                count
            }
        };
        let ban = count.retries >= self.max_retry;
        if ban {
            self.counts.remove(key);
        }
        ban
    }

    /// Forgets counters whose last failure is `find_secs` old. fail2ban does so
    /// at most every five seconds.
    pub fn clean(&mut self, now: f64) {
        let before = now - self.find_secs;
        self.counts.retain(|_, count| count.last > before);
    }

    /// Counters kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// How many failures one failure of an address counts that was banned `bans`
/// times before, with `bantime.increment`.
#[must_use]
pub fn weight_of_known(bans: u32, max_retry: u32) -> u32 {
    if bans == 0 {
        return 1;
    }
    ((1u32 << bans.min(MAX_DOUBLINGS)) / 2 + 1).min(max_retry)
}

/// How long a ban is.
#[derive(Clone, Debug, PartialEq)]
pub struct BanTime {
    /// `bantime` in seconds; negative is for ever.
    pub secs: f64,
    /// `bantime.increment` and what belongs to it.
    pub increment: Option<Increment>,
}

/// How the time grows with earlier bans.
#[derive(Clone, Debug, PartialEq)]
pub struct Increment {
    /// `bantime.factor`.
    pub factor: f64,
    /// `bantime.multipliers`; empty where the formula decides.
    pub multipliers: Vec<f64>,
    /// `bantime.formula`; `None` doubles with each ban.
    pub formula: Option<String>,
    /// `bantime.maxtime` in seconds.
    pub max_secs: Option<f64>,
    /// `bantime.rndtime` in seconds.
    pub random_secs: Option<f64>,
    /// `bantime.overalljails`: whose earlier bans count.
    pub counts: BansOf,
}

/// Whose earlier bans count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BansOf {
    /// Those of the same jail.
    #[default]
    ThisJail,
    /// Those of all jails.
    AllJails,
}

impl BanTime {
    /// Seconds of a ban of an address that was banned `bans` times before;
    /// `None` is for ever. `random` is from 0 to 1.
    #[must_use]
    pub fn of(&self, bans: u32, random: f64) -> Option<f64> {
        if self.secs < 0.0 {
            return None;
        }
        let Some(increment) = self.increment.as_ref().filter(|_| bans > 0) else {
            return Some(self.secs);
        };
        let multiplier = usize::try_from(bans)
            .ok()
            .and_then(|index| increment.multipliers.get(index))
            .or(increment.multipliers.last());
        let names = Names { time: self.secs, count: f64::from(bans), factor: increment.factor };
        let mut secs = match (multiplier, &increment.formula) {
            (Some(multiplier), _) => self.secs * increment.factor * multiplier,
            (None, Some(text)) => formula(text, &names).unwrap_or(self.secs).max(self.secs),
            (None, None) => {
                let doubled = f64::from(bans.min(MAX_DOUBLINGS)).exp2();
                (self.secs * doubled * increment.factor).max(self.secs)
            }
        };
        if let Some(max) = increment.max_secs {
            secs = secs.min(max);
        }
        Some(secs + random.clamp(0.0, 1.0) * increment.random_secs.unwrap_or(0.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_in_time_bans_and_starts_anew() {
        let mut failures = Failures::new(5, 600.0);
        let bans: Vec<bool> = (0..10).map(|n| failures.add(&"a", f64::from(n) * 10.0, 1)).collect();
        assert_eq!(bans, [false, false, false, false, true, false, false, false, false, true]);
        assert!(failures.is_empty());
    }

    #[test]
    fn slow_failures_are_scaled_to_their_rate() {
        let mut failures = Failures::new(5, 600.0);
        // One failure every 200 s: three in 600 s, never five.
        for n in 0..100 {
            assert!(!failures.add(&"a", f64::from(n) * 200.0, 1), "failure {n}");
        }
        // One every 140 s: 4.3 in 600 s, and the rounding bans at the sixth.
        let mut failures = Failures::new(5, 600.0);
        let first = (0..20).find(|n| failures.add(&"b", f64::from(*n) * 140.0, 1));
        assert_eq!(first, Some(4));
    }

    #[test]
    fn failures_out_of_order_count_without_moving_the_time() {
        let mut failures = Failures::new(3, 600.0);
        assert!(!failures.add(&1, 1000.0, 1));
        assert!(!failures.add(&1, 100.0, 1));
        assert!(failures.add(&1, 1001.0, 1));
    }

    #[test]
    fn old_counters_are_forgotten() {
        let mut failures = Failures::new(3, 600.0);
        failures.add(&1, 0.0, 1);
        failures.add(&2, 300.0, 1);
        failures.clean(600.0);
        assert_eq!(failures.len(), 1);
    }

    #[test]
    fn bans_grow_by_doubling_by_multipliers_and_by_formula() {
        let mut time = BanTime { secs: 600.0, increment: None };
        assert_eq!(time.of(5, 0.0), Some(600.0));
        let mut increment = Increment {
            factor: 1.0,
            multipliers: Vec::new(),
            formula: None,
            max_secs: None,
            random_secs: None,
            counts: BansOf::ThisJail,
        };
        let grown = |increment: &Increment, bans, random| {
            BanTime { secs: 600.0, increment: Some(increment.clone()) }.of(bans, random).unwrap()
        };
        assert_eq!(grown(&increment, 0, 0.0), 600.0);
        assert_eq!(grown(&increment, 3, 0.0), 4800.0);
        assert_eq!(grown(&increment, 30, 0.0), 600.0 * 1_048_576.0);
        increment.max_secs = Some(3600.0);
        increment.random_secs = Some(100.0);
        assert_eq!(grown(&increment, 30, 0.5), 3650.0);
        increment.multipliers = vec![1.0, 5.0, 30.0];
        increment.max_secs = None;
        assert_eq!(grown(&increment, 1, 0.0), 3000.0);
        assert_eq!(grown(&increment, 9, 0.0), 18_000.0);
        time.secs = -1.0;
        assert_eq!(time.of(0, 0.0), None);
    }

    #[test]
    fn a_failure_of_a_known_address_counts_more() {
        let weights: Vec<u32> = (0..6).map(|bans| weight_of_known(bans, 5)).collect();
        assert_eq!(weights, [1, 2, 3, 5, 5, 5]);
    }
}
