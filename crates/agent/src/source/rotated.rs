//! Finds rotated forms of a log by name, time and beginning: what was renamed
//! while nobody watched, or faster than the events tell.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::follow::{Follow, identity};
use crate::cursor::{Cursor, FileCursor, FileKey};

/// Most neighbours of a log that are looked at for rotated ones.
const MAX_NEIGHBOURS: usize = 1_000;
/// Fewest bytes of a file that tell it from any other one.
const MIN_TELLING_BYTES: usize = 32;
/// Endings of neighbours that are no text.
const NOT_TEXT: [&str; 9] = ["gz", "xz", "bz2", "zst", "lz4", "Z", "zip", "tmp", "swp"];

/// What is known of a followed file, to tell others from it.
pub(super) struct Known {
    identity: (u64, u64),
    head: Vec<u8>,
    born: SystemTime,
}

impl Known {
    pub(super) fn of(follow: &Follow) -> Self {
        let head = follow.head().to_vec();
        Self { identity: follow.identity(), head, born: born(follow) }
    }
}

/// A rotated file that was given up. Its inode may stand for another file once
/// it is deleted, but that one is born later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    identity: (u64, u64),
    born: SystemTime,
}

impl Done {
    pub(super) fn of(follow: &Follow) -> Self {
        Self { identity: follow.identity(), born: born(follow) }
    }
}

/// When the file was created; where the file system does not say, when it was
/// last written.
pub(super) fn born(follow: &Follow) -> SystemTime {
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
/// known, or since `absent`, when there was none: rotated faster than this
/// source looked. The oldest first. Blocks.
pub(super) fn between(
    path: &Path,
    known: &[Known],
    absent: Option<SystemTime>,
    done: &VecDeque<Done>,
    current: Option<(u64, u64)>,
) -> Vec<Follow> {
    // A listing may miss what is renamed meanwhile, so the next one begins as
    // far back again.
    let Some(oldest) = known.iter().map(|known| known.born).chain(absent).min() else {
        return Vec::new();
    };
    let is_copy = |follow: &Follow| {
        let told = |known: &Known| known.head.len() >= MIN_TELLING_BYTES;
        known.iter().any(|known| told(known) && follow.head().starts_with(&known.head))
    };
    let mut found: Vec<Follow> = neighbours(path)
        .iter()
        .filter_map(|path| Follow::open(path).ok())
        .filter(|follow| {
            let new = Some(follow.identity()) != current
                && !done.contains(&Done::of(follow))
                && known.iter().all(|known| known.identity != follow.identity());
            new && is_later(follow, oldest) && !is_copy(follow)
        })
        .collect();
    found.sort_by_key(born);
    found
}

/// The files of a cursor, each at its offset and the oldest first, and those
/// that came after them; and what could not be found. Blocks.
pub(super) fn find(path: &Path, cursor: &Cursor) -> (Vec<Follow>, Vec<FileCursor>) {
    let mut candidates = neighbours(path);
    candidates.insert(0, path.to_path_buf());
    let mut open: Vec<Follow> =
        candidates.iter().filter_map(|path| Follow::open(path).ok()).collect();
    let mut found = Vec::new();
    let mut lost = Vec::new();
    let mut newest = cursor.absent_since;
    let mut anew = Vec::new();
    for file in &cursor.files {
        let fits = |follow: &Follow| {
            follow.length().is_ok_and(|length| length >= file.offset)
                && follow.begins_line(file.offset)
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
        // Truncated meanwhile: what the path is now, or was before it was renamed as
        // well, has begun anew.
        if let Some(follow) = open.iter_mut().find(|follow| {
            follow.identity().1 == file.inode && follow.key().generation <= file.generation
        }) {
            let FileCursor { dev, inode, generation, .. } = *file;
            follow.resume(FileKey { dev, inode, generation: generation.wrapping_add(1) }, 0);
            anew.push(follow.identity());
        }
    }
    // What the path is now belongs to it in any case, and comes last.
    let current = std::fs::metadata(path).ok().map(|metadata| identity(&metadata));
    let is_current = |follow: &Follow| Some(follow.identity()) == current;
    open.retain(|follow| {
        is_current(follow)
            || anew.contains(&follow.identity())
            || newest.is_some_and(|newest| is_later(follow, newest))
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
