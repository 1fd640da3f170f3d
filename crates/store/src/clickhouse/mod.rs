//! The scale-out engine: events in ClickHouse, over its HTTP interface.

mod config;

use std::sync::Arc;

use palisade_event::{Event, EventId, Timestamp};

pub use self::config::ClickHouseConfig;
use crate::query::{Aggregation, Cursor, Query};
use crate::{Aggregated, AppendError, Config, OpenError, Page, QueryError, Stats};

/// The scale-out engine.
pub struct ClickHouse {
    config: Config,
}

impl ClickHouse {
    /// Connects and brings the tables up to date.
    pub(crate) fn open(config: &Config) -> Result<Self, OpenError> {
        Ok(Self { config: config.clone() })
    }

    pub(crate) fn append(&self, _events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        let _ = &self.config;
        Err(AppendError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn commit(&self) -> Result<(), AppendError> {
        Err(AppendError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn contains(&self, _events: &[&Event]) -> Result<Vec<bool>, QueryError> {
        Err(QueryError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn search(
        &self,
        _query: &Query,
        _limit: usize,
        _after: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        Err(QueryError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn get(&self, _id: EventId) -> Result<Option<Event>, QueryError> {
        Err(QueryError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn aggregate(
        &self,
        _query: &Query,
        _aggregation: &Aggregation,
    ) -> Result<Aggregated, QueryError> {
        Err(QueryError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn retain(&self, _now: Timestamp) -> Result<u32, AppendError> {
        Err(AppendError::Failed("not built yet".to_owned()))
    }

    pub(crate) fn maintain(&self, _now: Timestamp) -> Result<bool, AppendError> {
        Ok(false)
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats::default()
    }
}
