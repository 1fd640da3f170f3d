//! Ready aggregates: answers counted in advance, one file a segment.
//!
//! A segment never changes, so what was counted of it never drifts: a late
//! event makes a new segment, a merge another one, and their files are counted
//! anew while the old ones go. A file answers some questions, each "how many
//! events of a filter have each value of these fields", for the whole segment
//! and for units of time of a minute to an hour. Counts, histograms and tops are
//! derived from that; what lies in a part of a unit, and what no file answers,
//! is counted from the events. `file` and `list` are the format, `build` counts,
//! `cover` finds what answers a question, `top` finds the largest without
//! adding all up, `desk` knows what is asked, `keep` makes the files and removes
//! them, `check` compares.

mod build;
mod check;
mod cover;
mod desk;
mod file;
mod keep;
mod list;
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
pub(super) use self::top::top;
use super::lock;
use crate::query::{Field, Filter};

/// Ending of the file that answers the questions of the dashboards.
const READY: &str = "ready";
/// Ending of a file that answers a question that was asked again and again.
const ASKED: &str = "asked";
/// Ending of a file that is being written.
const DRAFT: &str = "draft";
/// Longest text of a filter whose answers are kept, in bytes.
const MAX_FILTER_BYTES: usize = 1024;

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

/// The files of one segment.
pub(super) struct Parts {
    dir: PathBuf,
    segment: String,
    docs: u32,
    /// Whether some events were taken out of the segment, which a merge will
    /// make final; till then nothing is kept of it.
    is_cut: bool,
    /// Once they were looked for.
    files: Mutex<Option<Arc<Vec<Arc<File>>>>>,
}

impl Parts {
    pub(super) fn new(dir: &Path, reader: &SegmentReader) -> Self {
        Self {
            dir: dir.to_owned(),
            segment: reader.segment_id().uuid_string(),
            docs: reader.max_doc(),
            is_cut: reader.has_deletes(),
            files: Mutex::default(),
        }
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
