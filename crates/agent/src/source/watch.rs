//! Wakes a file source when something may have changed, by inotify: the
//! followed files themselves, and every folder on the way to the path, so that
//! creation, renaming, deletion, changed permissions and a changed symbolic
//! link are all seen. What the events say is used for one thing alone: where
//! files went that were the log. For the rest the source examines.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::io::unix::AsyncFd;

use super::departed::{Departed, Departures};
use crate::cursor::FileKey;

/// Buffer for events, in bytes.
const EVENT_BYTES: usize = 16 * 1024;
/// Most buffers of events that are taken before the source looks.
const MAX_READS: usize = 256;
/// Longest chain of symbolic links that is followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// Watches of one source.
pub(super) struct Watch {
    inotify: AsyncFd<Inotify>,
    buffer: Vec<u8>,
    watches: Watches,
    folders: BTreeMap<PathBuf, WatchDescriptor>,
    above: BTreeMap<PathBuf, WatchDescriptor>,
    files: BTreeMap<FileKey, WatchDescriptor>,
    departures: Departures<WatchDescriptor>,
    /// Events came that no look has followed yet.
    pending: bool,
}

impl Watch {
    #[allow(
        deprecated,
        reason = "its successor is unsafe code; what it asks for is given: the descriptor is Inotify's own and stays the same"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        Ok(Self {
            watches: inotify.watches(),
            inotify: AsyncFd::new(inotify)?,
            buffer: vec![0; EVENT_BYTES],
            folders: BTreeMap::new(),
            above: BTreeMap::new(),
            files: BTreeMap::new(),
            departures: Departures::new(),
            pending: false,
        })
    }

    /// Watches every folder that decides what `path` is. To be called before
    /// the path is looked at, so that no change falls between. Blocks.
    pub(super) fn folders_of(&mut self, path: &Path) -> io::Result<()> {
        let mut way = Way::to(path);
        // A folder may have come while its parent was not watched yet.
        for _ in 0..MAX_LINKS {
            self.watch(&way)?;
            let now = Way::to(path);
            if now == way {
                break;
            }
            way = now;
        }
        let place = way.place.and_then(|(folder, name)| {
            self.folders.get(&folder).map(|watch| (watch.clone(), name))
        });
        self.departures.set_place(place);
        Ok(())
    }

    fn watch(&mut self, way: &Way) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut old = std::mem::take(&mut self.folders);
        let mut error = None;
        for folder in &way.folders {
            // Adding again is harmless, and right where the folder is a new one
            // of the same name.
            match self.watches.add(folder, mask) {
                Ok(watch) => {
                    self.folders.insert(folder.clone(), watch);
                }
                Err(failed) => error = Some(failed),
            }
        }
        old.append(&mut std::mem::take(&mut self.above));
        let mask = WatchMask::MOVE_SELF
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::MASK_ADD;
        for folder in &way.above {
            // A folder that is removed while a deleted file of it is open tells
            // of that only when the file is closed; its parent tells at once.
            let is_parent = way.folders.iter().any(|below| below.parent() == Some(folder));
            let mask = if is_parent { mask | WatchMask::DELETE } else { mask };
            // One that cannot be watched is no reason not to read the log.
            if let Ok(watch) = self.watches.add(folder, mask) {
                self.above.insert(folder.clone(), watch);
            }
        }
        for watch in old.into_values() {
            let used = |other: &WatchDescriptor| *other == watch;
            if !self.folders.values().any(used) && !self.above.values().any(used) {
                // Fails where the folder is gone, and the watch with it.
                let _ = self.watches.remove(watch);
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

    /// Waits until something may have changed since [`Self::begin`]. Cancel-safe.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        while !self.pending {
            let mut ready = self.inotify.readable_mut().await?;
            let (buffer, departures) = (&mut self.buffer, &mut self.departures);
            let read = ready.try_io(|fd| take(fd.get_mut(), buffer, departures));
            match read {
                Ok(taken) => self.pending |= taken?,
                // Spurious; wait again.
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// A look begins: what has happened until now it will see.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.drain()?;
        self.pending = false;
        Ok(())
    }

    /// Takes note of the events that are there, without waiting. The kernel
    /// queues an event before the call that caused it returns.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        for _ in 0..MAX_READS {
            match take(self.inotify.get_mut(), &mut self.buffer, &mut self.departures) {
                Ok(taken) => self.pending |= taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // More events than that: this look goes on, another one follows.
        self.pending = true;
        Ok(())
    }

    /// Whether what is the log now became it while its folder was watched.
    pub(super) fn is_new(&self) -> bool {
        self.departures.is_new()
    }

    /// Files that were the log and were renamed, with their paths; the oldest
    /// first.
    pub(super) fn departed(&mut self) -> Vec<(Departed<WatchDescriptor>, PathBuf)> {
        let mut found = Vec::new();
        for departed in self.departures.list() {
            let folder = self.folders.iter().find(|(_, watch)| **watch == departed.folder);
            match folder {
                Some((folder, _)) => {
                    let path = folder.join(&departed.name);
                    found.push((departed, path));
                }
                // Its folder is not on the way any more.
                None => self.departures.settle(departed.id),
            }
        }
        found
    }

    /// Whether, after another [`Self::drain`], it is still there.
    pub(super) fn is_still(&self, departed: &Departed<WatchDescriptor>) -> bool {
        self.departures.is_still(departed)
    }

    /// It is open, or never will be.
    pub(super) fn settle(&mut self, departed: &Departed<WatchDescriptor>) {
        self.departures.settle(departed.id);
    }
}

/// Reads events once, without waiting; whether there were any.
fn take(
    inotify: &mut Inotify,
    buffer: &mut [u8],
    departures: &mut Departures<WatchDescriptor>,
) -> io::Result<bool> {
    let mut any = false;
    for event in inotify.read_events(buffer)? {
        any = true;
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            // Renamed files are then found by their names and times.
            tracing::debug!("inotify's queue overflowed; everything is examined anyway");
        }
        if let Some(name) = event.name {
            departures.note(event.mask, &event.wd, name, event.cookie);
        }
    }
    Ok(any)
}

