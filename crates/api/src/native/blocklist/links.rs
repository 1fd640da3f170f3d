//! `/api/v1/blocklist-links`: signed links to block lists for those who can
//! send no key.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use palisade_event::Timestamp;
use palisade_hub::NewLink;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Format;
use crate::auth::{self, Caller};
use crate::body::Json;
use crate::error::{Problem, ProblemBody};
use crate::native::Segment;
use crate::router::App;

/// How long a link works where the request does not say: 90 days.
const DEFAULT_LINK_SECS: u64 = 90 * 24 * 60 * 60;

/// Links that work, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkList {
    /// The links, without their signatures.
    links: Vec<Link>,
}

/// A link to a block list.
#[derive(Serialize, ToSchema)]
#[schema(as = BlocklistLink)]
pub(crate) struct Link {
    /// Names it for good.
    id: String,
    /// The format that it gives.
    #[schema(example = "nft")]
    format: String,
    /// Which bans.
    #[schema(example = "country:CN")]
    query: String,
    /// Who has it.
    #[schema(required)]
    note: Option<String>,
    /// Who made it.
    by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it stops working.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A link to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBlocklistLink)]
pub(crate) struct NewLinkBody {
    /// The format that it gives.
    format: Format,
    /// Which bans, in the query language; all where it is empty.
    #[serde(default)]
    #[schema(required = false, example = "country:CN")]
    query: String,
    /// Who has it.
    #[serde(default)]
    #[schema(required = false)]
    note: Option<String>,
    /// For how long it works, in seconds; default 90 days.
    #[serde(default)]
    #[schema(required = false, nullable = false, minimum = 1)]
    duration_secs: Option<u64>,
}

/// A link that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeBlocklistLink)]
pub(crate) struct MadeLink {
    /// What is kept of it.
    link: Link,
    /// Path and parameters with the signature: shown this once. For MISP the address of the feed.
    path: String,
    /// The whole address, where `api.public_url` says how this hub is reached.
    #[schema(required)]
    url: Option<String>,
}

impl From<palisade_hub::BlocklistLink> for Link {
    fn from(link: palisade_hub::BlocklistLink) -> Self {
        Self {
            id: link.id,
            format: link.format,
            query: link.query,
            note: link.note,
            by: link.by,
            created_at: link.created_at,
            expires_at: link.expires_at,
        }
    }
}

/// List links to block lists
///
/// Those that work. Needs the role operator.
#[utoipa::path(
    get, path = "/api/v1/blocklist-links", tag = "decisions", operation_id = "listBlocklistLinks",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = LinkList, description = "The links"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<LinkList>, Problem> {
    let links = app.hub.blocklist_links(&caller.who, auth::now()).await?;
    Ok(axum::Json(LinkList { links: links.into_iter().map(Into::into).collect() }))
}

/// Make a link to a block list
///
/// Whoever has it gets the list without a credential until it ends or is revoked. Needs the role
/// operator.
#[utoipa::path(
    post, path = "/api/v1/blocklist-links", tag = "decisions", operation_id = "addBlocklistLink",
    security(("session" = []), ("key" = [])),
    request_body = NewLinkBody,
    responses(
        (status = 201, body = MadeLink, description = "The link, with its signature this once"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A value breaks a rule; the detail says which"),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<NewLinkBody>,
) -> Result<Response, Problem> {
    let NewLinkBody { format, query, note, duration_secs } = asked;
    let new = NewLink {
        path: format.path(),
        format: format.as_str().to_owned(),
        query,
        note,
        duration_secs: duration_secs.unwrap_or(DEFAULT_LINK_SECS),
    };
    let (link, signature) = app.hub.add_blocklist_link(&caller.who, new, auth::now()).await?;
    let expires = link.expires_at.as_millis().div_euclid(1000);
    let place = format!("{}{}", app.config.base_path, format.path());
    let id = &link.id;
    let path = match format {
        Format::Misp => format!("{place}/{id}/{expires}/{signature}"),
        _ => {
            let query = escaped(&link.query);
            format!("{place}?q={query}&link={id}&expires={expires}&signature={signature}")
        }
    };
    let url = app.config.public_url.as_deref();
    let url = url.map(|url| format!("{}{path}", url.trim_end_matches('/')));
    let made = MadeLink { link: link.into(), path, url };
    Ok((StatusCode::CREATED, axum::Json(made)).into_response())
}

/// Revoke a link to a block list
///
/// At once, on all hubs. Needs the role operator.
#[utoipa::path(
    delete, path = "/api/v1/blocklist-links/{id}", tag = "decisions", operation_id = "removeBlocklistLink",
    security(("session" = []), ("key" = [])),
    params(("id" = String, Path, description = "The link's id")),
    responses(
        (status = 204, description = "It works no more"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is none"),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Problem> {
    app.hub.remove_blocklist_link(&caller.who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A value for a query string (RFC 3986).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to memory cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
