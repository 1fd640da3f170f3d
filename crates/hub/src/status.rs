//! How the hub is doing, as the page, the health check and metrics show it.

use palisade_event::Timestamp;
use serde::Serialize;

use crate::config::Home;
use crate::outbound::OutboundStatus;

/// How the hub is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Version of this build.
    pub version: &'static str,
    /// When the hub was opened.
    pub started_at: Timestamp,
    /// Seconds since then.
    pub uptime_secs: u64,
    /// The event store.
    pub store: StoreStatus,
    /// What waits for the store.
    pub spool: SpoolStatus,
    /// The database of accounts, sessions and keys.
    pub state: StateStatus,
    /// What could not be understood.
    pub quarantine: QuarantineStatus,
    /// What was delivered since the hub was opened.
    pub ingest: IngestStatus,
    /// Whether events of the demonstration are mixed in.
    pub demo: bool,
    /// Where this installation is.
    pub home: Option<Home>,
    /// Where events are forwarded to.
    pub outbound: Vec<OutboundStatus>,
}

/// Whether the store keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    /// What is delivered can be queried within seconds.
    #[default]
    Ok,
    /// The store works, but events wait longer than they should.
    Behind,
    /// The store does not work; events wait in the spool.
    Failed,
}

/// The event store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Where events live: `embedded` or `clickhouse`.
    pub engine: &'static str,
    /// Events that queries can see.
    pub events: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Days that have an index.
    pub days: u32,
    /// Whether it keeps up.
    pub state: StoreState,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds that the oldest event has waited which the store does not have
    /// yet; 0 where none waits.
    pub behind_secs: u64,
}

/// What waits for the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolStatus {
    /// Records.
    pub pending_records: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Their bound.
    pub max_bytes: u64,
}

/// The database of accounts, sessions, keys, sensors and quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateStatus {
    /// Where it is.
    pub engine: crate::StateEngine,
    /// Whether it answered last. Where not, events are still taken from keys
    /// that were seen before; nobody signs in.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl StateStatus {
    /// As it answered last; asks nobody.
    pub(crate) fn of(state: &palisade_store::state::State) -> Self {
        let reason = state.lost();
        Self { engine: state.engine(), ok: reason.is_none(), reason }
    }
}

/// What could not be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuarantineStatus {
    /// Records that are kept.
    pub total: u64,
}

/// What was delivered since the hub was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngestStatus {
    /// Events that were new.
    pub accepted: u64,
    /// Events that were here already.
    pub duplicate: u64,
    /// Records that could not be understood.
    pub quarantined: u64,
    /// Batches that could not be taken.
    pub refused: u64,
}
