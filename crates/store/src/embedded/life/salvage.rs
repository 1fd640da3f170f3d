//! Reads events out of the folder of a day, past whatever is damaged.

use std::path::Path;

use palisade_event::{Day, Event};
use tantivy::columnar::ColumnarReader;
use tantivy::directory::Directory as _;
use tantivy::index::SegmentId;
use tantivy::schema::Schema;
use tantivy::{Index, IndexMeta, IndexSettings, SegmentReader, TantivyError};

use super::super::segment::Segment;
use super::super::{day, schema};

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Salvaged {
    /// Events that were given on.
    pub(super) events: u64,
    /// Events that the index says it has and that could not be read.
    pub(super) lost: u64,
}

/// Whether a panic of the index library (it panics on some damage) or an error
/// came; nothing that could be left half changed is shared with it.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, TantivyError>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its files are cut or overwritten".to_owned()),
    }
}

/// A segment that cannot be opened: how many events it should have, and why.
pub(super) type Broken = (u64, String);

/// Opens the segments of an index one by one.
pub(super) fn segments(index: &Index, dir: &Path) -> Result<Vec<Result<Segment, Broken>>, String> {
    let found = guarded(|| index.searchable_segments())?;
    let open = |segment: &tantivy::Segment| {
        guarded(|| Segment::open(&SegmentReader::open(segment)?, dir)).map_err(|reason| {
            let name = segment.id().uuid_string();
            (u64::from(segment.meta().max_doc()), format!("segment {name}: {reason}"))
        })
    };
    Ok(found.iter().map(open).collect())
}

/// Gives every readable event of `day` in `dir` to `take`.
///
/// # Errors
/// Those of `take`. Damage is no error; it is counted.
pub(super) fn salvage<E>(
    dir: &Path,
    of: Day,
    mut take: impl FnMut(Event) -> Result<(), E>,
) -> Result<Salvaged, E> {
    let mut done = Salvaged::default();
    let index = guarded(|| day::open_index(dir)).or_else(|_| guarded(|| without_list(dir)));
    let opened = index.and_then(|index| segments(&index, dir));
    for segment in opened.unwrap_or_default() {
        let segment = match segment {
            Ok(segment) => segment,
            Err((events, _)) => {
                done.lost += events;
                continue;
            }
        };
        for doc in segment.reader.doc_ids_alive() {
            match guarded(|| segment.event(doc)) {
                Ok(event) if event.observed_at.day() == of => {
                    take(event)?;
                    done.events += 1;
                }
                _ => done.lost += 1,
            }
        }
    }
    Ok(done)
}

/// Opens an index whose list of segments is gone: every segment whose files
/// are there is taken for one of it.
fn without_list(dir: &Path) -> Result<Index, TantivyError> {
    let corrupt = |reason: &str| TantivyError::InvalidArgument(reason.to_owned());
    let schema: Schema = schema::layout().schema.clone();
    let copy = tantivy::directory::RamDirectory::create();
    let index = Index::create(copy.clone(), schema.clone(), IndexSettings::default())?;
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let (Some(name), Some(id)) = (
            path.file_name().and_then(|name| name.to_str()),
            path.file_stem().and_then(|stem| SegmentId::from_uuid_string(stem.to_str()?).ok()),
        ) else {
            continue;
        };
        copy.atomic_write(Path::new(name), &std::fs::read(&path)?)?;
        if path.extension().is_some_and(|end| end == "fast") {
            let columns = index.directory().open_read(Path::new(name));
            let docs = columns.ok().and_then(|file| ColumnarReader::open(file).ok());
            let docs = docs.ok_or_else(|| corrupt("a segment's columns cannot be read"))?;
            segments.push(index.new_segment_meta(id, docs.num_docs()));
        }
    }
    let meta = IndexMeta { segments, ..index.load_metas()? };
    let json = serde_json::to_vec(&meta).map_err(|error| corrupt(&error.to_string()))?;
    copy.atomic_write(Path::new("meta.json"), &json)?;
    let index = Index::open(copy)?;
    index.tokenizers().register(schema::TOKENIZER, schema::Words::default());
    Ok(index)
}
