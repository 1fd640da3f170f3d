//! The file source: follows a log by its path through everything that happens
//! to logs. Woken by inotify; looks at the clock only while it is failing.
//!
//! - renamed and created anew (logrotate's default): the old file is read to
//!   its end and followed on, for a daemon that still writes to it;
//! - copied and truncated: begins anew when the file became shorter or begins
//!   differently;
//! - deleted, missing, its folder missing, a symbolic link changed: waits;
//! - rotated while the agent was away: goes on in the renamed (or copied) file,
//!   then in those that came after it. Compressed files are not read.
//!
//! A last line without a newline is never handed over: half an address is
//! another address.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::follow::{Follow, Step, identity};
use super::watch::Watch;
use super::{Ended, Health, Outlet, Place};
use crate::backoff::Backoff;
use crate::config::{FileSource, StartFrom};
use crate::cursor::{Cursor, FileCursor, FileKey, Tracker};

/// Most rotated files that are followed beside the current one; more: the
/// oldest is given up, after it was read to its end.
const MAX_ROTATED: usize = 2;
/// Most neighbours of a log that are looked at for rotated ones.
const MAX_NEIGHBOURS: usize = 1_000;
/// Most files that are remembered as done with.
const MAX_DONE: usize = 64;
/// Fewest bytes of a file that tell it from any other one.
const MIN_TELLING_BYTES: usize = 32;
/// Endings of neighbours that are no text.
const NOT_TEXT: [&str; 9] = ["gz", "xz", "bz2", "zst", "lz4", "Z", "zip", "tmp", "swp"];

/// One file source, as a task.
pub(crate) struct FileTask {
    source: usize,
    path: PathBuf,
    from: StartFrom,
    outlet: Outlet,
    tracker: Tracker,
    health: Health,
    /// Oldest first.
    followed: Vec<Follow>,
    /// Device and inode of what the path is now.
    current: Option<(u64, u64)>,
    /// Those of rotated files that were given up, the oldest first.
    done: VecDeque<(u64, u64)>,
    waiting: bool,
}

/// Why a look at the file ended early.
#[derive(Debug)]
enum Stop {
    Ended,
    Failed(io::Error),
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs a few file system calls on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl FileTask {
    pub(crate) fn new(
        source: usize,
        config: &FileSource,
        outlet: Outlet,
        tracker: Tracker,
    ) -> Self {
        Self {
            source,
            path: config.path.clone(),
            from: config.from,
            outlet,
            tracker,
            health: Health::new(config.path.display().to_string()),
            followed: Vec::new(),
            current: None,
            done: VecDeque::new(),
            waiting: false,
        }
    }

    /// Follows the file until the agent ends.
    pub(crate) async fn run(mut self, cursor: Option<Cursor>) {
        let mut cursor = Some(cursor);
        let mut backoff = Backoff::default();
        let cancel = self.outlet.cancel().clone();
        let mut watch = None;
        loop {
            let looked = self.look(&mut watch, &mut cursor).await;
            let told = match looked {
                Ok(()) => {
                    backoff.reset();
                    self.health.works(&self.outlet).await
                }
                Err(Stop::Ended) => return,
                Err(Stop::Failed(error)) => self.failed(&error).await,
            };
            if told.is_err() {
                return;
            }
            let changed = async {
                match &mut watch {
                    Some(watch) => watch.changed().await.is_err(),
                    None => std::future::pending().await,
                }
            };
            let retry = async {
                match self.health.is_failing() {
                    true => tokio::time::sleep(backoff.next()).await,
                    false => std::future::pending().await,
                }
            };
            let broken = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                broken = changed => broken,
                () = retry => false,
            };
            if broken {
                // Watch again from scratch; what is followed stays.
                watch = None;
            }
        }
    }

