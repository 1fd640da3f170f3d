//! Writes the files that are generated from code and committed.

use std::path::PathBuf;

use anyhow::Context as _;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Writes `docs/EVENTS.md`.
pub(crate) fn write() -> anyhow::Result<()> {
    let path = root().join("docs/EVENTS.md");
    std::fs::write(&path, palisade_event::catalogue_markdown())
        .with_context(|| format!("cannot write {}", path.display()))
}
