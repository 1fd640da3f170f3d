//! Questions to the store: only what the principal may see, a bounded number
//! at once, off the async threads. The time limit is the caller's; a question
//! that nobody waits for any more still runs to its end in its slot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use palisade_event::{Domain, Event, EventId, Timestamp};
use palisade_store::query::{Aggregation, Cursor, Field, Filter, Query, TimeRange};
use palisade_store::{Aggregated, Key, Page, Store};
use tokio::sync::{Mutex, Semaphore};

use crate::auth::{Permission, Principal};
use crate::error::QueryError;
use crate::lock::Locked;
use crate::metrics::Metrics;

/// Questions that the store works on at once; the others wait.
const MAX_QUERIES: usize = 2;
/// Questions about alerts that the store works on at once, beside the others:
/// they are short, and must not wait for one that is long.
const MAX_ALERT_QUESTIONS: usize = 2;
/// Sensors whose events are counted.
const MAX_SENSORS: usize = palisade_store::query::MAX_TOP;
/// How long the counts of the last 24 hours are used, in milliseconds.
const COUNTS_MILLIS: i64 = 10_000;
/// 24 hours, in milliseconds.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The way to the store for those who ask.
pub(crate) struct Queries {
    store: Arc<Locked<Store>>,
    metrics: Arc<Metrics>,
    turns: Arc<Semaphore>,
    alert_turns: Arc<Semaphore>,
    counts: Mutex<Option<Counts>>,
}

/// Events of each sensor in the 24 hours before `at`.
struct Counts {
    at: Timestamp,
    by_sensor: Arc<HashMap<String, u64>>,
}

impl Queries {
    pub(crate) fn new(store: Arc<Locked<Store>>, metrics: Arc<Metrics>) -> Self {
        let turns = Arc::new(Semaphore::new(MAX_QUERIES));
        let alert_turns = Arc::new(Semaphore::new(MAX_ALERT_QUESTIONS));
        Self { store, metrics, turns, alert_turns, counts: Mutex::default() }
    }

    pub(crate) async fn search(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        let query = visible(who, query)?;
        self.run(move |store| store.search(&query, limit, after)).await
    }

    pub(crate) async fn get(
        &self,
        who: &Principal,
        id: EventId,
    ) -> Result<Option<Event>, QueryError> {
        readable(who)?;
        let found = self.run(move |store| store.get(id)).await?;
        Ok(found.filter(|event| who.sees(event.domain)))
    }

    pub(crate) async fn aggregate(
        &self,
        who: &Principal,
        query: Query,
        aggregation: Aggregation,
    ) -> Result<Aggregated, QueryError> {
        let query = visible(who, query)?;
        self.run(move |store| store.aggregate(&query, &aggregation)).await
    }

    /// Events of each sensor in the last 24 hours, at most some seconds old.
    pub(crate) async fn counts_24h(
        &self,
        now: Timestamp,
    ) -> Result<Arc<HashMap<String, u64>>, QueryError> {
        // Held while the store counts: who comes meanwhile wants the same.
        let mut counts = self.counts.lock().await;
        if let Some(counts) = counts.as_ref()
            && (0..COUNTS_MILLIS).contains(&(now.as_millis() - counts.at.as_millis()))
        {
            return Ok(Arc::clone(&counts.by_sensor));
        }
        let range = TimeRange { from: Some(now.plus_millis(-DAY_MILLIS)), to: None };
        let query = Query { range, filter: Filter::All };
        let top = Aggregation::Top(vec![Field::Sensor], MAX_SENSORS, None);
        let answer = self.run(move |store| store.aggregate(&query, &top)).await?;
        let Aggregated::Buckets { buckets, .. } = answer else {
            return Err(QueryError::Failed("the store answered another question".into()));
        };
        let by_sensor = buckets
            .into_iter()
            .filter_map(|bucket| match bucket.key.into_iter().next() {
                Some(Key::Text(sensor)) => Some((sensor, bucket.count)),
                _ => None,
            })
            .collect();
        let by_sensor = Arc::new(by_sensor);
        *counts = Some(Counts { at: now, by_sensor: Arc::clone(&by_sensor) });
        Ok(by_sensor)
    }

    /// Asks about alerts.
    pub(crate) async fn alerts<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, palisade_store::QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.run_in(&self.alert_turns, ask).await
    }

    /// Asks the store for what no other question here is.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, palisade_store::QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.run_in(&self.turns, ask).await
    }

    async fn run_in<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        ask: impl FnOnce(&Store) -> Result<T, palisade_store::QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let stopped = || QueryError::Failed("the hub is stopping".into());
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| stopped())?;
        let store = Arc::clone(&self.store);
        let began = Instant::now();
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            ask(&store)
        })
        .await
        .map_err(|error| QueryError::Failed(error.to_string()))?;
        self.metrics.queried(began.elapsed());
        Ok(answer?)
    }
}

/// Refuses who may not read.
pub(crate) fn readable(who: &Principal) -> Result<(), QueryError> {
    if who.may(Permission::Read) { Ok(()) } else { Err(QueryError::Forbidden) }
}

/// The part of a question that the principal may have answered.
fn visible(who: &Principal, query: Query) -> Result<Query, QueryError> {
    readable(who)?;
    if who.sees(Domain::Private) {
        return Ok(query);
    }
    let community = Filter::In(Field::Domain, vec![Domain::Community.as_str().to_owned()]);
    Ok(Query { filter: Filter::And(vec![community, query.filter]), ..query })
}
