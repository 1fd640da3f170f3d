//! The parent's side of the zone: binds the ports, starts the process, takes
//! its events, and starts it again where it ends by itself.
//!
//! The ports stay bound here, so that who connects while there is no zone
//! waits in the kernel's queue and finds the next one.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::os::unix::net::UnixStream as BlockingStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use palisade_event::{Event, EventId, EventKind, Timestamp, Untrusted};
use palisade_honeypot::zone_stream::{Confinement, FromZone, MAX_UNCONFIRMED_EVENTS, ToZone};
use palisade_honeypot::{Sockets, Stats};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Start, descriptors, log};

/// How long a zone may take from its start until it serves: it makes keys.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long it may take beyond the time that its sessions have to end.
const END_MARGIN: Duration = Duration::from_secs(8);
/// How long a process may live on after it has closed its end of the stream.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of events that may wait here to be safe; then the zone is not heard,
/// and so do the attackers wait.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Newest events that are lost where this process is killed: those on their way
/// and those that wait in the zone.
const MAX_LOST_EVENTS: u64 = MAX_UNCONFIRMED_EVENTS + super::child::OUTGOING_EVENTS as u64;
const UNDRAINED: &str = "the program ended the last time without having drained its honeypots; the newest of their events then are lost";
/// Room for one read of the stream.
const READ_BYTES: usize = 16 * 1024;
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
}

/// Where its events go, and the word back that they are safe.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) safe: watch::Receiver<u64>,
}

/// A zone that serves, and its parent.
#[derive(Debug)]
pub(crate) struct Zone {
    start: Start,
    sockets: Sockets,
    running: Running,
    outlet: Outlet,
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

/// One process.
#[derive(Debug)]
struct Running {
    child: Child,
    reader: Frames,
    writer: OwnedWriteHalf,
    /// Copies its log; ends with it.
    log: AbortOnDropHandle<()>,
    since: Instant,
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
        outlet: Outlet,
    ) -> anyhow::Result<Self> {
        let host = palisade_event::HostName::new(&crate::settings::host_name()).ok();
        let services = sockets.descriptors().map(|(service, _)| service).collect();
        let (sensor, log) = (settings.sensor(), settings.log.clone());
        let start = Start { honeypot, sensor, host, log, sockets: services };
        let (running, confinement) = Running::start(&start, &sockets).await?;
        say(&confinement, running.child.id());
        let mark = Mark::set(&settings.data_dir())?;
        let (stats, counters) = Default::default();
        Ok(Self { start, sockets, running, outlet, put: 0, stats, counters, mark })
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
            let event = self.failure(UNDRAINED).with("at_most", MAX_LOST_EVENTS);
            self.tell(event).await;
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
                    started = Running::start(&self.start, &self.sockets) => started,
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
        let mut event = self.failure(reason).with("wait_secs", wait_secs);
        if let Some(code) = status.and_then(|status| status.code()) {
            event = event.with("exit_code", u64::from(code.unsigned_abs()));
        }
        if let Some(signal) = status.and_then(|status| status.signal()) {
            event = event.with("signal", u64::from(signal.unsigned_abs()));
        }
        self.tell(event).await;
    }

    fn failure(&self, reason: &str) -> Event {
        let now = Timestamp::from(SystemTime::now());
        let id = EventId::new(now, rand::random());
        let mut event = Event::new(id, EventKind::SensorFailed, now, self.start.sensor.clone())
            .with("reason", Untrusted::from(reason));
        event.host.clone_from(&self.start.host);
        event
    }

    async fn tell(&mut self, event: Event) {
        if self.outlet.events.send(event).await.is_ok() {
            self.put += 1;
        }
    }

