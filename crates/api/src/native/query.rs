//! `GET /api/v1/query`: whether a query text makes sense, without asking the
//! store. For who writes queries: the page marks mistakes while one types.

use palisade_hub::Permission;
use palisade_store::query::{ParseError, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, events};
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};

/// A query to look at.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CheckParameters {
    /// Query text; empty is every event.
    #[serde(default)]
    #[param(required = false, example = "country:CN since:7d")]
    q: String,
}

/// What a query text means, or why it means nothing.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckedQuery {
    /// The same query in its shortest form; times ago are instants in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "since:2026-11-13T20:00:00.000Z country:CN")]
    canonical: Option<String>,
    /// The time range that it asks for, as of now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    range: Option<events::Range>,
    /// Why it cannot be understood; then there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mistake: Option<Mistake>,
}

/// Where a query text stops making sense.
#[derive(Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// The character, counted from 0.
    at: usize,
    /// What is wrong and what would be right.
    message: String,
}

/// Check a query
///
/// Reads it as a search would and says what it means, without searching. A text
/// with a mistake is an answer here, not an error.
#[utoipa::path(
    get, path = "/api/v1/query", tag = "events", operation_id = "checkQuery",
    security(("session" = []), ("key" = [])),
    params(CheckParameters),
    responses(
        (status = 200, body = CheckedQuery, description = "What it means, or where it stops to"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn check(
    caller: Caller,
    Parameters(asked): Parameters<CheckParameters>,
) -> Result<axum::Json<CheckedQuery>, Problem> {
    caller.require(Permission::Read)?;
    Ok(axum::Json(match Query::parse(&asked.q, auth::now()) {
        Ok(query) => CheckedQuery {
            canonical: Some(query.to_string()),
            range: Some(query.range.into()),
            mistake: None,
        },
        Err(ParseError { at, message }) => {
            CheckedQuery { canonical: None, range: None, mistake: Some(Mistake { at, message }) }
        }
    }))
}
