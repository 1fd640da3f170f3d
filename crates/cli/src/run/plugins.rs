//! Watches the folders of plug-ins and hands changed ones on. The zone cannot
//! read files; it gets what changed from here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use palisade_event::Untrusted;
use palisade_honeypot::Config;
use palisade_honeypot::plugin::{self, Source};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// How often the folders are looked at. Files of a plug-in are few, and a look
/// reads no file that is as it was.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes that wait for the zone.
pub(crate) const MAX_CHANGES: usize = 8;

/// What files of a folder looked like: length and time of change by name.
type Looks = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// The folders of plug-ins.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The folder of all, where there is one.
    folder: Option<PathBuf>,
    plugins: BTreeMap<PathBuf, Looks>,
}

impl Watched {
    /// Those of a configuration whose plug-ins were added, as they are now.
    pub(crate) fn new(config: &Config) -> Self {
        let enabled = config.plugin.iter().filter(|plugin| plugin.enabled);
        let paths = enabled.filter_map(|plugin| plugin.path.clone());
        let plugins = paths.map(|path| (path.clone(), looks(&path))).collect();
        Self { folder: config.plugins.clone(), plugins }
    }

    fn is_empty(&self) -> bool {
        self.folder.is_none() && self.plugins.is_empty()
    }

    /// Reads what has changed since the last look.
    fn changed(&mut self) -> Vec<Source> {
        let mut changed = Vec::new();
        for (path, before) in &mut self.plugins {
            let now = looks(path);
            if now == *before {
                continue;
            }
            *before = now;
            match Source::read(path) {
                Ok(source) => changed.push(source),
                Err(why) => {
                    let why = Untrusted::from(why.as_str());
                    tracing::warn!(%why, "a changed plug-in is not used, the code before it goes on");
                }
            }
        }
        let Some(Ok(found)) = self.folder.as_deref().map(plugin::read_all) else { return changed };
        for (path, _) in found {
            let now = looks(&path);
            self.plugins.entry(path).or_insert_with_key(|path| {
                tracing::warn!(path = %path.display(), "a new plug-in serves after the next start");
                now
            });
        }
        changed
    }

    /// Hands changed plug-ins on until nobody takes them.
    pub(crate) async fn watch(mut self, changes: mpsc::Sender<Source>) {
        if self.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = changes.closed() => return,
                _ = ticks.tick() => {}
            }
            let looked = tokio::task::spawn_blocking(move || {
                let changed = self.changed();
                (self, changed)
            });
            let Ok((watched, changed)) = looked.await else { return };
            self = watched;
            for source in changed {
                if changes.send(source).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn looks(folder: &Path) -> Looks {
    let Ok(entries) = std::fs::read_dir(folder) else { return Looks::new() };
    let luau = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "luau");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(luau)
        .take(plugin::MAX_FILES + 1)
        .filter_map(|path| {
            let about = std::fs::metadata(&path).ok()?;
            Some((path, (about.len(), about.modified().ok())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panic")]

    use super::*;

    #[test]
    fn a_changed_file_is_read_once_and_a_broken_folder_hands_nothing_on() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine");
        std::fs::create_dir(&mine).unwrap();
        std::fs::write(mine.join("init.luau"), "return 1").unwrap();
        let mut config = Config { plugins: Some(folder.path().to_owned()), ..Config::default() };
        config.add_plugins();
        let mut watched = Watched::new(&config);
        assert!(watched.changed().is_empty());
        std::fs::write(mine.join("init.luau"), "return 22").unwrap();
        assert_eq!(watched.changed()[0].files["init.luau"], "return 22");
        assert!(watched.changed().is_empty());
        std::fs::write(mine.join("more.luau"), "return 3").unwrap();
        assert_eq!(watched.changed()[0].files.len(), 2);
        std::fs::remove_file(mine.join("init.luau")).unwrap();
        assert!(watched.changed().is_empty());
    }
}
