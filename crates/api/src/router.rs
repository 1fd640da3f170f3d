//! Puts the routes together, and around them what every request passes:
//! panic guard, base path, client address, security headers, time limit.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use palisade_hub::{Hub, Principal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tracing::Instrument as _;

use crate::client::Client;
use crate::compat::ews::analyzers::Analyzers;
use crate::config::{Config, Dialect};
use crate::error::Problem;
use crate::limits::RateLimit;
use crate::metrics::Metrics;
use crate::public::{self, Public};
use crate::{client, compat, docs, headers, native, ui};

/// Sign-in attempts that an address regains a second.
const SIGN_IN_PER_SEC: f64 = 1.0 / 6.0;
/// Requests without a valid credential that an address regains a second.
const UNAUTHENTICATED_PER_SEC: f64 = 1.0;

/// Longest path that is logged, in characters.
const MAX_LOGGED_CHARS: usize = 200;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<AppInner>);

/// See [`App`].
pub(crate) struct AppInner {
    pub(crate) hub: Hub,
    pub(crate) config: Config,
    pub(crate) sign_in: RateLimit,
    pub(crate) unauthenticated: RateLimit,
    /// One permit a live stream.
    pub(crate) streams: Arc<Semaphore>,
    /// What visitors of the public page share.
    pub(crate) public: Public,
    /// Ends live streams.
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
    /// Answers of the PEBA queries that are remembered for a moment.
    pub(crate) answers: compat::peba::Answers,
    /// Block lists that were written.
    pub(crate) blocklists: native::blocklist::Answers,
    /// Which honeypot an analyzer id means.
    pub(crate) analyzers: Arc<Analyzers>,
    /// One permit an EWS message that is larger than most.
    pub(crate) large_messages: Arc<Semaphore>,
    /// Metrics of the parts that run beside the hub; see [`crate::Server::show_metrics`].
    pub(crate) beside: std::sync::OnceLock<MetricsText>,
    /// World maps of reports that are remembered for a minute.
    pub(crate) maps: compat::report::Maps,
    /// Where honeypots of this process listen; see [`crate::Server::show_honeypot_ports`].
    pub(crate) honeypot_ports: std::sync::OnceLock<Vec<u16>>,
    /// What honeypots of this process are known by; see [`crate::Server::try_honeypots`].
    pub(crate) tells: native::tells::Tells,
}

/// Writes metric families in the OpenMetrics text format, without its end mark.
pub(crate) type MetricsText = Box<dyn Fn() -> String + Send + Sync>;

impl App {
    pub(crate) fn new(hub: Hub, config: Config) -> Self {
        let limits = &config.limits;
        Self(Arc::new(AppInner {
            hub,
            sign_in: RateLimit::new(limits.sign_in_burst, SIGN_IN_PER_SEC),
            unauthenticated: RateLimit::new(limits.unauthenticated_burst, UNAUTHENTICATED_PER_SEC),
            streams: Arc::new(Semaphore::new(limits.streams)),
            public: Public::new(&config),
            shutdown: CancellationToken::new(),
            metrics: Metrics::default(),
            answers: compat::peba::Answers::default(),
            blocklists: native::blocklist::Answers::default(),
            analyzers: Arc::new(analyzers(&config)),
            large_messages: Arc::new(Semaphore::new(compat::ews::LARGE_MESSAGES)),
            beside: std::sync::OnceLock::new(),
            maps: compat::report::Maps::default(),
            honeypot_ports: std::sync::OnceLock::new(),
            tells: native::tells::Tells::default(),
            config,
        }))
    }
}

/// The table of the settings; the built-in one where that cannot be read, as
/// [`Config::validate`] has said so before.
fn analyzers(config: &Config) -> Analyzers {
    let table = Analyzers::load(config.ews.analyzers.as_deref());
    table.or_else(|_| Analyzers::load(None)).unwrap_or_default()
}

impl Deref for App {
    type Target = AppInner;
    fn deref(&self) -> &AppInner {
        &self.0
    }
}

/// The routes for callers in this process, who may do all: no base path, no
/// network. For commands that work on the files of a stopped hub.
pub fn local_router(hub: &Hub, config: &Config) -> Router {
    build_local(&App::new(hub.clone(), config.clone()))
}

/// The routes of the management socket.
pub(crate) fn build_local(app: &App) -> Router {
    routes(app).layer(Extension(Principal::local(None)))
}

