//! `GET /api/v1/sessions`: what attackers did, session by session, and the
//! recordings of their terminals. Not the sessions of those who sign in to the
//! page; that is [`super::session`].

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use palisade_event::{Category, Event, SensorId, SessionId, Timestamp, Untrusted};
use palisade_hub::{AttackSession, MAX_PAGE_SESSIONS, Permission, Recording};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::events::{bounded, cursor, parse};
use super::{Parameters, Segment, schema};
use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Sessions of a page where the request does not say.
const DEFAULT_PAGE_SESSIONS: usize = 50;
/// Events of a session's page where the request does not say, and most.
const DEFAULT_PAGE_EVENTS: usize = 500;
const MAX_PAGE_EVENTS: usize = 1000;
/// What recordings are.
const ASCIICAST: HeaderValue = HeaderValue::from_static("application/x-asciicast");

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// Query text; a session is listed where one of its events matches. Empty
    /// finds all, `kind:session.recorded` those with a recording.
    #[serde(default)]
    #[param(required = false, example = "kind:command.entered since:7d")]
    q: String,
    /// Sessions of the page, 1 to 200, default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Whose session, and which of its events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OneParameters {
    /// The sensor that saw it; needed where two sensors gave the same id.
    sensor: Option<String>,
    /// Events of the page, 1 to 1000, default 500.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Whose session.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SensorParameters {
    /// The sensor that saw it; needed where two sensors gave the same id.
    sensor: Option<String>,
}

/// A session, summed up.
#[derive(Serialize, ToSchema)]
#[schema(as = AttackSession)]
pub(crate) struct Summary {
    /// Its id.
    #[schema(value_type = String)]
    id: SessionId,
    /// The sensor that saw it.
    #[schema(value_type = String)]
    sensor: SensorId,
    /// Who may see it.
    #[schema(value_type = schema::Domain)]
    domain: palisade_event::Domain,
    /// The type of service.
    #[schema(value_type = Option<String>, required)]
    category: Option<Category>,
    /// Where it came from.
    #[schema(value_type = Option<schema::Endpoint>, required)]
    source: Option<palisade_event::Endpoint>,
    /// Where that is.
    #[schema(value_type = Option<schema::Geo>, required)]
    source_geo: Option<Box<palisade_event::Geo>>,
    /// Where it went.
    #[schema(value_type = Option<schema::Endpoint>, required)]
    target: Option<palisade_event::Endpoint>,
    /// The user it was let in as.
    #[schema(value_type = Option<schema::Untrusted>, required)]
    user: Option<Untrusted>,
    /// When it began; null where nothing tells.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    started_at: Option<Timestamp>,
    /// When it ended, else its newest event that was looked at.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// How long it took, in milliseconds; null while it lasts.
    #[schema(required)]
    duration_ms: Option<u64>,
    /// Why it ended; null while it lasts, or where that is not known.
    #[schema(value_type = Option<schema::Untrusted>, required)]
    reason: Option<Untrusted>,
    /// Logins that were refused.
    logins_failed: u64,
    /// Logins that were let in.
    logins_accepted: u64,
    /// Command lines.
    commands: u64,
    /// Files asked for from elsewhere.
    downloads: u64,
    /// Files captured.
    payloads: u64,
    /// Whether there is a recording.
    recorded: bool,
}

impl From<AttackSession> for Summary {
    fn from(session: AttackSession) -> Self {
        Self {
            id: session.id,
            sensor: session.sensor,
            domain: session.domain,
            category: session.category,
            source: session.source,
            source_geo: session.source_geo,
            target: session.target,
            user: session.user,
            started_at: session.started_at,
            last_at: session.last_at,
            duration_ms: session.duration_ms,
            reason: session.reason,
            logins_failed: session.logins_failed,
            logins_accepted: session.logins_accepted,
            commands: session.commands,
            downloads: session.downloads,
            payloads: session.payloads,
            recorded: session.recorded,
        }
    }
}

/// One page of sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// The sessions, the one with the newest matching event first. A page may
    /// have fewer than asked for, or none, and still not be the last.
    sessions: Vec<Summary>,
    /// Give this as `cursor` to get the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

/// A session with its events and what is known of its recording.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionShown {
    /// The session.
    session: Summary,
    /// What can be replayed; null where there is nothing.
    #[schema(required)]
    recording: Option<RecordingInfo>,
    /// Its newest events, or those before `cursor`, in the order in which they
    /// happened; without the parts of the recording.
    #[schema(value_type = Vec<schema::Event>)]
    events: Vec<Event>,
    /// Give this as `cursor` to get the events before; null where there are none.
    #[schema(required)]
    next: Option<String>,
}

