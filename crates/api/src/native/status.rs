//! `GET /api/v1/status`: how the hub is doing.

use axum::extract::State;
use palisade_event::Timestamp;
use palisade_hub::Permission;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// How the hub is doing.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    /// Version of the hub.
    version: &'static str,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Seconds since then.
    uptime_secs: u64,
    /// The event store.
    store: StoreStatus,
    /// What waits for the store.
    spool: SpoolStatus,
    /// The database of accounts, sessions and keys.
    state: StateStatus,
    /// What could not be understood.
    quarantine: QuarantineStatus,
    /// What was delivered since the start.
    ingest: IngestStatus,
    /// Whether events of the demonstration are mixed in.
    demo: bool,
    /// Where this installation is; null where it is not configured.
    #[schema(required)]
    home: Option<Home>,
    /// Where events are forwarded to.
    outbound: Vec<OutboundStatus>,
}

/// A target that events are forwarded to.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutboundStatus {
    /// Its name.
    #[schema(value_type = String, example = "headquarters")]
    name: palisade_event::SensorId,
    /// What is spoken with it: palisade, ews, hpfeeds, dshield, webhook or slack.
    #[schema(value_type = String, example = "palisade")]
    kind: palisade_hub::OutboundKind,
    /// Events that wait for it.
    pending: u64,
    /// Bytes of its queue on disk.
    bytes: u64,
    /// Their bound.
    max_bytes: u64,
    /// Events that it has confirmed since the start.
    sent: u64,
    /// Events that its dialect cannot express, since the start.
    left_out: u64,
    /// Events that it refuses, since the start; they are in quarantine.
    refused: u64,
    /// Events that were dropped as its queue was full, ever.
    dropped: u64,
    /// Events that never came into its queue, as it could not be written, ever.
    unqueued: u64,
    /// Deliveries that failed and were repeated, since the start.
    retries: u64,
    /// When it last confirmed something.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_ok_at: Option<Timestamp>,
    /// Why the last delivery failed; absent where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

impl From<palisade_hub::OutboundStatus> for OutboundStatus {
    fn from(status: palisade_hub::OutboundStatus) -> Self {
        Self {
            name: status.name,
            kind: status.kind,
            pending: status.pending,
            bytes: status.bytes,
            max_bytes: status.max_bytes,
            sent: status.sent,
            left_out: status.left_out,
            refused: status.refused,
            dropped: status.dropped,
            unqueued: status.unqueued,
            retries: status.retries,
            last_ok_at: status.last_ok_at,
            error: status.error,
        }
    }
}

/// The event store.
#[derive(Serialize, ToSchema)]
pub(crate) struct StoreStatus {
    /// Where events live: embedded or clickhouse.
    #[schema(example = "embedded")]
    engine: &'static str,
    /// Events that queries can see.
    events: u64,
    /// Bytes on disk.
    bytes: u64,
    /// Days that have an index.
    days: u32,
    /// Whether it keeps up.
    #[schema(value_type = StoreState)]
    state: palisade_hub::StoreState,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Seconds that the oldest event has waited which the store does not have yet.
    behind_secs: u64,
}

/// Whether the store keeps up.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "read by the derive macro alone")]
pub(crate) enum StoreState {
    /// What is delivered can be queried within seconds.
    Ok,
    /// The store works, but events wait longer than they should.
    Behind,
    /// The store does not work; events wait in the spool.
    Failed,
}

/// What waits for the store.
#[derive(Serialize, ToSchema)]
pub(crate) struct SpoolStatus {
    /// Records.
    pending_records: u64,
    /// Bytes on disk.
    bytes: u64,
    /// Their bound.
    max_bytes: u64,
}

/// The database of accounts, sessions and keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct StateStatus {
    /// Where it is: sqlite or postgres.
    #[schema(value_type = String, example = "sqlite")]
    engine: palisade_hub::StateEngine,
    /// Whether it answered last. Where not, events are still taken from keys
    /// that were seen before; nobody signs in.
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// What could not be understood.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineStatus {
    /// Records that are kept.
    total: u64,
}

/// What was delivered since the start.
#[derive(Serialize, ToSchema)]
pub(crate) struct IngestStatus {
    /// Events that were new.
    accepted: u64,
    /// Events that were here already.
    duplicate: u64,
    /// Records that could not be understood.
    quarantined: u64,
    /// Batches that could not be taken.
    refused: u64,
}

/// A place on the map.
#[derive(Serialize, ToSchema)]
pub(crate) struct Home {
    /// Degrees north.
    lat: f64,
    /// Degrees east.
    lon: f64,
}

impl From<palisade_hub::Status> for Status {
    fn from(status: palisade_hub::Status) -> Self {
        let (store, spool, ingest) = (status.store, status.spool, status.ingest);
        Self {
            version: status.version,
            started_at: status.started_at,
            uptime_secs: status.uptime_secs,
            store: StoreStatus {
                engine: store.engine,
                events: store.events,
                bytes: store.bytes,
                days: store.days,
                state: store.state,
                reason: store.reason,
                behind_secs: store.behind_secs,
            },
            spool: SpoolStatus {
                pending_records: spool.pending_records,
                bytes: spool.bytes,
                max_bytes: spool.max_bytes,
            },
            state: StateStatus {
                engine: status.state.engine,
                ok: status.state.ok,
                reason: status.state.reason,
            },
            quarantine: QuarantineStatus { total: status.quarantine.total },
            ingest: IngestStatus {
                accepted: ingest.accepted,
                duplicate: ingest.duplicate,
                quarantined: ingest.quarantined,
                refused: ingest.refused,
            },
            demo: status.demo,
            home: status.home.map(|home| Home { lat: home.lat, lon: home.lon }),
            outbound: status.outbound.into_iter().map(Into::into).collect(),
        }
    }
}

/// Status
#[utoipa::path(
    get, path = "/api/v1/status", tag = "hub", operation_id = "getStatus",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = Status, description = "How the hub is doing"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Status>, Problem> {
    caller.require(Permission::Read)?;
    Ok(axum::Json(app.hub.status().into()))
}
