//! Compares files with the baseline and tells what changed. Blocks.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use palisade_event::{Event, EventKind, Timestamp, Untrusted};

use super::config::IntegrityConfig;
use super::culprit;
use super::state::{self, Baseline, Change, State, hex};
use crate::inventory::accounts::Accounts;
use crate::inventory::collector::Teller;
use crate::inventory::root::Root;

/// Most events of one sweep, and of one look at what inotify told.
const MAX_EVENTS: usize = 2_000;
/// Longest path that is watched, in bytes.
const MAX_PATH_BYTES: usize = 4_096;
/// Deepest folder below a path that is set.
const MAX_DEPTH: usize = 32;

/// What made us look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Watch,
    Sweep,
}

impl How {
    fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Sweep => "sweep",
        }
    }
}

/// A look at all files, on its way.
#[derive(Debug)]
pub(super) struct Sweep {
    files: std::vec::IntoIter<PathBuf>,
    folders: Vec<PathBuf>,
    seen: BTreeSet<Box<str>>,
    full: bool,
    events: usize,
    left_out: usize,
    done: bool,
}

impl Sweep {
    /// The folders that are to be watched.
    pub(super) fn folders(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.folders)
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

/// The examiner.
#[derive(Debug)]
pub(super) struct Examiner {
    paths: Vec<PathBuf>,
    exclude: Vec<glob::Pattern>,
    max_files: usize,
    max_file_bytes: u64,
    teller: Teller,
    file: PathBuf,
    baseline: Baseline,
    /// Whether there is a baseline; without one nothing is told.
    based: bool,
    /// The paths that it was made for: what is new in the settings is not new on the
    /// machine.
    known: Vec<PathBuf>,
    changed: bool,
    folders: Vec<PathBuf>,
    audit_log: PathBuf,
}

impl Examiner {
    pub(super) fn new(config: &IntegrityConfig, teller: Teller, file: PathBuf) -> Self {
        let (known, loaded) = state::load(&file).unwrap_or_else(|error| {
            tracing::warn!(path = %file.display(), %error, "the baseline of watched files cannot be read and is made anew");
            None
        })
        .unzip();
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in &config.paths {
            // `/bin` is `/usr/bin` on most systems of today.
            let path = Path::new(path);
            let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            if !paths.contains(&real) {
                paths.push(real);
            }
        }
        let patterns = config.exclude.iter().filter_map(|text| glob::Pattern::new(text).ok());
        Self {
            paths,
            exclude: patterns.collect(),
            max_files: config.max_files,
            max_file_bytes: config.max_file_bytes,
            teller,
            file,
            based: loaded.is_some(),
            known: known.unwrap_or_default(),
            baseline: loaded.unwrap_or_default(),
            changed: false,
            folders: Vec::new(),
            audit_log: PathBuf::from(culprit::LOG),
        }
    }

    /// Whether there is a baseline.
    pub(super) fn is_based(&self) -> bool {
        self.based
    }

