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
use crate::metrics::Metrics;

pub use config::{EnforceConfig, Method};

/// Time between two looks at the rules, and at all that is in the firewall.
const LOOK: Duration = Duration::from_secs(5);
const RECONCILE: Duration = Duration::from_secs(60);
/// An end that differs by less is the same.
const TOLERANCE_MS: i64 = 3_000;
/// The end of what has none, in milliseconds since 1970: the year 9999.
const NEVER_MS: i64 = 253_402_207_200_000;
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

    /// What is there; `None` where it is what was ordered.
    async fn list(&self, now: Timestamp) -> Result<Option<HashMap<DecisionTarget, Held>>, String> {
        match self {
            Self::Nftables(nftables) => nftables.list(now).await.map(Some),
            Self::Ipset(ipset) => ipset.list(now).await.map(Some),
            Self::Commands(commands) => Ok(Some(commands.list())),
            Self::HostsDeny(file) => file.list().map(Some),
            Self::DryRun => Ok(None),
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
    let all = Backend::new(config, &data_dir.join("agent")).list(now()).await?;
    let ban = |(target, held): (DecisionTarget, Held)| EnforcedBan {
        target,
        until: held.until,
        dropped_packets: held.dropped,
    };
    let mut all: Vec<EnforcedBan> = all.unwrap_or_default().into_iter().map(ban).collect();
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
    /// What is in the firewall, as far as we know.
    installed: HashMap<DecisionTarget, Timestamp>,
    metrics: Arc<Metrics>,
    /// The name of our table, taken: another agent would undo what this one does.
    lock_name: Option<String>,
    failing: bool,
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
            installed: HashMap::new(),
            metrics,
            lock_name: named.then(|| format!("palisade-enforce-{}", config.table)),
            failing: false,
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
            } else if self.failing {
                // All that is missing comes with the next reconciliation.
                continue;
            } else {
                self.carry_out(touched).await
            };
            match done {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("bans are enforced again");
                    }
                    backoff.reset();
                    if is_due {
                        reconcile = Instant::now() + RECONCILE;
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
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                reason,
                "bans cannot be enforced; it is tried again. Is the firewall's program installed, and has the agent CAP_NET_ADMIN?"
            );
        }
    }

    fn next_end(&self) -> Instant {
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
                self.installed.remove(&target);
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
        touched.sort_unstable();
        touched.dedup();
        let hidden: HashSet<DecisionTarget> =
            match touched.iter().any(|target| matches!(target, DecisionTarget::Range(_))) {
                true => {
                    let nets =
                        |target: &&DecisionTarget| matches!(target, DecisionTarget::Range(_));
                    touched.extend(self.installed.keys().filter(nets));
                    touched.extend(self.ledger.nets());
                    touched.sort_unstable();
                    touched.dedup();
                    self.ledger.hidden().into_iter().collect()
                }
                false => HashSet::new(),
            };
        let changes: Vec<Change> = touched
            .into_iter()
            .filter_map(|target| {
                let wanted = self.ledger.until(&target).filter(|_| !hidden.contains(&target));
                self.change(target, wanted)
            })
            .collect();
        self.order(changes).await
    }

    fn change(&self, target: DecisionTarget, wanted: Option<Timestamp>) -> Option<Change> {
        let there = self.installed.get(&target).copied();
        (wanted != there).then_some(Change { target, until: wanted, replaces: there.is_some() })
    }

    async fn order(&mut self, mut changes: Vec<Change>) -> Result<(), String> {
        // What goes out makes room for what comes in.
        changes.sort_by_key(|change| change.until.is_some());
        let done = self.backend.apply(&changes, now()).await;
        if done.is_ok() {
            for change in &changes {
                match change.until {
                    Some(until) => self.installed.insert(change.target, until),
                    None => self.installed.remove(&change.target),
                };
            }
            self.metrics.enforce_changes.add(changes.len() as u64);
        }
        done
    }

    /// Makes what is there what should be there.
    async fn reconcile(&mut self) -> Result<(), String> {
        self.backend.prepare().await?;
        let now = now();
        let wanted = self.ledger.wanted();
        let mut mended = 0u64;
        if let Some(there) = self.backend.list(now).await? {
            self.metrics.enforce_dropped_packets.set(there.values().map(|held| held.dropped).sum());
            let before = std::mem::take(&mut self.installed);
            for (target, held) in there {
                // One that ends when it should counts as just that one.
                let same = |wanted: &Timestamp| {
                    held.until.is_some_and(|until| {
                        let apart = until.as_millis().saturating_sub(wanted.as_millis());
                        apart.abs() <= TOLERANCE_MS
                    })
                };
                let until = wanted.get(&target).copied().filter(same);
                let until = until.or(held.until).unwrap_or(Timestamp::from_millis(NEVER_MS));
                self.installed.insert(target, until);
            }
            let lost = |target: &&DecisionTarget| {
                wanted.contains_key(*target) && !self.installed.contains_key(*target)
            };
            mended = before.keys().filter(lost).count() as u64;
        }
        if mended > 0 {
            tracing::warn!(bans = mended, "bans were gone from the firewall; they are made again");
            self.metrics.enforce_mended.add(mended);
        }
        let mut changes: Vec<Change> = wanted
            .iter()
            .filter_map(|(target, until)| self.change(*target, Some(*until)))
            .collect();
        let surplus = self.installed.keys().filter(|target| !wanted.contains_key(*target));
        changes.extend(surplus.filter_map(|target| self.change(*target, None)));
        self.order(changes).await
    }
}

/// Takes a name that nobody else in this network namespace has.
fn lock(name: &str) -> std::io::Result<std::os::unix::net::UnixListener> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixListener::bind_addr(&address)
}
