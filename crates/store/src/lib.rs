//! Where events and state live: one query language, one façade.

mod alert;
pub mod blob;
mod clickhouse;
mod embedded;
mod error;
pub mod query;
mod result;
pub mod state;
mod stored;

pub use alert::{
    AlertField, AlertGroup, AlertKey, AlertOptions, AlertQuestion, Clock, Domains, HoneypotCount,
    HoneypotDay, Place, UNCLASSIFIED, WEB_CATEGORY,
};
pub use clickhouse::{ClickHouse, ClickHouseConfig, clickhouse_rows};
pub use embedded::{Embedded, FORMAT, ReadyOptions, life, read_ready_file};
pub use error::{AppendError, OpenError, QueryError};
pub use result::{Aggregated, Bucket, Key, Page};

use std::path::Path;
use std::sync::Arc;

use palisade_event::{Event, EventId, Timestamp};

/// Settings of the event store.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days of events that are kept.
    pub retention_days: u32,
    /// Bytes on disk that events may take; above, the oldest days go. Default:
    /// no bound but the disk.
    pub max_bytes: Option<u64>,
    /// Shorter lives for some events, each by domain, kind or both.
    pub keep: Vec<KeepRule>,
    /// Most bytes of memory that events on their way into an index may take;
    /// a quiet store takes a fraction of it.
    pub writer_memory_bytes: usize,
    /// Where set, events live in ClickHouse instead of on this machine's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<ClickHouseConfig>,
    /// When answers are counted in advance; smaller numbers for tests.
    #[serde(skip)]
    #[doc(hidden)]
    pub ready: ReadyOptions,
    /// When alerts are counted in a table; smaller numbers for tests.
    #[serde(skip)]
    #[doc(hidden)]
    pub alerts: AlertOptions,
}

/// How long some events are kept: those of a domain, of a kind, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepRule {
    /// Only events of this domain. Default: of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<palisade_event::Domain>,
    /// Only events of this kind. Default: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<palisade_event::EventKind>,
    /// Days that they are kept, at most `retention_days`.
    pub days: u32,
}

impl Config {
    /// Whether an event is past its life at `now`: by age, or by a rule.
    #[must_use]
    pub fn is_expired(&self, event: &Event, now: Timestamp) -> bool {
        let rules = self.keep.iter().filter(|rule| rule.is_for(event)).map(|rule| rule.days);
        let days = rules.chain([self.retention_days]).min().unwrap_or(self.retention_days);
        event.observed_at < now.plus_millis(-i64::from(days).saturating_mul(86_400_000))
    }
}

impl KeepRule {
    /// Whether it is about an event.
    #[must_use]
    pub fn is_for(&self, event: &Event) -> bool {
        self.domain.is_none_or(|domain| domain == event.domain)
            && self.kind.is_none_or(|kind| kind == event.kind)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retention_days: 400,
            max_bytes: None,
            keep: Vec::new(),
            writer_memory_bytes: 128 * 1024 * 1024,
            clickhouse: None,
            ready: ReadyOptions::default(),
            alerts: AlertOptions::default(),
        }
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
    /// Days that could not be read and were put aside (`*.corrupt`).
    pub corrupt_days: u32,
    /// Events that were appended and not stored, as their day was removed for want
    /// of space, since the store was opened.
    pub of_removed_days: u64,
    /// How often aggregates counted in advance answered for a segment.
    pub ready_answers: u64,
    /// How often the events of a segment were counted that is large enough for
    /// aggregates counted in advance.
    pub ready_misses: u64,
    /// Bytes on disk of aggregates counted in advance, as upkeep last saw them.
    pub ready_bytes: u64,
}

/// How an engine wants its events: large parts suit one that is asked over a
/// network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Records of one append.
    pub chunk_records: usize,
    /// Bytes of one append.
    pub chunk_bytes: usize,
    /// Most records between two commits.
    pub uncommitted_records: usize,
    /// Shortest time between two commits of few records, in milliseconds.
    pub commit_every_ms: u64,
    /// So many records are no longer few: they are committed every second.
    pub few_records: usize,
}

impl Pace {
    /// For indexes on this machine's disk: time is the bound that counts there.
    pub const EMBEDDED: Self = Self {
        chunk_records: 4_096,
        chunk_bytes: 4 * 1024 * 1024,
        uncommitted_records: 64 * 4_096,
        commit_every_ms: 200,
        few_records: 512,
    };
    /// For a ClickHouse server or cluster.
    pub const CLICKHOUSE: Self = Self {
        chunk_records: 10_000,
        chunk_bytes: 8 * 1024 * 1024,
        uncommitted_records: 100_000,
        commit_every_ms: 1_000,
        few_records: usize::MAX,
    };
}

/// The event store. Every method blocks (disk, CPU): call it on a blocking
/// thread.
pub enum Store {
    /// Indexes on this machine's disk.
    Embedded(Box<Embedded>),
    /// A ClickHouse server or cluster.
    ClickHouse(Box<ClickHouse>),
}