    /// Lists all files; a full sweep reads the content of each one.
    pub(super) fn begin(&mut self, full: bool) -> Sweep {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for path in self.paths.clone() {
            self.list(&path, &mut files, &mut folders);
        }
        files.sort();
        files.dedup();
        let left_out = files.len().saturating_sub(self.max_files);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "there are more files to watch than max_files of [agent.integrity]"
            );
            files.truncate(self.max_files);
        }
        Sweep {
            files: files.into_iter(),
            folders,
            seen: BTreeSet::new(),
            full,
            events: 0,
            left_out: 0,
            done: false,
        }
    }

    /// Looks at some more files, at most so many and about so many bytes: what
    /// changed, and how many bytes were read.
    pub(super) fn step(
        &mut self,
        sweep: &mut Sweep,
        files: usize,
        bytes: u64,
        now: Timestamp,
    ) -> (Vec<Event>, u64) {
        let (mut events, mut read) = (Vec::new(), 0u64);
        for _ in 0..files {
            let Some(path) = sweep.files.next() else {
                sweep.done = true;
                break;
            };
            let (event, more) = self.examine(&path, sweep.full, How::Sweep, now);
            read = read.saturating_add(more);
            sweep.seen.insert(path.to_string_lossy().into());
            if let Some(event) = event {
                sweep.events += 1;
                if sweep.events <= MAX_EVENTS { events.push(event) } else { sweep.left_out += 1 }
            }
            if read >= bytes {
                break;
            }
        }
        (events, read)
    }

    /// Ends a sweep: what was there and was not seen is gone.
    pub(super) fn end(&mut self, sweep: Sweep, now: Timestamp) -> Vec<Event> {
        let gone: Vec<Box<str>> =
            self.baseline.keys().filter(|path| !sweep.seen.contains(*path)).cloned().collect();
        let (mut events, mut left_out) = (Vec::new(), sweep.left_out);
        for path in gone {
            // It may have come while the sweep was on its way.
            let (event, _) = self.examine(Path::new(&*path), false, How::Sweep, now);
            if let Some(event) = event {
                if events.len() < MAX_EVENTS { events.push(event) } else { left_out += 1 }
            }
        }
        if left_out > 0 {
            let event =
                self.teller.event(EventKind::FileChanged, now).with("left_out", left_out as u64);
            events.push(event.with("change", "modified").with("how", How::Sweep.as_str()));
        }
        if self.known != self.paths {
            self.known.clone_from(&self.paths);
            self.changed = true;
        }
        if !self.based {
            self.based = true;
            self.changed = true;
            tracing::info!(files = self.baseline.len(), "the baseline of watched files is made");
        }
        events
    }

    /// Looks at what inotify told.
    pub(super) fn look(
        &mut self,
        paths: BTreeSet<PathBuf>,
        how: How,
        now: Timestamp,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for path in paths {
            if !self.is_watched(&path) {
                continue;
            }
            let (mut files, mut folders) = (Vec::new(), Vec::new());
            match path.symlink_metadata() {
                // A new folder, with what is in it already.
                Ok(meta) if meta.is_dir() => self.list(&path, &mut files, &mut folders),
                Ok(_) => files.push(path),
                // Gone: it and, if it was a folder, all that was in it.
                Err(_) => {
                    let text = path.to_string_lossy();
                    let inside = format!("{text}/");
                    let from = (Bound::Included(text.as_ref()), Bound::Unbounded);
                    let below = self.baseline.range::<str, (Bound<&str>, Bound<&str>)>(from);
                    let below = below
                        .map(|(known, _)| known.clone())
                        .take_while(|known| known.starts_with(text.as_ref()))
                        .filter(|known| **known == *text || known.starts_with(&inside));
                    files.extend(below.map(|known| PathBuf::from(&*known)));
                }
            }
            self.folders.append(&mut folders);
            for file in files {
                if events.len() < MAX_EVENTS {
                    events.extend(self.examine(&file, false, how, now).0);
                }
            }
        }
        events
    }

    /// Folders that came since the last call.
    pub(super) fn new_folders(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.folders)
    }

    /// Writes the baseline where it has changed.
    pub(super) fn save(&mut self) {
        if !self.changed {
            return;
        }
        match state::save(&self.file, &self.known, &self.baseline) {
            Ok(()) => self.changed = false,
            Err(error) => {
                tracing::warn!(path = %self.file.display(), %error, "the baseline of watched files cannot be written");
            }
        }
    }

    fn is_watched(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        text.len() <= MAX_PATH_BYTES
            && self.paths.iter().any(|own| path.starts_with(own))
            && !self.exclude.iter().any(|pattern| pattern.matches(&text))
    }

    /// The files below a path, and its folders. Links are files, and not followed.
    fn list(&self, top: &Path, files: &mut Vec<PathBuf>, folders: &mut Vec<PathBuf>) {
        let mut waiting = vec![(top.to_owned(), 0usize)];
        while let Some((path, depth)) = waiting.pop() {
            // One more than is watched, so that it is seen that there are too many.
            if files.len() > self.max_files || depth > MAX_DEPTH || !self.is_watched(&path) {
                continue;
            }
            match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => {
                    // What may not be read is watched for what may be.
                    if let Ok(entries) = fs::read_dir(&path) {
                        waiting.extend(entries.flatten().map(|entry| (entry.path(), depth + 1)));
                    }
                    folders.push(path);
                }
                Ok(meta) if meta.is_file() || meta.is_symlink() => files.push(path),
                _ => {}
            }
        }
    }

    /// Compares one file with the baseline, which it becomes part of.
    fn examine(
        &mut self,
        path: &Path,
        full: bool,
        how: How,
        now: Timestamp,
    ) -> (Option<Event>, u64) {
        let key = path.to_string_lossy();
        let before = self.baseline.get(&*key);
        let mut read = 0u64;
        let known = if full { None } else { before };
        let state = State::of(path, known, self.max_file_bytes, &mut |bytes| read += bytes as u64);
        let (change, before) = match (&state, before) {
            (Ok(_), None) => (Some(Change::Created), None),
            (Ok(state), Some(before)) => (state.differs(before), Some(before.clone())),
            (Err(_), Some(before)) => (Some(Change::Deleted), Some(before.clone())),
            (Err(_), None) => return (None, read),
        };
        let after = state.ok();
        match &after {
            // Also where only its times changed, so that it is not read again.
            Some(state) if before.as_ref() != Some(state) => {
                self.baseline.insert(key.as_ref().into(), state.clone());
                self.changed = true;
            }
            Some(_) => {}
            None => {
                self.baseline.remove(&*key);
                self.changed = true;
            }
        }
        let was_watched = || self.known.iter().any(|own| path.starts_with(own));
        let event = change
            .filter(|change| self.based && (*change != Change::Created || was_watched()))
            .map(|change| self.tell(&key, change, before.as_ref(), after.as_ref(), how, now));
        (event, read)
    }

    fn tell(
        &self,
        path: &str,
        change: Change,
        before: Option<&State>,
        after: Option<&State>,
        how: How,
        now: Timestamp,
    ) -> Event {
        let accounts = Accounts::read(&Root::here()).unwrap_or_default();
        let user = |uid: u32| accounts.user(uid).map_or_else(|| uid.to_string(), str::to_owned);
        let mut event = self
            .teller
            .event(EventKind::FileChanged, now)
            .with("path", Untrusted::from(path))
            .with("change", change.as_str())
            .with("how", how.as_str());
        for (state, [hash, mode, owner, size]) in [
            (before, ["old_hash", "old_mode", "old_owner", "old_size"]),
            (after, ["new_hash", "new_mode", "new_owner", "new_size"]),
        ] {
            let Some(state) = state else { continue };
            if let Some(digest) = &state.hash {
                event = event.with(hash, hex(digest).as_str());
            }
            let group =
                accounts.group(state.gid).map_or_else(|| state.gid.to_string(), str::to_owned);
            event = event
                .with(mode, format!("{:04o}", state.mode & 0o7777).as_str())
                .with(owner, Untrusted::from(format!("{}:{group}", user(state.uid))))
                .with(size, state.size);
        }
        // At a sweep it may have been long ago, and of many files at once.
        let culprit = (how == How::Watch).then(|| culprit::find(&self.audit_log, path)).flatten();
        if let Some(culprit) = culprit {
            event = event
                .with("user", Untrusted::from(user(culprit.uid)))
                .with("process", Untrusted::from(culprit.program));
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{AttributeValue, SensorId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn examiner(watched: &Path, data: &Path) -> Examiner {
        let config = IntegrityConfig {
            paths: vec![watched.to_string_lossy().into_owned()],
            exclude: vec!["*.swp".into()],
            ..IntegrityConfig::default()
        };
        let teller = Teller { sensor: SensorId::new("web-1").unwrap(), host: None };
        Examiner::new(&config, teller, data.join("integrity.ndjson"))
    }

    fn sweep(examiner: &mut Examiner, full: bool) -> Vec<(String, String)> {
        let mut sweep = examiner.begin(full);
        let mut events = Vec::new();
        while !sweep.is_done() {
            events.extend(examiner.step(&mut sweep, 2, 1_000_000, NOW).0);
        }
        events.extend(examiner.end(sweep, NOW));
        examiner.save();
        told(&events)
    }

    fn told(events: &[Event]) -> Vec<(String, String)> {
        let text = |event: &Event, name: &str| match &event.attributes[name] {
            AttributeValue::Text(text) => text.to_lossy().into_owned(),
            other => other.to_string(),
        };
        let mut told: Vec<(String, String)> = events
            .iter()
            .map(|event| {
                event.validate().unwrap();
                let path = text(event, "path");
                (text(event, "change"), path.rsplit('/').next().unwrap().to_owned())
            })
            .collect();
        told.sort();
        told
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
    }

    #[test]
    fn the_first_look_tells_nothing_the_next_what_changed_also_over_a_restart() {
        let (watched, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["a", "b", "c", "ignored.swp"] {
            fs::write(watched.path().join(name), name).unwrap();
        }
        let mut first = examiner(watched.path(), data.path());
        assert_eq!(sweep(&mut first, true), []);
        assert_eq!(sweep(&mut first, true), []);
        fs::write(watched.path().join("a"), "changed").unwrap();
        fs::remove_file(watched.path().join("b")).unwrap();
        fs::create_dir(watched.path().join("folder")).unwrap();
        fs::write(watched.path().join("folder/d"), "new").unwrap();
        fs::write(watched.path().join("other.swp"), "new").unwrap();
        let mut second = examiner(watched.path(), data.path());
        let expected = pairs(&[("created", "d"), ("deleted", "b"), ("modified", "a")]);
        assert_eq!(sweep(&mut second, false), expected);
        assert_eq!(sweep(&mut second, true), []);
    }

    #[test]
    fn a_path_that_is_new_in_the_settings_is_no_new_file() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = tempfile::tempdir().unwrap();
        fs::write(one.path().join("a"), "a").unwrap();
        fs::write(two.path().join("b"), "b").unwrap();
        assert_eq!(sweep(&mut examiner(one.path(), data.path()), true), []);
        let mut both = examiner(one.path(), data.path());
        both.paths.push(two.path().canonicalize().unwrap());
        assert_eq!(sweep(&mut both, false), []);
        fs::write(two.path().join("c"), "c").unwrap();
        assert_eq!(sweep(&mut both, false), pairs(&[("created", "c")]));
    }

    #[test]
    fn a_folder_that_goes_takes_its_files_with_it_and_one_that_comes_brings_them() {
        let (watched, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = |name: &str| watched.path().canonicalize().unwrap().join(name);
        fs::create_dir(path("x")).unwrap();
        fs::write(path("x/1"), "1").unwrap();
        fs::write(path("x/2"), "2").unwrap();
        fs::write(path("x1"), "other").unwrap();
        let mut examiner = examiner(watched.path(), data.path());
        sweep(&mut examiner, true);
        fs::rename(path("x"), path("y")).unwrap();
        let paths = BTreeSet::from([path("x"), path("y"), PathBuf::from("/elsewhere")]);
        let events = examiner.look(paths, How::Watch, NOW);
        let expected =
            pairs(&[("created", "1"), ("created", "2"), ("deleted", "1"), ("deleted", "2")]);
        assert_eq!(told(&events), expected);
        assert_eq!(examiner.new_folders(), [path("y")]);
    }
}
