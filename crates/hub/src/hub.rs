//! The façade: opens the parts, wires them, closes them in order.

mod access;
mod blocklist;
mod decisions;
mod detect;
mod hosts;
mod plugins;
mod sessions;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use palisade_event::wire::Receipt;
use palisade_event::{Domain, Event, EventId, PayloadHash, Timestamp};
use palisade_rules::Detector;
use palisade_spool::{Position, Reader, Spool, WhenFull};
use palisade_store::blob::Blobs;
use palisade_store::query::{Aggregation, Cursor, Query};
use palisade_store::state::{Payload, PayloadQuery, PayloadTotals, State};
use palisade_store::{Aggregated, Domains, Page, Store};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Mutex, broadcast, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::decisions::DecisionEffect;
pub use self::hosts::HostChanges;
use crate::alerts::Alerts;
use crate::auth::{Auth, Identity, Permission, Principal};
use crate::background::Background;
use crate::blocklist::Blocklists;
use crate::config::{Config, Home, NotifyConfig};
use crate::correlation::{self, Correlation};
use crate::cve::{CveInfo, Cves};
use crate::decisions::Decisions;
use crate::detection::Detection;
use crate::enrich::Enricher;
use crate::error::{AdminError, IngestError, OpenError, QueryError, StateError};
use crate::feed::{FEED_CHUNKS, Feed, Stored};
use crate::handover::Handover;
use crate::health::Health;
use crate::hosts::Hosts;
use crate::ingest::{Ingest, Unfit};
use crate::lines::{self, LinesReceipt};
use crate::listing::{QuarantineList, SensorStatus};
use crate::live::{LIVE_EVENTS, Live, Shown};
use crate::lock::{Lock, Locked, make_dir};
use crate::metrics::Metrics;
use crate::notify::{Notify, Outbox};
use crate::outbound::{Forwarder, Origin, Outlets};
use crate::payload::{NewPayload, Payloads};
use crate::quarantine::Quarantine;
use crate::query::{self, Queries};
use crate::recent::Recent;
use crate::sensors::Sensors;
use crate::state;
use crate::status::{IngestStatus, QuarantineStatus, SpoolStatus, StateStatus, Status};
use crate::writer::{Parts, Writer};

/// Name of the state database where it is a file.
pub(crate) const STATE_FILE: &str = "state.db";
/// How long [`Hub::close`] stores what is in the spool.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// The service core. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    started_at: Timestamp,
    home: Option<Home>,
    max_spool_bytes: u64,
    demo: AtomicBool,
    state: State,
    auth: Arc<Auth>,
    ingest: Arc<Ingest>,
    queries: Arc<Queries>,
    cves: Arc<Cves>,
    hosts: Arc<Hosts>,
    /// Milliseconds after which a machine is silent; 0 for never.
    silent_millis: i64,
    decisions: Arc<Decisions>,
    blocklists: Arc<Blocklists>,
    detection: Arc<Detection>,
    /// Says once what the hub itself counts.
    correlate: std::sync::Mutex<Option<oneshot::Sender<Option<Detector>>>>,
    notify: Arc<Notify>,
    notify_config: NotifyConfig,
    quarantine: Arc<Quarantine>,
    sensors: Arc<Sensors>,
    payloads: Arc<Payloads>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    live: broadcast::Sender<Shown>,
    feed: broadcast::Sender<Stored>,
    outlets: Arc<Outlets>,
    /// Live subscriptions end.
    closed: CancellationToken,
    /// The writer stores what is left, then ends.
    drain: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

impl Hub {
    /// Opens spool, store and state below `data_dir` (made if it is not
    /// there) and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is used by another process or cannot be
    /// written, a file in it is damaged, or a geolocation database cannot be read.
    pub async fn open(data_dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let (data_dir, config) = (data_dir.to_owned(), config.clone());
        let opened = tokio::task::spawn_blocking(move || Opened::open(&data_dir, &config))
            .await
            .map_err(|error| OpenError(error.to_string()))??;
        opened.start().await
    }

    /// Makes the account [`ADMIN`] with a random password, where there is no
    /// account of that name yet, and returns the password: the only time it
    /// can be seen. It stays valid until it is changed.
    ///
    /// # Errors
    /// [`AdminError`] where the state database fails.
    pub async fn bootstrap_admin(&self, now: Timestamp) -> Result<Option<String>, AdminError> {
        self.inner.auth.bootstrap_admin(now).await
    }

