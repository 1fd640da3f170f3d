//! The scale-out engine: events in ClickHouse, over its HTTP interface.
//!
//! `config` is what the operator sets, `http` one request, `server` a connection
//! that is ready (version known, `schema` in place). `row` is how an event lies in
//! its table. `writer` stores each event once and publishes whole commits;
//! `snapshot` is what readers see of them. `filter`, `aggregate` and `page` turn a
//! query into SQL; `sql` is where values become literals. `upkeep` removes what is
//! past its time.
//!
//! Opening never waits for a server: the connection comes about at the first use
//! and again after it was lost, so that a hub starts, takes events into its spool
//! and says what is wrong while ClickHouse is away.

mod aggregate;
mod alerts;
mod attribute;
mod cell;
mod config;
mod filter;
mod http;
mod lookup;
mod page;
mod row;
mod rows;
mod schema;
mod server;
mod snapshot;
mod sql;
mod upkeep;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_event::{Event, EventId, Timestamp};

pub use self::config::ClickHouseConfig;
use self::http::{Fault, Http};
use self::lookup::Key;
use self::server::{MAX_EXECUTION_SECS, MAX_QUERY_MEMORY_BYTES, NotReady, Server};
use self::writer::{WriteError, Writing};
use crate::query::{Aggregation, Cursor, Query};
use crate::{Aggregated, AppendError, Config, OpenError, Page, QueryError, Stats};

/// The scale-out engine.
pub struct ClickHouse {
    config: Config,
    settings: ClickHouseConfig,
    http: Arc<Http>,
    server: Mutex<Option<Arc<Server>>>,
    writing: Mutex<Writing>,
    /// The figures as they were last read.
    stats: Mutex<Stats>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A question's error on its way out.
struct AskError(QueryError);

impl From<QueryError> for AskError {
    fn from(error: QueryError) -> Self {
        Self(error)
    }
}

impl ClickHouse {
    /// Checks the settings. `dir` keeps this hub's number among the writers.
    pub(crate) fn open(dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let fail = |reason: String| OpenError { path: dir.to_owned(), reason };
        let Some(settings) = config.clickhouse.clone() else {
            return Err(fail("there are no settings of ClickHouse".to_owned()));
        };
        let mistakes = settings.mistakes();
        if !mistakes.is_empty() {
            return Err(fail(format!("hub.store.clickhouse: {}", mistakes.join("; "))));
        }
        Ok(Self {
            config: config.clone(),
            http: Arc::new(Http::new(&settings)?),
            settings,
            server: Mutex::default(),
            writing: Mutex::new(Writing::new(dir)),
            stats: Mutex::default(),
        })
    }

    /// The connection; made where there is none.
    fn server(&self) -> Result<Arc<Server>, NotReady> {
        let mut server = lock(&self.server);
        if let Some(server) = server.as_ref() {
            return Ok(Arc::clone(server));
        }
        let made = Arc::new(Server::connect(Arc::clone(&self.http), &self.settings)?);
        *server = Some(Arc::clone(&made));
        Ok(made)
    }

    /// After a failure: the next use looks at version and tables again, as
    /// another server may answer by then.
    fn disconnect(&self) {
        *lock(&self.server) = None;
    }

