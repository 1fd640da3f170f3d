//! The parent's side of the zone: binds the ports, starts the process, takes
//! its events, and starts it again where it ends by itself.
//!
//! The ports stay bound here, so that who connects while there is no zone
//! waits in the kernel's queue and finds the next one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use palisade_event::{Event, EventId, EventKind, HostName, SensorId, Timestamp, Untrusted};
use palisade_honeypot::plugin::Change;
use palisade_honeypot::zone_stream::{Confinement, MAX_UNCONFIRMED_EVENTS, ToZone};
use palisade_honeypot::{Sockets, Stats};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Start;
use super::hearing::{Heard, Hearing, Waiting, answer};
use super::process::{Running, Who, cause, say};

/// How long it may take beyond the time that its sessions have to end.
const END_MARGIN: Duration = Duration::from_secs(8);
/// How long a process may live on after it has closed its end of the stream.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);
/// Newest events that are lost where this process is killed: those on their way
/// and those that wait in the zone.
const MAX_LOST_EVENTS: u64 = MAX_UNCONFIRMED_EVENTS + super::child::OUTGOING_EVENTS as u64;
const UNDRAINED: &str = "the program ended the last time without having drained its honeypots; the newest of their events then are lost";
/// First pause before a zone is started again; doubled up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Longest such pause. A zone that lasts longer than this starts it anew.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// What happened to zones, for metrics.
#[derive(Debug, Default)]
pub(crate) struct ZoneCounters {
    /// Zones that ended by themselves.
    pub(crate) failures: AtomicU64,
    /// Events of zones that were not taken.
    pub(crate) events_refused: AtomicU64,
    /// Fetchers that ended by themselves.
    pub(crate) fetcher_failures: AtomicU64,
}

/// Where its events go, and the word back that they are safe.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) safe: watch::Receiver<u64>,
}

/// What a zone gets beside the sockets of its services.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// The end of the pair to the fetcher.
    pub(crate) fetch: Option<OwnedFd>,
    /// Sockets that capture packets.
    pub(crate) captures: Vec<OwnedFd>,
}

/// A zone that serves, and its parent.
#[derive(Debug)]
pub(crate) struct Zone {
    start: Start,
    sockets: Sockets,
    /// Other sockets that it gets, kept for the next zone.
    extras: Extras,
    running: Running,
    outlet: Outlet,
    /// Plug-ins that have changed.
    changes: mpsc::Receiver<Change>,
    /// What another process of ours has to tell: that it failed.
    others: mpsc::Receiver<Event>,
    /// Events put into the outlet, of all zones together.
    put: u64,
    stats: Arc<Stats>,
    counters: Arc<ZoneCounters>,
    mark: Mark,
}

/// A file that is there while honeypots run, so that the next start knows when
/// this process ended without having drained them.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    /// Whether it was there at the start.
    was_left: bool,
}

impl Mark {
    fn set(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("honeypots.running");
        let was_left = path.exists();
        std::fs::create_dir_all(data)
            .and_then(|()| std::fs::write(&path, ""))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, was_left })
    }

    fn take_off(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the mark of running honeypots");
        }
    }
}

/// Starts a process of the honeypots on `sockets`.
async fn launch(
    start: &Start,
    sockets: &Sockets,
    extras: &Extras,
) -> anyhow::Result<(Running, Confinement)> {
    let how = ToZone::Start(serde_json::to_vec(start)?).encode();
    let sockets = sockets.descriptors().map(|(_, socket)| socket);
    let extras = extras.fetch.iter().chain(&extras.captures).map(|end| end.as_fd());
    let handed: Vec<_> = sockets.chain(extras).collect();
    Running::launch(Who::Zone, &how, &handed, start.log.format).await
}

/// Tells that a process of a sensor failed: which, and how it ended.
pub(super) fn failed(
    (sensor, host): (&SensorId, Option<&HostName>),
    process: &'static str,
    reason: &str,
    status: Option<ExitStatus>,
) -> Event {
    let now = Timestamp::from(SystemTime::now());
    let id = EventId::new(now, rand::random());
    let mut event = Event::new(id, EventKind::SensorFailed, now, sensor.clone())
        .with("process", process)
        .with("reason", Untrusted::from(reason));
    event.host = host.cloned();
    if let Some(code) = status.and_then(|status| status.code()) {
        event = event.with("exit_code", u64::from(code.unsigned_abs()));
    }
    if let Some(signal) = status.and_then(|status| status.signal()) {
        event = event.with("signal", u64::from(signal.unsigned_abs()));
    }
    event
}

/// Makes what was changed a part of what the next process starts with, and closes
/// the ports that are gone. Changed files are read when it starts.
fn enter(start: &mut Start, sockets: &mut Sockets, change: Change) {
    let name = change.name();
    let Change::Serve(order, handed) = change else { return };
    if let Err(error) = order.enter(&mut start.honeypot, sockets, handed) {
        tracing::error!(%error, plugin = %name, "a plug-in serves after the next start");
    }
    start.sockets = sockets.descriptors().map(|(service, _)| service).collect();
}

/// How a process ended.
enum End {
    /// As it was asked to.
    Ordered,
    /// By itself, or because it did not keep to what was agreed.
    Failed { reason: String, status: Option<ExitStatus> },
    /// Nobody takes events any more.
    Unheard,
}

