//! The attacker-facing zone: it lets strangers in and writes down what they do.
//!
//! Data goes one way: socket → [`stream`](Stream) → service → [`Session`] →
//! a bounded channel of events. The zone starts no process and makes no
//! connection of its own, and opens no file but those it is made from at its
//! start; it knows nothing of the hub or the
//! firewall. Everything a stranger can make us hold is bounded by [`Limits`]
//! or a named constant.
//!
//! A service gets a `Stream` that enforces the deadlines and budgets, and a
//! `Session` whose identity was fixed when the connection was accepted. The
//! listener alone says that a session opened and closed, so that both happen
//! exactly once, whatever the service does.

mod config;
pub mod fetch;
pub mod fingerprint;
mod honeypot;
mod listener;
mod permits;
mod persona;
pub mod plugin;
pub mod proxy;
pub mod scan;
pub mod service;
mod session;
pub mod shell;
mod sockets;
mod stats;
mod stream;
mod tape;
pub mod tells;
pub mod tls;
mod udp;
pub mod zone_stream;

pub use config::{
    Accept, CaptureConfig, Config, FetchConfig, HttpConfig, Limits, Listen, MAX_PLUGINS,
    MAX_SOCKETS, OneOrMore, PersonaConfig, PluginConfig, Process, ProxyMode, ScansConfig,
    ServiceConfig, ServiceKind, SshAccept, SshConfig, SshKeys, SshTunnels, TcpConfig, TelnetConfig,
    TrustedProxy, UdpConfig, WEAK_LOGINS,
};
pub use honeypot::{BindError, Honeypot};
pub use persona::{Persona, System};
pub use session::Session;
pub use sockets::Sockets;
pub use stats::{Counter, Refusal, Stats};
pub use stream::{Closed, Stream};
