//! Sensors: who delivered events, when, and how many.

use std::net::IpAddr;

use palisade_event::{Domain, SensorId, Timestamp};
use serde::{Deserialize, Serialize};

use super::sql::{Purpose, Row, Value, sql, sql_rows};
use super::{State, StateError, parsed, parsed_domain};

/// Sensors of one statement.
const ROWS: usize = 100;

/// How a sensor's events come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SensorKind {
    /// From another process, with a key.
    Agent,
    /// From the hub's own process.
    Local,
    /// From an EWS user.
    Ews,
    /// From the hub's own process, made up for a demonstration.
    Demo,
}

super::names!(SensorKind, "sensor kind", "agent, local, ews or demo",
    Agent "agent", Local "local", Ews "ews", Demo "demo");

/// What is known of a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// Its name.
    pub sensor: SensorId,
    /// How its events come in.
    pub kind: SensorKind,
    /// Domain of its last events.
    pub domain: Domain,
    /// When it first delivered.
    pub first_seen: Timestamp,
    /// When it last delivered.
    pub last_seen: Timestamp,
    /// Where from.
    pub last_address: Option<IpAddr>,
    /// The key it used last.
    pub key_id: Option<String>,
    /// Version of its software.
    pub version: Option<String>,
    /// Events that it ever delivered.
    pub events_total: u64,
}

/// What one writer has seen of sensors since its batch before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorBatch {
    /// Names the writer among all that write into this state.
    pub writer: String,
    /// Counts the writer's batches up.
    pub number: u64,
    /// Each sensor once; `events_total` is what came since the batch before.
    pub sensors: Vec<Sensor>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was added.
    Now,
    /// It, or a later one of its writer, was there.
    Before,
}

impl State {
    /// Sensors by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn sensors(&self) -> Result<Vec<Sensor>, StateError> {
        sql("SELECT * FROM sensor ORDER BY sensor")
            .rows(&self.db)
            .await?
            .iter()
            .map(sensor)
            .collect()
    }

    /// Adds what a writer has seen of sensors, in one transaction: counts add
    /// up, the latest sighting says the rest. A batch that is there already
    /// (sent again, because its answer was lost) changes nothing.
    ///
    /// # Errors
    /// [`StateError`]: send the same batch again.
    pub async fn add_sensors(
        &self,
        batch: &SensorBatch,
        now: Timestamp,
    ) -> Result<Added, StateError> {
        let mut transaction = self.db.begin(Purpose::Write).await?;
        let is_new = sql("INSERT INTO sensor_batch (writer, number, at) VALUES ($1, $2, $3)
             ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at
             WHERE sensor_batch.number < excluded.number")
        .bind(&batch.writer)
        .bind(i64::try_from(batch.number).unwrap_or(i64::MAX))
        .bind(now.as_millis())
        .execute(&mut transaction)
        .await?;
        if is_new == 0 {
            return Ok(Added::Before);
        }
        // In one order, so that two hubs never wait for each other's rows.
        let mut sensors: Vec<&Sensor> = batch.sensors.iter().collect();
        sensors.sort_by(|a, b| a.sensor.cmp(&b.sensor));
        for sensors in sensors.chunks(ROWS) {
            sql_rows(
                "INSERT INTO sensor (sensor, kind, domain, first_seen, last_seen, last_address,
                                     key_id, version, events_total) VALUES",
                sensors.iter().copied().map(values).collect(),
                "ON CONFLICT (sensor) DO UPDATE SET
                 kind = CASE WHEN excluded.last_seen < sensor.last_seen
                        THEN sensor.kind ELSE excluded.kind END,
                 domain = CASE WHEN excluded.last_seen < sensor.last_seen
                          THEN sensor.domain ELSE excluded.domain END,
                 key_id = CASE WHEN excluded.last_seen < sensor.last_seen
                          THEN sensor.key_id ELSE excluded.key_id END,
                 last_address = CASE WHEN excluded.last_seen < sensor.last_seen
                                THEN COALESCE(sensor.last_address, excluded.last_address)
                                ELSE COALESCE(excluded.last_address, sensor.last_address) END,
                 version = CASE WHEN excluded.last_seen < sensor.last_seen
                           THEN COALESCE(sensor.version, excluded.version)
                           ELSE COALESCE(excluded.version, sensor.version) END,
                 first_seen = CASE WHEN excluded.first_seen < sensor.first_seen
                              THEN excluded.first_seen ELSE sensor.first_seen END,
                 last_seen = CASE WHEN excluded.last_seen < sensor.last_seen
                             THEN sensor.last_seen ELSE excluded.last_seen END,
                 events_total = sensor.events_total + excluded.events_total",
            )
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(Added::Now)
    }

    /// Forgets writers whose last batch came before `since`. Returns how many.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn forget_writers(&self, since: Timestamp) -> Result<u64, StateError> {
        sql("DELETE FROM sensor_batch WHERE at < $1")
            .bind(since.as_millis())
            .execute(&self.db)
            .await
    }
}

fn values(sensor: &Sensor) -> Vec<Value<'_>> {
    vec![
        sensor.sensor.as_str().into(),
        sensor.kind.as_str().into(),
        sensor.domain.as_str().into(),
        sensor.first_seen.as_millis().into(),
        sensor.last_seen.as_millis().into(),
        sensor.last_address.map(|address| address.to_string()).into(),
        (&sensor.key_id).into(),
        (&sensor.version).into(),
        i64::try_from(sensor.events_total).unwrap_or(i64::MAX).into(),
    ]
}

fn sensor(row: &Row) -> Result<Sensor, StateError> {
    let address: Option<String> = row.get("last_address")?;
    Ok(Sensor {
        sensor: parsed(&row.get::<String>("sensor")?, "sensor name")?,
        kind: parsed(&row.get::<String>("kind")?, "sensor kind")?,
        domain: parsed_domain(&row.get::<String>("domain")?)?,
        first_seen: Timestamp::from_millis(row.get("first_seen")?),
        last_seen: Timestamp::from_millis(row.get("last_seen")?),
        last_address: address.map(|text| parsed(&text, "address")).transpose()?,
        key_id: row.get("key_id")?,
        version: row.get("version")?,
        events_total: row.count("events_total")?,
    })
}
