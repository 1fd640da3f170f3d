//! One target: which events are for it, its queue on disk, how it is doing.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_event::{Event, SensorId, Timestamp, wire};
use palisade_spool::{AppendError, Reader, Spool, WhenFull};
use palisade_store::query::Query;
use serde::Serialize;

use super::config::{OutboundConfig, OutboundKind};
use super::loss::Losses;
use super::origin::Origin;
use crate::error::OpenError;
use crate::lock::make_dir;

/// Most events of one append to a queue.
const APPEND_EVENTS: usize = 512;
/// Bytes of a queue's segment files: eight of the whole, within these.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 512 * 1024..=16 * 1024 * 1024;

/// One target.
pub(crate) struct Outlet {
    pub(super) config: OutboundConfig,
    query: Query,
    except: Vec<SensorId>,
    origin: Origin,
    pub(super) spool: Spool,
    reader: Mutex<Option<Reader>>,
    pub(super) losses: Losses,
    pub(super) figures: Figures,
}

/// What a target has done since the start.
#[derive(Default)]
pub(super) struct Figures {
    /// Events that the far side has confirmed.
    pub(super) sent: AtomicU64,
    /// Events that its dialect cannot express.
    pub(super) left_out: AtomicU64,
    /// Events that the far side refuses by themselves; in quarantine.
    pub(super) refused: AtomicU64,
    /// Deliveries that failed and were repeated.
    pub(super) retries: AtomicU64,
    pub(super) last: Mutex<Last>,
}

/// What happened last.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    pub(super) ok_at: Option<Timestamp>,
    pub(super) error: Option<String>,
}

/// How a target is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboundStatus {
    /// Its name.
    pub name: SensorId,
    /// What is spoken with it.
    pub kind: OutboundKind,
    /// Events that wait for it.
    pub pending: u64,
    /// Bytes of its queue on disk.
    pub bytes: u64,
    /// Their bound.
    pub max_bytes: u64,
    /// Events that it has confirmed since the start.
    pub sent: u64,
    /// Events that its dialect cannot express, since the start.
    pub left_out: u64,
    /// Events that it refuses, since the start; they are in quarantine.
    pub refused: u64,
    /// Events that were dropped as the queue was full, ever.
    pub dropped: u64,
    /// Events that never came into the queue, as it could not be written, ever.
    pub unqueued: u64,
    /// Deliveries that failed and were repeated, since the start.
    pub retries: u64,
    /// When it last confirmed something.
    pub last_ok_at: Option<Timestamp>,
    /// Why the last delivery failed; none where it did not.
    pub error: Option<String>,
}

impl Figures {
    pub(super) fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// Opens its queue and the account of its losses below the hub's directory.
    /// Blocks.
    pub(super) fn open(
        hub_dir: &Path,
        config: &OutboundConfig,
        origin: Origin,
    ) -> Result<Self, OpenError> {
        let dir = hub_dir.join("outbound").join(config.name.as_str());
        make_dir(&dir)?;
        let settings = palisade_spool::Config {
            segment_bytes: (config.max_bytes / 8)
                .clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end()),
            max_bytes: config.max_bytes,
            when_full: WhenFull::DropOldest,
        };
        let (spool, reader) =
            Spool::open(&dir, settings).map_err(|error| OpenError(error.to_string()))?;
        let except = match config.except_sensors.is_empty() {
            true if config.webhook.is_none() => vec![config.name.clone()],
            _ => config.except_sensors.clone(),
        };
        Ok(Self {
            query: config.filter().map_err(OpenError)?,
            config: config.clone(),
            except,
            origin,
            spool,
            reader: Mutex::new(Some(reader)),
            losses: Losses::open(hub_dir, &config.name)?,
            figures: Figures::default(),
        })
    }

    /// The reader of its queue, once.
    pub(super) fn take_reader(&self) -> Option<Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_for(&self, event: &Event) -> bool {
        if let Some(hook) = &self.config.webhook {
            return hook.is_for(&self.query, event);
        }
        self.query.matches(event)
            && !self.except.contains(&event.sensor)
            && !Origin::is_tired(event)
    }

    /// Puts events that are for it into its queue. Where that cannot be written
    /// the others go on without it: such events are counted and told of.
    pub(super) async fn pass_on(&self, events: &[Arc<Event>]) {
        let mut records = Vec::new();
        for event in events.iter().filter(|event| self.is_for(event)) {
            let mut copy = Event::clone(event);
            self.origin.stamp(&mut copy);
            records.push(wire::encode_event(&copy));
            if records.len() >= APPEND_EVENTS {
                self.append(std::mem::take(&mut records)).await;
            }
        }
        self.append(records).await;
    }

    async fn append(&self, records: Vec<Vec<u8>>) {
        // The halves of what is too large at once come last first.
        let mut waiting = vec![records];
        while let Some(mut records) = waiting.pop() {
            if records.is_empty() {
                continue;
            }
            match self.spool.append(records.clone()).await {
                Ok(_) => self.losses.queued(),
                Err(AppendError::TooLarge { .. }) if records.len() > 1 => {
                    waiting.push(records.split_off(records.len() / 2));
                    waiting.push(records);
                }
                Err(error) => self.losses.not_queued(&records, &error),
            }
        }
    }

    pub(super) async fn close(&self) {
        self.spool.close().await;
        self.losses.save().await;
    }

    pub(super) fn status(&self) -> OutboundStatus {
        let (spool, figures) = (self.spool.stats(), &self.figures);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last = figures.last().clone();
        OutboundStatus {
            name: self.config.name.clone(),
            kind: self.config.kind,
            pending: spool.pending_records,
            bytes: spool.bytes,
            max_bytes: self.config.max_bytes,
            sent: get(&figures.sent),
            left_out: get(&figures.left_out),
            refused: get(&figures.refused),
            dropped: spool.dropped_records,
            unqueued: self.losses.unqueued(),
            retries: get(&figures.retries),
            last_ok_at: last.ok_at,
            error: last.error,
        }
    }
}