    /// Makes the EWS user [`crate::COMMUNITY_USER`] with a random token, once in the
    /// life of the state, and returns the token: the only time it can be seen.
    ///
    /// # Errors
    /// [`AdminError`] where the state database fails.
    pub async fn bootstrap_community(&self, now: Timestamp) -> Result<Option<String>, AdminError> {
        self.inner.auth.ews.bootstrap(now).await
    }

    /// Takes records (JSON text of one event each), delivered from an address
    /// where one is known. Returns only after all of them are durable.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was taken; the sender tries again.
    pub async fn accept(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        records: &[&[u8]],
    ) -> Result<Receipt, IngestError> {
        let now = Timestamp::from(SystemTime::now());
        self.inner.ingest.accept(who, from, records, now).await
    }

    /// Takes events that a dialect has decoded and validated, and records that
    /// it could not make an event of, which go to quarantine. Otherwise like
    /// [`Self::accept`]; places in the receipt count events first.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was taken; the sender tries again.
    pub async fn accept_events(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        events: Vec<Event>,
        unfit: Vec<Unfit>,
    ) -> Result<Receipt, IngestError> {
        let now = Timestamp::from(SystemTime::now());
        self.inner.ingest.accept_events(who, from, events, unfit, now).await
    }

    /// Keeps captured bytes; durable on return. Each payload gets the hash that
    /// its event names it by, or why it is not kept.
    ///
    /// # Errors
    /// [`IngestError`]: some may have been kept; the sender tries again.
    pub async fn keep_payloads(
        &self,
        who: &Principal,
        payloads: Vec<NewPayload>,
        now: Timestamp,
    ) -> Result<Vec<Result<PayloadHash, &'static str>>, IngestError> {
        if !who.may(Permission::Ingest) {
            return Err(IngestError::Forbidden);
        }
        self.inner.payloads.keep(payloads, now).await
    }

    /// Payloads, the last seen first, and counts of all. Needs
    /// [`Permission::Operate`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn payloads(
        &self,
        who: &Principal,
        query: &PayloadQuery,
        limit: u32,
    ) -> Result<(Vec<Payload>, PayloadTotals), QueryError> {
        operates(who)?;
        let payloads = &self.inner.payloads;
        let listed = payloads.list(query, limit).await.map_err(StateError::from)?;
        Ok((listed, payloads.totals().await.map_err(StateError::from)?))
    }

    /// What is known of a payload. Needs [`Permission::Operate`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn payload(
        &self,
        who: &Principal,
        hash: PayloadHash,
    ) -> Result<Option<Payload>, QueryError> {
        operates(who)?;
        Ok(self.inner.payloads.one(hash).await.map_err(StateError::from)?)
    }

    /// The bytes of a payload, where they are still there. Needs
    /// [`Permission::Operate`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn payload_bytes(
        &self,
        who: &Principal,
        hash: PayloadHash,
    ) -> Result<Option<Vec<u8>>, QueryError> {
        operates(who)?;
        self.inner.payloads.bytes(hash).await
    }

    /// Removes the bytes of payloads above the bound now, as the hub does by
    /// itself every few seconds.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn make_room_for_payloads(&self) -> Result<(), StateError> {
        Ok(self.inner.payloads.make_room().await?)
    }

    /// Takes back events that a hub had (an export): they keep their sensor,
    /// domain, time of receipt and places. Needs [`Permission::Administer`].
    /// Records that cannot be taken are named in the receipt and not kept.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was taken.
    pub async fn restore(
        &self,
        who: &Principal,
        records: &[&[u8]],
    ) -> Result<Receipt, IngestError> {
        let now = Timestamp::from(SystemTime::now());
        self.inner.ingest.restore(who, records, now).await
    }

    /// Takes lines of a log, separated by line breaks. Lines that cannot be read
    /// go to quarantine. Their events are from the sensor of `who`; those of the
    /// local operator from `sensor`.
    ///
    /// # Errors
    /// [`IngestError`]: nothing was taken; the sender tries again.
    pub async fn accept_lines(
        &self,
        who: &Principal,
        from: Option<IpAddr>,
        source: &lines::Source,
        body: bytes::Bytes,
    ) -> Result<LinesReceipt, IngestError> {
        let now = Timestamp::from(SystemTime::now());
        lines::accept(&self.inner.ingest, who, from, source, body, now).await
    }

    /// The forwarders of all targets that the settings name: each is to be run
    /// with a transport. Only the first call has any.
    #[must_use]
    pub fn forwarders(&self) -> Vec<Forwarder> {
        let quarantine = &self.inner.quarantine;
        let outlets = self.inner.outlets.0.iter();
        outlets
            .filter_map(|outlet| Forwarder::new(Arc::clone(outlet), Arc::clone(quarantine)))
            .collect()
    }

    /// Tells now, in events, what targets have lost, as the hub does by itself
    /// every minute.
    ///
    /// # Errors
    /// One sentence; the same is told the next time.
    pub async fn report_outbound_losses(&self) -> Result<(), String> {
        let now = Timestamp::from(SystemTime::now());
        self.inner.outlets.report_losses(&self.inner.ingest, now, 0).await
    }

    /// Events as they are stored, all of them and enriched, for dialects that
    /// hand them on; a few may come twice where the store fails.
    #[must_use]
    pub fn feed(&self) -> Feed {
        Feed::new(self.inner.feed.subscribe(), self.inner.closed.clone())
    }

    /// Remembers which version of its software the sensor of `who` runs.
    pub fn note_sensor_version(&self, who: &Principal, version: &str) {
        if let Identity::Key { sensor, .. }
        | Identity::Ews { name: sensor, .. }
        | Identity::Local { sensor: Some(sensor) } = who.identity()
        {
            self.inner.sensors.note_version(sensor, version);
        }
    }

    /// Says that events of the demonstration are mixed in, for [`Self::status`].
    pub fn mark_demo(&self) {
        self.inner.demo.store(true, Ordering::Relaxed);
    }

    /// Events as they become visible to queries, enriched, as far as `who`
    /// may see them.
    ///
    /// # Errors
    /// [`QueryError::Forbidden`]
    pub fn live(&self, who: &Principal) -> Result<Live, QueryError> {
        query::readable(who)?;
        let inner = &self.inner;
        let (events, closed) = (inner.live.subscribe(), inner.closed.clone());
        Ok(Live::new(events, closed, who.clone(), Arc::clone(&inner.metrics)))
    }

    /// One page of matching events, newest first, as far as `who` may see them.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn search(
        &self,
        who: &Principal,
        query: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        self.inner.queries.search(who, query, limit, after).await
    }

    /// One event, where there is one and `who` may see it.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn get(&self, who: &Principal, id: EventId) -> Result<Option<Event>, QueryError> {
        self.inner.queries.get(who, id).await
    }

    /// Counts and groups matching events, as far as `who` may see them.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn aggregate(
        &self,
        who: &Principal,
        query: Query,
        aggregation: Aggregation,
    ) -> Result<Aggregated, QueryError> {
        self.inner.queries.aggregate(who, query, aggregation).await
    }

    /// Asks about the alerts of some domains. `ask` runs where it may block, and
    /// may do more there than ask, such as write the answer down.
    ///
    /// # Errors
    /// [`QueryError`]; forbidden where `who` may not see one of the domains.
    pub async fn alerts<T: Send + 'static>(
        &self,
        who: &Principal,
        domains: Domains,
        ask: impl FnOnce(&Alerts<'_>) -> Result<T, palisade_store::QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        query::readable(who)?;
        if domains.has(Domain::Private) && !who.sees(Domain::Private) {
            return Err(QueryError::Forbidden);
        }
        let home = self.inner.home;
        self.inner.queries.alerts(move |store| ask(&Alerts::new(store, domains, home))).await
    }

    /// Sensors by name, as far as `who` may see their domain.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn sensors(
        &self,
        who: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SensorStatus>, QueryError> {
        query::readable(who)?;
        // Where sensors are is nothing for strangers.
        if *who == Principal::public() {
            return Err(QueryError::Forbidden);
        }
        let counts = self.inner.queries.counts_24h(now).await?;
        let sensors = self.inner.sensors.list().await.into_iter();
        Ok(sensors
            .filter(|sensor| who.sees(sensor.domain))
            .map(|sensor| SensorStatus {
                events_24h: counts.get(sensor.sensor.as_str()).copied().unwrap_or(0),
                sensor: sensor.sensor,
                first_seen: sensor.first_seen,
                last_seen: sensor.last_seen,
                last_address: sensor.last_address,
                domain: sensor.domain,
                key_id: sensor.key_id,
                events_total: sensor.events_total,
                kind: sensor.kind,
                version: sensor.version,
            })
            .collect())
    }

    /// Vulnerabilities that were aimed at, the newest first, as far as `who`
    /// may see their events; at most 1,000.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn cves(&self, who: &Principal, now: Timestamp) -> Result<Vec<CveInfo>, QueryError> {
        self.inner.cves.list(who, &self.inner.queries, now).await
    }

    /// The outboxes of the receivers of announcements, one each.
    #[must_use]
    pub fn outboxes(&self) -> Vec<Outbox> {
        let inner = &self.inner;
        let outbox = |hook: &crate::config::Webhook| Outbox {
            hook: hook.clone(),
            retry_secs: inner.notify_config.retry_secs,
            state: inner.state.clone(),
            cves: Arc::clone(&inner.cves),
            notify: Arc::clone(&inner.notify),
            metrics: Arc::clone(&inner.metrics),
        };
        inner.notify_config.webhooks.iter().map(outbox).collect()
    }

    /// The newest records in quarantine. Needs [`Permission::Operate`].
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn quarantine(
        &self,
        who: &Principal,
        limit: usize,
    ) -> Result<QuarantineList, QueryError> {
        if !who.may(Permission::Operate) {
            return Err(QueryError::Forbidden);
        }
        let listed = self.inner.quarantine.list(limit).await;
        Ok(listed.map_err(StateError::from)?)
    }

    /// How the hub is doing. Cheap: reads no disk.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let spool = inner.ingest.spool.stats();
        let now = Timestamp::from(SystemTime::now());
        let uptime_millis = now.as_millis() - inner.started_at.as_millis();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started_at: inner.started_at,
            uptime_secs: u64::try_from(uptime_millis / 1000).unwrap_or(0),
            store: inner.health.status(spool.pending_records, now),
            spool: SpoolStatus {
                pending_records: spool.pending_records,
                bytes: spool.bytes,
                max_bytes: inner.max_spool_bytes,
            },
            state: StateStatus::of(&inner.state),
            quarantine: QuarantineStatus { total: inner.quarantine.kept() },
            ingest: IngestStatus {
                accepted: inner.metrics.accepted.get(),
                duplicate: inner.metrics.duplicate.get(),
                quarantined: inner.metrics.quarantined_total(),
                refused: inner.metrics.refused.get(),
            },
            demo: inner.demo.load(Ordering::Relaxed),
            home: inner.home,
            outbound: inner.outlets.status(),
        }
    }

    /// Metrics in the OpenMetrics text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let inner = &self.inner;
        let (metrics, spool) = (&inner.metrics, inner.ingest.spool.stats());
        let now = Timestamp::from(SystemTime::now());
        let store = inner.health.status(spool.pending_records, now);
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&metrics.spool_pending, spool.pending_records);
        set(&metrics.spool_bytes, spool.bytes);
        set(&metrics.spool_corrupt, spool.corrupt_records);
        set(&metrics.store_events, store.events);
        set(&metrics.store_bytes, store.bytes);
        set(&metrics.store_behind, store.behind_secs);
        let stats = inner.health.stats();
        set(&metrics.store_removed_days, stats.of_removed_days);
        set(&metrics.ready_answers, stats.ready_answers);
        set(&metrics.ready_misses, stats.ready_misses);
        set(&metrics.ready_bytes, stats.ready_bytes);
        set(&metrics.state_up, u64::from(self.status().state.ok));
        set(&metrics.quarantine_records, inner.quarantine.kept());
        set(&metrics.quarantine_dropped, inner.quarantine.dropped());
        metrics.outbound(&inner.outlets.status());
        let payloads = &inner.payloads;
        set(&metrics.payloads_too_large, payloads.too_large.load(Ordering::Relaxed));
        set(&metrics.payloads_evicted, payloads.evicted.load(Ordering::Relaxed));
        set(&metrics.payloads_uncounted, payloads.uncounted.load(Ordering::Relaxed));
        metrics.text()
    }

    /// Takes no more events, stores what is in the spool (up to a deadline;
    /// the rest is stored after the next start), and closes everything. The
    /// data directory is free for another hub once the last clone is gone.
    pub async fn close(&self) {
        let inner = &self.inner;
        let mut tasks = inner.tasks.lock().await;
        // 1. No new events; 2. what is in the spool goes to the store.
        inner.ingest.closed.cancel();
        inner.drain.cancel();
        let ended = timeout(CLOSE_DEADLINE, async { while tasks.join_next().await.is_some() {} });
        let in_order = ended.await.is_ok();
        if !in_order {
            tracing::warn!("events wait in the spool for the next start");
        }
        tasks.shutdown().await;
        // 3. Subscribers go, 4. the spool, 5. the state.
        inner.closed.cancel();
        inner.ingest.spool.close().await;
        inner.outlets.close().await;
        let now = Timestamp::from(SystemTime::now());
        if let Err(error) = inner.sensors.flush(now).await {
            tracing::error!(%error, "cannot write the sensors down; they wait for the next start");
        }
        match inner.cves.flush(now).await {
            Ok(()) if in_order => inner.cves.ended(),
            // The writer may have ended between a commit and telling of it.
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "cannot write vulnerabilities down; the next start finds them");
            }
        }
        if let Err(error) = inner.hosts.flush().await {
            tracing::error!(%error, "cannot write hosts down; the next start reads them again");
        }
        if let Err(error) = inner.payloads.flush().await {
            tracing::error!(%error, "the last sightings of payloads are not written down");
        }
        inner.state.close().await;
    }
}

