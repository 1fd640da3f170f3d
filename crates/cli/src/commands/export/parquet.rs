//! Parquet: typed columns, zstd, row groups of bounded size.
//!
//! A Parquet file has its list of row groups at the end, so one that broke off
//! cannot be gone on with. Each row group is therefore a small file of its own
//! in `<file>.part/` first; at the end their bytes are put together as they are.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use palisade_event::Event;
use palisade_event::table::{self, COLUMNS, Cell, ColumnType};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::{ColumnCloseResult, ColumnWriter};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use super::Row;
use super::state::{State, beside};

/// Most rows of a row group.
const GROUP_ROWS: usize = 100_000;
/// Bytes of JSON above which a row group is closed, to bound memory.
const GROUP_BYTES: usize = 48 * 1024 * 1024;
/// zstd level: a good deal smaller than 1, not much slower.
const ZSTD_LEVEL: i32 = 3;

/// Writes one file.
pub(super) struct Parquet {
    path: PathBuf,
    dir: PathBuf,
    rows: Vec<Event>,
    bytes: usize,
    group_rows: usize,
}

impl Parquet {
    pub(super) fn open(path: &Path, state: &State) -> anyhow::Result<Self> {
        let dir = beside(path, ".part");
        if state.parts == 0 && dir.exists() {
            std::fs::remove_dir_all(&dir)
                .with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        state.save(path)?;
        let path = path.to_owned();
        Ok(Self { path, dir, rows: Vec::new(), bytes: 0, group_rows: GROUP_ROWS })
    }

    fn piece(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:06}.parquet"))
    }

    /// Takes rows; writes a piece when there are enough.
    pub(super) fn write(&mut self, rows: Vec<Row<'_>>, state: &mut State) -> anyhow::Result<()> {
        for (line, event) in rows {
            self.bytes += line.len();
            self.rows.push(event);
        }
        if self.rows.len() >= self.group_rows || self.bytes >= GROUP_BYTES {
            self.close_group(state)?;
        }
        Ok(())
    }

    fn close_group(&mut self, state: &mut State) -> anyhow::Result<()> {
        let path = self.piece(state.parts);
        let context = || format!("cannot write {}", path.display());
        let file = File::create(&path).with_context(context)?;
        let mut writer = SerializedFileWriter::new(&file, schema()?, properties()?)?;
        write_group(&mut writer, &self.rows).with_context(context)?;
        writer.close().with_context(context)?;
        file.sync_all().with_context(context)?;
        state.parts += 1;
        state.save(&self.path)?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Puts the pieces together.
    pub(super) fn finish(mut self, state: &mut State) -> anyhow::Result<()> {
        if !self.rows.is_empty() || state.parts == 0 {
            self.close_group(state)?;
        }
        let whole = self.dir.join("whole");
        let context = || format!("cannot write {}", whole.display());
        let file = File::create(&whole).with_context(context)?;
        let mut writer = SerializedFileWriter::new(&file, schema()?, properties()?)?;
        for number in 0..state.parts {
            append(&mut writer, &self.piece(number)).with_context(context)?;
        }
        writer.close().with_context(context)?;
        file.sync_all().with_context(context)?;
        super::rename(&whole, &self.path)?;
        State::remove(&self.path)?;
        std::fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

/// The columns of [`palisade_event::table`].
fn schema() -> Result<TypePtr, ParquetError> {
    let field = |column: &table::Column| {
        let (physical, logical) = match column.column_type {
            ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Integer => (Physical::INT64, None),
            ColumnType::Real => (Physical::DOUBLE, None),
            ColumnType::Time => {
                (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS)))
            }
        };
        Type::primitive_type_builder(column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let fields = COLUMNS.iter().map(field).collect::<Result<_, _>>()?;
    Type::group_type_builder("event").with_fields(fields).build().map(Arc::new)
}

fn properties() -> Result<WriterPropertiesPtr, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_created_by(concat!("palisade ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    Ok(Arc::new(properties))
}

fn write_group<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    events: &[Event],
) -> Result<(), ParquetError> {
    let rows: Vec<Vec<Cell<'_>>> = events.iter().map(table::row).collect();
    let mut group = writer.next_row_group()?;
    let mut number = 0;
    while let Some(mut column) = group.next_column()? {
        let cells = || rows.iter().filter_map(|row| row.get(number));
        let levels: Vec<i16> = cells().map(|cell| i16::from(*cell != Cell::Null)).collect();
        match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let values: Vec<ByteArray> = cells()
                    .filter_map(|cell| match cell {
                        Cell::Text(text) => Some(ByteArray::from(text.as_ref())),
                        _ => None,
                    })
                    .collect();
                writer.write_batch(&values, Some(&levels), None)?;
            }
            ColumnWriter::Int64ColumnWriter(writer) => {
                let values: Vec<i64> = cells()
                    .filter_map(|cell| match cell {
                        Cell::Integer(value) => Some(*value),
                        Cell::Time(at) => Some(at.as_millis()),
                        _ => None,
                    })
                    .collect();
                writer.write_batch(&values, Some(&levels), None)?;
            }
            ColumnWriter::DoubleColumnWriter(writer) => {
                let real = |cell: &Cell<'_>| match cell {
                    Cell::Real(value) => Some(*value),
                    _ => None,
                };
                let values: Vec<f64> = cells().filter_map(real).collect();
                writer.write_batch(&values, Some(&levels), None)?;
            }
            _ => return Err(ParquetError::General("a column has another type".to_owned())),
        }
        column.close()?;
        number += 1;
    }
    group.close().map(drop)
}

