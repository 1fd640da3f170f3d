//! `GET /api/v1/quarantine`: records that could not be understood.

use axum::extract::State;
use palisade_event::Timestamp;
use palisade_hub::{Permission, QuarantinedRecord};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Parameters;
use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Records where the request does not say.
const DEFAULT_RECORDS: usize = 100;
/// Most records of an answer.
const MAX_RECORDS: usize = 1000;

/// How many records.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QuarantineParameters {
    /// Records, 1 to 1000, default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The newest records in quarantine.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineList {
    /// Records that are kept in all.
    total: u64,
    /// The newest of them, newest first.
    records: Vec<QuarantineRecord>,
}

/// A record in quarantine.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineRecord {
    /// Counts up; never used twice.
    id: i64,
    /// When it was delivered.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// Who delivered it.
    sensor: String,
    /// Why it could not be taken.
    reason: String,
    /// Its length.
    bytes: u64,
    /// How it begins, escaped.
    preview: String,
}

impl From<QuarantinedRecord> for QuarantineRecord {
    fn from(record: QuarantinedRecord) -> Self {
        Self {
            id: record.id,
            received_at: record.received_at,
            sensor: record.sensor,
            reason: record.reason,
            bytes: record.bytes,
            preview: record.preview,
        }
    }
}

/// Quarantine
///
/// Needs the role operator.
#[utoipa::path(
    get, path = "/api/v1/quarantine", tag = "hub", operation_id = "listQuarantine",
    security(("session" = []), ("key" = [])),
    params(QuarantineParameters),
    responses(
        (status = 200, body = QuarantineList, description = "The newest records"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<QuarantineParameters>,
) -> Result<axum::Json<QuarantineList>, Problem> {
    caller.require(Permission::Operate)?;
    let limit = asked.limit.unwrap_or(DEFAULT_RECORDS);
    if !(1..=MAX_RECORDS).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: expected 1 to {MAX_RECORDS}.")));
    }
    let list = app.hub.quarantine(&caller.who, limit).await?;
    let records = list.records.into_iter().map(QuarantineRecord::from).collect();
    Ok(axum::Json(QuarantineList { total: list.total, records }))
}
