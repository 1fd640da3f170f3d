//! `/api/v1/ews-users`: who delivers and asks in the EWS dialect, with a name
//! and a token. Needs the role admin.

use axum::extract::State;
use http::StatusCode;
use palisade_event::{Domain, SensorId, Timestamp};
use palisade_hub::{EwsSecret, EwsUserInfo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Segment, schema};
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// All EWS users, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct EwsUserList {
    /// The users, without their tokens.
    ews_users: Vec<EwsUser>,
}

/// A user of the EWS dialect, without its token.
#[derive(Serialize, ToSchema)]
pub(crate) struct EwsUser {
    /// What it sends; also the sensor that it stands for.
    #[schema(value_type = String)]
    name: SensorId,
    /// Domain of the events that it delivers.
    #[schema(value_type = schema::Domain)]
    domain: Domain,
    /// Whom to write to.
    #[schema(required)]
    email: Option<String>,
    /// Whether it may not deliver.
    read_only: bool,
    /// Whether it sees community events alone.
    community_only: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, give or take a minute.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_used_at: Option<Timestamp>,
}

/// An EWS user to be made; exactly one of the three fields that begin with
/// `token` is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEwsUser {
    /// What it will send: 1 to 64 letters, digits, `.`, `_`, `-`.
    #[schema(value_type = String, example = "tpot-1")]
    name: SensorId,
    /// Its token: 8 characters or more.
    #[schema(format = Password, nullable = false)]
    token: Option<String>,
    /// SHA-512 of its token, in hex, as another backend kept it.
    #[schema(nullable = false)]
    token_sha512: Option<String>,
    /// MD5 of its token, in hex, as another backend kept it.
    #[schema(nullable = false)]
    token_md5: Option<String>,
    /// Domain of the events that it delivers. Default: private.
    #[serde(default)]
    #[schema(value_type = schema::Domain, required = false)]
    domain: Domain,
    /// Whom to write to.
    #[schema(nullable = false)]
    email: Option<String>,
    /// Whether it may not deliver. Default: false.
    #[serde(default)]
    #[schema(required = false)]
    read_only: bool,
    /// Whether it sees community events alone. Default: false.
    #[serde(default)]
    #[schema(required = false)]
    community_only: bool,
}

impl From<EwsUserInfo> for EwsUser {
    fn from(user: EwsUserInfo) -> Self {
        Self {
            name: user.name,
            domain: user.domain,
            email: user.email,
            read_only: user.read_only,
            community_only: user.community_only,
            created_at: user.created_at,
            last_used_at: user.last_used_at,
        }
    }
}

/// EWS users
#[utoipa::path(
    get, path = "/api/v1/ews-users", tag = "administration", operation_id = "listEwsUsers",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = EwsUserList, description = "The users"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<EwsUserList>, Problem> {
    let users = app.hub.ews_users(&caller.who).await?;
    Ok(axum::Json(EwsUserList { ews_users: users.into_iter().map(EwsUser::from).collect() }))
}

/// Make an EWS user
#[utoipa::path(
    post, path = "/api/v1/ews-users", tag = "administration", operation_id = "addEwsUser",
    security(("session" = []), ("key" = [])),
    request_body = NewEwsUser,
    responses(
        (status = 201, description = "It can deliver and ask"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The name is taken"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewEwsUser>,
) -> Result<StatusCode, Problem> {
    let secret = match (new.token, new.token_sha512, new.token_md5) {
        (Some(token), None, None) => EwsSecret::Token(token),
        (None, Some(digits), None) => EwsSecret::Sha512(digits),
        (None, None, Some(digits)) => EwsSecret::Md5(digits),
        _ => {
            let detail = "Give exactly one of token, token_sha512 and token_md5.";
            return Err(Problem::unprocessable(detail));
        }
    };
    let new = palisade_hub::NewEwsUser {
        name: new.name,
        secret,
        domain: new.domain,
        email: new.email,
        read_only: new.read_only,
        community_only: new.community_only,
    };
    app.hub.add_ews_user(&caller.who, new, auth::now()).await?;
    Ok(StatusCode::CREATED)
}

/// Remove an EWS user
///
/// Its token is refused from then on; what it delivered stays.
#[utoipa::path(
    delete, path = "/api/v1/ews-users/{name}", tag = "administration", operation_id = "removeEwsUser",
    security(("session" = []), ("key" = [])),
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.remove_ews_user(&caller.who, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
