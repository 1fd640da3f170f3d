//! The payload store: captured bytes, kept once, within a bound.
//!
//! Bytes are durable, and known to the state database, before their event is
//! taken. Which events brought a payload is counted when those are stored
//! ([`Payloads::seen`]); such counts are written down every few seconds, and a
//! crash loses the last of them. Nothing here parses what was captured.
//!
//! What was just brought again is not removed at the bound: that it was, is
//! noted in the same step that finds it known ([`Payloads::remembered`]), and
//! removal looks for such a note in the step that forgets it ([`Payloads::forget`]).
//! Of hubs that share the state, one may have removed what another remembers
//! for up to [`KNOWN_MILLIS`].

mod delivered;
mod identity;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_event::{Endpoint, PayloadHash, Timestamp};
use palisade_store::blob::{Blobs, PayloadConfig};
use palisade_store::state::{
    Payload, PayloadQuery, PayloadSightings, PayloadTotals, State, StateError,
};

pub(crate) use self::delivered::Delivered;
use crate::error::{IngestError, OpenError, QueryError};

/// Largest payload that is kept, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 5 * 1024 * 1024;
/// Payloads that are remembered to be kept; beyond, all are forgotten and
/// looked up again.
const MAX_KNOWN: usize = 65_536;
/// So long it is remembered that a payload is kept: 60 s. Another hub may
/// have removed it since.
const KNOWN_MILLIS: i64 = 60 * 1000;
/// Payloads whose sightings wait to be written down; beyond, further ones are
/// not counted.
const MAX_PENDING: usize = 100_000;
/// Payloads that are removed at a time.
const EVICT_BATCH: u32 = 100;
/// Seconds after which a sender tries again where bytes cannot be kept.
const RETRY_SECS: u32 = 30;

/// Bytes that a honeypot captured.
#[derive(Clone, Debug)]
pub struct NewPayload {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they are the text of an HTTP request.
    pub http: bool,
    /// Where they came from.
    pub source: Option<Endpoint>,
}

/// The hub's payloads.
pub(crate) struct Payloads {
    state: State,
    blobs: Arc<Blobs>,
    max_bytes: u64,
    /// Hashes, and hashes of texts, to the payload that is kept for them, and
    /// since when that is known.
    known: Mutex<HashMap<[u8; 32], (PayloadHash, Timestamp)>>,
    /// Sightings that wait to be written down. Locked after `known` where both are.
    pending: Mutex<HashMap<PayloadHash, (u64, Timestamp)>>,
    /// Held while sightings are on their way to the state.
    flushing: tokio::sync::Mutex<()>,
    /// One at a time decides what is new.
    adding: tokio::sync::Mutex<()>,
    pub(crate) too_large: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) uncounted: AtomicU64,
}

impl Payloads {
    /// Blocks.
    pub(crate) fn open_blobs(config: &PayloadConfig, hub_dir: &Path) -> Result<Blobs, OpenError> {
        Blobs::open(config, &hub_dir.join("payloads")).map_err(OpenError)
    }

    pub(crate) fn new(state: &State, blobs: Blobs, config: &PayloadConfig) -> Self {
        Self {
            state: state.clone(),
            blobs: Arc::new(blobs),
            max_bytes: config.max_bytes,
            known: Mutex::default(),
            pending: Mutex::default(),
            flushing: tokio::sync::Mutex::new(()),
            adding: tokio::sync::Mutex::new(()),
            too_large: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], (PayloadHash, Timestamp)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<PayloadHash, (u64, Timestamp)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps payloads; durable on return. Each gets the hash it is kept by, or
    /// why it is not.
    pub(crate) async fn keep(
        &self,
        payloads: Vec<NewPayload>,
        now: Timestamp,
    ) -> Result<Vec<Result<PayloadHash, &'static str>>, IngestError> {
        let mut kept = Vec::with_capacity(payloads.len());
        for payload in payloads {
            if payload.bytes.len() > MAX_PAYLOAD_BYTES {
                self.too_large.fetch_add(1, Ordering::Relaxed);
                kept.push(Err("larger than 5 MiB"));
                continue;
            }
            kept.push(Ok(self.keep_one(payload, now).await.map_err(busy)?));
        }
        Ok(kept)
    }

    async fn keep_one(&self, new: NewPayload, now: Timestamp) -> io::Result<PayloadHash> {
        let identity = identity::of(&new.bytes, new.http);
        if let Some(hash) = self.remembered(&identity, now) {
            return Ok(hash);
        }
        let _turn = self.adding.lock().await;
        if let Some(hash) = self.remembered(&identity, now) {
            return Ok(hash);
        }
        let text_hash = identity.text.map(|hash| PayloadHash(hash).to_string());
        let sha256 = PayloadHash(identity.sha256);
        let found = self.state.payload_like(sha256, text_hash.as_deref()).await;
        let hash = match found.map_err(io::Error::other)?.filter(|found| found.kept) {
            Some(found) => found.sha256,
            None => self.add(new, &identity, text_hash, now).await?,
        };
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(identity.sha256, (hash, now));
        if let Some(text) = identity.text {
            known.insert(text, (hash, now));
        }
        drop(known);
        // As long as we have the turn nothing is removed.
        self.remembered(&identity, now);
        Ok(hash)
    }

    /// The payload that is known to be kept for these bytes; notes that it was
    /// brought again, so that it stays.
    fn remembered(&self, identity: &identity::Identity, now: Timestamp) -> Option<PayloadHash> {
        let known = self.known();
        let by_text = || identity.text.and_then(|text| known.get(&text));
        let (hash, since) = known.get(&identity.sha256).or_else(by_text).copied()?;
        if now.as_millis() - since.as_millis() > KNOWN_MILLIS {
            return None;
        }
        self.note(hash, 0, now);
        Some(hash)
    }

