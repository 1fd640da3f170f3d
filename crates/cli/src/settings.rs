//! What the command line, environment and file mean together. The only place
//! where settings are merged: file, then environment, then flags.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use palisade_event::SensorId;
use serde::{Deserialize, Serialize};

use crate::args::{AgentArgs, Global, HubArgs, LogFormat};

/// Everything that can be set in the file, one section a crate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where all data is kept.
    pub(crate) data: Option<PathBuf>,
    /// The name of this installation in events; the host name where unset.
    pub(crate) sensor: Option<SensorId>,
    /// Folder of own rules: `parsers/*.toml` beside the shipped parsers or in their place.
    pub(crate) ruleset: Option<PathBuf>,
    /// The log.
    pub(crate) log: Log,
    /// The recorded attacks.
    pub(crate) demo: Demo,
    /// The service core.
    pub(crate) hub: palisade_hub::Config,
    /// Listeners and limits of the API and the page.
    pub(crate) api: palisade_api::Config,
    /// Sources and forwarding.
    pub(crate) agent: palisade_agent::Config,
    /// Honeypots.
    pub(crate) honeypot: palisade_honeypot::Config,
}

/// How and what to log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// A level or a filter of levels by module.
    pub(crate) filter: String,
    /// Lines for people or JSON.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The replay of recorded attacks in `up`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Demo {
    /// Whether `up` replays them.
    pub(crate) enabled: bool,
    /// Events a second.
    pub(crate) rate: f64,
}

impl Default for Demo {
    fn default() -> Self {
        Self { enabled: false, rate: 1.0 }
    }
}

impl Settings {
    /// Reads the file (if one is named) and lays environment and flags over it.
    ///
    /// # Errors
    /// One sentence with the place of the mistake.
    pub(crate) fn load(global: &Global) -> anyhow::Result<Self> {
        let mut settings = match &global.config {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the settings file {}", path.display()))?;
                // The names of parsers are settings, so these come first.
                crate::ruleset::install_named(&text)?;
                Self::parse(&text).with_context(|| {
                    format!("the settings file {} has a mistake", path.display())
                })?
            }
        };
        if let Some(data) = &global.data {
            settings.data = Some(data.clone());
        }
        if let Some(filter) = &global.log {
            settings.log.filter.clone_from(filter);
        }
        if let Some(format) = global.log_format {
            settings.log.format = format;
        }
        Ok(settings)
    }

    /// Reads settings from TOML.
    ///
    /// # Errors
    /// The line, what was found and what was expected.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))
    }

    /// Lays the flags of the hub over the file.
    pub(crate) fn apply_hub(&mut self, args: &HubArgs) {
        if let Some(listen) = args.listen {
            self.api.set_main_address(listen);
        }
    }

    /// Lays the flags of the agent over the file.
    pub(crate) fn apply_agent(&mut self, args: &AgentArgs) -> anyhow::Result<()> {
        let mut hub = self.agent.hub.take().unwrap_or_default();
        if let Some(url) = &args.hub {
            hub.url.clone_from(url);
        }
        if let Some(key_file) = &args.key_file {
            hub.key_file.clone_from(key_file);
        }
        if let Some(pin) = &args.pin {
            hub.pin = Some(pin.clone());
        }
        if hub.url.is_empty() {
            bail!("no hub to send to; name one with --hub https://HOST:8443 or in [agent.hub]");
        }
        self.agent.hub = Some(hub);
        Ok(())
    }

    /// Every mistake that can be seen without starting, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut section = |name: &str, checked: Result<(), Vec<String>>| {
            for mistake in checked.err().unwrap_or_default() {
                mistakes.push(format!("[{name}] {mistake}"));
            }
        };
        section("hub", self.hub.validate());
        section("api", self.api.validate());
        section("agent", self.agent.validate());
        section("honeypot", self.honeypot.validate());
        if !(self.demo.rate > 0.0 && self.demo.rate <= 1_000.0) {
            mistakes
                .push("[demo] rate must be above 0 and at most 1000 events a second".to_owned());
        }
        mistakes
    }

    /// Like [`Self::mistakes`], as an error.
    ///
    /// # Errors
    /// All mistakes, a line each.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        let mistakes = self.mistakes();
        if mistakes.is_empty() {
            return Ok(());
        }
        bail!("the settings have {} mistake(s):\n  {}", mistakes.len(), mistakes.join("\n  "))
    }

    /// Where data is kept: as set, else `/var/lib/palisade` for root and
    /// `./palisade-data` for others.
    pub(crate) fn data_dir(&self) -> PathBuf {
        match &self.data {
            Some(dir) => dir.clone(),
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/palisade"),
            None => PathBuf::from("palisade-data"),
        }
    }

    /// The name of this installation: as set, else the host name with what a
    /// name may not contain replaced, else `local`.
    pub(crate) fn sensor(&self) -> SensorId {
        self.sensor.clone().or_else(|| SensorId::new(&host_name()).ok()).unwrap_or_else(|| {
            // "local" keeps the rule of names, so this branch cannot repeat.
            SensorId::new("local").unwrap_or_else(|_| unreachable!())
        })
    }
}

/// The kernel's host name, reduced to the characters a sensor name may have.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    name.chars().take(64).map(plain).collect()
}

/// Log sources found on this machine, for when none is configured.
pub(crate) fn detect_sources() -> Vec<palisade_agent::SourceConfig> {
    let mut sources = Vec::new();
    for path in ["/var/log/auth.log", "/var/log/secure"] {
        if Path::new(path).exists() {
            sources.push(palisade_agent::SourceConfig::sshd_file(path));
        }
    }
    if sources.is_empty() && Path::new("/run/systemd/journal").is_dir() {
        sources.push(palisade_agent::SourceConfig::sshd_journal());
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_is_named_with_its_line() {
        let error = Settings::parse("[hub]\n\n[demo]\nraet = 2\n").unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("raet"), "{error}");
    }

    #[test]
    fn defaults_have_no_mistakes_and_survive_a_round_trip() {
        let settings = Settings::default();
        assert_eq!(settings.mistakes(), Vec::<String>::new());
        let text = toml::to_string(&settings).unwrap();
        Settings::parse(&text).unwrap();
    }

    #[test]
    fn settings_in_the_documentation_can_be_used() {
        let pages = [
            include_str!("../../../docs/HPFEEDS.md"),
            include_str!("../../../docs/FEEDS.md"),
            include_str!("../../../docs/LOGS.md"),
            include_str!("../../../docs/DETECT.md"),
            include_str!("../../../docs/HOSTS.md"),
        ];
        let mut examples = 0;
        for page in pages {
            for block in page.split("```toml\n").skip(1) {
                let (text, _) = block.split_once("```").unwrap();
                let settings = Settings::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
                assert_eq!(settings.mistakes(), Vec::<String>::new(), "{text}");
                examples += 1;
            }
        }
        assert!(examples >= 4, "{examples}");
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut settings = Settings::default();
        settings.demo.rate = -1.0;
        settings.hub.spool.max_bytes = 1;
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains("[demo]") && error.contains("[hub]"), "{error}");
    }
}
