//! The agent of a guarded host: log sources → events → spool → hub.
//!
//! ```text
//! file, journal, ─ lines ►┐
//! syslog, stdin           ├─ pipeline ─► spool (fsync) ─► forward ─► uplink ─► hub
//! honeypots ──── events ─►┘      │
//!      cursors ◄── acknowledged ─┘
//!                              └─ detect ─► decisions ─► enforce ─► the firewall
//! ```
//!
//! A source's cursor moves only after the spool has what was read; the spool is
//! freed only after the hub's receipt. Everything may be sent twice and counts
//! once: the ids of log events are derived from the line and its place.

mod agent;
mod apart;
pub mod audit;
mod backoff;
mod clock;
mod config;
mod cursor;
mod dead_letter;
mod detect;
mod durable;
mod enforce;
mod fail2ban;
mod forward;
mod health;
mod intake;
mod integrity;
mod inventory;
mod knock;
mod loss;
mod metrics;
mod outage;
mod pipeline;
mod source;
mod uplink;
mod zone;

pub use agent::{Agent, Guidance, StartError};
pub use config::{
    Config, FileSource, HubConfig, JournalSource, SourceConfig, SpoolConfig, StartFrom,
    StdinSource, SyslogSource, SyslogTransport,
};
pub use detect::{Allow, DetectConfig, SystemNetworks, system_networks};
pub use enforce::{EnforceConfig, EnforcedBan, Method, flush_enforced, list_enforced};
pub use fail2ban::{Fail2banConfig, LoadedJails, read_fail2ban};
pub use health::{HealthConfig, HealthPreset, Threshold};
pub use intake::Intake;
pub use integrity::{IntegrityConfig, hash_folder};
pub use inventory::{InventoryConfig, take_inventory};
pub use knock::{KnockConfig, KnockSecret, flush_knock, knock_step};
pub use metrics::{Counter, Metrics};
pub use palisade_rules::LogFormat;
pub use uplink::{
    FeedPosition, Follow, FollowError, HttpError, HttpUplink, SendError, Uplink, client_tls, follow,
};
