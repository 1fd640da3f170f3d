//! Who asks: finds the credential in a request and has the hub check it.
//!
//! Bearer keys are for programs. A cookie is for the page, and as browsers send
//! it along with what other sites make them request, a change needs the header
//! `X-Palisade: 1` too, which no other site can add.

use std::time::Instant;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use palisade_event::Timestamp;
use palisade_hub::{Permission, Principal};

use crate::client::Client;
use crate::error::Problem;
use crate::router::App;

/// Name of the session cookie.
pub(crate) const COOKIE: &str = "palisade_session";
/// The header that a change by cookie needs.
pub(crate) const CSRF_HEADER: &str = "x-palisade";
/// Longest token or key that is looked at, in bytes.
const MAX_SECRET_BYTES: usize = 256;

/// Who asks, with a credential that was valid when the request came.
pub(crate) struct Caller {
    pub(crate) who: Principal,
    /// Until when the session lasts, where it is one.
    pub(crate) expires_at: Option<Timestamp>,
    /// What it was, to ask again whether it is still valid.
    pub(crate) credential: Credential,
}

/// What a request is authorised by.
pub(crate) enum Credential {
    /// The way it came: in this process, or the management socket.
    Local,
    /// An API key.
    Key(Box<str>),
    /// A session token.
    Session(Box<str>),
}

impl Credential {
    /// Whether it is valid now. A state database that fails for a moment does
    /// not end what is running.
    pub(crate) async fn is_valid(&self, app: &App) -> bool {
        match self {
            Self::Local => true,
            Self::Key(key) => app.hub.key(key, now()).await.map_or(true, |who| who.is_some()),
            Self::Session(token) => {
                app.hub.session(token, now()).await.map_or(true, |session| session.is_some())
            }
        }
    }
}

impl Caller {
    /// # Errors
    /// 403 with `detail` where it may not.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.who.may(permission) {
            return Ok(());
        }
        Err(Problem::forbidden(match permission {
            Permission::Ingest => "Delivering events needs an API key with the scope 'ingest'.",
            Permission::Read => "Reading needs an account, or an API key with the scope 'read'.",
            Permission::Operate => "This needs the role operator or admin.",
            Permission::Decisions => {
                "This needs an API key with the scope 'decisions' or 'ingest' in the private domain."
            }
            Permission::Glimpse => "This needs an API key with the scope 'glimpse'.",
            Permission::Bouncer => "This needs an API key with the scope 'bouncer'.",
            Permission::Administer => "This needs the role or the scope 'admin'.",
        }))
    }
}

/// The instant now.
pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match check(parts, app).await? {
            Some(caller) => Ok(caller),
            None => {
                let client = client(parts);
                match app.unauthenticated.take(client.address, Instant::now()) {
                    Ok(()) => Err(Problem::unauthenticated()),
                    Err(secs) => Err(Problem::too_many(secs)),
                }
            }
        }
    }
}

/// For what also answers strangers; a wrong credential is as good as none.
impl OptionalFromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        check(parts, app).await
    }
}

/// The client of a whole request.
pub(crate) fn client_of(request: &axum::extract::Request) -> Client {
    request.extensions().get::<Client>().copied().unwrap_or(Client::LOCAL)
}

/// The client, as the middleware found it.
pub(crate) fn client(parts: &Parts) -> Client {
    parts.extensions.get::<Client>().copied().unwrap_or(Client::LOCAL)
}

async fn check(parts: &Parts, app: &App) -> Result<Option<Caller>, Problem> {
    if let Some(who) = parts.extensions.get::<Principal>() {
        let credential = Credential::Local;
        return Ok(Some(Caller { who: who.clone(), expires_at: None, credential }));
    }
    if let Some(key) = bearer(&parts.headers) {
        let who = app.hub.key(key, now()).await?;
        let credential = Credential::Key(key.into());
        return Ok(who.map(|who| Caller { who, expires_at: None, credential }));
    }
    let Some(token) = session_token(&parts.headers) else { return Ok(None) };
    let session = app.hub.session(token, now()).await?;
    let Some(session) = session else { return Ok(None) };
    let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && parts.headers.get(CSRF_HEADER).is_none_or(|value| value != "1") {
        return Err(Problem::forbidden(
            "A change that is authorised by a cookie needs the header 'X-Palisade: 1'.",
        )
        .kind("csrf"));
    }
    let credential = Credential::Session(token.into());
    Ok(Some(Caller { who: session.principal, expires_at: Some(session.expires_at), credential }))
}

/// The key in `Authorization: Bearer KEY` (RFC 6750).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    let fits = !key.is_empty() && key.len() <= MAX_SECRET_BYTES;
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(key)
}

/// The session token in the cookies (RFC 6265).
pub(crate) fn session_token(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';')).find_map(
        |pair| {
            let (name, token) = pair.trim().split_once('=')?;
            let fits = !token.is_empty() && token.len() <= MAX_SECRET_BYTES;
            (name == COOKIE && fits).then_some(token)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_key_follows_the_scheme() {
        let of = |value: &str| bearer(&headers(header::AUTHORIZATION, value)).map(str::to_owned);
        assert_eq!(of("bearer pal_1").as_deref(), Some("pal_1"));
        for bad in ["Basic cm9vdA==", "Bearer ", "Bearer", &format!("Bearer {}", "x".repeat(257))] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let of = |value: &str| session_token(&headers(header::COOKIE, value)).map(str::to_owned);
        assert_eq!(of("a=b; palisade_session=tok; c=d").as_deref(), Some("tok"));
        for bad in ["palisade_session=", "xpalisade_session=tok", "palisade_session"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
