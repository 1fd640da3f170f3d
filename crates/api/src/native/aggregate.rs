//! `POST /api/v1/aggregate`: several questions about the same events at once.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::State;
use palisade_hub::Permission;
use palisade_store::Aggregated;
use palisade_store::query::Aggregation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{events, schema};
use crate::auth::Caller;
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Most aggregations of one request.
const MAX_AGGREGATIONS: usize = 32;

/// Questions about the events that match one query.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AggregateRequest {
    /// Query text; empty means every event.
    #[serde(default)]
    #[schema(required = false, example = "since:24h")]
    q: String,
    /// At most 32, by a name of your choice.
    #[schema(value_type = BTreeMap<String, schema::Aggregation>,
        example = json!({"countries": {"type": "top", "fields": ["country"], "k": 10}}))]
    aggregations: BTreeMap<String, Aggregation>,
}

/// The answers, by the names of the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct AggregateResponse {
    /// One answer a question.
    #[schema(value_type = BTreeMap<String, schema::Aggregated>)]
    results: BTreeMap<String, Aggregated>,
    /// Milliseconds it took to answer.
    took_ms: u64,
}

/// Count and group events
#[utoipa::path(
    post, path = "/api/v1/aggregate", tag = "events", operation_id = "aggregateEvents",
    security(("session" = []), ("key" = [])),
    request_body = AggregateRequest,
    responses(
        (status = 200, body = AggregateResponse, description = "The answers"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query or an aggregation cannot be understood"),
    ),
)]
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<AggregateRequest>,
) -> Result<axum::Json<AggregateResponse>, Problem> {
    caller.require(Permission::Read)?;
    let started = Instant::now();
    if asked.aggregations.len() > MAX_AGGREGATIONS {
        let detail = format!("aggregations: at most {MAX_AGGREGATIONS} of them.");
        return Err(Problem::unprocessable(detail));
    }
    let query = events::parse(&asked.q)?;
    for (name, aggregation) in &asked.aggregations {
        aggregation.validate().map_err(|error| {
            Problem::unprocessable(format!("Aggregation '{}': {error}.", name.escape_debug()))
        })?;
    }
    let mut results = BTreeMap::new();
    for (name, aggregation) in asked.aggregations {
        let answer = app.hub.aggregate(&caller.who, query.clone(), aggregation).await?;
        results.insert(name, answer);
    }
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(axum::Json(AggregateResponse { results, took_ms }))
}