    async fn failed(&mut self, error: &io::Error) -> Result<(), Ended> {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the agent's user read the file, such as: usermod -aG adm palisade"
            }
            io::ErrorKind::InvalidInput => "name a regular file in the source's path",
            _ => "see the reason; it may be the file system or a limit of the system",
        };
        self.health.failed(&self.outlet, &error.to_string(), remedy).await
    }

    /// Reads everything there is, and finds out what the path is now.
    async fn look(
        &mut self,
        watch: &mut Option<Watch>,
        cursor: &mut Option<Option<Cursor>>,
    ) -> Result<(), Stop> {
        let watch = match watch {
            Some(watch) => watch,
            None => {
                let mut fresh = Watch::new()?;
                for follow in &self.followed {
                    fresh.file(follow.key(), follow.file())?;
                }
                watch.insert(fresh)
            }
        };
        watch.folders_of(&self.path)?;
        if matches!(cursor, Some(Some(_))) {
            // What cannot be opened now must not count as rotated away.
            let path = self.path.clone();
            match blocking(move || std::fs::File::open(path).map(drop)).await {
                Err(error) if !is_missing(&error) => return Err(error.into()),
                _ => {}
            }
        }
        let first_start = match cursor.take() {
            Some(Some(cursor)) => {
                self.restore(cursor, watch).await?;
                false
            }
            Some(None) => true,
            None => false,
        };
        let mut from = if first_start { self.from } else { StartFrom::Start };
        let mut any = false;
        loop {
            self.read_all(watch).await?;
            let opened = self.open_current(watch, from).await;
            if opened.is_err() && first_start {
                // Still the first start once it can be read.
                *cursor = Some(None);
            }
            match opened? {
                // While it was opened it may have been renamed, and another too.
                Current::Unchanged if any && self.follow_between(watch).await? => {}
                Current::Unchanged => break,
                Current::Opened => {
                    any = true;
                    from = StartFrom::Start;
                }
            }
            if self.outlet.cancel().is_cancelled() {
                return Err(Stop::Ended);
            }
            watch.folders_of(&self.path)?;
        }
        self.give_up_old(watch);
        Ok(())
    }

    async fn read_all(&mut self, watch: &mut Watch) -> Result<(), Stop> {
        for index in 0..self.followed.len() {
            self.read(index, watch).await?;
        }
        Ok(())
    }

    /// Reads one file to its end.
    async fn read(&mut self, index: usize, watch: &mut Watch) -> Result<(), Stop> {
        loop {
            if index >= self.followed.len() {
                return Ok(());
            }
            let mut follow = self.followed.remove(index);
            let had = follow.head().len();
            let (follow, step) = tokio::task::spawn_blocking(move || {
                let step = follow.step();
                (follow, step)
            })
            .await
            .map_err(io::Error::other)?;
            let key = follow.key();
            if follow.head().len() > had {
                self.tracker.head(key, follow.head());
            }
            if let Ok(Step::Truncated) = step {
                tracing::info!(path = %self.path.display(), "a log was truncated; reading it from its start");
                self.tracker.finish(key, follow.offset());
                watch.forget(key);
                let anew = blocking(move || follow.anew()).await?;
                watch.file(anew.key(), anew.file())?;
                self.tracker.follow(anew.key(), anew.head(), 0);
                self.followed.insert(index, anew);
                continue;
            }
            self.followed.insert(index, follow);
            match step? {
                Step::End | Step::Truncated => return Ok(()),
                Step::Lines(lines) => {
                    for line in lines {
                        let place = Place::File { key, start: line.start, end: line.end };
                        self.outlet.line(self.source, line.bytes, line.truncated, place).await?;
                    }
                }
            }
        }
    }

    /// Opens what the path is now, if it is not followed yet.
    async fn open_current(&mut self, watch: &mut Watch, from: StartFrom) -> Result<Current, Stop> {
        let path = self.path.clone();
        let metadata = match blocking(move || std::fs::metadata(path)).await {
            Ok(metadata) => metadata,
            Err(error) if is_missing(&error) => {
                self.current = None;
                if self.follow_between(watch).await? {
                    return Ok(Current::Opened);
                }
                if !self.waiting {
                    self.waiting = true;
                    tracing::warn!(path = %self.path.display(), "a log does not exist; waiting for it");
                }
                return Ok(Current::Unchanged);
            }
            Err(error) => return Err(error.into()),
        };
        self.waiting = false;
        let now = identity(&metadata);
        if let Some(index) = self.followed.iter().position(|follow| follow.identity() == now) {
            self.current = Some(now);
            // Back to an older file, such as by a symbolic link: it is the newest now.
            let follow = self.followed.remove(index);
            self.followed.push(follow);
            return Ok(Current::Unchanged);
        }
        let path = self.path.clone();
        let (known, done) = self.known();
        let opened = blocking(move || {
            let mut follow = Follow::open(&path)?;
            if from == StartFrom::End {
                follow.seek_end()?;
            }
            let between = between(&path, &known, &done, Some(follow.identity()));
            Ok((follow, between))
        })
        .await;
        let (follow, between) = match opened {
            Ok(opened) => opened,
            // Gone between the two looks: look again.
            Err(error) if is_missing(&error) => return Ok(Current::Opened),
            Err(error) => return Err(error.into()),
        };
        self.current = Some(follow.identity());
        for rotated in between {
            self.follow(rotated, watch)?;
        }
        self.follow(follow, watch)?;
        Ok(Current::Opened)
    }

    fn known(&self) -> (Vec<Known>, VecDeque<(u64, u64)>) {
        (self.followed.iter().map(Known::of).collect(), self.done.clone())
    }

    /// Follows what was the log and has been renamed already; whether there
    /// was any.
    async fn follow_between(&mut self, watch: &mut Watch) -> io::Result<bool> {
        let path = self.path.clone();
        let (known, done) = self.known();
        let found = blocking(move || Ok(between(&path, &known, &done, None))).await?;
        let any = !found.is_empty();
        for rotated in found {
            self.follow(rotated, watch)?;
        }
        Ok(any)
    }

    fn follow(&mut self, follow: Follow, watch: &mut Watch) -> io::Result<()> {
        watch.file(follow.key(), follow.file())?;
        self.tracker.follow(follow.key(), follow.head(), follow.offset());
        self.followed.push(follow);
        Ok(())
    }

    /// Lets go of files that cannot grow any more, or that are too many. They
    /// have been read to their ends.
    fn give_up_old(&mut self, watch: &mut Watch) {
        let Some(current) = self.current else { return };
        let mut rotated = self.followed.len().saturating_sub(1);
        let (tracker, path, done) = (&self.tracker, &self.path, &mut self.done);
        self.followed.retain(|follow| {
            if follow.identity() == current {
                return true;
            }
            let keep = rotated <= MAX_ROTATED && !follow.is_deleted();
            rotated -= usize::from(!keep);
            if !keep {
                if follow.partial_bytes() > 0 {
                    tracing::warn!(
                        path = %path.display(), bytes = follow.partial_bytes(),
                        "a rotated log ends within a line; that line is left out"
                    );
                }
                if done.len() >= MAX_DONE {
                    done.pop_front();
                }
                done.push_back(follow.identity());
                watch.forget(follow.key());
                tracker.finish(follow.key(), follow.offset());
            }
            keep
        });
    }

    /// Goes on where the last start ended.
    async fn restore(&mut self, cursor: Cursor, watch: &mut Watch) -> Result<(), Stop> {
        let path = self.path.clone();
        let (found, lost) = blocking(move || Ok(find(&path, &cursor.files))).await?;
        for file in lost {
            tracing::warn!(
                path = %self.path.display(), inode = file.inode, offset = file.offset,
                "a log was rotated away while the agent was not running; what was added to it then is not read"
            );
        }
        for follow in found {
            self.follow(follow, watch)?;
        }
        Ok(())
    }
}

