//! Response headers that keep browsers from being used against the hub.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, header};

use crate::client::Client;
use crate::router::App;

/// What the page may do: load from here, talk to here, nothing else.
pub(crate) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; manifest-src 'self'; \
    base-uri 'self'; form-action 'self'; frame-ancestors 'none'";
/// The same for the API's documentation, whose scripts set styles.
pub(crate) const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Two years, as browsers' lists ask for.
const HSTS: &str = "max-age=63072000";

/// Middleware that adds them; what a handler has set stays.
pub(crate) async fn secure(State(app): State<App>, request: Request, next: Next) -> Response {
    let secure = request.extensions().get::<Client>().is_some_and(|client| client.secure);
    let path = request.uri().path();
    let is_api = path.starts_with("/api/") || path == "/metrics" || path == "/healthz";
    let is_docs = path == "/docs" || path.starts_with("/docs/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut add = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    add(header::CONTENT_SECURITY_POLICY, if is_docs { DOCS_POLICY } else { PAGE_POLICY });
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(header::REFERRER_POLICY, "no-referrer");
    add(header::X_FRAME_OPTIONS, "DENY");
    if is_api {
        add(header::CACHE_CONTROL, "no-store");
    }
    if secure && app.config.public_url.is_some() {
        add(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}
