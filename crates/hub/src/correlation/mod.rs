//! Correlation: scenarios of the hub, counted over what all machines have seen.
//!
//! It reads the spool by a way of its own, so it sees what is durable, in one
//! order, whatever the store does, and nobody who delivers waits for it. Every
//! event is counted once, also over a crash: the state on disk says up to which
//! record it goes, and the spool keeps what comes after that. What comes out is
//! an event like all others; its id follows from what it was made of, so that
//! the same alert is the same event however often it is derived.
//!
//! Not counted, each with a reason in the metrics, are events that came long
//! after they happened, and what the hub itself has made.

mod checkpoint;
mod look;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_event::{Event, SensorId, Timestamp, Untrusted};
use palisade_rules::{
    AllowValue, Allowlist, Detector, Finding, Matcher, Origin, Switches, Verdict,
};
use palisade_spool::{Position, ReadError, Spool, Tail};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;
use crate::decisions::{HUB, ORIGIN};
use crate::detection;
use crate::error::IngestError;
use crate::ingest::Ingest;
use crate::metrics::{Metrics, Reason};
use crate::recent::Recent;

use checkpoint::Snapshot;
pub(crate) use checkpoint::position;
use look::{Looked, look};

/// Records that are looked at together.
const RECORDS: usize = 1_000;
/// Bytes of them.
const BYTES: usize = 1024 * 1024;
/// Least time between two writes of the state, and for each 16 MiB of it more.
const SAVE_EVERY: Duration = Duration::from_secs(5);
const SAVE_BYTES: u64 = 16 * 1024 * 1024;
/// Names of the allowlist are looked up so often.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);
/// First and longest wait where the spool takes no events.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the task works with before it knows what to count.
pub(crate) struct Correlation {
    pub(crate) spool: Spool,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) switches: watch::Receiver<Switches>,
    pub(crate) folder: PathBuf,
    /// Where counting begins where there is no state.
    pub(crate) begin: u64,
    pub(crate) stop: CancellationToken,
}

impl Correlation {
    /// Waits for what is to be counted, and counts until it is stopped.
    pub(crate) async fn run(self, set_up: oneshot::Receiver<Option<Detector>>) {
        let stop = self.stop.clone();
        let detector = tokio::select! {
            detector = set_up => detector.ok().flatten(),
            () = stop.cancelled() => return,
        };
        let Some(detector) = detector.filter(|one| !one.engine().scenarios().is_empty()) else {
            self.spool.keep(None);
            return;
        };
        let path = checkpoint::path(&self.folder);
        let (spool, begin) = (self.spool.clone(), self.begin);
        let loaded = tokio::task::spawn_blocking(move || load(&path, detector, &spool, begin));
        match loaded.await {
            Ok((detector, from, newest)) => {
                Running::new(self, detector, from, newest).run().await;
            }
            Err(error) => tracing::error!(%error, "correlation cannot start"),
        }
    }
}

/// The detector with its counts, and where to go on.
fn load(
    path: &Path,
    mut detector: Detector,
    spool: &Spool,
    begin: u64,
) -> (Detector, u64, Option<Timestamp>) {
    let loaded = checkpoint::load(path, &mut detector);
    // A position that the spool has not reached is of another one.
    let from = loaded.position.filter(|position| *position <= spool.next().0).unwrap_or(begin);
    (detector, from, loaded.newest)
}

/// The task while it counts.
struct Running {
    parts: Correlation,
    tail: Tail,
    detector: Detector,
    matcher: Arc<Matcher>,
    needs_user: bool,
    sensor: Option<SensorId>,
    /// The number that the next record has where none is missing.
    expected: u64,
    /// Records before it are in the counts.
    counted: u64,
    saved: u64,
    saved_at: Instant,
    saved_bytes: u64,
    save_failing: bool,
    /// When the newest event came in.
    newest: Option<Timestamp>,
    /// Ids of what was counted: an event may be in the spool twice.
    recent: Recent,
    resolving: Option<JoinHandle<Allowlist>>,
}