/// What a look at the path found.
#[derive(Debug, PartialEq, Eq)]
enum Current {
    Unchanged,
    Opened,
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is known of a followed file, to tell others from it.
struct Known {
    identity: (u64, u64),
    head: Vec<u8>,
    born: SystemTime,
}

impl Known {
    fn of(follow: &Follow) -> Self {
        let head = follow.head().to_vec();
        Self { identity: follow.identity(), head, born: born(follow) }
    }
}

/// When the file was created; where the file system does not say, when it was
/// last written.
fn born(follow: &Follow) -> SystemTime {
    let metadata = follow.file().metadata();
    let at = metadata.and_then(|metadata| metadata.created().or_else(|_| metadata.modified()));
    at.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether the file has been created and written after `at`, or as far as the
/// kernel's coarse clock tells at the same time. One that was unpacked has its
/// old time of writing.
fn is_later(follow: &Follow, at: SystemTime) -> bool {
    let modified = follow.file().metadata().and_then(|metadata| metadata.modified());
    born(follow) >= at && modified.is_ok_and(|modified| modified >= at)
}

/// Files that were the log and have been renamed already, since those that are
/// known: rotated faster than this source looked. The oldest first. Blocks.
fn between(
    path: &Path,
    known: &[Known],
    done: &VecDeque<(u64, u64)>,
    current: Option<(u64, u64)>,
) -> Vec<Follow> {
    // A listing may miss what is renamed meanwhile, so the next one begins as
    // far back again.
    let Some(oldest) = known.iter().map(|known| known.born).min() else { return Vec::new() };
    let is_copy = |follow: &Follow| {
        let told = |known: &Known| known.head.len() >= MIN_TELLING_BYTES;
        known.iter().any(|known| told(known) && follow.head().starts_with(&known.head))
    };
    let mut found: Vec<Follow> = neighbours(path)
        .iter()
        .filter_map(|path| Follow::open(path).ok())
        .filter(|follow| {
            let new = Some(follow.identity()) != current
                && !done.contains(&follow.identity())
                && known.iter().all(|known| known.identity != follow.identity());
            new && is_later(follow, oldest) && !is_copy(follow)
        })
        .collect();
    found.sort_by_key(born);
    found
}

/// The files of a cursor, each at its offset and the oldest first, and those
/// that came after them; and what could not be found. Blocks.
fn find(path: &Path, cursor: &[FileCursor]) -> (Vec<Follow>, Vec<FileCursor>) {
    let mut candidates = neighbours(path);
    candidates.insert(0, path.to_path_buf());
    let mut open: Vec<Follow> =
        candidates.iter().filter_map(|path| Follow::open(path).ok()).collect();
    let mut found = Vec::new();
    let mut lost = Vec::new();
    let mut newest = None;
    for file in cursor {
        let fits = |follow: &Follow| {
            follow.length().is_ok_and(|length| length >= file.offset)
                && follow.has_fingerprint(file.head_bytes, &file.fingerprint)
        };
        let same = |follow: &Follow| follow.identity().1 == file.inode && fits(follow);
        // Copied by the one who rotates: another inode, the same beginning.
        let copy = |follow: &Follow| file.head_bytes >= MIN_TELLING_BYTES && fits(follow);
        let place = open.iter().position(same).or_else(|| open.iter().position(copy));
        match place {
            Some(place) => {
                let mut follow = open.remove(place);
                let FileCursor { dev, inode, generation, .. } = *file;
                follow.resume(FileKey { dev, inode, generation }, file.offset);
                newest = newest.max(Some(born(&follow)));
                found.push(follow);
            }
            None => lost.push(file.clone()),
        }
        // Truncated meanwhile: what the path is now has begun anew.
        if let Some(follow) = open.iter_mut().find(|follow| {
            follow.identity().1 == file.inode && follow.key().generation <= file.generation
        }) {
            let FileCursor { dev, inode, generation, .. } = *file;
            follow.resume(FileKey { dev, inode, generation: generation.wrapping_add(1) }, 0);
        }
    }
    // What the path is now belongs to it in any case, and comes last.
    let current = std::fs::metadata(path).ok().map(|metadata| identity(&metadata));
    let is_current = |follow: &Follow| Some(follow.identity()) == current;
    open.retain(|follow| {
        is_current(follow) || newest.is_some_and(|newest| is_later(follow, newest))
    });
    open.sort_by_key(|follow| (is_current(follow), born(follow)));
    found.extend(open);
    (found, lost)
}

/// Files beside `path` that may be rotated forms of it: `NAME.1`, `NAME-20261120`.
fn neighbours(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .take(MAX_NEIGHBOURS)
        .map(|entry| entry.path())
        .filter(|path| {
            let Some(other) = path.file_name() else { return false };
            let rest = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
            let text = path.extension().is_none_or(|end| !NOT_TEXT.iter().any(|no| end == *no));
            text && rest.is_some_and(|rest| rest.starts_with(b".") || rest.starts_with(b"-"))
        })
        .collect()
}
