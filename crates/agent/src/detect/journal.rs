//! Orders of the hub that are carried out and not yet in the state on disk: a
//! file beside it, a page a line. So an agent that is killed while its hub is
//! away keeps out whom it was told to, and takes nobody out of the firewall.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_event::{DecisionChange, DecisionFeed, MAX_FEED_BYTES};
use serde::Serialize;

/// Most bytes of the file; what does not fit comes again from the hub.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What is kept of a page.
#[derive(Serialize)]
struct Kept<'p> {
    cursor: u64,
    changes: &'p [DecisionChange],
}

/// See the module.
pub(super) struct Journal {
    path: PathBuf,
    file: Option<Arc<File>>,
    bytes: u64,
    /// As many are in the state that is being written.
    marked: u64,
    /// Something did not fit in; nothing more is taken until the state is written.
    is_full: bool,
    syncs: Arc<Syncs>,
}

/// Brings files to the disk on another thread, one at a time: while one is on its
/// way, what comes waits as one.
#[derive(Default)]
struct Syncs(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    is_running: bool,
    file: Option<Arc<File>>,
}

impl Syncs {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(self: &Arc<Self>, file: Arc<File>) {
        let mut waiting = self.waiting();
        waiting.file = Some(file);
        if std::mem::replace(&mut waiting.is_running, true) {
            return;
        }
        let syncs = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            while let Some(file) = syncs.next() {
                if let Err(error) = file.sync_data() {
                    tracing::error!(%error, "orders of the hub cannot be synced");
                }
            }
        });
    }

    fn next(&self) -> Option<Arc<File>> {
        let mut waiting = self.waiting();
        let file = waiting.file.take();
        waiting.is_running = file.is_some();
        file
    }
}

impl Journal {
    /// Opens it, and gives what it has, page by page in their order. A line that
    /// a crash has cut is none. Blocks.
    pub(super) fn open(folder: &Path, take: impl FnMut(DecisionFeed)) -> Self {
        let path = folder.join("orders.log");
        let mut journal = Self {
            path: path.clone(),
            file: None,
            bytes: 0,
            marked: 0,
            is_full: false,
            syncs: Arc::default(),
        };
        match read(&path, take) {
            Ok((file, bytes)) => {
                journal.file = Some(Arc::new(file));
                journal.bytes = bytes;
            }
            Err(error) => journal.failed(&error),
        }
        journal
    }

    /// Writes down what is about to be carried out. What was written outlives
    /// this process; it is on the disk a moment later.
    pub(super) fn note(&mut self, cursor: u64, changes: &[DecisionChange]) {
        let Some(file) = self.file.clone().filter(|_| !changes.is_empty()) else { return };
        let Ok(mut line) = serde_json::to_vec(&Kept { cursor, changes }) else { return };
        line.push(b'\n');
        // What comes after something that is left out is left out as well.
        self.is_full |= self.bytes + line.len() as u64 > MAX_BYTES;
        if self.is_full {
            return;
        }
        match (&*file).write_all(&line) {
            Ok(()) => {
                self.bytes += line.len() as u64;
                self.syncs.ask(file);
            }
            Err(error) => {
                self.failed(&error);
                // No part of a line may stand before the next one.
                if let Err(error) = file.set_len(self.bytes) {
                    self.failed(&error);
                    self.file = None;
                }
            }
        }
    }

    /// Whether it wants the state to be written, because nothing more fits in.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// What is in it now is in the state that is about to be written.
    pub(super) fn mark(&mut self) {
        self.marked = self.bytes;
    }

    /// That state is on disk: what was marked goes. Blocks for a moment: what
    /// came meanwhile is little.
    pub(super) fn forget(&mut self) {
        let Some(file) = self.file.clone().filter(|_| self.marked > 0) else { return };
        match cut(&self.path, &file, self.marked) {
            Ok((file, bytes)) => {
                self.file = Some(Arc::new(file));
                (self.bytes, self.marked, self.is_full) = (bytes, 0, false);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &io::Error) {
        tracing::error!(%error, path = %self.path.display(), "orders of the hub cannot be written down; after a crash they come again from the hub");
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().create(true).read(true).append(true).open(path)
}

/// Reads the pages, and cuts off what is no whole line.
fn read(path: &Path, mut take: impl FnMut(DecisionFeed)) -> io::Result<(File, u64)> {
    let file = create(path)?;
    let mut reader = BufReader::new(file.try_clone()?.take(MAX_BYTES));
    let (mut line, mut bytes) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.by_ref().take(2 * MAX_FEED_BYTES as u64).read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else { break };
        let Ok(page) = DecisionFeed::decode(text) else { break };
        take(page);
        bytes += read as u64;
    }
    file.set_len(bytes)?;
    Ok((file, bytes))
}

/// A file without its first bytes, in its place.
fn cut(path: &Path, file: &File, from: u64) -> io::Result<(File, u64)> {
    let mut old = file.try_clone()?;
    old.seek(SeekFrom::Start(from))?;
    let temporary = path.with_extension("tmp");
    let _ = fs::remove_file(&temporary);
    let mut new = create(&temporary)?;
    let bytes = io::copy(&mut old.take(MAX_BYTES), &mut new)?;
    new.sync_data()?;
    fs::rename(&temporary, path)?;
    Ok((new, bytes))
}

#[cfg(test)]
mod tests {
    use palisade_event::{Change, Lift, Timestamp};

    use super::*;

    fn change(seq: u64) -> DecisionChange {
        let lift = Lift {
            target: format!("192.0.2.{seq}").parse().unwrap(),
            by: "admin".into(),
            at: Timestamp::from_millis(1_795_000_000_000),
            reason: None,
        };
        DecisionChange { seq, change: Change::Lifted(lift) }
    }

    fn cursors(folder: &Path) -> Vec<u64> {
        open(folder).1.iter().map(|page| page.cursor).collect()
    }

    fn open(folder: &Path) -> (Journal, Vec<DecisionFeed>) {
        let mut pages = Vec::new();
        let journal = Journal::open(folder, |page| pages.push(page));
        (journal, pages)
    }

    #[tokio::test]
    async fn what_was_noted_is_there_until_the_state_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, pages) = open(folder.path());
        assert!(pages.is_empty());
        journal.note(1, &[change(1)]);
        journal.note(2, &[]);
        journal.note(3, &[change(2), change(3)]);
        assert_eq!(cursors(folder.path()), [1, 3]);
        journal.mark();
        journal.note(4, &[change(4)]);
        journal.forget();
        journal.note(5, &[change(5)]);
        assert_eq!(cursors(folder.path()), [4, 5]);
        // A state that could not be written takes nothing along.
        journal.mark();
        assert_eq!(cursors(folder.path()), [4, 5]);
        let pages = open(folder.path()).1;
        assert_eq!(pages[0].changes, [change(4)]);
    }

    #[tokio::test]
    async fn a_line_that_a_crash_has_cut_is_none_and_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path());
        journal.note(1, &[change(1)]);
        journal.note(2, &[change(2)]);
        let path = folder.path().join("orders.log");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 7]).unwrap();
        let (mut journal, pages) = open(folder.path());
        assert_eq!(pages.len(), 1);
        journal.note(3, &[change(3)]);
        assert_eq!(cursors(folder.path()), [1, 3]);
    }
}
