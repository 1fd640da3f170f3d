//! What can go wrong, by what the caller does next.

use std::io;
use std::path::PathBuf;

/// The spool cannot be opened; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be used.
    #[error("cannot use the spool at {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else has it open.
    #[error("the spool at {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("the spool at {} has format {found}; this build knows up to {known}", path.display())]
    Format {
        /// The segment or the checkpoint.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
}

/// The records are not durable. Nothing was promised for them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The bound is reached and the spool refuses: try later.
    #[error("the spool is full ({max_bytes} bytes)")]
    Full {
        /// The bound.
        max_bytes: u64,
    },
    /// One append is larger than the spool can ever take.
    #[error("{bytes} bytes in one append; at most {max_bytes} fit")]
    TooLarge {
        /// What was tried.
        bytes: u64,
        /// What fits.
        max_bytes: u64,
    },
    /// Writing or syncing failed (disk full, device error): try later.
    #[error("cannot write the spool: {0}")]
    Io(#[source] std::sync::Arc<io::Error>),
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
}

/// Reading failed; records are still there.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A segment or the checkpoint cannot be read or written.
    #[error("cannot read the spool at {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The spool was closed and everything in it has been read.
    #[error("the spool is closed")]
    Closed,
}
