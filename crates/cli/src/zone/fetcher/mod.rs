//! The fetcher: the only process of the honeypots that may connect out. It
//! fetches what shells ask for, within bounds, and hands the bytes back;
//! nothing is written to disk or run.
//!
//! [`parent`] starts it as `palisade fetch` ([`child`]); wishes and answers go
//! directly between it and the zone, over a pair of sockets that the parent
//! keeps open at both ends, so that either process may end and be started again
//! ([`palisade_honeypot::fetch::wire`]). Who may be reached is decided in
//! [`net`], with the address that is then connected to.

pub(crate) mod child;
mod ftp;
mod http;
mod net;
pub(crate) mod parent;
mod tftp;

use std::net::{IpAddr, SocketAddr};

use palisade_honeypot::FetchConfig;
use palisade_honeypot::shell::fetch::Outcome;
use serde::{Deserialize, Serialize};

use crate::settings::Log;

/// How a fetcher has to start. Its end of the pair follows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    config: FetchConfig,
    user: String,
    log: Log,
    /// Who is asked for the addresses of names.
    servers: Vec<SocketAddr>,
    /// The addresses of this machine.
    own: Vec<IpAddr>,
    /// The addresses of the hub.
    hub: Vec<IpAddr>,
}

/// A file that came, or how it went otherwise.
type Got = Result<File, Outcome>;

/// A file that came.
#[derive(Debug)]
struct File {
    bytes: Vec<u8>,
    /// Its media type, where the server says one.
    kind: Option<String>,
}
