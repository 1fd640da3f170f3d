//! Brings a store of an older format to this one, day by day.
//!
//! The file `format` says `1 to 3` meanwhile, which no version takes for its
//! own, and the number last. A day is done when its columns are those of this
//! format, so a start after a crash goes on where it was. A day of version 2 has
//! all columns but the newest: its list of columns gets longer and its segments
//! stay; their events know nothing in the new ones. A day of version 1 is written anew.

use std::io::Write as _;
use std::path::Path;

use palisade_event::Day;
use tantivy::directory::Directory as _;
use tantivy::{Index, IndexMeta, TantivyError};

use super::super::durable::LIST;
use super::super::{FORMAT, day, schema};
use super::replace::{REPLACED, Replacement, resume};
use super::salvage::salvage;
use super::survey;
use crate::Config;

/// The oldest format that can be read.
const OLDEST: u32 = 1;
/// Free space that stays, in bytes.
const MARGIN_BYTES: u64 = 64 * 1024 * 1024;

/// What the file `format` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// This format.
    Current,
    /// An older one, or one that is being upgraded.
    Older(u32),
    /// One that this version does not know.
    Newer(u32),
}

/// Reads what the file says; `None` where it says nothing that is known.
fn parse(text: &str) -> Option<Found> {
    let number = match text.trim().split_once(" to ") {
        Some((from, to)) => match (from.parse().ok()?, to.parse().ok()?) {
            (from, OLDEST..=FORMAT) => return Some(Found::Older(from)),
            (_, newer) => newer,
        },
        None => text.trim().parse().ok()?,
    };
    Some(match number {
        FORMAT => Found::Current,
        OLDEST..FORMAT => Found::Older(number),
        _ => Found::Newer(number),
    })
}

/// Writes the file `format`, durably.
fn write_format(dir: &Path, text: &str) -> std::io::Result<()> {
    let (new, path) = (dir.join("format.new"), dir.join("format"));
    let mut file = std::fs::File::create(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    std::fs::File::open(dir)?.sync_all()
}

/// Makes the folder of a store one that this version can open: writes the
/// number of the format into a new one, upgrades an older one, finishes what a
/// crash interrupted.
///
/// # Errors
/// One sentence.
pub(in super::super) fn prepare(dir: &Path, config: &Config) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    match std::fs::read_to_string(dir.join("format")) {
        Ok(found) => match parse(&found) {
            Some(Found::Current) => {}
            Some(Found::Older(from)) => upgrade(dir, from, config)?,
            Some(Found::Newer(other)) => {
                return Err(format!(
                    "it has format {other} and this version of palisade reads format {FORMAT} and \
                     older ones; use the version that wrote it, or a newer one"
                ));
            }
            None => return Err("its file 'format' holds no number".to_owned()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_format(dir, &FORMAT.to_string()).map_err(text)?;
        }
        Err(error) => return Err(error.to_string()),
    }
    resume(&dir.join("days")).map_err(text)
}

/// Upgrades the store in `dir` from `from`.
///
/// # Errors
/// One sentence; what was not upgraded is as it was.
fn upgrade(dir: &Path, from: u32, config: &Config) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    write_format(dir, &format!("{from} to {FORMAT}")).map_err(text)?;
    let days_dir = dir.join("days");
    resume(&days_dir).map_err(text)?;
    let days = survey::days(dir).map_err(text)?;
    tracing::info!(from, to = FORMAT, days = days.len(), "upgrading the store");
    for (number, day) in days.iter().enumerate() {
        let path = days_dir.join(day.to_string());
        let done = number + 1;
        match day::open_index(&path) {
            Ok(index) if index.schema() == schema::layout().schema => continue,
            Ok(index) if index.schema() == schema::version_2() => {
                more_columns(&index)
                    .map_err(|error| format!("cannot upgrade the day {day}: {error}"))?;
                continue;
            }
            Ok(_) => {}
            // Opening the store puts it aside.
            Err(error) => {
                tracing::error!(%day, %error, "a day cannot be read and is not upgraded");
                continue;
            }
        }
        let bytes = day::figures(&path).map_err(text)?.unwrap_or_default().bytes;
        room(&path, *day, bytes)?;
        let events = one_day(&path, *day, config)
            .map_err(|error| format!("cannot upgrade the day {day}: {error}"))?;
        tracing::info!(%day, events, done, of = days.len(), "a day of the store is upgraded");
    }
    write_format(dir, &FORMAT.to_string()).map_err(text)?;
    tracing::info!(format = FORMAT, "the store is upgraded");
    Ok(())
}

/// Makes the list of columns of a day that of this format, at once and durably.
fn more_columns(index: &Index) -> Result<(), TantivyError> {
    let list = IndexMeta { schema: schema::layout().schema.clone(), ..index.load_metas()? };
    let json = serde_json::to_vec_pretty(&list)
        .map_err(|error| TantivyError::InternalError(error.to_string()))?;
    index.directory().atomic_write(Path::new(LIST), &json)?;
    Ok(())
}

/// Refuses where the disk has no room for the day twice.
fn room(dir: &Path, day: Day, bytes: u64) -> Result<(), String> {
    let free = rustix::fs::statvfs(dir).map_err(|error| error.to_string())?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    // While a day is merged its new files are there twice.
    let needed = bytes.saturating_mul(5) / 2 + MARGIN_BYTES;
    if free >= needed {
        return Ok(());
    }
    let mega = |bytes: u64| bytes.div_ceil(1024 * 1024);
    Err(format!(
        "it is of an older format, and upgrading the day {day} needs {} MiB of free disk space, \
         of which {} MiB are there; make room and start again (nothing is lost, and days that are \
         upgraded stay so)",
        mega(needed),
        mega(free)
    ))
}

fn one_day(dir: &Path, day: Day, config: &Config) -> Result<u64, TantivyError> {
    let mut new = Replacement::begin(dir, config.writer_memory_bytes)?;
    let read = salvage(dir, day, |event| new.add(&event))?;
    if read.lost > 0 {
        let kept = dir.with_extension("damaged");
        tracing::error!(
            %day, lost = read.lost, kept = %kept.display(),
            "events of a day cannot be read; its old files stay"
        );
        new.finish(&kept)?;
        return Ok(read.events);
    }
    let aside = dir.with_extension(REPLACED);
    new.finish(&aside)?;
    std::fs::remove_dir_all(&aside)?;
    Ok(read.events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_older_or_newer() {
        assert_eq!(parse("3\n"), Some(Found::Current));
        assert_eq!(parse("1\n"), Some(Found::Older(1)));
        assert_eq!(parse("2\n"), Some(Found::Older(2)));
        // Begun by this version, and by one that knew less.
        assert_eq!(parse("1 to 3\n"), Some(Found::Older(1)));
        assert_eq!(parse("1 to 2\n"), Some(Found::Older(1)));
        assert_eq!(parse("4"), Some(Found::Newer(4)));
        assert_eq!(parse("3 to 4"), Some(Found::Newer(4)));
        assert_eq!(parse("0"), Some(Found::Newer(0)));
        assert_eq!(parse("two"), None);
    }
}
