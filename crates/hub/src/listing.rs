//! What the hub answers besides events: sessions, keys, sensors, quarantine.

use std::net::IpAddr;

use palisade_event::{Domain, SensorId, Timestamp};
use palisade_store::state::{Ranges, Scope, SensorKind};
use serde::Serialize;

use crate::auth::Principal;

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
    /// Names it for [`crate::Hub::revoke_session`]; not its token.
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

/// A user of the EWS dialect in a listing; its token is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EwsUserInfo {
    /// What it sends; also the sensor that it stands for.
    pub name: SensorId,
    /// Domain of the events that it delivers.
    pub domain: Domain,
    /// Whom to write to.
    pub email: Option<String>,
    /// Whether it may not deliver.
    pub read_only: bool,
    /// Whether it sees community events alone.
    pub community_only: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
}

/// A user of the EWS dialect to be made.
#[derive(Clone)]
pub struct NewEwsUser {
    /// What it will send.
    pub name: SensorId,
    /// What proves that it is the one.
    pub secret: EwsSecret,
    /// Domain of the events that it delivers.
    pub domain: Domain,
    /// Whom to write to.
    pub email: Option<String>,
    /// Whether it may not deliver.
    pub read_only: bool,
    /// Whether it sees community events alone.
    pub community_only: bool,
}

/// What proves an EWS user.
#[derive(Clone)]
pub enum EwsSecret {
    /// Its token.
    Token(String),
    /// SHA-512 of a token, in 128 hex digits, as another backend kept it.
    Sha512(String),
    /// MD5 of a token, in 32 hex digits, as another backend kept it.
    Md5(String),
}

/// A key in a listing; the secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Names it for [`crate::Hub::remove_key`].
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
    /// What its bouncers are told of networks, where that was said.
    pub ranges: Option<Ranges>,
}

/// A key that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// Names it for [`crate::Hub::remove_key`].
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
