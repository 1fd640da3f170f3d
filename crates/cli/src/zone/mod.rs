//! The zone: honeypots in a process of their own that can do nothing but talk
//! to those who come, and tell its parent what they did.
//!
//! [`parent`] binds the ports and starts this program again as `palisade zone`
//! ([`child`]), which gets the sockets, reads what it is made from, gives up
//! all rights ([`sandbox`], [`syscalls`]) and only then has a second thread.
//! Between them is one socket pair ([`palisade_honeypot::zone_stream`]).

pub(crate) mod attempts;
pub(crate) mod child;
mod descriptors;
mod hearing;
mod log;
pub(crate) mod parent;
mod process;
mod sandbox;
mod syscalls;

use palisade_event::{HostName, SensorId};
use serde::{Deserialize, Serialize};

use crate::settings::Log;

/// How a zone has to start; what [`palisade_honeypot::zone_stream::ToZone::Start`]
/// carries. Its sockets follow.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    honeypot: palisade_honeypot::Config,
    sensor: SensorId,
    host: Option<HostName>,
    log: Log,
    /// For each socket that follows, which of the services it belongs to.
    sockets: Vec<usize>,
}
