//! The arithmetic of each counting rule, over a few words.
//!
//! Words are zero for a group that was never seen. The first one is the second
//! until which the scenario keeps silent about the group. Windows count whole
//! seconds since 1970, leaky buckets milliseconds.

use super::Hit;
use super::layout::{Slot, SlotRule};

/// What a sighting did to a scenario's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It was counted; [`Slot::level`] says how many there are now.
    Counted,
    /// The alert came less than the blackhole's time ago.
    Silent,
    /// It does not have the value that is told apart.
    Lacks,
    /// An alert, with what made it.
    Alert(u32),
}

/// When a hit counts: milliseconds since 1970, and whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) millis: i64,
    pub(super) secs: u32,
}

impl Slot {
    /// Counts one hit in the words of this scenario.
    pub(super) fn step(&self, words: &mut [u32], hit: &Hit, at: When) -> Change {
        let Some((quiet, state)) = words.split_first_mut() else { return Change::Lacks };
        if *quiet > at.secs {
            return Change::Silent;
        }
        let change = match self.rule {
            SlotRule::Leaky { capacity, leak_millis } => {
                leaky(state, at, hit.repeat, capacity, leak_millis)
            }
            SlotRule::Window { count, within_secs } => {
                window(state, at, hit.repeat, count, within_secs)
            }
            SlotRule::Forever { count } => forever(state, hit.repeat, count),
            SlotRule::Distinct { of, count, within_secs } => match hit.distinct(of) {
                Some(value) => distinct(state, at, value, count, within_secs),
                None => return Change::Lacks,
            },
            SlotRule::Rate { count, within_millis } => {
                rate(state, at.millis, hit.repeat, count, within_millis)
            }
            SlotRule::Trigger => Change::Alert(hit.repeat),
            SlotRule::Sequence { within_secs, .. } => {
                let is = (hit.matched.has(self.scenario), hit.matched.has(self.then));
                sequence(state, at, hit, is, within_secs)
            }
        };
        if let Change::Alert(_) = change {
            state.fill(0);
            if self.quiet_secs > 0 {
                *quiet = at.secs.saturating_add(self.quiet_secs);
            }
        }
        change
    }

    /// How many are counted now, and how many make an alert.
    pub(super) fn level(&self, words: &[u32], at: When) -> (u32, u32) {
        let state = words.get(1..).unwrap_or_default();
        match (self.rule, state) {
            (SlotRule::Leaky { capacity, leak_millis }, [low, high]) => {
                let empty = (u64::from(*high) << 32 | u64::from(*low)).cast_signed();
                let held = empty.saturating_sub(at.millis).max(0);
                (rounded_up(held, leak_millis), capacity.saturating_add(1))
            }
            (SlotRule::Window { count, within_secs }, [_, times @ ..])
            | (SlotRule::Sequence { count, within_secs }, [_, times @ ..]) => {
                (within(times, at.secs, within_secs), count)
            }
            (SlotRule::Forever { count }, [have])
            | (SlotRule::Distinct { count, .. } | SlotRule::Rate { count, .. }, [have, ..]) => {
                (*have, count)
            }
            _ => (0, 1),
        }
    }
}

/// The moment at which the bucket is empty says how full it is.
fn leaky(state: &mut [u32], at: When, times: u32, capacity: u32, leak: i64) -> Change {
    let [low, high] = state else { return Change::Lacks };
    let empty = (u64::from(*high) << 32 | u64::from(*low)).cast_signed();
    let full = leak.saturating_mul(i64::from(capacity));
    let held = empty.saturating_sub(at.millis).clamp(0, full);
    let held = held.saturating_add(leak.saturating_mul(i64::from(times)));
    if held > full {
        return Change::Alert(rounded_up(held, leak).max(capacity.saturating_add(1)));
    }
    let empty = at.millis.saturating_add(held).cast_unsigned();
    (*low, *high) = (empty as u32, (empty >> 32) as u32);
    Change::Counted
}

fn rounded_up(held: i64, leak: i64) -> u32 {
    u32::try_from(held.saturating_add(leak - 1) / leak.max(1)).unwrap_or(u32::MAX)
}

fn forever(state: &mut [u32], times: u32, count: u32) -> Change {
    let [have] = state else { return Change::Lacks };
    *have = have.saturating_add(times);
    if *have >= count { Change::Alert(*have) } else { Change::Counted }
}

