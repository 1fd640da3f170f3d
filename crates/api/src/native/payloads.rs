//! `/api/v1/payloads`: what honeypots captured. Needs the role operator, as
//! the bytes are malware.

use std::io::{Cursor, Write as _};
use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use palisade_event::{PayloadHash, Timestamp};
use palisade_hub::{PayloadQuery, Permission};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zip::unstable::write::FileOptionsExt as _;

use super::{Parameters, Segment};
use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Payloads where the request does not say.
const DEFAULT_PAYLOADS: u32 = 50;
/// Most payloads of an answer.
const MAX_PAYLOADS: u32 = 500;
/// Most hashes that are asked for at once.
const MAX_HASHES: usize = 50;
/// Longest beginning of a MIME type that is asked for, in bytes.
const MAX_MIME_BYTES: usize = 100;
/// Password of the archives, as those who exchange malware use it, so that no
/// scanner on the way takes it for an infection.
const PASSWORD: &[u8] = b"infected";

/// Which payloads.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PayloadParameters {
    /// The beginning of a SHA-256 or an MD5, in hex; or up to 50 of them with
    /// commas between.
    hash: Option<String>,
    /// The beginning of a MIME type, such as `application/`.
    mime: Option<String>,
    /// Payloads, 1 to 500, default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// How a payload is downloaded.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DownloadParameters {
    /// Its form. Default: zip.
    #[param(inline)]
    format: Option<DownloadFormat>,
}

/// The form of a download.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DownloadFormat {
    /// An archive that is locked with the password `infected`.
    #[default]
    Zip,
    /// The bytes as they were captured.
    Raw,
}

/// One page of payloads, the last seen first.
#[derive(Serialize, ToSchema)]
pub(crate) struct PayloadList {
    /// Payloads that are known in all.
    known: u64,
    /// Payloads whose bytes are still there.
    kept: u64,
    /// Bytes of those.
    bytes: u64,
    /// The payloads of this page.
    payloads: Vec<Payload>,
    /// Cursor of the next page; null where there is none.
    #[schema(required)]
    next: Option<String>,
}

/// A captured payload.
#[derive(Serialize, ToSchema)]
pub(crate) struct Payload {
    /// Names it; events have it in `payload`.
    #[schema(value_type = String)]
    sha256: PayloadHash,
    /// MD5, as others name it.
    md5: String,
    /// SHA-256 of an HTTP request without its Host header; requests that differ
    /// only there are one payload.
    #[schema(required)]
    text_hash: Option<String>,
    /// What it is, by its content.
    #[schema(example = "application/x-executable")]
    mime: String,
    /// Its size.
    bytes: u64,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// When it was last seen, give or take some seconds.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Events that brought it, also those that the store has no more.
    events_total: u64,
    /// Where it first came from.
    #[schema(value_type = Option<String>, required)]
    first_source: Option<IpAddr>,
    /// The port it first came from.
    #[schema(required)]
    first_port: Option<u16>,
    /// Whether its bytes are still there.
    kept: bool,
}

impl From<palisade_hub::Payload> for Payload {
    fn from(payload: palisade_hub::Payload) -> Self {
        Self {
            sha256: payload.sha256,
            md5: payload.md5,
            text_hash: payload.text_hash,
            mime: payload.mime,
            bytes: payload.bytes,
            first_seen: payload.first_seen,
            last_seen: payload.last_seen,
            events_total: payload.seen,
            first_source: payload.first_source,
            first_port: payload.first_port,
            kept: payload.kept,
        }
    }
}

/// Payloads
///
/// What honeypots captured, the last seen first. `payload:SHA256` in a query
/// finds the events that brought one. Needs the role operator.
#[utoipa::path(
    get, path = "/api/v1/payloads", tag = "events", operation_id = "listPayloads",
    security(("session" = []), ("key" = [])),
    params(PayloadParameters),
    responses(
        (status = 200, body = PayloadList, description = "A page"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "A parameter does not fit"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(asked): Parameters<PayloadParameters>,
) -> Result<axum::Json<PayloadList>, Problem> {
    caller.require(Permission::Operate)?;
    let limit = asked.limit.unwrap_or(DEFAULT_PAYLOADS);
    if !(1..=MAX_PAYLOADS).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: expected 1 to {MAX_PAYLOADS}.")));
    }
    let query = query(&asked)?;
    let (payloads, totals) = app.hub.payloads(&caller.who, &query, limit).await?;
    let full = payloads.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = payloads.last().filter(|_| full);
    let next = next.map(|last| format!("{}-{}", last.last_seen.as_millis(), last.sha256));
    Ok(axum::Json(PayloadList {
        known: totals.known,
        kept: totals.kept,
        bytes: totals.bytes,
        payloads: payloads.into_iter().map(Payload::from).collect(),
        next,
    }))
}

