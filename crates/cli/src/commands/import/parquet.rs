//! Reads the rows of a Parquet file with the columns of our own exports, some
//! at a time. Columns are found by name; those that are missing are empty.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use palisade_event::table::{self, COLUMNS, Cell, ColumnType};
use palisade_event::{Event, Timestamp};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

use super::rows::Bad;

/// Rows that are read at a time.
const ROWS_AT_A_TIME: usize = 2_048;

/// A Parquet file.
pub(in crate::commands) struct Parquet {
    file: Arc<SerializedFileReader<File>>,
    /// For each column of the file: its place in our table and what a time counts.
    places: Vec<Option<(usize, i64)>>,
    group: usize,
    /// The columns of the row group that is read.
    columns: Vec<Option<ColumnReader>>,
    left: u64,
    /// Rows that were read ahead, the last one first.
    ahead: Vec<Vec<Cell<'static>>>,
    at: u64,
}

impl Parquet {
    pub(in crate::commands) fn open(file: File) -> anyhow::Result<Self> {
        let file = guarded(|| SerializedFileReader::new(file).context("it is no Parquet file"))?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let mut places = Vec::new();
        for column in schema.columns() {
            let flat = column.path().parts().len() == 1 && column.max_rep_level() == 0;
            let place = table::place(column.name()).filter(|_| flat);
            // A time may have been written anew by another tool, in its own unit.
            let per_milli = match column.logical_type_ref() {
                Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::MICROS => 1_000,
                Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS => 1_000_000,
                _ => 1,
            };
            places.push(place.map(|place| (place, per_milli)));
        }
        if !places.iter().flatten().any(|(place, _)| *place == 0) {
            bail!("it has no column 'id'; it is no export of palisade");
        }
        let file = Arc::new(file);
        let (columns, ahead) = (Vec::new(), Vec::new());
        Ok(Self { file, places, group: 0, columns, left: 0, ahead, at: 0 })
    }

    /// Rows in all, as the file says.
    pub(in crate::commands) fn total(&self) -> u64 {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// Rows that were read.
    pub(in crate::commands) fn at(&self) -> u64 {
        self.at
    }

    pub(in crate::commands) fn skip(&mut self, rows: u64) -> anyhow::Result<()> {
        while self.at < rows {
            if self.ahead.is_empty() {
                // Whole row groups need not be unpacked.
                let next = self.file.metadata().row_groups().get(self.group);
                let next = next.and_then(|group| u64::try_from(group.num_rows()).ok());
                if self.left == 0
                    && let Some(next) = next.filter(|next| self.at + next <= rows)
                {
                    self.group += 1;
                    self.at += next;
                    continue;
                }
                if !self.read_ahead()? {
                    return Ok(());
                }
            }
            self.ahead.pop();
            self.at += 1;
        }
        Ok(())
    }

    pub(in crate::commands) fn next(
        &mut self,
    ) -> anyhow::Result<Option<Result<(u64, Event), Bad>>> {
        if self.ahead.is_empty() && !self.read_ahead()? {
            return Ok(None);
        }
        let Some(row) = self.ahead.pop() else { return Ok(None) };
        self.at += 1;
        let at = self.at;
        let bad = |reason: String| Bad { noun: "row", at, reason };
        let event = table::event(&row).map(|event| (at, event));
        Ok(Some(event.map_err(|error| bad(error.to_string()))))
    }

    /// Reads the next rows; `false` at the end of the file.
    fn read_ahead(&mut self) -> anyhow::Result<bool> {
        let at = self.at;
        guarded(|| self.read()).with_context(|| format!("after row {at}"))
    }

    fn read(&mut self) -> anyhow::Result<bool> {
        while self.left == 0 {
            let Some(metadata) = self.file.metadata().row_groups().get(self.group) else {
                return Ok(false);
            };
            self.left = u64::try_from(metadata.num_rows()).unwrap_or_default();
            let group = self.file.get_row_group(self.group)?;
            self.columns = columns(&*group, &self.places)?;
            self.group += 1;
        }
        let wanted = ROWS_AT_A_TIME.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut rows = vec![vec![Cell::Null; COLUMNS.len()]; wanted];
        for (column, place) in self.columns.iter_mut().zip(&self.places) {
            let (Some(column), Some((place, per_milli))) = (column, place) else { continue };
            let kind = COLUMNS.get(*place).map(|column| column.column_type);
            let cells = cells(column, wanted, kind, *per_milli)?;
            if cells.len() != wanted {
                bail!("column '{}' ends early", COLUMNS.get(*place).map_or("", |c| c.name));
            }
            for (row, cell) in rows.iter_mut().zip(cells) {
                if let Some(slot) = row.get_mut(*place) {
                    *slot = cell;
                }
            }
        }
        self.left -= wanted as u64;
        rows.reverse();
        self.ahead = rows;
        Ok(true)
    }
}

fn columns(
    group: &dyn RowGroupReader,
    places: &[Option<(usize, i64)>],
) -> anyhow::Result<Vec<Option<ColumnReader>>> {
    let open = |(number, place): (usize, &Option<_>)| {
        place.as_ref().map(|_| group.get_column_reader(number)).transpose()
    };
    Ok(places.iter().enumerate().map(open).collect::<Result<_, _>>()?)
}

/// The next values of a column.
fn cells(
    column: &mut ColumnReader,
    wanted: usize,
    kind: Option<ColumnType>,
    per_milli: i64,
) -> anyhow::Result<Vec<Cell<'static>>> {
    let whole = |value: i64| match kind {
        Some(ColumnType::Time) => Cell::Time(Timestamp::from_millis(value.div_euclid(per_milli))),
        _ => Cell::Integer(value),
    };
    match column {
        ColumnReader::ByteArrayColumnReader(reader) => {
            // What is no UTF-8 in a column of text cannot come from us; `event` has it.
            read(reader, wanted, |value| {
                Cell::Text(String::from_utf8_lossy(value.data()).into_owned().into())
            })
        }
        ColumnReader::Int64ColumnReader(reader) => read(reader, wanted, |value| whole(*value)),
        ColumnReader::Int32ColumnReader(reader) => {
            read(reader, wanted, |value| whole(i64::from(*value)))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            read(reader, wanted, |value| Cell::Real(*value))
        }
        _ => bail!("a column has a type that no export of palisade has"),
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    wanted: usize,
    cell: impl Fn(&T::T) -> Cell<'static>,
) -> anyhow::Result<Vec<Cell<'static>>> {
    let (mut cells, mut levels, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while cells.len() < wanted {
        levels.clear();
        values.clear();
        let (rows, count, levelled) =
            reader.read_records(wanted - cells.len(), Some(&mut levels), None, &mut values)?;
        if rows == 0 {
            break;
        }
        let mut values = values.iter().take(count);
        if levels.is_empty() && levelled == rows {
            // A column that always has a value has no levels.
            cells.extend(values.map(&cell));
            continue;
        }
        cells.extend(levels.iter().map(|level| match level {
            0 => Cell::Null,
            _ => values.next().map_or(Cell::Null, &cell),
        }));
    }
    Ok(cells)
}

/// The library panics on some damaged files; the command goes on to say so.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| bail!("the Parquet file is damaged"))
}
