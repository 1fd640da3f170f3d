//! `/api/v1/decisions`: who is banned, by whom, why; bans by hand; and the
//! change feed that agents wait at.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use palisade_event::{
    DIRECTIONS_HEADER, DecisionOrigin, DecisionTarget, EventId, MAX_FEED_BYTES, MAX_NOTE_BYTES,
    Timestamp,
};
use palisade_hub::{Ban, DecisionQuery, DecisionRecord, FeedQuestion, Permission, Which};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Parameters, Segment};
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Decisions of a page where the request does not say.
const DEFAULT_DECISIONS: u32 = 100;
/// Most decisions of a page.
const MAX_DECISIONS: u32 = 1_000;
/// Longest wait for a change, in seconds.
pub(crate) const MAX_WAIT_SECS: u64 = 30;
/// How long a ban by hand lasts where the request does not say: 4 hours.
const DEFAULT_BAN_SECS: u64 = 4 * 60 * 60;

/// Which decisions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DecisionParameters {
    /// Those in force (default), those that are not (`past`: `ended`, `simulated` and `withheld`
    /// ones), or all.
    #[param(inline)]
    state: Option<WhichState>,
    /// The id of one decision.
    #[param(value_type = Option<String>)]
    id: Option<EventId>,
    /// An address or a network: decisions about it, around it or within it.
    #[param(example = "198.51.100.7")]
    target: Option<String>,
    /// The scenario that asked for them; `manual` for bans by hand.
    scenario: Option<String>,
    /// The sensor or the operator that made them.
    origin: Option<String>,
    /// A part of the target, scenario, reason, note, sensor, operator or host, whatever the case.
    find: Option<String>,
    /// Decisions, 1 to 1,000, default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Which decisions, by whether they are in force.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WhichState {
    /// In force.
    Active,
    /// Over, simulated, or withheld by the allowlist.
    Past,
    /// Over or lifted.
    Ended,
    /// Recorded alone.
    Simulated,
    /// Withheld by the allowlist.
    Withheld,
    /// Both.
    All,
}

/// One page of decisions, the last noted first.
#[derive(Serialize, ToSchema)]
pub(crate) struct DecisionPage {
    /// The decisions.
    decisions: Vec<DecisionInfo>,
    /// Cursor of the next page, if there may be one.
    #[schema(required)]
    next: Option<String>,
    /// How many there are in all, whatever was asked for.
    counts: Counts,
}

/// How many decisions there are of each sort.
#[derive(Serialize, ToSchema)]
#[schema(as = DecisionCounts)]
pub(crate) struct Counts {
    /// In force.
    active: u64,
    /// Over or lifted.
    ended: u64,
    /// Recorded alone.
    simulated: u64,
    /// Withheld by the allowlist.
    withheld: u64,
}

/// A decision.
#[derive(Serialize, ToSchema)]
#[schema(as = Decision)]
pub(crate) struct DecisionInfo {
    /// The id of its event.
    id: String,
    /// What is done: `ban`, or another word.
    #[serde(rename = "type")]
    kind: String,
    /// `ip` or `range`.
    scope: &'static str,
    /// To whom.
    #[schema(example = "198.51.100.7")]
    target: String,
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// For how long, in seconds, as it was decided.
    duration_secs: u64,
    /// When it is over, by its length or because it was lifted.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Whether it is in force.
    active: bool,
    /// Which scenario asked for it; `manual` where a person did.
    scenario: String,
    /// Why.
    reason: String,
    /// The event of the alert behind it.
    alert: String,
    /// Events that show it, the newest last.
    evidence: Vec<String>,
    /// Whether it is recorded alone.
    simulated: bool,
    /// Who made it.
    origin: Origin,
    /// What an operator wrote about it.
    #[schema(required)]
    note: Option<String>,
    /// When the hub heard of it.
    #[schema(value_type = String, format = DateTime)]
    noted_at: Timestamp,
    /// Who ended it before its time.
    #[schema(required)]
    ended_by: Option<String>,
    /// Why.
    #[schema(required)]
    end_reason: Option<String>,
    /// The entry of the allowlist that withholds it.
    #[schema(required)]
    withheld: Option<String>,
    /// Packets that bans of the target have dropped on all hosts, as far as agents have told since
    /// this hub was started.
    dropped_packets: u64,
}

/// Who made a decision.
#[derive(Serialize, ToSchema)]
#[schema(as = DecisionOrigin)]
pub(crate) struct Origin {
    /// `sensor`, `operator` or `hub`.
    kind: &'static str,
    /// The sensor or the operator.
    #[schema(required)]
    name: Option<String>,
    /// The machine, as the sensor names it.
    #[schema(required)]
    host: Option<String>,
}

