//! `/api/v1/decisions/effect`: what agents carry out, refuse and cannot do.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use palisade_event::{EffectReceipt, EffectReport, MAX_EFFECT_BYTES, Timestamp};
use palisade_hub::{HostEffect, Permission, TargetEffect};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, decisions};
use crate::auth::{self, Caller};
use crate::body;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// About whom.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EffectParameters {
    /// An address or a network: what each host does about it.
    #[param(example = "198.51.100.7")]
    target: Option<String>,
}

/// What comes of decisions on the hosts.
#[derive(Serialize, ToSchema)]
pub(crate) struct Effect {
    /// Each agent that has reported in the last 24 hours, by name.
    hosts: Vec<Host>,
    /// The number of the last change.
    head: u64,
    /// The version of the directions that hold now.
    directions: u64,
    /// The target that was asked about; null without one.
    #[schema(required)]
    target: Option<Target>,
}

/// What comes of the bans of one target.
#[derive(Serialize, ToSchema)]
#[schema(as = EffectTarget)]
pub(crate) struct Target {
    /// The address or network.
    target: String,
    /// Whether it is banned.
    active: bool,
    /// Packets that were dropped on all hosts.
    dropped_packets: u64,
}

/// An agent, and how it does.
#[derive(Serialize, ToSchema)]
#[schema(as = EffectHost)]
pub(crate) struct Host {
    /// The name of its key.
    sensor: String,
    /// The machine, as it names it.
    #[schema(required)]
    host: Option<String>,
    /// `working`, `dry-run`, `behind` (it has not carried out what there is for 15 s), `failing`
    /// (its firewall cannot be changed) or `silent` (no report for a minute).
    #[schema(example = "working")]
    state: &'static str,
    /// How it enforces, such as `nftables`.
    method: String,
    /// When it last reported.
    #[schema(value_type = String, format = DateTime)]
    reported_at: Timestamp,
    /// The number of the last change that it has carried out.
    #[schema(required)]
    cursor: Option<u64>,
    /// Since when there is something that it has not carried out.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    behind_since: Option<Timestamp>,
    /// Whether it goes by the allowlist and the switches that hold now.
    directed: bool,
    /// Bans in force there.
    held: u64,
    /// Bans that were left out because there were too many, since it started.
    left_out: u64,
    /// How often its firewall could not be changed since it started.
    failures: u64,
    /// What its firewall says now.
    #[schema(required)]
    error: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    failing_since: Option<Timestamp>,
    /// Orders that it does not obey, since it started.
    refused: Vec<Refused>,
    /// Packets that its bans have dropped since it started.
    dropped_packets: u64,
    /// What it does about the target that was asked about, where that is banned.
    #[schema(required)]
    about: Option<About>,
}

/// Orders that are not obeyed, for one reason.
#[derive(Serialize, ToSchema)]
#[schema(as = EffectRefused)]
pub(crate) struct Refused {
    /// Why.
    reason: String,
    /// How many.
    count: u64,
    /// About whom, the last ones.
    targets: Vec<String>,
}

/// What a host does about a banned target.
#[derive(Serialize, ToSchema)]
#[schema(as = EffectAbout)]
pub(crate) struct About {
    /// `carried-out`, `dry-run`, `refused`, `failing`, `behind` (not heard yet) or `silent`.
    #[schema(example = "carried-out")]
    state: &'static str,
    /// Why it is refused or fails.
    #[schema(required)]
    reason: Option<String>,
    /// Packets that its ban has dropped.
    dropped_packets: u64,
}

