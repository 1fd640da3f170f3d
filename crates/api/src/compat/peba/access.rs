//! Who may ask what. The community's alerts are for everybody; private ones for
//! who shows a credential that may see them: an EWS user's name and token by HTTP
//! Basic, an API key, a session. Questions with addresses carry name and token in
//! an XML body, as messages of alerts do.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::OptionalFromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use palisade_event::Domain;
use palisade_hub::{Permission, Principal};
use palisade_store::Domains;

use crate::auth::{self, Caller, client};
use crate::body;
use crate::client::Client;
use crate::compat::ews::alone;
use crate::error::Problem;
use crate::router::App;

/// Longest `Authorization` header that is looked at, in bytes.
const MAX_BASIC_BYTES: usize = 1_024;
/// What a browser is told to ask for.
pub(in crate::compat) const CHALLENGE: &str = "Basic realm=\"EWS\", charset=\"UTF-8\"";

/// The principal that asks about the alerts of some domains.
///
/// # Errors
/// The answer: 401 without a credential, 403 with one that may not see them, 429
/// where an address tries too often.
pub(super) async fn reader(
    app: &App,
    parts: &mut Parts,
    domains: Domains,
) -> Result<Principal, Response> {
    if !domains.has(Domain::Private) {
        return Ok(Principal::public());
    }
    if app.config.ews.public_private_data {
        // The operator has opened them to everybody.
        return Ok(Principal::local(None));
    }
    let client = client(parts);
    match known(app, parts).await? {
        Some(who) if sees_private(&who) => Ok(who),
        Some(_) => {
            Err(Problem::forbidden("This credential may not see private alerts.").into_response())
        }
        None => Err(unauthenticated(app, client)),
    }
}

/// Who shows a credential that is right: an EWS user by HTTP Basic, a key, a
/// session. A wrong one is as good as none.
///
/// # Errors
/// The answer, where credentials cannot be checked now.
pub(in crate::compat) async fn known(
    app: &App,
    parts: &mut Parts,
) -> Result<Option<Principal>, Response> {
    match basic(&parts.headers) {
        Some((name, token)) => ews_user(app, &name, &token, client(parts)).await,
        None => caller(app, parts).await,
    }
}

/// The principal of a question with addresses.
///
/// # Errors
/// The answer: 403 without a credential that may see private alerts.
pub(super) async fn insider(
    app: &App,
    mut parts: Parts,
    body: Body,
) -> Result<Principal, Response> {
    let client = client(&parts);
    let limits = &app.config.limits;
    let deadline = Duration::from_secs(limits.body_secs);
    let body = body::read(body, limits.body_bytes, deadline).await;
    let body = body.map_err(IntoResponse::into_response)?;
    let who = match body.trim_ascii() {
        b"" => caller(app, &mut parts).await?,
        body => match alone::credentials(body) {
            Some((name, token)) => ews_user(app, &name, &token, client).await?,
            None => None,
        },
    };
    who.filter(sees_private).ok_or_else(|| forbidden(app, client))
}

fn sees_private(who: &Principal) -> bool {
    who.may(Permission::Read) && who.sees(Domain::Private)
}

async fn caller(app: &App, parts: &mut Parts) -> Result<Option<Principal>, Response> {
    let caller = <Caller as OptionalFromRequestParts<App>>::from_request_parts(parts, app).await;
    Ok(caller.map_err(IntoResponse::into_response)?.map(|caller| caller.who))
}

async fn ews_user(
    app: &App,
    name: &str,
    token: &str,
    client: Client,
) -> Result<Option<Principal>, Response> {
    let found = app.hub.ews_user(name, token, Some(client.address), auth::now()).await;
    found.map_err(|error| Problem::from(error).into_response())
}

/// User and token of HTTP Basic (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ').filter(|_| value.len() <= MAX_BASIC_BYTES)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (name, token) = decoded.split_once(':')?;
    Some((name.to_owned(), token.to_owned()))
}

/// Counts the attempt; what to answer where there were too many.
fn too_many(app: &App, client: Client) -> Option<Response> {
    let taken = app.unauthenticated.take(client.address, Instant::now());
    taken.err().map(|secs| Problem::too_many(secs).into_response())
}

fn unauthenticated(app: &App, client: Client) -> Response {
    too_many(app, client).unwrap_or_else(|| {
        let mut answer = Problem::unauthenticated().into_response();
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        answer
    })
}

fn forbidden(app: &App, client: Client) -> Response {
    too_many(app, client).unwrap_or_else(|| {
        let why = "This needs the name and token of an EWS user who may see private alerts.";
        Problem::forbidden(why).into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_token_are_read_from_http_basic_alone() {
        let of = |value: &str| {
            basic(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]))
        };
        let pair = Some(("anna".to_owned(), "to:ken".to_owned()));
        assert_eq!(of("Basic YW5uYTp0bzprZW4="), pair);
        assert_eq!(of("basic  YW5uYTp0bzprZW4="), pair);
        for bad in ["Bearer YW5uYTp0bzprZW4=", "Basic", "Basic ?", "Basic YW5uYQ==", "Basic /w=="] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(of(&format!("Basic {}", "A".repeat(MAX_BASIC_BYTES))), None);
    }
}
