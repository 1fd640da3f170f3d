//! The service core: takes events in, keeps them, answers questions about
//! them. Free of HTTP; the dialects of `api` are thin layers over this.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use palisade_event::wire::Receipt;
use palisade_event::{Domain, Event, SensorId, Timestamp};

/// Settings of the hub.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    // spool {max_bytes, segment_bytes}, store (palisade_store::Config), geo {city: Option<PathBuf>, asn: Option<PathBuf>}, quarantine_max_bytes, …
}

/// Who asks: made by [`Hub::sign_in`], [`Hub::session`], [`Hub::key`] or
/// [`Principal::local`]; there is no other way to get one.
#[derive(Clone, Debug)]
pub struct Principal {
    // name, role or scopes, domain, sensor
}

impl Principal {
    /// The operator on this machine (Unix socket, in-process agent): may do all.
    #[must_use]
    pub fn local(sensor: Option<SensorId>) -> Self {
        let _ = sensor;
        todo!()
    }
    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        let _ = permission;
        todo!()
    }
}

/// What a principal may do. Viewer: Read. Operator: Read, Operate. Admin: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Deliver events.
    Ingest,
    /// See events of its domain(s), sensors, aggregates.
    Read,
    /// See quarantine, act on hosts.
    Operate,
    /// Manage accounts and keys.
    Administer,
}

/// The service core. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    // Arc<Inner>: spool, store, state, enrich, live, metrics …
}

impl Hub {
    /// Opens spool, store and state below `data_dir` and starts the writer.
    /// Fails with one clear sentence where the directory is used by another
    /// process (flock), is not writable, …
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(data_dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let _ = (data_dir, config);
        todo!()
    }
    /// Takes records (JSON text of one event each). Returns only after fsync.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was taken; the sender tries again.
    pub async fn accept(&self, who: &Principal, records: &[&[u8]]) -> Result<Receipt, IngestError> {
        let _ = (who, records);
        todo!()
    }
    /// Events as they are stored, enriched; a receiver that lags gets `Lagged`.
    #[must_use]
    pub fn live(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        todo!()
    }
    /// Stops the writer after what is in the spool has been stored (deadline).
    pub async fn close(&self) {
        todo!()
    }
    // search/get/aggregate(&who, …) run on blocking threads, AND-ed with who's domains
    // sign_in(name, password, from: IpAddr, now) / session(token) / sign_out(token) / key(secret)
    // users: list/add/remove/set_password; keys: list/add/remove
    // sensors(), quarantine(limit), status(), metrics registry
}

/// The hub cannot start; the operator must act.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Nothing of the batch was taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The principal may not deliver events.
    #[error("this credential may not deliver events")]
    Forbidden,
    /// The spool is full or the disk is: try again after so many seconds.
    #[error("the hub cannot take events now: {reason}")]
    Busy {
        /// Why.
        reason: String,
        /// Seconds after which to try again.
        retry_after_secs: u32,
    },
}

#[allow(unused, reason = "skeleton")]
type Used = (IpAddr, Domain, Timestamp);
