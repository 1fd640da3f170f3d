//! Records that the hub refused by themselves: set aside in a file for a
//! person to look at, so that they do not hold up the rest.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Longest file, in bytes. When it is full the previous one is replaced, so
/// that at most twice this is kept.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The file for refused records.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
}

impl DeadLetters {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { path: folder.join("refused.ndjson") }
    }

    /// Where they are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a record, one line. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn add(&self, record: &[u8]) -> io::Result<()> {
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if length.saturating_add(record.len() as u64) > MAX_FILE_BYTES {
            std::fs::rename(&self.path, self.path.with_extension("ndjson.old"))?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let mut line = Vec::with_capacity(record.len() + 1);
        line.extend(record.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_records_are_kept_within_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path());
        let record = vec![b'x'; 1024 * 1024];
        for _ in 0..40 {
            letters.add(&record).unwrap();
        }
        let kept: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(kept > MAX_FILE_BYTES && kept <= 2 * MAX_FILE_BYTES, "{kept}");
    }
}