impl Zone {
    /// Starts a zone on `sockets`, which are those of `honeypot`, and waits
    /// until it serves.
    ///
    /// # Errors
    /// It cannot; says why.
    pub(crate) async fn start(
        settings: &crate::settings::Settings,
        honeypot: palisade_honeypot::Config,
        sockets: Sockets,
        extras: Extras,
        outlet: Outlet,
        changes: mpsc::Receiver<Change>,
        others: mpsc::Receiver<Event>,
    ) -> anyhow::Result<Self> {
        let host = palisade_event::HostName::new(&crate::settings::host_name()).ok();
        let services = sockets.descriptors().map(|(service, _)| service).collect();
        let (sensor, log) = (settings.sensor(), settings.log.clone());
        let (fetch, captures) = (extras.fetch.is_some(), extras.captures.len());
        let own = super::own_addresses()?;
        let start = Start { honeypot, sensor, host, log, sockets: services, fetch, captures, own };
        let (running, confinement) = launch(&start, &sockets, &extras).await?;
        say(&confinement, running.child.id());
        let mark = Mark::set(&settings.data_dir())?;
        let (stats, counters) = Default::default();
        Ok(Self {
            start,
            sockets,
            extras,
            running,
            outlet,
            changes,
            others,
            put: 0,
            stats,
            counters,
            mark,
        })
    }

    /// What the honeypots count, a moment later.
    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// What is counted here.
    pub(crate) fn counters(&self) -> Arc<ZoneCounters> {
        Arc::clone(&self.counters)
    }

    /// Takes what it tells and keeps it running until `stop`; then it ends in
    /// order, with all its events taken.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        if self.mark.was_left {
            tracing::error!(at_most = MAX_LOST_EVENTS, "{UNDRAINED}");
            let whose = (&self.start.sensor, self.start.host.as_ref());
            let event = failed(whose, "honeypots", UNDRAINED, None);
            self.tell(event.with("at_most", MAX_LOST_EVENTS)).await;
        }
        let mut backoff = MIN_BACKOFF;
        loop {
            let lived = self.running.since;
            let (reason, status) = match self.attend(&stop).await {
                End::Ordered => return self.mark.take_off(),
                End::Unheard => return,
                End::Failed { reason, status } => (reason, status),
            };
            let before = self.stats.report();
            self.stats.show(&before, &BTreeMap::new());
            if stop.is_cancelled() {
                tracing::error!(
                    reason,
                    "the honeypots did not end in order; their newest events may be lost"
                );
                return;
            }
            if lived.elapsed() > MAX_BACKOFF {
                backoff = MIN_BACKOFF;
            }
            let mut failure = (reason, status);
            loop {
                self.tell_failure(&failure.0, failure.1, backoff).await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
                let started = tokio::select! {
                    () = stop.cancelled() => return,
                    started = launch(&self.start, &self.sockets, &self.extras) => started,
                };
                match started {
                    Ok((running, confinement)) => {
                        say(&confinement, running.child.id());
                        self.running = running;
                        break;
                    }
                    Err(error) => failure = (format!("{error:#}"), None),
                }
            }
        }
    }

    /// One failure, in the log and as an event.
    async fn tell_failure(&mut self, reason: &str, status: Option<ExitStatus>, wait: Duration) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let wait_secs = wait.as_secs();
        tracing::error!(
            reason,
            wait_secs,
            "the process of the honeypots ended by itself and is started again; clients wait meanwhile. If it goes on, look at what it logged before"
        );
        let whose = (&self.start.sensor, self.start.host.as_ref());
        self.tell(failed(whose, "honeypots", reason, status).with("wait_secs", wait_secs)).await;
    }

    /// Puts an event of ours among those of the zone.
    pub(crate) async fn tell(&mut self, event: Event) {
        if self.outlet.events.send(event).await.is_ok() {
            self.put += 1;
        }
    }

    /// Hears one process until it has ended.
    async fn attend(&mut self, stop: &CancellationToken) -> End {
        let patience = Duration::from_secs(self.start.honeypot.limits.shutdown_secs) + END_MARGIN;
        let (sensor, host) = (self.start.sensor.clone(), self.start.host.clone());
        let waiting = Waiting::default();
        let nudge = Notify::new();
        let mut hearing = Hearing {
            sensor: &sensor,
            host: host.as_ref(),
            events: &self.outlet.events,
            put: &mut self.put,
            waiting: &waiting,
            nudge: &nudge,
            stats: &self.stats,
            before: self.stats.report(),
            counters: &self.counters,
            others: &mut self.others,
        };
        // What was closed must not wait here for somebody who never comes.
        let made = |change| enter(&mut self.start, &mut self.sockets, change);
        let answering = answer(
            &mut self.running.writer,
            (&mut self.outlet.safe, &mut self.changes),
            made,
            (&waiting, &nudge),
            stop,
            patience,
        );
        let heard = tokio::select! {
            heard = hearing.hear(&mut self.running.reader) => heard,
            late = answering => Err(late),
        };
        let child = &mut self.running.child;
        if heard.is_err() {
            // Nothing it says counts any more.
            let _ = child.start_kill();
        }
        let status = match tokio::time::timeout(EXIT_DEADLINE, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = child.kill().await;
                None
            }
        };
        // Its last lines; nobody else can hold that pipe open.
        let _ = tokio::time::timeout(EXIT_DEADLINE, &mut self.running.log).await;
        match heard {
            Ok(Heard::Ended) if stop.is_cancelled() => End::Ordered,
            Ok(Heard::Ended) => {
                End::Failed { reason: "it ended without being asked".into(), status }
            }
            Ok(Heard::Closed) => End::Failed { reason: cause(status), status },
            Ok(Heard::Unheard) => End::Unheard,
            Err(reason) => End::Failed { reason, status: None },
        }
    }
}
