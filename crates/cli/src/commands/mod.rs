//! The commands that ask or manage, and end.

pub(crate) mod audit;
pub(crate) mod bans;
pub(crate) mod blocklist;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod enforce;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod fail2ban;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod knock;
pub(crate) mod plugin;
pub(crate) mod query;
pub(crate) mod scan;
pub(crate) mod sensors;
pub(crate) mod session;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod tells;
pub(crate) mod user;

use serde_json::Value;

/// The list under `name` in an answer.
fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
