//! The catalogue of checks: data, in `ruleset/audit/*.toml`, built into the
//! program. One file is one area.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::probe::Probe;

/// The files, by area.
const FILES: &[(&str, &str)] = &[
    ("accounts", include_str!("../../../../ruleset/audit/accounts.toml")),
    ("boot", include_str!("../../../../ruleset/audit/boot.toml")),
    ("files", include_str!("../../../../ruleset/audit/files.toml")),
    ("kernel", include_str!("../../../../ruleset/audit/kernel.toml")),
    ("logging", include_str!("../../../../ruleset/audit/logging.toml")),
    ("mounts", include_str!("../../../../ruleset/audit/mounts.toml")),
    ("network", include_str!("../../../../ruleset/audit/network.toml")),
    ("passwords", include_str!("../../../../ruleset/audit/passwords.toml")),
    ("schedules", include_str!("../../../../ruleset/audit/schedules.toml")),
    ("services", include_str!("../../../../ruleset/audit/services.toml")),
    ("ssh", include_str!("../../../../ruleset/audit/ssh.toml")),
    ("sudo", include_str!("../../../../ruleset/audit/sudo.toml")),
    ("updates", include_str!("../../../../ruleset/audit/updates.toml")),
];

/// How bad it is when a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// One more layer of defence is missing.
    Low,
    /// Makes another weakness worse, or helps an attacker who is in already.
    Medium,
    /// Opens a way in or to the rights of root under usual conditions.
    High,
    /// Opens one without any condition.
    Critical,
}

impl Severity {
    /// Its lower-case name, as in events and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// What a check of it counts in the score.
    #[must_use]
    pub fn weight(self) -> u32 {
        match self {
            Self::Low => 1,
            Self::Medium => 3,
            Self::High => 6,
            Self::Critical => 10,
        }
    }
}

/// Kinds of systems that checks are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Debian, Ubuntu and what is made from them.
    Debian,
    /// Red Hat Enterprise Linux, Fedora and what is made from them.
    Rhel,
}

/// One check.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name, for ever: `ssh-root-login`.
    pub id: String,
    /// What should be so, in one line.
    pub title: String,
    /// Why it matters.
    pub why: String,
    /// How to make it so.
    pub fix: String,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// Where others ask for it: `CIS Debian 12 v1.1.0, 5.1.20`.
    #[serde(default)]
    pub references: Vec<String>,
    /// What it is for; empty: every Linux.
    #[serde(default)]
    pub systems: Vec<System>,
    /// The area, from the file it stands in.
    #[serde(skip)]
    pub area: &'static str,
    /// Where this does not hold, the check does not apply.
    pub(super) when: Option<Probe>,
    /// What must hold.
    pub(super) test: Probe,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    /// Holds for all checks of the file that have no condition of their own.
    when: Option<Probe>,
    check: Vec<Check>,
}

/// All checks.
#[derive(Clone, Debug)]
pub struct Catalogue {
    checks: Vec<Check>,
}

impl Catalogue {
    /// Number of the catalogue's content: it grows when checks change, so that a
    /// score can be compared with an earlier one.
    pub const VERSION: &'static str = "2";

    /// The checks that come with the program.
    ///
    /// # Errors
    /// A file has a mistake, with its place; a test reads all of them.
    pub fn shipped() -> Result<Self, String> {
        let mut checks = Vec::new();
        for (area, text) in FILES {
            let file: Area = toml::from_str(text).map_err(|error| format!("{area}: {error}"))?;
            for mut check in file.check {
                check.area = area;
                check.when = check.when.or_else(|| file.when.clone());
                checks.push(check);
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = checks.iter().find(|check| !seen.insert(check.id.as_str())) {
            return Err(format!("check '{}' is there twice", twice.id));
        }
        checks.sort_by(|one, other| (one.area, &one.id).cmp(&(other.area, &other.id)));
        Ok(Self { checks })
    }

    /// The same without some checks.
    #[must_use]
    pub fn without(mut self, ids: &[String]) -> Self {
        self.checks.retain(|check| !ids.contains(&check.id));
        self
    }

    /// The checks, by area and name.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Looks a check up by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }
}
