//! Reads all of a store and says what is wrong with it. Changes nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use palisade_event::Day;
use tantivy::Index;
use tantivy::index::SegmentId;

use super::super::segment::{Segment, span};
use super::super::{FORMAT, day, schema};
use super::salvage::{guarded, segments};
use super::{Finding, Step, survey};

/// Ids that are compared at a time, to bound memory (16 bytes each).
const IDS_AT_A_TIME: u64 = 8_000_000;
/// Looks at a day that changes while it is read.
const LOOKS: u32 = 3;
/// Most events of a day that are named one by one.
const MAX_NAMED: usize = 20;

/// What a check has seen.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Checked {
    /// Days that were read.
    pub days: u64,
    /// Events that were read.
    pub events: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Reads every file and every event of the store in `store`. Works while it is
/// open: a day that changes meanwhile is read again.
///
/// # Errors
/// The directory cannot be read.
pub fn check(store: &Path, progress: &mut dyn FnMut(Step)) -> std::io::Result<Checked> {
    let mut checked = Checked::default();
    let find = |folder: Option<&str>, what: String, checked: &mut Checked| {
        checked.findings.push(Finding { folder: folder.map(str::to_owned), what });
    };
    match std::fs::read_to_string(store.join("format")) {
        Ok(text) if text.trim() == FORMAT.to_string() => {}
        Ok(text) => {
            let text = text.trim().chars().take(20).collect::<String>();
            let what = format!(
                "the store has format {}; this version of palisade checks format {FORMAT}",
                text.escape_debug()
            );
            find(None, what, &mut checked);
            return Ok(checked);
        }
        Err(error) => find(None, format!("its file 'format': {error}"), &mut checked),
    }
    let folders = survey::survey(store)?;
    let of = folders.iter().filter(|day| day.in_use).map(|day| day.events).sum();
    for folder in &folders {
        let Ok(day) = folder.folder.parse::<Day>() else {
            if !["removed", "new"].iter().any(|end| folder.folder.ends_with(end)) {
                let what = "was put aside; `palisade store repair` reads what can be read of it";
                if !folder.folder.ends_with("damaged") {
                    find(Some(&folder.folder), what.to_owned(), &mut checked);
                }
            }
            continue;
        };
        let dir = store.join("days").join(&folder.folder);
        let before = checked.events;
        let mut step = |events| progress(Step { day, events: before + events, of });
        let mut look = look(&dir, day, &mut step);
        for _ in 1..LOOKS {
            if look.wrong.is_empty() || !look.changed {
                break;
            }
            look = self::look(&dir, day, &mut step);
        }
        if !dir.exists() {
            continue;
        }
        checked.days += 1;
        checked.events += look.events;
        for what in look.wrong {
            find(Some(&folder.folder), what, &mut checked);
        }
    }
    Ok(checked)
}

#[derive(Default)]
struct Look {
    events: u64,
    wrong: Vec<String>,
    /// The list of segments was another one afterwards.
    changed: bool,
}

/// Whether a file belongs to the index of a segment (its ready aggregates have
/// checksums of their own).
fn is_of(name: &Path, segment: SegmentId) -> bool {
    let end = name.extension().and_then(|end| end.to_str());
    name.file_stem().is_some_and(|stem| *stem == *segment.uuid_string())
        && !matches!(end, Some("ready" | "asked"))
}

fn look(dir: &Path, of: Day, step: &mut dyn FnMut(u64)) -> Look {
    let list = || std::fs::read(dir.join("meta.json")).ok();
    let before = list();
    let mut look = Look::default();
    match guarded(|| day::open_index(dir)) {
        Ok(index) => look.read(&index, dir, of, step),
        Err(reason) => look.wrong.push(format!("cannot be opened: {reason}")),
    }
    look.changed = list() != before;
    look
}

impl Look {
    fn read(&mut self, index: &Index, dir: &Path, of: Day, step: &mut dyn FnMut(u64)) {
        if index.schema() != schema::layout().schema {
            self.wrong.push("its columns are of another format".to_owned());
        }
        self.checksums(index, dir);
        let opened = match segments(index, dir) {
            Ok(opened) => opened,
            Err(reason) => return self.wrong.push(reason),
        };
        let mut whole = Vec::new();
        for segment in opened {
            match segment {
                Ok(segment) => whole.push(segment),
                Err((events, reason)) => {
                    self.wrong.push(format!("{reason}; {events} events cannot be read"));
                }
            }
        }
        for segment in &whole {
            self.events(segment, of, step);
        }
        self.ids(&whole);
        self.ready(&whole);
    }

    fn checksums(&mut self, index: &Index, dir: &Path) {
        let Ok(segments) = guarded(|| index.searchable_segment_ids()) else { return };
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<PathBuf> = files.map(|file| PathBuf::from(file.file_name())).collect();
        names.retain(|name| segments.iter().any(|id| is_of(name, *id)));
        names.sort();
        for name in names {
            let sound = guarded(|| Ok(index.directory().validate_checksum(&name)?));
            let name = name.display();
            match sound {
                Ok(true) => {}
                Ok(false) => self.wrong.push(format!("file {name} has a wrong checksum")),
                Err(reason) => self.wrong.push(format!("file {name}: {reason}")),
            }
        }
    }

    fn events(&mut self, segment: &Segment, of: Day, step: &mut dyn FnMut(u64)) {
        let (mut unreadable, mut elsewhere) = (0u64, 0u64);
        for doc in segment.reader.doc_ids_alive() {
            match guarded(|| segment.event(doc)) {
                Ok(event) if event.observed_at.day() == of => {}
                Ok(event) => {
                    elsewhere += 1;
                    if self.wrong.len() < MAX_NAMED {
                        let at = event.observed_at;
                        self.wrong.push(format!("event {} was observed at {at}", event.id));
                    }
                }
                Err(_) => unreadable += 1,
            }
            self.events += 1;
            if self.events.is_multiple_of(10_000) {
                step(self.events);
            }
        }
        step(self.events);
        let name = segment.reader.segment_id().uuid_string();
        if unreadable > 0 {
            self.wrong.push(format!("segment {name}: {unreadable} events cannot be read"));
        }
        if elsewhere > 0 {
            self.wrong.push(format!("segment {name}: {elsewhere} events are of another day"));
        }
        if segment.docs() > 0 {
            let (first, last) = span(segment);
            if first.day() != of || last.day() != of {
                self.wrong.push(format!("segment {name} reaches from {first} to {last}"));
            }
        }
    }

    /// Looks for ids that are there twice, some of them at a time.
    fn ids(&mut self, segments: &[Segment]) {
        let all: u64 = segments.iter().map(|segment| u64::from(segment.docs())).sum();
        let parts = u128::from(all.div_ceil(IDS_AT_A_TIME).max(1));
        let mut twice = HashSet::new();
        for part in 0..parts {
            let ids = segments.iter().flat_map(|segment| {
                let alive = segment.reader.doc_ids_alive();
                alive.map(|doc| segment.id(doc)).filter(|id| id % parts == part)
            });
            let mut ids: Vec<u128> = ids.collect();
            ids.sort_unstable();
            let pairs = ids.windows(2).filter(|pair| pair.first() == pair.last());
            twice.extend(pairs.filter_map(|pair| pair.first().copied()));
        }
        if let Some(id) = twice.iter().min() {
            let id = palisade_event::EventId::from_u128(*id);
            self.wrong.push(format!("{} ids are there twice, such as {id}", twice.len()));
        }
    }

    fn ready(&mut self, _segments: &[Segment]) {}
}
