//! The segment file that is written to. Knows how to write, not when.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::checkpoint::sync_dir;
use crate::faults::{Faults, Operation};
use crate::segment::{self, Header};

/// An open segment file.
#[derive(Debug)]
pub(crate) struct Active {
    file: File,
    faults: Faults,
}

impl Active {
    /// Creates the file with its header; it is durable on return, and does
    /// not exist after an error.
    pub(crate) fn create(dir: &Path, header: Header, faults: &Faults) -> io::Result<Self> {
        let path = segment::path(dir, header.first);
        let create = || {
            faults.check(Operation::Create)?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all_at(&header.encode(), 0)?;
            file.sync_all()?;
            sync_dir(dir)?;
            Ok(Self { file, faults: faults.clone() })
        };
        create().inspect_err(|_| {
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                // It holds no frame; opening the spool again removes it.
                tracing::warn!(path = %path.display(), %error, "cannot remove an unused segment");
            }
        })
    }

    /// Opens what is there for writing behind byte `bytes`, which becomes its end.
    pub(crate) fn reopen(dir: &Path, first: u64, bytes: u64, faults: &Faults) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(segment::path(dir, first))?;
        if file.metadata()?.len() != bytes {
            file.set_len(bytes)?;
        }
        // What an earlier process wrote and did not sync is delivered from now on.
        file.sync_all()?;
        Ok(Self { file, faults: faults.clone() })
    }

    /// Writes at this offset; not durable yet.
    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(error) = self.faults.check(Operation::Write) {
            // As a full disk does: some of it is there.
            let (some, _) = bytes.split_at(bytes.len() / 2);
            self.file.write_all_at(some, at)?;
            return Err(error);
        }
        self.file.write_all_at(bytes, at)
    }

    /// Makes durable what was written. After an error the file must not be
    /// synced again: the kernel may have thrown the pages away and reports
    /// success the next time.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.faults.check(Operation::Sync)?;
        self.file.sync_data()
    }

    /// Cuts off what was written in vain.
    pub(crate) fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.faults.check(Operation::Truncate)?;
        self.file.set_len(bytes)
    }
}
