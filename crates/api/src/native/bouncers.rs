//! `/api/v1/bouncers`: CrowdSec's bouncers that poll here, and what they say of
//! their work.

use axum::extract::State;
use palisade_event::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Bouncers by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct BouncerList {
    /// Each is one key at one address; at most 10,000.
    bouncers: Vec<BouncerInfo>,
}

/// A bouncer.
#[derive(Serialize, ToSchema)]
#[schema(as = Bouncer)]
pub(crate) struct BouncerInfo {
    /// The name of its key.
    name: String,
    /// Where it asks from.
    address: String,
    /// What it calls itself when it asks.
    #[schema(example = "crowdsec-firewall-bouncer/v0.0.31")]
    agent: String,
    /// When it last asked; null where it never has.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_pull: Option<Timestamp>,
    /// What it told of its work last; null where it has told nothing.
    #[schema(required)]
    usage: Option<Usage>,
}

/// What a bouncer tells of its work. Null is what it did not say.
#[derive(Serialize, ToSchema)]
#[schema(as = BouncerUsage)]
pub(crate) struct Usage {
    /// What it is.
    #[serde(rename = "type")]
    #[schema(example = "crowdsec-firewall-bouncer")]
    kind: String,
    /// Its version.
    version: String,
    /// The system that it runs on.
    #[schema(required, example = "debian 12")]
    os: Option<String>,
    /// When it was started.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    started_at: Option<Timestamp>,
    /// The span that it counted, in seconds.
    #[schema(required)]
    window_secs: Option<u64>,
    /// Packets that it dropped in that span.
    #[schema(required)]
    dropped_packets: Option<u64>,
    /// Their bytes.
    #[schema(required)]
    dropped_bytes: Option<u64>,
    /// Decisions that it carries out.
    #[schema(required)]
    active_decisions: Option<u64>,
    /// When it told this.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    told_at: Option<Timestamp>,
}

/// Bouncers
///
/// CrowdSec's bouncers that have asked for decisions in the last 30 days, by the names of their
/// keys. Needs the right to see private events.
#[utoipa::path(
    get, path = "/api/v1/bouncers", tag = "decisions", operation_id = "listBouncers",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = BouncerList, description = "The bouncers"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<BouncerList>, Problem> {
    let bouncers = app.hub.bouncers(&caller.who).await?.into_iter().map(|bouncer| BouncerInfo {
        name: bouncer.name,
        address: bouncer.address,
        agent: bouncer.agent,
        last_pull: Some(bouncer.last_pull).filter(|at| at.as_millis() > 0),
        usage: bouncer.usage.map(|usage| Usage {
            kind: usage.kind,
            version: usage.version,
            os: usage.os,
            started_at: usage.started_at,
            window_secs: usage.window_secs,
            dropped_packets: usage.dropped_packets,
            dropped_bytes: usage.dropped_bytes,
            active_decisions: usage.active_decisions,
            told_at: usage.told_at,
        }),
    });
    Ok(axum::Json(BouncerList { bouncers: bouncers.collect() }))
}
