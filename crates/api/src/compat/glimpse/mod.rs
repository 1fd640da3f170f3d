//! Glimpse's Data API and the pages of its users.
//!
//! Data API ([`data`]): JSON bodies, also of GET, with the key in them; what is
//! pushed goes to the hub's machines, what is asked comes from there. Pages
//! ([`pages`]): sign in, accounts, and the same answers for a session, so that no
//! key reaches a browser. Answers of the Data API are its status objects, with the
//! HTTP status that fits.

mod data;
mod pages;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use palisade_hub::{IngestError, PushError, QueryError};
use serde_json::{Map, Value, json};

use crate::error::Problem;
use crate::router::App;

/// The routes of the Data API.
fn data_routes() -> Router<App> {
    Router::new()
        .route("/push_servers_info", post(data::push_info))
        .route("/push_servers_logs", post(data::push_log))
        .route("/get_servers_info", get(data::get_info).post(data::get_info))
        .route("/get_servers_logs", get(data::get_logs).post(data::get_logs))
        .route("/clearit", post(data::clear))
        .route("/test", get(data::test))
}

/// The routes that stand beside the page of the native dialect, which has `/` and
/// `/login` itself.
pub(crate) fn beside() -> Router<App> {
    data_routes()
        .route("/login", get(crate::ui::serve).post(pages::sign_in))
        .route("/home", get(pages::to_page))
        .merge(session_routes())
}

/// The routes of a door for this dialect alone, with pages of its own.
pub(crate) fn alone() -> Router<App> {
    data_routes()
        .route("/", get(pages::front))
        .route("/login", get(pages::login).post(pages::sign_in))
        .route("/home", get(pages::home))
        .merge(session_routes())
}

fn session_routes() -> Router<App> {
    Router::new()
        .route("/logout", get(pages::sign_out))
        .route("/register", get(pages::register).post(pages::add_account))
        .route("/removeuser", get(pages::remove).post(pages::remove_account))
        .route("/get_server_list", get(pages::server_list))
        .route("/get_server_info", post(pages::server_info))
        .route("/clear", post(pages::clear))
}

/// Why a request is not answered with what it asks for.
#[derive(Debug)]
enum Refusal {
    /// It makes no sense.
    Error,
    /// It is no request that there is.
    Unknown,
    /// There is nothing.
    Empty,
    /// The key is wrong.
    Auth,
    /// It is too large.
    TooLarge,
    /// This address was wrong too often.
    TooMany,
    /// The hub cannot take or answer it now.
    Busy,
}

impl Refusal {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Error => (StatusCode::BAD_REQUEST, "ERROR-REQUEST"),
            Self::Unknown => (StatusCode::BAD_REQUEST, "UNKNOWN-REQUEST"),
            Self::Empty => (StatusCode::OK, "EMPTY-REQUEST"),
            Self::Auth => (StatusCode::UNAUTHORIZED, "AUTH-REQUIRED"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "ERROR-REQUEST"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "AUTH-REQUIRED"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "ERROR-REQUEST"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, word) = self.status();
        (status, axum::Json(json!({"Status": word}))).into_response()
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Forbidden => Self::Auth,
            error => {
                tracing::error!(%error, "a Glimpse client cannot be answered");
                Self::Busy
            }
        }
    }
}

impl From<palisade_hub::StateError> for Refusal {
    fn from(error: palisade_hub::StateError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<PushError> for Refusal {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Unfit(reason) => {
                tracing::debug!(reason, "a push of Glimpse's script is refused");
                Self::Error
            }
            PushError::Ingest(IngestError::Forbidden) => Self::Auth,
            PushError::Ingest(error) => {
                tracing::warn!(%error, "a push of Glimpse's script is not taken");
                Self::Busy
            }
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::SERVICE_UNAVAILABLE => Self::Busy,
            _ => Self::Error,
        }
    }
}

/// What a request that was done is answered.
fn done() -> Response {
    axum::Json(json!({"Status": "OK-REQUEST"})).into_response()
}

/// `{"1": …, "2": …}`, as the dialect writes lists.
fn numbered(values: impl Iterator<Item = Value>) -> Map<String, Value> {
    values.zip(1_u64..).map(|(value, number)| (number.to_string(), value)).collect()
}

/// For fuzzing: any body is read within its bounds or refused.
#[must_use]
pub(crate) fn read_body(body: &[u8]) -> bool {
    data::read(body)
}