fn query(asked: &PayloadParameters) -> Result<PayloadQuery, Problem> {
    let mut query = PayloadQuery::default();
    if let Some(hash) = asked.hash.as_deref().filter(|hash| !hash.is_empty()) {
        let is_hex = |hash: &str| {
            (1..=64).contains(&hash.len()) && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        query.hashes = hash.split(',').take(MAX_HASHES + 1).map(str::to_ascii_lowercase).collect();
        if query.hashes.len() > MAX_HASHES || !query.hashes.iter().all(|hash| is_hex(hash)) {
            let expected =
                format!("hash: expected up to 64 hex digits, or up to {MAX_HASHES} such.");
            return Err(Problem::bad_request(expected));
        }
    }
    if let Some(mime) = asked.mime.as_deref().filter(|mime| !mime.is_empty()) {
        if mime.len() > MAX_MIME_BYTES || !mime.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::bad_request("mime: expected a MIME type or its beginning."));
        }
        query.mime = Some(mime.to_ascii_lowercase());
    }
    if let Some(cursor) = &asked.cursor {
        let parts = cursor.rsplit_once('-');
        let parsed = parts.and_then(|(at, hash)| Some((at.parse().ok()?, hash.parse().ok()?)));
        let Some((at, hash)) = parsed else {
            return Err(Problem::bad_request("cursor: expected 'next' of the page before."));
        };
        query.after = Some((Timestamp::from_millis(at), hash));
    }
    Ok(query)
}

/// One payload
#[utoipa::path(
    get, path = "/api/v1/payloads/{sha256}", tag = "events", operation_id = "getPayload",
    security(("session" = []), ("key" = [])),
    params(("sha256" = String, Path, description = "Its SHA-256, in lower-case hex")),
    responses(
        (status = 200, body = Payload, description = "What is known of it"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not a SHA-256"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    caller: Caller,
    Segment(hash): Segment,
) -> Result<axum::Json<Payload>, Problem> {
    caller.require(Permission::Operate)?;
    let found = app.hub.payload(&caller.who, parse(&hash)?).await?;
    found.map(|payload| axum::Json(payload.into())).ok_or_else(missing)
}

/// Download a payload
///
/// A zip archive with the password `infected` that holds the bytes under their
/// SHA-256, or with `format=raw` the bytes themselves. It is malware: open it
/// nowhere that matters.
#[utoipa::path(
    get, path = "/api/v1/payloads/{sha256}/download", tag = "events", operation_id = "downloadPayload",
    security(("session" = []), ("key" = [])),
    params(("sha256" = String, Path, description = "Its SHA-256, in lower-case hex"), DownloadParameters),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/zip", description = "The archive; bytes as they are have the type application/octet-stream"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Not a SHA-256"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none, or its bytes were removed at the bound of the store"),
    ),
)]
pub(crate) async fn download(
    State(app): State<App>,
    caller: Caller,
    Segment(hash): Segment,
    Parameters(asked): Parameters<DownloadParameters>,
) -> Result<Response, Problem> {
    caller.require(Permission::Operate)?;
    let hash = parse(&hash)?;
    let bytes = app.hub.payload_bytes(&caller.who, hash).await?.ok_or_else(missing)?;
    let (bytes, kind, ending) = match asked.format.unwrap_or_default() {
        DownloadFormat::Raw => (bytes, "application/octet-stream", "bin"),
        DownloadFormat::Zip => {
            let packed = tokio::task::spawn_blocking(move || pack(hash, &bytes)).await;
            let packed = packed.map_err(Problem::internal)?.map_err(Problem::internal)?;
            (packed, "application/zip", "zip")
        }
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let name = format!("attachment; filename=\"{hash}.{ending}\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn pack(hash: PayloadHash, bytes: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .with_deprecated_encryption(PASSWORD)?;
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(hash.to_string(), options)?;
    archive.write_all(bytes)?;
    Ok(archive.finish()?.into_inner())
}

fn parse(hash: &str) -> Result<PayloadHash, Problem> {
    hash.parse().map_err(|_| Problem::bad_request("Expected a SHA-256: 64 lower-case hex digits."))
}

fn missing() -> Problem {
    Problem::not_found("There is no such payload, or its bytes are not there any more.")
}
