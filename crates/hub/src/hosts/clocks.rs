//! How far the clocks of agents are off the hub's. Each delivery says what time it
//! is there (`Date`, RFC 9110 section 6.6.1); a clock that is off for more than a
//! minute is an alert, as what such a machine tells lies at the wrong time, or, off
//! by more than a day, is not taken at all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, wire};
use palisade_store::state::HostAlert;

use super::read::SKEW;
use super::{Hosts, MAX_HOSTS};
use crate::auth::Principal;
use crate::error::StateError;
use crate::ingest::Ingest;

/// Off by so much is a warning, an alert, and well again. A delivery says whole
/// seconds, and is on its way for a while.
const WARNING_MILLIS: i64 = 60_000;
const ALERT_MILLIS: i64 = 3_600_000;
const WELL_MILLIS: i64 = 30_000;

type Told = (&'static str, bool);

/// What was heard of a clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    off_millis: i64,
    at: Timestamp,
    /// The level that was told, and whether it was ahead; none: it is well, or nothing
    /// was told yet.
    told: Option<Told>,
}

/// The clocks of all agents.
#[derive(Debug, Default)]
pub(crate) struct Clocks(Mutex<HashMap<SensorId, Clock>>);

impl Clocks {
    /// Starts with what the hub said before its end.
    pub(crate) fn after(alerts: &[HostAlert]) -> Self {
        let said = alerts.iter().filter(|alert| alert.alert == SKEW);
        let known = said.filter_map(|alert| {
            let clock =
                Clock { off_millis: i64::MAX, at: alert.since, told: Some(("known", false)) };
            Some((SensorId::new(&alert.host).ok()?, clock))
        });
        Self(Mutex::new(known.collect()))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SensorId, Clock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what time it is for an agent.
    pub(crate) fn note(&self, sensor: &SensorId, theirs: Timestamp, now: Timestamp) {
        let off_millis = theirs.as_millis().saturating_sub(now.as_millis());
        let mut all = self.all();
        if let Some(known) = all.get_mut(sensor) {
            (known.off_millis, known.at) = (off_millis, now);
        } else if off_millis.saturating_abs() >= WARNING_MILLIS && all.len() < MAX_HOSTS {
            all.insert(sensor.clone(), Clock { off_millis, at: now, told: None });
        }
    }

    /// Forgets a machine.
    pub(crate) fn forget(&self, id: &str) {
        self.all().retain(|sensor, _| sensor.as_str() != id);
    }

    /// What is to be told, and what it changes once it is.
    fn due(&self) -> Vec<(SensorId, Option<Told>, Event)> {
        let all = self.all();
        let heard = all.iter().filter(|(_, clock)| clock.off_millis != i64::MAX);
        let due = heard.filter_map(|(sensor, clock)| {
            let (off, ahead) = (clock.off_millis.saturating_abs(), clock.off_millis > 0);
            let told = match clock.told {
                _ if off >= ALERT_MILLIS => Some(("alert", ahead)),
                _ if off >= WARNING_MILLIS => Some(("warning", ahead)),
                Some(told) if off >= WELL_MILLIS => Some(told),
                _ => None,
            };
            let level = told.map(|(level, _)| level);
            (told != clock.told).then(|| (sensor.clone(), told, tell(sensor, clock, level)))
        });
        due.collect()
    }
}

fn tell(sensor: &SensorId, clock: &Clock, level: Option<&'static str>) -> Event {
    let kind = if level.is_some() { EventKind::HostAlerted } else { EventKind::HostRecovered };
    let parts = [b"clock", kind.as_str().as_bytes(), sensor.as_str().as_bytes()];
    let event = Event::new(EventId::derived(clock.at, &parts), kind, clock.at, sensor.clone())
        .with("rule", SKEW)
        .with("alert", SKEW)
        .with("value", clock.off_millis)
        .with("unit", "ms");
    let Some(level) = level else {
        return event.with("message", "its clock is right again");
    };
    let threshold = if level == "alert" { ALERT_MILLIS } else { WARNING_MILLIS };
    let way = if clock.off_millis > 0 { "ahead of" } else { "behind" };
    let message = format!("its clock is {} {way} the hub's", span(clock.off_millis));
    event.with("level", level).with("threshold", threshold).with("message", message.as_str())
}

/// A time in one unit.
fn span(millis: i64) -> String {
    let secs = millis.unsigned_abs() / 1000;
    match secs {
        0..=119 => format!("{secs} seconds"),
        120..=7_199 => format!("{} minutes", secs / 60),
        7_200..=172_799 => format!("{} hours", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

impl Hosts {
    /// Tells of clocks that are off, and of those that are right again.
    pub(crate) async fn watch_clocks(
        &self,
        ingest: &Ingest,
        now: Timestamp,
    ) -> Result<(), StateError> {
        for (sensor, told, event) in self.clocks.due() {
            let record = wire::encode_event(&event);
            match ingest.restore(&Principal::local(None), &[&record], now).await {
                Ok(_) => {
                    let mut all = self.clocks.all();
                    match (told, all.get_mut(&sensor)) {
                        (Some(_), Some(clock)) => clock.told = told,
                        (None, _) => drop(all.remove(&sensor)),
                        (Some(_), None) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a clock that is off is not told yet");
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn told(clocks: &Clocks) -> Vec<(String, Option<&'static str>)> {
        let due = clocks.due();
        for (sensor, told, _) in &due {
            clocks.all().get_mut(sensor).unwrap().told = *told;
        }
        let said = |told: Option<Told>| told.map(|(level, _)| level);
        due.iter()
            .map(|(_, told, event)| (event.attributes["message"].text(), said(*told)))
            .collect()
    }

    trait Text {
        fn text(&self) -> String;
    }

    impl Text for palisade_event::AttributeValue {
        fn text(&self) -> String {
            match self {
                Self::Text(text) => text.to_lossy().into_owned(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_clock_that_is_off_is_told_once_by_how_much_and_when_it_is_right_again() {
        let (clocks, web) = (Clocks::default(), SensorId::new("web").unwrap());
        let at = |secs: i64| clocks.note(&web, NOW.plus_millis(secs * 1000), NOW);
        at(29);
        assert!(told(&clocks).is_empty());
        at(-90);
        assert_eq!(
            told(&clocks),
            [("its clock is 90 seconds behind the hub's".into(), Some("warning"))]
        );
        at(-40);
        assert!(told(&clocks).is_empty());
        at(3650 * 86_400);
        assert_eq!(
            told(&clocks),
            [("its clock is 3650 days ahead of the hub's".into(), Some("alert"))]
        );
        at(-3650 * 86_400);
        assert_eq!(
            told(&clocks),
            [("its clock is 3650 days behind the hub's".into(), Some("alert"))]
        );
        at(0);
        assert_eq!(told(&clocks), [("its clock is right again".into(), None)]);
        // The ends of what a number holds do no harm.
        clocks.note(&web, Timestamp::from_millis(i64::MIN), NOW);
        assert_eq!(told(&clocks).len(), 1);
    }

    #[test]
    fn what_was_told_before_a_restart_ends_after_it() {
        let (host, detail) = ("web".to_owned(), "{}".to_owned());
        let alert = HostAlert { host, alert: SKEW.into(), since: NOW, detail };
        let clocks = Clocks::after(&[alert]);
        assert!(told(&clocks).is_empty());
        clocks.note(&SensorId::new("web").unwrap(), NOW, NOW);
        assert_eq!(told(&clocks), [("its clock is right again".into(), None)]);
    }
}
