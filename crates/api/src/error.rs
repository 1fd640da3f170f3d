//! What a request is refused with: an RFC 9457 problem with two halves.
//!
//! The public half is sent and says what was wrong and what would be right.
//! The internal half (paths, errors of the disk) goes to the log alone.

use std::borrow::Cow;
use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// Media type of a problem (RFC 9457).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds after which to ask again where the state database is away.
const STATE_RETRY_SECS: u32 = 5;

/// A refusal, on its way to the client and to the log.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    slug: Option<&'static str>,
    detail: Cow<'static, str>,
    at: Option<usize>,
    retry_after_secs: Option<u32>,
    internal: Option<String>,
}

/// A problem as it is sent (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// What kind of problem, as a reference that leads to its description.
    #[serde(rename = "type")]
    #[schema(example = "/docs/problems#query")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What was wrong and what would be right.
    pub detail: String,
    /// Where in the query text, counted in characters from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub at: Option<usize>,
}

/// Kinds of problem that have a section at `/docs/problems`: slug and text.
pub(crate) const KINDS: &[(&str, &str)] = &[
    (
        "query",
        "The query text cannot be understood. `at` is the character where it goes wrong. GET /api/v1/fields lists the fields.",
    ),
    (
        "csrf",
        "A browser changed something without the header X-Palisade: 1, which keeps other sites from acting in your name. Send the header, or use an API key.",
    ),
    (
        "sign-in",
        "No valid session or API key came with the request. Sign in with POST /api/v1/session, or send Authorization: Bearer KEY.",
    ),
    (
        "permission",
        "The account's role or the key's scopes do not allow this. An administrator can change that.",
    ),
    ("rate", "Too many requests from this address. Retry-After says for how many seconds to wait."),
    ("size", "The body is larger than this address takes. Send smaller batches."),
    (
        "busy",
        "The hub cannot take events now, and none of the batch was taken. Keep it and send it again after Retry-After seconds.",
    ),
    (
        "state",
        "The hub cannot reach the database of accounts, sessions and keys. It goes on taking events from keys it has seen, and answers again by itself when the database is back.",
    ),
];

impl Problem {
    /// A problem of this status; `detail` is public.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            slug: None,
            detail: detail.into(),
            at: None,
            retry_after_secs: None,
            internal: None,
        }
    }

    /// 400: the request is malformed.
    #[must_use]
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: no valid credential. One message for every reason, so that it
    /// tells nothing about which names and keys exist.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Sign in first, or send a valid API key as 'Authorization: Bearer KEY'.",
        )
        .kind("sign-in")
    }

    /// 403: known, but not allowed.
    #[must_use]
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail).kind("permission")
    }

    /// 404: not there.
    #[must_use]
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 413: more than `limit_bytes`.
    #[must_use]
    pub fn too_large(what: &str, limit_bytes: usize) -> Self {
        let detail = format!("The {what} is larger than {limit_bytes} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail).kind("size")
    }

    /// 422: well-formed, but a value makes no sense.
    #[must_use]
    pub fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 429: too many requests from one address.
    #[must_use]
    pub fn too_many(retry_after_secs: u32) -> Self {
        let detail = format!(
            "Too many requests from this address. Try again in {retry_after_secs} seconds."
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).kind("rate").retry_after(retry_after_secs)
    }

    /// 500: our fault. `internal` is logged, never sent.
    #[must_use]
    pub fn internal(internal: impl fmt::Display) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The hub failed to answer this. Its log says why.",
        );
        problem.internal = Some(internal.to_string());
        problem
    }

    /// 503: try again later.
    #[must_use]
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after_secs: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after_secs)
    }

    /// 503: accounts and keys cannot be looked up now; events that are
    /// delivered with a known key are still taken.
    #[must_use]
    pub(crate) fn state_unavailable(internal: impl fmt::Display) -> Self {
        Self::unavailable(
            "The hub cannot reach its state database (accounts, sessions, keys). Events are \
             still taken. Try again in a few seconds.",
            STATE_RETRY_SECS,
        )
        .kind("state")
        .logged(internal)
    }

    /// Links the section of `/docs/problems` with this slug.
    #[must_use]
    pub(crate) fn kind(mut self, slug: &'static str) -> Self {
        self.slug = Some(slug);
        self
    }

    /// Points at a character of the query text.
    #[must_use]
    pub(crate) fn at(mut self, character: usize) -> Self {
        self.at = Some(character);
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_secs = Some(seconds);
        self
    }

    /// Adds the half that is logged.
    #[must_use]
    pub(crate) fn logged(mut self, internal: impl fmt::Display) -> Self {
        self.internal = Some(internal.to_string());
        self
    }

    /// The status it is sent with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<palisade_store::query::ParseError> for Problem {
    fn from(error: palisade_store::query::ParseError) -> Self {
        Self::unprocessable(error.message).kind("query").at(error.at)
    }
}

impl From<palisade_store::QueryError> for Problem {
    fn from(error: palisade_store::QueryError) -> Self {
        match error {
            palisade_store::QueryError::Unsupported(_) => {
                Self::unprocessable(error.to_string()).kind("query")
            }
            palisade_store::QueryError::Failed(reason) => {
                Self::unavailable("The store cannot be read now. The hub's log says why.", 5)
                    .logged(reason)
            }
        }
    }
}

impl From<palisade_hub::StateError> for Problem {
    fn from(error: palisade_hub::StateError) -> Self {
        match error {
            palisade_hub::StateError::Unavailable(reason) => Self::state_unavailable(reason),
            palisade_hub::StateError::Failed(reason) => Self::internal(reason),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status.as_u16();
        if let Some(reason) = &self.internal {
            tracing::error!(status, %reason, "request failed");
        }
        let body = ProblemBody {
            kind: self.slug.map_or_else(|| "about:blank".into(), |s| format!("/docs/problems#{s}")),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status,
            detail: self.detail.into_owned(),
            at: self.at,
        };
        // A struct of strings and numbers always serializes.
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, json).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_internal_half_is_not_sent() {
        let response = Problem::internal("/var/lib/secret: disk on fire").into_response();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(!body.contains("secret") && body.contains("\"status\":500"), "{body}");
    }

    #[tokio::test]
    async fn a_query_error_points_at_the_character() {
        let error = palisade_store::query::ParseError { at: 7, message: "expected ':'".into() };
        let response = Problem::from(error).into_response();
        assert_eq!(response.status(), 422);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["at"], 7);
        assert_eq!(body["type"], "/docs/problems#query");
    }
}
