//! Ready aggregates: answers counted in advance, one file a segment.
//!
//! A segment never changes, so what was counted of it never drifts: a late
//! event makes a new segment, a merge another one, and their files are counted
//! anew while the old ones go. A file answers some questions, each "how many
//! events of a filter have each value of these fields", for the whole segment
//! and for units of time of a minute to an hour. Counts, histograms and tops are
//! derived from that; what lies in a part of a unit, and what no file answers,
//! is counted from the events. `file` and `list` are the format, `build` counts,
//! `cover` finds what answers a question, `narrow` what a filter comes to on one
//! segment, `top` finds the largest without adding all up
//! (`listed` is one of its lists), `desk` knows what is
//! asked, `keep` makes the files and removes them, `memory` holds the same for
//! segments too small for a file, `slice` what a range cuts off of larger ones,
//! `check` compares.

mod build;
mod check;
mod cover;
mod desk;
mod file;
mod keep;
mod list;
mod listed;
mod memory;
mod narrow;
mod slice;
mod top;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tantivy::SegmentReader;

pub(crate) use self::check::{check, rebuild};
pub(super) use self::cover::{Cover, Part, cover};
pub(super) use self::desk::Desk;
pub use self::desk::ReadyOptions;
use self::file::File;
pub(super) use self::file::Section;
pub(super) use self::keep::maintain;
pub(super) use self::list::Values;
use self::memory::Memory;
use self::narrow::Narrowed;
use self::slice::Remembered;
pub(super) use self::top::top;
use super::lock;
use super::quick::HashMap;
use super::segment::Segment;
use crate::query::{Field, Filter};

/// Ending of the file that answers the questions of the dashboards.
const READY: &str = "ready";
/// Ending of a file that answers a question that was asked again and again.
const ASKED: &str = "asked";
/// Ending of a file that is being written.
const DRAFT: &str = "draft";
/// Longest text of a filter whose answers are kept, in bytes.
const MAX_FILTER_BYTES: usize = 1024;
/// Most questions of which a segment remembers what they come to.
const MAX_NARROWED: usize = 64;

/// A question that can be kept: how many events of a filter have each value of
/// the fields.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) filter: Filter,
    /// The filter in canonical form: the same text means the same.
    text: String,
    pub(super) fields: Vec<Field>,
}

impl Ask {
    /// `None` where no answer is ever kept.
    pub(super) fn new(filter: &Filter, fields: Vec<Field>) -> Option<Self> {
        let different = !matches!(fields.as_slice(), [a, b] if a == b);
        if fields.len() > 2 || !different {
            return None;
        }
        let filter = ordered(filter.simplified()).simplified();
        let text = filter.to_string();
        (text.len() <= MAX_FILTER_BYTES).then_some(Self { filter, text, fields })
    }

    /// Whether its filter asks for values of a field.
    fn mentions(&self, field: Field) -> bool {
        fn mentions(filter: &Filter, field: Field) -> bool {
            match filter {
                Filter::And(parts) | Filter::Or(parts) => {
                    parts.iter().any(|part| mentions(part, field))
                }
                Filter::Not(inner) => mentions(inner, field),
                Filter::In(other, _) => *other == field,
                _ => false,
            }
        }
        mentions(&self.filter, field)
    }
}

/// The same filter with its parts in the order of their texts, each once.
fn ordered(filter: Filter) -> Filter {
    let parts = |parts: Vec<Filter>| {
        let mut parts: Vec<Filter> = parts.into_iter().map(ordered).collect();
        parts.sort_by_cached_key(ToString::to_string);
        parts.dedup();
        parts
    };
    match filter {
        Filter::And(all) => Filter::And(parts(all)),
        Filter::Or(any) => Filter::Or(parts(any)),
        Filter::Not(inner) => Filter::Not(Box::new(ordered(*inner))),
        Filter::In(field, mut values) => {
            values.sort_unstable();
            values.dedup();
            Filter::In(field, values)
        }
        other => other,
    }
}

/// What questions came to on a segment, by the text of the filter and the fields.
type ByQuestion = HashMap<(String, Vec<Field>), Arc<Narrowed>>;

/// The files of one segment, and what is remembered of it.
pub(super) struct Parts {
    dir: PathBuf,
    segment: String,
    docs: u32,
    /// Whether some events were taken out of the segment, which a merge will
    /// make final; till then nothing is kept of it.
    is_cut: bool,
    /// Once they were looked for.
    files: Mutex<Option<Arc<Vec<Arc<File>>>>>,
    /// Answers that were counted when they were asked for, of a small segment.
    memory: Mutex<Memory>,
    /// What ranges cut off of it, the one used last at the end.
    slices: Mutex<Vec<Remembered>>,
    /// What questions came to here.
    narrowed: Mutex<ByQuestion>,
}

