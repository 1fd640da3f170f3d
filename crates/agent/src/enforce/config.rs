//! Settings of enforcement.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Most bans that may be set.
const MOST_BANS: usize = 1_000_000;

/// Settings of enforcement (`[agent.enforce]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnforceConfig {
    /// How bans are enforced. Default: `dry-run`, which only says what would be.
    pub method: Method,
    /// The name of our table of nftables, or of our sets of ipset. Default `palisade`.
    pub table: String,
    /// With `command`: the program and its arguments that keep somebody out;
    /// `%s` and `{ip}` are the address or network, `{secs}` for how long.
    pub ban: Vec<String>,
    /// With `command`: what lets them in again.
    pub unban: Vec<String>,
    /// With `hosts-deny`: the file. Default `/etc/hosts.deny`.
    pub hosts_deny: PathBuf,
    /// Most bans at once; beyond them those that end first go. Default 200,000.
    pub max_bans: usize,
    /// The widest network that is ever banned, as prefix lengths. Defaults 16 and 32.
    pub widest_v4: u8,
    /// The same for IPv6.
    pub widest_v6: u8,
}

/// How bans are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Not at all: the log says what would be done.
    #[default]
    DryRun,
    /// A table of our own of nftables.
    Nftables,
    /// Sets of ipset with rules of iptables.
    Ipset,
    /// Rules of ufw.
    Ufw,
    /// A file of TCP wrappers.
    HostsDeny,
    /// A command of the administrator.
    Command,
}

impl Method {
    /// Its word in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DryRun => "dry-run",
            Self::Nftables => "nftables",
            Self::Ipset => "ipset",
            Self::Ufw => "ufw",
            Self::HostsDeny => "hosts-deny",
            Self::Command => "command",
        }
    }
}

impl Default for EnforceConfig {
    fn default() -> Self {
        Self {
            method: Method::DryRun,
            table: "palisade".to_owned(),
            ban: Vec::new(),
            unban: Vec::new(),
            hosts_deny: "/etc/hosts.deny".into(),
            max_bans: 200_000,
            widest_v4: 16,
            widest_v6: 32,
        }
    }
}

impl EnforceConfig {
    pub(crate) fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begins = self.table.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || self.table.len() > 24 || !self.table.chars().all(plain) {
            mistakes.push(format!(
                "enforce: table = '{}' must be 1 to 24 letters, digits or '_', a letter first",
                self.table.escape_debug()
            ));
        }
        match self.method {
            Method::Command if self.ban.is_empty() => mistakes.push(
                "enforce: method 'command' needs ban, such as ban = [\"/usr/local/bin/ban\", \"{ip}\"]"
                    .to_owned(),
            ),
            Method::Command
                if !self.ban.iter().any(|word| word.contains("{ip}") || word.contains("%s")) =>
            {
                mistakes.push("enforce: ban must have {ip} or %s in one of its words".to_owned());
            }
            Method::Command => {}
            _ if !self.ban.is_empty() || !self.unban.is_empty() => {
                mistakes.push("enforce: ban and unban are for method 'command'".to_owned());
            }
            Method::HostsDeny if !self.hosts_deny.is_absolute() => {
                mistakes.push("enforce: hosts_deny must be an absolute path".to_owned());
            }
            _ => {}
        }
        if !(1..=MOST_BANS).contains(&self.max_bans) {
            mistakes.push(format!("enforce: max_bans must be between 1 and {MOST_BANS}"));
        }
        if !(8..=32).contains(&self.widest_v4) || !(16..=128).contains(&self.widest_v6) {
            mistakes.push("enforce: widest_v4 must be 8 to 32 and widest_v6 16 to 128".to_owned());
        }
        mistakes
    }
}
