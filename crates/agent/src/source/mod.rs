//! Sources: where lines come from.
//!
//! A source reads as fast as the pipeline takes: both queues below are bounded,
//! and when they are full the file or the journal is the buffer, or a sender by
//! network waits. Datagrams cannot wait: those that the kernel has no room for
//! are counted.

mod departed;
pub(crate) mod file;
mod follow;
pub(crate) mod glob;
pub(crate) mod journal;
mod rotated;
pub(crate) mod stdin;
pub(crate) mod syslog;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::tz::TimeZone;
use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, Untrusted};
use palisade_rules::{LineContext, LineState, LogFormat};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cursor::{self, Cursor, FileKey, Tracker};
use crate::metrics::Metrics;

/// Most reads between the sources and the pipeline; full: sources stop reading.
pub(crate) const LINE_QUEUE: usize = 4096;
/// Most bytes of these lines; full: sources stop reading.
const LINE_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// What a line takes beside its bytes.
const LINE_COST_BYTES: usize = size_of::<Line>();
/// Longest line in bytes; what is longer is cut and marked. Lines of JSON have
/// a longer one of their own.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a source hands to the pipeline.
#[derive(Debug)]
pub(crate) enum Item {
    /// Lines of one source that were read together.
    Lines(Lines),
    /// Something about the source itself.
    Event(Box<Event>),
    /// To be told when all before it is in the spool.
    Reached(oneshot::Sender<()>),
}

/// A source: what its lines are, and how far they are.
#[derive(Debug)]
pub(crate) struct Source {
    /// Unlike that of any other source.
    pub(crate) number: usize,
    /// Part of the event ids: the path, or a name.
    pub(crate) name: String,
    /// What reads its lines.
    pub(crate) parser: LogFormat,
    /// What is kept between lines. One task parses; nobody waits for it.
    pub(crate) state: Mutex<LineState>,
    /// How far it was read and acknowledged.
    pub(crate) tracker: Tracker,
}

static SOURCES: AtomicUsize = AtomicUsize::new(0);

impl Source {
    pub(crate) fn new(name: String, parser: LogFormat, zone: TimeZone) -> Arc<Self> {
        let now = Timestamp::from(std::time::SystemTime::now());
        Arc::new(Self {
            number: SOURCES.fetch_add(1, Ordering::Relaxed),
            name,
            parser,
            state: Mutex::new(LineState::new(LineContext { now, zone })),
            tracker: Tracker::new(),
        })
    }

    /// Longest line: part of a JSON object cannot be read.
    pub(crate) fn max_line_bytes(&self) -> usize {
        match self.parser.is_json() {
            true => palisade_rules::MAX_JSON_LINE_BYTES,
            false => MAX_LINE_BYTES,
        }
    }
}

/// The tasks that write down how far sources are. They end when nothing leads
/// to their sources any more.
pub(crate) type Keepers = Mutex<Vec<AbortOnDropHandle<()>>>;

