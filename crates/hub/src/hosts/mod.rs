//! Machines that tell of themselves: inventory, numbers, alerts, findings. Events
//! of the writer, after their commit → [`read`] → updates that wait here → the
//! state database, every second.
//!
//! Nothing here can cost an event. What waits is coalesced, a machine each, within
//! a bound; what a crash takes with it, or the bound, is read again from the store
//! at the next start.

mod attempts;
pub(crate) mod clocks;
mod findings;
mod glimpse;
mod list;
pub(crate) mod read;
mod samples;
mod silence;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_event::{Event, EventKind, Timestamp};
use palisade_store::query::{Field, Filter, Query, TimeRange};
use palisade_store::state::{HostUpdate, State};

pub use self::attempts::DayRange;
pub use self::findings::{
    FindingCounts, FindingInfo, Findings, FindingsQuestion, NewSuppression, SuppressionInfo,
};
pub use self::glimpse::{Clear, HostLog, MAX_HOST_LOGS, PushError};
pub use self::list::{HostAlertInfo, HostInfo, HostInventory, HostSectionInfo};
use self::read::Updates;
pub use self::samples::{HostSample, HostSamples};
use crate::auth::Principal;
use crate::error::{QueryError, StateError};
use crate::metrics::Metrics;
use crate::query::Queries;

/// Machines that are kept track of.
pub(crate) const MAX_HOSTS: usize = 20_000;
/// Bytes of updates that wait.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;
/// Machines of one transaction.
const NOTED_AT_ONCE: usize = 500;
/// The file that says up to when events were noted.
const NOTED_FILE: &str = "hosts-noted";
/// How much earlier is looked again: commits are told a moment after they are made.
const MARGIN_MILLIS: i64 = 60_000;
/// How far back is looked where nothing says up to when.
const FIRST_LOOK_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Events that are read again at a start, and a page of them.
const MAX_READ_AGAIN: usize = 50_000;
const PAGE_EVENTS: usize = 500;

/// What is known of machines.
pub(crate) struct Hosts {
    state: State,
    metrics: Arc<Metrics>,
    file: PathBuf,
    waiting: Mutex<Waiting>,
    reported: glimpse::Reported,
    pub(crate) attempts: attempts::Attempts,
    pub(crate) clocks: clocks::Clocks,
    /// Who holds it writes to the database.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    /// What could not be noted, and is noted first.
    before: Vec<HostUpdate>,
    updates: Updates,
    bytes: usize,
    /// Machines of the database and of the updates.
    known: HashSet<String>,
    /// The newest event that is in the updates or noted.
    newest: Option<Timestamp>,
}

