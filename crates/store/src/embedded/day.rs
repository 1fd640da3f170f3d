//! One UTC day: its folder, its index, the segments that readers see.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::index::SegmentComponent;
use tantivy::{Index, IndexReader, IndexSettings, ReloadPolicy, TantivyError};

use super::durable::DurableDirectory;
use super::schema::{TOKENIZER, Words, layout};
use super::segment::Segment;

/// What readers see of a day: never changes.
pub(super) type Segments = Arc<Vec<Arc<Segment>>>;

/// An open day.
pub(super) struct OpenDay {
    dir: PathBuf,
    reader: IndexReader,
    pub(super) segments: Segments,
}

impl OpenDay {
    pub(super) fn open(dir: &Path) -> Result<Self, TantivyError> {
        let index = open_index(dir)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let mut day = Self { dir: dir.to_owned(), reader, segments: Segments::default() };
        day.take_segments()?;
        Ok(day)
    }

    /// Shows what was committed since; segments that are still there stay open.
    pub(super) fn refresh(&mut self) -> Result<(), TantivyError> {
        self.reader.reload()?;
        self.take_segments()
    }

    fn take_segments(&mut self) -> Result<(), TantivyError> {
        let searcher = self.reader.searcher();
        let mut segments = Vec::new();
        for reader in searcher.segment_readers() {
            let id = reader.segment_id();
            let open = self.segments.iter().find(|segment| segment.reader.segment_id() == id);
            segments.push(match open {
                Some(segment) => Arc::clone(segment),
                None => {
                    // The one file that is opened late: its footer tells here that it is
                    // whole, as reading a mapped file past its end kills the process.
                    reader.open_read(SegmentComponent::Store)?;
                    Arc::new(Segment::open(reader, &self.dir)?)
                }
            });
        }
        self.segments = Arc::new(segments);
        Ok(())
    }
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
