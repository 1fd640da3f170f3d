//! The service core: takes events in, keeps them, answers questions about
//! them. Free of HTTP; the dialects of `api` are thin layers over this.
//!
//! Data flows one way: [`Hub::accept`] → spool (fsync) → receipt; spool →
//! writer → enrichment → store → live. Questions go to the store alone.

mod auth;
mod config;
mod enrich;
mod error;
mod status;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use palisade_event::wire::Receipt;
use palisade_event::{Domain, Event, EventId, SensorId, Timestamp};
use palisade_store::query::{Aggregation, Cursor, Query};
use palisade_store::{Aggregated, Page};
use serde::Serialize;

pub use auth::{Permission, Principal};
pub use config::{Config, GeoConfig, Home, QuarantineConfig, SpoolConfig};
pub use error::{AdminError, IngestError, OpenError, QueryError, SignInError, StateError};
pub use palisade_store::state::{Account, Role, Scope, SensorKind};
pub use status::{IngestStatus, QuarantineStatus, SpoolStatus, Status, StoreState, StoreStatus};

/// Name of the account that the first start makes and that cannot be removed.
pub const ADMIN: &str = "admin";
/// Sensor name of the demonstration's events.
pub const DEMO_SENSOR: &str = "demo";

/// A session that was just begun.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// What the client sends from now on; not kept, only its hash is.
    pub token: String,
    /// Who it is.
    pub principal: Principal,
    /// The last instant at which the session can be valid.
    pub expires_at: Timestamp,
}

/// A valid session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who it is.
    pub principal: Principal,
    /// The last instant at which the session can be valid.
    pub expires_at: Timestamp,
}

/// A session in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// Names it for [`Hub::revoke_session`]; not its token.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub last_seen: Timestamp,
    /// The last instant at which it can be valid.
    pub expires_at: Timestamp,
    /// Where it began.
    pub address: Option<IpAddr>,
    /// The browser's own words, escaped.
    pub user_agent: Option<String>,
}

/// A key in a listing; the secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Names it for [`Hub::remove_key`].
    pub id: String,
    /// The sensor that it stands for.
    pub name: SensorId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Domain of the events that it delivers.
    pub domain: Domain,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
}

/// A key that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// Names it for [`Hub::remove_key`].
    pub id: String,
    /// The sensor that it stands for.
    pub name: SensorId,
    /// The key itself, `pal_<id>_<secret>`; it cannot be had again.
    pub key: String,
}

/// A sensor in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SensorStatus {
    /// Its name.
    pub sensor: SensorId,
    /// When it first delivered.
    pub first_seen: Timestamp,
    /// When it last delivered.
    pub last_seen: Timestamp,
    /// Where from.
    pub last_address: Option<IpAddr>,
    /// Domain of its last events.
    pub domain: Domain,
    /// The key it used last.
    pub key_id: Option<String>,
    /// Events that it observed in the last 24 hours.
    pub events_24h: u64,
    /// Events that it ever delivered.
    pub events_total: u64,
    /// How its events come in.
    pub kind: SensorKind,
    /// Version of its software.
    pub version: Option<String>,
}

/// The newest records in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantineList {
    /// Records that are kept in all.
    pub total: u64,
    /// The newest of them, newest first.
    pub records: Vec<QuarantinedRecord>,
}

/// A record in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantinedRecord {
    /// Counts up; never used twice.
    pub id: i64,
    /// When it was delivered.
    pub received_at: Timestamp,
    /// Who delivered it.
    pub sensor: String,
    /// Why it could not be taken.
    pub reason: String,
    /// Its length.
    pub bytes: u64,
    /// How it begins, escaped.
    pub preview: String,
}

/// What a live subscription gives.
#[derive(Clone, Debug)]
pub enum LiveItem {
    /// A newly stored event, enriched, that the subscriber may see.
    Event(Arc<Event>),
    /// The subscriber was too slow; so many events were left out.
    Lagged(u64),
}

/// A live subscription; see [`Hub::live`].
pub struct Live {}

impl Live {
    /// The next event that the subscriber may see; `None` once the hub has
    /// closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<LiveItem> {
        todo!()
    }
}

/// The service core. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    // Arc<Inner>
}

impl Hub {
    /// Opens spool, store and state below `data_dir` (made if it is not
    /// there) and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is used by another process or cannot be
    /// written, a file in it is damaged, or a geolocation database cannot be read.
    pub async fn open(data_dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let _ = (data_dir, config);
        todo!()
    }

    /// Makes the account [`ADMIN`] with a random password, where there is no
    /// account of that name yet, and returns the password: the only time it
    /// can be seen. It stays valid until it is changed.
    ///
    /// # Errors
    /// [`AdminError`] where the state database fails.
    pub async fn bootstrap_admin(&self, now: Timestamp) -> Result<Option<String>, AdminError> {
        let _ = now;
        todo!()
    }

