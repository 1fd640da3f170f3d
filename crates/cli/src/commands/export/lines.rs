//! NDJSON and CSV: rows are lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_event::table::csv;

use super::Row;
use super::state::{State, beside};
use crate::args::RowFormat;

/// A file of lines, or standard output.
pub(super) struct Lines {
    format: RowFormat,
    to: To,
    /// The header is still to be written.
    head: bool,
}

enum To {
    Stdout,
    File { file: File, path: PathBuf, part: PathBuf },
}

impl Lines {
    pub(super) fn stdout(format: RowFormat) -> anyhow::Result<Self> {
        Ok(Self { format, to: To::Stdout, head: true })
    }

    /// Opens `<path>.part`, cut to what the state says is good.
    pub(super) fn file(format: RowFormat, path: &Path, state: &State) -> anyhow::Result<Self> {
        let part = beside(path, ".part");
        let open = || {
            let options = OpenOptions::new().write(true).create(true).truncate(false).open(&part);
            let mut file = options?;
            file.set_len(state.bytes)?;
            file.seek(io::SeekFrom::End(0))?;
            Ok::<_, io::Error>(file)
        };
        let file = open().with_context(|| format!("cannot write {}", part.display()))?;
        state.save(path)?;
        let to = To::File { file, path: path.to_owned(), part };
        Ok(Self { format, to, head: state.bytes == 0 })
    }

    /// Writes rows; they are durable afterwards.
    pub(super) fn write(&mut self, rows: &[Row<'_>], state: &mut State) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        if self.format == RowFormat::Csv {
            let mut text = String::new();
            if std::mem::take(&mut self.head) {
                csv::write_header(&mut text);
            }
            rows.iter().for_each(|(_, event)| csv::write(&mut text, event));
            bytes = text.into_bytes();
        } else {
            for (line, _) in rows {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
        }
        match &mut self.to {
            To::Stdout => {
                let mut out = io::stdout().lock();
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    // A closed pipe ends the command as it would end `cat`.
                    std::process::exit(0);
                }
            }
            To::File { file, path, part } => {
                let write = file.write_all(&bytes).and_then(|()| file.sync_data());
                write.with_context(|| format!("cannot write {}", part.display()))?;
                state.bytes += bytes.len() as u64;
                state.save(path)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        let To::File { file, path, part } = self.to else { return Ok(()) };
        file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
        super::rename(&part, &path)?;
        State::remove(&path)
    }
}
