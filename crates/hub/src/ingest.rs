//! Taking events in: check, attribute, recognise what came before, make
//! durable, answer. Not enrichment and not the store; they come after the
//! receipt.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_event::wire::{self, Quarantined, Receipt};
use palisade_event::{Domain, Event, EventId, EventKind, PayloadHash, SensorId, Timestamp};
use palisade_spool::{AppendError, Spool};
use palisade_store::Store;
use tokio_util::sync::CancellationToken;

use crate::auth::{Identity, Permission, Principal};
use crate::decisions::{BY, Decisions, ORIGIN};
use crate::error::IngestError;
use crate::handover::Handover;
use crate::lock::Locked;
use crate::metrics::{Metrics, Reason};
use crate::outbound::Origin;
use crate::payload::{Delivered, Payloads};
use crate::quarantine::{Quarantine, Rejected, shown};
use crate::recent::Recent;
use crate::sensors::Sensors;

/// How far a sensor's clock may be ahead of the hub's: 24 hours.
const MAX_AHEAD_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Milliseconds of a day.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Batches above this many bytes are decoded on a blocking thread.
const INLINE_BYTES: usize = 64 * 1024;
/// Events above this number are encoded on a blocking thread.
const INLINE_EVENTS: usize = 500;
/// Seconds after which a sender tries again where the spool is full.
const FULL_RETRY_SECS: u32 = 5;
/// Seconds after which a sender tries again where the disk fails.
const FAILED_RETRY_SECS: u32 = 30;
/// Seconds after which a sender tries again where the hub is stopping.
const CLOSED_RETRY_SECS: u32 = 10;

/// Classes of reasons for quarantine, for metrics.
pub(crate) const REASONS: [&str; 4] = [MALFORMED, FUTURE, EXPIRED, UNSTORABLE];
const MALFORMED: &str = "malformed";
const FUTURE: &str = "future";
const EXPIRED: &str = "expired";
/// The writer, not ingest, found it unfit.
pub(crate) const UNSTORABLE: &str = "unstorable";

/// The way in.
pub(crate) struct Ingest {
    pub(crate) spool: Spool,
    pub(crate) handover: Arc<Handover>,
    pub(crate) store: Arc<Locked<Store>>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) sensors: Arc<Sensors>,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) recent: Arc<Mutex<Recent>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) retention_days: u32,
    pub(crate) origin: Origin,
    pub(crate) closed: CancellationToken,
}

/// A record that its dialect could not make an event of.
#[derive(Clone, Debug)]
pub struct Unfit {
    /// The record as it came.
    pub record: Vec<u8>,
    /// Why, in a few words.
    pub reason: String,
}

/// How events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A sensor delivers what it has seen; who it is, its credential says.
    Delivered,
    /// An administrator brings back what a hub had: sensor, domain, time of
    /// receipt and places stay as they are. A record that cannot be taken is
    /// not kept here, as whoever restores has it; and no sensor is alive by it.
    Restored,
}

/// A record that whoever read it could not make an event of.
#[derive(Clone, Debug)]
pub(crate) struct Unread<'a> {
    /// Its place in what was delivered.
    pub(crate) index: u32,
    pub(crate) record: &'a [u8],
    pub(crate) reason: String,
}

/// How events are attributed, from the credential.
#[derive(Clone)]
struct Attribution {
    arrival: Arrival,
    sensor: Option<SensorId>,
    domain: Option<Domain>,
    /// Whether it may say what an operator or the hub has decided.
    speaks_for_operators: bool,
    now: Timestamp,
    oldest: Timestamp,
}

/// One record, understood.
struct Taken {
    event: Box<Event>,
    encoded: Vec<u8>,
}

/// One record, not understood.
struct Refused {
    class: &'static str,
    reason: String,
}

impl Ingest {
    pub(crate) async fn accept(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        records: &[&[u8]],
        now: Timestamp,
    ) -> Result<Receipt, IngestError> {
        self.arrive(who, from, records, &[], now, Arrival::Delivered).await
    }

