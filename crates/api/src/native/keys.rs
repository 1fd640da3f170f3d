//! `/api/v1/keys`: API keys of agents and programs. Needs the role admin.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use palisade_event::{Domain, SensorId, Timestamp};
use palisade_hub::{KeyInfo, Ranges, Scope};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Segment, schema};
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// All keys, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// The keys, without their secrets.
    keys: Vec<Key>,
}

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct Key {
    /// Names it for removal.
    id: String,
    /// The sensor that it stands for.
    #[schema(value_type = String)]
    name: SensorId,
    /// What it may do.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<Scope>,
    /// Domain of the events that it delivers.
    #[schema(value_type = schema::Domain)]
    domain: Domain,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, give or take a minute.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_used_at: Option<Timestamp>,
    /// What its bouncers are told of networks; null: by what they call themselves.
    #[schema(value_type = Option<RangesName>, required)]
    ranges: Option<Ranges>,
}

/// What bouncers are told of networks.
#[derive(ToSchema)]
#[schema(as = Ranges, rename_all = "lowercase")]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) enum RangesName {
    /// Those up to 256 addresses address by address, larger ones not at all.
    Expand,
    /// Nothing: addresses alone.
    Withhold,
    /// They are given as they are.
    Pass,
}

/// What a key may do.
#[derive(ToSchema)]
#[schema(as = Scope, rename_all = "lowercase")]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) enum ScopeName {
    /// Delivers events.
    Ingest,
    /// Sees events.
    Read,
    /// Hears of decisions, to carry them out: an agent.
    Decisions,
    /// Hears of decisions in the dialect of CrowdSec's bouncers.
    Bouncer,
    /// Tells of machines in Glimpse's dialect, and reads what was told so.
    Glimpse,
    /// Manages accounts and keys.
    Admin,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// The sensor that it stands for: 1 to 64 letters, digits, `.`, `_`, `-`.
    #[schema(value_type = String, example = "edge-1")]
    name: SensorId,
    /// What it may do.
    #[schema(value_type = Vec<ScopeName>, min_items = 1)]
    scopes: Vec<Scope>,
    /// Domain of the events that it delivers. Default: private.
    #[serde(default)]
    #[schema(value_type = schema::Domain, required = false)]
    domain: Domain,
    /// What bouncers with it are told of networks. Default: by what they call themselves.
    #[serde(default)]
    #[schema(value_type = RangesName, required = false, nullable = false)]
    ranges: Option<Ranges>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedKey {
    /// Names it for removal.
    id: String,
    /// The sensor that it stands for.
    #[schema(value_type = String)]
    name: SensorId,
    /// The key itself; it cannot be had again.
    #[schema(example = "pal_…")]
    key: String,
}

impl From<KeyInfo> for Key {
    fn from(key: KeyInfo) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes,
            domain: key.domain,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            ranges: key.ranges,
        }
    }
}

/// API keys
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "administration", operation_id = "listKeys",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = KeyList, description = "The keys"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<KeyList>, Problem> {
    let keys = app.hub.keys(&caller.who).await?;
    Ok(axum::Json(KeyList { keys: keys.into_iter().map(Key::from).collect() }))
}

/// Make an API key
///
/// The answer holds the key; it cannot be had again.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "administration", operation_id = "addKey",
    security(("session" = []), ("key" = [])),
    request_body = NewKey,
    responses(
        (status = 201, body = CreatedKey, description = "The key, this once"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The name is taken"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewKey>,
) -> Result<Response, Problem> {
    if new.scopes.is_empty() {
        let detail = "scopes: give at least one of ingest, read and admin.";
        return Err(Problem::unprocessable(detail));
    }
    let who = &caller.who;
    let (name, domain, now) = (new.name, new.domain, auth::now());
    let made = match new.ranges {
        Some(ranges) => {
            app.hub.add_bouncer_key(who, name, &new.scopes, (domain, ranges), now).await?
        }
        None => app.hub.add_key(who, name, &new.scopes, domain, now).await?,
    };
    let body = CreatedKey { id: made.id, name: made.name, key: made.key };
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

/// Remove an API key
///
/// It is refused from then on.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", tag = "administration", operation_id = "removeKey",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.remove_key(&caller.who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
