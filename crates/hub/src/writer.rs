//! The writer: spool → decode → enrich → store → commit → live.
//!
//! It pulls: while the store takes one chunk the next is decoded and enriched,
//! and no more than that is in memory. The spool's position moves only after the
//! store's commit, and live subscribers hear of an event only then. If the store fails, the writer goes
//! back to the last commit and tries again, slower each time; ingest goes on
//! until the spool is full. A record that cannot be decoded, and one that the
//! store refuses while it takes others (or while it is found in good health),
//! go to quarantine.

mod fresh;
mod sink;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_event::{Event, EventKind, Timestamp, wire};
use palisade_spool::{Chunk, ReadError, Reader};
use palisade_store::{AppendError, Pace, Stats};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cve::Cves;
use crate::decisions::Decisions;
use crate::enrich::Enricher;
use crate::feed::Stored;
use crate::handover::Handover;
use crate::health::Health;
use crate::hosts::Hosts;
use crate::ingest::UNSTORABLE;
use crate::live::Shown;
use crate::metrics::{Metrics, Reason};
use crate::outbound::Outlets;
use crate::payload::Payloads;
use crate::quarantine::{Quarantine, Rejected};
use crate::recent::Recent;
use crate::sensors::Sensors;
use fresh::Fresh;
use sink::Sink;

/// Longest time between an event's arrival and its commit while the store keeps up.
const COMMIT_AFTER: Duration = Duration::from_secs(1);
/// First wait after a failure; doubles up to the longest. Unit tests do not wait.
const FIRST_BACKOFF: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 250 });
/// Longest wait after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 30_000 });
/// Failures of a single record before its neighbours are tried without it.
const SUSPECT_AFTER: u32 = 2;
/// Neighbours that are tried.
const NEIGHBOURS: usize = 16;
/// At the end: nothing more comes after so long.
const DRAINED_AFTER: Duration = Duration::from_millis(50);

/// What the writer works with.
pub(crate) struct Parts<S> {
    pub(crate) sink: Arc<S>,
    pub(crate) handover: Arc<Handover>,
    pub(crate) enricher: Arc<Enricher>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) sensors: Arc<Sensors>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) cves: Arc<Cves>,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) recent: Arc<Mutex<Recent>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) live: broadcast::Sender<Shown>,
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) feed: broadcast::Sender<Stored>,
    /// Store what is in the spool, then end.
    pub(crate) drain: CancellationToken,
}

/// The writer task.
pub(crate) struct Writer<S> {
    reader: Reader,
    parts: Parts<S>,
    /// How large chunks are, and how often the store commits.
    pace: Pace,
    /// The chunk after the one that the store has, being decoded.
    ahead: Option<Ahead>,
    pending: Pending,
    last_commit: Instant,
    /// Records that the next chunk may have; small while a bad one is looked for.
    limit: usize,
    /// Records that the last chunk had.
    last_chunk: usize,
    /// Failures in a row with the same single record first.
    alone: (u64, u32),
}

/// What was appended since the last commit.
#[derive(Default)]
struct Pending {
    end: u64,
    records: usize,
    since: Option<Instant>,
    oldest: Option<Timestamp>,
    fresh: Fresh,
    /// Those that tell of decisions.
    decisions: Vec<Arc<Event>>,
}

/// A chunk that is being decoded.
struct Ahead {
    records: usize,
    end: u64,
    decoding: JoinHandle<Decoded>,
}

/// A decoded chunk.
#[derive(Default)]
struct Decoded {
    events: Vec<Arc<Event>>,
    oldest: Option<Timestamp>,
    /// Records that cannot be decoded, and why not.
    undecodable: Vec<(Vec<u8>, String)>,
}

/// Why a round failed.
enum Failure {
    /// Trying the same again may help, or a smaller part of it.
    Store(String),
    /// No part of it would do better.
    Elsewhere(String),
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::DiskFull(_) => Self::Elsewhere(error.to_string()),
            AppendError::Failed(_) => Self::Store(error.to_string()),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Elsewhere(error.to_string())
    }
}

impl<S: Sink> Writer<S> {
    pub(crate) fn new(reader: Reader, parts: Parts<S>) -> Self {
        let pace = parts.sink.pace();
        Self {
            reader,
            parts,
            ahead: None,
            pending: Pending::default(),
            last_commit: Instant::now(),
            limit: pace.chunk_records,
            last_chunk: pace.chunk_records,
            pace,
            alone: (0, 0),
        }
    }

