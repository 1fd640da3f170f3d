//! Who delivers events: kept in memory, written to the state database every
//! few seconds and at the end. What a crash costs is a few seconds of
//! `last_seen` and `events_total`, never an event.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{Sensor, SensorKind, State, StateError};

use crate::DEMO_SENSOR;
use crate::auth::{Identity, Principal};

/// Sensors that are kept track of; events of further ones are taken all the same.
const MAX_SENSORS: usize = 10_000;
/// Longest version that is kept, in characters.
const MAX_VERSION_CHARS: usize = 64;

/// What is known of every sensor.
#[derive(Debug)]
pub(crate) struct Sensors {
    state: State,
    known: Mutex<HashMap<SensorId, Known>>,
}

#[derive(Debug)]
struct Known {
    sensor: Sensor,
    changed: bool,
}

impl Sensors {
    /// Reads what was known.
    pub(crate) async fn open(state: &State) -> Result<Self, StateError> {
        let known = state
            .sensors()
            .await?
            .into_iter()
            .map(|sensor| (sensor.sensor.clone(), Known { sensor, changed: false }))
            .collect();
        Ok(Self { state: state.clone(), known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SensorId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sensor delivered something.
    pub(crate) fn seen(
        &self,
        sensor: &SensorId,
        domain: Domain,
        who: &Principal,
        from: Option<IpAddr>,
        now: Timestamp,
    ) {
        let (kind, key_id) = match who.identity() {
            Identity::Key { id, .. } => (SensorKind::Agent, Some(id)),
            _ if sensor.as_str() == DEMO_SENSOR => (SensorKind::Demo, None),
            _ => (SensorKind::Local, None),
        };
        let mut all = self.known();
        let full = all.len() >= MAX_SENSORS;
        let known = match all.entry(sensor.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => {
                tracing::warn!(%sensor, "too many sensors; this one is not listed");
                return;
            }
            Entry::Vacant(entry) => entry.insert(Known {
                sensor: Sensor {
                    sensor: sensor.clone(),
                    kind,
                    domain,
                    first_seen: now,
                    last_seen: now,
                    last_address: None,
                    key_id: None,
                    version: None,
                    events_total: 0,
                },
                changed: true,
            }),
        };
        known.changed = true;
        let sensor = &mut known.sensor;
        (sensor.kind, sensor.domain) = (kind, domain);
        sensor.last_seen = sensor.last_seen.max(now);
        sensor.last_address = from.map(|address| address.to_canonical()).or(sensor.last_address);
        sensor.key_id = key_id.cloned();
    }

    /// So many new events of a sensor were stored.
    pub(crate) fn stored(&self, sensor: &SensorId, events: u64) {
        if let Some(known) = self.known().get_mut(sensor) {
            known.sensor.events_total += events;
            known.changed = true;
        }
    }

    /// A sensor's software has this version.
    pub(crate) fn note_version(&self, sensor: &SensorId, version: &str) {
        let version: String =
            version.chars().flat_map(char::escape_default).take(MAX_VERSION_CHARS).collect();
        if let Some(known) = self.known().get_mut(sensor)
            && known.sensor.version.as_ref() != Some(&version)
        {
            known.sensor.version = Some(version);
            known.changed = true;
        }
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<Sensor> {
        let mut all: Vec<_> = self.known().values().map(|known| known.sensor.clone()).collect();
        all.sort_by(|a, b| a.sensor.cmp(&b.sensor));
        all
    }

    /// Writes down what changed.
    pub(crate) async fn flush(&self) -> Result<(), StateError> {
        let changed: Vec<Sensor> = self
            .known()
            .values_mut()
            .filter_map(|known| std::mem::take(&mut known.changed).then(|| known.sensor.clone()))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let written = self.state.put_sensors(&changed).await;
        if written.is_err() {
            let mut all = self.known();
            for sensor in &changed {
                if let Some(known) = all.get_mut(&sensor.sensor) {
                    known.changed = true;
                }
            }
        }
        written
    }
}