/// How many there are, when the first was and when the last, as fail2ban keeps
/// them: what is older than the span is scaled down to the rate so far. A count
/// whose last is as old as the span begins anew.
fn rate(state: &mut [u32], at: i64, times: u32, count: u32, span: i64) -> Change {
    let [have, first_low, first_high, last_low, last_high] = state else { return Change::Lacks };
    let joined = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let (mut first, mut last) = (joined(*first_low, *first_high), joined(*last_low, *last_high));
    if *have == 0 || at.saturating_sub(last) >= span {
        (*have, first, last) = (0, at, at);
    }
    if at > last {
        let begin = at.saturating_sub(span);
        if first < begin {
            let rate = f64::from(*have) / (at.saturating_sub(first)) as f64;
            *have = (rate * span as f64).round_ties_even() as u32;
            first = begin;
        }
        last = at;
    }
    *have = have.saturating_add(times);
    if *have >= count {
        return Change::Alert(*have);
    }
    let halves = |at: i64| (at.cast_unsigned() as u32, (at.cast_unsigned() >> 32) as u32);
    ((*first_low, *first_high), (*last_low, *last_high)) = (halves(first), halves(last));
    Change::Counted
}

/// A ring of the newest times, which never go back; its first word is how many
/// were ever put in.
struct Ring<'a> {
    put: &'a mut u32,
    times: &'a mut [u32],
}

impl<'a> Ring<'a> {
    fn new(state: &'a mut [u32]) -> Option<Self> {
        let (put, times) = state.split_first_mut()?;
        Some(Self { put, times })
    }

    fn push(&mut self, secs: u32) {
        let size = self.times.len() as u32;
        if size == 0 {
            return;
        }
        if let Some(time) = self.times.get_mut((*self.put % size) as usize) {
            // 0 is a place that is not used.
            *time = secs.max(1);
        }
        // Stays in step with the ring at the end of the numbers.
        let next = if *self.put >= u32::MAX - 1 { *self.put % size } else { *self.put };
        *self.put = next + 1;
    }

    /// The time that was put in last.
    fn newest(&self) -> Option<u32> {
        let size = self.times.len() as u32;
        let place = self.put.checked_sub(1)?.checked_rem(size)?;
        self.times.get(place as usize).copied()
    }

    fn clear(&mut self) {
        *self.put = 0;
        self.times.fill(0);
    }

    /// Whether all places are used and the oldest time is not too old.
    fn is_full(&self, at: u32, within: u32) -> bool {
        let size = self.times.len() as u32;
        if size == 0 {
            return true;
        }
        let oldest = self.times.get((*self.put % size) as usize).copied().unwrap_or(0);
        oldest != 0 && at.saturating_sub(oldest) <= within
    }
}

/// How many of some times are not too old.
fn within(times: &[u32], at: u32, within: u32) -> u32 {
    let is_near = |time: &&u32| **time != 0 && at.saturating_sub(**time) <= within;
    times.iter().filter(is_near).count() as u32
}

fn window(state: &mut [u32], at: When, times: u32, count: u32, span: u32) -> Change {
    let Some(mut ring) = Ring::new(state) else { return Change::Lacks };
    if times == 1 {
        if ring.is_full(at.secs, span) {
            return Change::Alert(count);
        }
        ring.push(at.secs);
        return Change::Counted;
    }
    let have = within(ring.times, at.secs, span).saturating_add(times);
    if have >= count {
        return Change::Alert(have);
    }
    for _ in 0..times {
        ring.push(at.secs);
    }
    Change::Counted
}

fn sequence(
    state: &mut [u32],
    at: When,
    hit: &Hit,
    (is_first, is_then): (bool, bool),
    span: u32,
) -> Change {
    let Some(mut ring) = Ring::new(state) else { return Change::Lacks };
    if is_then && ring.is_full(at.secs, span) {
        return Change::Alert(*ring.put);
    }
    if is_first {
        // After a pause longer than the span they are others: what is told is
        // how many there were in a row.
        if ring.newest().is_some_and(|newest| at.secs.saturating_sub(newest) > span) {
            ring.clear();
        }
        let places = ring.times.len() as u32;
        for _ in 0..hit.repeat.min(places) {
            ring.push(at.secs);
        }
        // All places have the same time then.
        *ring.put = ring.put.saturating_add(hit.repeat.saturating_sub(places));
    }
    Change::Counted
}