/// What decides what a path is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    /// The nearest existing folder above the path, above every symbolic link on
    /// the way to it, and above their targets.
    folders: BTreeSet<PathBuf>,
    /// All folders further up: renaming one changes the path too.
    above: BTreeSet<PathBuf>,
    /// Folder and name of the file itself.
    place: Option<(PathBuf, OsString)>,
}

impl Way {
    /// Blocks.
    fn to(path: &Path) -> Self {
        let mut way = Self::default();
        let mut path = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            match way.first_link(&path) {
                Some(resolved) => path = resolved,
                None => break,
            }
        }
        way.above.retain(|folder| !way.folders.contains(folder));
        way
    }

    /// Walks down `path` to the first symbolic link; what the path is behind it.
    fn first_link(&mut self, path: &Path) -> Option<PathBuf> {
        self.place = None;
        let mut steps: Vec<&Path> =
            path.ancestors().filter(|step| *step != Path::new("")).collect();
        steps.reverse();
        for step in steps {
            let parent = step.parent();
            let is_file = step == path;
            match std::fs::symlink_metadata(step) {
                Ok(metadata) if metadata.is_symlink() => {
                    let parent = parent?;
                    self.folders.insert(parent.to_path_buf());
                    let target = parent.join(std::fs::read_link(step).ok()?);
                    let rest = path.strip_prefix(step).ok()?;
                    return Some(if is_file { target } else { target.join(rest) });
                }
                Ok(_) if !is_file => {
                    self.above.insert(step.to_path_buf());
                }
                Ok(_) => self.arrive(step),
                Err(_) => {
                    // It does not exist, or may not be seen.
                    match is_file {
                        true => self.arrive(step),
                        false => self.folders.extend(parent.map(Path::to_path_buf)),
                    }
                    return None;
                }
            }
        }
        None
    }

    fn arrive(&mut self, file: &Path) {
        if let (Some(folder), Some(name)) = (file.parent(), file.file_name()) {
            self.folders.insert(folder.to_path_buf());
            self.place = Some((folder.to_path_buf(), name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_decides_is_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("real/deep")).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::os::unix::fs::symlink("../../file", at("real/deep/log")).unwrap();
        let way = Way::to(&at("link/deep/log"));
        for name in ["", "real/deep"] {
            assert!(way.folders.contains(&at(name).join("")), "{name}: {way:?}");
        }
        assert!(way.above.contains(&at("real")));
        assert!(way.above.contains(Path::new("/")));
        let (place, name) = way.place.unwrap();
        assert_eq!(place.canonicalize().unwrap(), folder.path().canonicalize().unwrap());
        assert_eq!(name, "file");
    }

    #[test]
    fn the_nearest_folder_stands_for_those_that_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let way = Way::to(&folder.path().join("a/b/log"));
        assert!(way.folders.contains(folder.path()));
        assert_eq!(way.place, None);
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::os::unix::fs::symlink(&a, &b).unwrap();
        std::os::unix::fs::symlink(&b, &a).unwrap();
        assert!(Way::to(&a.join("log")).folders.contains(folder.path()));
    }
}
