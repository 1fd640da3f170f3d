//! What the operator may set for services that speak no protocol of their own.

use serde::{Deserialize, Serialize};

/// Most bytes of a visit or datagram that may be recorded.
const MAX_RECORDED_BYTES: usize = 64 * 1024;
/// Longest banner.
const MAX_BANNER_BYTES: usize = 4 * 1024;

/// Settings of a `tcp` service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcpConfig {
    /// What is said first. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
    /// Whether everything is said back. Default: no.
    pub echo: bool,
    /// The first bytes that are recorded. Default 4,096, at most 65,536.
    pub bytes: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self { banner: None, echo: false, bytes: 4_096 }
    }
}

impl TcpConfig {
    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if self.bytes == 0 || self.bytes > MAX_RECORDED_BYTES {
            wrong(format!("tcp.bytes must be 1 to {MAX_RECORDED_BYTES}"));
        }
        if self.banner.as_ref().is_some_and(|banner| banner.len() > MAX_BANNER_BYTES) {
            wrong(format!("tcp.banner has more than {MAX_BANNER_BYTES} bytes"));
        }
    }
}

/// Settings of a `udp` service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UdpConfig {
    /// Whether a datagram is said back, byte for byte: never more than came,
    /// so that nobody is hit by more than was sent. Default: no.
    pub echo: bool,
    /// The bytes of a datagram that are recorded. Default 2,048, at most 65,536.
    pub bytes: usize,
    /// Datagrams of one address (IPv6: /64) that are recorded in a minute;
    /// more are counted only. Default 60.
    pub per_address: u32,
    /// Datagrams of all that are recorded in a minute. Default 6,000.
    pub per_minute: u32,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { echo: false, bytes: 2_048, per_address: 60, per_minute: 6_000 }
    }
}

impl UdpConfig {
    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if self.bytes == 0 || self.bytes > MAX_RECORDED_BYTES {
            wrong(format!("udp.bytes must be 1 to {MAX_RECORDED_BYTES}"));
        }
        if self.per_address == 0 || self.per_minute == 0 {
            wrong("udp.per_address and udp.per_minute must be at least 1".to_owned());
        }
    }
}
