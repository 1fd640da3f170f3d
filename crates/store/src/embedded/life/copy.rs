//! Copies a store while it is open.
//!
//! Segment files never change, so on the same disk a copy is a hard link, and
//! a file that the copy before has already is one too. A day's list of
//! segments is read under the lock that keeps their files from being removed.

use std::io;
use std::path::{Path, PathBuf};

use tantivy::directory::{Directory as _, META_LOCK};

use super::super::day;
use super::survey;

/// What a copy took.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Copied {
    /// Files in all.
    pub files: u64,
    /// Files that share their bytes with the store or the copy before.
    pub linked: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// Copies the store in `from` to the new folder `to`. `before` is an earlier
/// copy on the same disk as `to`.
///
/// # Errors
/// A file cannot be read or written. Days that go meanwhile are no error.
pub fn copy(from: &Path, to: &Path, before: Option<&Path>) -> io::Result<Copied> {
    let mut done = Copied::default();
    std::fs::create_dir_all(to.join("days"))?;
    for day in survey::survey(from)?.into_iter().filter(|day| day.in_use) {
        let place = |root: &Path| root.join("days").join(&day.folder);
        let (source, target) = (place(from), place(to));
        match one_day(&source, &target, before.map(place).as_deref(), &mut done) {
            Ok(()) => {}
            Err(_) if !source.exists() => std::fs::remove_dir_all(&target)?,
            Err(error) => return Err(error),
        }
    }
    for file in ["format", "floor"].into_iter().filter(|file| from.join(file).exists()) {
        std::fs::copy(from.join(file), to.join(file))?;
    }
    Ok(done)
}

fn one_day(from: &Path, to: &Path, before: Option<&Path>, done: &mut Copied) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    // A day that cannot be opened is copied as it is.
    let index = day::open_index(from).ok();
    let lock = index.as_ref().and_then(|index| index.directory().acquire_lock(&META_LOCK).ok());
    let listed: Option<Vec<String>> = index.as_ref().and_then(|index| {
        let ids = index.searchable_segment_ids().ok()?;
        Some(ids.iter().map(tantivy::index::SegmentId::uuid_string).collect())
    });
    let mut small = Vec::new();
    for entry in std::fs::read_dir(from)? {
        let name = PathBuf::from(entry?.file_name());
        let text = name.to_string_lossy();
        if text.starts_with(".tantivy") || text.starts_with(".tmp") {
            continue;
        }
        let unchanging =
            name.extension().is_some_and(|end| end != "json") && !text.starts_with('.');
        if !unchanging {
            small.push(name);
            continue;
        }
        // Ready aggregates are named after their segment, too.
        let segment = text.split('.').next().unwrap_or_default();
        let wanted = listed.as_ref().is_none_or(|ids| ids.iter().any(|id| id == segment));
        if !wanted {
            continue;
        }
        take(from, to, before, &name, done)?;
    }
    for name in small {
        let bytes = std::fs::copy(from.join(&name), to.join(&name))?;
        done.files += 1;
        done.bytes += bytes;
    }
    drop(lock);
    for entry in std::fs::read_dir(to)? {
        std::fs::File::open(entry?.path())?.sync_all()?;
    }
    std::fs::File::open(to)?.sync_all()
}

fn take(
    from: &Path,
    to: &Path,
    before: Option<&Path>,
    name: &Path,
    done: &mut Copied,
) -> io::Result<()> {
    let (source, target) = (from.join(name), to.join(name));
    done.files += 1;
    if std::fs::hard_link(&source, &target).is_ok() {
        done.linked += 1;
        return Ok(());
    }
    let length = source.metadata()?.len();
    if let Some(earlier) = before.map(|before| before.join(name))
        && earlier.metadata().is_ok_and(|metadata| metadata.len() == length)
        && std::fs::hard_link(&earlier, &target).is_ok()
    {
        done.linked += 1;
        return Ok(());
    }
    done.bytes += std::fs::copy(&source, &target)?;
    Ok(())
}
