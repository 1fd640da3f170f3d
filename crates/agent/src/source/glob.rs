//! Several files by a pattern: each that matches is followed like a file that is
//! named, also one that comes later.
//!
//! - A file that was there at the very first start begins where the settings
//!   say; one that came later begins at its start.
//! - The name of a rotated file (`.1`, `.gz`, `-20261120`) is left to the file
//!   that it was. One that was renamed to another name which matches as well
//!   goes on where it was read to.
//! - A file that is gone for [`GONE`] is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use glob::{MatchOptions, glob_with};
use jiff::tz::TimeZone;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::file::{FileTask, blocking};
use super::follow::Follow;
use super::{Ended, Health, Outlet, Registry, Source};
use crate::backoff::Backoff;
use crate::config::{FileSource, StartFrom};
use crate::cursor::{Cursor, fingerprint};

/// How often is looked for files that came.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Most files of one pattern; more are left out, and that is told.
pub(crate) const MAX_GLOB_FILES: usize = 256;
/// Most names that are looked at.
const MAX_MATCHES: usize = 16 * 1024;
/// How long a file is gone before it is forgotten.
const GONE: Duration = Duration::from_secs(600);
/// Most files that are remembered as read, by device and inode.
const MAX_REMEMBERED: usize = 4096;

/// One pattern, as a task.
pub(crate) struct GlobTask {
    /// Keeps nothing but that there was a first start.
    source: Arc<Source>,
    pattern: String,
    config: FileSource,
    zone: TimeZone,
    registry: Registry,
    outlet: Outlet,
    health: Health,
    files: BTreeMap<PathBuf, File>,
    /// Device and inode of files that were followed, and how they begin.
    read: HashMap<(u64, u64), (usize, String)>,
    full: bool,
    /// There was a first look, and that is written down.
    begun: bool,
}

/// A file that is followed.
struct File {
    source: Arc<Source>,
    task: AbortOnDropHandle<()>,
    gone: Option<Instant>,
}

/// A file that matches.
struct Match {
    path: PathBuf,
    identity: (u64, u64),
    head: Vec<u8>,
}

impl GlobTask {
    pub(crate) fn new(
        source: Arc<Source>,
        config: &FileSource,
        zone: TimeZone,
        registry: Registry,
        outlet: Outlet,
    ) -> Self {
        let pattern = config.path.to_string_lossy().into_owned();
        Self {
            source,
            health: Health::new(pattern.clone()),
            pattern,
            config: config.clone(),
            zone,
            registry,
            outlet,
            files: BTreeMap::new(),
            read: HashMap::new(),
            full: false,
            begun: false,
        }
    }

