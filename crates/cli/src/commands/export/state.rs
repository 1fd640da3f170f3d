//! What an export has to know to go on after it broke off, beside its file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use palisade_store::query::Cursor;
use serde::{Deserialize, Serialize};

use crate::args::RowFormat;

/// The version of the state file.
pub(super) const VERSION: u32 = 1;

/// How far an export is. Written after the rows it speaks of are durable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) version: u32,
    /// The query as it was typed.
    pub(super) asked: String,
    /// The query with absolute times.
    pub(super) query: String,
    pub(super) format: RowFormat,
    /// The place of the last event that was written.
    pub(super) cursor: Option<Cursor>,
    pub(super) events: u64,
    /// Bytes of the `.part` file that are good.
    pub(super) bytes: u64,
    /// Finished pieces of a Parquet file.
    pub(super) parts: u32,
}

/// `<file>.<end>`.
pub(super) fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

impl State {
    /// Reads the state beside `file`; `None` where there is none.
    pub(super) fn load(file: &Path) -> anyhow::Result<Option<Self>> {
        let path = beside(file, ".part.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let state: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not the state of an export", path.display()))?;
        if state.version != VERSION {
            bail!("{} is of another version of palisade; remove it", path.display());
        }
        Ok(Some(state))
    }

    /// Writes it, so that it is the old one or the new one.
    pub(super) fn save(&self, file: &Path) -> anyhow::Result<()> {
        let (path, new) = (beside(file, ".part.json"), beside(file, ".part.json.new"));
        let written = || {
            let mut out = std::fs::File::create(&new)?;
            std::io::Write::write_all(&mut out, &serde_json::to_vec(self)?)?;
            out.sync_all()?;
            std::fs::rename(&new, &path)
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes it.
    pub(super) fn remove(file: &Path) -> anyhow::Result<()> {
        let path = beside(file, ".part.json");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}
