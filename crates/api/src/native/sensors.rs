//! `GET /api/v1/sensors`: who delivers events, and since when not.

use axum::extract::State;
use palisade_event::{SensorId, Timestamp};
use palisade_hub::{Permission, SensorStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::schema;
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// All sensors, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct SensorList {
    /// The sensors.
    sensors: Vec<Sensor>,
}

/// An installation that delivers events.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sensor {
    /// Its name.
    #[schema(value_type = String)]
    sensor: SensorId,
    /// When it first delivered.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// When it last delivered.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Where from.
    #[schema(value_type = Option<String>, required)]
    last_address: Option<std::net::IpAddr>,
    /// Domain of its last events.
    #[schema(value_type = schema::Domain)]
    domain: palisade_event::Domain,
    /// The key it used last.
    #[schema(required)]
    key_id: Option<String>,
    /// Events that it observed in the last 24 hours.
    events_24h: u64,
    /// Events that it ever delivered.
    events_total: u64,
    /// How its events come in.
    #[schema(value_type = SensorKind)]
    kind: palisade_hub::SensorKind,
    /// Version of its software.
    #[schema(required)]
    version: Option<String>,
}

/// How a sensor's events come in.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) enum SensorKind {
    /// From another process, with a key.
    Agent,
    /// From this process.
    Local,
    /// From an EWS user.
    Ews,
    /// From this process, made up for a demonstration.
    Demo,
}

impl From<SensorStatus> for Sensor {
    fn from(status: SensorStatus) -> Self {
        Self {
            sensor: status.sensor,
            first_seen: status.first_seen,
            last_seen: status.last_seen,
            last_address: status.last_address,
            domain: status.domain,
            key_id: status.key_id,
            events_24h: status.events_24h,
            events_total: status.events_total,
            kind: status.kind,
            version: status.version,
        }
    }
}

/// Sensors
#[utoipa::path(
    get, path = "/api/v1/sensors", tag = "hub", operation_id = "listSensors",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = SensorList, description = "The sensors"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<SensorList>, Problem> {
    caller.require(Permission::Read)?;
    let sensors = app.hub.sensors(&caller.who, auth::now()).await?;
    Ok(axum::Json(SensorList { sensors: sensors.into_iter().map(Sensor::from).collect() }))
}