    /// Hears one process until it has ended.
    async fn attend(&mut self, stop: &CancellationToken) -> End {
        let patience = Duration::from_secs(self.start.honeypot.limits.shutdown_secs) + END_MARGIN;
        let waiting = Waiting { events: Mutex::default(), room: Semaphore::new(MAX_WAITING_BYTES) };
        let nudge = Notify::new();
        let mut hearing = Hearing {
            start: &self.start,
            events: &self.outlet.events,
            put: &mut self.put,
            waiting: &waiting,
            nudge: &nudge,
            stats: &self.stats,
            before: self.stats.report(),
            counters: &self.counters,
        };
        let answering = answer(
            &mut self.running.writer,
            &mut self.outlet.safe,
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

/// How the way from the zone came to its end.
enum Heard {
    /// It said that it has ended.
    Ended,
    /// It closed the stream.
    Closed,
    /// Nobody takes events any more.
    Unheard,
}

/// Events that were put and not yet confirmed.
struct Waiting {
    /// Of each: how many had been put with it, its number in the zone, its bytes.
    events: Mutex<VecDeque<(u64, u64, usize)>>,
    /// For how many bytes more there is room.
    room: Semaphore,
}

impl Waiting {
    fn events(&self) -> MutexGuard<'_, VecDeque<(u64, u64, usize)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hearing side of one process.
struct Hearing<'a> {
    start: &'a Start,
    events: &'a mpsc::Sender<Event>,
    put: &'a mut u64,
    waiting: &'a Waiting,
    nudge: &'a Notify,
    stats: &'a Stats,
    before: BTreeMap<String, u64>,
    counters: &'a ZoneCounters,
}

impl Hearing<'_> {
    /// Hears until the end; what breaks the rules is an error.
    async fn hear(&mut self, frames: &mut Frames) -> Result<Heard, String> {
        let mut last = 0;
        loop {
            let Some((frame, bytes)) = frames.next().await? else { return Ok(Heard::Closed) };
            match frame {
                FromZone::Event { number, event } => {
                    if number != last + 1 {
                        return Err("it left out events".to_owned());
                    }
                    last = number;
                    match event {
                        Ok(mut event) => {
                            // Who saw it is not for the zone to say.
                            event.sensor = self.start.sensor.clone();
                            event.host.clone_from(&self.start.host);
                            if self.events.send(*event).await.is_err() {
                                return Ok(Heard::Unheard);
                            }
                            *self.put += 1;
                        }
                        Err(why) => {
                            self.counters.events_refused.fetch_add(1, Ordering::Relaxed);
                            tracing::error!(
                                ?why,
                                "the honeypots told what is not for them to tell; their process may be in the hands of an intruder"
                            );
                        }
                    }
                    self.await_confirmation(number, bytes).await?;
                }
                FromZone::Counters(counters) => self.stats.show(&self.before, &counters),
                FromZone::Ended => return Ok(Heard::Ended),
                FromZone::Ready(_) | FromZone::Failed(_) => {
                    return Err("it said twice how it started".to_owned());
                }
            }
        }
    }

    /// Notes that an event waits; returns where there is room for the next.
    async fn await_confirmation(&self, number: u64, bytes: usize) -> Result<(), String> {
        {
            let mut waiting = self.waiting.events();
            if waiting.len() as u64 >= MAX_UNCONFIRMED_EVENTS {
                return Err("it did not wait for confirmation".to_owned());
            }
            waiting.push_back((*self.put, number, bytes));
        }
        self.nudge.notify_one();
        // A frame is shorter than the room; it is given back with the confirmation.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(room) = self.waiting.room.acquire_many(bytes).await {
            room.forget();
        }
        Ok(())
    }
}

/// Confirms what is safe, and tells the zone to end when it is time. Returns
/// where it has not ended in time.
async fn answer(
    writer: &mut OwnedWriteHalf,
    safe: &mut watch::Receiver<u64>,
    (waiting, nudge): (&Waiting, &Notify),
    stop: &CancellationToken,
    patience: Duration,
) -> String {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    let answers = async {
        let (mut told, mut safe_known) = (false, true);
        loop {
            let count = *safe.borrow_and_update();
            let mut confirmed = None;
            {
                let mut events = waiting.events();
                while let Some((_, number, bytes)) = events.pop_front_if(|(put, ..)| *put <= count)
                {
                    confirmed = Some(number);
                    waiting.room.add_permits(bytes);
                }
            }
            let mut frames = Vec::new();
            frames.extend(
                confirmed.map(|number| ToZone::Confirmed(number).encode()).unwrap_or_default(),
            );
            if stop.is_cancelled() && !told {
                told = true;
                frames.extend(ToZone::End.encode());
            }
            // Where the other end is gone, the hearing side sees that too.
            let _ = writer.write_all(&frames).await;
            tokio::select! {
                changed = safe.changed(), if safe_known => safe_known = changed.is_ok(),
                () = nudge.notified() => {}
                () = stop.cancelled(), if !told => {}
            }
        }
    };
    tokio::select! {
        () = late => "it did not end in time".to_owned(),
        () = answers => String::new(),
    }
}

impl Running {
    /// Starts a process and waits until it serves.
    async fn start(start: &Start, sockets: &Sockets) -> anyhow::Result<(Self, Confinement)> {
        let (ours, theirs) = BlockingStream::pair().context("no socket pair")?;
        let mut child = command("zone")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .spawn()
            .context("cannot start the process of the honeypots")?;
        let log = child.stderr.take().map(|stderr| log::copy(stderr, start.log.format));
        let log = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(log) = log {
                log.await;
            }
        }));
        let how = ToZone::Start(serde_json::to_vec(start)?).encode();
        // Some kilobytes and a few messages, which the kernel takes at once.
        ours.set_write_timeout(Some(START_DEADLINE))?;
        let handed: Vec<_> = sockets.descriptors().map(|(_, socket)| socket).collect();
        let sent = (&ours).write_all(&how).and_then(|()| descriptors::send(&ours, &handed));
        if let Err(error) = sent {
            let status = child.wait().await.ok();
            bail!("the process of the honeypots ended at its start: {} ({error})", cause(status));
        }
        ours.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let mut reader = Frames { reader, buffer: BytesMut::new() };
        let first = tokio::time::timeout(START_DEADLINE, reader.next()).await;
        match first.context("the honeypots did not start in time")? {
            Ok(Some((FromZone::Ready(confinement), _))) => {
                let running = Self { child, reader, writer, log, since: Instant::now() };
                Ok((running, confinement))
            }
            Ok(Some((FromZone::Failed(why), _))) => bail!("{}", plain(&why)),
            Ok(Some(_)) | Err(_) => bail!("the honeypots did not start as agreed"),
            Ok(None) => {
                let status = child.wait().await.ok();
                bail!("the process of the honeypots ended at its start: {}", cause(status))
            }
        }
    }
}

