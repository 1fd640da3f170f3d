//! `POST /api/v1/explain`: each step from lines of a log to decisions, as
//! `palisade explain` tells them.

use axum::extract::State;
use palisade_hub::{ExplainedLine, LogFormat, MAX_EXPLAINED_BYTES, MAX_EXPLAINED_LINES, Shown};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::explained;
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Lines to explain.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainRequest {
    /// At most 20 lines and 64 KiB; they are counted together, in their order.
    #[schema(
        example = "Nov 20 10:00:00 web-1 sshd[7]: Failed password for root from 192.0.2.1 port 5 ssh2"
    )]
    text: String,
    /// What wrote them; without it each line is taken by the first parser that
    /// has something to say about it.
    #[serde(default)]
    #[schema(nullable = false, example = "sshd")]
    parser: Option<String>,
    /// Whether scenarios that do not match are told as well, with the first
    /// condition that is not met.
    #[serde(default)]
    #[schema(required = false)]
    all: bool,
}

/// What became of the lines.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explained {
    /// One answer a line, empty lines left out.
    #[schema(value_type = Vec<explained::ExplainedLine>)]
    lines: Vec<ExplainedLine>,
}

/// Explain lines of a log
///
/// Parses lines and counts them with the scenarios, allowlist and policy in use
/// here, with counters of their own: nothing that runs is touched. Times without
/// a zone are of the hub's.
#[utoipa::path(
    post, path = "/api/v1/explain", tag = "detection", operation_id = "explainLines",
    security(("session" = []), ("key" = [])),
    request_body = ExplainRequest,
    responses(
        (status = 200, body = Explained, description = "The steps"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "Too many bytes"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "No line, too many lines, or no such parser"),
    ),
)]
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<ExplainRequest>,
) -> Result<axum::Json<Explained>, Problem> {
    if asked.text.len() > MAX_EXPLAINED_BYTES {
        return Err(Problem::too_large("text", MAX_EXPLAINED_BYTES));
    }
    let parser = asked.parser.as_deref().map(str::parse::<LogFormat>).transpose();
    let parser = parser.map_err(|error| Problem::unprocessable(format!("parser: {error}.")))?;
    let lines = asked.text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let lines: Vec<Vec<u8>> =
        lines.filter(|line| !line.trim().is_empty()).map(Into::into).collect();
    if lines.is_empty() {
        return Err(Problem::unprocessable("text: there is no line to explain."));
    }
    if lines.len() > MAX_EXPLAINED_LINES {
        let detail = format!(
            "text: {} lines are too many; at most {MAX_EXPLAINED_LINES} are explained at once.",
            lines.len()
        );
        return Err(Problem::unprocessable(detail));
    }
    let shown = if asked.all { Shown::All } else { Shown::Matched };
    let lines = app.hub.explain(&caller.who, lines, (parser, shown), auth::now()).await?;
    Ok(axum::Json(Explained { lines }))
}
