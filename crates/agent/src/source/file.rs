//! The file source: follows a log by its path through everything that happens
//! to logs. Woken by inotify; looks at the clock only while it is failing.
//!
//! - renamed and created anew (logrotate's default): the old file is read to
//!   its end and followed on, for a daemon that still writes to it;
//! - renamed before it was looked at, also several times: the events tell where
//!   it is now, as long as that is a folder on the way to the log;
//! - copied and truncated: begins anew when the file became shorter or begins
//!   or ends differently. Lines that are still there have the same ids and
//!   count once;
//! - another file renamed onto it: begins there, or goes on where it is a copy;
//! - deleted, missing, its folder missing, a symbolic link changed: waits;
//! - rotated while the agent was away: goes on in the renamed (or copied) file,
//!   then in those that came after it. Compressed files are not read.
//!
//! What nobody could read: lines of a file that is deleted or truncated before
//! this source looked at it, which is some milliseconds after it was written.
//!
//! A last line without a newline is never handed over: half an address is
//! another address.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::follow::{Cut, Follow, Step, identity};
use super::rotated::{Done, Known, between, find};
use super::watch::Watch;
use super::{Ended, Health, Line, Outlet, Place, Source};
use crate::backoff::Backoff;
use crate::config::StartFrom;
use crate::cursor::Cursor;

/// Most rotated files that are followed beside the current one; more: the
/// oldest is given up, after it was read to its end.
const MAX_ROTATED: usize = 2;
/// Most files that are remembered as done with.
const MAX_DONE: usize = 64;
/// How long a deleted file is followed on for a daemon that has not noticed,
/// once there is a new one.
const DELETED_GRACE: Duration = Duration::from_secs(10);
/// Fewest bytes read of a file for another one to count as its copy.
const MIN_COPY_BYTES: u64 = 32;
/// How far the times of files may be behind the clock: the kernel takes them
/// from its last tick.
const CLOCK_SLACK: Duration = Duration::from_millis(20);