/// Opens sources: by its name each has a cursor and a keeper of it.
#[derive(Clone)]
pub(crate) struct Registry {
    folder: PathBuf,
    /// The agent's, so that its end is theirs.
    keepers: Weak<Keepers>,
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl Registry {
    pub(crate) fn new(folder: PathBuf, keepers: &Arc<Keepers>) -> Self {
        Self { folder, keepers: Arc::downgrade(keepers), names: Arc::default() }
    }

    /// Opens a source; `None` where one of that name is open. Reads a small file.
    pub(crate) fn open(
        &self,
        name: &str,
        parser: &LogFormat,
        zone: &TimeZone,
    ) -> Option<(Arc<Source>, Option<Cursor>)> {
        let is_new = self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into());
        if !is_new {
            return None;
        }
        let keepers = self.keepers.upgrade()?;
        let path = cursor::path(&self.folder, name);
        let found = cursor::load(&path);
        let source = Source::new(name.to_owned(), parser.clone(), zone.clone());
        let keeper = cursor::keep(path, name.to_owned(), source.tracker.subscribe());
        let mut keepers = keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|keeper| !keeper.is_finished());
        keepers.push(AbortOnDropHandle::new(tokio::spawn(keeper)));
        Some((source, found))
    }

    /// Forgets a source whose file is gone for good.
    pub(crate) fn close(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Lines of one source, in their order.
#[derive(Debug)]
pub(crate) struct Lines {
    source: Arc<Source>,
    lines: std::vec::IntoIter<Line>,
    /// Their share of [`LINE_QUEUE_BYTES`], until the last one was taken.
    _room: OwnedSemaphorePermit,
}

/// One line of a log.
#[derive(Debug)]
pub(crate) struct Line {
    /// Without its newline.
    pub(crate) bytes: Vec<u8>,
    /// Whether it was longer than a line may be.
    pub(crate) truncated: bool,
    /// Where it was.
    pub(crate) place: Place,
}

/// Where a line was read.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a file, from byte to byte.
    File { key: FileKey, start: u64, end: u64 },
    /// In the journal, which also knows when, where and by which process.
    Journal {
        cursor: String,
        at: Timestamp,
        host: Option<String>,
        program: Option<String>,
        pid: Option<u32>,
    },
    /// By network, from this sender at this time. There is no reading it again.
    Network { sender: IpAddr, at: Timestamp },
    /// In a stream that ends with the agent, beginning at this byte.
    Stream { start: u64 },
}

/// The queue from the sources to the pipeline; one clone a source.
#[derive(Clone)]
pub(crate) struct Outlet {
    items: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    sensor: SensorId,
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
}

/// The pipeline's end of the queue.
pub(crate) struct Inlet {
    items: mpsc::Receiver<Item>,
    /// What is left of the lines that came last.
    rest: Option<Lines>,
}

/// What comes out of the queue.
pub(crate) enum Taken {
    Line(Arc<Source>, Line),
    Event(Box<Event>),
    Reached(oneshot::Sender<()>),
}

impl Inlet {
    /// Waits for what is next; `None` once all sources have ended and nothing is
    /// left. Loses nothing where it is dropped while it waits.
    pub(crate) async fn recv(&mut self) -> Option<Taken> {
        loop {
            if let Some(line) = self.line() {
                return Some(line);
            }
            match self.items.recv().await? {
                Item::Lines(lines) => self.rest = Some(lines),
                Item::Event(event) => return Some(Taken::Event(event)),
                Item::Reached(done) => return Some(Taken::Reached(done)),
            }
        }
    }

    /// What is next, where something is there.
    pub(crate) fn try_recv(&mut self) -> Option<Taken> {
        loop {
            if let Some(line) = self.line() {
                return Some(line);
            }
            match self.items.try_recv().ok()? {
                Item::Lines(lines) => self.rest = Some(lines),
                Item::Event(event) => return Some(Taken::Event(event)),
                Item::Reached(done) => return Some(Taken::Reached(done)),
            }
        }
    }

    fn line(&mut self) -> Option<Taken> {
        let rest = self.rest.as_mut()?;
        match rest.lines.next() {
            Some(line) => Some(Taken::Line(Arc::clone(&rest.source), line)),
            None => {
                // Gives their room back.
                self.rest = None;
                None
            }
        }
    }
}

/// The pipeline is gone or the agent ends: stop reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended;

impl Outlet {
    pub(crate) fn new(
        sensor: SensorId,
        metrics: Arc<Metrics>,
        cancel: CancellationToken,
    ) -> (Self, Inlet) {
        let (items, receiver) = mpsc::channel(LINE_QUEUE);
        let room = Arc::new(Semaphore::new(LINE_QUEUE_BYTES));
        (Self { items, room, sensor, metrics, cancel }, Inlet { items: receiver, rest: None })
    }

    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Hands a line over; waits while the queue is full.
    pub(crate) async fn line(
        &self,
        source: &Arc<Source>,
        bytes: Vec<u8>,
        truncated: bool,
        place: Place,
    ) -> Result<(), Ended> {
        self.lines(source, vec![Line { bytes, truncated, place }]).await
    }

