//! `/api/v1/blocklist.FORMAT`: who is banned now, as a list that firewalls, web
//! servers and threat platforms take as it is. For those who follow changes
//! there is the feed of `decisions`.
//!
//! Who asks has a credential, or a signed link where none can be sent.

mod answers;
mod form;
pub(crate) mod links;

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use palisade_hub::{BlocklistPass, SignedLink};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Parameters;
use crate::auth::{self, Caller};
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;
use answers::Answer;
pub(crate) use answers::Answers;
pub(crate) use form::Format;

/// Answers from this size on are sent in slices, a bounded number at once.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a slice.
const SLICE_BYTES: usize = 64 * 1024;
/// Proxies and clients ask again after so long; the answer is mostly 304.
const CACHE: &str = "private, max-age=10";

/// The routes, below `/api/v1`.
pub(crate) fn routes() -> Router<App> {
    let mut routes = Router::new()
        .route("/blocklist/misp/{file}", get(misp))
        .route("/blocklist/misp/{link}/{expires}/{signature}/{file}", get(misp_by_link))
        .route("/blocklist-links", get(links::list).post(links::add))
        .route("/blocklist-links/{id}", axum::routing::delete(links::remove));
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Misp) {
        let answer = move |state, from, caller, headers, asked| {
            show(format, state, from, caller, headers, asked)
        };
        routes = routes.route(&format!("/blocklist.{}", format.as_str()), get(answer));
    }
    routes
}

/// Which bans, and the link where there is no credential.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// Which bans, in the query language: `country`, `ip`, `analyzer` (the scenario), `sensor`,
    /// `host`, `user` (the operator), words of the reason; all where it is empty.
    #[serde(default)]
    #[param(required = false, example = "country:CN analyzer:ssh-*")]
    q: String,
    /// Id of a link.
    link: Option<String>,
    /// When the link ends, in seconds since 1970.
    expires: Option<i64>,
    /// The link's signature.
    signature: Option<String>,
}

/// Where a request came from.
pub(crate) struct Asker(Client);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(auth::client(parts)))
    }
}

/// One sentence for all that may be wrong with a link, so that it tells nothing.
fn bad_link(app: &App, from: &Asker) -> Problem {
    match app.unauthenticated.take(from.0.address, Instant::now()) {
        Ok(()) => Problem::forbidden("This link does not work: it is incomplete, over or revoked."),
        Err(secs) => Problem::too_many(secs),
    }
}

/// Who has a credential may have the list.
fn by_credential(
    app: &App,
    from: &Asker,
    caller: Option<&Caller>,
) -> Result<BlocklistPass, Problem> {
    let Some(caller) = caller else {
        return Err(match app.unauthenticated.take(from.0.address, Instant::now()) {
            Ok(()) => Problem::unauthenticated(),
            Err(secs) => Problem::too_many(secs),
        });
    };
    app.hub.blocklist_pass(&caller.who).map_err(|_| {
        Problem::forbidden(
            "Block lists need an account, or a key with the scope 'read', 'ingest', 'decisions', \
             'bouncer' or 'admin', in the private domain.",
        )
    })
}

/// Who is banned, as a list
///
/// `nft`: a file for `nft -f`; `ipset`: for `ipset restore`; `nginx`: to be included; `pfsense`: a
/// URL table; `stix`: a STIX 2.1 bundle. Give the `ETag` back as `If-None-Match`: 304 says that
/// nothing but time has changed. A link of /api/v1/blocklist-links needs no credential. A MISP feed
/// is at `/api/v1/blocklist/misp/manifest.json`.
#[utoipa::path(
    get, path = "/api/v1/blocklist.{format}", tag = "decisions", operation_id = "getBlocklist",
    security(("session" = []), ("key" = []), ()),
    params(
        ("format" = String, Path, description = "txt, csv, json, nft, ipset, nginx, pfsense or stix", example = "txt"),
        ListParameters,
    ),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The list"),
        (status = 304, description = "It is as it was"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Neither a credential nor a link"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed, or the link does not work"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The query cannot be understood"),
    ),
)]
pub(crate) async fn show(
    format: Format,
    State(app): State<App>,
    from: Asker,
    caller: Option<Caller>,
    headers: HeaderMap,
    Parameters(asked): Parameters<ListParameters>,
) -> Result<Response, Problem> {
    let pass = match (&asked.link, asked.expires, &asked.signature) {
        (None, None, None) => by_credential(&app, &from, caller.as_ref())?,
        (Some(id), Some(expires), Some(signature)) => {
            let path = format.path();
            let link = SignedLink { path: &path, query: &asked.q, id, expires, signature };
            let opened = app.hub.open_blocklist_link(&link, auth::now()).await?;
            opened.ok_or_else(|| bad_link(&app, &from))?
        }
        _ => return Err(bad_link(&app, &from)),
    };
    let answer = app.blocklists.get(&app, pass, format, &asked.q).await?;
    respond(&app, &headers, &answer, format.content_type()).await
}

/// A MISP feed
///
/// `manifest.json`, and the event that it names. As the address of a feed give MISP a link of
/// /api/v1/blocklist-links, or this without the file's name and a key in a header.
#[utoipa::path(
    get, path = "/api/v1/blocklist/misp/{file}", tag = "decisions", operation_id = "getMispFeed",
    security(("session" = []), ("key" = [])),
    params(
        ("file" = String, Path, description = "manifest.json, or the name of an event", example = "manifest.json"),
        ListParameters,
    ),
    responses(
        (status = 200, body = String, content_type = "application/json", description = "The file"),
        (status = 304, description = "It is as it was"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The feed has no such file"),
    ),
)]
pub(crate) async fn misp(
    State(app): State<App>,
    from: Asker,
    caller: Option<Caller>,
    headers: HeaderMap,
    super::Segment(file): super::Segment,
    Parameters(asked): Parameters<ListParameters>,
) -> Result<Response, Problem> {
    let pass = by_credential(&app, &from, caller.as_ref())?;
    misp_file(&app, &headers, pass, &asked.q, &file).await
}

