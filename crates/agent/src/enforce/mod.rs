//! Enforcement: keeps out who is banned, by the firewall of this machine.
//!
//! ```text
//! decisions ─► Orders (coalesced by target) ─► Ledger ─► difference ─► nftables, ipset, …
//!                                                 ▲            │
//!                                    the clock ───┘            └── what is there: looked at
//!                                                                  at the start and again
//! ```
//!
//! The ledger says what should be in force. What is there is asked at the start,
//! after every failure and from time to time, and only the difference is ordered:
//! so it mends what others have flushed, takes out what nobody ordered, and a
//! crash between decision and firewall loses nothing, because decisions are
//! durable before they come here and come again at the start.

mod command;
mod config;
mod effect;
mod hosts_deny;
mod ipset;
mod ledger;
mod nftables;
mod run;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use palisade_event::{DecisionTarget, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::command::Commands;
use self::hosts_deny::HostsDeny;
use self::ipset::Ipset;
use self::ledger::{Ledger, Taken};
use self::nftables::Nftables;
use crate::backoff::Backoff;
use crate::clock::Clocks;
use crate::metrics::Metrics;

pub use config::{EnforceConfig, Method};
pub(crate) use effect::Effect;
pub(crate) use run::{run, words};

/// Time between two looks at the rules, and at all that is in the firewall.
const LOOK: Duration = Duration::from_secs(5);
const RECONCILE: Duration = Duration::from_secs(60);
/// So few bans cost nothing to look at, and what they drop is told soon.
const FEW: usize = 1_000;
const RECONCILE_FEW: Duration = Duration::from_secs(10);
/// Most targets that wait here; orders about others are dropped, and counted.
const MAX_PENDING: usize = 1_000_000;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    target: DecisionTarget,
    /// To be kept out until then; `None`: to be let in.
    until: Option<Timestamp>,
    /// Whether the target is in the firewall now, as far as we know.
    replaces: bool,
}

/// What the firewall has about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// When it ends; `None`: it does not.
    until: Option<Timestamp>,
    /// Packets that it dropped, where they are counted.
    dropped: u64,
}

/// Takes what a firewall has, one by one: it may be a hundred thousand.
type Take<'t> = &'t mut (dyn FnMut(DecisionTarget, Held) + Send);

/// What waits about one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// To be let in, before anything else.
    pub(crate) lift: bool,
    /// To be kept out until then.
    pub(crate) ban: Option<Timestamp>,
}

/// Orders that wait for the enforcer, those about a target in one.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pending: Mutex<HashMap<DecisionTarget, Order>>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

impl Orders {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics, ..Self::default() })
    }

    /// Keeps somebody out until then.
    pub(crate) fn ban(&self, target: DecisionTarget, until: Timestamp) {
        self.note(target, |order| {
            order.ban = Some(order.ban.map_or(until, |known| known.max(until)));
        });
    }

    /// Lets somebody in again.
    pub(crate) fn lift(&self, target: DecisionTarget) {
        self.note(target, |order| *order = Order { lift: true, ban: None });
    }

    fn note(&self, target: DecisionTarget, change: impl FnOnce(&mut Order)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() >= MAX_PENDING && !pending.contains_key(&target) {
            self.metrics.orders_dropped.one();
            return;
        }
        change(pending.entry(target).or_default());
        self.changed.notify_one();
    }

    /// What waits, which then waits no more.
    pub(crate) fn take(&self) -> HashMap<DecisionTarget, Order> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A firewall.
#[derive(Debug)]
enum Backend {
    Nftables(Nftables),
    Ipset(Ipset),
    Commands(Commands),
    HostsDeny(HostsDeny),
    /// Nothing is done.
    DryRun,
}

impl Backend {
    fn new(config: &EnforceConfig, folder: &Path) -> Self {
        let record = folder.join("enforced.json");
        match config.method {
            Method::DryRun => Self::DryRun,
            Method::Nftables => {
                Self::Nftables(Nftables { table: config.table.clone(), command: "nft".to_owned() })
            }
            Method::Ipset => {
                Self::Ipset(Ipset { name: config.table.clone(), most: config.max_bans })
            }
            Method::Ufw => Self::Commands(Commands::ufw(record)),
            Method::Command => Self::Commands(Commands {
                ban: config.ban.clone(),
                unban: config.unban.clone(),
                record,
            }),
            Method::HostsDeny => Self::HostsDeny(HostsDeny { path: config.hosts_deny.clone() }),
        }
    }

    /// Whether what is over goes by itself.
    fn forgets(&self) -> bool {
        matches!(self, Self::Nftables(_) | Self::Ipset(_) | Self::DryRun)
    }

    /// Whether an order that fails says nothing about others.
    fn is_piecemeal(&self) -> bool {
        matches!(self, Self::Commands(_))
    }

