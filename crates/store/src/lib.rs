//! Where events and state live: one query language, one façade.

mod error;
pub mod query;
mod result;
pub mod state;

pub use error::{AppendError, OpenError, QueryError};
pub use result::{Aggregated, Bucket, Key, Page};

use std::path::Path;
use std::sync::Arc;

use palisade_event::{Event, EventId};

/// Settings of the embedded engine.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days of events that are kept.
    pub retention_days: u32,
    /// Most bytes of memory that writers may use before they flush.
    pub writer_memory_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { retention_days: 400, writer_memory_bytes: 32 * 1024 * 1024 }
    }
}

/// What the store holds, for metrics and health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that queries can see.
    pub events: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Days that have an index.
    pub days: u32,
}

/// The event store. Every method blocks (disk, CPU): call it on a blocking
/// thread.
pub enum Store {
    // Embedded(embedded::Embedded) — ClickHouse comes as a second variant.
}

impl Store {
    /// Opens or creates the embedded store in `dir`.
    ///
    /// # Errors
    /// [`OpenError`] where the directory cannot be used.
    pub fn open(dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let _ = (dir, config);
        todo!()
    }
    /// Adds events, skipping those whose id is already there (stored, or added
    /// earlier in this or a former call). Not durable and not visible before
    /// [`Self::commit`].
    ///
    /// Returns one flag an event: whether it was new.
    ///
    /// # Errors
    /// [`AppendError`]: the caller rolls back to its last commit and tries again.
    pub fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        let _ = events;
        todo!()
    }
    /// Makes everything appended durable and visible.
    ///
    /// # Errors
    /// [`AppendError`]: nothing since the last commit may be taken for stored;
    /// uncommitted events were discarded and may be appended again.
    pub fn commit(&self) -> Result<(), AppendError> {
        todo!()
    }
    /// Which of these events are already there (committed or appended).
    ///
    /// # Errors
    /// [`QueryError`] where an index cannot be read.
    pub fn contains(&self, events: &[&Event]) -> Result<Vec<bool>, QueryError> {
        let _ = events;
        todo!()
    }
    /// One page of matching events, newest first by `(observed_at, id)`.
    /// `after` is the cursor of the page before.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn search(
        &self,
        query: &query::Query,
        limit: usize,
        after: Option<query::Cursor>,
    ) -> Result<Page, QueryError> {
        let _ = (query, limit, after);
        todo!()
    }
    /// One event by id.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn get(&self, id: EventId) -> Result<Option<Event>, QueryError> {
        let _ = id;
        todo!()
    }
    /// Counts and groups matching events.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn aggregate(
        &self,
        query: &query::Query,
        aggregation: &query::Aggregation,
    ) -> Result<Aggregated, QueryError> {
        let _ = (query, aggregation);
        todo!()
    }
    /// Removes days that ended before the retention. Returns how many days went.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn retain(&self, now: palisade_event::Timestamp) -> Result<u32, AppendError> {
        let _ = now;
        todo!()
    }
    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
