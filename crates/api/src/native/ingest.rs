//! `POST /api/v1/events`: the door for batches from agents.

use std::time::Duration;

use axum::extract::{Request, State};
use http::{HeaderValue, header};
use jiff::fmt::rfc2822::DateTimeParser;
use palisade_event::Timestamp;
use palisade_event::wire::{Batch, MAX_BATCH_BYTES, Receipt, WireError};
use palisade_hub::{IngestError, Permission};

use super::schema;
use crate::auth::{self, Caller};
use crate::body::{self, Encoding};
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Bodies up to this size are unpacked where they are; larger ones would hold
/// up other requests of the same thread.
const INLINE_DECODE_BYTES: usize = 16 * 1024;

/// Deliver events
///
/// The answer comes after every event is on disk. A batch may be sent again;
/// what was here already counts once. Sensor, domain and time of receipt are
/// set by the hub. `User-Agent: palisade/VERSION` tells the sensor's version, `Date`
/// its clock: one that is off becomes an alert about its host.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events", operation_id = "deliverEvents",
    security(("key" = [])),
    params(("Content-Encoding" = Option<String>, Header, description = "zstd or identity")),
    request_body(content = schema::Batch, description = "At most 4 MiB as sent and 16 MiB unpacked"),
    responses(
        (status = 200, body = schema::Receipt, description = "All of it is durable"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not a batch"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "No valid key"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "The key lacks the scope ingest"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "Too large; send smaller batches"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON, or packed in another way"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Nothing was taken; send it again later",
            headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn accept(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<axum::Json<Receipt>, Problem> {
    caller.require(Permission::Ingest)?;
    body::require_json(request.headers())?;
    let from = request.extensions().get::<Client>().map(|client| client.address);
    let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    if let Some(version) = agent.and_then(agent_version) {
        app.hub.note_sensor_version(&caller.who, version);
    }
    if let Some(theirs) = request.headers().get(header::DATE).and_then(date) {
        app.hub.note_clock(&caller.who, theirs, auth::now());
    }
    let plain = unpacked(&app, request).await?;
    let batch = Batch::decode(&plain).map_err(refused)?;
    let records: Vec<&[u8]> = batch.events.iter().map(|event| event.get().as_bytes()).collect();
    app.hub.accept(&caller.who, from, &records).await.map(axum::Json).map_err(Problem::from)
}

/// The time that a request says it is where it comes from.
fn date(value: &HeaderValue) -> Option<Timestamp> {
    let time = DateTimeParser::new().parse_timestamp(value.as_bytes()).ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

/// Restore events
///
/// For `palisade import`: events of an export keep their sensor, domain, time
/// of receipt and places, so this needs the role or scope `admin`. What cannot
/// be taken is named in the answer and not kept in quarantine.
#[utoipa::path(
    post, path = "/api/v1/events/restore", tag = "events", operation_id = "restoreEvents",
    security(("session" = []), ("key" = [])),
    params(("Content-Encoding" = Option<String>, Header, description = "zstd or identity")),
    request_body(content = schema::Batch, description = "At most 4 MiB as sent and 16 MiB unpacked"),
    responses(
        (status = 200, body = schema::Receipt, description = "All of it is durable"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not a batch"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not an admin"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "Too large; send smaller batches"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON, or packed in another way"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Nothing was taken; send it again later",
            headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn restore(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<axum::Json<Receipt>, Problem> {
    caller.require(Permission::Administer)?;
    body::require_json(request.headers())?;
    let plain = unpacked(&app, request).await?;
    let batch = Batch::decode(&plain).map_err(refused)?;
    let records: Vec<&[u8]> = batch.events.iter().map(|event| event.get().as_bytes()).collect();
    app.hub.restore(&caller.who, &records).await.map(axum::Json).map_err(Problem::from)
}

/// The body, bounded and unpacked.
pub(super) async fn unpacked(app: &App, request: Request) -> Result<bytes::Bytes, Problem> {
    let encoding = Encoding::of(request.headers())?;
    let limits = &app.config.limits;
    let deadline = Duration::from_secs(limits.body_secs);
    let packed = body::read(request.into_body(), limits.ingest_bytes, deadline).await?;
    if encoding == Encoding::Zstd && packed.len() > INLINE_DECODE_BYTES {
        let unpack = move || body::decode(packed, encoding, MAX_BATCH_BYTES);
        return tokio::task::spawn_blocking(unpack).await.map_err(Problem::internal)?;
    }
    body::decode(packed, encoding, MAX_BATCH_BYTES)
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Forbidden => {
                Self::forbidden("Delivering events needs an API key with the scope 'ingest'.")
            }
            IngestError::TooLarge(rule) => {
                Self::new(http::StatusCode::PAYLOAD_TOO_LARGE, rule).kind("size")
            }
            IngestError::Busy { reason, retry_after_secs } => {
                let detail = "The hub cannot take events now; nothing of the batch was taken.";
                Self::unavailable(detail, retry_after_secs).kind("busy").logged(reason)
            }
        }
    }
}

/// The version in the `User-Agent` of our agent.
fn agent_version(agent: &str) -> Option<&str> {
    let version = agent.strip_prefix("palisade/")?.split(' ').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    (!version.is_empty() && version.len() <= 32 && version.chars().all(plain)).then_some(version)
}

/// The whole envelope was refused. serde's message names fields of ours and
/// quotes at most a short, escaped piece of the input.
fn refused(error: WireError) -> Problem {
    match error {
        WireError::TooLong(_) => Problem::too_large("unpacked body", MAX_BATCH_BYTES),
        WireError::TooMany(_) => {
            Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).kind("size")
        }
        WireError::Version(_) | WireError::Malformed(_) => Problem::bad_request(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_agent_is_plain_or_unknown() {
        assert_eq!(agent_version("palisade/0.1.0 (linux)"), Some("0.1.0"));
        for other in
            ["curl/8.0", "palisade/", "palisade/<b>", &format!("palisade/{}", "1".repeat(33))]
        {
            assert_eq!(agent_version(other), None, "{other}");
        }
    }
}