    /// Takes events that were read from another form, and keeps what could not
    /// be read in quarantine.
    pub(crate) async fn accept_read(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        records: &[&[u8]],
        unread: &[Unread<'_>],
        now: Timestamp,
    ) -> Result<Receipt, IngestError> {
        self.arrive(who, from, records, unread, now, Arrival::Delivered).await
    }

    /// Takes back what a hub had; see [`Arrival::Restored`].
    pub(crate) async fn restore(
        &self,
        who: &Principal,
        records: &[&[u8]],
        now: Timestamp,
    ) -> Result<Receipt, IngestError> {
        self.arrive(who, None, records, &[], now, Arrival::Restored).await
    }

    /// Takes what a dialect has decoded; `unfit` goes to quarantine.
    pub(crate) async fn accept_events(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        events: Vec<Event>,
        unfit: Vec<Unfit>,
        now: Timestamp,
    ) -> Result<Receipt, IngestError> {
        let taken = async {
            let attribution = self.attribution(who, now, Arrival::Delivered)?;
            let mut outcomes = take_all(events, &attribution).await?;
            outcomes.extend(unfit.into_iter().map(|unfit| {
                let why = Refused { class: MALFORMED, reason: unfit.reason };
                (Cow::Owned(unfit.record), Err(why))
            }));
            self.settle(who, from, outcomes, &[], &attribution).await
        };
        self.counted(taken.await)
    }

    async fn arrive(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        records: &[&[u8]],
        unread: &[Unread<'_>],
        now: Timestamp,
        arrival: Arrival,
    ) -> Result<Receipt, IngestError> {
        let taken = async {
            let attribution = self.attribution(who, now, arrival)?;
            let decoded = decode_all(records, &attribution).await?;
            let outcomes = records.iter().map(|record| Cow::Borrowed(*record)).zip(decoded);
            self.settle(who, from, outcomes.collect(), unread, &attribution).await
        };
        self.counted(taken.await)
    }

    fn counted(&self, taken: Result<Receipt, IngestError>) -> Result<Receipt, IngestError> {
        if matches!(taken, Err(IngestError::Busy { .. })) {
            self.metrics.refused.inc();
        }
        taken
    }

    /// How events of this principal are attributed, if it may deliver any now.
    fn attribution(
        &self,
        who: &Principal,
        now: Timestamp,
        arrival: Arrival,
    ) -> Result<Attribution, IngestError> {
        let needed = match arrival {
            Arrival::Delivered => Permission::Ingest,
            Arrival::Restored => Permission::Administer,
        };
        if !who.may(needed) {
            return Err(IngestError::Forbidden);
        }
        if self.closed.is_cancelled() {
            return Err(busy("it is stopping", CLOSED_RETRY_SECS));
        }
        let (sensor, domain) = match who.identity() {
            _ if arrival == Arrival::Restored => (None, None),
            Identity::Key { sensor, domain, .. } | Identity::Publisher { sensor, domain } => {
                (Some(sensor.clone()), Some(*domain))
            }
            Identity::Local { sensor } => (sensor.clone(), None),
            Identity::Ews { name, domain, .. } => (Some(name.clone()), Some(*domain)),
            Identity::Account { .. } | Identity::Public => return Err(IngestError::Forbidden),
        };
        let oldest = now.plus_millis(-i64::from(self.retention_days) * DAY_MILLIS);
        let speaks_for_operators =
            arrival == Arrival::Restored || matches!(who.identity(), Identity::Local { .. });
        Ok(Attribution { arrival, sensor, domain, speaks_for_operators, now, oldest })
    }

    /// Recognises what came before, makes the rest durable, and answers.
    async fn settle(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        outcomes: Vec<Outcome<'_>>,
        unread: &[Unread<'_>],
        attribution: &Attribution,
    ) -> Result<Receipt, IngestError> {
        let Attribution { arrival, now, .. } = *attribution;
        let sender = attribution.sensor.as_ref().map_or_else(|| who.name(), SensorId::as_str);
        let mut receipt = Receipt::default();
        let mut fresh = Vec::new();
        let mut refused = Vec::new();
        for one in unread {
            let why = Refused { class: MALFORMED, reason: one.reason.clone() };
            let reason = shown(&why.reason);
            receipt.quarantined.push(Quarantined { index: one.index, reason });
            refused.push((Cow::Borrowed(one.record), why));
        }
        let mut expired = 0;
        let mut ids = HashSet::new();
        let mut deliverers = BTreeMap::new();
        for (index, (record, outcome)) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(taken) => {
                    if deliverers.get(&taken.event.sensor) != Some(&taken.event.domain) {
                        deliverers.insert(taken.event.sensor.clone(), taken.event.domain);
                    }
                    let id = taken.event.id;
                    let came_back =
                        arrival == Arrival::Delivered && self.origin.has_seen(&taken.event);
                    if came_back || !ids.insert(id) || self.recent().contains(id) {
                        receipt.duplicate += 1;
                    } else if self.store.is_expired(&taken.event, now) {
                        // Taken, and gone at once as its rule says: a resend of an
                        // event that was removed must not bring it back.
                        expired += 1;
                    } else {
                        fresh.push(taken);
                    }
                }
                Err(why) => {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    let reason = shown(&why.reason);
                    receipt.quarantined.push(Quarantined { index, reason });
                    refused.push((record, why));
                }
            }
        }
        let known = self.known_to_store(&mut fresh).await;
        receipt.duplicate += u32::try_from(known.len()).unwrap_or(u32::MAX);
        let accepted = fresh.len() as u64;
        receipt.accepted = u32::try_from(accepted + expired).unwrap_or(u32::MAX);

        if arrival == Arrival::Delivered {
            self.keep_refused(sender, &refused, now).await?;
        }
        let ids: Vec<EventId> = fresh.iter().map(|taken| taken.event.id).collect();
        let mut pieces = Vec::new();
        if arrival == Arrival::Delivered {
            pieces = self.keep_contents(&mut fresh, now).await?;
        }
        if !fresh.is_empty() {
            let notings = self.decisions.read(fresh.iter().map(|taken| &*taken.event));
            let (events, encoded): (Vec<_>, Vec<_>) =
                fresh.into_iter().map(|taken| (taken.event, taken.encoded)).unzip();
            let handed = self.handover.hold(events, &encoded);
            self.spool.append(encoded).await.map_err(|error| refusal(&error))?;
            handed.spooled();
            self.decisions.hear(notings);
        }
        // Sent again, their file is known; they are not needed any more.
        self.payloads.forget_pieces(pieces).await;
        // Only now: an id in there promises that its event is durable.
        {
            let mut recent = self.recent();
            ids.into_iter().chain(known).for_each(|id| recent.insert(id));
        }
        if arrival == Arrival::Restored {
            deliverers.clear();
        }
        for (sensor, domain) in &deliverers {
            self.sensors.seen(sensor, *domain, who, from, now);
        }
        self.metrics.accepted.inc_by(accepted);
        self.metrics.past_retention.inc_by(expired);
        self.metrics.duplicate.inc_by(u64::from(receipt.duplicate));
        for (_, why) in refused.iter().filter(|_| arrival == Arrival::Delivered) {
            self.metrics.quarantined.get_or_create(&Reason { reason: why.class }).inc();
        }
        Ok(receipt)
    }

    /// Moves files that honeypots deliver into the payload store; durable on
    /// return. Says which pieces of them are not needed once the events are.
    async fn keep_contents(
        &self,
        fresh: &mut Vec<Taken>,
        now: Timestamp,
    ) -> Result<Vec<PayloadHash>, IngestError> {
        let mut done = Vec::new();
        let mut kept = Vec::with_capacity(fresh.len());
        for mut taken in fresh.drain(..) {
            match self.payloads.take_delivered(&mut taken.event, now, &mut done).await? {
                Delivered::Untouched => kept.push(taken),
                Delivered::Moved => {
                    taken.encoded = wire::encode_event(&taken.event);
                    kept.push(taken);
                }
                Delivered::Piece => {}
            }
        }
        *fresh = kept;
        Ok(done)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out of `fresh` what the store has already; asks it only about
    /// events that may have come before. Where the store cannot answer, they
    /// pass as new: it skips them later, so they still count once.
    async fn known_to_store(&self, fresh: &mut Vec<Taken>) -> Vec<EventId> {
        let (asked, rest): (Vec<Taken>, Vec<Taken>) = {
            let recent = self.recent();
            fresh.drain(..).partition(|taken| recent.may_have_forgotten(taken.event.id))
        };
        *fresh = rest;
        if asked.is_empty() {
            return Vec::new();
        }
        let store = Arc::clone(&self.store);
        let answered = tokio::task::spawn_blocking(move || {
            let events: Vec<&Event> = asked.iter().map(|taken| &*taken.event).collect();
            let flags = store.contains(&events);
            (asked, flags)
        })
        .await;
        let Ok((asked, flags)) = answered else { return Vec::new() };
        let flags = flags.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot ask the store for duplicates");
            Vec::new()
        });
        let mut known = Vec::new();
        for (index, taken) in asked.into_iter().enumerate() {
            if flags.get(index).copied().unwrap_or(false) {
                known.push(taken.event.id);
            } else {
                fresh.push(taken);
            }
        }
        known
    }

