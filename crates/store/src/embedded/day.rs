//! One UTC day: its folder, its index, the segments that readers see. A merged
//! segment is shown once its answers are counted in advance.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tantivy::index::SegmentComponent;
use tantivy::{Index, IndexReader, IndexSettings, ReloadPolicy, TantivyError};

use super::durable::DurableDirectory;
use super::lock;
use super::schema::{TOKENIZER, Words, layout};
use super::segment::Segment;

/// Most segments of a day that readers see because merged ones are held back.
const MAX_SHOWN: usize = 64;

/// What readers see of a day: never changes.
pub(super) type Segments = Arc<Vec<Arc<Segment>>>;

/// An open day.
pub(super) struct OpenDay {
    shown: Mutex<Segments>,
    reading: Mutex<Reading>,
}

/// The way to what was committed.
struct Reading {
    dir: PathBuf,
    reader: IndexReader,
    held: Vec<Held>,
    /// Merged segments of at least so many events are held back.
    hold_from: u32,
}

/// A merged segment that readers do not see before its answers are counted in
/// advance: till then they see the segments that it was made of, whose are. The
/// files of those are gone by name, and stay as long as they are open.
struct Held {
    merged: Arc<Segment>,
    parts: Vec<Arc<Segment>>,
}

impl OpenDay {
    /// Opens a day; merged segments of `hold_from` events are held back from now
    /// on until they are released.
    pub(super) fn open(dir: &Path, hold_from: u32) -> Result<Self, TantivyError> {
        let index = open_index(dir)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let mut reading = Reading { dir: dir.to_owned(), reader, held: Vec::new(), hold_from };
        let shown = reading.segments(&Segments::default())?;
        Ok(Self { shown: Mutex::new(shown), reading: Mutex::new(reading) })
    }

    /// What readers see.
    pub(super) fn segments(&self) -> Segments {
        Arc::clone(&lock(&self.shown))
    }

    /// Shows what was committed since; segments that are still there stay open.
    pub(super) fn refresh(&self) -> Result<(), TantivyError> {
        let mut reading = lock(&self.reading);
        reading.reader.reload()?;
        let shown = reading.segments(&self.segments())?;
        *lock(&self.shown) = shown;
        Ok(())
    }

    /// A segment by its id, also one that is held back.
    pub(super) fn segment(&self, id: &str) -> Option<Arc<Segment>> {
        let is_it = |segment: &&Arc<Segment>| segment.reader.segment_id().uuid_string() == id;
        let reading = lock(&self.reading);
        let held = reading.held.iter().map(|held| &held.merged);
        self.segments().iter().chain(held).find(is_it).cloned()
    }

    /// The segments that are held back.
    pub(super) fn held(&self) -> Vec<Arc<Segment>> {
        lock(&self.reading).held.iter().map(|held| Arc::clone(&held.merged)).collect()
    }

    /// Shows a segment that was held back in place of those it was made of.
    pub(super) fn release(&self, merged: &Arc<Segment>) {
        let mut reading = lock(&self.reading);
        let Some(place) = reading.held.iter().position(|h| Arc::ptr_eq(&h.merged, merged)) else {
            return;
        };
        let Held { merged, parts } = reading.held.swap_remove(place);
        let mut shown = lock(&self.shown);
        let is_part = |segment: &&Arc<Segment>| parts.iter().any(|p| Arc::ptr_eq(p, segment));
        let others = shown.iter().filter(|segment| !is_part(segment)).cloned();
        *shown = Arc::new(others.chain([merged]).collect());
    }
}

impl Reading {
    /// What readers shall see next, where `shown` is what they see now.
    fn segments(&mut self, shown: &Segments) -> Result<Segments, TantivyError> {
        let mut shall = Vec::new();
        let mut held = Vec::new();
        for reader in self.reader.searcher().segment_readers() {
            let id = reader.segment_id();
            let is_it = |segment: &Arc<Segment>| segment.reader.segment_id() == id;
            if let Some(place) = self.held.iter().position(|held| is_it(&held.merged)) {
                held.push(self.held.swap_remove(place));
                continue;
            }
            if let Some(segment) = shown.iter().find(|segment| is_it(segment)) {
                shall.push(Arc::clone(segment));
                continue;
            }
            // The one file that is opened late: its footer tells here that it is
            // whole, as reading a mapped file past its end kills the process.
            reader.open_read(SegmentComponent::Store)?;
            let segment = Arc::new(Segment::open(reader, &self.dir)?);
            match made_of(&segment, shown).filter(|_| self.hold_from <= segment.docs()) {
                Some(parts) => {
                    // While their names are there.
                    parts.iter().for_each(|part| part.parts.load());
                    held.push(Held { merged: segment, parts });
                }
                None => shall.push(segment),
            }
        }
        let parts = held.iter().map(|held| held.parts.len()).sum::<usize>();
        if shall.len() + parts > MAX_SHOWN {
            shall.extend(held.drain(..).map(|held| held.merged));
        }
        shall.extend(held.iter().flat_map(|held| held.parts.iter().cloned()));
        self.held = held;
        Ok(Arc::new(shall))
    }
}

