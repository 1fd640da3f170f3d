//! Where the writer puts events.

use std::sync::Arc;

use palisade_event::Event;
use palisade_store::{AppendError, Pace, Stats, Store};

use crate::lock::Locked;

/// Where events go: the store, or a test's stand-in that fails on demand.
pub(crate) trait Sink: Send + Sync + 'static {
    /// See [`Store::append`].
    fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError>;
    /// See [`Store::commit`].
    fn commit(&self) -> Result<(), AppendError>;
    /// See [`Store::roll_back`].
    fn roll_back(&self);
    /// See [`Store::probe`].
    fn probe(&self) -> Result<(), AppendError>;
    /// See [`Store::pace`].
    fn pace(&self) -> Pace;
    /// See [`Store::stats`].
    fn stats(&self) -> Stats;
}

impl Sink for Locked<Store> {
    fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        Store::append(self, events)
    }
    fn commit(&self) -> Result<(), AppendError> {
        Store::commit(self)
    }
    fn roll_back(&self) {
        Store::roll_back(self);
    }
    fn probe(&self) -> Result<(), AppendError> {
        Store::probe(self)
    }
    fn pace(&self) -> Pace {
        Store::pace(self)
    }
    fn stats(&self) -> Stats {
        Store::stats(self)
    }
}
