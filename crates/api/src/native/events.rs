//! `GET /api/v1/events`: search, page by page, or as one export; and one event.

use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use palisade_event::{Event, EventId, Timestamp};
use palisade_hub::{Permission, QueryError};
use palisade_store::query::{Cursor, Query, TimeRange};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, Segment, export, schema};
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Events of a page where the request does not say.
const DEFAULT_PAGE_EVENTS: usize = 50;
/// Most events of a page.
pub(super) const MAX_PAGE_EVENTS: usize = 1000;

/// What to search for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParameters {
    /// Query text; empty finds everything.
    #[serde(default)]
    #[param(required = false, example = "country:CN kind:auth.attempted since:7d")]
    q: String,
    /// Events of the page, 1 to 1000, default 50; of an export 1 to 1,000,000,
    /// default all of these.
    #[param(minimum = 1, maximum = 1000000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Ask for a download in place of a page.
    format: Option<Format>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A page, as JSON.
    #[default]
    Json,
    /// Comma-separated values (RFC 4180), with a line of names.
    Csv,
    /// One JSON event a line.
    Ndjson,
}

/// One page of events, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    /// The events.
    #[schema(value_type = Vec<schema::Event>)]
    events: Vec<Event>,
    /// Give this as `cursor` to get the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
    /// Milliseconds it took to answer.
    took_ms: u64,
    /// The time range that the query asked for.
    range: Range,
}

/// A time range over `observed_at`; null is unbounded.
#[derive(Serialize, ToSchema)]
pub(crate) struct Range {
    /// First instant in it.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    from: Option<Timestamp>,
    /// First instant after it.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    to: Option<Timestamp>,
}

impl From<TimeRange> for Range {
    fn from(range: TimeRange) -> Self {
        Self { from: range.from, to: range.to }
    }
}

/// Search events
///
/// Newest first. With `format=csv` or `format=ndjson` the whole result is sent
/// as a download. In CSV a value that a spreadsheet would take for a formula
/// begins with a single quote.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", operation_id = "searchEvents",
    security(("session" = []), ("key" = [])),
    params(SearchParameters),
    responses(
        (status = 200, description = "A page or a download", content(
            (EventPage = "application/json"),
            (String = "text/csv"),
            (schema::Event = "application/x-ndjson"),
        )),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query cannot be understood; `at` says where"),
    ),
)]
pub(crate) async fn search(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<SearchParameters>,
) -> Result<Response, Problem> {
    caller.require(Permission::Read)?;
    let started = Instant::now();
    let query = parse(&asked.q)?;
    let after = asked.cursor.as_deref().map(cursor).transpose()?;
    let format = asked.format.unwrap_or_default();
    if format != Format::Json {
        let limit = bounded(asked.limit, export::MAX_EVENTS, export::MAX_EVENTS)?;
        return export::start(app, caller.who, query, after, limit, format).await;
    }
    let limit = bounded(asked.limit, DEFAULT_PAGE_EVENTS, MAX_PAGE_EVENTS)?;
    let range = query.range.into();
    let page = app.hub.search(&caller.who, query, limit, after).await?;
    Ok(axum::Json(EventPage {
        events: page.events,
        next: page.next.map(|cursor| cursor.to_string()),
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        range,
    })
    .into_response())
}

/// One event
#[utoipa::path(
    get, path = "/api/v1/events/{id}", tag = "events", operation_id = "getEvent",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id, a ULID")),
    responses(
        (status = 200, body = schema::Event, description = "The event"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not an id"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none, or not for you"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<axum::Json<Event>, Problem> {
    caller.require(Permission::Read)?;
    let id: EventId = id
        .parse()
        .map_err(|error: palisade_event::ParseIdError| Problem::bad_request(error.to_string()))?;
    let found = app.hub.get(&caller.who, id).await?;
    found.map(axum::Json).ok_or_else(|| Problem::not_found("There is no event with this id."))
}

/// Parses query text.
///
/// # Errors
/// 422 with `at`.
pub(super) fn parse(text: &str) -> Result<Query, Problem> {
    Query::parse(text, auth::now()).map_err(Problem::from)
}

pub(super) fn bounded(asked: Option<usize>, default: usize, most: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("limit: expected 1 to {most}."))),
    }
}

pub(super) fn cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse().map_err(|_| {
        Problem::bad_request("cursor: expected the 'next' of an earlier page, unchanged.")
    })
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Forbidden => Self::forbidden("This account or key may not read this."),
            QueryError::Unsupported(_) => Self::unprocessable(error.to_string()).kind("query"),
            QueryError::Unavailable(reason) => Self::state_unavailable(reason),
            QueryError::Failed(reason) => {
                Self::unavailable("The store cannot be read now. The hub's log says why.", 5)
                    .logged(reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_outside_the_bounds_are_refused() {
        assert_eq!(bounded(None, 50, 1000).unwrap(), 50);
        assert!(bounded(Some(0), 50, 1000).is_err());
        assert!(bounded(Some(1001), 50, 1000).is_err());
    }
}
