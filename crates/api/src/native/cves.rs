//! `GET /api/v1/cves`: vulnerabilities that were aimed at, and who did it first.

use axum::extract::State;
use palisade_event::{EventId, SensorId, Timestamp};
use palisade_hub::{CveInfo, Permission};
use serde::Serialize;
use utoipa::ToSchema;

use super::schema;
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Vulnerabilities, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct CveList {
    /// At most 1,000.
    cves: Vec<Cve>,
}

/// A vulnerability that was aimed at.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cve {
    /// Its id.
    #[schema(example = "CVE-2026-24061")]
    cve: String,
    /// When it was first aimed at.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// When it was last aimed at.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Id of the first event.
    #[schema(value_type = String)]
    first_event: EventId,
    /// Where that came from.
    #[schema(value_type = Option<String>, required)]
    first_source: Option<std::net::IpAddr>,
    /// The sensor that observed it.
    #[schema(value_type = String)]
    first_sensor: SensorId,
    /// The type of service it went for.
    #[schema(required)]
    category: Option<String>,
    /// Domain of the first event.
    #[schema(value_type = schema::Domain)]
    domain: palisade_event::Domain,
    /// Events in the store that aim at it; null beyond the 1,000 most frequent.
    #[schema(required)]
    count: Option<u64>,
}

impl From<CveInfo> for Cve {
    fn from(info: CveInfo) -> Self {
        Self {
            cve: info.cve,
            first_seen: info.first_seen,
            last_seen: info.last_seen,
            first_event: info.first_event,
            first_source: info.first_source,
            first_sensor: info.first_sensor,
            category: info.category,
            domain: info.domain,
            count: info.count,
        }
    }
}

/// Vulnerabilities that were aimed at
///
/// When each was first seen and by which event; those of private events for
/// who may see these.
#[utoipa::path(
    get, path = "/api/v1/cves", tag = "events", operation_id = "listCves",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = CveList, description = "The vulnerabilities"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<CveList>, Problem> {
    caller.require(Permission::Read)?;
    let cves = app.hub.cves(&caller.who, auth::now()).await?;
    Ok(axum::Json(CveList { cves: cves.into_iter().map(Cve::from).collect() }))
}