/// Refuses who may not operate.
fn operates(who: &Principal) -> Result<(), QueryError> {
    if who.may(Permission::Operate) { Ok(()) } else { Err(QueryError::Forbidden) }
}

/// The files of a hub, opened; nothing runs yet.
struct Opened {
    config: Config,
    hub_dir: std::path::PathBuf,
    spool: Spool,
    reader: Reader,
    store: Arc<Locked<Store>>,
    enricher: Arc<Enricher>,
    origin: Origin,
    outlets: Outlets,
    blobs: Blobs,
}

impl Opened {
    /// Blocks.
    fn open(data_dir: &Path, config: &Config) -> Result<Self, OpenError> {
        let lock = Lock::take(data_dir)?;
        let enricher = Arc::new(Enricher::open(&config.geo)?);
        let hub_dir = data_dir.join("hub");
        let (spool_dir, store_dir) = (hub_dir.join("spool"), data_dir.join("store"));
        make_dir(&spool_dir)?;
        make_dir(&store_dir)?;
        let spool_config = palisade_spool::Config {
            segment_bytes: config.spool.segment_bytes,
            max_bytes: config.spool.max_bytes,
            when_full: WhenFull::Refuse,
        };
        // What correlation has not counted yet stays, from the first moment on.
        let keep = correlation::position(&hub_dir).map(Position);
        let (spool, reader) = Spool::open_keeping(&spool_dir, spool_config, keep)
            .map_err(|error| OpenError(error.to_string()))?;
        let origin = Origin::open(&hub_dir)?;
        let hooks = config.webhooks.iter().map(crate::outbound::DecisionWebhook::target);
        let targets: Vec<_> = config.outbound.iter().cloned().chain(hooks).collect();
        let outlets = Outlets::open(&hub_dir, &targets, &origin)?;
        let store =
            Store::open(&store_dir, &config.store).map_err(|error| OpenError(error.to_string()))?;
        Ok(Self {
            spool,
            reader,
            blobs: Payloads::open_blobs(&config.payloads, &hub_dir)?,
            config: config.clone(),
            hub_dir,
            store: Arc::new(Locked::new(store, lock)),
            enricher,
            origin,
            outlets,
        })
    }