/// Appends the row groups of a file as they are.
fn append<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    path: &Path,
) -> anyhow::Result<()> {
    let file = File::open(path)?;
    let reader = SerializedFileReader::new(file.try_clone()?)?;
    for group in reader.metadata().row_groups() {
        let mut to = writer.next_row_group()?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                rows_written: u64::try_from(group.num_rows()).unwrap_or_default(),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            to.append_column(&file, close)?;
        }
        to.close()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use palisade_event::wire;

    use super::*;
    use crate::args::RowFormat;
    use crate::commands::import::parquet::Parquet as Reader;

    fn frozen() -> Vec<(Vec<u8>, Event)> {
        let text = include_str!("../../../../../fixtures/format/v1/store.ndjson");
        let event = |line: &str| wire::decode_event(line.as_bytes()).unwrap();
        text.lines().map(|line| (line.into(), event(line))).collect()
    }

    #[test]
    fn pieces_of_an_export_that_broke_off_become_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.parquet");
        let events = frozen();
        let rows = |from: usize, to: usize| -> Vec<Row<'_>> {
            events[from..to].iter().map(|(line, event)| (&line[..], event.clone())).collect()
        };
        let mut state = State {
            version: super::super::state::VERSION,
            asked: String::new(),
            query: String::new(),
            format: RowFormat::Parquet,
            cursor: None,
            events: 0,
            bytes: 0,
            parts: 0,
        };
        let mut export = Parquet::open(&path, &state).unwrap();
        export.group_rows = 10;
        for chunk in 0..5 {
            state.events += 7;
            export.write(rows(chunk * 7, chunk * 7 + 7), &mut state).unwrap();
        }
        // Rows beyond the last piece are lost here.
        drop(export);
        let mut state = State::load(&path).unwrap().unwrap();
        assert_eq!((state.parts, state.events), (2, 28));
        let mut export = Parquet::open(&path, &state).unwrap();
        export.group_rows = 10;
        let from = usize::try_from(state.events).unwrap();
        for at in from..events.len() {
            state.events += 1;
            export.write(rows(at, at + 1), &mut state).unwrap();
        }
        export.finish(&mut state).unwrap();
        assert!(State::load(&path).unwrap().is_none());

        let read = |skip: u64| {
            let mut reader = Reader::open(File::open(&path).unwrap()).unwrap();
            assert_eq!(reader.total(), 64);
            reader.skip(skip).unwrap();
            let mut found = Vec::new();
            while let Some(row) = reader.next().unwrap() {
                found.push(row.map_err(|bad| bad.to_string()).unwrap().1);
            }
            found
        };
        let expected: Vec<String> =
            events.iter().map(|(line, _)| String::from_utf8(line.clone()).unwrap()).collect();
        let text = |event: &Event| String::from_utf8(wire::encode_event(event)).unwrap();
        assert!(read(0).iter().map(text).eq(expected.iter().cloned()));
        for skip in [1, 14, 28, 40, 63] {
            assert_eq!(read(skip).len(), 64 - usize::try_from(skip).unwrap());
        }
        assert_eq!(read(64).len(), 0);
    }

    #[test]
    fn damaged_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let file = File::create(&path).unwrap();
        let mut writer =
            SerializedFileWriter::new(&file, schema().unwrap(), properties().unwrap()).unwrap();
        let events: Vec<Event> = frozen().into_iter().map(|(_, event)| event).collect();
        write_group(&mut writer, &events).unwrap();
        writer.close().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        for at in (0..whole.len()).step_by(37) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xa5;
            std::fs::write(&path, &bytes).unwrap();
            let Ok(mut reader) = Reader::open(File::open(&path).unwrap()) else { continue };
            let mut rows = 0;
            while let Ok(Some(_)) = reader.next() {
                rows += 1;
                assert!(rows < 100_000);
            }
        }
        std::panic::set_hook(hook);
    }
}