impl Hosts {
    pub(crate) async fn open(
        state: &State,
        metrics: Arc<Metrics>,
        hub_dir: &Path,
    ) -> Result<Self, palisade_store::state::StateError> {
        let known = state.hosts().await?.into_iter().map(|host| host.id).collect();
        Ok(Self {
            state: state.clone(),
            metrics,
            file: hub_dir.join(NOTED_FILE),
            waiting: Mutex::new(Waiting { known, ..Waiting::default() }),
            reported: glimpse::Reported::default(),
            attempts: attempts::Attempts::default(),
            clocks: clocks::Clocks::after(&state.host_alerts(None).await?),
            turn: tokio::sync::Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a commit has made durable.
    pub(crate) fn saw(&self, events: &[Arc<Event>]) {
        if events.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        let mut left_out = 0;
        for event in events {
            left_out += u64::from(!waiting.take(event));
        }
        drop(waiting);
        self.metrics.hosts_left_out.inc_by(left_out);
    }

    /// Adds an update that comes with no event.
    pub(crate) fn add(&self, update: HostUpdate) {
        let mut waiting = self.waiting();
        if waiting.known.len() < MAX_HOSTS || waiting.known.contains(&update.id) {
            waiting.known.insert(update.id.clone());
            waiting.before.push(update);
        }
    }

    /// Writes down what waits; what fails waits on.
    pub(crate) async fn flush(&self) -> Result<(), StateError> {
        let _turn = self.turn.lock().await;
        let (updates, newest) = {
            let mut waiting = self.waiting();
            waiting.bytes = 0;
            let mut updates = std::mem::take(&mut waiting.before);
            updates.extend(std::mem::take(&mut waiting.updates).into_values());
            (updates, waiting.newest)
        };
        let mut updates = updates.into_iter();
        loop {
            let chunk: Vec<HostUpdate> = updates.by_ref().take(NOTED_AT_ONCE).collect();
            if chunk.is_empty() {
                break;
            }
            if let Err(error) = self.state.note_hosts(&chunk).await {
                let mut waiting = self.waiting();
                let mut before: Vec<HostUpdate> = chunk.into_iter().chain(updates).collect();
                before.append(&mut waiting.before);
                // A database that is away for long: the next start reads the rest.
                let too_many = before.len().saturating_sub(MAX_HOSTS);
                before.drain(..too_many);
                waiting.before = before;
                return Err(error.into());
            }
        }
        self.remember(newest);
        Ok(())
    }

    /// Writes down up to when events were noted.
    fn remember(&self, newest: Option<Timestamp>) {
        let Some(newest) = newest else { return };
        let new = self.file.with_extension("new");
        let written = std::fs::write(&new, newest.as_millis().to_string())
            .and_then(|()| std::fs::rename(&new, &self.file));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot write up to when hosts were noted");
        }
    }

    /// Reads again what an end of the process may have taken.
    pub(crate) async fn catch_up(
        &self,
        queries: &Queries,
        now: Timestamp,
    ) -> Result<(), QueryError> {
        let noted = std::fs::read_to_string(&self.file).ok();
        let noted = noted.and_then(|text| text.trim().parse().ok()).map(Timestamp::from_millis);
        let since = match noted {
            Some(noted) => noted.plus_millis(-MARGIN_MILLIS),
            None => now.plus_millis(-FIRST_LOOK_MILLIS),
        };
        let kinds = EventKind::ALL.iter().filter(|kind| read::tells(**kind));
        let kinds = kinds.map(|kind| kind.as_str().to_owned()).collect();
        let filter = Filter::And(vec![
            Filter::In(Field::Kind, kinds),
            Filter::Between(Field::ReceivedAt, Some(since.as_millis()), None),
        ]);
        let query = Query { range: TimeRange::default(), filter };
        let (mut events, mut at) = (Vec::new(), None);
        let who = Principal::local(None);
        loop {
            let page = queries.search(&who, query.clone(), PAGE_EVENTS, at).await?;
            events.extend(page.events.into_iter().map(Arc::new));
            at = page.next;
            if at.is_none() || events.len() >= MAX_READ_AGAIN {
                break;
            }
        }
        events.sort_by_key(|event| (event.received_at, event.id));
        self.saw(&events);
        Ok(())
    }
}

impl Waiting {
    /// Whether the event was taken.
    fn take(&mut self, event: &Event) -> bool {
        if !read::tells(event.kind) {
            return true;
        }
        let (id, ..) = read::identity(event);
        let bytes = read::bytes_of(event);
        let is_new = !self.known.contains(&id);
        if self.bytes + bytes > MAX_PENDING_BYTES || (is_new && self.known.len() >= MAX_HOSTS) {
            return false;
        }
        if is_new {
            self.known.insert(id);
        }
        self.bytes += bytes;
        self.newest = self.newest.max(event.received_at);
        read::read(&mut self.updates, event);
        true
    }
}

impl Hosts {
    /// Forgets a machine; whether it was there.
    pub(crate) async fn forget(&self, id: &str) -> Result<bool, StateError> {
        let _turn = self.turn.lock().await;
        {
            let mut waiting = self.waiting();
            waiting.updates.remove(id);
            waiting.before.retain(|update| update.id != id);
            waiting.known.remove(id);
        }
        self.reported.forget(id);
        self.clocks.forget(id);
        Ok(self.state.remove_host(id).await?)
    }

    /// The events of a machine; `None` where there is no such machine.
    pub(crate) async fn events_of(&self, id: &str) -> Result<Option<Filter>, StateError> {
        let found = self.state.host(id).await?;
        Ok(found.map(|host| samples::of(&host)))
    }

    /// Forgets findings that were closed before an instant.
    pub(crate) async fn sweep(&self, before: Timestamp) -> Result<u64, StateError> {
        Ok(self.state.forget_findings(before).await?)
    }
}

/// Refuses who may not see machines: they are nobody's but the operator's.
pub(crate) fn readable(who: &Principal) -> Result<(), QueryError> {
    use crate::auth::Permission;
    use palisade_event::Domain;
    let may = who.may(Permission::Read) && who.sees(Domain::Private);
    if may { Ok(()) } else { Err(QueryError::Forbidden) }
}