    async fn prepare(&self) -> Result<(), String> {
        match self {
            Self::Nftables(nftables) => nftables.prepare().await,
            Self::Ipset(ipset) => ipset.prepare().await,
            Self::Commands(_) | Self::HostsDeny(_) | Self::DryRun => Ok(()),
        }
    }

    async fn is_whole(&self) -> bool {
        match self {
            Self::Nftables(nftables) => nftables.is_whole().await,
            Self::Ipset(ipset) => ipset.is_whole().await,
            Self::Commands(_) | Self::HostsDeny(_) | Self::DryRun => true,
        }
    }

    async fn apply(&self, changes: &[Change], now: Timestamp) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        match self {
            Self::Nftables(nftables) => nftables.apply(changes, now).await,
            Self::Ipset(ipset) => ipset.apply(changes, now).await,
            Self::Commands(commands) => commands.apply(changes, now).await,
            Self::HostsDeny(file) => file.apply(changes),
            Self::DryRun => Ok(()),
        }
    }

    /// Gives what is there, one by one.
    async fn list(&self, now: Timestamp, take: Take<'_>) -> Result<(), String> {
        match self {
            Self::Nftables(nftables) => nftables.list(now, take).await,
            Self::Ipset(ipset) => ipset.list(now, take).await,
            Self::Commands(commands) => commands.list(take),
            Self::HostsDeny(file) => file.list(take),
            Self::DryRun => Ok(()),
        }
    }

    async fn flush(&self, now: Timestamp) -> Result<(), String> {
        match self {
            Self::Nftables(nftables) => nftables.flush().await,
            Self::Ipset(ipset) => ipset.flush().await,
            Self::Commands(commands) => commands.flush(now).await,
            Self::HostsDeny(file) => file.flush(),
            Self::DryRun => Ok(()),
        }
    }
}

/// Takes everything of ours out of the firewall that the settings name. `folder`
/// is the agent's, below the data directory.
///
/// # Errors
/// One sentence: what could not be done.
pub async fn flush_enforced(config: &EnforceConfig, data_dir: &Path) -> Result<(), String> {
    Backend::new(config, &data_dir.join("agent")).flush(now()).await
}

/// Somebody whom the firewall keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnforcedBan {
    /// Who.
    pub target: DecisionTarget,
    /// Until when; `None`: for ever.
    pub until: Option<Timestamp>,
    /// Packets that were dropped, where the firewall counts them.
    pub dropped_packets: u64,
}

