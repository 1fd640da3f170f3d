//! Decisions that wait for the state database, in a file, as the spool that
//! they came from is freed meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use palisade_event::{Event, wire};

/// Longest file that is read and written, in bytes; more than that waits in the spool.
const MAX_WAITING_BYTES: u64 = 256 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Bytes of it; 0 where it is not there.
    file: Arc<Mutex<(PathBuf, u64)>>,
}

impl Waiting {
    pub(super) fn new(path: PathBuf) -> Self {
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { file: Arc::new(Mutex::new((path, bytes))) }
    }

    /// Adds events; durable on return.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn keep(&self, events: Vec<Arc<Event>>) -> Result<(), String> {
        let file = Arc::clone(&self.file);
        let kept = tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut text = Vec::new();
            for event in events {
                text.extend(wire::encode_event(&event));
                text.push(b'\n');
            }
            if file.1 + text.len() as u64 > MAX_WAITING_BYTES {
                return Err(io::Error::other("too many decisions wait"));
            }
            append(&file.0, &text)?;
            file.1 += text.len() as u64;
            Ok(())
        });
        let kept = kept.await.map_err(|error| error.to_string())?;
        kept.map_err(|error| format!("decisions that wait cannot be written: {error}"))
    }

    /// What waits, and how far it was read.
    pub(super) fn take(&self) -> Option<(Vec<Event>, u64)> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.1 == 0 {
            return None;
        }
        match read(&file.0) {
            Ok(events) => Some((events, file.1)),
            Err(error) => {
                tracing::error!(%error, "decisions that wait cannot be read");
                None
            }
        }
    }

    /// What was read is noted: the file goes, unless more has come.
    pub(super) fn done(&self, mark: u64) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.1 != mark {
            return;
        }
        match fs::remove_file(&file.0) {
            Ok(()) => file.1 = 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => file.1 = 0,
            // Noting them again changes nothing.
            Err(error) => tracing::warn!(%error, "decisions that waited cannot be removed"),
        }
    }
}

fn append(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    // The name of a new file is durable with its folder.
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A line that a crash has cut is of an event that is still in the spool.
fn read(path: &Path) -> io::Result<Vec<Event>> {
    let reader = BufReader::new(File::open(path)?.take(MAX_WAITING_BYTES));
    let mut events = Vec::new();
    for line in reader.split(b'\n') {
        if let Ok(event) = wire::decode_event(&line?) {
            events.push(event);
        }
    }
    Ok(events)
}