    async fn start(self) -> Result<Hub, OpenError> {
        let state = state::open(&self.hub_dir.join(STATE_FILE), &self.config.state).await?;
        let broken = |error: palisade_store::state::StateError| OpenError(error.to_string());
        let quarantine = Quarantine::open(&state, self.config.quarantine.max_bytes).await;
        let quarantine = Arc::new(quarantine.map_err(broken)?);
        let started_at = Timestamp::from(SystemTime::now());
        let waiting = self.hub_dir.join("sensors.json");
        let sensors = Sensors::open(&state, waiting, started_at).await;
        let sensors = Arc::new(sensors.map_err(broken)?);
        let payloads = Arc::new(Payloads::new(&state, self.blobs, &self.config.payloads));
        let recent = Arc::new(std::sync::Mutex::new(Recent::new(started_at)));
        let metrics = Arc::new(Metrics::new());
        let health = Arc::new(Health::new(self.store.engine(), self.store.stats()));
        let outage = Duration::from_secs(self.config.state.outage_secs.into());
        let auth = Arc::new(Auth::new(&state, outage));
        let notify = Arc::new(Notify::default());
        let (told, counted) = (Arc::clone(&notify), Arc::clone(&metrics));
        let cves = Cves::new(&state, &self.config.notify, told, counted, &self.hub_dir);
        let cves = Arc::new(cves);
        let hosts = Hosts::open(&state, Arc::clone(&metrics), &self.hub_dir).await;
        let hosts = Arc::new(hosts.map_err(broken)?);
        let silent_millis = i64::from(self.config.hosts.silent_secs) * 1000;
        let detection = Arc::new(Detection::open(&state).await.map_err(broken)?);
        let closed = CancellationToken::new();
        let waiting = self.hub_dir.join("decisions-waiting");
        let decisions =
            Decisions::open(&state, Arc::clone(&metrics), waiting, closed.clone()).await;
        let decisions = Arc::new(decisions.map_err(broken)?);
        let enricher = Arc::clone(&self.enricher);
        let blocklists = Arc::new(Blocklists::new(&state, Arc::clone(&decisions), enricher));
        let queries = Arc::new(Queries::new(Arc::clone(&self.store), Arc::clone(&metrics)));
        let (live, _) = broadcast::channel(LIVE_EVENTS);
        let (feed, _) = broadcast::channel(FEED_CHUNKS);
        let outlets = Arc::new(self.outlets);
        let drain = CancellationToken::new();
        let handover = Arc::new(Handover::default());
        let begin = self.reader.committed();
        let writer = Writer::new(
            self.reader,
            Parts {
                sink: Arc::clone(&self.store),
                handover: Arc::clone(&handover),
                enricher: self.enricher,
                quarantine: Arc::clone(&quarantine),
                sensors: Arc::clone(&sensors),
                cves: Arc::clone(&cves),
                hosts: Arc::clone(&hosts),
                decisions: Arc::clone(&decisions),
                payloads: Arc::clone(&payloads),
                recent: Arc::clone(&recent),
                metrics: Arc::clone(&metrics),
                health: Arc::clone(&health),
                live: live.clone(),
                outlets: Arc::clone(&outlets),
                feed: feed.clone(),
                drain: drain.clone(),
            },
        );
        let ingest = Arc::new(Ingest {
            spool: self.spool,
            handover,
            store: Arc::clone(&self.store),
            quarantine: Arc::clone(&quarantine),
            sensors: Arc::clone(&sensors),
            decisions: Arc::clone(&decisions),
            payloads: Arc::clone(&payloads),
            recent,
            metrics: Arc::clone(&metrics),
            retention_days: self.config.store.retention_days,
            origin: self.origin,
            closed: CancellationToken::new(),
        });
        let correlation = Correlation {
            spool: ingest.spool.clone(),
            ingest: Arc::clone(&ingest),
            metrics: Arc::clone(&metrics),
            switches: detection.switches(),
            folder: self.hub_dir.clone(),
            begin,
            stop: drain.clone(),
        };
        let (correlate, set_up) = oneshot::channel();
        let background = Background {
            started_at,
            store: Arc::clone(&self.store),
            sensors: Arc::clone(&sensors),
            cves: Arc::clone(&cves),
            hosts: Arc::clone(&hosts),
            silent_millis,
            decisions: Arc::clone(&decisions),
            detection: Arc::clone(&detection),
            queries: Arc::clone(&queries),
            metrics: Arc::clone(&metrics),
            payloads: Arc::clone(&payloads),
            outlets: Arc::clone(&outlets),
            ingest: Arc::clone(&ingest),
            state: state.clone(),
            auth: Arc::clone(&auth),
            health: Arc::clone(&health),
            stop: drain.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(correlation.run(set_up));
        tasks.spawn(writer.run());
        tasks.spawn(background.run());
        tasks.spawn(Arc::clone(&decisions).run(drain.clone()));
        tasks.spawn(Arc::clone(&blocklists).run(drain.clone()));
        Ok(Hub {
            inner: Arc::new(Inner {
                started_at,
                home: self.config.home,
                max_spool_bytes: self.config.spool.max_bytes,
                demo: AtomicBool::new(false),
                state,
                auth,
                ingest,
                queries,
                cves,
                hosts,
                silent_millis,
                decisions,
                blocklists,
                detection,
                correlate: std::sync::Mutex::new(Some(correlate)),
                notify,
                notify_config: self.config.notify,
                quarantine,
                sensors,
                payloads,
                metrics,
                health,
                live,
                feed,
                outlets,
                closed,
                drain,
                tasks: Mutex::new(tasks),
            }),
        })
    }
}
