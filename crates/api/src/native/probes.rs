//! What monitoring asks: metrics, heartbeat, health.

use std::net::IpAddr;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use palisade_event::Domain;
use palisade_hub::alerts::{Alerts, Window};
use palisade_hub::{Permission, Principal, StoreState};
use palisade_store::Domains;
use serde::Serialize;
use utoipa::ToSchema;

use super::host_metrics;
use crate::auth::{self, Caller};
use crate::client::Client;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Media type of the OpenMetrics text format, version 1.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Health of the hub.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `degraded` where events are taken but cannot be queried yet, or nobody
    /// can sign in.
    status: HealthStatus,
    /// Version of the hub.
    version: &'static str,
    /// Seconds since its start.
    uptime_secs: u64,
    /// State of the event store.
    #[schema(value_type = super::status::StoreState)]
    store: StoreState,
    /// Records that wait for the store.
    pending_records: u64,
}

/// Whether all is well.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HealthStatus {
    /// All is well.
    Ok,
    /// Events are taken but cannot be queried yet, or nobody can sign in.
    Degraded,
}

/// Metrics
///
/// In the OpenMetrics text format, for Prometheus. Where the configuration
/// says so, clients on this machine need no credential.
#[utoipa::path(
    get, path = "/metrics", tag = "probes", operation_id = "getMetrics",
    security(("session" = []), ("key" = []), ()),
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text", description = "The metrics"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn metrics(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    caller: Result<Caller, Problem>,
) -> Result<Response, Problem> {
    let open = app.config.metrics_open && is_here(client.address);
    let who = if open {
        Principal::local(None)
    } else {
        let caller = caller?;
        caller.require(Permission::Read)?;
        caller.who
    };
    let mut beside = app.beside.get().map(|text| text()).unwrap_or_default();
    beside.push_str(&of_hosts(&app, &who).await);
    let text = app.metrics.append_to(app.hub.metrics_text(), &beside);
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

/// Metrics of machines and of today's attacks, for who may see them.
async fn of_hosts(app: &App, who: &Principal) -> String {
    if !who.sees(Domain::Private) {
        return String::new();
    }
    let now = auth::now();
    let counted = move |alerts: &Alerts<'_>| {
        let named = |counted: Vec<palisade_hub::alerts::Counted>| {
            let unknown = || "unknown".to_owned();
            let counted = counted.into_iter();
            counted.map(|one| (one.name.unwrap_or_else(unknown), one.count)).collect()
        };
        let categories: host_metrics::Counts = named(alerts.categories(Window::Today, now)?);
        let countries: host_metrics::Counts = named(alerts.source_countries(Window::Today, now)?);
        Ok::<_, palisade_store::QueryError>((categories, countries))
    };
    let attacks = app.hub.alerts(who, Domains::Both, counted).await;
    let attacks =
        attacks.map(|(categories, countries)| host_metrics::attacks(&categories, &countries));
    let hosts = app.hub.hosts(who, now).await.map(|hosts| host_metrics::text(&hosts));
    let logged =
        |error: &palisade_hub::QueryError| tracing::warn!(%error, "some metrics are missing");
    let attacks = attacks.inspect_err(logged).unwrap_or_default();
    attacks + &hosts.inspect_err(logged).unwrap_or_default()
}

fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Heartbeat
///
/// For load balancers: text while the hub takes events and answers questions.
#[utoipa::path(
    get, path = "/heartbeat", tag = "probes", operation_id = "getHeartbeat",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "I'm alive"),
        (status = 401, body = String, content_type = "text/plain", description = "The store is down; as monitors of a PEBA backend expect it"),
    ),
)]
pub(crate) async fn heartbeat(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.hub.status().store.state {
        StoreState::Failed => (StatusCode::UNAUTHORIZED, "The store is down"),
        StoreState::Ok | StoreState::Behind => (StatusCode::OK, "I'm alive"),
    }
}

/// Health
#[utoipa::path(
    get, path = "/healthz", tag = "probes", operation_id = "getHealth",
    responses(
        (status = 200, body = Health, description = "The hub runs"),
        (status = 503, body = Health, description = "The store is down; events wait in the spool"),
    ),
)]
pub(crate) async fn healthz(State(app): State<App>) -> Response {
    let status = app.hub.status();
    let code = match status.store.state {
        StoreState::Failed => StatusCode::SERVICE_UNAVAILABLE,
        StoreState::Ok | StoreState::Behind => StatusCode::OK,
    };
    let body = Health {
        status: match status.store.state {
            StoreState::Ok if status.state.ok => HealthStatus::Ok,
            StoreState::Ok | StoreState::Behind | StoreState::Failed => HealthStatus::Degraded,
        },
        version: status.version,
        uptime_secs: status.uptime_secs,
        store: status.store.state,
        pending_records: status.spool.pending_records,
    };
    (code, axum::Json(body)).into_response()
}
