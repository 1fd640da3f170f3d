//! Who delivers events: counted in memory, added to the state database every
//! few seconds and at the end. Hubs that share a database add up.
//!
//! What was counted goes there in numbered batches; one whose answer was lost
//! is sent again and counts once. While the database does not answer, what
//! waits is kept in a file too, so that also a crash costs only the few seconds
//! since the last try, and never an event.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{Sensor, SensorBatch, SensorKind, State, StateError};

use crate::DEMO_SENSOR;
use crate::auth::{Identity, Principal};

/// Sensors that are kept track of; events of further ones are taken all the same.
const MAX_SENSORS: usize = 10_000;
/// Longest version that is kept, in characters.
const MAX_VERSION_CHARS: usize = 64;
/// What other hubs have written is read at most so often.
const READ_EVERY: Duration = Duration::from_secs(2);

/// What is known of every sensor.
#[derive(Debug)]
pub(crate) struct Sensors {
    state: State,
    /// Names this opening of the hub among all that write.
    writer: String,
    /// What waits while the database does not answer.
    file: PathBuf,
    seen: Mutex<Seen>,
    /// Who holds it speaks with the database.
    turn: tokio::sync::Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Seen {
    /// As the database had them last, without what follows.
    known: HashMap<SensorId, Sensor>,
    /// On its way; sent again as it is until there is an answer.
    sending: Option<Arc<SensorBatch>>,
    /// What came since.
    pending: HashMap<SensorId, Sensor>,
}

#[derive(Debug, Default)]
struct Turn {
    /// Of the last batch.
    number: u64,
    /// Whether the file holds what waits.
    saved: bool,
    read_at: Option<Instant>,
}

impl Sensors {
    /// Reads what was known, and adds what an earlier run left in the file.
    pub(crate) async fn open(
        state: &State,
        file: PathBuf,
        now: Timestamp,
    ) -> Result<Self, StateError> {
        for batch in read(&file) {
            state.add_sensors(&batch, now).await?;
        }
        remove(&file);
        let sensors = Self {
            state: state.clone(),
            writer: format!("{:016x}", rand::random::<u64>()),
            file,
            seen: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        };
        sensors.read(&mut *sensors.turn.lock().await).await?;
        Ok(sensors)
    }

    fn seen_now(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
            Identity::Ews { .. } => (SensorKind::Ews, None),
            Identity::Publisher { .. } => (SensorKind::Agent, None),
            _ if sensor.as_str() == DEMO_SENSOR => (SensorKind::Demo, None),
            _ => (SensorKind::Local, None),
        };
        let mut seen = self.seen_now();
        if !seen.known.contains_key(sensor) {
            if seen.known.len() >= MAX_SENSORS {
                tracing::warn!(%sensor, "too many sensors; this one is not listed");
                return;
            }
            let new = Sensor {
                sensor: sensor.clone(),
                kind,
                domain,
                first_seen: now,
                last_seen: now,
                last_address: None,
                key_id: None,
                version: None,
                events_total: 0,
            };
            seen.known.insert(sensor.clone(), new);
        }
        let Some(pending) = seen.pending(sensor) else { return };
        (pending.kind, pending.domain) = (kind, domain);
        pending.last_seen = pending.last_seen.max(now);
        pending.last_address = from.map(|address| address.to_canonical()).or(pending.last_address);
        pending.key_id = key_id.cloned();
    }

    /// So many new events of a sensor were stored.
    pub(crate) fn stored(&self, sensor: &SensorId, events: u64) {
        if let Some(pending) = self.seen_now().pending(sensor) {
            pending.events_total += events;
        }
    }

    /// A sensor's software has this version.
    pub(crate) fn note_version(&self, sensor: &SensorId, version: &str) {
        let version: String =
            version.chars().flat_map(char::escape_default).take(MAX_VERSION_CHARS).collect();
        let mut seen = self.seen_now();
        let known = seen.pending.get(sensor).or_else(|| seen.known.get(sensor));
        let same = known.is_none_or(|known| known.version.as_ref() == Some(&version));
        if !same && let Some(pending) = seen.pending(sensor) {
            pending.version = Some(version);
        }
    }

    /// All of them, by name, also those that other hubs have written.
    pub(crate) async fn list(&self) -> Vec<Sensor> {
        if let Ok(mut turn) = self.turn.try_lock()
            && turn.read_at.is_none_or(|at| at.elapsed() >= READ_EVERY)
            && let Err(error) = self.read(&mut turn).await
        {
            tracing::debug!(%error, "sensors are listed as they were last read");
        }
        let seen = self.seen_now();
        let mut all: HashMap<&SensorId, Sensor> =
            seen.known.iter().map(|(sensor, row)| (sensor, row.clone())).collect();
        let sending = seen.sending.iter().flat_map(|batch| &batch.sensors);
        for new in sending.chain(seen.pending.values()) {
            if let Some(row) = all.get_mut(&new.sensor) {
                merge(row, new);
            }
        }
        let mut all: Vec<Sensor> = all.into_values().collect();
        all.sort_by(|a, b| a.sensor.cmp(&b.sensor));
        all
    }

    async fn read(&self, turn: &mut Turn) -> Result<(), StateError> {
        let rows = self.state.sensors().await?;
        turn.read_at = Some(Instant::now());
        let mut seen = self.seen_now();
        let before = std::mem::take(&mut seen.known);
        seen.known = rows.into_iter().map(|row| (row.sensor.clone(), row)).collect();
        // What was never written yet.
        for (sensor, row) in before {
            seen.known.entry(sensor).or_insert(row);
        }
        Ok(())
    }

