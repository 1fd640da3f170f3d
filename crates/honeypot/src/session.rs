//! One stranger's visit: who, where to, when, and the way its events go out.
//! Its identity is fixed when the connection is accepted; nothing a client
//! says can change it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use palisade_event::asciicast::clamp_size;
use palisade_event::{
    AnalyzerName, AttributeValue, Attributes, Category, Endpoint, Event, EventId, EventKind,
    HostName, Outcome, SensorId, SessionId, Timestamp, Untrusted,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};

use crate::fingerprint::Signatures;
use crate::scan::Scans;
use crate::service::http::exploit::Rules;
use crate::service::record::HandedOn;
use crate::shell::World;
use crate::shell::fetch::Fetch;
use crate::shell::vfs::Visitors;
use crate::stream::{Closed, Traffic};
use crate::tape::{Part, Tape};
use crate::{Persona, PersonaConfig, ScansConfig, Stats};

/// Most facts about a client kept for `session.closed`.
const MAX_NOTES: usize = 16;

/// What all sessions of one zone share.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) sensor: SensorId,
    pub(crate) host: Option<HostName>,
    pub(crate) persona: Persona,
    /// What tells the systems of clients.
    pub(crate) signatures: Signatures,
    /// The machines whose shells are shown, and who changed what in them.
    pub(crate) device: Arc<World>,
    pub(crate) server: Arc<World>,
    pub(crate) device_visitors: Visitors,
    pub(crate) server_visitors: Visitors,
    pub(crate) fetcher: OnceLock<Arc<dyn Fetch>>,
    /// Credentials that lie about as bait, with their names.
    pub(crate) secrets: OnceLock<BTreeMap<String, String>>,
    /// The known attacks of requests, and a folder with more of them.
    pub(crate) exploits: OnceLock<Arc<Rules>>,
    pub(crate) exploits_folder: Option<PathBuf>,
    /// How long a tarpit holds somebody, and the places of all of them.
    pub(crate) tarpits: (Duration, Arc<Semaphore>),
    pub(crate) handed_on: HandedOn,
    pub(crate) scans: Scans,
    pub(crate) out: mpsc::Sender<Event>,
    pub(crate) stats: Arc<Stats>,
}

impl Zone {
    /// The zone of a configuration.
    ///
    /// # Errors
    /// A sentence about a mistake in the persona.
    pub(crate) fn new(
        config: &PersonaConfig,
        sensor: SensorId,
        host: Option<HostName>,
        out: mpsc::Sender<Event>,
        stats: Arc<Stats>,
    ) -> Result<Self, String> {
        let persona = Persona::new(config, &sensor);
        Ok(Self {
            device: Arc::new(World::device(&persona, config)?),
            server: Arc::new(World::server(&persona, config)?),
            device_visitors: Visitors::default(),
            server_visitors: Visitors::default(),
            fetcher: OnceLock::new(),
            secrets: OnceLock::new(),
            exploits: OnceLock::new(),
            tarpits: (Duration::ZERO, Arc::new(Semaphore::new(0))),
            exploits_folder: None,
            handed_on: HandedOn::default(),
            scans: Scans::new(&ScansConfig::default(), []),
            sensor,
            host,
            persona,
            signatures: Signatures::own(),
            out,
            stats,
        })
    }
}

impl Zone {
    /// How long a tarpit holds somebody, and the places of all of them.
    pub(crate) fn tarpits(&self) -> (Duration, Arc<Semaphore>) {
        (self.tarpits.0, Arc::clone(&self.tarpits.1))
    }

    /// An event of the zone itself, of no session, that happened now.
    pub(crate) fn event(&self, kind: EventKind) -> Event {
        let now = Timestamp::from(SystemTime::now());
        let mut event =
            Event::new(EventId::new(now, rand::random()), kind, now, self.sensor.clone());
        event.host.clone_from(&self.host);
        event
    }

