//! Sensors: who delivered events, when, and how many.

use std::net::IpAddr;

use palisade_event::{Domain, SensorId, Timestamp};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{State, StateError, parsed, parsed_domain};

/// How a sensor's events come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SensorKind {
    /// From another process, with a key.
    Agent,
    /// From the hub's own process.
    Local,
    /// From the hub's own process, made up for a demonstration.
    Demo,
}

super::names!(SensorKind, "sensor kind", "agent, local or demo",
    Agent "agent", Local "local", Demo "demo");

/// What is known of a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl State {
    /// Sensors by name.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn sensors(&self) -> Result<Vec<Sensor>, StateError> {
        sqlx::query("SELECT * FROM sensor ORDER BY sensor")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(sensor)
            .collect()
    }

    /// Writes sensors, replacing what was known of them, in one transaction.
    ///
    /// # Errors
    /// [`StateError`]: none of them was written.
    pub async fn put_sensors(&self, sensors: &[Sensor]) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        for sensor in sensors {
            sqlx::query(
                "INSERT INTO sensor (sensor, kind, domain, first_seen, last_seen, last_address,
                                     key_id, version, events_total)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (sensor) DO UPDATE SET
                     kind = excluded.kind, domain = excluded.domain,
                     last_seen = excluded.last_seen, last_address = excluded.last_address,
                     key_id = excluded.key_id, version = excluded.version,
                     events_total = excluded.events_total",
            )
            .bind(sensor.sensor.as_str())
            .bind(sensor.kind.as_str())
            .bind(sensor.domain.as_str())
            .bind(sensor.first_seen.as_millis())
            .bind(sensor.last_seen.as_millis())
            .bind(sensor.last_address.map(|address| address.to_string()))
            .bind(&sensor.key_id)
            .bind(&sensor.version)
            .bind(i64::try_from(sensor.events_total).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

fn sensor(row: &SqliteRow) -> Result<Sensor, StateError> {
    let address: Option<&str> = row.try_get("last_address")?;
    Ok(Sensor {
        sensor: parsed(row.try_get("sensor")?, "sensor name")?,
        kind: parsed(row.try_get("kind")?, "sensor kind")?,
        domain: parsed_domain(row.try_get("domain")?)?,
        first_seen: Timestamp::from_millis(row.try_get("first_seen")?),
        last_seen: Timestamp::from_millis(row.try_get("last_seen")?),
        last_address: address.map(|text| parsed(text, "address")).transpose()?,
        key_id: row.try_get("key_id")?,
        version: row.try_get("version")?,
        events_total: u64::try_from(row.try_get::<i64, _>("events_total")?).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sensor_keeps_its_first_day_and_takes_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let first = Sensor {
            sensor: SensorId::new("web-1").unwrap(),
            kind: SensorKind::Agent,
            domain: Domain::Private,
            first_seen: Timestamp::from_millis(1000),
            last_seen: Timestamp::from_millis(1000),
            last_address: Some("192.0.2.7".parse().unwrap()),
            key_id: Some("0a".into()),
            version: None,
            events_total: 3,
        };
        state.put_sensors(std::slice::from_ref(&first)).await.unwrap();
        let later = Sensor {
            first_seen: Timestamp::from_millis(9000),
            last_seen: Timestamp::from_millis(9000),
            last_address: None,
            version: Some("0.2.0".into()),
            events_total: 5,
            domain: Domain::Community,
            ..first.clone()
        };
        state.put_sensors(std::slice::from_ref(&later)).await.unwrap();
        let expected = Sensor { first_seen: first.first_seen, ..later };
        assert_eq!(state.sensors().await.unwrap(), [expected]);
    }
}