impl Store {
    /// Opens or creates the store that the settings ask for: the embedded one
    /// in `dir` (only one process may have it open; the caller sees to that),
    /// or the tables in ClickHouse.
    ///
    /// # Errors
    /// [`OpenError`] where the directory cannot be used.
    pub fn open(dir: &Path, config: &Config) -> Result<Self, OpenError> {
        match &config.clickhouse {
            Some(_) => {
                ClickHouse::open(dir, config).map(|engine| Self::ClickHouse(Box::new(engine)))
            }
            None => Embedded::open(dir, config).map(|engine| Self::Embedded(Box::new(engine))),
        }
    }

    /// Adds events, skipping those whose id is already there (stored, or added
    /// earlier in this or a former call). Not durable and not visible before
    /// [`Self::commit`], except that some days of many may be committed earlier.
    ///
    /// Returns one flag an event: whether it was new.
    ///
    /// # Errors
    /// [`AppendError`]: the caller rolls back to its last commit and tries again.
    pub fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        match self {
            Self::Embedded(engine) => engine.append(events),
            Self::ClickHouse(engine) => engine.append(events),
        }
    }

    /// Makes everything appended durable and visible.
    ///
    /// # Errors
    /// [`AppendError`]: nothing since the last commit may be taken for stored;
    /// uncommitted events were discarded and may be appended again.
    pub fn commit(&self) -> Result<(), AppendError> {
        match self {
            Self::Embedded(engine) => engine.commit(),
            Self::ClickHouse(engine) => engine.commit(),
        }
    }

    /// Whether an event is past its life at `now`, so that it must not be
    /// stored (again): by age, by a rule, or as its day was removed for want of
    /// space.
    #[must_use]
    pub fn is_expired(&self, event: &Event, now: Timestamp) -> bool {
        match self {
            Self::Embedded(engine) => engine.is_expired(event, now),
            Self::ClickHouse(engine) => engine.is_expired(event, now),
        }
    }

    /// Discards what was appended since the last commit, so that it can be
    /// appended again and is new then. What an earlier commit stored before it
    /// failed at a later day is told to be new once more.
    pub fn roll_back(&self) {
        match self {
            Self::Embedded(engine) => engine.roll_back(),
            Self::ClickHouse(engine) => engine.roll_back(),
        }
    }

    /// Whether the store can write at all: tries it, with an event that no
    /// query ever finds.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn probe(&self) -> Result<(), AppendError> {
        match self {
            Self::Embedded(engine) => engine.probe(),
            Self::ClickHouse(engine) => engine.check().map_err(AppendError::Failed),
        }
    }

    /// Whether a server that holds the events can be used now; quick, and fine
    /// where events are on this machine's disk.
    ///
    /// # Errors
    /// One sentence that says why not.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::ClickHouse(engine) => engine.check(),
        }
    }

    /// How the engine wants its events.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match self {
            Self::Embedded(_) => Pace::EMBEDDED,
            Self::ClickHouse(_) => Pace::CLICKHOUSE,
        }
    }

    /// Which of these events are already there (committed or appended).
    ///
    /// # Errors
    /// [`QueryError`] where an index cannot be read.
    pub fn contains(&self, events: &[&Event]) -> Result<Vec<bool>, QueryError> {
        match self {
            Self::Embedded(engine) => engine.contains(events),
            Self::ClickHouse(engine) => engine.contains(events),
        }
    }

    /// One page of matching events, newest first by `(observed_at, id)`, at
    /// most 10,000. `after` is the cursor of the page before; it stays good
    /// while events arrive.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn search(
        &self,
        query: &query::Query,
        limit: usize,
        after: Option<query::Cursor>,
    ) -> Result<Page, QueryError> {
        match self {
            Self::Embedded(engine) => engine.search(query, limit, after),
            Self::ClickHouse(engine) => engine.search(query, limit, after),
        }
    }

    /// One event by id.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn get(&self, id: EventId) -> Result<Option<Event>, QueryError> {
        match self {
            Self::Embedded(engine) => engine.get(id),
            Self::ClickHouse(engine) => engine.get(id),
        }
    }

    /// Counts and groups matching events, exactly (a distinct beyond a million
    /// values is an estimate and says so).
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn aggregate(
        &self,
        query: &query::Query,
        aggregation: &query::Aggregation,
    ) -> Result<Aggregated, QueryError> {
        match self {
            Self::Embedded(engine) => engine.aggregate(query, aggregation),
            Self::ClickHouse(engine) => engine.aggregate(query, aggregation),
        }
    }

    /// Removes days that ended before the retention. Returns how many days went.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn retain(&self, now: Timestamp) -> Result<u32, AppendError> {
        match self {
            Self::Embedded(engine) => engine.retain(now),
            Self::ClickHouse(engine) => engine.retain(now),
        }
    }

    /// Does one bounded piece of housekeeping: merges one day that is over
    /// into one segment. `true` where there may be more to do.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn maintain(&self, now: Timestamp) -> Result<bool, AppendError> {
        match self {
            Self::Embedded(engine) => engine.maintain(now),
            Self::ClickHouse(engine) => engine.maintain(now),
        }
    }

    /// The engine's name, as in settings and status.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::ClickHouse(_) => "clickhouse",
        }
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Embedded(engine) => engine.stats(),
            Self::ClickHouse(engine) => engine.stats(),
        }
    }
}
