//! How to reach ClickHouse.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest name of a database or cluster, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// How to reach ClickHouse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouseConfig {
    /// HTTP addresses of servers, such as `http://127.0.0.1:8123`; the first
    /// that answers is used. With a cluster: those of all its servers.
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

impl ClickHouseConfig {
    /// What is wrong with these settings, all of it; empty where nothing is.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.urls.is_empty() {
            found.push("urls: name at least one server, such as http://127.0.0.1:8123".to_owned());
        }
        for url in &self.urls {
            let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#', ' '])) {
                let shown = url.escape_debug();
                found.push(format!("urls: '{shown}' is not of the form http://HOST:8123"));
            }
        }
        for (setting, name) in
            [("database", Some(&self.database)), ("cluster", self.cluster.as_ref())]
        {
            let plain = |name: &String| {
                (1..=MAX_NAME_BYTES).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            };
            if name.is_some_and(|name| !plain(name)) {
                found.push(format!("{setting}: a name of letters, digits, '_' and '-'"));
            }
        }
        if self.user.is_empty() || self.user.chars().any(|c| c.is_control() || !c.is_ascii()) {
            found.push("user: a name of printable ASCII characters".to_owned());
        }
        if self.replicated && self.cluster.is_none() {
            found.push("replicated: needs 'cluster'".to_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_said_at_once() {
        let config = ClickHouseConfig {
            urls: vec!["127.0.0.1:8123".into(), "http://a:8123".into()],
            database: "a`b".into(),
            user: String::new(),
            password_file: None,
            cluster: None,
            replicated: true,
        };
        let said = config.mistakes().join("; ");
        for setting in ["127.0.0.1:8123", "database:", "user:", "replicated:"] {
            assert!(said.contains(setting), "{said}");
        }
        let good = ClickHouseConfig {
            urls: vec!["https://clickhouse.example:8443/".into()],
            database: database(),
            user: user(),
            password_file: None,
            cluster: Some("attacks".into()),
            replicated: true,
        };
        assert_eq!(good.mistakes(), Vec::<String>::new());
    }
}
