//! Is the machine well? Thresholds over samples, with a time that a value must stay
//! beyond them, so that a value that flaps does not flood: `host.alerted`,
//! `host.recovered`. That an agent is silent is seen by its hub.

mod config;
mod watch;

use std::collections::BTreeMap;
use std::time::Instant;

use palisade_event::{AttributeValue, Event, EventKind, Timestamp, Untrusted};

pub use config::{HealthConfig, HealthPreset, Threshold};

use crate::inventory::collector::Teller;
use crate::inventory::sample::Sample;
use watch::{Change, Level, Watch};

/// Most things that are watched: mounts and units are many on some machines.
const MAX_WATCHES: usize = 1_000;

/// A value of a sample, and what it is called.
struct Value<'a> {
    rule: &'static str,
    subject: &'a str,
    value: f64,
    unit: &'static str,
}

/// All that is watched.
#[derive(Debug)]
pub(crate) struct Health {
    config: HealthConfig,
    teller: Teller,
    watches: BTreeMap<(&'static str, String), Watch>,
    begun: Instant,
}

impl Health {
    pub(crate) fn new(config: &HealthConfig, teller: Teller) -> Self {
        Self { config: config.clone(), teller, watches: BTreeMap::new(), begun: Instant::now() }
    }

    /// Looks at a sample. What it does not know changes nothing.
    pub(crate) fn sample(&mut self, sample: &Sample, now: Timestamp) -> Vec<Event> {
        let steady = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.sample_at(sample, steady, now)
    }

