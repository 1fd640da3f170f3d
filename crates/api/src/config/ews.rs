//! Settings of the EWS dialect: what honeypot networks post and ask in.

use serde::{Deserialize, Serialize};

/// Longest default response, in bytes.
const MAX_DEFAULT_RESPONSE_BYTES: usize = 1024;

/// Settings of the EWS dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EwsConfig {
    /// What a message is answered that cannot be understood; its sender keeps
    /// it and sends it again. Default: `Nope`.
    pub default_response: String,
}

impl Default for EwsConfig {
    fn default() -> Self {
        Self { default_response: "Nope".to_owned() }
    }
}

impl EwsConfig {
    pub(super) fn collect_mistakes(&self, mistakes: &mut Vec<String>) {
        if self.default_response.len() > MAX_DEFAULT_RESPONSE_BYTES {
            mistakes.push(format!(
                "ews.default_response: expected at most {MAX_DEFAULT_RESPONSE_BYTES} bytes"
            ));
        }
    }
}
