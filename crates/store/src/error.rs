//! What can go wrong, by what the caller does next.

/// The store cannot be opened; the operator must act.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store at {}: {reason}", path.display())]
pub struct OpenError {
    /// Where.
    pub path: std::path::PathBuf,
    /// Why not.
    pub reason: String,
}

/// Writing failed; try again later, from the last commit.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full.
    #[error("the disk of the store is full: {0}")]
    DiskFull(String),
    /// Anything else.
    #[error("cannot write the store: {0}")]
    Failed(String),
}

/// A query cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The engine cannot do this; another wording may help.
    #[error("the store cannot answer this: {0}")]
    Unsupported(String),
    /// Reading failed; the operator must act.
    #[error("cannot read the store: {0}")]
    Failed(String),
}
