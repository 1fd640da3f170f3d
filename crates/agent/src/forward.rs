//! The forwarder: from the spool to the hub, in order, until a receipt.
//!
//! Records leave the spool only when the hub has confirmed them or has refused
//! them one by one. The hub is asked for a batch again after any failure; it
//! counts by id, so nothing counts twice.

use std::sync::Arc;
use std::time::Duration;

use palisade_spool::{ReadError, Reader, Spool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, LONGEST, jitter};
use crate::dead_letter::DeadLetters;
use crate::metrics::Metrics;
use crate::uplink::{SendError, Uplink};

/// Most records of one batch.
const MAX_CHUNK_RECORDS: usize = 1_000;
/// Most bytes of one batch, about.
const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// Longest wait that a hub may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How long the end of the agent waits for the last deliveries.
pub(crate) const LAST_TRY: Duration = Duration::from_secs(5);

/// The forwarder, before it runs.
pub(crate) struct Forward<U> {
    pub(crate) uplink: U,
    pub(crate) reader: Reader,
    pub(crate) spool: Spool,
    pub(crate) letters: DeadLetters,
    pub(crate) metrics: Arc<Metrics>,
    /// Signalled with every delivery.
    pub(crate) delivered: Arc<Notify>,
    /// The agent ends: deliver what is there, try once, wait for nothing.
    pub(crate) finishing: CancellationToken,
}

/// The agent ends and the hub does not take the rest; it stays in the spool.
#[derive(Debug)]
struct GaveUp;

impl<U: Uplink> Forward<U> {
    /// Runs until the agent ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let finishing = self.finishing.clone();
        loop {
            if finishing.is_cancelled() && self.spool.stats().pending_records == 0 {
                return;
            }
            let chunk = tokio::select! {
                chunk = self.reader.next(MAX_CHUNK_RECORDS, MAX_CHUNK_BYTES) => chunk,
                // Look again whether something is left.
                () = finishing.cancelled(), if !finishing.is_cancelled() => continue,
            };
            let done = match chunk {
                Ok(chunk) => match self.deliver(&chunk.records).await {
                    Ok(()) => self.reader.commit(chunk.end).await,
                    Err(GaveUp) => return,
                },
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {
                    backoff.reset();
                    self.delivered.notify_one();
                }
                Err(ReadError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "the spool cannot be read; trying again");
                    self.reader.rewind();
                    if self.wait(backoff.next()).await.is_err() {
                        return;
                    }
                }
            }
            self.metrics.spool_pending.set(self.spool.stats().pending_records);
            self.metrics.spool_bytes.set(self.spool.stats().bytes);
        }
    }

    async fn wait(&self, time: Duration) -> Result<(), GaveUp> {
        tokio::select! {
            biased;
            () = self.finishing.cancelled() => Err(GaveUp),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Delivers all records, or gives up because the agent ends.
    async fn deliver(&self, records: &[Vec<u8>]) -> Result<(), GaveUp> {
        let mut backoff = Backoff::default();
        let mut failing: Option<String> = None;
        // Parts still to be sent, the next one last.
        let mut parts = vec![records];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let (reason, wait) = match self.uplink.send(part).await {
                Ok(receipt) => {
                    if failing.take().is_some() {
                        tracing::info!("the hub takes events again");
                    }
                    backoff.reset();
                    self.confirmed(part, &receipt);
                    continue;
                }
                Err(SendError::TooLarge | SendError::Malformed(_)) if part.len() > 1 => {
                    self.metrics.send_retries.one();
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push(second);
                    parts.push(first);
                    continue;
                }
                Err(error @ (SendError::TooLarge | SendError::Malformed(_))) => {
                    if self.set_aside(part, &error).await {
                        continue;
                    }
                    (error.to_string(), backoff.next())
                }
                Err(error @ SendError::Refused { retry_after }) => {
                    let own = backoff.next();
                    let asked =
                        retry_after.map_or(own, |time| jitter(time.min(MAX_RETRY_AFTER) * 2));
                    (error.to_string(), asked.max(own))
                }
                Err(error @ SendError::Unreachable(_)) => (error.to_string(), backoff.next()),
                Err(error @ SendError::Unauthorised(_)) => (error.to_string(), jitter(LONGEST)),
            };
            self.metrics.send_retries.one();
            // Once a reason: a hub that is away for a day is one line.
            if failing.as_ref() != Some(&reason) {
                tracing::warn!(reason = %reason, wait_ms = wait.as_millis() as u64, "events wait in the spool; trying again");
                failing = Some(reason);
            }
            parts.push(part);
            self.wait(wait).await?;
        }
        Ok(())
    }

    fn confirmed(&self, part: &[Vec<u8>], receipt: &palisade_event::wire::Receipt) {
        self.metrics.forwarded.add(part.len() as u64);
        self.metrics.duplicate.add(u64::from(receipt.duplicate));
        self.metrics.quarantined.add(receipt.quarantined.len() as u64);
        for record in &receipt.quarantined {
            let reason = palisade_event::Untrusted::from(record.reason.as_str());
            tracing::warn!(index = record.index, %reason, "the hub put an event into quarantine");
        }
    }

    /// Keeps a record that the hub refuses by itself. `false` where it could
    /// not be kept: then it must stay in the spool.
    async fn set_aside(&self, part: &[Vec<u8>], error: &SendError) -> bool {
        let letters = self.letters.clone();
        let record = part.concat();
        let bytes = record.len();
        let written = tokio::task::spawn_blocking(move || letters.add(&record)).await;
        let path = self.letters.path().display();
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => {
                self.metrics.dead_letters.one();
                tracing::error!(bytes, reason = %error, path = %path, "the hub refuses an event; it was set aside");
                true
            }
            Err(failed) => {
                tracing::error!(bytes, error = %failed, path = %path, "a refused event cannot be set aside; trying again");
                false
            }
        }
    }
}
