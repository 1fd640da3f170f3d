//! Makes the files that are missing, newest day first, one a call, and removes
//! those whose segment is gone. Nothing that writes or asks waits for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fs, io};

use palisade_event::{Day, Timestamp};
use tantivy::TantivyError;

use super::super::priority::quietly;
use super::super::segment::Segment;
use super::super::{Embedded, day};
use super::build;
use super::desk::always;
use super::file::File;
use super::{ASKED, Ask, DRAFT, READY};

/// Days that did not change are looked at again after this, in milliseconds.
const LOOK_AGAIN_MS: i64 = 10 * 60 * 1000;
/// Most questions that came again whose answers are on disk.
const MAX_ASKED: usize = 64;

/// What is on disk.
#[derive(Default)]
pub(in crate::embedded) struct Kept {
    /// By day: how many events and segments it had when nothing was missing.
    settled: BTreeMap<Day, (u64, usize)>,
    /// By day: the files.
    files: BTreeMap<Day, Vec<OnDisk>>,
    looked: Option<Timestamp>,
    news: u64,
}

/// One file on disk.
struct OnDisk {
    path: PathBuf,
    bytes: u64,
    /// Of a question that came again: its name.
    asked: Option<String>,
}

/// A file that is missing.
struct Missing {
    segment: Arc<Segment>,
    path: PathBuf,
    asks: Vec<Ask>,
}

/// Makes one missing file; `true` where there may be more to do.
pub(in crate::embedded) fn maintain(store: &Embedded, now: Timestamp) -> bool {
    let Ok(mut kept) = store.ready.kept.try_lock() else { return false };
    let wait = kept
        .looked
        .is_some_and(|looked| (0..LOOK_AGAIN_MS).contains(&(now.as_millis() - looked.as_millis())));
    let news = store.ready.news.load(Ordering::Relaxed);
    if !wait || kept.news != news {
        kept.settled.clear();
        kept.looked = Some(now);
        kept.news = news;
    }
    let days = store.day_figures();
    kept.settled.retain(|day, _| days.contains_key(day));
    kept.files.retain(|day, _| days.contains_key(day));
    let mut made = false;
    for (day, figures) in days.into_iter().rev() {
        if kept.settled.get(&day) == Some(&figures) {
            continue;
        }
        let missing = match look(store, &mut kept, day) {
            Ok(missing) => missing,
            Err(error) => {
                // It may be gone just now; if not, a query will say what is wrong with it.
                tracing::debug!(%day, %error, "cannot look at the ready aggregates of a day");
                continue;
            }
        };
        let Some(missing) = missing else {
            release(store, day);
            kept.settled.insert(day, figures);
            continue;
        };
        match make(store, day, &missing) {
            Ok(()) => made = true,
            Err(error) => {
                tracing::warn!(%day, %error, "cannot keep ready aggregates; tried again later");
                release(store, day);
                kept.settled.insert(day, figures);
                continue;
            }
        }
        // Says what is on disk now, and makes room.
        let _ = look(store, &mut kept, day);
        make_room(store, &mut kept);
        store.measure(day);
        break;
    }
    store.ready.bytes.store(kept.bytes(), Ordering::Relaxed);
    made
}

/// Shows the merged segments of a day that were held back till their answers
/// were counted.
fn release(store: &Embedded, day: Day) {
    if let Some(open) = store.open_day(day) {
        open.held().iter().for_each(|merged| open.release(merged));
    }
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.files.values().flatten().map(|file| file.bytes).sum()
    }
}

