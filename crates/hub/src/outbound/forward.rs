//! From a target's queue to the far side: in order, again and again until it
//! says OK. What is said and to whom is the transport's business.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palisade_event::{Event, Timestamp, wire};
use palisade_spool::{ReadError, Reader};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::config::OutboundConfig;
use super::outlet::Outlet;
use crate::quarantine::{Quarantine, Rejected};

/// Bytes of events of one delivery, give or take one event.
const CHUNK_BYTES: usize = 1024 * 1024;
/// First wait after a failure; doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest text of an error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 300;
/// How long the last delivery may take when the hub stops.
const LAST_TRY: Duration = Duration::from_secs(3);

/// A way to a far side.
pub trait Transport: Send {
    /// Most events of one delivery.
    fn most_events(&self) -> usize;

    /// Delivers events and waits for the far side's word. `Ok` means that it
    /// has them all, but for those that its dialect cannot express.
    ///
    /// # Errors
    /// [`SendError`]: the far side may have taken some all the same.
    fn send(&mut self, events: &[Event]) -> impl Future<Output = Result<Sent, SendError>> + Send;
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Events that the far side has.
    pub taken: usize,
    /// Events that its dialect cannot express.
    pub left_out: usize,
}

/// Why a delivery was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The same again later, at the earliest after so long.
    #[error("{reason}")]
    Later {
        /// What happened.
        reason: String,
        /// When the far side asks to be tried again.
        retry_after: Option<Duration>,
    },
    /// The far side does not know us; the operator must act, all is kept.
    #[error("{0}")]
    Unauthorised(String),
    /// Something in it cannot be taken: smaller parts find out what.
    #[error("{0}")]
    Refused(String),
}

impl SendError {
    /// The same again later.
    #[must_use]
    pub fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), retry_after: None }
    }
}

/// Empties one target's queue. One a target; run it until the hub stops.
pub struct Forwarder {
    outlet: Arc<Outlet>,
    reader: Reader,
    quarantine: Arc<Quarantine>,
}

/// The hub stops; the rest waits in the queue.
struct Stopped;

impl Forwarder {
    /// The one forwarder of a target; `None` the second time.
    pub(crate) fn new(outlet: Arc<Outlet>, quarantine: Arc<Quarantine>) -> Option<Self> {
        let reader = outlet.take_reader()?;
        Some(Self { outlet, reader, quarantine })
    }

    /// The target's settings.
    #[must_use]
    pub fn config(&self) -> &OutboundConfig {
        &self.outlet.config
    }

    /// Forwards until `cancel`; then a delivery under way may end, and the rest
    /// waits for the next start.
    pub async fn run<T: Transport>(mut self, mut transport: T, cancel: CancellationToken) {
        let mut wait = FIRST_WAIT;
        loop {
            let most = transport.most_events().max(1);
            let chunk = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                chunk = self.reader.next(most, CHUNK_BYTES) => chunk,
            };
            let done = match chunk {
                Ok(chunk) => match self.deliver(&mut transport, &chunk.records, &cancel).await {
                    Ok(()) => self.reader.commit(chunk.end).await,
                    Err(Stopped) => return,
                },
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => wait = FIRST_WAIT,
                Err(ReadError::Closed) => return,
                Err(error) => {
                    self.failed(&format!("its queue cannot be read: {error}"));
                    self.reader.rewind();
                    if pause(&mut wait, None, &cancel).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Delivers all records, however long it takes.
    async fn deliver<T: Transport>(
        &self,
        transport: &mut T,
        records: &[Vec<u8>],
        cancel: &CancellationToken,
    ) -> Result<(), Stopped> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            match wire::decode_event(record) {
                Ok(event) => events.push(event),
                // Written by us; a newer version may have known more.
                Err(error) => self.set_aside(record, &error.to_string(), cancel).await?,
            }
        }
        let mut wait = FIRST_WAIT;
        // Parts still to be sent, the next one last.
        let mut parts = vec![events.as_slice()];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let sent = tokio::select! {
                sent = transport.send(part) => sent,
                () = async { cancel.cancelled().await; sleep(LAST_TRY).await } => return Err(Stopped),
            };
            let error = match sent {
                Ok(sent) => {
                    self.confirmed(sent);
                    wait = FIRST_WAIT;
                    continue;
                }
                Err(error) => error,
            };
            let retry_after = match &error {
                SendError::Refused(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                SendError::Refused(reason) => {
                    let record = part.first().map(wire::encode_event).unwrap_or_default();
                    self.set_aside(&record, reason, cancel).await?;
                    continue;
                }
                SendError::Later { retry_after, .. } => *retry_after,
                SendError::Unauthorised(_) => Some(LONGEST_WAIT),
            };
            self.failed(&error.to_string());
            parts.push(part);
            pause(&mut wait, retry_after, cancel).await?;
        }
        Ok(())
    }

    fn confirmed(&self, sent: Sent) {
        let figures = &self.outlet.figures;
        figures.sent.fetch_add(sent.taken as u64, Ordering::Relaxed);
        figures.left_out.fetch_add(sent.left_out as u64, Ordering::Relaxed);
        let mut last = figures.last();
        last.ok_at = Some(Timestamp::from(std::time::SystemTime::now()));
        if last.error.take().is_some() {
            tracing::info!(outbound = %self.outlet.config.name, "the target takes events again");
        }
    }

    fn failed(&self, reason: &str) {
        let figures = &self.outlet.figures;
        figures.retries.fetch_add(1, Ordering::Relaxed);
        let reason: String =
            reason.chars().flat_map(char::escape_debug).take(MAX_ERROR_CHARS).collect();
        let mut last = figures.last();
        // Once a reason: a far side that is away for a day is one line.
        if last.error.as_ref() != Some(&reason) {
            let name = &self.outlet.config.name;
            tracing::warn!(outbound = %name, %reason, "events wait in the target's queue; trying again");
            last.error = Some(reason);
        }
    }

    /// Keeps a record that the far side refuses by itself in quarantine.
    async fn set_aside(
        &self,
        record: &[u8],
        reason: &str,
        cancel: &CancellationToken,
    ) -> Result<(), Stopped> {
        let name = &self.outlet.config.name;
        let reason = format!("the target '{name}' refuses it: {reason}");
        let mut wait = FIRST_WAIT;
        loop {
            let rejected = [Rejected { sensor: "outbound", record, reason: &reason }];
            let now = Timestamp::from(std::time::SystemTime::now());
            match self.quarantine.add(&rejected, now).await {
                Ok(_) => break,
                Err(error) => self.failed(&format!("a refused event cannot be kept: {error}")),
            }
            pause(&mut wait, None, cancel).await?;
        }
        tracing::warn!(outbound = %name, %reason, "an event is in quarantine, as it was not taken");
        self.outlet.figures.refused.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Waits, longer each time and with jitter, so that many hubs do not come back
/// in step.
async fn pause(
    wait: &mut Duration,
    at_least: Option<Duration>,
    cancel: &CancellationToken,
) -> Result<(), Stopped> {
    let whole = at_least.unwrap_or_default().min(LONGEST_WAIT).max(*wait);
    *wait = (*wait * 2).min(LONGEST_WAIT);
    tokio::select! {
        () = cancel.cancelled() => Err(Stopped),
        () = sleep(whole.mul_f64(0.75 + rand::random::<f64>() / 4.0)) => Ok(()),
    }
}
