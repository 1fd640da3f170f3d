//! Records that could not be understood: kept, bounded, listed, never dropped
//! in silence. A record is durable here before its receipt is given.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_event::{Timestamp, Untrusted};
use palisade_store::state::{NewQuarantined, State, StateError};
use sha2::{Digest as _, Sha256};

use crate::{QuarantineList, QuarantinedRecord};

/// Longest part of a record that is kept, in bytes.
const MAX_KEPT_BYTES: usize = palisade_event::wire::MAX_EVENT_BYTES;
/// Bytes of a record that a listing shows.
const PREVIEW_BYTES: u32 = 512;
/// Longest reason, in characters; a reason may quote the record.
const MAX_REASON_CHARS: usize = 300;
/// Most records of one listing.
const MAX_LISTED: usize = 1000;

/// The quarantine of the hub.
#[derive(Debug)]
pub(crate) struct Quarantine {
    state: State,
    max_bytes: u64,
    kept: AtomicU64,
    dropped: AtomicU64,
}

/// A record on its way there.
pub(crate) struct Rejected<'a> {
    /// Who delivered it.
    pub(crate) sensor: &'a str,
    /// The record as it came.
    pub(crate) record: &'a [u8],
    /// Why it could not be taken.
    pub(crate) reason: &'a str,
}

impl Quarantine {
    /// Reads how much is kept.
    pub(crate) async fn open(state: &State, max_bytes: u64) -> Result<Self, StateError> {
        let quarantine = Self {
            state: state.clone(),
            max_bytes,
            kept: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        quarantine.count().await?;
        Ok(quarantine)
    }

    /// Keeps records; durable on return. The same record from the same sensor
    /// is kept once.
    pub(crate) async fn add(
        &self,
        rejected: &[Rejected<'_>],
        now: Timestamp,
    ) -> Result<(), StateError> {
        let prepared: Vec<(String, String)> =
            rejected.iter().map(|one| (digest(one), shown(one.reason))).collect();
        let records: Vec<NewQuarantined<'_>> = rejected
            .iter()
            .zip(&prepared)
            .map(|(one, (digest, reason))| NewQuarantined {
                digest,
                sensor: one.sensor,
                reason,
                bytes: one.record.len() as u64,
                record: one.record.get(..MAX_KEPT_BYTES).unwrap_or(one.record),
            })
            .collect();
        self.state.add_quarantined(&records, now, self.max_bytes).await?;
        self.count().await
    }

    async fn count(&self) -> Result<(), StateError> {
        let (kept, dropped) = self.state.quarantine_counts().await?;
        self.kept.store(kept, Ordering::Relaxed);
        self.dropped.store(dropped, Ordering::Relaxed);
        Ok(())
    }

    /// Records that are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Records that were ever dropped at the bound.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The newest records, newest first.
    pub(crate) async fn list(&self, limit: usize) -> Result<QuarantineList, StateError> {
        let limit = u32::try_from(limit.min(MAX_LISTED)).unwrap_or(u32::MAX);
        // Another hub may have added some.
        self.count().await?;
        let records = self
            .state
            .quarantined(limit, PREVIEW_BYTES)
            .await?
            .into_iter()
            .map(|record| QuarantinedRecord {
                id: record.id,
                received_at: record.received_at,
                sensor: record.sensor,
                reason: record.reason,
                bytes: record.bytes,
                preview: Untrusted::new(record.head).to_string(),
            })
            .collect();
        Ok(QuarantineList { total: self.kept(), records })
    }
}

fn digest(rejected: &Rejected<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update((rejected.sensor.len() as u64).to_be_bytes());
    hash.update(rejected.sensor.as_bytes());
    hash.update(rejected.record);
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A reason may quote the record: escaped and cut.
pub(crate) fn shown(reason: &str) -> String {
    Untrusted::from(reason).to_string().chars().take(MAX_REASON_CHARS).collect()
}
