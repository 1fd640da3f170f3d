//! How far an import is, in `<file>.import`, so that a second run goes on.
//! Losing it costs time and nothing else: what comes twice counts once.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::Tally;

/// The state of one file's import.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Bytes and time of change of the file; another file begins anew.
    file_bytes: u64,
    changed_ms: u64,
    /// The number of the last row (of a text, line) that is done with.
    pub(super) rows: u64,
    pub(super) tally: Tally,
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl State {
    /// The state of an import that begins.
    pub(super) fn new(file: &Path) -> Self {
        let Ok(metadata) = file.metadata() else { return Self::default() };
        let changed = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let mut name = file.as_os_str().to_owned();
        name.push(".import");
        Self {
            file_bytes: metadata.len(),
            changed_ms: changed
                .and_then(|changed| u64::try_from(changed.as_millis()).ok())
                .unwrap_or_default(),
            path: Some(PathBuf::from(name)),
            ..Self::default()
        }
    }

    /// The state that a run before has left, where it is of this very file.
    pub(super) fn load(file: &Path) -> Self {
        let new = Self::new(file);
        let text = new.path.as_ref().and_then(|path| std::fs::read(path).ok());
        match text.and_then(|text| serde_json::from_slice::<Self>(&text).ok()) {
            Some(old) if (old.file_bytes, old.changed_ms) == (new.file_bytes, new.changed_ms) => {
                Self { path: new.path, ..old }
            }
            _ => new,
        }
    }

    /// Writes it, where that is possible.
    pub(super) fn save(&self) {
        let Some(path) = &self.path else { return };
        let new = path.with_extension("import.new");
        let text = serde_json::to_vec(self).unwrap_or_default();
        if std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }

    /// Removes it: the file is done with.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
