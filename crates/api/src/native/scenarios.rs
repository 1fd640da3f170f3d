//! `/api/v1/scenarios`: what detection looks for, what it has found, and which
//! scenarios are only simulated.

use axum::extract::State;
use palisade_event::{EventId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, Segment, events};
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Whose hits are counted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HitParameters {
    /// Query text over the alerts (`scenario.triggered`); empty counts all of them.
    #[serde(default)]
    #[param(required = false, example = "since:24h")]
    q: String,
}

/// Scenarios, and who detects.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScenarioList {
    /// Those in use here, then those that only agents elsewhere have, as far as
    /// they have hit.
    scenarios: Vec<Scenario>,
    /// Scenarios that the settings here do not use.
    disabled: Vec<String>,
    /// Who has told of hits, and the detector of this process.
    detectors: Vec<Detector>,
    /// Parsers that lines can be explained with.
    parsers: Vec<String>,
}

/// Somebody who detects.
#[derive(Serialize, ToSchema)]
pub(crate) struct Detector {
    /// The sensor.
    sensor: String,
    /// Its hits in the range.
    hits: u64,
    /// Whether switches of simulation reach it: it is here, or an agent that is
    /// there and takes them.
    reached: bool,
    /// Whether it is in this process.
    here: bool,
}

/// A scenario and what it has found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scenario {
    /// Its name.
    #[schema(example = "ssh-bruteforce")]
    name: String,
    /// What it counts; null where only agents elsewhere have it.
    #[schema(required)]
    rule: Option<ScenarioRule>,
    /// Whether its decisions are recorded and never carried out.
    simulated: bool,
    /// Who switched that and when; null where it is as the settings say.
    #[schema(required)]
    switched: Option<Switched>,
    /// Its alerts in the range.
    hits: u64,
    /// The newest of them.
    #[schema(required)]
    last_hit: Option<LastHit>,
    /// At most five, the most frequent first.
    addresses: Vec<HitCount>,
    /// Its alerts by time, by the first instant of each interval; empty without any.
    timeline: Vec<HitCount>,
}

/// What a scenario counts, in words of its file.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScenarioRule {
    /// What it finds, in one sentence.
    description: String,
    /// Who counts: `agent`, each over what its machine sees, or `hub`, over what all see.
    #[schema(example = "agent")]
    runs: &'static str,
    /// The way of counting.
    #[schema(example = "leaky-bucket")]
    kind: &'static str,
    /// Which sightings count.
    #[schema(example = "service:sshd kind:auth.attempted outcome:failed")]
    filter: String,
    /// Of a sequence, what comes last and makes the alert.
    #[schema(required)]
    then: Option<String>,
    /// When there are too many.
    #[schema(example = "more than 5 at once, one forgotten each 10s")]
    threshold: String,
    /// Whose are counted together: address, network, user or asn.
    #[schema(example = "address")]
    group_by: &'static str,
    /// How long after an alert the same group is not counted.
    #[schema(required)]
    blackhole_secs: Option<u32>,
    /// What is asked for; null where an alert is enough.
    #[schema(required, example = "ban")]
    decision: Option<String>,
    /// For how long at first; null where the policy says.
    #[schema(required)]
    ban_secs: Option<u32>,
    /// Whether an alert means that somebody got in.
    break_in: bool,
    /// The administrator's file; null where it is shipped.
    #[schema(required)]
    file: Option<String>,
    /// Whether the settings have it simulated.
    simulated_by_settings: bool,
}

/// Who switched simulation, and when.
#[derive(Serialize, ToSchema)]
pub(crate) struct Switched {
    /// The account or key.
    by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// The newest alert of a scenario.
#[derive(Serialize, ToSchema)]
pub(crate) struct LastHit {
    /// Id of its event.
    #[schema(value_type = String)]
    id: EventId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// How many alerts a value has.
#[derive(Serialize, ToSchema)]
pub(crate) struct HitCount {
    /// The address, or the first instant of an interval.
    value: String,
    /// Alerts.
    count: u64,
}

/// Whether a scenario is to be simulated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Simulate {
    /// `true`: its decisions are recorded and never carried out.
    simulated: bool,
}

/// What a switch has done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Simulated {
    /// The scenario.
    scenario: String,
    /// As it is now.
    simulated: bool,
    /// The detectors that follow at once: the one of this process, where it has
    /// one, and agents that are there.
    reached: Vec<String>,
}