/// Pairs of a value's hash and when it was seen last; the first word counts
/// them.
fn distinct(state: &mut [u32], at: When, value: u32, count: u32, span: u32) -> Change {
    let Some((used, pairs)) = state.split_first_mut() else { return Change::Lacks };
    let mut kept = 0usize;
    let mut known = false;
    for place in 0..*used as usize {
        let pair = (pairs.get(2 * place).copied(), pairs.get(2 * place + 1).copied());
        let (Some(hash), Some(mut time)) = pair else { break };
        if hash == value {
            known = true;
            time = at.secs;
        }
        if at.secs.saturating_sub(time) > span {
            continue;
        }
        if let Some([to_hash, to_time]) = pairs.get_mut(2 * kept..2 * kept + 2) {
            (*to_hash, *to_time) = (hash, time);
        }
        kept += 1;
    }
    if !known {
        match pairs.get_mut(2 * kept..2 * kept + 2) {
            Some([to_hash, to_time]) => (*to_hash, *to_time) = (value, at.secs),
            _ => return Change::Alert(count),
        }
        kept += 1;
    }
    *used = kept as u32;
    Change::Counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u32) -> When {
        When { millis: i64::from(secs) * 1000, secs }
    }

    #[test]
    fn a_bucket_overflows_with_the_one_that_does_not_fit_and_leaks_in_between() {
        let mut state = [0; 2];
        let mut pour = |secs| leaky(&mut state, at(secs), 1, 2, 10_000);
        assert_eq!(pour(1000), Change::Counted);
        assert_eq!(pour(1000), Change::Counted);
        assert_eq!(pour(1009), Change::Alert(3), "0.9 have leaked");
        let mut state = [0; 2];
        let mut pour = |secs| leaky(&mut state, at(secs), 1, 2, 10_000);
        for secs in (1000..1200).step_by(10) {
            assert_eq!(pour(secs), Change::Counted, "one comes as one leaks");
        }
        assert_eq!(leaky(&mut [0; 2], at(5), 100_000, 2, 10_000), Change::Alert(100_000));
    }

    #[test]
    fn a_rate_is_counted_as_fail2ban_counts() {
        use crate::fail2ban::Failures;

        let mut seed = 7u64;
        let mut random = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % most
        };
        for _ in 0..200 {
            let (count, span) = (1 + random(8) as u32, 60 + random(600) as i64);
            let mut failures = Failures::new(count, span as f64);
            let mut state = [0; 5];
            let mut at = 1_795_000_000i64;
            let mut bans = 0;
            for _ in 0..60 {
                at += random(span as u64 * 2 / u64::from(count) + 5) as i64;
                failures.clean(at as f64);
                let expected = failures.add(&0, at as f64, 1);
                let change = rate(&mut state, at * 1000, 1, count, span * 1000);
                assert_eq!(matches!(change, Change::Alert(_)), expected, "{count} in {span} s");
                if expected {
                    state.fill(0);
                    bans += 1;
                }
            }
            assert!(bans > 0 || count > 3, "{count} in {span} s never bans");
        }
    }

    #[test]
    fn a_window_holds_exactly_the_last_times() {
        let mut state = [0; 3];
        let mut see = |secs| window(&mut state, at(secs), 1, 3, 60);
        assert_eq!(see(100), Change::Counted);
        assert_eq!(see(130), Change::Counted);
        assert_eq!(see(161), Change::Counted, "the first is 61 seconds old");
        assert_eq!(see(190), Change::Alert(3));
        assert_eq!(window(&mut [0; 1], at(5), 1, 1, 60), Change::Alert(1));
        assert_eq!(window(&mut [0; 3], at(5), 7, 3, 60), Change::Alert(7));
    }

    #[test]
    fn a_distinct_count_takes_each_value_once_and_forgets_the_old_ones() {
        let mut state = [0; 5];
        let mut see = |value, secs| distinct(&mut state, at(secs), value, 3, 60);
        assert_eq!(see(7, 100), Change::Counted);
        assert_eq!(see(7, 101), Change::Counted);
        assert_eq!(see(8, 140), Change::Counted);
        assert_eq!(see(9, 170), Change::Counted, "7 was 69 seconds ago");
        assert_eq!(see(10, 180), Change::Alert(3));
    }

    #[test]
    fn a_sequence_says_how_many_there_were_in_a_row() {
        let hit = |repeat| Hit::of_sequence(repeat);
        let mut state = [0; 4];
        let mut see = |repeat, bits, secs| sequence(&mut state, at(secs), &hit(repeat), bits, 60);
        for secs in [100, 101, 102, 200, 220, 240, 260, 280] {
            assert_eq!(see(1, (true, false), secs), Change::Counted);
        }
        assert_eq!(see(1, (false, true), 290), Change::Alert(5), "those before 200 are others");
        let mut state = [0; 4];
        let mut see = |repeat, bits, secs| sequence(&mut state, at(secs), &hit(repeat), bits, 60);
        assert_eq!(see(100, (true, false), 100), Change::Counted);
        assert_eq!(see(1, (true, false), 101), Change::Counted);
        assert_eq!(see(1, (false, true), 102), Change::Alert(101));
        assert_eq!(see(1, (false, true), 170), Change::Counted, "too long ago");
    }

    #[test]
    fn a_ring_survives_more_than_its_counter_holds() {
        let mut words = [u32::MAX - 3, 0, 0];
        let mut ring = Ring::new(&mut words).unwrap();
        for secs in 1..100 {
            ring.push(secs);
        }
        assert!(ring.is_full(99, 1) && !ring.is_full(100, 1));
        let mut newest = [words[1], words[2]];
        newest.sort_unstable();
        assert_eq!(newest, [98, 99]);
    }
}
