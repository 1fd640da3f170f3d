//! Puts a new index in the place of a day's, so that a crash at any moment
//! leaves the old one or the new one.
//!
//! The new one is written in `<day>.new`, made durable, renamed to
//! `<day>.complete`; then the old one gets another name and the new one the
//! day's. [`resume`] finishes or undoes what a crash left.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use palisade_event::{Day, Event};
use tantivy::TantivyError;

use super::super::day;
use super::super::day_writer::{DayWriter, Purpose};

const NEW: &str = "new";
const COMPLETE: &str = "complete";
/// The end of the name of what an upgrade has replaced; removed once the new
/// one is in its place.
pub(super) const REPLACED: &str = "replaced";

/// A new index for a day.
pub(super) struct Replacement {
    dir: PathBuf,
    new: PathBuf,
    writer: DayWriter,
}

impl Replacement {
    /// Begins beside the day's folder `dir`, which need not be there.
    pub(super) fn begin(dir: &Path, memory_bytes: usize) -> Result<Self, TantivyError> {
        let new = dir.with_extension(NEW);
        if new.exists() {
            std::fs::remove_dir_all(&new)?;
        }
        let writer = DayWriter::open(&new, Purpose::Once, memory_bytes)?;
        Ok(Self { dir: dir.to_owned(), new, writer })
    }

    pub(super) fn add(&mut self, event: &Event) -> Result<(), TantivyError> {
        self.writer.add(event)
    }

    /// Makes it durable and puts it in the day's place; the old folder then
    /// has the name `aside`.
    pub(super) fn finish(mut self, aside: &Path) -> Result<(), TantivyError> {
        self.writer.commit()?;
        let segments = day::open_index(&self.new)?.searchable_segment_ids()?;
        if segments.len() > 1 {
            self.writer.merge(&segments).wait()?;
            self.writer.clean()?;
        }
        self.writer.close()?;
        for entry in std::fs::read_dir(&self.new)? {
            File::open(entry?.path())?.sync_all()?;
        }
        File::open(&self.new)?.sync_all()?;
        let complete = self.dir.with_extension(COMPLETE);
        if complete.exists() {
            std::fs::remove_dir_all(&complete)?;
        }
        rename(&self.new, &complete)?;
        if self.dir.exists() {
            rename(&self.dir, aside)?;
        }
        rename(&complete, &self.dir)?;
        Ok(())
    }
}

/// Renames durably.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    let parent = to.parent().ok_or_else(|| io::Error::other("a folder has no parent"))?;
    File::open(parent)?.sync_all()
}

/// Finishes or undoes replacements that a crash interrupted.
pub(super) fn resume(days: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(days)? {
        let path = entry?.path();
        let name = |path: &Path| path.file_stem().and_then(|s| s.to_str()).map(str::to_owned);
        let Some(day) = name(&path).and_then(|name| name.parse::<Day>().ok()) else { continue };
        let dir = days.join(day.to_string());
        match path.extension().and_then(|end| end.to_str()) {
            Some(COMPLETE) if !dir.exists() => rename(&path, &dir)?,
            // The old one is in its place, so the work begins again.
            Some(COMPLETE | NEW) => std::fs::remove_dir_all(&path)?,
            _ => {}
        }
    }
    // Only now: the day of what was replaced is certainly there.
    for entry in std::fs::read_dir(days)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == REPLACED) {
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}
