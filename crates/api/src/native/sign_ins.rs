//! `/api/v1/sign-ins`: who is signed in to the page, and where. Not to be taken
//! for `/api/v1/sessions`, which are those of attackers.

use std::net::IpAddr;

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use palisade_event::Timestamp;
use palisade_hub::SessionInfo;
use serde::Serialize;
use utoipa::ToSchema;

use super::Segment;
use crate::auth::{self, Caller};
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Sessions of the page, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignInList {
    /// The sessions that are valid now.
    sign_ins: Vec<SignInInfo>,
}

/// One browser in which somebody is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignInInfo {
    /// Names it, to end it.
    id: String,
    /// Whose it is.
    username: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, give or take a minute.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// The last instant at which it can be valid.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Where it began.
    #[schema(value_type = Option<String>, required)]
    address: Option<IpAddr>,
    /// What the browser calls itself, escaped.
    #[schema(required)]
    user_agent: Option<String>,
    /// Whether this request comes from it.
    current: bool,
}

impl SignInInfo {
    fn new(session: SessionInfo, asking: Option<&str>) -> Self {
        Self {
            current: asking == Some(session.id.as_str()),
            id: session.id,
            username: session.account,
            created_at: session.created_at,
            last_seen: session.last_seen,
            expires_at: session.expires_at,
            address: session.address,
            user_agent: session.user_agent,
        }
    }
}

/// Who is signed in
///
/// All sessions for the role admin, else one's own.
#[utoipa::path(
    get, path = "/api/v1/sign-ins", tag = "administration", operation_id = "listSignIns",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = SignInList, description = "The sessions"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<axum::Json<SignInList>, Problem> {
    let asking = auth::session_token(&headers).map(|token| app.hub.session_id(token));
    let sessions = app.hub.sessions(&caller.who, auth::now()).await?;
    let of = |session| SignInInfo::new(session, asking.as_deref());
    Ok(axum::Json(SignInList { sign_ins: sessions.into_iter().map(of).collect() }))
}

/// Sign somebody out
///
/// Any session for the role admin, else one of one's own.
#[utoipa::path(
    delete, path = "/api/v1/sign-ins/{id}", tag = "administration", operation_id = "endSignIn",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none, or it is somebody else's"),
    ),
)]
pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.revoke_session(&caller.who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