/// Scenarios
///
/// What detection looks for and what it has found among the events that a query
/// finds. Needs the right to see private events.
#[utoipa::path(
    get, path = "/api/v1/scenarios", tag = "detection", operation_id = "listScenarios",
    security(("session" = []), ("key" = [])),
    params(HitParameters),
    responses(
        (status = 200, body = ScenarioList, description = "The scenarios"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query cannot be understood; `at` says where"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<HitParameters>,
) -> Result<axum::Json<ScenarioList>, Problem> {
    let query = events::parse(&asked.q)?;
    let list = app.hub.scenarios(&caller.who, query).await?;
    Ok(axum::Json(list.into()))
}

/// Switch simulation
///
/// Turns simulation of a scenario on or off, until it is switched again; what is
/// as the settings say is no switch any more. Decisions of a simulated scenario
/// are recorded and never carried out.
#[utoipa::path(
    put, path = "/api/v1/scenarios/{name}/simulation", tag = "detection", operation_id = "simulateScenario",
    security(("session" = []), ("key" = [])),
    params(("name" = String, Path, description = "The scenario", example = "port-scan")),
    request_body = Simulate,
    responses(
        (status = 200, body = Simulated, description = "It is switched, for good"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Needs the role or scope admin"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No scenario in use here has this name"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The state database does not answer"),
    ),
)]
pub(crate) async fn simulate(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
    Json(asked): Json<Simulate>,
) -> Result<axum::Json<Simulated>, Problem> {
    let follow = app.hub.simulate(&caller.who, &name, asked.simulated, auth::now()).await?;
    let reached = follow.iter().map(ToString::to_string).collect();
    Ok(axum::Json(Simulated { scenario: name, simulated: asked.simulated, reached }))
}

impl From<palisade_hub::ScenarioList> for ScenarioList {
    fn from(list: palisade_hub::ScenarioList) -> Self {
        let detector = |detector: palisade_hub::DetectorInfo| Detector {
            sensor: detector.sensor,
            hits: detector.hits,
            reached: detector.reached,
            here: detector.here,
        };
        Self {
            scenarios: list.scenarios.into_iter().map(Into::into).collect(),
            disabled: list.disabled,
            detectors: list.detectors.into_iter().map(detector).collect(),
            parsers: list.parsers,
        }
    }
}

impl From<palisade_hub::ScenarioInfo> for Scenario {
    fn from(info: palisade_hub::ScenarioInfo) -> Self {
        let counts = |counts: Vec<(String, u64)>| {
            counts.into_iter().map(|(value, count)| HitCount { value, count }).collect()
        };
        Self {
            name: info.name,
            rule: info.rule.map(Into::into),
            simulated: info.simulated,
            switched: info
                .switch
                .map(|switch| Switched { by: switch.changed_by, at: switch.changed_at }),
            hits: info.hits,
            last_hit: info.last.map(|(at, id)| LastHit { id, at }),
            addresses: counts(info.addresses),
            timeline: counts(info.timeline),
        }
    }
}

impl From<palisade_hub::ScenarioRule> for ScenarioRule {
    fn from(rule: palisade_hub::ScenarioRule) -> Self {
        Self {
            description: rule.description,
            runs: rule.runs,
            kind: rule.kind,
            filter: rule.filter,
            then: rule.then,
            threshold: rule.threshold,
            group_by: rule.group_by,
            blackhole_secs: rule.blackhole_secs,
            decision: rule.decision,
            ban_secs: rule.ban_secs,
            break_in: rule.is_break_in,
            file: rule.file,
            simulated_by_settings: rule.simulated_by_settings,
        }
    }
}
