//! fail2ban's jails, run as they are: `[agent.fail2ban]` names the folder, each
//! enabled jail becomes sources that its filter reads and a scenario that counts.
//! Bans go the way of all decisions; actions of jails are not run.

mod files;
mod ignored;
mod spare;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::tz::TimeZone;
use palisade_event::Timestamp;
use palisade_rules::fail2ban::{From as ReadFrom, Jail, Now, RunningJail, jails};
use palisade_rules::{LogFormat, Scenario};
use serde::{Deserialize, Serialize};

use crate::config::{FileSource, JournalSource, SourceConfig, StartFrom, is_pattern};

pub use files::read_fail2ban;
pub(crate) use ignored::keep_resolved;
pub(crate) use spare::{Asked, Spare};

/// Settings of fail2ban's jails (`[agent.fail2ban]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fail2banConfig {
    /// fail2ban's configuration folder, such as `/etc/fail2ban`.
    pub folder: PathBuf,
    /// Names of the jails to run. Default: those that are enabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jails: Vec<String>,
}

/// Jails that can run.
#[derive(Debug, Default)]
pub struct LoadedJails {
    /// The jails.
    pub(crate) jails: Vec<Arc<RunningJail>>,
    /// What they read.
    pub(crate) sources: Vec<SourceConfig>,
    /// What cannot run, or in part, each in one sentence with its place.
    pub problems: Vec<String>,
}

impl LoadedJails {
    /// The names of their scenarios.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.jails.iter().map(|jail| jail.name())
    }

    /// Their scenarios.
    #[must_use]
    pub fn scenarios(&self) -> Vec<Scenario> {
        self.jails.iter().map(|jail| jail.scenario()).collect()
    }
}

impl Fail2banConfig {
    pub(crate) fn validate(&self) -> Option<String> {
        (!self.folder.is_absolute()).then(|| {
            format!("fail2ban: folder '{}' must be an absolute path", self.folder.display())
        })
    }

    /// Reads the folder and makes its jails ready. A jail that cannot run is
    /// left out, and named among the problems.
    ///
    /// # Errors
    /// The folder cannot be read, has no `jail.conf`, or a jail that the settings
    /// name is not there.
    pub fn load(&self) -> Result<LoadedJails, Vec<String>> {
        let told = |reason: String| vec![format!("fail2ban: {reason}")];
        let files = read_fail2ban(&self.folder).map_err(told)?;
        let (all, problems) = jails(&files).map_err(|problem| told(problem.to_string()))?;
        let unknown: Vec<String> = self
            .jails
            .iter()
            .filter(|name| !all.iter().any(|jail| jail.name == **name))
            .map(|name| format!("fail2ban: there is no jail '{}'", name.escape_debug()))
            .collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let now = Timestamp::from(SystemTime::now()).as_millis() as f64 / 1000.0;
        let now = Now { epoch: now, zone: TimeZone::system() };
        let mut loaded = LoadedJails {
            problems: problems.iter().map(ToString::to_string).collect(),
            ..LoadedJails::default()
        };
        for jail in all {
            let wanted = match self.jails.is_empty() {
                true => jail.enabled,
                false => self.jails.contains(&jail.name),
            };
            if wanted {
                loaded.add(&jail, &now);
            }
        }
        Ok(loaded)
    }
}

impl LoadedJails {
    fn add(&mut self, jail: &Jail, now: &Now) {
        let named = |text: &dyn std::fmt::Display| format!("jail {}: {text}", jail.name);
        match RunningJail::new(jail, now) {
            Ok(running) => {
                self.problems.extend(jail.problems.iter().map(|problem| named(problem)));
                let running = Arc::new(running);
                self.sources.extend(sources(jail, &running));
                self.jails.push(running);
            }
            Err(errors) => self
                .problems
                .extend(errors.iter().map(|error| format!("{} and does not run", named(error)))),
        }
    }
}

/// What a jail reads.
fn sources(jail: &Jail, running: &Arc<RunningJail>) -> Vec<SourceConfig> {
    let parser = LogFormat::Jail(Arc::clone(running).into());
    if jail.backend.starts_with("systemd") {
        let lists = jail.filter.as_ref().map(|filter| filter.journalmatch.as_slice());
        // Lines of matches are alternatives.
        let matches = lists.unwrap_or_default().join(&"+".to_owned());
        return vec![SourceConfig::Journal(JournalSource {
            matches,
            ..JournalSource::new(parser)
        })];
    }
    let file = |log: &palisade_rules::fail2ban::LogPath| {
        let path = PathBuf::from(&log.path);
        // fail2ban looks back as far as `findtime`; of a pattern it may be much
        // that does not count any more.
        let from = match log.from {
            ReadFrom::Head if !is_pattern(&path) => StartFrom::Start,
            ReadFrom::Head | ReadFrom::Tail => StartFrom::End,
        };
        SourceConfig::File(FileSource { path, parser: parser.clone(), zone: None, from })
    };
    jail.logs.iter().map(file).collect()
}
