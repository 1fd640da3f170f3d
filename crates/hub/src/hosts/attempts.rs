//! SSH logins that were tried, a machine and a day: an attempt is what one process
//! of sshd says of its client. A process that is heard of again after an hour is
//! another one that has its number.
//!
//! Counted from the stored events alone, so each line counts once, however often it
//! was read and delivered. What was read of a day is kept, and only what came since
//! is read again.

use std::collections::{BTreeMap, HashMap};

use palisade_event::{AttributeValue, Event, EventKind, Timestamp};
use palisade_store::Store;
use palisade_store::query::{Field, Filter, Query, TimeRange};
use tokio::sync::Mutex;

use crate::auth::Principal;
use crate::error::QueryError;
use crate::query::Queries;

/// A process that is silent for longer is another one that has its number.
const SAME_MILLIS: i64 = 60 * 60 * 1000;
/// Days whose counts are kept; past it the one unasked for longest goes.
const MAX_DAYS: usize = 64;
/// Most attempts that are kept of one day.
const MAX_ATTEMPTS: usize = 1_000_000;
/// Events of a page, and those that are read for one answer.
const PAGE_EVENTS: usize = 1_000;
const MAX_READ: usize = 1_000_000;
/// How much earlier is looked again: an event is seen a moment after it came.
const MARGIN_MILLIS: i64 = 10 * 60 * 1000;
/// The category of what sshd's log says.
const SSHD: &str = "SSH/login(sshd)";

/// From the first instant of a day until before the next one's.
pub type DayRange = (Timestamp, Timestamp);

/// What was read of days.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<DayRange, Kept>>);

/// What was read of a day.
#[derive(Clone, Default)]
struct Kept {
    counted: Counted,
    /// Everything that the hub took before this was read.
    until: Option<Timestamp>,
    asked: Option<Timestamp>,
}

impl Attempts {
    /// Attempts on a day by sensor, without those that had begun before.
    pub(crate) async fn on(
        &self,
        who: &Principal,
        queries: &Queries,
        day: DayRange,
        now: Timestamp,
    ) -> Result<BTreeMap<String, u64>, QueryError> {
        super::readable(who)?;
        // Held while the store reads: who comes meanwhile wants the same.
        let mut days = self.0.lock().await;
        if days.len() >= MAX_DAYS && !days.contains_key(&day) {
            let oldest = days.iter().min_by_key(|(_, kept)| kept.asked).map(|(day, _)| *day);
            if let Some(oldest) = oldest {
                days.remove(&oldest);
            }
        }
        let mut kept = days.remove(&day).unwrap_or_default();
        let since = kept.until.map(|until| until.plus_millis(-MARGIN_MILLIS));
        let kept = queries
            .run(move |store| {
                read(store, &mut kept.counted, day, since)?;
                Ok(kept)
            })
            .await?;
        let counts = kept.counted.of(day);
        days.insert(day, Kept { until: Some(now), asked: Some(now), ..kept });
        Ok(counts)
    }
}

/// Reads what sshd said on a day and in the hour before, as far as the hub took it
/// after `since`.
fn read(
    store: &Store,
    counted: &mut Counted,
    (from, to): DayRange,
    since: Option<Timestamp>,
) -> Result<(), palisade_store::QueryError> {
    let mut all = vec![Filter::In(Field::Category, vec![SSHD.to_owned()])];
    let since =
        since.map(|since| Filter::Between(Field::ReceivedAt, Some(since.as_millis()), None));
    all.extend(since);
    let range = TimeRange { from: Some(from.plus_millis(-SAME_MILLIS)), to: Some(to) };
    let query = Query { range, filter: Filter::And(all) };
    let (mut at, mut events) = (None, 0);
    loop {
        let page = store.search(&query, PAGE_EVENTS, at)?;
        events += page.events.len();
        page.events.iter().for_each(|event| counted.add(event));
        at = page.next;
        if at.is_none() {
            return Ok(());
        }
        if events >= MAX_READ || counted.attempts >= MAX_ATTEMPTS {
            tracing::warn!(events, "a day has too many SSH logins; not all are counted");
            return Ok(());
        }
    }
}

/// Attempts, each from its first word to its last: by sensor and process, in their
/// order. The same in whatever order events are added, and however often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    by_sensor: HashMap<String, HashMap<i64, Vec<(i64, i64)>>>,
    attempts: usize,
}