/// One file source, as a task.
pub(crate) struct FileTask {
    source: Arc<Source>,
    path: PathBuf,
    from: StartFrom,
    outlet: Outlet,
    health: Health,
    /// Oldest first.
    followed: Vec<Follow>,
    /// Device and inode of what the path is now.
    current: Option<(u64, u64)>,
    /// Rotated files that were given up, the oldest first.
    done: VecDeque<Done>,
    /// Since when there has been no log at all; what came since is new.
    absent: Option<SystemTime>,
    /// When the next deleted file is given up.
    grace_ends: Option<Instant>,
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
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl FileTask {
    pub(crate) fn new(source: &Arc<Source>, path: &Path, from: StartFrom, outlet: Outlet) -> Self {
        Self {
            source: Arc::clone(source),
            path: path.into(),
            from,
            outlet,
            health: Health::new(path.display().to_string()),
            followed: Vec::new(),
            current: None,
            done: VecDeque::new(),
            absent: None,
            grace_ends: None,
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
            let grace = async {
                match self.grace_ends {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let broken = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                broken = changed => broken,
                () = retry => false,
                () = grace => false,
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
        // In this order: a folder that is removed and made again while it is being
        // watched must lead to another look.
        watch.begin()?;
        watch.folders_of(&self.path)?;
        if matches!(cursor, Some(Some(_))) {
            // What cannot be opened now must not count as rotated away.
            let path = self.path.clone();
            match blocking(move || std::fs::File::open(path).map(drop)).await {
                Err(error) if !is_missing(&error) => return Err(error.into()),
                _ => {}
            }
        }
        let mut from = StartFrom::Start;
        match cursor.take() {
            Some(Some(found)) => {
                let restored = self.restore(&found, watch).await;
                if restored.is_err() {
                    *cursor = Some(Some(found));
                }
                restored?;
            }
            Some(None) => {
                from = self.from;
                // Still the first start until the path could be looked at.
                *cursor = Some(None);
            }
            None => {}
        }
        let mut any = false;
        loop {
            self.follow_departed(watch, from).await?;
            self.read_all(watch).await?;
            let opened = self.open_current(watch, from).await?;
            *cursor = None;
            match opened {
                // While it was opened it may have been renamed, and another too.
                Current::Unchanged if any && self.follow_between(watch).await? => {}
                Current::Unchanged => break,
                Current::Opened => {
                    any = true;
                    from = StartFrom::Start;
                }
                Current::Gone => {}
            }
            if self.outlet.cancel().is_cancelled() {
                return Err(Stop::Ended);
            }
            watch.folders_of(&self.path)?;
        }
        if !self.followed.is_empty() {
            self.absent = None;
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
            let max_line_bytes = self.source.max_line_bytes();
            let (follow, step) = tokio::task::spawn_blocking(move || {
                let step = follow.step(max_line_bytes);
                let step = match step {
                    Ok(Step::Truncated) => follow.anew().map(|anew| (Step::Truncated, Some(anew))),
                    step => step.map(|step| (step, None)),
                };
                (follow, step)
            })
            .await
            .map_err(io::Error::other)?;
            let key = follow.key();
            if follow.head().len() > had {
                self.source.tracker.head(key, follow.head());
            }
            let handed_over = follow.handed_over();
            self.followed.insert(index, follow);
            match step? {
                (Step::Lines(lines), _) => {
                    let place = |cut: &Cut| Place::File { key, start: cut.start, end: cut.end };
                    let lines = lines.into_iter().map(|cut| {
                        let place = place(&cut);
                        Line { bytes: cut.bytes, truncated: cut.truncated, place }
                    });
                    let lines: Vec<Line> = lines.collect();
                    if !lines.is_empty() {
                        self.outlet.lines(&self.source, lines).await?;
                    }
                }
                (Step::Truncated, Some(anew)) => {
                    tracing::info!(path = %self.path.display(), "a log was truncated; reading it from its start");
                    watch.file(anew.key(), anew.file())?;
                    watch.forget(key);
                    self.source.tracker.finish(key, handed_over);
                    self.source.tracker.follow(anew.key(), anew.head(), 0);
                    if let Some(place) = self.followed.get_mut(index) {
                        *place = anew;
                    }
                }
                (Step::End | Step::Truncated, _) => return Ok(()),
            }
        }
    }

    /// Follows what was the log and has been renamed since, where the events
    /// told to what. `from` is for a file that was there before the watch.
    async fn follow_departed(&mut self, watch: &mut Watch, from: StartFrom) -> Result<(), Stop> {
        watch.drain()?;
        let departed = watch.departed();
        if departed.is_empty() {
            return Ok(());
        }
        let opened = blocking(move || {
            let open = |path: &Path| match std::fs::symlink_metadata(path)?.is_file() {
                true => Follow::open(path),
                false => Err(io::ErrorKind::InvalidInput.into()),
            };
            Ok(departed.into_iter().map(|(one, path)| (one, open(&path), path)).collect::<Vec<_>>())
        })
        .await?;
        // Was another file given that name meanwhile? Then the next look opens it.
        watch.drain()?;
        let mut line = Vec::new();
        for (one, opened, path) in opened {
            match opened {
                _ if !watch.is_still(&one) => {}
                // Gone; the event that tells is on its way.
                Err(error) if is_missing(&error) => {}
                Err(error) => {
                    watch.settle(&one);
                    tracing::warn!(path = %path.display(), %error, "a log was renamed and cannot be opened; what was added to it since is not read");
                }
                Ok(follow) => line.push((one, follow)),
            }
        }
        // From the newest back, so that each goes before the one after it.
        let is_among = |current| line.iter().any(|(_, follow)| Some(follow.identity()) == current);
        let mut before = self.current.filter(|_| !is_among(self.current));
        let mut new = Vec::new();
        for (one, follow) in line.into_iter().rev() {
            let identity = follow.identity();
            if !self.is_followed(identity) && !self.done.contains(&Done::of(&follow)) {
                let from = if one.is_new { StartFrom::Start } else { from };
                new.push((one, follow, before, from));
            } else {
                watch.settle(&one);
            }
            before = Some(identity);
        }
        for (one, follow, before, from) in new {
            let follow = self.begin(follow, from).await?;
            self.follow(follow, before, watch).await?;
            watch.settle(&one);
        }
        Ok(())
    }

    fn is_followed(&self, identity: (u64, u64)) -> bool {
        self.followed.iter().any(|follow| follow.identity() == identity)
    }

    /// Puts a file that was just opened where it is to be read: behind what is
    /// a copy of something followed, else where `from` says.
    async fn begin(&self, mut new: Follow, from: StartFrom) -> io::Result<Follow> {
        let olds: Vec<Follow> = self
            .followed
            .iter()
            .filter(|old| old.offset() >= MIN_COPY_BYTES)
            .map(Follow::handle)
            .collect();
        blocking(move || {
            for old in olds.iter().rev() {
                // One that was truncated meanwhile cannot be compared.
                if new.continues(old).unwrap_or(false) {
                    new.go_on_from(old);
                    return Ok(new);
                }
            }
            if from == StartFrom::End {
                new.seek_end()?;
            }
            Ok(new)
        })
        .await
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
                self.is_missing();
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
        let (known, absent, done) = self.known();
        let opened = blocking(move || {
            let follow = Follow::open(&path)?;
            let between = between(&path, &known, absent, &done, Some(follow.identity()));
            Ok((follow, between))
        })
        .await;
        let (follow, between) = match opened {
            Ok(opened) => opened,
            // Gone between the two looks: look again.
            Err(error) if is_missing(&error) => return Ok(Current::Gone),
            Err(error) => return Err(error.into()),
        };
        // Those that the events know better are followed by what they tell.
        watch.drain()?;
        let from = if watch.is_new() { StartFrom::Start } else { from };
        let follow = self.begin(follow, from).await?;
        for rotated in between {
            self.follow(rotated, None, watch).await?;
        }
        let now = follow.identity();
        self.follow(follow, None, watch).await?;
        self.current = Some(now);
        Ok(Current::Opened)
    }

    /// There is no log. Where there has not been one before, whatever comes
    /// is new, also after a restart.
    fn is_missing(&mut self) {
        if !self.waiting {
            self.waiting = true;
            tracing::warn!(path = %self.path.display(), "a log does not exist; waiting for it");
        }
        if self.followed.is_empty() && self.absent.is_none() {
            let now = SystemTime::now();
            let since = now.checked_sub(CLOCK_SLACK).unwrap_or(now);
            self.absent = Some(since);
            self.source.tracker.absent(since);
        }
    }

    fn known(&self) -> (Vec<Known>, Option<SystemTime>, VecDeque<Done>) {
        (self.followed.iter().map(Known::of).collect(), self.absent, self.done.clone())
    }

    /// Follows what was the log and has been renamed already; whether there
    /// was any.
    async fn follow_between(&mut self, watch: &mut Watch) -> Result<bool, Stop> {
        let path = self.path.clone();
        let (known, absent, done) = self.known();
        let current = self.current;
        let found = blocking(move || Ok(between(&path, &known, absent, &done, current))).await?;
        let any = !found.is_empty();
        for rotated in found {
            self.follow(rotated, None, watch).await?;
        }
        Ok(any)
    }

    /// Follows a file from where it is now, after all others or `before` one.
    async fn follow(
        &mut self,
        follow: Follow,
        before: Option<(u64, u64)>,
        watch: &mut Watch,
    ) -> Result<(), Stop> {
        // Another file had the same inode, and its last lines are on their way.
        tokio::select! {
            biased;
            () = self.outlet.cancel().cancelled() => return Err(Stop::Ended),
            () = self.source.tracker.forgotten(follow.key()) => {}
        }
        watch.file(follow.key(), follow.file())?;
        self.source.tracker.follow(follow.key(), follow.head(), follow.offset());
        let place = self.followed.iter().position(|other| Some(other.identity()) == before);
        self.followed.insert(place.unwrap_or(self.followed.len()), follow);
        Ok(())
    }

    /// Lets go of files that were deleted some time ago, or that are too many.
    /// They have been read to their ends.
    fn give_up_old(&mut self, watch: &mut Watch) {
        self.grace_ends = None;
        let Some(current) = self.current else { return };
        let now = Instant::now();
        let mut rotated = self.followed.len().saturating_sub(1);
        let (tracker, path, done) = (&self.source.tracker, &self.path, &mut self.done);
        let grace_ends = &mut self.grace_ends;
        self.followed.retain_mut(|follow| {
            if follow.identity() == current {
                return true;
            }
            let ends = follow.deleted_since().map(|since| since + DELETED_GRACE);
            let keep = rotated <= MAX_ROTATED && ends.is_none_or(|ends| ends > now);
            rotated -= usize::from(!keep);
            if keep {
                *grace_ends = [*grace_ends, ends].into_iter().flatten().min();
            } else {
                if follow.partial_bytes() > 0 {
                    tracing::warn!(
                        path = %path.display(), bytes = follow.partial_bytes(),
                        "a rotated log ends within a line; that line is left out"
                    );
                }
                if done.len() >= MAX_DONE {
                    done.pop_front();
                }
                done.push_back(Done::of(follow));
                watch.forget(follow.key());
                tracker.finish(follow.key(), follow.handed_over());
            }
            keep
        });
    }

    /// Goes on where the last start ended.
    async fn restore(&mut self, cursor: &Cursor, watch: &mut Watch) -> Result<(), Stop> {
        let (path, wanted) = (self.path.clone(), cursor.clone());
        let (found, lost) = blocking(move || Ok(find(&path, &wanted))).await?;
        // Nothing is followed unless all of it can be.
        for follow in &found {
            watch.file(follow.key(), follow.file())?;
        }
        for file in lost {
            tracing::warn!(
                path = %self.path.display(), inode = file.inode, offset = file.offset,
                "a log was rotated away or rewritten while the agent was not running; what was added to it then may not be read"
            );
        }
        for follow in found {
            self.follow(follow, None, watch).await?;
        }
        if self.followed.is_empty()
            && let Some(since) = cursor.absent_since
        {
            self.absent = Some(since);
            self.source.tracker.absent(since);
        }
        Ok(())
    }
}

/// What a look at the path found.
#[derive(Debug, PartialEq, Eq)]
enum Current {
    Unchanged,
    Opened,
    /// Renamed or deleted while it was being opened.
    Gone,
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