    /// The known attacks of requests; read when a service first needs them.
    ///
    /// # Errors
    /// A sentence about a mistake in them.
    pub(crate) fn exploits(&self) -> Result<Arc<Rules>, String> {
        if let Some(rules) = self.exploits.get() {
            return Ok(Arc::clone(rules));
        }
        let rules = Arc::new(Rules::open(self.exploits_folder.as_deref())?);
        Ok(Arc::clone(self.exploits.get_or_init(|| rules)))
    }
}

/// One stranger's visit. See the module's first lines.
#[derive(Debug)]
pub struct Session {
    zone: Arc<Zone>,
    id: SessionId,
    category: Option<Category>,
    peer: Endpoint,
    local: Endpoint,
    started: Instant,
    // Event ids of a session in one millisecond must sort as they happened:
    // random bits at first, one more for each event.
    entropy: u128,
    notes: Attributes,
    tally: Tally,
    // The terminal's columns and rows.
    size: (u16, u16),
    tape: Option<Box<Tape>>,
    ja4: Option<Box<str>>,
    /// The plug-in that serves, which its events name.
    plugin: Option<AnalyzerName>,
    /// Whether it stands for one datagram: that is no session, and its sender
    /// may be anybody.
    datagram: bool,
}

/// What a session is summed up by when it is over.
#[derive(Debug, Default)]
struct Tally {
    logins_failed: AtomicU32,
    logins_accepted: AtomicU32,
    commands: AtomicU32,
    downloads: AtomicU32,
    payloads: AtomicU32,
}