impl Parts {
    pub(super) fn new(dir: &Path, reader: &SegmentReader) -> Self {
        Self {
            dir: dir.to_owned(),
            segment: reader.segment_id().uuid_string(),
            docs: reader.max_doc(),
            is_cut: reader.has_deletes(),
            files: Mutex::default(),
            memory: Mutex::default(),
            slices: Mutex::default(),
            narrowed: Mutex::default(),
        }
    }

    /// What a question comes to on this segment, its own.
    fn narrowed(&self, ask: &Ask, segment: &Segment, desk: &Desk) -> Arc<Narrowed> {
        if ask.filter == Filter::All {
            return Arc::new(Narrowed::Same);
        }
        let key = (ask.text.clone(), ask.fields.clone());
        if let Some(known) = lock(&self.narrowed).get(&key) {
            return Arc::clone(known);
        }
        let mut files = self.files().to_vec();
        if desk.remembers(segment) {
            // Every event has these two, and rights and dialects ask by them.
            for field in [Field::Domain, Field::Kind] {
                let all = Ask::new(&Filter::All, vec![field]).filter(|_| ask.mentions(field));
                files.extend(all.and_then(|all| self.remembered(&all, segment, desk)));
            }
        }
        let narrowed = Arc::new(narrow::narrowed(ask, segment, &files));
        let mut all = lock(&self.narrowed);
        if all.len() >= MAX_NARROWED {
            all.clear();
        }
        all.insert(key, Arc::clone(&narrowed));
        narrowed
    }

    fn path(&self) -> PathBuf {
        self.dir.join(&self.segment).with_extension(READY)
    }

    fn files(&self) -> Arc<Vec<Arc<File>>> {
        let mut files = lock(&self.files);
        Arc::clone(files.get_or_insert_with(|| Arc::new(self.open())))
    }

    fn open(&self) -> Vec<Arc<File>> {
        if self.is_cut {
            return Vec::new();
        }
        let open = |path: &Path| File::open(path, &self.segment, self.docs).map(Arc::new);
        // Most segments are small and have none; others have this one at least.
        let mut files: Vec<_> = open(&self.path()).into_iter().collect();
        if files.is_empty() {
            return files;
        }
        let asked = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let asked = asked.map(|entry| entry.path()).filter(|path| self.owns(path, ASKED));
        files.extend(asked.filter_map(|path| open(&path)));
        files
    }

    /// Opens the files while they are there by name.
    pub(super) fn load(&self) {
        drop(self.files());
    }

    /// Whether a file is of this segment.
    fn owns(&self, path: &Path, ending: &str) -> bool {
        path.extension().is_some_and(|end| end == ending)
            && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.strip_prefix(&self.segment).is_some_and(|rest| rest.starts_with('.'))
            })
    }

    /// Looks for the files again.
    fn reload(&self) {
        *lock(&self.files) = None;
        lock(&self.narrowed).clear();
    }

    /// Takes out a file that turned out to be damaged; it is counted again.
    fn drop_file(&self, damaged: &Arc<File>) {
        let mut files = lock(&self.files);
        let Some(have) = files.as_ref() else { return };
        let is_other = |file: &&Arc<File>| !Arc::ptr_eq(file, damaged);
        *files = Some(Arc::new(have.iter().filter(is_other).cloned().collect()));
        if let Some(path) = damaged.path() {
            tracing::warn!(file = %path.display(), "ready aggregates are damaged and are counted again");
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Reads a file of ready aggregates as a query would; says whether it was one.
pub(super) fn read_file(bytes: &[u8]) -> bool {
    file::read_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_filter_in_another_order_is_the_same_question() {
        let text = |text: &str| {
            let query = crate::query::Query::parse(text, palisade_event::Timestamp::from_millis(0));
            Ask::new(&query.unwrap().filter, Vec::new()).unwrap().text
        };
        assert_eq!(text("port:22 country:cn *"), text("country:CN (port:22)"));
        assert_eq!(text("port:(22,80) or kind:x"), text("kind:X or port:(80,22,80)"));
        assert_eq!(text("domain:community domain:community"), text("domain:community"));
        assert_ne!(text("port:22"), text("-port:22"));
    }
}
