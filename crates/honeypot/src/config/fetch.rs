//! What the operator may set for the fetching of files that shells ask for.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Most bytes that a fetched file may be allowed to have: larger ones are not
/// handed on whole.
const MAX_BYTES: usize = 5 * 1024 * 1024;
/// Longest time that a fetch may be allowed to take, in seconds.
const MAX_SECS: u64 = 120;
/// Most files that may wait or be on their way: each holds a thread of a shell.
const MAX_QUEUE: usize = 16;
/// Most redirects that may be followed.
const MAX_REDIRECTS: u8 = 10;
/// Most networks of one list, and most name servers.
const MAX_ENTRIES: usize = 256;

/// Whether files that shells ask for are really fetched, by a process of its
/// own that does nothing else, and what that may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchConfig {
    /// Whether anything is fetched at all. Default: no; addresses are recorded
    /// either way.
    pub enabled: bool,
    /// Most bytes of one file. Default and most: 5 MiB.
    pub max_bytes: usize,
    /// Seconds from the wish to the last byte. Default 30.
    pub timeout_secs: u64,
    /// Connections to one IPv4 address or IPv6 /64 in a minute. Default 5.
    pub per_host_per_minute: u32,
    /// Redirects that are followed. Default 3.
    pub redirects: u8,
    /// Files that wait or are on their way; one more fails at once. Default 8.
    pub queue: usize,
    /// Networks that may be reached though they are not public, such as
    /// `127.0.0.1/32` in a test. Default: none.
    pub allow: Vec<IpNet>,
    /// Networks that may not be reached though they are public. Addresses of
    /// the hub and of this machine never are. Default: none.
    pub deny: Vec<IpNet>,
    /// Who is asked for the addresses of names. Default: the name servers of
    /// `/etc/resolv.conf`, read at the start.
    pub name_servers: Vec<SocketAddr>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            max_bytes: MAX_BYTES,
            timeout_secs: 30,
            per_host_per_minute: 5,
            redirects: 3,
            queue: 8,
            allow: Vec::new(),
            deny: Vec::new(),
            name_servers: Vec::new(),
        }
    }
}

impl FetchConfig {
    /// How long a fetch may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }

    pub(super) fn check(&self, wrong: &mut dyn FnMut(String)) {
        if !(1..=MAX_BYTES).contains(&self.max_bytes) {
            wrong(format!("max_bytes must be 1 to {MAX_BYTES}"));
        }
        if !(1..=MAX_SECS).contains(&self.timeout_secs) {
            wrong(format!("timeout_secs must be 1 to {MAX_SECS}"));
        }
        if !(1..=MAX_QUEUE).contains(&self.queue) {
            wrong(format!("queue must be 1 to {MAX_QUEUE}"));
        }
        if self.per_host_per_minute == 0 {
            wrong("per_host_per_minute must be at least 1".to_owned());
        }
        if self.redirects > MAX_REDIRECTS {
            wrong(format!("redirects must be 0 to {MAX_REDIRECTS}"));
        }
        let counts = [
            ("allow", self.allow.len()),
            ("deny", self.deny.len()),
            ("name_servers", self.name_servers.len()),
        ];
        for (name, _) in counts.into_iter().filter(|(_, count)| *count > MAX_ENTRIES) {
            wrong(format!("{name} has more than {MAX_ENTRIES} entries"));
        }
    }
}
