//! Watches on folders by inotify, bounded; a folder beyond the bound is seen by the
//! sweep alone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

/// Buffer for events, in bytes.
const EVENT_BYTES: usize = 16 * 1024;

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something happened to these.
    Paths(Vec<PathBuf>),
    /// So much happened that the kernel dropped some of it.
    TooMuch,
    /// Nothing will be heard any more.
    Failed(io::Error),
}

/// The watches.
pub(super) struct Watches {
    inotify: AsyncFd<Inotify>,
    watches: inotify::Watches,
    folders: HashMap<WatchDescriptor, PathBuf>,
    known: HashSet<PathBuf>,
    buffer: Vec<u8>,
    most: usize,
    told: bool,
}

impl Watches {
    #[allow(
        deprecated,
        reason = "its successor is unsafe code; what it asks for is given: the descriptor is Inotify's own and stays the same"
    )]
    pub(super) fn new(most: usize) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        Ok(Self {
            watches: inotify.watches(),
            inotify: AsyncFd::new(inotify)?,
            folders: HashMap::new(),
            known: HashSet::new(),
            buffer: vec![0; EVENT_BYTES],
            most,
            told: false,
        })
    }

    /// Watches more folders.
    pub(super) fn add(&mut self, folders: Vec<PathBuf>) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW;
        let (mut left_out, mut reason) = (0usize, None);
        for folder in folders {
            if self.known.contains(&folder) {
                continue;
            }
            if self.known.len() >= self.most {
                left_out += 1;
                continue;
            }
            match self.watches.add(&folder, mask) {
                Ok(watch) => {
                    self.folders.insert(watch, folder.clone());
                    self.known.insert(folder);
                }
                // Gone meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    left_out += 1;
                    reason = Some(error);
                }
            }
        }
        if left_out > 0 && !self.told {
            self.told = true;
            tracing::warn!(
                folders = left_out,
                reason = reason.as_ref().map(ToString::to_string),
                "some folders are not watched for immediate changes (max_watches, fs.inotify.max_user_watches); the daily look sees them"
            );
        }
    }

    /// Waits until something is heard. May be dropped while it waits.
    pub(super) async fn heard(&mut self) -> Heard {
        loop {
            let mut ready = match self.inotify.readable_mut().await {
                Ok(ready) => ready,
                Err(error) => return Heard::Failed(error),
            };
            let buffer = &mut self.buffer;
            let got = ready.try_io(|inotify| {
                let events = inotify.get_mut().read_events(buffer)?;
                Ok(events
                    .map(|e| (e.wd, e.mask, e.name.map(ToOwned::to_owned)))
                    .collect::<Vec<_>>())
            });
            let events = match got {
                Err(_would_block) => continue,
                Ok(Err(error)) => return Heard::Failed(error),
                Ok(Ok(events)) => events,
            };
            let mut paths = Vec::new();
            for (watch, mask, name) in events {
                if mask.contains(EventMask::Q_OVERFLOW) {
                    return Heard::TooMuch;
                }
                if mask.contains(EventMask::IGNORED) {
                    if let Some(folder) = self.folders.remove(&watch) {
                        self.known.remove(&folder);
                    }
                    continue;
                }
                let Some(folder) = self.folders.get(&watch) else { continue };
                paths.push(match name {
                    Some(name) => folder.join(name),
                    None => folder.clone(),
                });
            }
            if !paths.is_empty() {
                return Heard::Paths(paths);
            }
        }
    }
}
