//! What a machine is and has, read from its files: of this machine, or of another
//! one's root folder.
//!
//! ```text
//! /proc, /sys, /etc, /var/lib ─► collector ─► host.reported, host.changed ─► pipeline
//!                                sampler ───► host.sampled ──────────────────►
//!                                        └──► health ──► host.alerted, host.recovered
//! ```

pub(crate) mod accounts;
mod certificates;
pub(crate) mod collector;
mod config;
mod der;
mod hardware;
mod interfaces;
mod known;
pub(crate) mod mounts;
pub(crate) mod packages;
mod people;
mod plugged;
pub(crate) mod root;
pub(crate) mod sample;
mod section;
pub(crate) mod sockets;
mod software;
mod system;
mod task;
pub(crate) mod tool;
pub(crate) mod units;
mod unpack;
pub(crate) mod updates;
pub(crate) mod version;

pub use config::InventoryConfig;
pub(crate) use task::{Inventory, host_name};

/// Looks at everything once, as an agent does at its start: how many events that
/// makes, and how many bytes of JSON. For measuring.
#[must_use]
pub fn take_inventory(folder: &std::path::Path) -> (usize, usize) {
    // "local" keeps the rule of names, so this cannot happen.
    let Ok(sensor) = palisade_event::SensorId::new("local") else { return (0, 0) };
    let teller = collector::Teller { sensor, host: host_name(None) };
    let config = InventoryConfig::default();
    let mut collector = collector::Collector::new(root::Root::here(), teller, &config, folder);
    let now = palisade_event::Timestamp::from(std::time::SystemTime::now());
    let (_, sample) = collector.sample(0, now);
    let mut events = vec![sample];
    events.extend(collector.collect(collector::Due::Often, now));
    events.extend(collector.collect(collector::Due::Seldom, now));
    let bytes = events.iter().map(|event| palisade_event::wire::encode_event(event).len()).sum();
    (events.len(), bytes)
}

/// The sections of the inventory, by name.
pub(crate) const SECTIONS: [&str; 16] = [
    "accounts",
    "certificates",
    "containers",
    "devices",
    "disks",
    "interfaces",
    "keys",
    "modules",
    "packages",
    "schedules",
    "sessions",
    "sockets",
    "sudoers",
    "system",
    "units",
    "updates",
];
