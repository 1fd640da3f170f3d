//! The scenarios of `ruleset/scenarios`, part of the binary.

use super::{Runs, Scenario, ScenarioError, parse_scenario};

/// A scenario file that is shipped.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// The name of the scenario and of its file.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

impl Shipped {
    /// The scenario of the file.
    ///
    /// # Errors
    /// Never, as a test sees to.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        parse_scenario(self.text, self.name).map(|scenario| Scenario { file: None, ..scenario })
    }
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// The shipped files, in the order in which alerts of one sighting come.
        pub const SHIPPED_SCENARIOS: &[Shipped] = &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../../../ruleset/scenarios/", $name, ".toml")),
        }),*];
    };
}

shipped![
    "ssh-bruteforce",
    "ssh-bruteforce-slow",
    "ssh-user-enumeration",
    "ssh-break-in",
    "http-probing",
    "http-bad-bots",
    "http-path-traversal",
    "credential-stuffing",
    "port-scan",
    "scan",
    "honeypot-touch",
    "repeat-offender",
    "fleet-guessing",
    "fleet-network-guessing",
    "fleet-account-guessing",
    "fleet-repeat-offender",
    "fleet-honeypots",
];

/// The shipped scenarios that agents count.
///
/// # Errors
/// Never, as a test sees to.
pub fn shipped_scenarios() -> Result<Vec<Scenario>, ScenarioError> {
    shipped_for(Runs::Agent)
}

/// The shipped scenarios that agents, or the hub, count.
///
/// # Errors
/// Never, as a test sees to.
pub fn shipped_for(runs: Runs) -> Result<Vec<Scenario>, ScenarioError> {
    let mut all: Vec<Scenario> =
        SHIPPED_SCENARIOS.iter().map(Shipped::scenario).collect::<Result<_, _>>()?;
    all.retain(|scenario| scenario.runs == runs);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_a_scenario_of_its_name() {
        for file in SHIPPED_SCENARIOS {
            let scenario = file.scenario().unwrap();
            assert_eq!(scenario.name.as_str(), file.name);
            assert!(!scenario.description.is_empty());
        }
        let count = |runs| shipped_for(runs).unwrap().len();
        assert_eq!(count(Runs::Agent) + count(Runs::Hub), SHIPPED_SCENARIOS.len());
    }

    #[test]
    fn every_file_of_the_folder_is_shipped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ruleset/scenarios");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "toml"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut known: Vec<&str> = SHIPPED_SCENARIOS.iter().map(|file| file.name).collect();
        known.sort_unstable();
        assert_eq!(files, known);
    }
}