    /// Writes down what was seen.
    pub(crate) async fn flush(&self, now: Timestamp) -> Result<(), StateError> {
        let mut turn = self.turn.lock().await;
        // What was on its way goes first, then what came since.
        for _ in 0..2 {
            let Some(batch) = self.next_batch(&mut turn) else { break };
            if let Err(error) = self.state.add_sensors(&batch, now).await {
                self.save(&mut turn).await;
                return Err(error);
            }
            let mut seen = self.seen_now();
            seen.sending = None;
            for sensor in &batch.sensors {
                if let Some(known) = seen.known.get_mut(&sensor.sensor) {
                    merge(known, sensor);
                }
            }
        }
        if std::mem::take(&mut turn.saved) {
            remove(&self.file);
        }
        Ok(())
    }

    fn next_batch(&self, turn: &mut Turn) -> Option<Arc<SensorBatch>> {
        let mut seen = self.seen_now();
        if seen.sending.is_none() && !seen.pending.is_empty() {
            turn.number += 1;
            let sensors = seen.pending.drain().map(|(_, sensor)| sensor).collect();
            let batch = SensorBatch { writer: self.writer.clone(), number: turn.number, sensors };
            seen.sending = Some(Arc::new(batch));
        }
        seen.sending.clone()
    }

    /// Keeps what waits in the file. The batch of what came since may still
    /// grow; should both arrive, the first one counts.
    async fn save(&self, turn: &mut Turn) {
        let batches: Vec<SensorBatch> = {
            let seen = self.seen_now();
            let pending = SensorBatch {
                writer: self.writer.clone(),
                number: turn.number + 1,
                sensors: seen.pending.values().cloned().collect(),
            };
            let sending = seen.sending.as_deref().cloned();
            sending.into_iter().chain((!pending.sensors.is_empty()).then_some(pending)).collect()
        };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || write(&file, &batches)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => turn.saved = true,
            Err(error) => tracing::warn!(%error, "cannot keep the counts of sensors in a file"),
        }
    }
}

impl Seen {
    /// What came since the last batch; counts from zero.
    fn pending(&mut self, sensor: &SensorId) -> Option<&mut Sensor> {
        let known = self.known.get(sensor)?;
        let pending = self.pending.entry(sensor.clone());
        Some(pending.or_insert_with(|| Sensor { events_total: 0, ..known.clone() }))
    }
}

/// The same rule as [`State::add_sensors`] has.
fn merge(known: &mut Sensor, new: &Sensor) {
    let events_total = known.events_total + new.events_total;
    let first_seen = known.first_seen.min(new.first_seen);
    let (later, earlier) =
        if new.last_seen < known.last_seen { (&*known, new) } else { (new, &*known) };
    *known = Sensor {
        last_address: later.last_address.or(earlier.last_address),
        version: later.version.clone().or_else(|| earlier.version.clone()),
        first_seen,
        events_total,
        ..later.clone()
    };
}

/// What waits in the file; a damaged one is put aside.
fn read(file: &Path) -> Vec<SensorBatch> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, file = %file.display(), "cannot read counts of sensors");
            }
            return Vec::new();
        }
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, file = %file.display(), "counts of sensors cannot be read; put aside");
        let _ = std::fs::rename(file, file.with_extension("corrupt"));
        Vec::new()
    })
}

fn write(file: &Path, batches: &[SensorBatch]) -> std::io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    let mut out = std::fs::File::create(&unfinished)?;
    out.write_all(&serde_json::to_vec(batches)?)?;
    out.sync_all()?;
    std::fs::rename(&unfinished, file)
}

fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        // Adding it again changes nothing.
        tracing::warn!(%error, file = %file.display(), "cannot remove a file");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_store::state::StateConfig;

    fn now() -> Timestamp {
        Timestamp::from_millis(5_000)
    }

    async fn sensors(dir: &Path) -> Sensors {
        let state = State::open(&dir.join("state.db"), &StateConfig::default()).await.unwrap();
        Sensors::open(&state, dir.join("sensors.json"), now()).await.unwrap()
    }

    fn see(sensors: &Sensors, events: u64) {
        let web = SensorId::new("web-1").unwrap();
        sensors.seen(&web, Domain::Private, &Principal::local(None), None, now());
        sensors.stored(&web, events);
    }

    async fn total(sensors: &Sensors) -> u64 {
        sensors.list().await[0].events_total
    }

    #[tokio::test]
    async fn two_writers_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (sensors(dir.path()).await, sensors(dir.path()).await);
        for _ in 0..3 {
            see(&one, 2);
            see(&two, 10);
            one.flush(now()).await.unwrap();
            two.flush(now()).await.unwrap();
        }
        assert_eq!(total(&sensors(dir.path()).await).await, 36);
        one.turn.lock().await.read_at = None;
        assert_eq!(total(&one).await, 36);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_kept_over_a_restart_and_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = sensors(dir.path()).await;
        see(&first, 5);
        first.state.close().await;
        assert!(first.flush(now()).await.is_err());
        see(&first, 7);
        assert!(first.flush(now()).await.is_err());
        assert_eq!(total(&first).await, 12);
        let left = std::fs::read(&first.file).unwrap();
        drop(first);
        let second = sensors(dir.path()).await;
        assert_eq!(total(&second).await, 12);
        assert!(!second.file.exists());
        // The answer was lost, or the file could not be removed.
        std::fs::write(&second.file, left).unwrap();
        assert_eq!(total(&sensors(dir.path()).await).await, 12);
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sensors.json"), "{").unwrap();
        assert!(sensors(dir.path()).await.list().await.is_empty());
        assert!(dir.path().join("sensors.corrupt").exists());
    }
}
