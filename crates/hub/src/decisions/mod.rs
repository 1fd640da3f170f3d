//! Decisions on the hub: noted as soon as they are durable, told to agents and
//! bouncers. Not what makes decisions, and not what carries them out.
//!
//! Two ways lead here, and both may bring the same: ingest queues what it has
//! just made durable, so that others hear of it within milliseconds; and the
//! writer notes what a part of the spool held before that part is freed, so
//! that a crash costs nothing. While the state database is away, what the
//! writer brings waits in a file.

mod bouncers;
mod directions;
mod effect;
mod feed;
mod knock;
mod operate;
mod pull;
mod read;
mod ring;
mod waiting;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use palisade_event::{
    DecisionTarget, EffectReceipt, EffectReport, Event, EventId, SensorId, Timestamp,
};
use palisade_store::state::{Engine, Heard, Noted, Noting, State, StateError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;
use crate::error::QueryError;
use crate::metrics::{Metrics, Reason};
use directions::Directing;
use effect::Effects;
pub use effect::{HostEffect, HostState, TargetEffect};
pub use feed::{FeedPage, FeedQuestion};
pub use knock::{
    LetIn, MAX_LINK_SECS, MAX_SPARED_SECS, MadeKnockLink, NewKnockLink, OpenKnockLink,
};
pub use operate::{Ban, MAX_ALLOW_ENTRIES, NewAllowEntry};
pub(crate) use operate::{Desk, reads};
pub use pull::{MAX_PULLED, Pull, Told};
pub(crate) use read::{BY, HUB, ORIGIN, noting};
use ring::Ring;
use waiting::Waiting;

/// Decisions that wait to be noted at once; the writer brings what is left out.
pub(crate) const QUEUED_DECISIONS: usize = 10_000;
/// Most decisions in force; more are left out, counted.
pub(crate) const MAX_ACTIVE: u64 = 200_000;
/// Decisions and lifts that are over and still listed.
pub(crate) const MAX_PAST: u64 = 100_000;
/// Bouncers that are remembered, the last that asked; another one is told
/// everything at its next poll.
const MAX_BOUNCERS: u32 = 10_000;
/// What is over is listed for so long: 30 days.
const KEEP_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Notings of one transaction.
const BATCH: usize = 2_000;
/// Ids that are known to be noted; beyond it all are forgotten, and looked up.
const MAX_SETTLED: usize = 50_000;
/// How often other hubs' changes are looked for, where the database is shared.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what waits for the database is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Decisions {
    state: State,
    metrics: Arc<Metrics>,
    queue: mpsc::Sender<Noting>,
    queued: Mutex<Option<mpsc::Receiver<Noting>>>,
    settled: Mutex<HashSet<EventId>>,
    ring: Mutex<Ring>,
    /// The last number that is in the ring.
    head: watch::Sender<u64>,
    /// Who holds it notes and fills the ring, so that the ring is in order.
    turn: tokio::sync::Mutex<()>,
    waiting: Waiting,
    directing: Directing,
    effects: Effects,
    closed: CancellationToken,
}

impl Decisions {
    /// Begins where the state ends, and notes what waited for it.
    pub(crate) async fn open(
        state: &State,
        metrics: Arc<Metrics>,
        file: PathBuf,
        closed: CancellationToken,
    ) -> Result<Self, StateError> {
        let (queue, queued) = mpsc::channel(QUEUED_DECISIONS);
        let head = state.decision_head().await?;
        let now = Timestamp::from(std::time::SystemTime::now());
        let directing = Directing::open(state, now).await?;
        let decisions = Self {
            state: state.clone(),
            metrics,
            queue,
            queued: Mutex::new(Some(queued)),
            settled: Mutex::default(),
            ring: Mutex::new(Ring::new(head)),
            head: watch::Sender::new(head),
            turn: tokio::sync::Mutex::default(),
            waiting: Waiting::new(file),
            directing,
            effects: Effects::default(),
            closed,
        };
        decisions.retry().await?;
        Ok(decisions)
    }