    /// Takes records (JSON text of one event each), delivered from an address
    /// where one is known. Returns only after all of them are durable.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was taken; the sender tries again.
    pub async fn accept(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        records: &[&[u8]],
    ) -> Result<Receipt, IngestError> {
        let _ = (who, from, records);
        todo!()
    }

    /// Remembers which version of its software the sensor of `who` runs.
    pub fn note_sensor_version(&self, who: &Principal, version: &str) {
        let _ = (who, version);
        todo!()
    }

    /// Says that events of the demonstration are mixed in, for [`Self::status`].
    pub fn mark_demo(&self) {
        todo!()
    }

    /// Events as they become visible to queries, enriched, as far as `who`
    /// may see them.
    ///
    /// # Errors
    /// [`QueryError::Forbidden`]
    pub fn live(&self, who: &Principal) -> Result<Live, QueryError> {
        let _ = who;
        todo!()
    }

    /// One page of matching events, newest first, as far as `who` may see them.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn search(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        let _ = (who, query, limit, after);
        todo!()
    }

    /// One event, where there is one and `who` may see it.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn get(&self, who: &Principal, id: EventId) -> Result<Option<Event>, QueryError> {
        let _ = (who, id);
        todo!()
    }

    /// Counts and groups matching events, as far as `who` may see them.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn aggregate(
        &self,
        who: &Principal,
        query: Query,
        aggregation: Aggregation,
    ) -> Result<Aggregated, QueryError> {
        let _ = (who, query, aggregation);
        todo!()
    }

    /// Sensors by name, as far as `who` may see their domain.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn sensors(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SensorStatus>, QueryError> {
        let _ = (who, now);
        todo!()
    }

    /// The newest records in quarantine. Needs [`Permission::Operate`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn quarantine(
        &self,
        who: &Principal,
        limit: usize,
    ) -> Result<QuarantineList, QueryError> {
        let _ = (who, limit);
        todo!()
    }

    /// How the hub is doing. Cheap: reads no disk.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Metrics in the OpenMetrics text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        todo!()
    }

    /// Begins a session. `from` and `user_agent` are for the listing, `from`
    /// also bounds how often a client may try.
    ///
    /// # Errors
    /// [`SignInError`]
    pub async fn sign_in(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
        user_agent: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        let _ = (name, password, from, user_agent, now);
        todo!()
    }

    /// The session of a token; `None` where it is unknown or has expired.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Session>, StateError> {
        let _ = (token, now);
        todo!()
    }

    /// Ends the session of a token, if there is one.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn sign_out(&self, token: &str) -> Result<(), StateError> {
        let _ = token;
        todo!()
    }

    /// Valid sessions: all of them for who may administer, else one's own.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn sessions(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SessionInfo>, AdminError> {
        let _ = (who, now);
        todo!()
    }

    /// Ends a session: any for who may administer, else one's own.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn revoke_session(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        let _ = (who, id);
        todo!()
    }

    /// Checks a key (`pal_<id>_<secret>`); `None` where it is not valid.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn key(&self, key: &str, now: Timestamp) -> Result<Option<Principal>, StateError> {
        let _ = (key, now);
        todo!()
    }

    /// Accounts by name.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn accounts(&self, who: &Principal) -> Result<Vec<Account>, AdminError> {
        let _ = who;
        todo!()
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AdminError`]; the rules of names and passwords are in the message.
    pub async fn add_account(
        &self,
        who: &Principal,
        name: &str,
        password: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        let _ = (who, name, password, role, now);
        todo!()
    }

    /// Removes an account and its sessions. [`ADMIN`] stays.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_account(&self, who: &Principal, name: &str) -> Result<(), AdminError> {
        let _ = (who, name);
        todo!()
    }

    /// Changes a password (an account may change its own) and ends the
    /// account's sessions.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn set_password(
        &self,
        who: &Principal,
        name: &str,
        password: &str,
    ) -> Result<(), AdminError> {
        let _ = (who, name, password);
        todo!()
    }

    /// Keys by name.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn keys(&self, who: &Principal) -> Result<Vec<KeyInfo>, AdminError> {
        let _ = who;
        todo!()
    }

    /// Makes a key for a sensor. The key in the answer cannot be had again.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn add_key(
        &self,
        who: &Principal,
        name: SensorId,
        scopes: &[Scope],
        domain: Domain,
        now: Timestamp,
    ) -> Result<NewKey, AdminError> {
        let _ = (who, name, scopes, domain, now);
        todo!()
    }

    /// Removes a key; it is refused from then on.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove_key(&self, who: &Principal, id: &str) -> Result<(), AdminError> {
        let _ = (who, id);
        todo!()
    }

    /// Takes no more events, stores what is in the spool (up to a deadline;
    /// the rest is stored after the next start), and closes everything.
    pub async fn close(&self) {
        todo!()
    }
}