/// Looks at the folder of a day: removes what belongs to no segment, and finds
/// the first file that is missing.
fn look(store: &Embedded, kept: &mut Kept, day: Day) -> io::Result<Option<Missing>> {
    let dir = store.day_dir(day);
    let segments = day::segments(&dir)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if ![READY, ASKED, DRAFT].contains(&ending) {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut parts = name.split('.');
        let segment = parts.next().unwrap_or_default();
        if ending == DRAFT || !segments.iter().any(|(id, _)| id == segment) {
            fs::remove_file(&path)?;
            continue;
        }
        let asked = (ending == ASKED).then(|| parts.next().unwrap_or_default().to_owned());
        let bytes = fs::metadata(&path)?.len();
        files.push(OnDisk { path, bytes, asked });
    }
    kept.files.insert(day, files);
    let (always, wanted) = (always(), store.ready.wanted(day));
    for (id, docs) in &segments {
        if *docs < store.ready.options.min_events {
            continue;
        }
        let path = dir.join(id).with_extension(READY);
        let has = |path: &Path, asks: &[Ask]| {
            let knows = |file: File| asks.iter().all(|ask| file.knows(&ask.text, &ask.fields));
            File::open(path, id, *docs).is_some_and(knows)
        };
        if !has(&path, &always) {
            return Ok(opened(store, day, id, path, always));
        }
        for ask in &wanted {
            let path = dir.join(format!("{id}.{}.{ASKED}", ask.name()));
            let asks = std::slice::from_ref(ask);
            if !always.iter().any(|other| other.text == ask.text && other.fields == ask.fields)
                && !has(&path, asks)
            {
                return Ok(opened(store, day, id, path, asks.to_vec()));
            }
        }
    }
    Ok(None)
}

fn opened(store: &Embedded, day: Day, id: &str, path: PathBuf, asks: Vec<Ask>) -> Option<Missing> {
    // Opens the day where it is not open.
    store.segments(day).ok().flatten()?;
    let segment = store.open_day(day)?.segment(id)?;
    Some(Missing { segment, path, asks })
}

fn make(store: &Embedded, day: Day, missing: &Missing) -> Result<(), TantivyError> {
    let began = std::time::Instant::now();
    let count = || {
        let draft = build::count(&missing.asks, &missing.segment, build::Home::Disk)?;
        Ok(draft.write(&missing.path)?)
    };
    quietly(count).unwrap_or_else(|_| {
        let reason = "the thread that counted in advance ended early".to_owned();
        Err(TantivyError::InternalError(reason))
    })?;
    missing.segment.parts.reload();
    if let Some(open) = store.open_day(day) {
        open.release(&missing.segment);
    }
    tracing::debug!(
        events = missing.segment.docs(),
        millis = began.elapsed().as_millis() as u64,
        "counted ready aggregates"
    );
    Ok(())
}

/// Removes the answers to questions that were not asked for longest.
fn make_room(store: &Embedded, kept: &mut Kept) {
    loop {
        let asked: Vec<(&str, u64)> = kept
            .files
            .values()
            .flatten()
            .filter_map(|file| file.asked.as_deref().map(|name| (name, file.bytes)))
            .collect();
        let mut names: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let bytes: u64 = asked.iter().map(|(_, bytes)| bytes).sum();
        if bytes <= store.ready.options.max_asked_bytes && names.len() <= MAX_ASKED {
            return;
        }
        let Some(oldest) = store.ready.oldest(names.into_iter()).map(str::to_owned) else { return };
        store.ready.forget(&oldest);
        for files in kept.files.values_mut() {
            files.retain(|file| {
                let gone = file.asked.as_ref() == Some(&oldest);
                if gone && let Err(error) = fs::remove_file(&file.path) {
                    tracing::debug!(%error, "cannot remove ready aggregates");
                }
                !gone
            });
        }
    }
}

/// Makes every file of a day anew. The day's queries meanwhile count events.
pub(super) fn remake(store: &Embedded, day: Day) -> Result<(), TantivyError> {
    let mut kept = super::lock(&store.ready.kept);
    look(store, &mut kept, day)?;
    for file in kept.files.remove(&day).unwrap_or_default() {
        fs::remove_file(&file.path)?;
    }
    for segment in store.segments(day)?.unwrap_or_default().iter() {
        segment.parts.reload();
    }
    kept.settled.remove(&day);
    let mut last = None;
    while let Some(missing) = look(store, &mut kept, day)? {
        if last.as_ref() == Some(&missing.path) {
            break;
        }
        make(store, day, &missing)?;
        last = Some(missing.path);
    }
    store.measure(day);
    store.ready.bytes.store(kept.bytes(), Ordering::Relaxed);
    Ok(())
}