impl Tally {
    fn count(&self, event: &Event) {
        let outcome = event.credentials.as_ref().and_then(|tried| tried.outcome);
        let counter = match (event.kind, outcome) {
            (EventKind::AuthAttempted, Some(Outcome::Accepted)) => &self.logins_accepted,
            (EventKind::AuthAttempted, _) => &self.logins_failed,
            (EventKind::CommandEntered, _) => &self.commands,
            (EventKind::DownloadAttempted, _) => &self.downloads,
            (EventKind::PayloadCaptured, _) => &self.payloads,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that are not zero.
    fn counts(&self) -> impl Iterator<Item = (&'static str, i64)> {
        [
            ("logins_failed", &self.logins_failed),
            ("logins_accepted", &self.logins_accepted),
            ("commands", &self.commands),
            ("downloads", &self.downloads),
            ("payloads", &self.payloads),
        ]
        .map(|(name, counter)| (name, i64::from(counter.load(Ordering::Relaxed))))
        .into_iter()
        .filter(|(_, count)| *count > 0)
    }
}

impl Session {
    pub(crate) fn new(
        zone: Arc<Zone>,
        category: Option<Category>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Self {
        Self::between(zone, category, Endpoint::tcp(peer), Endpoint::tcp(local))
    }

    /// A visit between two ends.
    pub(crate) fn between(
        zone: Arc<Zone>,
        category: Option<Category>,
        peer: Endpoint,
        local: Endpoint,
    ) -> Self {
        let random: u128 = rand::random();
        // 80 random bits name the session; always valid text for an id.
        let name = format!("{:020x}", random >> 48);
        let Ok(id) = SessionId::new(&name) else {
            unreachable!("20 hex digits are a session id");
        };
        Self {
            zone,
            id,
            category,
            peer,
            local,
            started: Instant::now(),
            entropy: rand::random::<u128>() >> 49,
            notes: Attributes::new(),
            tally: Tally::default(),
            size: clamp_size(0, 0),
            tape: None,
            ja4: None,
            plugin: None,
            datagram: false,
        }
    }

    /// What stands for the session of one datagram.
    pub(crate) fn of_datagram(
        zone: Arc<Zone>,
        category: Option<Category>,
        peer: Endpoint,
        local: Endpoint,
    ) -> Self {
        Self { datagram: true, ..Self::between(zone, category, peer, local) }
    }

    /// Its random id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Where the client is.
    #[must_use]
    pub fn peer(&self) -> Endpoint {
        self.peer
    }

    /// Where the client connected to.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        self.local
    }

    /// The fingerprint of its TLS, where it speaks that.
    #[must_use]
    pub fn ja4(&self) -> Option<&str> {
        self.ja4.as_deref()
    }

    pub(crate) fn set_ja4(&mut self, ja4: String) {
        self.ja4 = Some(ja4.into());
    }

    /// Has its events name the plug-in that serves.
    pub(crate) fn set_plugin(&mut self, name: AnalyzerName) {
        self.plugin = Some(name);
    }

    /// Gives its events another category, that of the service it is handed to.
    pub(crate) fn set_category(&mut self, category: Option<Category>) {
        self.category = category;
    }

    /// The device that the zone pretends to be.
    #[must_use]
    pub fn persona(&self) -> &Persona {
        &self.zone.persona
    }

    /// The device with its files, and who changed what in them.
    #[must_use]
    pub fn device(&self) -> (&Arc<World>, &Visitors) {
        (&self.zone.device, &self.zone.device_visitors)
    }

    /// The server with its files, and who changed what in them.
    #[must_use]
    pub fn server(&self) -> (&Arc<World>, &Visitors) {
        (&self.zone.server, &self.zone.server_visitors)
    }

    /// Who fetches files for shells, where the operator wants that.
    #[must_use]
    pub fn fetcher(&self) -> Option<&Arc<dyn Fetch>> {
        self.zone.fetcher.get()
    }

    /// Which large files the hub has lately been told.
    pub(crate) fn handed_on(&self) -> &HandedOn {
        &self.zone.handed_on
    }

    /// An event of this session that happened now. Send it with [`Self::emit`].
    #[must_use]
    pub fn event(&mut self, kind: EventKind) -> Event {
        let now = Timestamp::from(SystemTime::now());
        self.entropy += 1;
        let id = EventId::new(now, self.entropy);
        let mut event = Event::new(id, kind, now, self.zone.sensor.clone());
        event.host.clone_from(&self.zone.host);
        event.analyzer.clone_from(&self.plugin);
        event.category.clone_from(&self.category);
        event.source = Some(self.peer);
        event.target = Some(self.local);
        if self.datagram {
            return event.with("spoofable", true);
        }
        event.session = Some(self.id.clone());
        event
    }

    /// Hands an event over, waiting while the channel is full: the attacker
    /// slows down, never the host.
    ///
    /// Takes its place at once and not when first polled: the future is then
    /// small, and every session holds the room for one.
    ///
    /// # Errors
    /// [`Closed::Error`] where the channel's reader is gone; the session must end.
    pub fn emit(&self, mut event: Event) -> impl Future<Output = Result<(), Closed>> + Send + '_ {
        if event.kind == EventKind::AuthAttempted
            && let Some(name) = self.bait(&event)
        {
            event = event.with("bait", name);
        }
        if let Err(error) = event.validate() {
            // Services keep to the limits; should one not, the hub decides.
            tracing::error!(%error, kind = %event.kind, "a honeypot event breaks a limit");
        }
        self.tally.count(&event);
        self.zone.scans.notice(&event);
        let handed = match self.zone.out.try_send(event) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(event)) => Ok(Some(Box::pin(self.zone.out.send(event)))),
            Err(TrySendError::Closed(_)) => Err(()),
        };
        async move {
            let taken = match handed {
                Ok(None) => true,
                Ok(Some(room)) => room.await.is_ok(),
                Err(()) => false,
            };
            if taken {
                self.zone.stats.events.increase();
                return Ok(());
            }
            self.zone.stats.events_lost.increase();
            Err(Closed::Error(std::io::ErrorKind::BrokenPipe.into()))
        }
    }

    /// The name of the bait that a login was taken from.
    fn bait(&self, event: &Event) -> Option<&str> {
        let (secrets, tried) = (self.zone.secrets.get()?, event.credentials.as_ref()?);
        let names = [&tried.password, &tried.username].into_iter().flatten();
        let mut found = names.filter_map(|text| secrets.get(text.as_utf8()?));
        found.next().map(String::as_str)
    }

    /// Keeps a fact about the client for `session.closed`, such as its
    /// terminal type. The first value of a name stays; more than 16 names
    /// are not kept.
    pub fn note(&mut self, name: &str, value: impl Into<AttributeValue>) {
        if self.notes.len() < MAX_NOTES && !self.notes.contains_key(name) {
            self.notes.insert(name.into(), value.into());
        }
    }

    /// The terminal's columns and rows, at first or from now on.
    pub(crate) fn set_size(&mut self, columns: u32, rows: u32) {
        self.note("columns", i64::from(columns));
        self.note("rows", i64::from(rows));
        let size = clamp_size(columns, rows);
        if size != std::mem::replace(&mut self.size, size)
            && let Some(tape) = &mut self.tape
        {
            tape.resize(tokio::time::Instant::now(), size);
        }
    }

    /// Records what the terminal of a shell is sent. Recording begins here.
    pub(crate) fn record_output(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let now = tokio::time::Instant::now();
            self.tape(now).output(now, bytes);
        }
    }

    /// Records what is typed into a shell.
    pub(crate) fn record_input(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let now = tokio::time::Instant::now();
            self.tape(now).input(now, bytes);
        }
    }

    /// Records a command that the terminal does not show.
    pub(crate) fn record_marker(&mut self, label: &[u8]) {
        let now = tokio::time::Instant::now();
        self.tape(now).marker(now, label);
    }

    fn tape(&mut self, now: tokio::time::Instant) -> &mut Tape {
        let size = self.size;
        self.tape.get_or_insert_with(|| Box::new(Tape::new(now, SystemTime::now().into(), size)))
    }

    /// When [`Self::tell_recording`] has something to tell, unless more comes.
    pub(crate) fn recording_due(&self) -> Option<tokio::time::Instant> {
        self.tape.as_ref()?.due()
    }

    /// Whether [`Self::tell_recording`] has something to tell now.
    pub(crate) fn has_recording(&self) -> bool {
        let due = |due| due <= tokio::time::Instant::now();
        self.tape.as_ref().is_some_and(|tape| tape.is_full() || tape.due().is_some_and(due))
    }

    /// Hands over the parts of the recording that are full or due.
    ///
    /// # Errors
    /// As [`Self::emit`].
    pub(crate) async fn tell_recording(&mut self) -> Result<(), Closed> {
        let now = tokio::time::Instant::now();
        while let Some(part) = self.tape.as_mut().and_then(|tape| tape.part(now, false)) {
            let event = self.recorded(part);
            self.emit(event).await?;
        }
        Ok(())
    }

    fn recorded(&mut self, part: Part) -> Event {
        let mut event = self
            .event(EventKind::SessionRecorded)
            .with("part", i64::from(part.number))
            .with("started_ms", part.started.as_millis())
            .with("width", i64::from(part.size.0))
            .with("height", i64::from(part.size.1))
            .with("asciicast", Untrusted::from(part.lines));
        if let Some(term) = self.notes.get("terminal_type") {
            event = event.with("term", term.clone());
        }
        if part.last {
            event = event.with("last", true);
        }
        if part.cut {
            event = event.with("truncated", true);
        }
        event
    }

    /// Says that the session is over; the listener alone does.
    pub(crate) async fn close(&mut self, why: &Closed, traffic: Traffic) {
        let recorded = self.tape.is_some();
        let now = tokio::time::Instant::now();
        while let Some(part) = self.tape.as_mut().and_then(|tape| tape.part(now, true)) {
            if part.last {
                self.tape = None;
            }
            let event = self.recorded(part);
            // An error is counted by emit().
            let _ = self.emit(event).await;
        }
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut event = self.event(EventKind::SessionClosed);
        event.attributes = std::mem::take(&mut self.notes);
        for (name, count) in self.tally.counts() {
            event = event.with(name, count);
        }
        if recorded {
            event = event.with("recorded", true);
        }
        let event = event
            .with("reason", why.reason())
            .with("duration_ms", millis)
            .with("bytes_in", traffic.bytes_in)
            .with("bytes_out", traffic.bytes_out);
        // An error is counted by emit(); there is no session left to end.
        let _ = self.emit(event).await;
    }
}
