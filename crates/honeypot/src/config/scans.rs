//! What the operator may set for the detection of scans.

use serde::{Deserialize, Serialize};

/// Longest time in which one scan is one event, in seconds.
const MAX_WINDOW_SECS: u64 = 86_400;
/// Longest silence that ends a scan, in seconds.
const MAX_QUIET_SECS: u64 = 3_600;
/// Longest name of an interface, as Linux has it.
const MAX_INTERFACE_BYTES: usize = 15;

/// When many ports of one source are a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScansConfig {
    /// Ports from which on it is one; what scanners alone send is one whatever
    /// its ports are. Default 5.
    pub min_ports: u16,
    /// Seconds of silence after which it is told. Default 30.
    pub quiet_secs: u64,
    /// Seconds in which a source has one scan. Default 600.
    pub window_secs: u64,
}

impl Default for ScansConfig {
    fn default() -> Self {
        Self { min_ports: 5, quiet_secs: 30, window_secs: 600 }
    }
}

impl ScansConfig {
    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if self.min_ports < 2 {
            wrong("min_ports must be at least 2".to_owned());
        }
        if !(1..=MAX_QUIET_SECS).contains(&self.quiet_secs) {
            wrong(format!("quiet_secs must be 1 to {MAX_QUIET_SECS}"));
        }
        if !(1..=MAX_WINDOW_SECS).contains(&self.window_secs) {
            wrong(format!("window_secs must be 1 to {MAX_WINDOW_SECS}"));
        }
    }
}

/// Whether first packets are looked at that never become a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureConfig {
    /// The interface whose packets are looked at, or `any`. Needs the right
    /// `CAP_NET_RAW` at the start. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl CaptureConfig {
    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        let Some(name) = &self.interface else { return };
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if name.is_empty() || name.len() > MAX_INTERFACE_BYTES || !name.bytes().all(plain) {
            let name = name.escape_default();
            wrong(format!("interface '{name}': name an interface such as eth0, or any"));
        }
    }
}