    /// Runs until it has drained the spool, or the spool is closed.
    pub(crate) async fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.round().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => {
                    self.step_back(&failure).await;
                    // At the end the rest waits in the spool for the next start.
                    let drain = self.parts.drain.clone();
                    if drain.is_cancelled() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(backoff) => {}
                        () = drain.cancelled() => {}
                    }
                    // While smaller parts are tried there is no hurry to slow down.
                    if self.limit == 1 || matches!(failure, Failure::Elsewhere(_)) {
                        backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    }
                    continue;
                }
            }
            if self.pending.records == 0 {
                backoff = FIRST_BACKOFF;
            }
        }
    }

    /// Takes one chunk, or commits. Returns whether there is more to do.
    async fn round(&mut self) -> Result<bool, Failure> {
        let drain = self.parts.drain.clone();
        let draining = drain.is_cancelled();
        if self.ahead.is_none() {
            let now = Instant::now();
            // Commits when the queue has run empty, but not too often.
            let idle_at = match (self.pending.since, draining) {
                (_, true) => Some(now + DRAINED_AFTER),
                (Some(_), false) => Some(now.max(self.last_commit + self.pause())),
                (None, false) => None,
            };
            let idle = async {
                match idle_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let chunk = tokio::select! {
                biased;
                chunk = self.reader.next(self.limit, self.pace.chunk_bytes) => Some(chunk),
                () = drain.cancelled(), if !draining => return Ok(true),
                () = idle => None,
            };
            match chunk {
                Some(Ok(chunk)) => self.ahead = Some(self.decode(chunk)),
                Some(Err(ReadError::Closed)) => {
                    self.commit().await?;
                    return Ok(false);
                }
                Some(Err(error)) => return Err(error.into()),
                None if self.pending.since.is_some() => {
                    self.commit().await?;
                    return Ok(true);
                }
                None => return Ok(!draining),
            }
        }
        self.pass().await?;
        if self.is_due() {
            self.commit().await?;
        }
        Ok(true)
    }

    /// Shortest time between two commits: many small segments are what makes
    /// questions slow while events arrive.
    fn pause(&self) -> Duration {
        match self.pending.records < self.pace.few_records {
            true => Duration::from_millis(self.pace.commit_every_ms),
            false => COMMIT_AFTER,
        }
    }

    fn is_due(&self) -> bool {
        self.limit < self.pace.chunk_records
            || self.pending.records >= self.pace.uncommitted_records
            || self.pending.since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER)
    }

    /// Begins to decode and enrich a chunk.
    fn decode(&self, chunk: Chunk) -> Ahead {
        let enricher = Arc::clone(&self.parts.enricher);
        let handover = Arc::clone(&self.parts.handover);
        Ahead {
            records: chunk.records.len(),
            end: chunk.end,
            decoding: tokio::task::spawn_blocking(move || {
                decode(chunk.records, &handover, &enricher)
            }),
        }
    }

    /// Appends the chunk that was decoded to the store, without commit, and
    /// decodes the next one meanwhile where there is one.
    async fn pass(&mut self) -> Result<(), Failure> {
        let Some(Ahead { records, end, decoding }) = self.ahead.take() else { return Ok(()) };
        self.last_chunk = records;
        let decoded = decoding.await.map_err(|error| Failure::Store(error.to_string()))?;
        if let Some(oldest) = decoded.oldest {
            self.parts.health.waiting(oldest);
        }
        let decisions = deciding(&decoded.events);
        let append = self.append(decoded.events);
        tokio::pin!(append);
        let fresh = loop {
            tokio::select! {
                biased;
                fresh = &mut append => break fresh?,
                chunk = self.reader.next(self.limit, self.pace.chunk_bytes), if self.ahead.is_none() => {
                    match chunk {
                        Ok(chunk) => self.ahead = Some(self.decode(chunk)),
                        // It comes again when it is its turn.
                        Err(_) => break append.await?,
                    }
                }
            }
        };
        self.reject(&decoded.undecodable).await?;
        let pending = &mut self.pending;
        pending.end = end;
        pending.records += records;
        pending.since.get_or_insert_with(Instant::now);
        pending.oldest = pending.oldest.into_iter().chain(decoded.oldest).min();
        pending.fresh.extend(fresh);
        pending.decisions.extend(decisions);
        Ok(())
    }

    /// Appends events to the store, and passes on those that were new: to the
    /// queues of targets, where they are durable before the hub's spool is
    /// freed, and to feeds.
    fn append(
        &self,
        events: Vec<Arc<Event>>,
    ) -> impl Future<Output = Result<Fresh, Failure>> + use<S> {
        let sink = Arc::clone(&self.parts.sink);
        let recent = Arc::clone(&self.parts.recent);
        let (outlets, feed) = (Arc::clone(&self.parts.outlets), self.parts.feed.clone());
        let is_wanted = !outlets.0.is_empty() || feed.receiver_count() > 0;
        let appended = blocking(move || {
            let flags = sink.append(&events)?;
            let mut fresh = Fresh::default();
            let mut new = Vec::new();
            let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
            for (event, is_new) in events.into_iter().zip(flags) {
                // After a restart these are the ids that are not in the store yet.
                if recent.may_have_forgotten(event.id) && !recent.contains(event.id) {
                    recent.insert(event.id);
                }
                if is_new {
                    if is_wanted {
                        new.push(Arc::clone(&event));
                    }
                    fresh.add(event);
                }
            }
            Ok((fresh, new))
        });
        async move {
            let (fresh, new) = appended.await?;
            if !new.is_empty() {
                outlets.pass_on(&new).await;
                // An error means that nobody listens.
                let _ = feed.send(new.into());
            }
            Ok(fresh)
        }
    }

    /// Keeps records that the store will never take.
    async fn reject(&self, records: &[(Vec<u8>, String)]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        tracing::warn!(records = records.len(), "records of the spool went to quarantine");
        let rejected: Vec<Rejected<'_>> = records
            .iter()
            .map(|(record, reason)| Rejected { sensor: "hub", record, reason })
            .collect();
        let now = Timestamp::from(std::time::SystemTime::now());
        self.parts
            .quarantine
            .add(&rejected, now)
            .await
            .map_err(|error| Failure::Elsewhere(error.to_string()))?;
        let counter =
            self.parts.metrics.quarantined.get_or_create_owned(&Reason { reason: UNSTORABLE });
        counter.inc_by(records.len() as u64);
        Ok(())
    }

    /// Makes what was appended durable and visible, frees the spool, tells the
    /// subscribers.
    async fn commit(&mut self) -> Result<(), Failure> {
        if self.pending.since.is_none() {
            return Ok(());
        }
        // They are noted, or wait elsewhere, before the spool forgets them.
        let decisions = &self.parts.decisions;
        decisions.settle(&self.pending.decisions).await.map_err(Failure::Elsewhere)?;
        let stats = self.commit_sink().await?;
        let pending = std::mem::take(&mut self.pending);
        self.last_commit = Instant::now();
        if self.limit < self.pace.chunk_records {
            self.limit = (self.limit * 2).min(self.pace.chunk_records);
        }
        self.alone = (0, 0);
        let now = Timestamp::from(std::time::SystemTime::now());
        let lag = pending.oldest.map_or(0, |oldest| now.as_millis() - oldest.as_millis());
        self.parts.health.committed(stats, lag);
        self.parts.metrics.commits.inc();
        self.parts.metrics.writer_lag.set(lag.max(0) as f64 / 1000.0);
        self.announce(pending.fresh);
        // Where this fails the store skips what comes again.
        self.reader.commit(pending.end).await?;
        Ok(())
    }

    async fn commit_sink(&self) -> Result<Stats, Failure> {
        let sink = Arc::clone(&self.parts.sink);
        let stats = blocking(move || {
            sink.commit()?;
            Ok(sink.stats())
        })
        .await?;
        self.parts.outlets.committed();
        Ok(stats)
    }

    fn announce(&self, fresh: Fresh) {
        self.parts.cves.saw(fresh.cves);
        self.parts.hosts.saw(&fresh.hosts);
        // An error means that nobody listens.
        if fresh.left_out > 0 {
            let _ = self.parts.live.send(Shown::LeftOut(fresh.left_out));
        }
        for event in fresh.newest {
            let _ = self.parts.live.send(Shown::Event(event));
        }
        for (sensor, events) in fresh.by_sensor {
            self.parts.metrics.stored.inc_by(events);
            self.parts.sensors.stored(&sensor, events);
        }
        self.parts.payloads.seen(fresh.by_payload);
    }

    /// After a failure: back to the last commit, and smaller steps from there.
    async fn step_back(&mut self, failure: &Failure) {
        self.parts.metrics.store_failures.inc();
        let (Failure::Store(reason) | Failure::Elsewhere(reason)) = failure;
        tracing::error!(%reason, "cannot store events; they wait in the spool");
        self.parts.health.failed(reason);
        self.go_back().await;
        if let Failure::Elsewhere(_) = failure {
            return;
        }
        if self.limit > 1 {
            self.limit = (self.limit.min(self.last_chunk) / 2).max(1);
            return;
        }
        let first = self.reader.committed();
        self.alone = if self.alone.0 == first { (first, self.alone.1 + 1) } else { (first, 1) };
        if self.alone.1 >= SUSPECT_AFTER {
            self.alone = (0, 0);
            if let Err(Failure::Store(reason) | Failure::Elsewhere(reason)) =
                self.try_without_first(reason).await
            {
                tracing::warn!(%reason, "the store takes no other record either");
            }
            self.go_back().await;
        }
    }

    /// Forgets what is not committed, here and in the store.
    async fn go_back(&mut self) {
        let sink = Arc::clone(&self.parts.sink);
        if let Err(error) = tokio::task::spawn_blocking(move || sink.roll_back()).await {
            tracing::error!(%error, "cannot roll the store back");
        }
        self.parts.outlets.rolled_back();
        self.ahead = None;
        self.pending = Pending::default();
        self.reader.rewind();
    }

    /// Appends and commits one record; what was new.
    async fn store_alone(&self, record: Vec<u8>) -> Result<Fresh, Failure> {
        let decoded = decode(vec![record], &self.parts.handover, &self.parts.enricher);
        let decisions = deciding(&decoded.events);
        let fresh = self.append(decoded.events).await?;
        self.reject(&decoded.undecodable).await?;
        self.parts.decisions.settle(&decisions).await.map_err(Failure::Elsewhere)?;
        self.commit_sink().await?;
        Ok(fresh)
    }

    /// Puts the first record into quarantine if the store takes one of its
    /// neighbours, or is well where there is none; else the store itself is
    /// broken, and nothing is done.
    async fn try_without_first(&mut self, reason: &str) -> Result<(), Failure> {
        let mut first = self.reader.next(1, self.pace.chunk_bytes).await?;
        let Some(record) = first.records.pop() else { return Ok(()) };
        let neighbours =
            timeout(DRAINED_AFTER, self.reader.next(NEIGHBOURS, self.pace.chunk_bytes)).await;
        let is_well = match neighbours {
            Ok(Ok(neighbours)) => self.takes_one_of(neighbours.records).await,
            Ok(Err(ReadError::Closed)) | Err(_) => self.probe().await.is_ok(),
            Ok(Err(error)) => return Err(error.into()),
        };
        if !is_well {
            return Ok(());
        }
        // The store may just have recovered: the first has one more try.
        match self.store_alone(record.clone()).await {
            Ok(fresh) => self.announce(fresh),
            Err(Failure::Elsewhere(reason)) => return Err(Failure::Elsewhere(reason)),
            Err(Failure::Store(_)) => {
                let reason = format!("the store refuses it: {reason}");
                self.reject(&[(record, reason)]).await?;
            }
        }
        self.reader.commit(first.end).await?;
        Ok(())
    }

    /// Whether the store takes any of these.
    async fn takes_one_of(&self, records: Vec<Vec<u8>>) -> bool {
        for record in records {
            if let Ok(fresh) = self.store_alone(record).await {
                self.announce(fresh);
                return true;
            }
        }
        false
    }

    async fn probe(&self) -> Result<(), Failure> {
        let sink = Arc::clone(&self.parts.sink);
        blocking(move || sink.probe()).await
    }
}

/// Decodes records that ingest has not handed over, and enriches all.
fn decode(records: Vec<Vec<u8>>, handover: &Handover, enricher: &Enricher) -> Decoded {
    let mut decoded = Decoded { events: Vec::with_capacity(records.len()), ..Decoded::default() };
    let handed = handover.take(&records);
    for (record, handed) in records.into_iter().zip(handed) {
        match handed.map_or_else(|| wire::decode_event(&record).map(Box::new), Ok) {
            Ok(mut event) => {
                enricher.enrich(&mut event);
                decoded.oldest = decoded.oldest.into_iter().chain(event.received_at).min();
                decoded.events.push(Arc::from(event));
            }
            Err(error) => decoded.undecodable.push((record, error.to_string())),
        }
    }
    decoded
}

/// Those that tell of decisions.
fn deciding(events: &[Arc<Event>]) -> Vec<Arc<Event>> {
    let decides = |event: &&Arc<Event>| {
        matches!(event.kind, EventKind::DecisionMade | EventKind::DecisionLifted)
    };
    events.iter().filter(decides).cloned().collect()
}

/// Runs store work on a blocking thread. A panic there counts as a failure.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AppendError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failure::from),
        Err(error) => Err(Failure::Store(error.to_string())),
    }
}