impl Running {
    fn new(
        mut parts: Correlation,
        mut detector: Detector,
        from: u64,
        newest: Option<Timestamp>,
    ) -> Self {
        detector.simulate(&parts.switches.borrow_and_update());
        parts.spool.keep(Some(Position(from)));
        let user = |entry: &palisade_rules::Allowed| matches!(entry.value, AllowValue::User(_));
        Self {
            // What is before it is looked at for its ids alone.
            tail: parts.spool.tail(parts.spool.oldest()),
            matcher: detector.engine().matcher(),
            needs_user: detector.allowlist.entries().iter().any(user),
            sensor: SensorId::new(HUB).ok(),
            expected: from,
            counted: from,
            saved: from,
            saved_at: Instant::now(),
            saved_bytes: 0,
            save_failing: false,
            newest,
            recent: Recent::new(now()),
            resolving: None,
            detector,
            parts,
        }
    }

    async fn run(mut self) {
        // Where a crash comes before the first state is due, this is where to begin.
        self.write().await;
        let stop = self.parts.stop.clone();
        let mut saves = tokio::time::interval(SAVE_EVERY);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut resolves = tokio::time::interval(RESOLVE_EVERY);
        resolves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = saves.tick() => self.save().await,
                _ = resolves.tick() => self.resolve().await,
                records = self.tail.next(RECORDS, BYTES) => match records {
                    Ok(records) => {
                        if !self.take(records).await {
                            // The state on disk is older, and derives the same again.
                            return;
                        }
                    }
                    Err(ReadError::Closed) => break,
                    Err(error) => {
                        tracing::error!(%error, "correlation cannot read the spool");
                        tokio::time::sleep(LONGEST_WAIT).await;
                    }
                },
            }
        }
        if self.counted != self.saved {
            self.write().await;
        }
    }

    /// Counts records; `false` where what follows from them is not durable and
    /// the hub ends.
    async fn take(&mut self, records: Vec<(u64, Vec<u8>)>) -> bool {
        let end = self.tail.position();
        let first = records.first().map_or(end, |(at, _)| *at);
        // Where the bound of the spool was reached first, records are gone.
        let expected = std::mem::replace(&mut self.expected, end).max(self.counted);
        if first > expected && self.parts.spool.oldest().0 > expected {
            self.left_out("overrun", first - expected);
        }
        let (matcher, needs_user) = (Arc::clone(&self.matcher), self.needs_user);
        let looked = tokio::task::spawn_blocking(move || {
            let one = |(at, record): (u64, Vec<u8>)| (at, look(&record, &matcher, needs_user));
            records.into_iter().map(one).collect::<Vec<_>>()
        });
        let looked = match looked.await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(%error, "records could not be looked at and are not counted");
                self.left_out("failed", end.saturating_sub(first));
                Vec::new()
            }
        };
        if self.parts.switches.has_changed().unwrap_or(false) {
            self.detector.simulate(&self.parts.switches.borrow_and_update());
        }
        let mut events = Vec::new();
        for (at, looked) in looked {
            events.extend(self.count(at, looked));
        }
        self.publish();
        if !events.is_empty() && !self.deliver(events).await {
            return false;
        }
        self.counted = self.counted.max(end);
        true
    }

    /// Counts one event. Gives what follows from it.
    fn count(&mut self, at: u64, looked: Looked) -> Vec<Event> {
        let counts = at >= self.counted;
        let (seen, policy) = match looked {
            Looked::Nothing => return Vec::new(),
            Looked::LeftOut(reason) => {
                if counts {
                    self.left_out(reason, 1);
                }
                return Vec::new();
            }
            Looked::Lifted(target, until) => {
                if counts {
                    self.detector.policy.lift(&target, until);
                }
                return Vec::new();
            }
            Looked::Seen(seen) => (seen, None),
            Looked::Decided(decision, seen) => (seen, Some(decision)),
        };
        let is_new = !self.recent.contains(seen.id);
        self.recent.insert(seen.id);
        if !counts || !is_new {
            return Vec::new();
        }
        if let Some(decision) = policy {
            self.detector.policy.hear(&decision);
        }
        let Some(hit) = seen.hit else { return Vec::new() };
        if self.is_old(seen.received) {
            self.left_out("old", 1);
            return Vec::new();
        }
        self.parts.metrics.correlation_counted.inc();
        let origin = Origin { event: Some(seen.id), user: seen.user.as_deref() };
        let findings = self.detector.count(&hit, origin);
        findings.iter().flat_map(|finding| self.events(finding)).collect()
    }

    /// Whether an event came in long before others that were counted, as what an
    /// administrator brings back has.
    fn is_old(&mut self, received: Timestamp) -> bool {
        let newest = self.newest.unwrap_or(received);
        if received >= newest.plus_millis(-look::DISORDER_MILLIS) {
            self.newest = Some(newest.max(received));
            return false;
        }
        // Unless the hub's own clock was ahead and has been set back.
        if newest > now().plus_millis(look::DISORDER_MILLIS) {
            self.newest = Some(received);
            return false;
        }
        true
    }

    fn events(&self, finding: &Finding) -> Vec<Event> {
        let Some(sensor) = &self.sensor else { return Vec::new() };
        let metrics = &self.parts.metrics;
        let mut events = Vec::new();
        if let Some(scenario) = self.matcher.scenarios().get(finding.alert.scenario) {
            metrics.correlation_alerts.inc();
            events.push(finding.to_event(scenario, sensor.clone()));
        }
        if let Verdict::Decided(decision) = &finding.verdict {
            metrics.correlation_decisions.inc();
            tracing::warn!(
                target = %decision.target,
                action = decision.kind.as_str(),
                duration_secs = decision.duration_secs,
                scenario = decision.scenario.as_str(),
                reason = &*decision.reason,
                simulated = decision.simulated,
                "decided for all machines"
            );
            events.push(decision.to_event(sensor.clone()));
        }
        events.into_iter().map(|event| event.with(ORIGIN, Untrusted::from(HUB))).collect()
    }

    /// Makes events durable; `false` where that was not possible before the end.
    async fn deliver(&self, events: Vec<Event>) -> bool {
        let me = Principal::local(self.sensor.clone());
        let mut wait = FIRST_WAIT;
        loop {
            let taken =
                self.parts.ingest.accept_events(&me, None, events.clone(), Vec::new(), now()).await;
            match taken {
                Ok(_) => return true,
                Err(IngestError::Busy { reason, .. }) => {
                    tracing::warn!(%reason, "what correlation has found waits");
                }
                Err(error) => {
                    tracing::error!(%error, "what correlation has found cannot be told");
                    self.left_out("undelivered", events.len() as u64);
                    return true;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.parts.stop.cancelled() => return false,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Takes over what names of the allowlist are now, and begins to look again.
    async fn resolve(&mut self) {
        if let Some(resolving) = self.resolving.take_if(|one| one.is_finished())
            && let Ok(allowlist) = resolving.await
        {
            self.detector.allowlist = allowlist;
        }
        if self.resolving.is_none() && !self.detector.allowlist.names().is_empty() {
            let mut allowlist = self.detector.allowlist.clone();
            self.resolving = Some(tokio::spawn(async move {
                detection::resolve(&mut allowlist).await;
                allowlist
            }));
        }
    }

    /// Writes the counts down where it is time.
    async fn save(&mut self) {
        let interval = SAVE_EVERY
            * u32::try_from(1 + 6 * (self.saved_bytes / SAVE_BYTES)).unwrap_or(u32::MAX / 64);
        if self.counted == self.saved || self.saved_at.elapsed() < interval.mul_f64(0.9) {
            return;
        }
        self.write().await;
    }

    /// Writes the counts down and lets go of the spool before them.
    async fn write(&mut self) {
        let position = self.counted;
        let path = checkpoint::path(&self.parts.folder);
        let taken = Snapshot::take(&mut self.detector, position, self.newest);
        let written = match taken {
            Ok(snapshot) => {
                self.saved_bytes = snapshot.bytes();
                tokio::task::spawn_blocking(move || snapshot.write(&path))
                    .await
                    .map_err(std::io::Error::other)
                    .and_then(|written| written)
            }
            Err(error) => Err(error),
        };
        self.saved_at = Instant::now();
        match written {
            Ok(()) => {
                self.saved = position;
                self.save_failing = false;
                self.parts.spool.keep(Some(Position(position)));
            }
            Err(error) if !self.save_failing => {
                tracing::error!(%error, "the counts of correlation cannot be written down; a restart counts again from the last that were");
                self.save_failing = true;
            }
            Err(_) => {}
        }
    }

    fn left_out(&self, reason: &'static str, count: u64) {
        let counter = self.parts.metrics.correlation_left_out.get_or_create(&Reason { reason });
        counter.inc_by(count);
    }

    fn publish(&self) {
        let set = |gauge: &prometheus_client::metrics::gauge::Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let (metrics, stats) = (&self.parts.metrics, self.detector.engine().stats());
        set(&metrics.correlation_tracked, stats.tracked);
        set(&metrics.correlation_evicted, stats.evicted);
        let behind = self.parts.spool.next().0.saturating_sub(self.tail.position());
        set(&metrics.correlation_behind, behind);
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}