    async fn keep_refused(
        &self,
        sender: &str,
        refused: &[(Cow<'_, [u8]>, Refused)],
        now: Timestamp,
    ) -> Result<(), IngestError> {
        if refused.is_empty() {
            return Ok(());
        }
        let rejected: Vec<Rejected<'_>> = refused
            .iter()
            .map(|(record, why)| Rejected { sensor: sender, record, reason: &why.reason })
            .collect();
        tracing::warn!(sender, records = refused.len(), "records went to quarantine");
        self.quarantine
            .add(&rejected, now)
            .await
            .map_err(|error| busy(&error.to_string(), FAILED_RETRY_SECS))
    }
}

/// A record and what became of it.
type Outcome<'r> = (Cow<'r, [u8]>, Result<Taken, Refused>);

/// Attributes and encodes where it disturbs least, as [`decode_all`] does.
async fn take_all(
    events: Vec<Event>,
    attribution: &Attribution,
) -> Result<Vec<Outcome<'static>>, IngestError> {
    let all = move |attribution: &Attribution, events: Vec<Event>| -> Vec<Outcome<'static>> {
        let one = |event: Event| match attribution.take(event) {
            Ok(taken) => (Cow::Borrowed(&[][..]), Ok(taken)),
            Err((event, why)) => (Cow::Owned(wire::encode_event(&event)), Err(why)),
        };
        events.into_iter().map(one).collect()
    };
    if events.len() <= INLINE_EVENTS {
        return Ok(all(attribution, events));
    }
    let attribution = attribution.clone();
    tokio::task::spawn_blocking(move || all(&attribution, events))
        .await
        .map_err(|error| busy(&error.to_string(), FAILED_RETRY_SECS))
}

