//! `/api/v1/session`: signing in and out of the page.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use palisade_event::Timestamp;
use palisade_hub::{Permission, SignInError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::{self, COOKIE, Caller};
use crate::body::Json;
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Longest user name or password that is looked at, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// What a person types to sign in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// Name of the account.
    #[schema(example = "admin")]
    username: String,
    /// Its password.
    #[schema(format = Password)]
    password: String,
}

/// A session that was begun; the token is in the cookie.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedIn {
    /// Name of the account.
    username: String,
    /// What it may do.
    role: RoleName,
    /// The last instant at which the session can be valid.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// Name of the account, or of the key's sensor.
    username: String,
    /// What it may do; for a key the role that may do as much.
    role: RoleName,
    /// The last instant at which the session can be valid; null for a key.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
    /// Version of the hub.
    version: &'static str,
}

/// What an account may do.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleName {
    /// Sees events.
    Viewer,
    /// Sees everything and acts on hosts.
    Operator,
    /// Also manages accounts and keys.
    Admin,
}

impl From<RoleName> for palisade_hub::Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Viewer => Self::Viewer,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

impl From<palisade_hub::Role> for RoleName {
    fn from(role: palisade_hub::Role) -> Self {
        match role {
            palisade_hub::Role::Viewer => Self::Viewer,
            palisade_hub::Role::Operator => Self::Operator,
            palisade_hub::Role::Admin => Self::Admin,
        }
    }
}

impl RoleName {
    /// The role of an account, or the one that may do what the key may.
    fn of(who: &palisade_hub::Principal) -> Self {
        match who.role() {
            Some(role) => role.into(),
            None if who.may(Permission::Administer) => Self::Admin,
            None if who.may(Permission::Operate) => Self::Operator,
            None => Self::Viewer,
        }
    }
}

/// Sign in
///
/// Answers with a session cookie. Ten attempts an address at once, then one
/// every six seconds.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "session", operation_id = "signIn",
    request_body = SignIn,
    responses(
        (status = 200, body = SignedIn, description = "Signed in",
            headers(("Set-Cookie" = String, description = "The session token"))),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Name or password is wrong"),
        (status = 429, body = ProblemBody, content_type = "application/problem+json", description = "Too many attempts",
            headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn begin(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let client = request.extensions().get::<Client>().copied().unwrap_or(Client::LOCAL);
    let agent = request.headers().get(header::USER_AGENT).map(|value| value.as_bytes().to_vec());
    let Json(given) =
        <Json<SignIn> as axum::extract::FromRequest<App>>::from_request(request, &app).await?;
    app.sign_in.take(client.address, Instant::now()).map_err(Problem::too_many)?;
    if given.username.len() > MAX_CREDENTIAL_BYTES || given.password.len() > MAX_CREDENTIAL_BYTES {
        return Err(wrong());
    }
    let from = Some(client.address);
    let begun = app
        .hub
        .sign_in(&given.username, &given.password, from, agent.as_deref(), auth::now())
        .await
        .map_err(|error| match error {
            SignInError::Wrong => wrong(),
            SignInError::Throttled { retry_after_secs } => Problem::too_many(retry_after_secs),
            SignInError::Unavailable(reason) => Problem::state_unavailable(reason),
            SignInError::Failed(reason) => Problem::internal(reason),
        })?;
    let cookie = cookie_of(&app, client, &begun)?;
    let body = SignedIn {
        username: begun.principal.name().to_owned(),
        role: RoleName::of(&begun.principal),
        expires_at: begun.expires_at,
    };
    Ok(([(header::SET_COOKIE, cookie)], axum::Json(body)).into_response())
}

fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "User name or password is wrong.").kind("sign-in")
}

/// The cookie of a session that was begun.
pub(crate) fn cookie_of(
    app: &App,
    client: Client,
    begun: &palisade_hub::SignedIn,
) -> Result<HeaderValue, Problem> {
    let lasts = begun.expires_at.as_millis().saturating_sub(auth::now().as_millis()).max(0) / 1000;
    cookie(app, client, &begun.token, lasts)
}

/// A session cookie; an empty one of no seconds takes it away.
pub(crate) fn cookie(
    app: &App,
    client: Client,
    token: &str,
    secs: i64,
) -> Result<HeaderValue, Problem> {
    let path = match app.config.base_path.as_str() {
        "" => "/",
        base => base,
    };
    let secure = if client.secure { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={token}; Path={path}; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(text).map_err(Problem::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Who is signed in
#[utoipa::path(
    get, path = "/api/v1/session", tag = "session", operation_id = "getSession",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = Session, description = "The account or key of this request"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn show(caller: Caller) -> axum::Json<Session> {
    axum::Json(Session {
        username: caller.who.name().to_owned(),
        role: RoleName::of(&caller.who),
        expires_at: caller.expires_at,
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Sign out
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "session", operation_id = "signOut",
    security(("session" = [])),
    params(("X-Palisade" = String, Header, description = "Must be 1", example = "1")),
    responses(
        (status = 204, description = "The session is over"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "The header X-Palisade is missing"),
    ),
)]
pub(crate) async fn end(
    State(app): State<App>,
    _caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let client = request.extensions().get::<Client>().copied().unwrap_or(Client::LOCAL);
    if let Some(token) = auth::session_token(request.headers()) {
        app.hub.sign_out(token).await?;
    }
    let gone = cookie(&app, client, "", 0)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}
