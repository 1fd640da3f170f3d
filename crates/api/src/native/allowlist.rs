//! `/api/v1/allowlist`: whom no decision of this hub is carried out about.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use palisade_event::Timestamp;
use palisade_hub::NewAllowEntry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Segment;
use super::decisions::target;
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// The hub's allowlist, by target.
#[derive(Serialize, ToSchema)]
pub(crate) struct Allowlist {
    /// Its entries.
    entries: Vec<AllowEntry>,
}

/// An entry of the allowlist.
#[derive(Serialize, ToSchema)]
pub(crate) struct AllowEntry {
    /// Whom it spares: an address or a network.
    #[schema(example = "192.0.2.0/24")]
    target: String,
    /// Why.
    #[schema(required)]
    reason: Option<String>,
    /// Who made it.
    by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Until when; for ever where there is none.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    until: Option<Timestamp>,
}

/// An entry to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEntry {
    /// An address or a network.
    #[schema(example = "192.0.2.0/24")]
    target: String,
    /// Why.
    #[serde(default)]
    #[schema(required = false)]
    reason: Option<String>,
    /// For how long, in seconds; for ever without.
    #[serde(default)]
    #[schema(required = false, minimum = 1)]
    duration_secs: Option<u64>,
}

/// An entry that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Allowed {
    /// The entry.
    entry: AllowEntry,
    /// How many targets it has freed.
    freed: u64,
}

impl From<palisade_hub::AllowEntry> for AllowEntry {
    fn from(entry: palisade_hub::AllowEntry) -> Self {
        Self {
            target: entry.target.to_string(),
            reason: entry.reason,
            by: entry.by,
            created_at: entry.created_at,
            until: entry.until,
        }
    }
}

/// List the allowlist
///
/// Entries that spare somebody now.
#[utoipa::path(
    get, path = "/api/v1/allowlist", tag = "decisions", operation_id = "listAllowed",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = Allowlist, description = "The entries"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Allowlist>, Problem> {
    let entries = app.hub.allowlist(&caller.who, auth::now()).await?;
    Ok(axum::Json(Allowlist { entries: entries.into_iter().map(Into::into).collect() }))
}

/// Spare somebody
///
/// From now on, and what is in force about them is lifted. Replaces an entry for the same target.
/// Needs the role operator.
#[utoipa::path(
    post, path = "/api/v1/allowlist", tag = "decisions", operation_id = "allow",
    security(("session" = []), ("key" = [])),
    request_body = NewEntry,
    responses(
        (status = 201, body = Allowed, description = "They are spared"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<NewEntry>,
) -> Result<Response, Problem> {
    let NewEntry { target: text, reason, duration_secs } = asked;
    let new = NewAllowEntry { target: target(&text)?, reason, duration_secs };
    let (entry, freed) = app.hub.allow(&caller.who, new, auth::now()).await?;
    Ok((StatusCode::CREATED, axum::Json(Allowed { entry: entry.into(), freed })).into_response())
}

/// Remove an entry of the allowlist
///
/// What it has lifted or withheld stays over. Needs the role operator.
#[utoipa::path(
    delete, path = "/api/v1/allowlist/{target}", tag = "decisions", operation_id = "disallow",
    security(("session" = []), ("key" = [])),
    params(("target" = String, Path, description = "The address or network")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.disallow(&caller.who, &target(&text)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