/// Decodes where it disturbs least: small batches here, large ones on a
/// blocking thread. If that thread fails, nothing was taken.
async fn decode_all(
    records: &[&[u8]],
    attribution: &Attribution,
) -> Result<Vec<Result<Taken, Refused>>, IngestError> {
    let bytes: usize = records.iter().map(|record| record.len()).sum();
    if bytes <= INLINE_BYTES {
        return Ok(records.iter().map(|record| attribution.decode(record)).collect());
    }
    let owned: Vec<Vec<u8>> = records.iter().map(|record| record.to_vec()).collect();
    let attribution = attribution.clone();
    tokio::task::spawn_blocking(move || {
        owned.iter().map(|record| attribution.decode(record)).collect()
    })
    .await
    .map_err(|error| busy(&error.to_string(), FAILED_RETRY_SECS))
}

impl Attribution {
    fn decode(&self, record: &[u8]) -> Result<Taken, Refused> {
        let event = wire::decode_event(record)
            .map_err(|error| Refused { class: MALFORMED, reason: error.to_string() })?;
        self.take(event).map_err(|(_, why)| why)
    }

    /// Says whose it is and when it came; gives it back where its time is
    /// none that can be.
    #[allow(clippy::result_large_err, reason = "an event that is not taken is still needed")]
    fn take(&self, mut event: Event) -> Result<Taken, (Event, Refused)> {
        let observed_at = event.observed_at;
        if observed_at > self.now.plus_millis(MAX_AHEAD_MILLIS) {
            let reason = format!(
                "observed_at {observed_at} is more than 24 h ahead of the hub's clock; set the \
                 sensor's clock"
            );
            return Err((event, Refused { class: FUTURE, reason }));
        }
        if observed_at < self.oldest {
            let reason = format!(
                "observed_at {observed_at} is before the retention, which begins {}",
                self.oldest
            );
            return Err((event, Refused { class: EXPIRED, reason }));
        }
        if self.arrival == Arrival::Restored {
            event.received_at.get_or_insert(self.now);
            let encoded = wire::encode_event(&event);
            return Ok(Taken { event: Box::new(event), encoded });
        }
        event.received_at = Some(self.now);
        if let Some(sensor) = &self.sensor
            && event.sensor != *sensor
        {
            event.sensor = sensor.clone();
        }
        // What machines tell of themselves is nobody's but the operator's.
        event.domain = match event.kind.is_of_host() {
            true => Domain::Private,
            false => self.domain.unwrap_or(event.domain),
        };
        let decides = matches!(
            event.kind,
            EventKind::DecisionMade | EventKind::DecisionLifted | EventKind::ScenarioTriggered
        );
        if decides && !self.speaks_for_operators {
            event.attributes.remove(BY);
            event.attributes.remove(ORIGIN);
        }
        (event.source_geo, event.target_geo) = (None, None);
        let encoded = wire::encode_event(&event);
        Ok(Taken { event: Box::new(event), encoded })
    }
}

fn busy(reason: &str, retry_after_secs: u32) -> IngestError {
    IngestError::Busy { reason: reason.to_owned(), retry_after_secs }
}

fn refusal(error: &AppendError) -> IngestError {
    let retry_after_secs = match error {
        AppendError::Full { .. } => FULL_RETRY_SECS,
        AppendError::Closed => CLOSED_RETRY_SECS,
        AppendError::TooLarge { .. } | AppendError::Io(_) => FAILED_RETRY_SECS,
    };
    busy(&error.to_string(), retry_after_secs)
}