    /// Follows what matches until the agent ends.
    pub(crate) async fn run(mut self, cursor: Option<Cursor>) {
        let cancel = self.outlet.cancel().clone();
        let mut from = match cursor {
            Some(_) => StartFrom::Start,
            None => self.config.from,
        };
        let mut backoff = Backoff::default();
        loop {
            let told = match self.look(from).await {
                Ok(()) => {
                    // From now on what comes is new, also after a restart.
                    if !std::mem::replace(&mut self.begun, true) {
                        self.source.tracker.absent(SystemTime::now());
                    }
                    from = StartFrom::Start;
                    backoff.reset();
                    self.health.works(&self.outlet).await
                }
                Err(error) => self.failed(&error).await,
            };
            if told.is_err() {
                break;
            }
            let wait = match self.health.is_failing() {
                true => backoff.next(),
                false => LOOK_INTERVAL,
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        for file in std::mem::take(&mut self.files).into_values() {
            // A panic of one was told where it happened.
            let _ = file.task.await;
        }
    }

    async fn failed(&mut self, error: &io::Error) -> Result<(), Ended> {
        let remedy = "let the agent's user read the folders on the way";
        self.health.failed(&self.outlet, &error.to_string(), remedy).await
    }

    async fn look(&mut self, from: StartFrom) -> io::Result<()> {
        let pattern = self.pattern.clone();
        let paths = blocking(move || find(&pattern)).await?;
        self.remember();
        let now = Instant::now();
        for (path, file) in &mut self.files {
            file.gone = match paths.binary_search(path) {
                Ok(_) => None,
                Err(_) => file.gone.or(Some(now)),
            };
        }
        let registry = &self.registry;
        self.files.retain(|_, file| {
            let keep = file.gone.is_none_or(|since| now.duration_since(since) < GONE);
            if !keep {
                registry.close(&file.source.name);
            }
            keep
        });
        let fresh: Vec<PathBuf> =
            paths.into_iter().filter(|path| !self.files.contains_key(path)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let fresh =
            blocking(move || Ok(fresh.into_iter().filter_map(open).collect::<Vec<_>>())).await?;
        for found in fresh {
            if self.files.len() >= MAX_GLOB_FILES {
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(
                        pattern = %self.pattern, most = MAX_GLOB_FILES, path = %found.path.display(),
                        "more files match than are followed; name fewer with a narrower pattern"
                    );
                }
                return Ok(());
            }
            self.begin(found, from);
        }
        Ok(())
    }

    /// Remembers what is followed, so that it is known by another name too.
    fn remember(&mut self) {
        if self.read.len() > MAX_REMEMBERED {
            self.read.clear();
        }
        for (key, head) in self.files.values().flat_map(|file| file.source.tracker.files()) {
            self.read.insert((key.dev, key.inode), (head.len(), fingerprint(&head)));
        }
    }

    fn begin(&mut self, found: Match, from: StartFrom) {
        let followed = |file: &File| {
            file.source
                .tracker
                .files()
                .iter()
                .any(|(key, _)| (key.dev, key.inode) == found.identity)
        };
        if self.files.values().any(followed) {
            return;
        }
        let read = self.read.get(&found.identity).is_some_and(|(bytes, print)| {
            found.head.get(..*bytes).is_some_and(|head| fingerprint(head) == *print)
        });
        let from = if read { StartFrom::End } else { from };
        let name = found.path.display().to_string();
        // Another source has it already.
        let opened = self.registry.open(&name, &self.config.parser, &self.zone);
        let Some((source, cursor)) = opened else { return };
        let task = FileTask::new(&source, &found.path, from, self.outlet.clone());
        tracing::info!(path = %found.path.display(), pattern = %self.pattern, "following a log");
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(cursor)));
        self.files.insert(found.path, File { source, task, gone: None });
    }
}

/// Paths that match, sorted. Blocks.
fn find(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let matches = glob_with(pattern, options)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    let mut paths: Vec<PathBuf> = matches
        .take(MAX_MATCHES)
        // A folder that may not be read hides its files, not those of others.
        .filter_map(Result::ok)
        .filter(|path| !is_rotated(path))
        .collect();
    paths.sort();
    Ok(paths)
}

/// What a path is, where it is a regular file that can be read. Blocks.
fn open(path: PathBuf) -> Option<Match> {
    let follow = Follow::open(&path).ok()?;
    Some(Match { path, identity: follow.identity(), head: follow.head().to_vec() })
}

/// Whether a name is one that rotation gives.
fn is_rotated(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let packed = [".gz", ".xz", ".zst", ".bz2", ".old", ".bak", ".tmp", ".swp", "~"];
    if packed.iter().any(|end| name.ends_with(end)) {
        return true;
    }
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let before = name.get(..name.len() - digits).unwrap_or_default();
    match digits {
        0 => false,
        // error.log.1, error.log-20261120, error.log-20261120-1795201634
        1..=3 => before.ends_with('.'),
        _ => before.ends_with(['-', '.']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files_are_known() {
        for name in [
            "a.log.1",
            "a.log.12",
            "a.log-20261120",
            "a.log.2.gz",
            "a.log.zst",
            "a.log.old",
            "a.log~",
            "a.log-20261120-1795201634",
        ] {
            assert!(is_rotated(Path::new(name)), "{name}");
        }
        for name in ["a.log", "site1", "web01.log", "a-20261120.log", "access_log", "node-1"] {
            assert!(!is_rotated(Path::new(name)), "{name}");
        }
    }
}