/// The same for a link, which is part of the path, as MISP adds names to it.
async fn misp_by_link(
    State(app): State<App>,
    from: Asker,
    headers: HeaderMap,
    axum::extract::Path(parts): axum::extract::Path<(String, String, String, String)>,
) -> Result<Response, Problem> {
    let (id, expires, signature, file) = parts;
    let Ok(expires) = expires.parse() else { return Err(bad_link(&app, &from)) };
    let now = auth::now();
    let query = app.hub.blocklist_link_query(&id, now).await?;
    let Some(query) = query else { return Err(bad_link(&app, &from)) };
    let path = Format::Misp.path();
    let link = SignedLink { path: &path, query: &query, id: &id, expires, signature: &signature };
    let opened = app.hub.open_blocklist_link(&link, now).await?;
    let pass = opened.ok_or_else(|| bad_link(&app, &from))?;
    misp_file(&app, &headers, pass, &query, &file).await
}

async fn misp_file(
    app: &App,
    headers: &HeaderMap,
    pass: BlocklistPass,
    query: &str,
    file: &str,
) -> Result<Response, Problem> {
    let answer = app.blocklists.get(app, pass, Format::Misp, query).await?;
    let json = Format::Misp.content_type();
    match file.strip_suffix(".json") {
        Some("manifest") => {
            let manifest = form::manifest(query, answer.changed_at);
            Ok(typed(Bytes::from(manifest).into(), json, &answer.tag))
        }
        Some(id) if id == form::event_uuid(query) => respond(app, headers, &answer, json).await,
        _ => Err(Problem::not_found("The feed has manifest.json and the event that it names.")),
    }
}

/// The answer, packed where the client takes that, or that it has it already.
async fn respond(
    app: &App,
    headers: &HeaderMap,
    answer: &Answer,
    kind: &'static str,
) -> Result<Response, Problem> {
    if has(headers, &answer.tag) {
        return Ok(typed(Body::empty(), kind, &answer.tag).with_status(StatusCode::NOT_MODIFIED));
    }
    let packed = takes_gzip(headers);
    let bytes = if packed { answer.packed().await? } else { answer.body.clone() };
    let body = if bytes.len() < LARGE_BYTES { bytes.into() } else { sliced(app, bytes).await? };
    let mut response = typed(body, kind, &answer.tag);
    if packed {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    Ok(response)
}

/// A large body, for which a place among those that are sent is held.
async fn sliced(app: &App, bytes: Bytes) -> Result<Body, Problem> {
    let place = std::sync::Arc::clone(&app.blocklists.sending).acquire_owned().await;
    let place = place.map_err(Problem::internal)?;
    let slices = futures_util::stream::unfold((bytes, place), |(mut rest, place)| async move {
        if rest.is_empty() {
            return None;
        }
        let slice = rest.split_to(SLICE_BYTES.min(rest.len()));
        Some((Ok::<_, std::convert::Infallible>(slice), (rest, place)))
    });
    Ok(Body::from_stream(slices))
}

fn typed(body: Body, kind: &'static str, tag: &str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
    headers
        .insert(header::VARY, HeaderValue::from_static("accept-encoding, authorization, cookie"));
    // Weak: packed and plain are the same list, and spans of time count down.
    if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{tag}\"")) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Sets the status.
trait WithStatus {
    fn with_status(self, status: StatusCode) -> Self;
}

impl WithStatus for Response {
    fn with_status(mut self, status: StatusCode) -> Self {
        *self.status_mut() = status;
        self
    }
}

/// Whether `If-None-Match` names this list (RFC 9110, 13.1.2).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one).trim_matches('"') == tag
    })
}

/// Whether the client takes gzip (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        matches!(coding.trim(), "gzip" | "x-gzip") && weight > 0.0
    })
}

/// A path as it is logged: of a link not its signature.
pub(crate) fn logged(path: &str) -> String {
    let Some((before, rest)) = path.split_once("/blocklist/misp/") else { return path.to_owned() };
    let mut parts: Vec<&str> = rest.split('/').collect();
    if let Some(signature) = parts.get_mut(2) {
        *signature = "…";
    }
    format!("{before}/blocklist/misp/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn what_the_client_has_is_known_by_its_tag() {
        for (value, known) in [
            ("W/\"ab\"", true),
            ("\"x\", \"ab\"", true),
            ("*", true),
            ("\"abc\"", false),
            ("", false),
        ] {
            assert_eq!(has(&headers(header::IF_NONE_MATCH, value), "ab"), known, "{value}");
        }
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (value, takes) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5, br", true),
            ("gzip;q=0", false),
            ("identity", false),
        ] {
            assert_eq!(takes_gzip(&headers(header::ACCEPT_ENCODING, value)), takes, "{value}");
        }
    }

    #[test]
    fn a_signature_in_a_path_is_not_logged() {
        let path = "/p/api/v1/blocklist/misp/0a/1795201634/5ec3e7/manifest.json";
        assert_eq!(logged(path), "/p/api/v1/blocklist/misp/0a/1795201634/…/manifest.json");
        assert_eq!(logged("/api/v1/blocklist/misp/x.json"), "/api/v1/blocklist/misp/x.json");
        assert_eq!(logged("/api/v1/status"), "/api/v1/status");
    }
}