impl Counted {
    pub(crate) fn add(&mut self, event: &Event) {
        let Some(AttributeValue::Integer(pid)) = event.attributes.get("pid") else { return };
        if matches!(event.kind, EventKind::ScenarioTriggered | EventKind::DecisionMade) {
            return;
        }
        let at = event.observed_at.as_millis();
        let processes = match self.by_sensor.get_mut(event.sensor.as_str()) {
            Some(processes) => processes,
            None => self.by_sensor.entry(event.sensor.to_string()).or_default(),
        };
        let spans = processes.entry(*pid).or_default();
        let before = spans.len();
        let near = |(first, last): &(i64, i64)| {
            at >= first.saturating_sub(SAME_MILLIS) && at <= last.saturating_add(SAME_MILLIS)
        };
        // What is near on both sides is one.
        let (joined, apart): (Vec<_>, Vec<_>) = spans.drain(..).partition(near);
        let one = joined.into_iter().fold((at, at), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        *spans = apart;
        spans.push(one);
        spans.sort_unstable();
        self.attempts = (self.attempts + spans.len()).saturating_sub(before);
    }

    /// Those that began in a range.
    pub(crate) fn of(&self, (from, to): DayRange) -> BTreeMap<String, u64> {
        let range = from.as_millis()..to.as_millis();
        let count = |processes: &HashMap<i64, Vec<(i64, i64)>>| {
            let spans = processes.values().flatten();
            spans.filter(|(first, _)| range.contains(first)).count() as u64
        };
        let counts = self.by_sensor.iter().map(|(sensor, of)| (sensor.clone(), count(of)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, SensorId};
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;
    const MIDNIGHT: i64 = 20_000 * DAY;

    fn line(sensor: &str, pid: i64, millis: i64) -> Event {
        let at = Timestamp::from_millis(MIDNIGHT + millis);
        let id = EventId::new(at, pid.unsigned_abs().into());
        let sensor = SensorId::new(sensor).unwrap();
        Event::new(id, EventKind::AuthAttempted, at, sensor).with("pid", pid)
    }

    fn counted(events: &[Event]) -> BTreeMap<String, u64> {
        let mut counted = Counted::default();
        events.iter().for_each(|event| counted.add(event));
        counted.of((Timestamp::from_millis(MIDNIGHT), Timestamp::from_millis(MIDNIGHT + DAY)))
    }

    #[test]
    fn a_process_counts_once_and_again_after_more_than_an_hour() {
        let hour = SAME_MILLIS;
        assert_eq!(counted(&[line("a", 7, 0), line("a", 7, hour)])["a"], 1);
        assert_eq!(counted(&[line("a", 7, 0), line("a", 7, hour + 1)])["a"], 2);
        // What came between makes them one, though it comes last.
        let late = [line("a", 7, 0), line("a", 7, 2 * hour), line("a", 7, hour)];
        assert_eq!(counted(&late)["a"], 1);
        assert_eq!(counted(&[line("a", 7, 0), line("b", 7, 0), line("a", 8, 0)])["a"], 2);
    }

    #[test]
    fn an_attempt_belongs_to_the_day_that_it_began_on() {
        assert_eq!(counted(&[line("a", 7, -60_000), line("a", 7, 60_000)]).get("a"), None);
        assert_eq!(counted(&[line("a", 7, DAY - 1), line("a", 7, DAY + 1)])["a"], 1);
    }

    proptest! {
        /// However lines come, late, twice, in any order, they count as if each was
        /// read once in order.
        #[test]
        fn order_and_repetition_change_nothing(
            lines in prop::collection::vec((0..6_i64, 0..DAY / 60_000), 0..60),
            again in prop::collection::vec(0..60_usize, 0..40),
            shuffle in any::<u64>(),
        ) {
            let mut events: Vec<Event> =
                lines.iter().map(|(pid, minute)| line("a", *pid, minute * 60_000)).collect();
            let mut ordered = lines.clone();
            ordered.sort_unstable();
            let new = ordered.iter().enumerate().filter(|(place, (pid, minute))| {
                let before = place.checked_sub(1).and_then(|before| ordered.get(before));
                before.is_none_or(|(other, at)| other != pid || minute - at > 60)
            });
            let expected = new.count() as u64;
            events.extend(again.iter().filter_map(|place| events.get(*place).cloned()).collect::<Vec<_>>());
            let key = |event: &Event| {
                event.id.as_u128().wrapping_mul(u128::from(shuffle) | 1).rotate_left(31)
            };
            events.sort_by_key(key);
            prop_assert_eq!(counted(&events).get("a").copied().unwrap_or(0), expected);
        }
    }
}