/// The routes of a network listener. Where the native dialect is spoken, all
/// others are too.
pub(crate) fn build(app: &App, dialects: &[Dialect]) -> Router {
    let native = dialects.contains(&Dialect::Native);
    let inner = if native { routes(app) } else { some(app, dialects) };
    if app.config.base_path.is_empty() {
        return inner;
    }
    let base: Arc<str> = app.config.base_path.as_str().into();
    Router::new().fallback(move |request: Request| below(Arc::clone(&base), inner.clone(), request))
}

/// Takes the base path off and hands on; everything beside it is not ours.
async fn below(base: Arc<str>, inner: Router, mut request: Request) -> Response {
    let path = request.uri().path();
    if path == "/" || path == &*base {
        return Redirect::temporary(&format!("{base}/")).into_response();
    }
    let rest = path.strip_prefix(&*base).filter(|rest| rest.starts_with('/'));
    let Some(rest) = rest else {
        return Problem::not_found(format!("Everything here is below {base}/.")).into_response();
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = format!("{rest}{query}").parse::<PathAndQuery>().ok();
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return Problem::bad_request("The path is malformed.").into_response(),
    }
    inner.oneshot(request).await.into_response()
}

fn routes(app: &App) -> Router {
    let native = Router::new()
        .nest("/api/v1", native_routes())
        .route("/api", get(unknown))
        .route("/api/", get(unknown))
        .route("/api/{*rest}", axum::routing::any(unknown))
        .route("/metrics", get(native::probes::metrics))
        .route("/heartbeat", get(native::probes::heartbeat))
        .route("/healthz", get(native::probes::healthz))
        .route("/openapi.json", get(docs::document))
        .route("/docs", get(docs::index))
        .route("/docs/", get(docs::index))
        .route("/docs/problems", get(docs::problems))
        .route("/docs/{file}", get(docs::file))
        .route("/knock/{token}", get(native::knock::page).post(native::knock::enter))
        .merge(compat::peba::routes(app))
        .merge(compat::lapi::routes())
        .merge(compat::report::routes(app))
        .merge(compat::glimpse::beside())
        .merge(compat::alpha::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(ui::serve)
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(app.clone(), in_time));
    // Messages of honeypots may be large and have limits of their own; agents
    // wait for changes as long as they ask to.
    let waits = Router::new()
        .route("/api/v1/decisions/feed", get(native::decisions::feed))
        .layer(CompressionLayer::new());
    guarded(app, native.merge(compat::ews::routes()).merge(waits))
}

/// The routes of some dialects, without the native one.
fn some(app: &App, dialects: &[Dialect]) -> Router {
    let ews = dialects.contains(&Dialect::Ews);
    let mut questions = Router::new().route("/heartbeat", get(native::probes::heartbeat));
    if ews {
        let front = get(compat::peba::front);
        questions = questions.merge(compat::peba::routes(app)).route("/", front);
    }
    if dialects.contains(&Dialect::Glimpse) && !ews {
        questions = questions.merge(compat::glimpse::alone());
    }
    if dialects.contains(&Dialect::Alpha) {
        questions = questions.merge(compat::alpha::routes());
        // A door has one front: the first of these dialects has it.
        if !ews && !dialects.contains(&Dialect::Glimpse) {
            questions = questions.route("/", get(compat::alpha::front));
        }
    }
    if dialects.contains(&Dialect::Report) {
        questions = questions.merge(compat::report::routes(app));
    }
    let mut routes = questions
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(app.clone(), in_time));
    if ews {
        routes = routes.merge(compat::ews::routes());
    }
    guarded(app, routes.fallback(not_here))
}

/// What every request passes, whatever it asks for.
fn guarded(app: &App, routes: Router<App>) -> Router {
    routes
        .layer(middleware::from_fn_with_state(app.clone(), headers::secure))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .layer(middleware::from_fn_with_state(app.clone(), client::identify))
        .with_state(app.clone())
}

