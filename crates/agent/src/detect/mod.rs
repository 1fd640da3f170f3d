//! Detection on this machine: settings, the scenarios in use, and the stage
//! behind the spool.
//!
//! Events that the spool has are looked at in their order; alerts and decisions
//! become events and go the same way. Nothing is enforced here: a decision is
//! written to the log as what would be done.

mod checkpoint;
mod directions;
mod enforced;
mod heard;
mod journal;
mod stage;
mod system;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use palisade_rules::scenario::{Runs, SHIPPED_SCENARIOS, parse_scenario};
use palisade_rules::{
    AllowValue, Allowed, Allowlist, DEFAULT_MAX_TRACKED, Detector, Engine, EngineOptions,
    MAX_ALLOWED, Policy, PolicyConfig, Scenario,
};
use serde::{Deserialize, Serialize};

use crate::fail2ban::LoadedJails;

pub(crate) use enforced::Enforced;
pub(crate) use stage::{Noticed, Stage};
pub use system::{SystemNetworks, system_networks};

/// Longest scenario file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Most files of a folder that are looked at.
const MAX_FILES: usize = 1000;

/// Settings of detection (`[agent.detect]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// Whether anything is detected. Default: yes.
    pub enabled: bool,
    /// A folder of scenarios (`*.toml`) that are added to the shipped ones; one
    /// of the same name replaces the shipped one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<PathBuf>,
    /// Names of scenarios that are not used.
    pub disable: Vec<String>,
    /// Names of scenarios whose decisions are recorded and never carried out.
    pub simulate: Vec<String>,
    /// Who is never banned: addresses, networks, DNS names, `user:NAME`,
    /// `as:NUMBER`, each as text or with `value`, `reason`, `until`.
    pub allow: Vec<Allow>,
    /// Most sources that are tracked at once. Default 1,000,000.
    pub max_tracked: usize,
    /// What is decided.
    pub policy: PolicyConfig,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            scenarios: None,
            disable: Vec::new(),
            simulate: Vec::new(),
            allow: Vec::new(),
            max_tracked: DEFAULT_MAX_TRACKED,
            policy: PolicyConfig::default(),
        }
    }
}

/// An entry of the allowlist as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Allow {
    /// The value alone.
    Value(AllowValue),
    /// With a reason and maybe an end.
    Entry(Allowed),
}

impl DetectConfig {
    /// Checks what can be seen without reading files.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = self.policy.validate().err().unwrap_or_default();
        if self.max_tracked < 1000 {
            mistakes.push("max_tracked must be at least 1000".to_owned());
        }
        if self.allow.len() > MAX_ALLOWED {
            mistakes.push(format!("allow has more than {MAX_ALLOWED} entries"));
        }
        if let Some(folder) = &self.scenarios
            && !folder.is_absolute()
        {
            mistakes.push(format!("scenarios = '{}' must be an absolute path", folder.display()));
        }
        let mistakes: Vec<String> =
            mistakes.into_iter().map(|mistake| format!("detect: {mistake}")).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// The scenarios in use: the shipped ones, those of the folder laid over
    /// them, without the disabled ones. Reads files.
    ///
    /// # Errors
    /// Every mistake, each with its file.
    pub fn load_scenarios(&self) -> Result<Vec<Scenario>, Vec<String>> {
        self.load_scenarios_with(None)
    }

