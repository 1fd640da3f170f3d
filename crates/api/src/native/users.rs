//! `/api/v1/users`: accounts. Needs the role admin, but for one's own password.

use axum::extract::State;
use http::StatusCode;
use palisade_event::Timestamp;
use palisade_hub::{Account, AdminError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Segment;
use super::session::RoleName;
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// All accounts, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserList {
    /// The accounts.
    users: Vec<User>,
}

/// A person's account.
#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    /// What the person types.
    username: String,
    /// What it may do.
    role: RoleName,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Whether it is shut out.
    disabled: bool,
}

/// An account to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// What the person will type.
    #[schema(example = "anna")]
    username: String,
    /// What it may do.
    role: RoleName,
    /// Its password.
    #[schema(format = Password)]
    password: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// What an account may do from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    /// The role.
    role: RoleName,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            username: account.name,
            role: account.role.into(),
            created_at: account.created_at,
            disabled: account.disabled,
        }
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let sentence = || {
            let text = error.to_string();
            let mut letters = text.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            format!("{first}{}.", letters.as_str().trim_end_matches('.'))
        };
        match &error {
            AdminError::Forbidden | AdminError::Denied(_) => Self::forbidden(sentence()),
            AdminError::NotFound(_) => Self::not_found(sentence()),
            AdminError::Exists(_) => Self::new(StatusCode::CONFLICT, sentence()),
            AdminError::Invalid(_) => Self::unprocessable(sentence()),
            AdminError::Unavailable(reason) => Self::state_unavailable(reason),
            AdminError::Failed(reason) => Self::internal(reason),
        }
    }
}

/// Accounts
#[utoipa::path(
    get, path = "/api/v1/users", tag = "administration", operation_id = "listUsers",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = UserList, description = "The accounts"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<UserList>, Problem> {
    let accounts = app.hub.accounts(&caller.who).await?;
    Ok(axum::Json(UserList { users: accounts.into_iter().map(User::from).collect() }))
}

/// Make an account
#[utoipa::path(
    post, path = "/api/v1/users", tag = "administration", operation_id = "addUser",
    security(("session" = []), ("key" = [])),
    request_body = NewUser,
    responses(
        (status = 201, description = "It can sign in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The name is taken"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "Name or password break a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewUser>,
) -> Result<StatusCode, Problem> {
    let role = new.role.into();
    app.hub.add_account(&caller.who, &new.username, &new.password, role, auth::now()).await?;
    Ok(StatusCode::CREATED)
}

/// Remove an account and its sessions
///
/// The account `admin` stays.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}", tag = "administration", operation_id = "removeUser",
    security(("session" = []), ("key" = [])),
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "It must stay"),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.remove_account(&caller.who, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change what an account may do
///
/// Its sessions go on with the new role. The account `admin` keeps its own.
#[utoipa::path(
    put, path = "/api/v1/users/{name}/role", tag = "administration", operation_id = "setRole",
    security(("session" = []), ("key" = [])),
    params(("name" = String, Path, description = "The account's name")),
    request_body = NewRole,
    responses(
        (status = 204, description = "It counts from now on"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such account"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "It must keep its role"),
    ),
)]
pub(crate) async fn set_role(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
    Json(new): Json<NewRole>,
) -> Result<StatusCode, Problem> {
    app.hub.set_role(&caller.who, &name, new.role.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change a password
///
/// Ends the account's sessions. An account may change its own.
#[utoipa::path(
    post, path = "/api/v1/users/{name}/password", tag = "administration", operation_id = "setPassword",
    security(("session" = []), ("key" = [])),
    params(("name" = String, Path, description = "The account's name")),
    request_body = NewPassword,
    responses(
        (status = 204, description = "It counts from now on"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such account"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The password breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn set_password(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
    Json(new): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    app.hub.set_password(&caller.who, &name, &new.password).await?;
    Ok(StatusCode::NO_CONTENT)
}