/// This program, as another process that inherits nothing.
pub(super) fn command(subcommand: &str) -> Command {
    // The very file that runs, also where it was replaced on disk meanwhile.
    let own = Path::new("/proc/self/exe");
    let program = match own.exists() {
        true => own.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| "palisade".into()),
    };
    let mut command = Command::new(program);
    command
        .arg0(format!("palisade-{subcommand}"))
        .arg(subcommand)
        .env_clear()
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for us; we tell it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Frames off the stream; may be dropped between two of them.
#[derive(Debug)]
struct Frames {
    reader: OwnedReadHalf,
    buffer: BytesMut,
}

impl Frames {
    /// The next frame and its length; `None` where the stream ended.
    async fn next(&mut self) -> Result<Option<(FromZone, usize)>, String> {
        loop {
            let decoded = FromZone::decode(&self.buffer).map_err(|error| error.to_string())?;
            if let Some((frame, length)) = decoded {
                self.buffer.advance(length);
                return Ok(Some((frame, length)));
            }
            self.buffer.reserve(READ_BYTES);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // As when it was killed with something unread.
                Err(_) => return Ok(None),
            }
        }
    }
}

/// Why a process ended, in words.
fn cause(status: Option<ExitStatus>) -> String {
    const SIGSYS: i32 = 31;
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(SIGSYS), _)) => {
            "it tried what only an intruder would, and was stopped (signal 31): treat what it sent last with care".to_owned()
        }
        Some((Some(signal), _)) => format!("it was ended by signal {signal}"),
        Some((_, Some(code))) => format!("it ended with exit code {code}"),
        _ => "it did not end in time and was killed".to_owned(),
    }
}

/// Text of the zone, harmless in a log.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What the zone may not do any more, and what it still may.
fn say(confinement: &Confinement, pid: Option<u32>) {
    let Confinement { uid, landlock, seccomp, missing } = confinement;
    tracing::info!(pid, uid, landlock, seccomp, "the honeypots run confined");
    for what in missing {
        tracing::warn!(what = plain(what), "the confinement of the honeypots is not complete");
    }
}
