//! Several files by a pattern: each that matches is followed like a file that is
//! named, also one that comes later.
//!
//! - A file that was there at the very first start begins where the settings
//!   say; one that came later begins at its start.
//! - A file keeps the name that it was found by: renamed to another one that
//!   matches, it is read on as what it was. Which files these are is written
//!   down, so that a restart changes nothing.
//! - The name of a rotated file (`.1`, `.gz`, `-20261120`) is never a new file.
//! - A name that leads nowhere for [`GONE`], and whose file is gone too, is
//!   forgotten.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use glob::{MatchOptions, glob_with};
use jiff::tz::TimeZone;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::file::{FileTask, blocking};
use super::follow::Follow;
use super::{Ended, Health, Outlet, Registry, Source};
use crate::backoff::Backoff;
use crate::config::{FileSource, StartFrom};
use crate::cursor::{Cursor, KnownFile, fingerprint};

/// How often is looked for files that came.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Most files of one pattern; more are left out, and that is told.
pub(crate) const MAX_GLOB_FILES: usize = 256;
/// Most names that are looked at.
const MAX_MATCHES: usize = 4096;
/// How long a name leads nowhere before it is forgotten.
const GONE: Duration = Duration::from_secs(600);
/// Most files that are written down as known.
const MAX_KNOWN: usize = 4096;

/// One pattern, as a task.
pub(crate) struct GlobTask {
    /// Keeps which files are known.
    source: Arc<Source>,
    pattern: String,
    config: FileSource,
    zone: TimeZone,
    registry: Registry,
    outlet: Outlet,
    health: Health,
    files: BTreeMap<PathBuf, File>,
    /// By device and inode.
    known: HashMap<(u64, u64), KnownFile>,
    /// Files that were unknown at the last look. One that was renamed a moment
    /// ago is known to its name's task by the next.
    unknown: HashSet<(u64, u64)>,
    full: bool,
}

/// A name that is followed.
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

impl Match {
    /// Whether it is this known file, and not another one with its inode.
    fn is(&self, known: &KnownFile) -> bool {
        let head = self.head.get(..known.head_bytes).filter(|head| !head.is_empty());
        head.is_some_and(|head| fingerprint(head) == known.fingerprint)
    }
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
            known: HashMap::new(),
            unknown: HashSet::new(),
            full: false,
        }
    }

    /// Follows what matches until the agent ends.
    pub(crate) async fn run(mut self, cursor: Option<Cursor>) {
        let cancel = self.outlet.cancel().clone();
        let known = cursor.and_then(|cursor| cursor.known);
        let mut is_first = known.is_none();
        let mut from = if is_first { self.config.from } else { StartFrom::Start };
        // Names that were followed have more to say, also where they lead nowhere
        // now: their files may be under other ones.
        for file in known.unwrap_or_default() {
            if !self.files.contains_key(&file.path) {
                self.begin(&file.path, StartFrom::Start);
            }
            self.known.insert((file.dev, file.inode), file);
        }
        let mut backoff = Backoff::default();
        loop {
            let told = match self.look(from, is_first).await {
                Ok(()) => {
                    (from, is_first) = (StartFrom::Start, false);
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

    async fn look(&mut self, from: StartFrom, is_first: bool) -> io::Result<()> {
        let pattern = self.pattern.clone();
        let found = blocking(move || find(&pattern)).await?;
        self.learn(&found);
        let mut unknown = HashSet::new();
        for file in &found {
            let is_known = self.known.get(&file.identity).is_some_and(|known| file.is(known));
            if self.files.contains_key(&file.path) || is_known || is_rotated(&file.path) {
                continue;
            }
            unknown.insert(file.identity);
            if !is_first && !self.unknown.contains(&file.identity) {
                continue;
            }
            if self.files.len() >= MAX_GLOB_FILES {
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(
                        pattern = %self.pattern, most = MAX_GLOB_FILES, path = %file.path.display(),
                        "more files match than are followed; name fewer with a narrower pattern"
                    );
                }
                break;
            }
            self.begin(&file.path, from);
        }
        self.unknown = unknown;
        let known = self.known.values().take(MAX_KNOWN).cloned().collect();
        self.source.tracker.know(sorted(known));
        Ok(())
    }

    /// Which files are followed by which name, and which names lead nowhere.
    fn learn(&mut self, found: &[Match]) {
        for (path, file) in &self.files {
            for (key, head) in file.source.tracker.files() {
                let known = KnownFile {
                    dev: key.dev,
                    inode: key.inode,
                    path: path.clone(),
                    fingerprint: fingerprint(&head),
                    head_bytes: head.len(),
                };
                self.known.insert((key.dev, key.inode), known);
            }
        }
        let exists = |identity: &(u64, u64)| found.iter().any(|file| file.identity == *identity);
        let now = Instant::now();
        let registry = &self.registry;
        self.files.retain(|path, file| {
            let is_there = found.binary_search_by(|found| found.path.cmp(path)).is_ok();
            let lives = || {
                let files = file.source.tracker.files();
                files.iter().any(|(key, _)| exists(&(key.dev, key.inode)))
            };
            file.gone = match is_there || lives() {
                true => None,
                false => file.gone.or(Some(now)),
            };
            let keep = file.gone.is_none_or(|since| now.duration_since(since) < GONE);
            if !keep {
                registry.close(&file.source.name);
            }
            keep
        });
        let files = &self.files;
        self.known.retain(|identity, known| exists(identity) || files.contains_key(&known.path));
    }

    /// Follows a name.
    fn begin(&mut self, path: &Path, from: StartFrom) {
        let name = path.display().to_string();
        // Another source has it already.
        let opened = self.registry.open(&name, &self.config.parser, &self.zone);
        let Some((source, cursor)) = opened else { return };
        let task = FileTask::new(&source, path, from, self.outlet.clone());
        tracing::info!(path = %path.display(), pattern = %self.pattern, "following a log");
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(cursor)));
        self.files.insert(path.into(), File { source, task, gone: None });
    }
}

/// In an order that does not change from look to look.
fn sorted(mut known: Vec<KnownFile>) -> Vec<KnownFile> {
    known.sort_by_key(|file| (file.dev, file.inode));
    known
}

/// Regular files that match and can be read, by path. Blocks.
fn find(pattern: &str) -> io::Result<Vec<Match>> {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let matches = glob_with(pattern, options)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    // A folder that may not be read hides its files, not those of others.
    let paths = matches.take(MAX_MATCHES).filter_map(Result::ok);
    let mut found: Vec<Match> = paths.filter_map(open).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
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
