//! What the operator may set for the HTTP service.

use serde::{Deserialize, Serialize};

use super::{MAX_DELAY_MS, MAX_SECS};

/// Settings of the HTTP service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// What is shown: the name of a shipped site, or the path of a folder with
    /// one. Default: `router`, the login page of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Requests of one connection before it is closed. Default: as the site's
    /// server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Seconds within which a started request must be complete, so that a
    /// client that drips bytes does not hold a place. Default 30.
    pub request_secs: u64,
    /// Milliseconds before a failed login is answered. Default 800.
    pub fail_delay_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { site: None, requests: None, request_secs: 30, fail_delay_ms: 800 }
    }
}

impl HttpConfig {
    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if self.requests == Some(0) {
            wrong("http.requests must be at least 1".to_owned());
        }
        if self.request_secs == 0 || self.request_secs > MAX_SECS {
            wrong(format!("http.request_secs must be 1 to {MAX_SECS}"));
        }
        if self.fail_delay_ms > MAX_DELAY_MS {
            wrong(format!("http.fail_delay_ms is more than {MAX_DELAY_MS}"));
        }
    }
}
