//! Settings of the inventory (`[agent.inventory]`).

use serde::{Deserialize, Serialize};

/// What of the machine is told, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InventoryConfig {
    /// Whether the machine is told at all.
    pub enabled: bool,
    /// Seconds between two samples of how busy it is. Default 15.
    pub sample_secs: u64,
    /// Seconds between two looks at what changes often: sockets, people signed in,
    /// modules, containers, mounts, interfaces, failed units. Default 60.
    pub often_secs: u64,
    /// Seconds between two looks at the rest: accounts, keys, schedules, packages,
    /// certificates. Default 600.
    pub seldom_secs: u64,
    /// Sections that are not told, such as `packages`.
    pub disable: Vec<String>,
    /// Patterns of more files with certificates.
    pub certificates: Vec<String>,
}

impl Default for InventoryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sample_secs: 15,
            often_secs: 60,
            seldom_secs: 600,
            disable: Vec::new(),
            certificates: Vec::new(),
        }
    }
}

impl InventoryConfig {
    /// Mistakes, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (name, seconds) in [
            ("sample_secs", self.sample_secs),
            ("often_secs", self.often_secs),
            ("seldom_secs", self.seldom_secs),
        ] {
            if !(1..=86_400).contains(&seconds) {
                mistakes.push(format!("inventory: {name} must be between 1 and 86400"));
            }
        }
        let known = |name: &&String| super::SECTIONS.contains(&name.as_str());
        for name in self.disable.iter().filter(|name| !known(name)) {
            mistakes.push(format!(
                "inventory: disable: there is no section '{}'; there are {}",
                name.escape_debug(),
                super::SECTIONS.join(", ")
            ));
        }
        if self.certificates.len() > 64 {
            mistakes.push("inventory: certificates: at most 64 patterns".to_owned());
        }
        for pattern in self.certificates.iter().filter(|pattern| !pattern.starts_with('/')) {
            let pattern = pattern.escape_debug();
            mistakes.push(format!("inventory: certificates: '{pattern}' must be absolute"));
        }
        mistakes
    }
}