fn native_routes() -> Router<App> {
    use native::{
        aggregate, allowlist, bouncers, cves, decisions, effect, events, ews_users, explain,
        fields, ingest, keys, logs, quarantine, query, sensors, session,
    };
    use native::{payloads, saved_queries, scenarios, status, stream, users};
    Router::new()
        .route("/session", get(session::show).post(session::begin).delete(session::end))
        .route("/events", get(events::search).post(ingest::accept))
        .route("/events/restore", post(ingest::restore))
        .route("/events/{id}", get(events::one))
        .route("/logs/{parser}", post(logs::accept))
        .route("/aggregate", post(aggregate::run))
        .route("/query", get(query::check))
        .route("/saved-queries", get(saved_queries::list).post(saved_queries::add))
        .route("/saved-queries/{id}", put(saved_queries::change).delete(saved_queries::remove))
        .route("/stream", get(stream::open))
        .route("/bouncers", get(bouncers::list))
        .route("/decisions", get(decisions::list).post(decisions::ban))
        .route("/decisions/effect", get(effect::show).post(effect::take))
        .route("/decisions/{*target}", delete(decisions::lift))
        .route("/knock-links", get(native::knock::list).post(native::knock::add))
        .route("/knock-links/{id}", delete(native::knock::remove))
        .route("/allowlist", get(allowlist::list).post(allowlist::add))
        .route("/allowlist/{*target}", delete(allowlist::remove))
        .merge(native::blocklist::routes())
        .route("/sensors", get(sensors::list))
        .route("/hosts", get(native::hosts::list))
        .route("/hosts/{id}", get(native::hosts::one).delete(native::hosts::forget))
        .route("/hosts/{id}/samples", get(native::hosts::samples))
        .route("/changes", get(native::hosts::changes))
        .route("/findings", get(native::findings::list))
        .route(
            "/findings/suppressions",
            get(native::findings::suppressions).post(native::findings::suppress),
        )
        .route("/findings/suppressions/{id}", delete(native::findings::count_again))
        .route("/honeypot/tells", get(native::tells::list))
        .route("/plugins", get(native::plugins::list))
        .route("/plugins/{name}/rows", get(native::plugins::rows))
        .route("/cves", get(cves::list))
        .route("/sessions", get(native::sessions::list))
        .route("/sessions/{id}", get(native::sessions::one))
        .route("/sessions/{id}/recording", get(native::sessions::recording))
        .route("/scenarios", get(scenarios::list))
        .route("/scenarios/{name}/simulation", put(scenarios::simulate))
        .route("/explain", post(explain::run))
        .route("/public/summary", get(public::summary::show))
        .route("/public/stream", get(public::stream::open))
        .route("/quarantine", get(quarantine::list))
        .route("/payloads", get(payloads::list))
        .route("/payloads/{sha256}", get(payloads::one))
        .route("/payloads/{sha256}/download", get(payloads::download))
        .route("/status", get(status::show))
        .route("/fields", get(fields::list))
        .route("/users", get(users::list).post(users::add))
        .route("/users/{name}", delete(users::remove))
        .route("/users/{name}/role", put(users::set_role))
        .route("/users/{name}/password", post(users::set_password))
        .route("/sign-ins", get(native::sign_ins::list))
        .route("/sign-ins/{id}", delete(native::sign_ins::end))
        .route("/ews-users", get(ews_users::list).post(ews_users::add))
        .route("/ews-users/{name}", delete(ews_users::remove))
        .route("/keys", get(keys::list).post(keys::add))
        .route("/keys/{id}", delete(keys::remove))
        .fallback(unknown)
}

async fn unknown() -> Problem {
    Problem::not_found("The API has no such address. /openapi.json lists those it has.")
}

async fn not_here() -> Problem {
    Problem::not_found("This address speaks other dialects alone, and none of them has this path.")
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "This address does not take this method. /openapi.json lists those it takes.",
    )
}

/// Gives up on a handler that has not begun to answer in time. Streams and
/// exports begin at once and may then take as long as they like.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let secs = app.config.limits.request_secs;
    match tokio::time::timeout(Duration::from_secs(secs), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(secs, "request given up");
            let detail = format!(
                "No answer within {secs} seconds. A shorter time range or a simpler query is faster."
            );
            Problem::unavailable(detail, 5).into_response()
        }
    }
}

/// Counts the answer, and gives every request a span with what it is.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let client = request.extensions().get::<Client>().copied().unwrap_or(Client::LOCAL);
    let path = native::blocklist::logged(&native::knock::logged(request.uri().path()));
    let path: String = path.chars().take(MAX_LOGGED_CHARS).collect();
    let span = tracing::info_span!(
        "request",
        client = %client.address,
        method = %request.method(),
        path = %path.escape_debug(),
    );
    async {
        let response = next.run(request).await;
        app.metrics.answered(response.status());
        let status = response.status().as_u16();
        tracing::debug!(status, micros = started.elapsed().as_micros(), "request answered");
        response
    }
    .instrument(span)
    .await
}

/// A panic costs one request, not the process. Its text may hold input, so it
/// goes escaped to the log.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    Problem::internal(format_args!("panic: {}", text.escape_debug())).into_response()
}