/// What is known of a recording.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordingInfo {
    /// When it began: time 0 of the recording.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Columns of the terminal when it began.
    width: u16,
    /// Its rows.
    height: u16,
    /// How long it is, in milliseconds.
    length_ms: u64,
    /// Whether the session had ended and no part is missing.
    complete: bool,
    /// Whether it was cut at a bound.
    truncated: bool,
}

impl From<&Recording> for RecordingInfo {
    fn from(recording: &Recording) -> Self {
        Self {
            started_at: recording.started_at,
            width: recording.size.0,
            height: recording.size.1,
            length_ms: recording.length_ms,
            complete: recording.complete,
            truncated: recording.truncated,
        }
    }
}

/// Sessions of attackers
///
/// What belongs together under one session id of one sensor, summed up: the
/// session of which the newest event matches comes first. Sessions that last are
/// among them.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "events", operation_id = "listAttackSessions",
    security(("session" = []), ("key" = [])),
    params(ListParameters),
    responses(
        (status = 200, body = SessionPage, description = "A page"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query cannot be understood; `at` says where"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<ListParameters>,
) -> Result<axum::Json<SessionPage>, Problem> {
    caller.require(Permission::Read)?;
    let query = parse(&asked.q)?;
    let limit = bounded(asked.limit, DEFAULT_PAGE_SESSIONS, MAX_PAGE_SESSIONS)?;
    let after = asked.cursor.as_deref().map(cursor).transpose()?;
    let page = app.hub.attack_sessions(&caller.who, query, limit, after).await?;
    Ok(axum::Json(SessionPage {
        sessions: page.sessions.into_iter().map(Summary::from).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// One session of an attacker
///
/// Its summary, its events and whether there is a recording.
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}", tag = "events", operation_id = "getAttackSession",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id"), OneParameters),
    responses(
        (status = 200, body = SessionShown, description = "The session"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not an id, or a parameter does not fit"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none, or not for you"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
    Parameters(asked): Parameters<OneParameters>,
) -> Result<axum::Json<SessionShown>, Problem> {
    caller.require(Permission::Read)?;
    let (id, sensor) = named(&id, asked.sensor.as_deref())?;
    let limit = bounded(asked.limit, DEFAULT_PAGE_EVENTS, MAX_PAGE_EVENTS)?;
    let after = asked.cursor.as_deref().map(cursor).transpose()?;
    let found = app.hub.attack_session(&caller.who, &id, sensor.as_ref(), limit, after).await?;
    let found = found.ok_or_else(missing)?;
    let recording = if found.session.recorded {
        app.hub.recording(&caller.who, &id, Some(&found.session.sensor)).await?
    } else {
        None
    };
    Ok(axum::Json(SessionShown {
        session: found.session.into(),
        recording: recording.as_ref().map(RecordingInfo::from),
        events: found.events,
        next: found.next.map(|cursor| cursor.to_string()),
    }))
}

/// The recording of a session
///
/// In asciicast v2, as far as it has come. Bytes that are no UTF-8 stand in it as
/// characters of U+EF80 to U+EFFF. What attackers print may steer a terminal:
/// replay it with `palisade session play`, or with a player that does not pass
/// escape sequences on.
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}/recording", tag = "events", operation_id = "getRecording",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "The session's id"), SensorParameters),
    responses(
        (status = 200, body = String, content_type = "application/x-asciicast", description = "The recording"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not an id"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none, or not for you"),
    ),
)]
pub(crate) async fn recording(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
    Parameters(asked): Parameters<SensorParameters>,
) -> Result<Response, Problem> {
    caller.require(Permission::Read)?;
    let (id, sensor) = named(&id, asked.sensor.as_deref())?;
    let found = app.hub.recording(&caller.who, &id, sensor.as_ref()).await?;
    let recording = found
        .ok_or_else(|| Problem::not_found("There is no recording of a session with this id."))?;
    let mut response = recording.asciicast().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, ASCIICAST);
    // A browser that is sent here saves it and shows nothing.
    if let Ok(name) = HeaderValue::from_str("attachment; filename=\"session.cast\"") {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn named(id: &str, sensor: Option<&str>) -> Result<(SessionId, Option<SensorId>), Problem> {
    let id = SessionId::new(id).map_err(|error| Problem::bad_request(error.to_string()))?;
    let sensor = sensor.map(SensorId::new).transpose();
    let sensor = sensor.map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok((id, sensor))
}

fn missing() -> Problem {
    Problem::not_found("There is no session with this id.")
}