    /// The same with the scenarios of fail2ban's jails; `None` where they are not
    /// known, and so whether one of that name is there.
    fn load_scenarios_with(
        &self,
        jails: Option<Vec<Scenario>>,
    ) -> Result<Vec<Scenario>, Vec<String>> {
        let mut mistakes = Vec::new();
        // Shipped ones keep their order, others follow by name.
        let mut all: Vec<Scenario> = Vec::new();
        for file in SHIPPED_SCENARIOS {
            match file.scenario() {
                Ok(scenario) => all.push(scenario),
                Err(error) => mistakes.push(error.to_string()),
            }
        }
        let own = self.scenarios.as_deref().map(read_folder).transpose();
        let own = own.unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            None
        });
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for (place, text) in own.unwrap_or_default() {
            match parse_scenario(&text, &place) {
                Ok(scenario) => {
                    let name = scenario.name.to_string();
                    if let Some(other) = seen.insert(name.clone(), place.clone()) {
                        mistakes.push(format!("{place}: scenario {name} is in {other} already"));
                        continue;
                    }
                    match all.iter_mut().find(|known| known.name == scenario.name) {
                        Some(known) => *known = scenario,
                        None => all.push(scenario),
                    }
                }
                Err(error) => mistakes.push(error.to_string()),
            }
        }
        let jails_known = jails.is_some();
        all.extend(jails.unwrap_or_default());
        for (list, names) in [("disable", &self.disable), ("simulate", &self.simulate)] {
            for name in names {
                let may_be_jail = !jails_known && name.starts_with("fail2ban.");
                if !may_be_jail && !all.iter().any(|scenario| scenario.name.as_str() == name) {
                    let known: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
                    mistakes.push(format!(
                        "{list}: there is no scenario '{}'; known are {}",
                        name.escape_debug(),
                        known.join(", ")
                    ));
                }
            }
        }
        all.retain(|scenario| !self.disable.iter().any(|name| name == scenario.name.as_str()));
        for scenario in &mut all {
            scenario.simulation |= self.simulate.iter().any(|name| name == scenario.name.as_str());
        }
        if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
    }

    /// The allowlist, without what only this machine knows of itself.
    #[must_use]
    pub fn allowlist(&self) -> Allowlist {
        let entry = |allow: &Allow| match allow {
            Allow::Value(value) => Allowed::new(value.clone(), ""),
            Allow::Entry(entry) => entry.clone(),
        };
        Allowlist::new(self.allow.iter().map(entry).collect())
    }

    /// A detector with these settings that has seen nothing. Reads files.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn detector(&self, seed: u64) -> Result<Detector, Vec<String>> {
        self.detector_of(self.load_scenarios()?, seed)
    }

    /// The same with fail2ban's jails.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn detector_with(&self, jails: &LoadedJails, seed: u64) -> Result<Detector, Vec<String>> {
        self.detector_of(self.load_scenarios_with(Some(jails.scenarios()))?, seed)
    }

    /// A detector with the scenarios that are the hub's. Reads files.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn hub_detector(&self, seed: u64) -> Result<Detector, Vec<String>> {
        self.detector_for(Runs::Hub, self.load_scenarios()?, seed)
    }

    fn detector_of(&self, scenarios: Vec<Scenario>, seed: u64) -> Result<Detector, Vec<String>> {
        self.detector_for(Runs::Agent, scenarios, seed)
    }

    fn detector_for(
        &self,
        runs: Runs,
        mut scenarios: Vec<Scenario>,
        seed: u64,
    ) -> Result<Detector, Vec<String>> {
        scenarios.retain(|scenario| scenario.runs == runs);
        let options = EngineOptions { max_tracked: self.max_tracked, seed };
        let engine = Engine::new(scenarios, options).map_err(|error| vec![error.to_string()])?;
        Ok(Detector::new(engine, self.allowlist(), Policy::new(self.policy.clone())))
    }
}

/// The `*.toml` files of a folder by name, with their text.
fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let failed = |path: &Path, error: io::Error| {
        format!("scenarios: cannot read {}: {error}", path.display())
    };
    let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(format!("scenarios: {} has more than {MAX_FILES} files", folder.display()));
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let mut text = String::new();
        let file = std::fs::File::open(&path).map_err(|error| failed(&path, error))?;
        file.take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| failed(&path, error))?;
        files.push((path.display().to_string(), text));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "name = \"NAME\"\ndescription = \"mine\"\nkind = \"trigger\"\nfilter = \"kind:user.probed\"\n";

    #[test]
    fn own_scenarios_are_added_and_replace_shipped_ones_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, name: &str| {
            std::fs::write(folder.path().join(file), OWN.replace("NAME", name)).unwrap();
        };
        write("a.toml", "mine");
        write("b.toml", "port-scan");
        std::fs::write(folder.path().join("README"), "no scenario").unwrap();
        let config = DetectConfig {
            scenarios: Some(folder.path().into()),
            disable: vec!["http-probing".into()],
            simulate: vec!["honeypot-touch".into()],
            ..DetectConfig::default()
        };
        let all = config.load_scenarios().unwrap();
        let find = |name: &str| all.iter().find(|scenario| scenario.name.as_str() == name);
        assert_eq!(&*find("mine").unwrap().description, "mine");
        assert_eq!(&*find("port-scan").unwrap().description, "mine");
        assert!(find("http-probing").is_none());
        assert!(find("honeypot-touch").unwrap().simulation);
        assert_eq!(all.len(), SHIPPED_SCENARIOS.len());
        write("c.toml", "mine");
        std::fs::write(folder.path().join("d.toml"), "name = 7").unwrap();
        let mistakes = config.load_scenarios().unwrap_err();
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes[0].contains("c.toml") && mistakes[0].contains("a.toml"), "{mistakes:?}");
        assert!(mistakes[1].contains("d.toml"), "{mistakes:?}");
    }

    #[test]
    fn unknown_names_and_folders_are_told_with_what_there_is() {
        let config = DetectConfig {
            scenarios: Some("/nonexistent".into()),
            disable: vec!["ssh-brutforce".into()],
            ..DetectConfig::default()
        };
        let mistakes = config.load_scenarios().unwrap_err();
        assert!(mistakes[0].contains("/nonexistent"), "{mistakes:?}");
        assert!(mistakes[1].contains("known are ssh-bruteforce,"), "{mistakes:?}");
    }

    #[test]
    fn settings_are_read_in_both_forms_and_checked() {
        let text = r#"
scenarios = "/etc/palisade/scenarios"
allow = ["192.0.2.0/24", { value = "user:deploy", reason = "our deploys", until = "2027-01-01T00:00:00Z" }]
[policy]
ban = "1h"
"#;
        let config: DetectConfig = toml::from_str(text).unwrap();
        assert_eq!(config.allow.len(), 2);
        assert_eq!(config.validate(), Ok(()));
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<DetectConfig>(&text).unwrap(), config);
        let bad = DetectConfig {
            scenarios: Some("here".into()),
            max_tracked: 1,
            ..DetectConfig::default()
        };
        assert_eq!(bad.validate().unwrap_err().len(), 2);
    }
}