/// The segments, out of those that are shown, that a new one is made of: a merge
/// puts whole segments one behind the other, and an id occurs once a day. `None`
/// where it is no merge of these.
fn made_of(segment: &Segment, shown: &[Arc<Segment>]) -> Option<Vec<Arc<Segment>>> {
    if shown.is_empty() || segment.reader.has_deletes() {
        return None;
    }
    let mut parts = Vec::new();
    let mut doc = 0;
    while doc < segment.docs() {
        let id = segment.id(doc);
        let is_next = |part: &&Arc<Segment>| {
            part.docs() > 0 && !part.reader.has_deletes() && part.id(0) == id
        };
        let part = shown.iter().find(is_next)?;
        doc = doc.checked_add(part.docs())?;
        parts.push(Arc::clone(part));
    }
    (doc == segment.docs() && parts.len() > 1).then_some(parts)
}

/// Opens the index in a folder.
pub(super) fn open_index(dir: &Path) -> Result<Index, TantivyError> {
    let index = Index::open(DurableDirectory::open(dir)?)?;
    index.tokenizers().register(TOKENIZER, Words::default());
    Ok(index)
}

/// Opens the index in a folder, or makes folder and index durably.
pub(super) fn create_index(dir: &Path) -> Result<Index, TantivyError> {
    if dir.join("meta.json").exists() {
        // Who made it may have been killed before its name was durable.
        sync_names(dir)?;
        return open_index(dir);
    }
    std::fs::create_dir_all(dir)?;
    let directory = DurableDirectory::open(dir)?;
    let settings =
        IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
    let index = Index::create(directory, layout().schema.clone(), settings)?;
    index.tokenizers().register(TOKENIZER, Words::default());
    sync_names(dir)?;
    Ok(index)
}

/// Makes the names in a day's folder, of the folder, and of the folder of all days durable.
fn sync_names(dir: &Path) -> io::Result<()> {
    dir.ancestors().take(3).try_for_each(|dir| std::fs::File::open(dir)?.sync_all())
}

/// The segments of a day that nothing was taken out of, with their number of
/// events, without opening the index.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<(String, u32)>> {
    #[derive(serde::Deserialize)]
    struct Meta {
        segments: Vec<SegmentMeta>,
    }
    #[derive(serde::Deserialize)]
    struct SegmentMeta {
        segment_id: String,
        max_doc: u32,
        deletes: Option<serde::de::IgnoredAny>,
    }
    let meta: Meta = serde_json::from_slice(&std::fs::read(dir.join("meta.json"))?)?;
    let whole = meta.segments.into_iter().filter(|segment| segment.deletes.is_none());
    // The index writes ids with hyphens, and names files without.
    Ok(whole.map(|segment| (segment.segment_id.replace('-', ""), segment.max_doc)).collect())
}

/// What a day's folder says without opening the index.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) events: u64,
    pub(super) segments: usize,
    pub(super) bytes: u64,
}

/// Reads the figures; `None` for a folder whose index was never finished.
pub(super) fn figures(dir: &Path) -> io::Result<Option<Figures>> {
    #[derive(serde::Deserialize)]
    struct Meta {
        segments: Vec<SegmentMeta>,
    }
    #[derive(serde::Deserialize)]
    struct SegmentMeta {
        max_doc: u64,
    }
    let mut bytes = 0;
    let mut has_segments = false;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A merge may remove a file while the folder is read.
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        has_segments |= entry.path().extension().is_some_and(|end| end == "fast");
    }
    let meta = match std::fs::read(dir.join("meta.json")) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !has_segments => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta: Meta = serde_json::from_slice(&meta)?;
    let events = meta.segments.iter().map(|segment| segment.max_doc).sum();
    Ok(Some(Figures { events, segments: meta.segments.len(), bytes }))
}