impl DecisionInfo {
    fn of(record: DecisionRecord, dropped_packets: u64, now: Timestamp) -> Self {
        let active = record.is_active(now);
        let (decision, origin) = (record.made.decision, record.made.origin);
        let origin = match origin {
            DecisionOrigin::Sensor { name, host } => Origin {
                kind: "sensor",
                name: Some(name.to_string()),
                host: host.map(|host| host.to_string()),
            },
            DecisionOrigin::Operator { name } => {
                Origin { kind: "operator", name: Some(name.into()), host: None }
            }
            DecisionOrigin::Hub => Origin { kind: "hub", name: None, host: None },
        };
        Self {
            id: decision.id.to_string(),
            kind: decision.kind.to_string(),
            scope: decision.target.scope(),
            target: decision.target.to_string(),
            from: decision.from,
            duration_secs: decision.duration_secs,
            until: record.ended_at,
            active,
            scenario: decision.scenario.to_string(),
            reason: decision.reason.into(),
            alert: decision.alert.to_string(),
            evidence: decision.evidence.iter().map(ToString::to_string).collect(),
            simulated: decision.simulated,
            origin,
            note: record.made.note.map(Into::into),
            noted_at: record.noted_at,
            ended_by: record.ended_by,
            end_reason: record.end_reason,
            withheld: record.withheld,
            dropped_packets,
        }
    }
}

/// Reads a target of the path, the query or a body.
pub(crate) fn target(text: &str) -> Result<DecisionTarget, Problem> {
    text.trim().parse::<DecisionTarget>().map_err(|error| Problem::unprocessable(error.to_string()))
}

/// `MILLISECONDS-ID`.
fn position(text: &str) -> Option<(Timestamp, String)> {
    let (millis, id) = text.split_once('-')?;
    let id: palisade_event::EventId = id.parse().ok()?;
    Some((Timestamp::from_millis(millis.parse().ok()?), id.to_string()))
}

/// List decisions
///
/// Of all sensors and operators, the last noted first. What is over is listed for 30 days.
#[utoipa::path(
    get, path = "/api/v1/decisions", tag = "decisions", operation_id = "listDecisions",
    security(("session" = []), ("key" = [])),
    params(DecisionParameters),
    responses(
        (status = 200, body = DecisionPage, description = "A page of decisions"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<DecisionParameters>,
) -> Result<axum::Json<DecisionPage>, Problem> {
    let now = auth::now();
    let limit = asked.limit.unwrap_or(DEFAULT_DECISIONS);
    if !(1..=MAX_DECISIONS).contains(&limit) {
        return Err(Problem::unprocessable(format!("limit must be from 1 to {MAX_DECISIONS}.")));
    }
    let after = match &asked.cursor {
        Some(text) => {
            let wrong = || Problem::unprocessable("The cursor is not one of a page before.");
            Some(position(text).ok_or_else(wrong)?)
        }
        None => None,
    };
    let which = match asked.state.unwrap_or(WhichState::Active) {
        WhichState::Active => Some(Which::Active(now)),
        WhichState::Past => Some(Which::Past(now)),
        WhichState::Ended => Some(Which::Ended(now)),
        WhichState::Simulated => Some(Which::Simulated),
        WhichState::Withheld => Some(Which::Withheld),
        WhichState::All => None,
    };
    let find = asked.find.filter(|text| !text.trim().is_empty());
    if find.as_ref().is_some_and(|text| text.len() > MAX_NOTE_BYTES || text.contains('\0')) {
        return Err(Problem::unprocessable(format!(
            "find has at most {MAX_NOTE_BYTES} bytes and no NUL."
        )));
    }
    let query = DecisionQuery {
        id: asked.id.map(|id| id.to_string()),
        which,
        find: find.map(|text| text.trim().to_owned()),
        target: asked.target.as_deref().map(target).transpose()?,
        scenario: asked.scenario,
        origin: asked.origin,
        after,
    };
    let found = app.hub.decisions(&caller.who, &query, limit).await?;
    let next = match found.last() {
        Some(last) if found.len() >= limit as usize => {
            Some(format!("{}-{}", last.noted_at.as_millis(), last.made.decision.id))
        }
        _ => None,
    };
    let counts = app.hub.decision_counts(&caller.who, now).await?;
    let targets: Vec<DecisionTarget> =
        found.iter().map(|record| record.made.decision.target).collect();
    let packets = app.hub.dropped_packets(&targets);
    let decisions = found.into_iter().zip(packets);
    Ok(axum::Json(DecisionPage {
        decisions: decisions
            .map(|(record, packets)| DecisionInfo::of(record, packets, now))
            .collect(),
        next,
        counts: Counts {
            active: counts.active,
            ended: counts.ended,
            simulated: counts.simulated,
            withheld: counts.withheld,
        },
    }))
}

/// A ban by hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBan {
    /// An address, or a network from /16 (IPv4) or /32 (IPv6) on.
    #[schema(example = "198.51.100.7")]
    target: String,
    /// For how long, in seconds; default 4 hours.
    #[serde(default)]
    #[schema(required = false, nullable = false, minimum = 1)]
    duration_secs: Option<u64>,
    /// Why, in a few words, for whoever carries it out.
    #[serde(default)]
    #[schema(required = false)]
    reason: Option<String>,
    /// What colleagues should know.
    #[serde(default)]
    #[schema(required = false)]
    note: Option<String>,
}

