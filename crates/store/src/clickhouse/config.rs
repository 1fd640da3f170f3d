//! How to reach ClickHouse.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How to reach ClickHouse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouseConfig {
    /// HTTP addresses of servers, such as `http://127.0.0.1:8123`; the first
    /// that answers is used.
    pub urls: Vec<String>,
    /// The database; made if it is not there. Default: `palisade`.
    #[serde(default = "database")]
    pub database: String,
    /// Whom to sign in as. Default: `default`.
    #[serde(default = "user")]
    pub user: String,
    /// A file that holds the password. Default: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A cluster of ClickHouse's own configuration: tables are then made on all
    /// of its servers and read through Distributed tables. Default: one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether the shards have replicas (ReplicatedMergeTree; needs ZooKeeper
    /// or ClickHouse Keeper). Default: no.
    #[serde(default)]
    pub replicated: bool,
}

fn database() -> String {
    "palisade".to_owned()
}

fn user() -> String {
    "default".to_owned()
}
