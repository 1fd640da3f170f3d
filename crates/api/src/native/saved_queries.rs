//! `/api/v1/saved-queries`: queries that accounts keep by name, and share.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use palisade_event::Timestamp;
use palisade_hub::NewSavedQuery;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Segment;
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Saved queries, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct SavedQueryList {
    /// One's own and the shared ones.
    saved_queries: Vec<SavedQuery>,
}

/// A saved query.
#[derive(Serialize, ToSchema)]
pub(crate) struct SavedQuery {
    /// Names it for good, also in links.
    id: String,
    /// Whose it is.
    account: String,
    /// What its owner calls it.
    name: String,
    /// The query text.
    query: String,
    /// How the page shows the answer.
    #[schema(value_type = Object)]
    options: Map<String, Value>,
    /// Whether everybody who may read sees it.
    shared: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A query to save.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaveQuery {
    /// A name that none of one's own has, 1 to 100 characters.
    #[schema(example = "Botnet logins")]
    name: String,
    /// The query text.
    #[schema(example = "user:root password:xc3511 since:7d")]
    query: String,
    /// How the page shows the answer, as it likes; at most 4 KiB of JSON.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    options: Map<String, Value>,
    /// Whether everybody who may read sees it.
    #[serde(default)]
    #[schema(required = false)]
    shared: bool,
}

impl From<palisade_hub::SavedQuery> for SavedQuery {
    fn from(saved: palisade_hub::SavedQuery) -> Self {
        Self {
            id: saved.id,
            account: saved.account,
            name: saved.name,
            query: saved.query,
            options: saved.options,
            shared: saved.shared,
            created_at: saved.created_at,
            updated_at: saved.updated_at,
        }
    }
}

impl From<SaveQuery> for NewSavedQuery {
    fn from(asked: SaveQuery) -> Self {
        let SaveQuery { name, query, options, shared } = asked;
        Self { name, query, options, shared }
    }
}

/// Saved queries
///
/// One's own and those that others share.
#[utoipa::path(
    get, path = "/api/v1/saved-queries", tag = "events", operation_id = "listSavedQueries",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = SavedQueryList, description = "The saved queries"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<SavedQueryList>, Problem> {
    let saved = app.hub.saved_queries(&caller.who).await?;
    Ok(axum::Json(SavedQueryList { saved_queries: saved.into_iter().map(Into::into).collect() }))
}

/// Save a query
///
/// Needs an account: a key has no queries of its own.
#[utoipa::path(
    post, path = "/api/v1/saved-queries", tag = "events", operation_id = "saveQuery",
    security(("session" = [])),
    request_body = SaveQuery,
    responses(
        (status = 201, body = SavedQuery, description = "It is kept"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The name is taken"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<SaveQuery>,
) -> Result<Response, Problem> {
    let saved = app.hub.save_query(&caller.who, None, &asked.into(), auth::now()).await?;
    Ok((StatusCode::CREATED, axum::Json(SavedQuery::from(saved))).into_response())
}

/// Change a saved query
///
/// One of one's own: its name, text, options and whether it is shared.
#[utoipa::path(
    put, path = "/api/v1/saved-queries/{id}", tag = "events", operation_id = "changeSavedQuery",
    security(("session" = [])),
    params(("id" = String, Path, description = "Its id")),
    request_body = SaveQuery,
    responses(
        (status = 200, body = SavedQuery, description = "As it is now"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "None of one's own has this id"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The name is taken"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<SaveQuery>,
) -> Result<axum::Json<SavedQuery>, Problem> {
    let saved = app.hub.save_query(&caller.who, Some(&id), &asked.into(), auth::now()).await?;
    Ok(axum::Json(saved.into()))
}

/// Remove a saved query
///
/// One's own; an admin removes any.
#[utoipa::path(
    delete, path = "/api/v1/saved-queries/{id}", tag = "events", operation_id = "removeSavedQuery",
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
    app.hub.remove_saved_query(&caller.who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
