//! Sources: where lines come from.
//!
//! A source reads as fast as the pipeline takes: both queues below are bounded,
//! and when they are full the file or the journal is the buffer.

mod departed;
pub(crate) mod file;
mod follow;
pub(crate) mod journal;
mod rotated;
mod watch;

use std::sync::Arc;

use palisade_event::{Event, EventId, EventKind, HostName, SensorId, Timestamp, Untrusted};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cursor::FileKey;
use crate::metrics::Metrics;

/// Most lines between the sources and the pipeline; full: sources stop reading.
pub(crate) const LINE_QUEUE: usize = 4096;
/// Most bytes of these lines; full: sources stop reading.
const LINE_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Longest line in bytes; what is longer is cut and marked. Lines of JSON have
/// a longer one of their own.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a source hands to the pipeline.
#[derive(Debug)]
pub(crate) enum Item {
    /// One line.
    Line(Line),
    /// Something about the source itself.
    Event(Box<Event>),
}

/// One line of a log.
#[derive(Debug)]
pub(crate) struct Line {
    /// The source's place in the configuration.
    pub(crate) source: usize,
    /// Without its newline.
    pub(crate) bytes: Vec<u8>,
    /// Whether it was longer than a line may be.
    pub(crate) truncated: bool,
    /// Where it was.
    pub(crate) place: Place,
    /// Its share of [`LINE_QUEUE_BYTES`].
    _room: OwnedSemaphorePermit,
}

/// Where a line was read.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a file, from byte to byte.
    File { key: FileKey, start: u64, end: u64 },
    /// In the journal, which also knows when, where and by which process.
    Journal { cursor: String, at: Timestamp, host: Option<HostName>, pid: Option<u32> },
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

/// The pipeline is gone or the agent ends: stop reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended;

impl Outlet {
    pub(crate) fn new(
        sensor: SensorId,
        metrics: Arc<Metrics>,
        cancel: CancellationToken,
    ) -> (Self, mpsc::Receiver<Item>) {
        let (items, receiver) = mpsc::channel(LINE_QUEUE);
        let room = Arc::new(Semaphore::new(LINE_QUEUE_BYTES));
        (Self { items, room, sensor, metrics, cancel }, receiver)
    }

    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Hands a line over; waits while the queue is full.
    pub(crate) async fn line(
        &self,
        source: usize,
        bytes: Vec<u8>,
        truncated: bool,
        place: Place,
    ) -> Result<(), Ended> {
        self.metrics.lines.one();
        if truncated {
            self.metrics.lines_truncated.one();
        }
        // An empty line takes room too: its record is not empty.
        let need = u32::try_from(bytes.len().clamp(64, LINE_QUEUE_BYTES)).unwrap_or(u32::MAX);
        let send = async {
            let room = Arc::clone(&self.room).acquire_many_owned(need).await.map_err(|_| Ended)?;
            let line = Line { source, bytes, truncated, place, _room: room };
            self.items.send(Item::Line(line)).await.map_err(|_| Ended)
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Ended),
            sent = send => sent,
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