    fn sample_at(&mut self, sample: &Sample, steady_ms: u64, now: Timestamp) -> Vec<Event> {
        let share = |part: Option<u64>, whole: Option<u64>| {
            let (part, whole) = (part?, whole.filter(|whole| *whole > 0)?);
            Some((part as f64 * 1000.0 / whole as f64).round() / 10.0)
        };
        let load = sample.load5.zip(sample.cpus).map(|(load, cpus)| load / cpus.max(1) as f64);
        let step = (sample.clock_step_ms != 0).then(|| sample.clock_step_ms.unsigned_abs() as f64);
        let mut values = Vec::new();
        for (rule, value, unit) in [
            ("cpu", sample.cpu_pct, "percent"),
            ("memory", share(sample.mem_used, sample.mem_total), "percent"),
            ("swap", share(sample.swap_used, sample.swap_total), "percent"),
            ("load", load, "per_core"),
            // A clock that was not set is well.
            ("clock", step.or(Some(0.0)), "ms"),
        ] {
            values.extend(value.map(|value| Value { rule, subject: "", value, unit }));
        }
        for disk in &sample.disks {
            let (subject, unit) = (disk.mount.as_str(), "percent");
            values.push(Value { rule: "disk", subject, value: disk.used_pct, unit });
            if let Some(value) = disk.inodes_pct {
                values.push(Value { rule: "inodes", subject, value, unit });
            }
        }
        let mut events: Vec<Event> =
            values.iter().filter_map(|value| self.see(value, steady_ms, now)).collect();
        // A disk that is not mounted any more is not full.
        let gone: Vec<(&'static str, String)> = self
            .watches
            .keys()
            .filter(|(rule, subject)| {
                matches!(*rule, "disk" | "inodes")
                    && !sample.disks.iter().any(|disk| disk.mount == *subject)
            })
            .cloned()
            .collect();
        for key in gone {
            events.extend(self.forget(&key, now));
        }
        events
    }

    /// Looks at the units that have failed.
    pub(crate) fn units(&mut self, failed: &[String], now: Timestamp) -> Vec<Event> {
        if !self.config.units {
            return Vec::new();
        }
        let mut events = Vec::new();
        for unit in failed {
            let value = Value { rule: "units", subject: unit, value: 1.0, unit: "units" };
            events.extend(self.see(&value, 0, now));
        }
        let well: Vec<(&'static str, String)> = self
            .watches
            .keys()
            .filter(|(rule, subject)| *rule == "units" && !failed.contains(subject))
            .cloned()
            .collect();
        for key in well {
            events.extend(self.forget(&key, now));
        }
        events
    }

    fn threshold(&self, rule: &str) -> Option<Threshold> {
        let config = &self.config;
        match rule {
            "cpu" => Some(config.cpu()),
            "memory" => Some(config.memory()),
            "swap" => Some(config.swap()),
            "disk" => Some(config.disk()),
            "inodes" => Some(config.inodes()),
            "load" => Some(config.load()),
            "clock" => Some(config.clock()),
            // One failed unit is one too many.
            "units" => {
                Some(Threshold { warning: None, alert: Some(1.0), hold_secs: 0, margin: 0.5 })
            }
            _ => None,
        }
    }

    fn see(&mut self, seen: &Value<'_>, steady_ms: u64, now: Timestamp) -> Option<Event> {
        let threshold = self.threshold(seen.rule)?;
        let key = (seen.rule, seen.subject.to_owned());
        if !self.watches.contains_key(&key) {
            if !threshold.is_over(seen.value) || self.watches.len() >= MAX_WATCHES {
                return None;
            }
            self.watches.insert(key.clone(), Watch::default());
        }
        let watch = self.watches.get_mut(&key)?;
        let change = watch.see(&threshold, seen.value, steady_ms, now);
        let event = change.map(|change| self.tell(seen, &threshold, change, now));
        if self.watches.get(&key).is_some_and(Watch::is_idle) {
            self.watches.remove(&key);
        }
        event
    }

    /// What was watched is there no more: if it was in trouble, that is over.
    fn forget(&mut self, key: &(&'static str, String), now: Timestamp) -> Option<Event> {
        let watch = self.watches.remove(key)?;
        let change = watch.end()?;
        let threshold = self.threshold(key.0)?;
        let seen = Value { rule: key.0, subject: &key.1, value: 0.0, unit: "units" };
        Some(self.tell(&seen, &threshold, change, now))
    }

    fn tell(
        &self,
        seen: &Value<'_>,
        threshold: &Threshold,
        change: Change,
        now: Timestamp,
    ) -> Event {
        let (kind, level) = match change.level {
            Some(level) => (EventKind::HostAlerted, level),
            None => (EventKind::HostRecovered, change.worst),
        };
        let bound = match level {
            Level::Alert => threshold.alert.or(threshold.warning),
            Level::Warning => threshold.warning.or(threshold.alert),
        };
        let mut event = self
            .teller
            .event(kind, now)
            .with("rule", seen.rule)
            .with("level", level.as_str())
            .with("value", AttributeValue::Real(seen.value))
            .with("unit", seen.unit)
            .with("message", Untrusted::from(message(seen, kind)))
            .with("since", change.since.as_millis())
            .with("alert", change.alert.as_str());
        if let Some(bound) = bound {
            event = event.with("threshold", AttributeValue::Real(bound));
        }
        if !seen.subject.is_empty() {
            event = event.with("subject", Untrusted::from(seen.subject));
        }
        event
    }
}

/// What happened, in a sentence.
fn message(seen: &Value<'_>, kind: EventKind) -> String {
    let well = kind == EventKind::HostRecovered;
    let Value { rule, subject, value, .. } = seen;
    match (*rule, well) {
        ("cpu", _) => format!("the processors are busy to {value} %"),
        ("memory", _) => format!("memory is used to {value} %"),
        ("swap", _) => format!("swap is used to {value} %"),
        ("disk", _) => format!("{subject} is full to {value} %"),
        ("inodes", _) => format!("{subject} has {value} % of its files"),
        ("load", _) => format!("{value:.2} processes a processor run or wait"),
        ("clock", true) => "the clock goes as it should".to_owned(),
        ("clock", false) => format!("the clock was set by {:.0} s", value / 1000.0),
        ("units", true) => format!("{subject} is well again"),
        ("units", false) => format!("{subject} has failed"),
        _ => format!("{rule} is {value}"),
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::SensorId;

    use super::*;
    use crate::inventory::sample::DiskUse;

    fn health(preset: HealthPreset) -> Health {
        let teller = Teller { sensor: SensorId::new("web-1").unwrap(), host: None };
        Health::new(&HealthConfig { preset, ..HealthConfig::default() }, teller)
    }

    fn busy(cpu: f64) -> Sample {
        Sample { cpu_pct: Some(cpu), ..Sample::default() }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn kinds(events: &[Event]) -> Vec<EventKind> {
        events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn a_value_must_stay_over_its_threshold_and_well_below_it() {
        let mut health = health(HealthPreset::Glimpse);
        let mut at = |seconds: u64, cpu: f64| health.sample_at(&busy(cpu), seconds * 1000, NOW);
        assert!(at(0, 45.0).is_empty());
        assert!(at(15, 30.0).is_empty(), "a peak is no alert");
        assert!(at(30, 41.0).is_empty());
        let alerted = at(90, 50.0);
        assert_eq!(kinds(&alerted), [EventKind::HostAlerted]);
        alerted[0].validate().unwrap();
        assert_eq!(alerted[0].attributes["level"], AttributeValue::from("warning"));
        assert_eq!(alerted[0].attributes["threshold"], AttributeValue::Real(40.0));
        assert!(at(105, 39.0).is_empty(), "just below is not well yet");
        assert!(at(120, 20.0).is_empty());
        let well = at(180, 20.0);
        assert_eq!(kinds(&well), [EventKind::HostRecovered]);
        assert_eq!(well[0].attributes["alert"], alerted[0].attributes["alert"]);
        assert!(at(400, 20.0).is_empty());
    }

    #[test]
    fn glimpses_thresholds_of_memory_are_two_levels_of_one_alert() {
        let mut health = health(HealthPreset::Glimpse);
        let mut at = |seconds: u64, used: u64| {
            let sample = Sample { mem_total: Some(100), mem_used: Some(used), ..Sample::default() };
            health.sample_at(&sample, seconds * 1000, NOW)
        };
        at(0, 60);
        let warning = at(60, 60);
        assert_eq!(warning[0].attributes["level"], AttributeValue::from("warning"));
        at(75, 90);
        let alert = at(135, 90);
        assert_eq!(alert[0].attributes["level"], AttributeValue::from("alert"));
        assert_eq!(alert[0].attributes["alert"], warning[0].attributes["alert"]);
        assert!(at(150, 90).is_empty());
    }

    #[test]
    fn a_full_disk_that_is_taken_away_is_full_no_more() {
        let mut health = health(HealthPreset::Standard);
        let disk = |used_pct| DiskUse {
            mount: "/data".into(),
            used_pct,
            inodes_pct: None,
            total: 1,
            used: 1,
            free: 0,
            inodes_total: 0,
            inodes_used: 0,
        };
        let mut at = |seconds: u64, disks: Vec<DiskUse>| {
            health.sample_at(&Sample { disks, ..Sample::default() }, seconds * 1000, NOW)
        };
        at(0, vec![disk(99.0)]);
        let alerted = at(600, vec![disk(99.0)]);
        assert_eq!(alerted[0].attributes["subject"], AttributeValue::from("/data"));
        assert_eq!(kinds(&at(615, Vec::new())), [EventKind::HostRecovered]);
    }

    #[test]
    fn failed_units_alert_at_once_and_once() {
        let mut health = health(HealthPreset::Standard);
        let failed = vec!["nginx.service".to_owned()];
        assert_eq!(kinds(&health.units(&failed, NOW)), [EventKind::HostAlerted]);
        assert!(health.units(&failed, NOW).is_empty());
        assert_eq!(kinds(&health.units(&[], NOW)), [EventKind::HostRecovered]);
    }

    #[test]
    fn a_clock_that_is_set_by_years_alerts_at_once_and_is_well_when_it_stays() {
        let mut health = health(HealthPreset::Standard);
        let set = Sample { clock_step_ms: i64::MIN, ..Sample::default() };
        let alerted = health.sample_at(&set, 0, NOW);
        assert_eq!(kinds(&alerted), [EventKind::HostAlerted]);
        alerted[0].validate().unwrap();
        assert_eq!(
            kinds(&health.sample_at(&Sample::default(), 15_000, NOW)),
            [EventKind::HostRecovered]
        );
    }
}