/// Who is kept out by our rules, in the order of addresses.
///
/// # Errors
/// One sentence: why the firewall cannot be asked.
pub async fn list_enforced(
    config: &EnforceConfig,
    data_dir: &Path,
) -> Result<Vec<EnforcedBan>, String> {
    let mut all = Vec::new();
    let mut take = |target, Held { until, dropped }| {
        all.push(EnforcedBan { target, until, dropped_packets: dropped });
    };
    Backend::new(config, &data_dir.join("agent")).list(now(), &mut take).await?;
    all.sort_unstable_by_key(|ban| ban.target);
    Ok(all)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// The enforcer, as a task.
pub(crate) struct Enforcer {
    orders: Arc<Orders>,
    backend: Backend,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    /// The name of our table, taken: another agent would undo what this one does.
    lock_name: Option<String>,
    failing: bool,
    clocks: Clocks,
}

impl Enforcer {
    pub(crate) fn new(
        config: &EnforceConfig,
        folder: &Path,
        orders: Arc<Orders>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let named = matches!(config.method, Method::Nftables | Method::Ipset);
        Self {
            orders,
            backend: Backend::new(config, folder),
            ledger: Ledger::new(config.max_bans),
            metrics,
            lock_name: named.then(|| format!("palisade-enforce-{}", config.table)),
            failing: false,
            clocks: Clocks::now(),
        }
    }

    /// Runs until cancelled. What is in force stays in the firewall: an agent
    /// that is restarted or updated lets nobody in.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let _lock = match self.lock_name.take() {
            Some(name) => loop {
                match lock(&name) {
                    Ok(lock) => break Some(lock),
                    Err(error) => self.failed(&format!(
                        "another agent enforces under the same name ({error}); give one of them another [agent.enforce] table"
                    )),
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
            },
            None => None,
        };
        let orders = Arc::clone(&self.orders);
        let mut backoff = Backoff::default();
        // The first look is at once.
        let (mut look, mut reconcile) = (Instant::now() + LOOK, Instant::now());
        loop {
            let wake = look.min(reconcile).min(self.next_end());
            tokio::select! {
                () = cancel.cancelled() => return,
                () = orders.changed.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            let step = self.clocks.step();
            if step != 0 {
                tracing::warn!(
                    seconds = step / 1000,
                    "the clock was set; bans last as long as before"
                );
                self.ledger.shift(step);
            }
            let touched = self.take_orders();
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
                if !self.failing && !self.backend.is_whole().await {
                    tracing::warn!("our rules are gone from the firewall; they are made again");
                    self.metrics.enforce_mended.one();
                    reconcile = Instant::now();
                }
            }
            let is_due = Instant::now() >= reconcile;
            let done = if is_due {
                self.reconcile().await
            } else if self.failing && !self.backend.is_piecemeal() {
                // All that is missing comes with the next reconciliation.
                continue;
            } else {
                self.carry_out(touched).await
            };
            match done {
                Ok(()) => {
                    self.metrics.effect.works();
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("bans are enforced again");
                    }
                    backoff.reset();
                    if is_due {
                        let few = (1..=FEW).contains(&self.ledger.len());
                        reconcile = Instant::now() + if few { RECONCILE_FEW } else { RECONCILE };
                    }
                }
                Err(reason) => {
                    self.failed(&reason);
                    reconcile = Instant::now() + backoff.next();
                }
            }
            self.metrics.enforce_held.set(self.ledger.len() as u64);
        }
    }

    fn failed(&mut self, reason: &str) {
        self.metrics.enforce_failures.one();
        self.metrics.effect.fails(reason);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                reason,
                "bans cannot be enforced; it is tried again. Is the firewall's program installed, and has the agent CAP_NET_ADMIN?"
            );
        }
    }

    fn next_end(&mut self) -> Instant {
        let Some(end) = self.ledger.next_end() else { return Instant::now() + RECONCILE };
        let millis = end.as_millis().saturating_sub(now().as_millis());
        Instant::now() + Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(RECONCILE)
    }

    /// Puts what is ordered into the ledger, and takes out what is over. Gives
    /// whom that is about.
    fn take_orders(&mut self) -> Vec<DecisionTarget> {
        let now = now();
        let mut touched = Vec::new();
        for (target, Order { lift, ban }) in self.orders.take() {
            if lift && self.ledger.lift(&target) {
                touched.push(target);
            }
            let Some(until) = ban.filter(|until| *until > now) else { continue };
            match self.ledger.ban(target, until) {
                Taken::New => touched.push(target),
                Taken::Known => {}
                Taken::Instead(other) => {
                    self.metrics.orders_dropped.one();
                    touched.extend([target, other]);
                }
            }
        }
        for target in self.ledger.expire(now) {
            // What goes by itself is gone, but for networks that were hidden by it.
            if self.backend.forgets() && matches!(target, DecisionTarget::Ip(_)) {
                self.ledger.done(target, None);
            } else {
                touched.push(target);
            }
        }
        touched
    }

    /// Orders what has changed about some targets.
    async fn carry_out(&mut self, mut touched: Vec<DecisionTarget>) -> Result<(), String> {
        if touched.is_empty() {
            return Ok(());
        }
        let is_net = |target: &DecisionTarget| matches!(target, DecisionTarget::Range(_));
        let hidden = match touched.iter().any(is_net) {
            true => {
                touched.extend(self.ledger.nets());
                self.ledger.hidden()
            }
            false => HashSet::new(),
        };
        touched.sort_unstable();
        touched.dedup();
        let change = |target| self.ledger.change(target, &hidden);
        let changes = touched.into_iter().filter_map(change).collect();
        self.order(changes).await
    }

    async fn order(&mut self, mut changes: Vec<Change>) -> Result<(), String> {
        // What goes out makes room for what comes in.
        changes.sort_by_key(|change| change.until.is_some());
        let done = self.backend.apply(&changes, now()).await;
        if done.is_ok() {
            for change in &changes {
                self.ledger.done(change.target, change.until);
            }
            self.metrics.enforce_changes.add(changes.len() as u64);
        }
        done
    }

    /// Makes what is there what should be there.
    async fn reconcile(&mut self) -> Result<(), String> {
        self.backend.prepare().await?;
        if !matches!(self.backend, Backend::DryRun) {
            let (ledger, mut dropped, mut counted) = (&mut self.ledger, 0, Vec::new());
            ledger.begin_listing();
            let mut take = |target, held: Held| {
                dropped += held.dropped;
                counted.extend((held.dropped > 0).then_some((target, held.dropped)));
                ledger.listed(target, &held);
            };
            self.backend.list(now(), &mut take).await?;
            self.metrics.enforce_dropped_packets.set(dropped);
            self.metrics.effect.count(counted.into_iter());
            let gone = self.ledger.end_listing();
            if gone > 0 {
                tracing::warn!(
                    bans = gone,
                    "bans were gone from the firewall; they are made again"
                );
                self.metrics.enforce_mended.add(gone);
            }
        }
        self.order(self.ledger.changes()).await
    }
}

/// Takes a name that nobody else in this network namespace has.
fn lock(name: &str) -> std::io::Result<std::os::unix::net::UnixListener> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixListener::bind_addr(&address)
}
