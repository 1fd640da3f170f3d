//! Settings of the agent's audits (`[agent.audit]`).

use serde::{Deserialize, Serialize};

/// Whether and how often the agent audits its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Whether it does.
    pub enabled: bool,
    /// Hours between two audits. Default 24.
    pub every_hours: u64,
    /// Ids of checks that are left out.
    pub disable: Vec<String>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { enabled: true, every_hours: 24, disable: Vec::new() }
    }
}

impl AuditConfig {
    /// Mistakes, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !(1..=8_760).contains(&self.every_hours) {
            mistakes.push("audit: every_hours must be between 1 and 8760".to_owned());
        }
        if self.disable.is_empty() {
            return mistakes;
        }
        match super::Catalogue::shipped() {
            Ok(catalogue) => {
                for id in self.disable.iter().filter(|id| catalogue.get(id).is_none()) {
                    mistakes
                        .push(format!("audit: disable: there is no check '{}'", id.escape_debug()));
                }
            }
            Err(mistake) => mistakes.push(mistake),
        }
        mistakes
    }
}
