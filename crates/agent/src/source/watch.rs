//! Wakes a file source when something may have changed, by inotify: the
//! followed files themselves, and every folder on the way to the path, so that
//! creation, renaming, deletion, changed permissions and a changed symbolic
//! link are all seen. What happened is not looked at: the source examines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use crate::cursor::FileKey;

/// Buffer for events, in bytes.
const EVENT_BYTES: usize = 16 * 1024;
/// Most events that are taken together before the source looks.
const MAX_COALESCED: usize = 4096;
/// Longest chain of symbolic links that is followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// Watches of one source.
pub(super) struct Watch {
    events: EventStream<Vec<u8>>,
    watches: Watches,
    folders: BTreeMap<PathBuf, WatchDescriptor>,
    files: BTreeMap<FileKey, WatchDescriptor>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; EVENT_BYTES])?;
        Ok(Self { events, watches, folders: BTreeMap::new(), files: BTreeMap::new() })
    }

    /// Watches every folder that decides what `path` is. To be called before
    /// the path is looked at, so that no change falls between.
    pub(super) fn folders_of(&mut self, path: &Path) -> io::Result<()> {
        // A folder may have come while its parent was not watched yet.
        for _ in 0..MAX_LINKS {
            let wanted = folders(path);
            self.watch(wanted.clone())?;
            if folders(path) == wanted {
                break;
            }
        }
        Ok(())
    }

    fn watch(&mut self, wanted: BTreeSet<PathBuf>) -> io::Result<()> {
        let gone: Vec<PathBuf> =
            self.folders.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in gone {
            if let Some(watch) = self.folders.remove(&folder) {
                // Fails where the folder is gone, and the watch with it.
                let _ = self.watches.remove(watch);
            }
        }
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut error = None;
        for folder in wanted {
            // Adding again is harmless, and right where the folder is a new one
            // of the same name.
            match self.watches.add(&folder, mask) {
                Ok(watch) => {
                    self.folders.insert(folder, watch);
                }
                Err(failed) => error = Some(failed),
            }
        }
        match error {
            // One folder that can be watched is enough to be woken.
            Some(error) if self.folders.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Watches an open file, whatever its name is by now.
    pub(super) fn file(&mut self, key: FileKey, file: &File) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mask =
            WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF;
        let watch = self.watches.add(path, mask)?;
        self.files.insert(key, watch);
        Ok(())
    }

    /// Stops watching a file.
    pub(super) fn forget(&mut self, key: FileKey) {
        let Some(watch) = self.files.remove(&key) else { return };
        // The same inode may be followed anew, under the same watch.
        if !self.files.values().any(|other| *other == watch) {
            let _ = self.watches.remove(watch);
        }
    }

    /// Waits until something may have changed. Cancel-safe.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        let first = self.events.next().await;
        match first {
            Some(Ok(event)) => self.note(event.mask),
            Some(Err(error)) => return Err(error),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        for _ in 0..MAX_COALESCED {
            match self.events.next().now_or_never() {
                Some(Some(Ok(event))) => self.note(event.mask),
                _ => break,
            }
        }
        Ok(())
    }

    /// A watch that the kernel has removed need not be removed again.
    fn note(&mut self, mask: EventMask) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            tracing::debug!("inotify's queue overflowed; everything is examined anyway");
        }
    }
}

/// The nearest existing folder above `path` and above every target on the way
/// where it is a symbolic link.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let mut folder = path.parent();
        while let Some(candidate) = folder {
            if candidate.is_dir() {
                folders.insert(candidate.to_path_buf());
                break;
            }
            folder = candidate.parent();
        }
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = match path.parent() {
            Some(parent) => parent.join(target),
            None => target,
        };
    }
    folders
}
