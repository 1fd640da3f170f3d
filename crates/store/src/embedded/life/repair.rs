//! Makes damaged days whole again from what can be read of them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use palisade_event::Day;
use tantivy::TantivyError;

use super::super::day;
use super::replace::{Replacement, rename, resume};
use super::salvage::salvage;
use super::{Checked, Step, survey};
use crate::{Config, OpenError};

/// What became of a day.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RepairedDay {
    /// The day.
    pub day: String,
    /// Events that its new index has.
    pub events: u64,
    /// Events that could not be read. Where a list of segments is gone, what
    /// its segments held is all that is known.
    pub lost: u64,
    /// Where the damaged files are now. They are never removed.
    pub kept: Vec<PathBuf>,
}

/// Writes every day anew that `checked` has a finding about, from what can be
/// read of it and of folders of that day that were put aside before. The
/// damaged folders stay, as `<day>.damaged`. Needs about 40 bytes of memory an
/// event of the largest of these days, and disk for it twice.
///
/// # Errors
/// [`OpenError`]: a folder cannot be read or written; what was not repaired is
/// as it was.
pub fn repair(
    store: &Path,
    config: &Config,
    checked: &Checked,
    progress: &mut dyn FnMut(Step),
) -> Result<Vec<RepairedDay>, OpenError> {
    let fail = |reason: String| OpenError { path: store.to_owned(), reason };
    let days_dir = store.join("days");
    resume(&days_dir).map_err(|error| fail(error.to_string()))?;
    let folders = survey::survey(store).map_err(|error| fail(error.to_string()))?;
    let damaged: HashSet<Day> =
        checked.findings.iter().filter_map(|f| of(f.folder.as_deref()?)).collect();
    let mut days: Vec<Day> = damaged.into_iter().collect();
    days.sort();
    let total = folders.iter().filter(|f| of(&f.folder).is_some_and(|day| days.contains(&day)));
    let total = total.map(|folder| folder.events).sum();
    let mut repaired = Vec::new();
    let mut before = 0;
    for day in days {
        let of_day = |name: &str| of(name) == Some(day) && !name.ends_with("damaged");
        let sources: Vec<PathBuf> = folders
            .iter()
            .filter(|folder| of_day(&folder.folder))
            .map(|folder| days_dir.join(&folder.folder))
            .collect();
        let mut step = |events| progress(Step { day, events: before + events, of: total });
        let done = one_day(&days_dir, day, &sources, config, &mut step);
        let done = done.map_err(|error| fail(format!("cannot repair {day}: {error}")))?;
        before += done.events + done.lost;
        repaired.push(done);
    }
    Ok(repaired)
}

/// The day of a folder, also of one that was put aside.
fn of(folder: &str) -> Option<Day> {
    folder.split('.').next()?.parse().ok()
}

fn one_day(
    days_dir: &Path,
    day: Day,
    sources: &[PathBuf],
    config: &Config,
    step: &mut dyn FnMut(u64),
) -> Result<RepairedDay, TantivyError> {
    let dir = days_dir.join(day.to_string());
    let mut new = Replacement::begin(&dir, config.writer_memory_bytes)?;
    let mut ids = HashSet::new();
    let mut done = RepairedDay { day: day.to_string(), events: 0, lost: 0, kept: Vec::new() };
    for source in sources {
        let read = salvage(source, day, |event| {
            if ids.insert(event.id) {
                new.add(&event)?;
                done.events += 1;
                if done.events.is_multiple_of(10_000) {
                    step(done.events);
                }
            }
            Ok::<_, TantivyError>(())
        })?;
        done.lost += read.lost;
    }
    let aside = free_name(days_dir, day);
    let had_day = dir.exists();
    new.finish(&aside)?;
    if had_day {
        done.kept.push(aside);
    }
    for source in sources.iter().filter(|source| **source != dir) {
        let to = free_name(days_dir, day);
        rename(source, &to)?;
        done.kept.push(to);
    }
    // A day of which nothing could be read is no day.
    if done.events == 0 && day::figures(&dir)?.is_none_or(|figures| figures.events == 0) {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(done)
}

/// A name for a damaged folder that no other has.
fn free_name(days_dir: &Path, day: Day) -> PathBuf {
    let name = |number: u32| match number {
        0 => days_dir.join(format!("{day}.damaged")),
        number => days_dir.join(format!("{day}.{number}.damaged")),
    };
    (0..1_000).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(1_000))
}
