//! Watches the folders of plug-ins and hands changed ones on. The zone cannot
//! read files; it gets what changed from here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use palisade_event::Untrusted;
use palisade_honeypot::plugin::{self, Change, Served};
use palisade_honeypot::{Config, MAX_PLUGINS, Sockets};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// How often the folders are looked at. Files of a plug-in are few, and a look
/// reads no file that is as it was.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes that wait for the zone.
pub(crate) const MAX_CHANGES: usize = 8;

/// What files of a plug-in looked like: length and time of change by name.
type Looks = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// The folders of plug-ins.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The folder of all, where there is one.
    folder: Option<PathBuf>,
    plugins: BTreeMap<PathBuf, Looks>,
    /// The same for the certificates of those that have one of the operator's.
    certificates: BTreeMap<PathBuf, (Vec<PathBuf>, Looks)>,
    served: Served,
}

impl Watched {
    /// Those of a configuration whose plug-ins were added, as they are now.
    /// `sockets` are its.
    ///
    /// # Errors
    /// A socket cannot be kept.
    pub(crate) fn new(config: &Config, sockets: &Sockets) -> std::io::Result<Self> {
        let served = Served::new(config, sockets)?;
        let (mut plugins, mut certificates) = (BTreeMap::new(), BTreeMap::new());
        for plugin in served.folders() {
            let Some(path) = plugin.path.clone() else { continue };
            let files: Vec<PathBuf> =
                plugin.certificate.iter().chain(&plugin.key).cloned().collect();
            if !files.is_empty() {
                let looks = files.iter().filter_map(|file| look(file.clone())).collect();
                certificates.insert(path.clone(), (files, looks));
            }
            plugins.insert(path.clone(), looks(&path));
        }
        Ok(Self { folder: config.plugins.clone(), plugins, certificates, served })
    }

    fn is_empty(&self) -> bool {
        self.folder.is_none() && self.plugins.is_empty()
    }

    /// Reads what has changed since the last look, and binds what is new of it.
    fn changed(&mut self) -> Vec<Change> {
        let mut changed: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for (path, before) in &mut self.plugins {
            let now = looks(path);
            if now != *before {
                *before = now;
                changed.insert(path.clone(), false);
            }
        }
        for (path, (files, before)) in &mut self.certificates {
            let now: Looks = files.iter().filter_map(|file| look(file.clone())).collect();
            if now != *before {
                *before = now;
                changed.insert(path.clone(), true);
            }
        }
        if let Some(Ok(found)) = self.folder.as_deref().map(plugin::folders) {
            for path in found {
                if self.plugins.len() >= MAX_PLUGINS || self.served.is_off(&path) {
                    continue;
                }
                if let Entry::Vacant(place) = self.plugins.entry(path.clone()) {
                    place.insert(looks(&path));
                    changed.insert(path, true);
                }
            }
        }
        let mut changes = Vec::new();
        for (path, anew) in changed {
            match self.served.change(&path, anew) {
                Ok(change) => changes.push(change),
                Err(why) => {
                    let why = Untrusted::from(why.as_str());
                    tracing::warn!(%why, "a changed plug-in is not used, what was there before goes on");
                }
            }
        }
        changes
    }

    /// Hands changed plug-ins on until nobody takes them.
    pub(crate) async fn watch(mut self, changes: mpsc::Sender<Change>) {
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
            for change in changed {
                if changes.send(change).await.is_err() {
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
        .filter_map(look)
        .collect()
}

fn look(path: PathBuf) -> Option<(PathBuf, (u64, Option<SystemTime>))> {
    let about = std::fs::metadata(&path).ok()?;
    Some((path, (about.len(), about.modified().ok())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panic")]

    use super::*;

    fn script(about: &str, port: u16) -> String {
        format!(
            "return {{ api = 1, name = 'mine', about = '{about}', ports = {{ tcp = {{ {port} }} }}, serve = function(conn) end }}"
        )
    }

    /// A port nobody has, below those that the system gives to clients.
    fn free_port() -> u16 {
        use std::sync::atomic::{AtomicU16, Ordering};
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let first = std::process::id() % 10_000;
        loop {
            let tried = u32::from(TRIED.fetch_add(1, Ordering::Relaxed));
            let port = u16::try_from(10_000 + (first + tried) % 20_000).unwrap();
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    }

    fn code(change: &Change) -> &str {
        match change {
            Change::Code(source) => &source.files["init.luau"],
            Change::Serve(..) => panic!("{change:?}"),
        }
    }

    #[test]
    fn a_changed_file_is_read_once_and_a_broken_folder_hands_nothing_on() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine");
        std::fs::create_dir(&mine).unwrap();
        let port = free_port();
        let text = script("one", port);
        std::fs::write(mine.join("init.luau"), &text).unwrap();
        let mut config = Config { plugins: Some(folder.path().to_owned()), ..Config::default() };
        config.services.clear();
        assert_eq!(config.add_plugins(), Vec::<String>::new());
        let sockets = Sockets::bind(&config).unwrap();
        let mut watched = Watched::new(&config, &sockets).unwrap();
        assert!(watched.changed().is_empty());
        let text = script("another", port);
        std::fs::write(mine.join("init.luau"), &text).unwrap();
        assert_eq!(code(&watched.changed()[0]), text);
        assert!(watched.changed().is_empty());
        std::fs::write(mine.join("init.luau"), "return {").unwrap();
        assert_eq!(code(&watched.changed()[0]), "return {", "the zone says what is wrong");
        std::fs::remove_file(mine.join("init.luau")).unwrap();
        assert!(watched.changed().is_empty());
    }

    #[test]
    fn new_folders_and_changed_ports_are_bound_and_sockets_that_stay_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { plugins: Some(folder.path().to_owned()), ..Config::default() };
        config.services.clear();
        let mut sockets = Sockets::bind(&config).unwrap();
        let mut watched = Watched::new(&config, &sockets).unwrap();
        let mine = folder.path().join("mine");
        std::fs::create_dir(&mine).unwrap();
        let one = free_port();
        std::fs::write(mine.join("init.luau"), script("one", one)).unwrap();
        let port = |change: Change, config: &mut Config, all: &mut Sockets| {
            let Change::Serve(order, sockets) = change else { panic!("{change:?}") };
            order.enter(config, all, sockets).unwrap();
            all.addresses(config).into_iter().map(|(_, at)| at.port()).collect::<Vec<_>>()
        };
        let first = port(watched.changed().remove(0), &mut config, &mut sockets);
        assert_eq!(first, [one]);
        let taken = free_port();
        let free = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
        std::fs::write(
            mine.join("init.luau"),
            script("more", one).replace(&format!("{{ {one} }}"), &format!("{{ {one}, {taken} }}")),
        )
        .unwrap();
        let Some(Change::Serve(order, kept)) = watched.changed().pop() else { panic!() };
        assert_eq!(kept.len(), 1, "the port of another is left out");
        assert!(order.plugin.problems[0].contains(&format!("127.0.0.1:{taken}")), "{order:?}");
        drop(free);
        order.enter(&mut config, &mut sockets, kept).unwrap();
        std::fs::write(mine.join("init.luau"), script("less", taken)).unwrap();
        let last = port(watched.changed().remove(0), &mut config, &mut sockets);
        assert_eq!(last, [taken], "the first port is closed");
        assert!(std::net::TcpStream::connect(("127.0.0.1", one)).is_err());
    }
}
