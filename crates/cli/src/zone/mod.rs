//! The zone: honeypots in a process of their own that can do nothing but talk
//! to those who come, and tell its parent what they did.
//!
//! [`parent`] binds the ports and starts this program again as `palisade zone`
//! ([`child`]), which gets the sockets, reads what it is made from, gives up
//! all rights ([`sandbox`], [`syscalls`]) and only then has a second thread.
//! Between them is one socket pair ([`palisade_honeypot::zone_stream`]). Files
//! that shells ask for are fetched by a third process ([`fetcher`]), if at all.

pub(crate) mod attempts;
pub(crate) mod child;
mod descriptors;
pub(crate) mod fetcher;
mod hearing;
mod log;
pub(crate) mod parent;
mod process;
mod sandbox;
mod syscalls;

use std::net::IpAddr;

pub(crate) use self::sandbox::Reach;
use anyhow::Context as _;
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
    /// Whether one end of the pair to the fetcher follows them.
    fetch: bool,
    /// How many sockets that capture packets follow then.
    captures: usize,
    /// The addresses of this machine.
    own: Vec<IpAddr>,
}

/// The addresses of this machine.
pub(crate) fn own_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let all = nix::ifaddrs::getifaddrs().context("cannot list the addresses of this machine")?;
    Ok(all
        .filter_map(|interface| {
            let address = interface.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
        })
        .collect())
}
