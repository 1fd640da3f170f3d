//! `/api/v1/findings`: what audits found on all machines, and what an operator does
//! not want to be counted for a while.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use palisade_event::Timestamp;
use palisade_hub::{
    FindingCounts, FindingInfo, FindingsQuestion, NewSuppression, Permission, SuppressionInfo,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, Segment};
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Most days that closed findings are looked for.
const MAX_DAYS: u32 = 366;

/// Which findings.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FindingParameters {
    /// Of one machine, by id.
    host: Option<String>,
    /// Of one check, by id.
    check: Option<String>,
    /// Those opened in the last 24 hours alone.
    #[serde(default)]
    #[param(required = false)]
    new: bool,
    /// Also those closed in so many days before now, 0 to 366, default 0.
    #[param(minimum = 0, maximum = 366)]
    closed_days: Option<u32>,
}

/// What was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct FindingList {
    /// Mean score of the machines that were audited; null where none was.
    #[schema(required)]
    score: Option<f64>,
    /// How many were.
    audited: u32,
    /// Open findings that are counted, by severity.
    by_severity: BTreeMap<String, u32>,
    /// Open findings by check.
    by_check: BTreeMap<String, CheckCounts>,
    /// The findings: open before closed, the worst first, then the newest.
    findings: Vec<Finding>,
    /// Findings that are not among them, as there are too many.
    left_out: u64,
}

/// A check over all machines.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckCounts {
    /// What it is called.
    title: String,
    /// How bad it is: low, medium, high or critical.
    severity: String,
    /// What it belongs to.
    area: String,
    /// Machines where it fails, without those where it is suppressed.
    hosts: u32,
    /// Those of them where it is new.
    new: u32,
    /// Machines where it fails and is suppressed.
    suppressed: u32,
}

/// A check that fails on a machine, or did.
#[derive(Serialize, ToSchema)]
pub(crate) struct Finding {
    /// The machine.
    host: String,
    /// The check.
    check: String,
    /// What it is called.
    title: String,
    /// How bad it is: low, medium, high or critical.
    severity: String,
    /// What it belongs to.
    area: String,
    /// `evidence`, `why`, `fix`, `reference`.
    #[schema(value_type = Object)]
    detail: Value,
    /// Since when it fails, or failed last.
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// Since when it passes; null while it fails.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    closed_at: Option<Timestamp>,
    /// Why it was closed.
    #[schema(required)]
    reason: Option<String>,
    /// Whether it was opened in the last 24 hours.
    is_new: bool,
    /// Why it is not counted, and until when; null where it is.
    #[schema(required)]
    suppressed: Option<Suppression>,
}

/// What is not counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Suppression {
    /// Names it.
    id: String,
    /// The check.
    check: String,
    /// The machine; null for all of them.
    #[schema(required)]
    host: Option<String>,
    /// Why.
    reason: String,
    /// Who said so.
    made_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

/// What is not counted now.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuppressionList {
    /// By id.
    suppressions: Vec<Suppression>,
}

/// What is not to be counted for a while.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suppress {
    /// The check.
    #[schema(example = "ssh-root-login")]
    check: String,
    /// The machine, by id; all of them where none is named.
    #[serde(default)]
    host: Option<String>,
    /// Why, for those who look later.
    #[schema(example = "the console server needs it until it is replaced")]
    reason: String,
    /// Until when; at most two years from now.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

impl From<SuppressionInfo> for Suppression {
    fn from(info: SuppressionInfo) -> Self {
        Self {
            id: info.id,
            check: info.check,
            host: info.host,
            reason: info.reason,
            made_by: info.made_by,
            created_at: info.created_at,
            until: info.until,
        }
    }
}

impl From<FindingInfo> for Finding {
    fn from(info: FindingInfo) -> Self {
        Self {
            host: info.host,
            check: info.check,
            title: info.title,
            severity: info.severity,
            area: info.area,
            detail: info.detail,
            opened_at: info.opened_at,
            closed_at: info.closed_at,
            reason: info.reason,
            is_new: info.is_new,
            suppressed: info.suppressed.map(Suppression::from),
        }
    }
}

impl From<FindingCounts> for CheckCounts {
    fn from(counts: FindingCounts) -> Self {
        Self {
            title: counts.title,
            severity: counts.severity,
            area: counts.area,
            hosts: counts.hosts,
            new: counts.new,
            suppressed: counts.suppressed,
        }
    }
}

/// Findings
///
/// Checks that fail on machines, by machine and counted by check.
#[utoipa::path(
    get, path = "/api/v1/findings", tag = "hosts", operation_id = "listFindings",
    security(("session" = []), ("key" = [])),
    params(FindingParameters),
    responses(
        (status = 200, body = FindingList, description = "What was found"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<FindingParameters>,
) -> Result<axum::Json<FindingList>, Problem> {
    caller.require(Permission::Read)?;
    let closed_days = asked.closed_days.unwrap_or(0);
    if closed_days > MAX_DAYS {
        return Err(Problem::bad_request(format!("closed_days: expected 0 to {MAX_DAYS}.")));
    }
    let question =
        FindingsQuestion { host: asked.host, check: asked.check, new: asked.new, closed_days };
    let found = app.hub.findings(&caller.who, &question, auth::now()).await?;
    let by_check = found.by_check.into_iter();
    Ok(axum::Json(FindingList {
        score: found.score,
        audited: found.audited,
        by_severity: found.by_severity,
        by_check: by_check.map(|(check, counts)| (check, counts.into())).collect(),
        findings: found.findings.into_iter().map(Finding::from).collect(),
        left_out: found.left_out,
    }))
}

/// What is not counted now
#[utoipa::path(
    get, path = "/api/v1/findings/suppressions", tag = "hosts", operation_id = "listSuppressions",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = SuppressionList, description = "The suppressions"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn suppressions(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<SuppressionList>, Problem> {
    caller.require(Permission::Read)?;
    let found = app.hub.suppressions(&caller.who, auth::now()).await?;
    Ok(axum::Json(SuppressionList {
        suppressions: found.into_iter().map(Suppression::from).collect(),
    }))
}

/// Do not count a check for a while
///
/// On one machine or on all, with a reason and an end.
#[utoipa::path(
    post, path = "/api/v1/findings/suppressions", tag = "hosts", operation_id = "suppressFinding",
    security(("session" = []), ("key" = [])),
    request_body = Suppress,
    responses(
        (status = 201, body = Suppression, description = "It is not counted"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such machine"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn suppress(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<Suppress>,
) -> Result<Response, Problem> {
    let new = NewSuppression {
        check: asked.check,
        host: asked.host,
        reason: asked.reason,
        until: asked.until,
    };
    let made = app.hub.suppress(&caller.who, new, auth::now()).await?;
    Ok((StatusCode::CREATED, axum::Json(Suppression::from(made))).into_response())
}

/// Count a check again
#[utoipa::path(
    delete, path = "/api/v1/findings/suppressions/{id}", tag = "hosts", operation_id = "removeSuppression",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is counted again"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn count_again(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.count_again(&caller.who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