    /// Whether the store can be used now.
    ///
    /// # Errors
    /// One sentence that says why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let checked = self.server().map_err(|error| match error {
            NotReady::Fault(fault) => fault.to_string(),
            NotReady::Refused(reason) => reason,
        });
        let checked = checked.and_then(|server| {
            snapshot::Snapshot::take(&server).map(drop).map_err(|fault| fault.to_string())
        });
        if checked.is_err() {
            self.disconnect();
        }
        checked
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Server, &mut Writing) -> Result<T, WriteError>,
    ) -> Result<T, AppendError> {
        let mut writing = lock(&self.writing);
        let result = match self.server() {
            Ok(server) => work(&server, &mut writing).map_err(write_error),
            Err(NotReady::Fault(fault)) => Err(write_error(fault.into())),
            Err(NotReady::Refused(reason)) => Err(AppendError::Failed(reason)),
        };
        if result.is_err() {
            writing.roll_back();
            self.disconnect();
        }
        result
    }

    fn read<T>(&self, work: impl FnOnce(&Server) -> Result<T, AskError>) -> Result<T, QueryError> {
        let server = self.server().map_err(|error| match error {
            NotReady::Fault(fault) => ask_error(&fault),
            NotReady::Refused(reason) => QueryError::Failed(reason),
        })?;
        let result = work(&server);
        if let Err(AskError(QueryError::Failed(_))) = &result {
            self.disconnect();
        }
        result.map_err(|AskError(error)| error)
    }

    pub(crate) fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        self.write(|server, writing| writing.append(server, events))
    }

    pub(crate) fn commit(&self) -> Result<(), AppendError> {
        self.write(|server, writing| writing.commit(server))
    }

    pub(crate) fn contains(&self, events: &[&Event]) -> Result<Vec<bool>, QueryError> {
        let keys: Vec<Key> =
            events.iter().map(|event| Key::new(event.observed_at, event.id)).collect();
        let known = self.read(|server| Ok(writer::visible(server, &keys)?))?;
        let writing = lock(&self.writing);
        Ok(keys.iter().map(|key| known.contains(key) || writing.is_pending(key)).collect())
    }

    pub(crate) fn search(
        &self,
        query: &Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        self.read(|server| Ok(page::search(server, query, limit, after, writer::now())?))
    }

    pub(crate) fn get(&self, id: EventId) -> Result<Option<Event>, QueryError> {
        self.read(|server| Ok(page::by_id(server, id)?))
    }

    pub(crate) fn aggregate(
        &self,
        query: &Query,
        aggregation: &Aggregation,
    ) -> Result<Aggregated, QueryError> {
        self.read(|server| aggregate::aggregate(server, query, aggregation))
    }

    pub(crate) fn is_expired(&self, event: &Event, now: Timestamp) -> bool {
        self.config.is_expired(event, now)
    }

    /// Discards what was appended since the last commit.
    pub(crate) fn roll_back(&self) {
        lock(&self.writing).roll_back();
    }

    pub(crate) fn retain(&self, now: Timestamp) -> Result<u32, AppendError> {
        self.look_after(|server| upkeep::retain(server, &self.config, now))
    }

    pub(crate) fn maintain(&self, now: Timestamp) -> Result<bool, AppendError> {
        self.look_after(|server| upkeep::maintain(server, now))
    }

    /// Upkeep has nothing to do with what was appended, and fails without it.
    fn look_after<T>(
        &self,
        work: impl FnOnce(&Server) -> Result<T, Fault>,
    ) -> Result<T, AppendError> {
        let server = match self.server() {
            Ok(server) => server,
            Err(NotReady::Fault(fault)) => return Err(write_error(fault.into())),
            Err(NotReady::Refused(reason)) => return Err(AppendError::Failed(reason)),
        };
        work(&server).map_err(|fault| write_error(fault.into()))
    }

    /// Figures; those of the last time while there is no connection. Waits for none.
    pub(crate) fn stats(&self) -> Stats {
        if lock(&self.server).is_none() {
            return *lock(&self.stats);
        }
        match self.read(|server| Ok(upkeep::stats(server)?)) {
            Ok(stats) => {
                *lock(&self.stats) = stats;
                stats
            }
            Err(error) => {
                tracing::debug!(%error, "cannot read the figures of the store");
                *lock(&self.stats)
            }
        }
    }
}

/// Codes of ClickHouse: too many rows (of groups, too), time, memory, disk.
const TOO_MANY: [u32; 3] = [158, 191, 396];
const TOO_SLOW: [u32; 2] = [159, 160];
const MEMORY: u32 = 241;
const NOT_ENOUGH_SPACE: u32 = 243;

fn ask_error(fault: &Fault) -> QueryError {
    match fault {
        Fault::Refused(code, _) if TOO_MANY.contains(code) => {
            let most = aggregate::MAX_COUNTED;
            let reason = format!("there are more than {most} groups; use a shorter time range");
            QueryError::Unsupported(reason)
        }
        Fault::Refused(code, _) if TOO_SLOW.contains(code) => QueryError::Unsupported(format!(
            "it takes ClickHouse longer than {MAX_EXECUTION_SECS} s; use a shorter time range"
        )),
        Fault::Refused(MEMORY, _) => QueryError::Unsupported(format!(
            "it takes ClickHouse more than {} GiB of memory; use a shorter time range",
            MAX_QUERY_MEMORY_BYTES >> 30
        )),
        other => QueryError::Failed(other.to_string()),
    }
}

fn write_error(error: WriteError) -> AppendError {
    match error {
        WriteError::Fault(Fault::Refused(NOT_ENOUGH_SPACE, reason)) => {
            AppendError::DiskFull(reason)
        }
        WriteError::Fault(fault) => AppendError::Failed(fault.to_string()),
        WriteError::Writer(reason) => AppendError::Failed(reason),
    }
}

/// Reads bytes as ClickHouse's answer to a question for events; how many there
/// were. For the fuzz target.
#[doc(hidden)]
#[must_use]
pub fn clickhouse_rows(bytes: &[u8]) -> usize {
    let mut rows = rows::Rows::new(bytes);
    let mut events = 0;
    while rows.more().unwrap_or(false) && row::decode(&mut rows).is_ok() {
        events += 1;
    }
    events
}