    /// Forgets a payload that is to be removed; `false` where it was brought
    /// again meanwhile, or that cannot be told.
    fn forget(&self, hash: PayloadHash) -> bool {
        let mut known = self.known();
        let pending = self.pending();
        if pending.len() >= MAX_PENDING || pending.contains_key(&hash) {
            return false;
        }
        known.retain(|_, (other, _)| *other != hash);
        true
    }

    /// First the bytes, then what is known of them.
    async fn add(
        &self,
        new: NewPayload,
        identity: &identity::Identity,
        text_hash: Option<String>,
        now: Timestamp,
    ) -> io::Result<PayloadHash> {
        let sha256 = PayloadHash(identity.sha256);
        let row = Payload {
            sha256,
            md5: identity::md5_of(&new.bytes),
            text_hash,
            mime: identity::mime_of(&new.bytes, new.http).to_owned(),
            first_source: new.source.map(|source| source.address),
            bytes: new.bytes.len() as u64,
            first_seen: now,
            last_seen: now,
            seen: 0,
            first_port: new.source.and_then(|source| source.port),
            kept: true,
        };
        let blobs = Arc::clone(&self.blobs);
        tokio::task::spawn_blocking(move || blobs.put(sha256, &new.bytes))
            .await
            .map_err(io::Error::other)??;
        Ok(self.state.add_payload(&row).await.map_err(io::Error::other)?.sha256)
    }

    /// New events were stored: how many brought which payload, and when last.
    pub(crate) fn seen(&self, sightings: HashMap<PayloadHash, (u64, Timestamp)>) {
        for (hash, (events, at)) in sightings {
            self.note(hash, events, at);
        }
    }

    fn note(&self, hash: PayloadHash, events: u64, at: Timestamp) {
        let mut pending = self.pending();
        if pending.len() >= MAX_PENDING && !pending.contains_key(&hash) {
            self.uncounted.fetch_add(events, Ordering::Relaxed);
            return;
        }
        let entry = pending.entry(hash).or_insert((0, at));
        entry.0 += events;
        entry.1 = entry.1.max(at);
    }

    /// Writes sightings down; those that cannot be wait for the next time.
    pub(crate) async fn flush(&self) -> Result<(), StateError> {
        let _turn = self.flushing.lock().await;
        let taken = std::mem::take(&mut *self.pending());
        if taken.is_empty() {
            return Ok(());
        }
        let sightings: Vec<PayloadSightings> = taken
            .iter()
            .map(|(sha256, (events, last_seen))| PayloadSightings {
                sha256: *sha256,
                events: *events,
                last_seen: *last_seen,
            })
            .collect();
        let written = self.state.see_payloads(&sightings).await;
        if written.is_err() {
            let mut pending = self.pending();
            for (hash, (events, at)) in taken {
                let entry = pending.entry(hash).or_insert((0, at));
                entry.0 += events;
                entry.1 = entry.1.max(at);
            }
        }
        written
    }

    /// Removes what was unseen for longest while there is too much.
    pub(crate) async fn make_room(&self) -> Result<(), StateError> {
        let mut bytes = self.state.payload_totals().await?.bytes;
        while bytes > self.max_bytes {
            self.flush().await?;
            let stale = self.state.stale_payloads(EVICT_BATCH).await?;
            let before = bytes;
            for payload in stale {
                if bytes <= self.max_bytes {
                    return Ok(());
                }
                if self.evict(&payload).await? {
                    bytes = bytes.saturating_sub(payload.bytes);
                }
            }
            if bytes == before {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes the bytes of a payload, unless it was brought again since it was
    /// listed. Whether they are gone.
    async fn evict(&self, payload: &Payload) -> Result<bool, StateError> {
        let _turn = self.adding.lock().await;
        // Sightings are either waiting or written, not in between.
        let flushing = self.flushing.lock().await;
        if !self.forget(payload.sha256) {
            return Ok(false);
        }
        // First the row: bytes that nobody knows of can be written again.
        if !self.state.drop_payload(payload.sha256, payload.last_seen).await? {
            return Ok(false);
        }
        drop(flushing);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        let (blobs, hash) = (Arc::clone(&self.blobs), payload.sha256);
        match tokio::task::spawn_blocking(move || blobs.remove(hash)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, payload = %hash, "a payload was not removed"),
            Err(error) => tracing::warn!(%error, payload = %hash, "a payload was not removed"),
        }
        Ok(true)
    }

    pub(crate) async fn list(
        &self,
        query: &PayloadQuery,
        limit: u32,
    ) -> Result<Vec<Payload>, StateError> {
        self.state.payloads(query, limit).await
    }

    pub(crate) async fn one(&self, hash: PayloadHash) -> Result<Option<Payload>, StateError> {
        self.state.payload(hash).await
    }

    pub(crate) async fn totals(&self) -> Result<PayloadTotals, StateError> {
        self.state.payload_totals().await
    }

    pub(crate) async fn bytes(&self, hash: PayloadHash) -> Result<Option<Vec<u8>>, QueryError> {
        let blobs = Arc::clone(&self.blobs);
        tokio::task::spawn_blocking(move || blobs.get(hash))
            .await
            .map_err(|error| QueryError::Failed(error.to_string()))?
            .map_err(|error| QueryError::Failed(error.to_string()))
    }
}

fn busy(error: io::Error) -> IngestError {
    let reason = format!("a payload cannot be kept: {error}");
    IngestError::Busy { reason, retry_after_secs: RETRY_SECS }
}
