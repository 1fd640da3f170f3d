//! The API's description: the OpenAPI document and Swagger UI to try it, both
//! from inside the binary.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::error::{KINDS, Problem, ProblemBody};
use crate::native::schema;
use crate::native::{self, Segment};
use crate::public;
use crate::router::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Palisade",
        description = "Collects attacks from honeypots and logs, and answers questions about them. \
            Errors are problem details (RFC 9457). Times are UTC, RFC 3339. \
            Query text: `country:CN kind:auth.attempted since:7d \"free text\"`; fields are listed \
            by /api/v1/fields.",
    ),
    paths(
        native::session::begin,
        native::session::show,
        native::session::end,
        native::ingest::accept,
        native::ingest::restore,
        native::logs::accept,
        native::events::search,
        native::events::one,
        native::aggregate::run,
        native::query::check,
        native::saved_queries::list,
        native::saved_queries::add,
        native::saved_queries::change,
        native::saved_queries::remove,
        native::stream::open,
        native::cves::list,
        native::sessions::list,
        native::sessions::one,
        native::sessions::recording,
        native::bouncers::list,
        native::knock::list,
        native::knock::add,
        native::knock::remove,
        native::decisions::list,
        native::decisions::ban,
        native::decisions::lift,
        native::decisions::feed,
        native::effect::show,
        native::effect::take,
        native::allowlist::list,
        native::allowlist::add,
        native::allowlist::remove,
        native::blocklist::show,
        native::blocklist::misp,
        native::blocklist::links::list,
        native::blocklist::links::add,
        native::blocklist::links::remove,
        native::scenarios::list,
        native::scenarios::simulate,
        native::explain::run,
        native::sensors::list,
        native::hosts::list,
        native::hosts::one,
        native::hosts::forget,
        native::hosts::samples,
        native::hosts::changes,
        native::findings::list,
        native::findings::suppressions,
        native::findings::suppress,
        native::findings::count_again,
        native::tells::list,
        native::plugins::list,
        native::plugins::rows,
        native::quarantine::list,
        native::status::show,
        native::fields::list,
        native::users::list,
        native::users::add,
        native::users::remove,
        native::users::set_role,
        native::users::set_password,
        native::sign_ins::list,
        native::sign_ins::end,
        native::ews_users::list,
        native::ews_users::add,
        native::ews_users::remove,
        native::keys::list,
        native::keys::add,
        native::keys::remove,
        public::summary::show,
        public::stream::open,
        native::payloads::list,
        native::payloads::one,
        native::payloads::download,
        native::probes::metrics,
        native::probes::heartbeat,
        native::probes::healthz,
    ),
    components(schemas(ProblemBody, schema::Event, schema::Batch, native::events::Format)),
    tags(
        (name = "events", description = "What happened."),
        (name = "detection", description = "What is looked for, and what was found."),
        (name = "decisions", description = "Who is banned on all machines, and who is spared."),
        (name = "session", description = "Signing in and out of the page."),
        (name = "hosts", description = "The machines that tell of themselves: inventory, numbers, findings, changes."),
        (name = "hub", description = "How the hub and its sensors are doing."),
        (name = "administration", description = "Accounts, API keys and EWS users."),
        (name = "public", description = "For anybody, where the operator has turned it on."),
        (name = "probes", description = "For monitoring."),
    ),
    modifiers(&Credentials),
)]
struct Description;

/// Says how requests are authorised.
struct Credentials;

impl utoipa::Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        // The version would make the committed document change with each release.
        document.info.version = "1".to_owned();
        document.info.license = None;
        let components = document.components.get_or_insert_default();
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, `pal_…`."))
            .build();
        components.add_security_scheme("key", SecurityScheme::Http(key));
        let cookie = ApiKeyValue::with_description(
            crate::auth::COOKIE,
            "Set by POST /api/v1/session. Changes also need the header `X-Palisade: 1`.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The OpenAPI document as indented JSON, as committed in `docs/openapi.json`.
#[must_use]
pub fn openapi_json() -> String {
    // Plain data always serializes.
    let mut text = Description::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Serves the document, with the base path as its server.
pub(crate) async fn document(State(app): State<App>) -> Response {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let build = || {
        let mut document = Description::openapi();
        if !app.config.base_path.is_empty() {
            document.servers = Some(vec![utoipa::openapi::Server::new(&app.config.base_path)]);
        }
        document.to_json().unwrap_or_default().into()
    };
    let bytes = match app.config.base_path.is_empty() {
        true => DOCUMENT.get_or_init(build).clone(),
        false => build(),
    };
    typed("application/json", bytes)
}

/// Sends `/docs` to its folder, so that relative addresses work.
pub(crate) async fn index(State(app): State<App>) -> Response {
    Redirect::permanent(&format!("{}/docs/index.html", app.config.base_path)).into_response()
}

/// Serves the files of Swagger UI.
pub(crate) async fn file(Segment(file): Segment) -> Response {
    // Without "none" it would ask a server on the internet about the document.
    let config = utoipa_swagger_ui::Config::from("../openapi.json").validator_url("none");
    match utoipa_swagger_ui::serve(&file, Arc::new(config)) {
        Ok(Some(found)) => {
            let kind = HeaderValue::from_str(&found.content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let bytes = match found.bytes {
                std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                std::borrow::Cow::Owned(bytes) => bytes.into(),
            };
            let mut response = bytes.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Ok(None) => Problem::not_found("The documentation has no such file.").into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// Explains the kinds of problem, which problem details link to.
pub(crate) async fn problems() -> Response {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Problems</title>\
         </head><body><h1>Problems</h1>",
    );
    for (slug, text) in KINDS {
        page.push_str(&format!("<h2 id=\"{slug}\">{slug}</h2><p>{text}</p>"));
    }
    page.push_str("</body></html>");
    typed("text/html; charset=utf-8", page.into())
}

fn typed(kind: &'static str, bytes: Bytes) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}