    /// What events tell of decisions, as far as that is accepted. The rest is
    /// counted.
    pub(crate) fn read<'e>(&self, events: impl Iterator<Item = &'e Event>) -> Vec<Noting> {
        let mut notings = Vec::new();
        for event in events {
            match read::noting(event) {
                Some(Ok(noting)) => notings.push(noting),
                Some(Err(why)) => self.refuse(event, why),
                None => {}
            }
        }
        notings
    }

    fn refuse(&self, event: &Event, why: read::Refusal) {
        // The writer sees each event once more.
        if self.settled().insert(event.id) {
            let (id, sensor) = (event.id, &event.sensor);
            tracing::warn!(%id, %sensor, reason = why.text, "a decision is not accepted");
            self.metrics.decisions_refused(why.class, 1);
        }
    }

    /// Takes what has just become durable.
    pub(crate) fn hear(&self, notings: Vec<Noting>) {
        for noting in notings {
            // What does not fit in comes with the writer.
            if self.queue.try_send(noting).is_err() {
                return;
            }
        }
    }

    /// Notes what events of the spool tell, before they leave it. Where the
    /// state cannot be written, they wait in a file.
    ///
    /// # Errors
    /// Neither can be written.
    pub(crate) async fn settle(&self, events: &[Arc<Event>]) -> Result<(), String> {
        let fresh: Vec<Arc<Event>> = {
            let settled = self.settled();
            events.iter().filter(|event| !settled.contains(&event.id)).cloned().collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let notings = self.read(fresh.iter().map(|event| &**event));
        match self.note(&notings).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "decisions wait until they can be noted");
                self.waiting.keep(fresh).await
            }
        }
    }

    /// Notes them in their order, and tells those who wait for news.
    pub(crate) async fn note(&self, notings: &[Noting]) -> Result<Vec<Noted>, StateError> {
        let mut all = Vec::with_capacity(notings.len());
        for part in notings.chunks(BATCH) {
            let turn = self.turn.lock().await;
            let now = Timestamp::from(std::time::SystemTime::now());
            let noted = self.state.note_decisions(part, MAX_ACTIVE, now).await?;
            match self.state.engine() {
                // Nobody else gives numbers.
                Engine::Sqlite => {
                    let changes = noted.iter().filter_map(|one| match one {
                        Noted::Changed(change, _) => Some(change.clone()),
                        Noted::Known | Noted::Recorded(_) | Noted::Full => None,
                    });
                    let head = self.ring().extend(changes);
                    self.tell(head);
                }
                Engine::Postgres => self.look_now().await?,
            }
            drop(turn);
            self.count(part, &noted);
            all.extend(noted);
        }
        Ok(all)
    }

    fn count(&self, notings: &[Noting], noted: &[Noted]) {
        let mut settled = self.settled();
        for (noting, noted) in notings.iter().zip(noted) {
            settled.insert(match noting {
                Noting::Made(made) => made.decision.id,
                Noting::Lifted(id, _) => *id,
            });
            match noted {
                Noted::Known => {}
                Noted::Recorded(reason) => {
                    self.metrics.decisions_withheld.inc();
                    tracing::info!(%reason, "a decision is not passed on");
                }
                Noted::Changed(..) => drop(self.metrics.decisions_noted.inc()),
                Noted::Full => {
                    tracing::error!(
                        limit = MAX_ACTIVE,
                        "too many decisions are in force; a further one is left out"
                    );
                    self.metrics.decisions_refused("full", 1);
                }
            }
        }
        if settled.len() > MAX_SETTLED {
            settled.clear();
        }
    }

    fn tell(&self, head: u64) {
        self.head.send_if_modified(|told| {
            let newer = head > *told;
            *told = head.max(*told);
            newer
        });
    }

    /// Reads what other hubs have noted. Under the turn.
    async fn look_now(&self) -> Result<(), StateError> {
        loop {
            let now = Timestamp::from(std::time::SystemTime::now());
            let from = self.ring().last();
            let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
            match self.state.changes_after(from, limit, now).await? {
                Heard::Changes(changes, head) => {
                    let full = changes.len() >= BATCH;
                    if !changes.is_empty() {
                        // Who hears of a ban must have heard that its target is
                        // not spared any more.
                        self.directing.refresh(now).await?;
                    }
                    let last = self.ring().extend(changes);
                    if !full {
                        // What is over since is in no change.
                        self.ring().reach(head);
                        self.tell(head.max(last));
                        return Ok(());
                    }
                }
                // The database was set back: whoever asks is told to begin anew.
                Heard::Unknown => {
                    let head = self.state.decision_head().await?;
                    *self.ring() = Ring::new(head);
                    self.head.send_replace(head);
                    return Ok(());
                }
            }
        }
    }

    /// Notes what waits in the file.
    async fn retry(&self) -> Result<(), StateError> {
        let Some((events, mark)) = self.waiting.take() else { return Ok(()) };
        let notings = self.read(events.iter());
        self.note(&notings).await?;
        self.waiting.done(mark);
        Ok(())
    }

    /// Notes what comes until it is to stop, and then what has come.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut queued) = queued else { return };
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retries = tokio::time::interval(RETRY_EVERY);
        retries.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shared = self.state.engine() == Engine::Postgres;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = queued.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    if let Err(error) = self.note(&batch).await {
                        tracing::warn!(%error, "decisions are not noted yet; the writer brings them");
                    }
                    batch.clear();
                }
                () = stop.cancelled() => return,
                _ = looks.tick(), if shared => {
                    let turn = self.turn.lock().await;
                    // The state says itself that it is away.
                    drop(self.look_now().await);
                    drop(turn);
                }
                _ = retries.tick() => {
                    let now = Timestamp::from(std::time::SystemTime::now());
                    // The state says itself that it is away.
                    drop(self.directing.refresh(now).await);
                    if let Err(error) = self.retry().await {
                        tracing::warn!(%error, "decisions wait until they can be noted");
                    }
                }
            }
        }
    }

    /// Forgets what was over long ago.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<(), StateError> {
        let before = now.plus_millis(-KEEP_MILLIS);
        self.state.forget_knock_links(before).await?;
        self.state.forget_decisions(before, MAX_PAST, now).await?;
        self.state.forget_bouncers(before, u64::from(MAX_BOUNCERS)).await?;
        Ok(())
    }

    /// Counts what is in force, for metrics.
    pub(crate) async fn measure(&self, now: Timestamp) -> Result<(), StateError> {
        let active = self.state.active_decisions(now).await?;
        self.metrics.decisions_active.set(i64::try_from(active).unwrap_or(i64::MAX));
        Ok(())
    }

    /// What was changed is told to agents at once. Where that fails they hear of
    /// it when the state answers again.
    pub(crate) async fn direct(&self, now: Timestamp) {
        if let Err(error) = self.directing.refresh(now).await {
            tracing::warn!(%error, "agents do not hear at once of what was changed");
        }
    }

    /// See [`crate::Hub::take_effect`].
    pub(crate) fn take_effect(
        &self,
        who: &Principal,
        report: EffectReport,
        now: Timestamp,
    ) -> Result<EffectReceipt, QueryError> {
        let sensor = effect::reporter(who).ok_or(QueryError::Forbidden)?;
        Ok(self.effects.take(sensor, report, *self.head.borrow(), now))
    }

    /// What agents have told, by name; the last number and the directions.
    pub(crate) fn effects(
        &self,
        target: Option<&DecisionTarget>,
        now: Timestamp,
    ) -> (Vec<HostEffect>, u64, u64) {
        let (head, directions) = (*self.head.borrow(), self.directing.version());
        (self.effects.list(target, (head, directions), now), head, directions)
    }

    /// Packets that bans of targets have dropped on all hosts.
    pub(crate) fn packets(&self, targets: &[DecisionTarget]) -> Vec<u64> {
        self.effects.packets(targets)
    }

    /// Agents that are there and do what they are directed to.
    pub(crate) fn followers(&self, now: Timestamp) -> Vec<SensorId> {
        self.effects.followers(now)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// So many decisions were not accepted.
    pub(crate) fn decisions_refused(&self, reason: &'static str, count: u64) {
        self.decisions_refused.get_or_create_owned(&Reason { reason }).inc_by(count);
    }
}
