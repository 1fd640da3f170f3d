//! What a store's folders say without opening an index.

use std::io;
use std::path::Path;

use palisade_event::Day;

use super::super::day;

/// One day.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DaySurvey {
    /// The name of its folder; other than a day's where it was put aside.
    pub folder: String,
    /// Events in its index.
    pub events: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Segments of its index.
    pub segments: u64,
    /// Files of ready aggregates.
    pub ready: u64,
    /// Whether queries see it.
    pub in_use: bool,
}

/// Reads the figures of every folder, oldest first. Works while the store is open.
///
/// # Errors
/// The directory cannot be read.
pub fn survey(store: &Path) -> io::Result<Vec<DaySurvey>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(store.join("days")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(folder) = entry.file_name().into_string() else { continue };
        let in_use = folder.parse::<Day>().is_ok();
        // A day may go, or be without a readable list of segments, at any time.
        let figures = day::figures(&entry.path()).ok().flatten().unwrap_or_default();
        let files = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        let mut survey = DaySurvey {
            folder,
            events: figures.events,
            bytes: 0,
            segments: figures.segments as u64,
            ready: 0,
            in_use,
        };
        for file in files {
            survey.bytes += file.metadata().map_or(0, |metadata| metadata.len());
            let end = file.path().extension().map(std::ffi::OsStr::to_owned);
            survey.ready += u64::from(end.is_some_and(|end| end == "ready" || end == "asked"));
        }
        found.push(survey);
    }
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(found)
}

/// The folders of days that queries see, oldest first.
pub(super) fn days(store: &Path) -> io::Result<Vec<Day>> {
    let surveyed = survey(store)?;
    Ok(surveyed.iter().filter_map(|day| day.folder.parse().ok()).collect())
}