fn host((host, about): (HostEffect, Option<TargetEffect>)) -> Host {
    let dropped_packets = host.target_packets;
    let about = about.map(|about| {
        let (state, reason) = match about {
            TargetEffect::Carried => ("carried-out", None),
            TargetEffect::DryRun => ("dry-run", None),
            TargetEffect::Refused(reason) => ("refused", Some(reason)),
            TargetEffect::Failing(error) => ("failing", Some(error)),
            TargetEffect::Behind => ("behind", None),
            TargetEffect::Silent => ("silent", None),
        };
        About { state, reason, dropped_packets }
    });
    let report = host.report;
    Host {
        sensor: host.sensor.to_string(),
        host: report.host.map(|host| host.to_string()),
        state: host.state.as_str(),
        method: report.method.into(),
        reported_at: host.received_at,
        cursor: report.cursor,
        behind_since: host.behind_since,
        directed: host.is_directed,
        held: report.held,
        left_out: report.left_out,
        failures: report.failures,
        error: report.failing.as_ref().map(|failing| failing.error.to_string()),
        failing_since: report.failing.map(|failing| failing.since),
        refused: report
            .refused
            .into_iter()
            .map(|refused| Refused {
                reason: refused.reason.into(),
                count: refused.count,
                targets: refused.targets.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        dropped_packets: report.dropped_packets,
        about,
    }
}

/// What comes of decisions
///
/// How each agent does with what was decided, by its newest report; with `target` also what it does
/// about somebody. Agents report every 15 seconds, and soon after something has changed.
#[utoipa::path(
    get, path = "/api/v1/decisions/effect", tag = "decisions", operation_id = "decisionEffect",
    security(("session" = []), ("key" = [])),
    params(EffectParameters),
    responses(
        (status = 200, body = Effect, description = "Agents, and how they do"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The target is neither an address nor a network"),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<EffectParameters>,
) -> Result<axum::Json<Effect>, Problem> {
    let target = asked.target.as_deref().map(decisions::target).transpose()?;
    let effect = app.hub.decision_effect(&caller.who, target.as_ref(), auth::now()).await?;
    let target = target.map(|target| Target {
        target: target.to_string(),
        active: effect.is_active,
        dropped_packets: effect.packets,
    });
    Ok(axum::Json(Effect {
        hosts: effect.hosts.into_iter().map(host).collect(),
        head: effect.head,
        directions: effect.directions,
        target,
    }))
}

/// A report of an agent.
#[derive(ToSchema)]
#[schema(as = EffectReport)]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) struct Report {
    /// The machine.
    #[schema(required = false)]
    host: Option<String>,
    /// How bans are enforced: a word of small letters.
    #[schema(example = "nftables")]
    method: String,
    /// The number of the last change that is carried out.
    #[schema(required = false)]
    cursor: Option<u64>,
    /// The version of the directions that it goes by.
    #[schema(required = false)]
    directions: Option<u64>,
    /// Bans in force.
    #[schema(required = false)]
    held: u64,
    /// Bans left out because there were too many.
    #[schema(required = false)]
    left_out: u64,
    /// How often the firewall could not be changed.
    #[schema(required = false)]
    failures: u64,
    /// Why it cannot be changed now: `{"error": …, "since": …}`.
    #[schema(required = false)]
    failing: Option<serde_json::Value>,
    /// At most 8 of `{"reason": …, "count": 1, "targets": […]}`, with at most 20 targets each.
    #[schema(required = false)]
    refused: Vec<serde_json::Value>,
    /// Packets that bans have dropped.
    #[schema(required = false)]
    dropped_packets: u64,
    /// At most 1,000 of `{"target": …, "packets": 7}`: those that have changed.
    #[schema(required = false)]
    dropped: Vec<serde_json::Value>,
}

/// What the hub answers.
#[derive(Serialize, ToSchema)]
#[schema(as = EffectReceipt)]
pub(crate) struct Receipt {
    /// The hub knew nothing of this agent: the next report says all.
    all: bool,
}

/// Report what is carried out
///
/// For agents. The newest report of each counts. Needs a key with the scope `decisions` or `ingest`.
#[utoipa::path(
    post, path = "/api/v1/decisions/effect", tag = "decisions", operation_id = "reportEffect",
    security(("key" = [])),
    request_body = Report,
    responses(
        (status = 200, body = Receipt, description = "It is taken"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "No valid key"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "Longer than 512 KiB"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "It breaks a limit; the detail says which"),
    ),
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<axum::Json<Receipt>, Problem> {
    caller.require(Permission::Decisions)?;
    let deadline = Duration::from_secs(app.config.limits.body_secs);
    let body = body::read(body, MAX_EFFECT_BYTES, deadline).await?;
    let report = EffectReport::decode(&body);
    let report = report.map_err(|error| Problem::unprocessable(format!("{error}.")))?;
    let EffectReceipt { all } = app.hub.take_effect(&caller.who, report, auth::now())?;
    Ok(axum::Json(Receipt { all }))
}
