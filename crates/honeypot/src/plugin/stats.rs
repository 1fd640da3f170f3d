//! What a plug-in counts, and what of it is reported.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use palisade_event::Timestamp;

use super::columns::RefusedRow;
use super::fault::Fault;

/// Faults of one plug-in that are told as events in a row; then one in
/// [`FAULT_EVERY`].
const FAULTS_AT_ONCE: u32 = 10;
/// How long it takes until one more may be told.
const FAULT_EVERY: Duration = Duration::from_secs(10);
/// Runs that take too long until the plug-in rests, and the time they count in.
const OVERRUNS: u32 = 10;
const OVERRUNS_WITHIN: Duration = Duration::from_secs(10);
/// How long it rests then.
const REST: Duration = Duration::from_secs(10);
/// How often a script may write into the log.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Counters of one plug-in, of all its threads.
#[derive(Debug, Default)]
pub(crate) struct PluginStats {
    pub(crate) sessions: AtomicU64,
    pub(crate) datagrams: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) faults: AtomicU64,
    refused: Mutex<BTreeMap<RefusedRow, (u64, String)>>,
    last: Mutex<Option<(Timestamp, String)>>,
    told: Mutex<Told>,
    /// Whether it may be resting, which is looked up only then.
    rested: AtomicBool,
    overruns: Mutex<Overruns>,
}

#[derive(Debug, Default)]
struct Overruns {
    since: Option<Instant>,
    count: u32,
    rests_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Told {
    /// Faults that may be told, and since when that is so.
    room: Option<(u32, Instant)>,
    logged: Option<Instant>,
}

/// What was counted at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sessions: u64,
    pub(crate) datagrams: u64,
    pub(crate) rows: u64,
    pub(crate) refused: u64,
    /// Counts by reason, with the last sentence of each.
    pub(crate) refused_by: Vec<(RefusedRow, u64, String)>,
    pub(crate) faults: u64,
    pub(crate) last: Option<(Timestamp, String)>,
}

impl PluginStats {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A row was refused.
    pub(crate) fn refuse(&self, why: RefusedRow, sentence: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = refused.entry(why).or_default();
        *count += 1;
        if last != sentence {
            sentence.clone_into(last);
        }
    }

    /// A script has failed; whether that is told as an event, or counted only.
    pub(crate) fn fault(&self, fault: &Fault, now: Instant) -> bool {
        Self::count(&self.faults);
        let sentence = (Timestamp::from(SystemTime::now()), fault.to_string());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(sentence);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (room, since) = told.room.unwrap_or((FAULTS_AT_ONCE, now));
        let more = now.duration_since(since).as_secs() / FAULT_EVERY.as_secs();
        let more = u32::try_from(more).unwrap_or(FAULTS_AT_ONCE).min(FAULTS_AT_ONCE);
        let since = if more > 0 { now } else { since };
        let room = room.saturating_add(more).min(FAULTS_AT_ONCE);
        told.room = Some((room.saturating_sub(1), since));
        room > 0
    }

    /// A script ran for too long. Where that happens again and again the plug-in
    /// rests, so that others have the thread.
    pub(crate) fn overran(&self, now: Instant) {
        let mut runs = self.overruns.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.since.is_none_or(|since| now.duration_since(since) >= OVERRUNS_WITHIN) {
            (runs.since, runs.count) = (Some(now), 0);
        }
        runs.count += 1;
        if runs.count >= OVERRUNS {
            (runs.since, runs.rests_until) = (None, Some(now + REST));
            self.rested.store(true, Ordering::Release);
        }
    }

    /// Whether it rests.
    pub(crate) fn rests(&self) -> bool {
        if !self.rested.load(Ordering::Acquire) {
            return false;
        }
        let mut runs = self.overruns.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.rests_until.is_some_and(|until| Instant::now() < until) {
            return true;
        }
        runs.rests_until = None;
        self.rested.store(false, Ordering::Release);
        false
    }

    /// Whether a script may write a line into the log now.
    pub(crate) fn may_log(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told.logged.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
        if may {
            told.logged = Some(now);
        }
        may
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Counts {
            sessions: of(&self.sessions),
            datagrams: of(&self.datagrams),
            rows: of(&self.rows),
            refused: refused.values().map(|(count, _)| count).sum(),
            refused_by: refused
                .iter()
                .map(|(why, (count, last))| (*why, *count, last.clone()))
                .collect(),
            faults: of(&self.faults),
            last: self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_faults_is_counted_and_told_in_part() {
        let stats = PluginStats::default();
        let (now, fault) = (Instant::now(), Fault::of("x"));
        let told = (0..1_000).filter(|_| stats.fault(&fault, now)).count();
        assert_eq!(told, FAULTS_AT_ONCE as usize);
        assert!(stats.fault(&fault, now + FAULT_EVERY));
        assert!(!stats.fault(&fault, now + FAULT_EVERY));
        let counts = stats.counts();
        assert_eq!((counts.faults, counts.last.unwrap().1.as_str()), (1_002, "x"));
    }

    #[test]
    fn ten_runs_that_take_too_long_make_it_rest_and_ten_in_a_day_do_not() {
        let (stats, now) = (PluginStats::default(), Instant::now());
        (0..OVERRUNS - 1).for_each(|_| stats.overran(now));
        assert!(!stats.rests());
        stats.overran(now);
        assert!(stats.rests());
        let stats = PluginStats::default();
        (0..OVERRUNS).for_each(|n| stats.overran(now + OVERRUNS_WITHIN * n));
        assert!(!stats.rests());
    }

    #[test]
    fn refused_rows_are_counted_by_reason_with_the_last_sentence() {
        let stats = PluginStats::default();
        stats.refuse(RefusedRow::WrongType, "a");
        stats.refuse(RefusedRow::WrongType, "b");
        stats.refuse(RefusedRow::TooLong, "c");
        let counts = stats.counts();
        assert_eq!(counts.refused, 3);
        let by: Vec<_> =
            counts.refused_by.iter().map(|(why, n, s)| (*why, *n, s.as_str())).collect();
        assert_eq!(by, [(RefusedRow::WrongType, 2, "b"), (RefusedRow::TooLong, 1, "c")]);
    }
}