/// Ban somebody
///
/// On all machines and bouncers, from now on. Needs the role operator.
#[utoipa::path(
    post, path = "/api/v1/decisions", tag = "decisions", operation_id = "ban",
    security(("session" = []), ("key" = [])),
    request_body = NewBan,
    responses(
        (status = 201, body = DecisionInfo, description = "It is in force"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule, or the allowlist spares the target; the detail says which"),
    ),
)]
pub(crate) async fn ban(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<NewBan>,
) -> Result<Response, Problem> {
    let now = auth::now();
    let NewBan { target: text, duration_secs, reason, note } = asked;
    let duration_secs = duration_secs.unwrap_or(DEFAULT_BAN_SECS);
    let ban = Ban { target: target(&text)?, duration_secs, reason, note };
    let made = app.hub.ban(&caller.who, ban, now).await?;
    Ok((StatusCode::CREATED, axum::Json(DecisionInfo::of(made, 0, now))).into_response())
}

/// Why a ban is lifted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiftParameters {
    /// Why, in a few words.
    reason: Option<String>,
}

/// What was lifted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lifted {
    /// Whose decisions are over.
    target: String,
    /// How many were in force here.
    lifted: u64,
}

/// Lift what was decided about somebody
///
/// On all machines and bouncers; also what is on its way from an agent that was away. Needs the
/// role operator.
#[utoipa::path(
    delete, path = "/api/v1/decisions/{target}", tag = "decisions", operation_id = "unban",
    security(("session" = []), ("key" = [])),
    params(("target" = String, Path, description = "The address or network"), LiftParameters),
    responses(
        (status = 200, body = Lifted, description = "It is over"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The target or the reason breaks a rule"),
    ),
)]
pub(crate) async fn lift(
    State(app): State<App>,
    caller: Caller,
    Segment(text): Segment,
    Parameters(asked): Parameters<LiftParameters>,
) -> Result<axum::Json<Lifted>, Problem> {
    let target = target(&text)?;
    let lifted = app.hub.lift(&caller.who, target, asked.reason, auth::now()).await?;
    Ok(axum::Json(Lifted { target: target.to_string(), lifted }))
}

/// From where on, and how long to wait.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedParameters {
    /// `cursor` of the page before; without it, all that is in force.
    after: Option<u64>,
    /// `snapshot` of the page before, where it had one.
    snapshot: Option<u64>,
    /// Seconds to wait for a change, 0 (default) to 30.
    #[param(maximum = 30)]
    wait: Option<u64>,
}

/// A page of the change feed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) struct DecisionFeed {
    /// What to ask after next.
    cursor: u64,
    /// Changes, oldest first: `{"seq": 7, "change": {"made": {"decision": …, "origin": …, "note": …}}}`
    /// or `{"seq": 8, "change": {"lifted": {"target": …, "by": …, "at": …, "reason": …}}}`.
    changes: Vec<serde_json::Value>,
    /// The hub does not know the cursor: this page and those after it have all that is in force.
    reset: bool,
    /// More pages of a reset follow: ask with it beside the cursor.
    #[schema(nullable = false)]
    snapshot: Option<u64>,
    /// What holds beside decisions, where the asker has another one:
    /// `{"version": 7, "allow": [{"target": …, "reason": …, "until": …}], "simulate": {"port-scan": true}}`.
    #[schema(nullable = false)]
    directions: Option<serde_json::Value>,
}

/// Wait for changes
///
/// For agents: what was decided and lifted after a cursor, in order; waits while there is nothing
/// new. With the header `palisade-directions` (the version that the agent has, or `none`) also whom
/// the hub spares and which scenarios it has switched, where that is another version. Needs a key
/// with the scope `decisions` or `ingest`.
#[utoipa::path(
    get, path = "/api/v1/decisions/feed", tag = "decisions", operation_id = "followDecisions",
    security(("key" = [])),
    params(FeedParameters),
    responses(
        (status = 200, body = DecisionFeed, description = "What has changed"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "No valid key"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn feed(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Parameters(asked): Parameters<FeedParameters>,
) -> Result<Response, Problem> {
    caller.require(Permission::Decisions)?;
    let wait = Duration::from_secs(asked.wait.unwrap_or(0).min(MAX_WAIT_SECS));
    // What is no number is no version that anybody has.
    let directions = headers.get(DIRECTIONS_HEADER);
    let directions = directions.map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    let asked = FeedQuestion { after: asked.after, snapshot: asked.snapshot, directions };
    let asks = app.hub.follow_decisions(&caller.who, asked, wait);
    let page = tokio::select! {
        page = asks => page?,
        // Nobody waits for a hub that is stopping.
        () = app.shutdown.cancelled() => {
            return Err(Problem::unavailable("The hub is stopping.", 1));
        }
    };
    let text = page.encode();
    debug_assert!(text.len() <= MAX_FEED_BYTES, "a page is bounded");
    let mut response = text.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}