    /// Hands over lines that were read together, at most [`LINE_QUEUE_BYTES`];
    /// waits while the queue is full.
    pub(crate) async fn lines(&self, source: &Arc<Source>, lines: Vec<Line>) -> Result<(), Ended> {
        let truncated = lines.iter().filter(|line| line.truncated).count();
        self.metrics.lines.add(lines.len() as u64);
        self.metrics.lines_truncated.add(truncated as u64);
        let bytes: usize = lines.iter().map(|line| line.bytes.len() + LINE_COST_BYTES).sum();
        let need = u32::try_from(bytes.min(LINE_QUEUE_BYTES)).unwrap_or(u32::MAX);
        let send = async {
            let room = Arc::clone(&self.room).acquire_many_owned(need).await.map_err(|_| Ended)?;
            let (source, lines) = (Arc::clone(source), lines.into_iter());
            let lines = Lines { source, lines, _room: room };
            self.items.send(Item::Lines(lines)).await.map_err(|_| Ended)
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Ended),
            sent = send => sent,
        }
    }

    /// Hands over an event of our own.
    pub(crate) async fn event(&self, event: Event) -> Result<(), Ended> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Ended),
            sent = self.items.send(Item::Event(Box::new(event))) => sent.map_err(|_| Ended),
        }
    }

    /// Waits until all that was handed over before is in the spool: only then may
    /// it be written down that it was told.
    pub(crate) async fn reached(&self) -> Result<(), Ended> {
        let (done, reached) = oneshot::channel();
        let waiting = async {
            self.items.send(Item::Reached(done)).await.map_err(|_| Ended)?;
            reached.await.map_err(|_| Ended)
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Ended),
            waited = waiting => waited,
        }
    }

    /// Tells that a source cannot be read, once, or can be read again.
    async fn tell(&self, kind: EventKind, source: &str, reason: Option<&str>) -> Result<(), Ended> {
        let at = Timestamp::from(std::time::SystemTime::now());
        let id = EventId::new(at, rand::random());
        let mut event =
            Event::new(id, kind, at, self.sensor.clone()).with("source", Untrusted::from(source));
        if let Some(reason) = reason {
            event = event.with("reason", Untrusted::from(reason));
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Ended),
            sent = self.items.send(Item::Event(Box::new(event))) => sent.map_err(|_| Ended),
        }
    }
}

/// Whether a source can be read, and who has been told.
pub(crate) struct Health {
    name: String,
    failing: bool,
}

impl Health {
    pub(crate) fn new(name: String) -> Self {
        Self { name, failing: false }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// The source cannot be read. Told once, until it has recovered.
    pub(crate) async fn failed(
        &mut self,
        outlet: &Outlet,
        reason: &str,
        remedy: &str,
    ) -> Result<(), Ended> {
        if self.failing {
            return Ok(());
        }
        self.failing = true;
        outlet.metrics.sources_failing.add(1);
        tracing::error!(source = %self.name, reason, remedy, "a log source cannot be read; trying again");
        outlet.tell(EventKind::SourceFailed, &self.name, Some(reason)).await
    }

    /// The source can be read.
    pub(crate) async fn works(&mut self, outlet: &Outlet) -> Result<(), Ended> {
        if !self.failing {
            return Ok(());
        }
        self.failing = false;
        outlet.metrics.sources_failing.set(outlet.metrics.sources_failing.get().saturating_sub(1));
        tracing::info!(source = %self.name, "a log source can be read again");
        outlet.tell(EventKind::SourceRecovered, &self.name, None).await
    }
}

/// Why nothing is read any more.
pub(crate) enum Stop {
    /// The agent ends.
    Ended,
    /// It does not work, for this reason; the task tries again later.
    Failed(String),
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
