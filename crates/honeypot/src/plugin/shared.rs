//! A plug-in of a running zone: what all threads share of it, its change while
//! it runs, and what is reported of it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use palisade_event::{AnalyzerName, Event, EventKind, Untrusted};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::change::{Order, Room};
use super::facts::Facts;
use super::fault::Fault;
use super::manifest::Manifest;
use super::source::{Origin, PluginName, Source};
use super::stats::{Counts, PluginStats};
use super::vm::Vm;
use crate::config::MAX_PLUGINS;
use crate::session::Zone;
use crate::{Closed, PluginConfig, Session};

/// Longest text about ports or columns in a report.
const MAX_LIST_BYTES: usize = 16 * 1024;
/// How often counters are reported, where they have changed.
const REPORT_EVERY: Duration = Duration::from_secs(15);

/// Files that were loaded once without a fault.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) manifest: Arc<Manifest>,
}

/// A plug-in of a running zone.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: PluginName,
    facts: Arc<Facts>,
    stats: Arc<PluginStats>,
    loaded: RwLock<Option<Arc<Loaded>>>,
    /// Counts the changes of `loaded`.
    generation: AtomicU64,
    /// What keeps it or its last change from serving.
    problems: Mutex<Vec<String>>,
    ports: Mutex<Vec<String>>,
    /// Ends the listeners that serve it now.
    retire: Mutex<CancellationToken>,
    origin: Mutex<Origin>,
    /// Whether a change of it is to be reported at once.
    changed: AtomicBool,
}

impl Plugin {
    /// The plug-in of an entry of the configuration; `ports` are those that are bound.
    pub(crate) fn open(
        config: &PluginConfig,
        facts: &Arc<Facts>,
        ports: Vec<String>,
    ) -> Option<Self> {
        let plugin = Self::unloaded(config, facts, ports)?;
        if let Err(why) = config.source().and_then(|source| plugin.load(source)) {
            plugin.note(vec![why]);
        }
        Some(plugin)
    }

    /// One whose files are not there yet.
    fn unloaded(config: &PluginConfig, facts: &Arc<Facts>, ports: Vec<String>) -> Option<Self> {
        let name = config.name.clone().or_else(|| {
            let path = config.path.as_ref()?;
            PluginName::new(&path.file_name()?.to_string_lossy()).ok()
        })?;
        Some(Self {
            name,
            facts: Arc::clone(facts),
            stats: Arc::default(),
            loaded: RwLock::new(None),
            generation: AtomicU64::new(0),
            problems: Mutex::new(config.problems.clone()),
            ports: Mutex::new(ports),
            retire: Mutex::default(),
            origin: Mutex::new(if config.path.is_some() {
                Origin::Folder
            } else {
                Origin::Shipped
            }),
            changed: AtomicBool::new(true),
        })
    }

    /// Loads files; new connections get them.
    fn load(&self, source: Source) -> Result<(), String> {
        let (facts, stats) = (Arc::clone(&self.facts), Arc::clone(&self.stats));
        let vm = Vm::load(&source, facts, stats, false).map_err(|fault| fault.to_string())?;
        let manifest = Arc::clone(&vm.manifest);
        *self.origin.lock().unwrap_or_else(PoisonError::into_inner) = source.origin;
        let loaded = Some(Arc::new(Loaded { source, manifest }));
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes changed files. Connections that are open keep the old ones; where
    /// the new ones are wrong, so do new connections.
    pub(crate) fn replace(&self, source: Source) {
        let before = self.loaded();
        if before.as_ref().is_some_and(|before| before.source == source) {
            return;
        }
        let problems = match self.load(source) {
            Err(why) if before.is_some() => {
                vec![format!("a change is not used, the code before it goes on: {why}")]
            }
            Err(why) => vec![why],
            Ok(()) => Vec::new(),
        };
        match problems.first() {
            Some(why) => {
                tracing::warn!(plugin = %self.name, why = %Untrusted::from(why.as_str()), "a plug-in was changed")
            }
            None => {
                tracing::info!(plugin = %self.name, "a plug-in was changed; new connections use it")
            }
        }
        self.note(problems);
    }

    /// Has those end that serve it now, and gives what will end the next.
    fn succeed(&self) -> (CancellationToken, CancellationToken) {
        let next = CancellationToken::new();
        let mut retire = self.retire.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut *retire, next.clone()), next)
    }

    /// What ends the listeners that serve it now.
    pub(crate) fn retire(&self) -> CancellationToken {
        self.retire.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ports(&self) -> Vec<String> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, problems: Vec<String>) {
        let mut known = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != problems {
            *known = problems;
        }
        self.changed.store(true, Ordering::Release);
    }

    pub(crate) fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a session name this plug-in, and counts it.
    pub(crate) fn begin(&self, session: &mut Session) {
        PluginStats::count(&self.stats.sessions);
        self.sign(session);
    }

    /// Has what a session tells name this plug-in.
    pub(crate) fn sign(&self, session: &mut Session) {
        if let Ok(name) = AnalyzerName::new(self.name.as_str()) {
            session.set_plugin(name);
        }
        if let Some(loaded) = self.loaded() {
            session.set_category(Some(loaded.manifest.category.clone()));
        }
    }

    /// Counts a fault, and tells it as [`super::run::tell_fault`].
    ///
    /// # Errors
    /// As [`Session::emit`].
    pub(crate) async fn tell_fault(
        &self,
        session: &mut Session,
        fault: &Fault,
    ) -> Result<(), Closed> {
        super::run::tell_fault(&self.stats, &self.name, session, fault).await
    }

    /// Its report, unless it is the one that was told last.
    fn report(&self, zone: &Zone, last: &mut Option<Counts>) -> Option<Event> {
        let counts = self.stats.counts();
        let changed = self.changed.swap(false, Ordering::AcqRel);
        if !changed && last.as_ref() == Some(&counts) {
            return None;
        }
        let loaded = self.loaded();
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
        let mut event = zone.event(EventKind::PluginReported);
        event.analyzer = AnalyzerName::new(self.name.as_str()).ok();
        let origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner).as_str();
        let ports = self.ports();
        let serving = loaded.is_some() && !ports.is_empty();
        event = event
            .with("plugin", self.name.as_str())
            .with("origin", origin)
            .with("state", if serving { "serving" } else { "failed" })
            .with("ports", cut(ports.join(", ")).as_str())
            .with("sessions", counts.sessions)
            .with("datagrams", counts.datagrams)
            .with("rows", counts.rows)
            .with("refused", counts.refused)
            .with("faults", counts.faults)
            .with("loads", self.generation.load(Ordering::Acquire));
        if let Some(loaded) = &loaded {
            let Manifest { about, columns, category, .. } = &*loaded.manifest;
            event.category = Some(category.clone());
            event = event
                .with("about", about.as_str())
                .with("digest", loaded.source.digest().as_str())
                .with("columns", cut(json!(columns).to_string()).as_str());
        }
        if !problems.is_empty() {
            event = event.with("reason", Untrusted::from(cut(problems).as_str()));
        }
        if counts.refused > 0 {
            let by = counts.refused_by.iter().map(
                |(why, count, last)| json!({ "reason": why.as_str(), "rows": count, "last": last }),
            );
            let by = json!(by.collect::<Vec<_>>()).to_string();
            event = event.with("refused_by", Untrusted::from(cut(by).as_str()));
        }
        if let Some((at, sentence)) = &counts.last {
            event = event
                .with("last_fault", Untrusted::from(sentence.as_str()))
                .with("last_fault_at", at.as_millis());
        }
        *last = Some(counts);
        Some(event)
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_LIST_BYTES {
        let end = (0..=MAX_LIST_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

/// A plug-in on one thread, with the VM that new connections get.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) plugin: Arc<Plugin>,
    vm: RefCell<Option<(u64, Rc<Vm>)>>,
}

impl Local {
    pub(crate) fn new(plugin: Arc<Plugin>) -> Self {
        Self { plugin, vm: RefCell::new(None) }
    }

    /// The VM of the newest code; made at the first call, after a change, and
    /// after one that leaks. Old ones live as long as their sessions.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn vm(&self) -> Result<Rc<Vm>, Fault> {
        let generation = self.plugin.generation.load(Ordering::Acquire);
        if let Some((made_of, vm)) = &*self.vm.borrow()
            && *made_of == generation
            && !vm.worn.get()
        {
            return Ok(Rc::clone(vm));
        }
        let Some(loaded) = self.plugin.loaded() else {
            return Err(Fault::of("it is not loaded"));
        };
        let (facts, stats) = (Arc::clone(&self.plugin.facts), Arc::clone(&self.plugin.stats));
        let vm = Rc::new(Vm::load(&loaded.source, facts, stats, false)?);
        *self.vm.borrow_mut() = Some((generation, Rc::clone(&vm)));
        Ok(vm)
    }
}

/// All plug-ins of a zone.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    all: Arc<RwLock<Vec<Arc<Plugin>>>>,
    wake: Arc<Notify>,
    /// What more of them are made with; none where there is nowhere to find more.
    room: Option<Arc<Room>>,
}

impl Plugins {
    pub(crate) fn new(all: Vec<Arc<Plugin>>) -> Self {
        Self { all: Arc::new(RwLock::new(all)), wake: Arc::default(), room: None }
    }

    /// Lets them become more.
    pub(crate) fn with_room(self, room: Room) -> Self {
        Self { room: Some(Arc::new(room)), ..self }
    }

    fn all(&self) -> Vec<Arc<Plugin>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn get(&self, name: &PluginName) -> Option<Arc<Plugin>> {
        self.all().into_iter().find(|plugin| plugin.name == *name)
    }

    /// Has a plug-in served as `order` says, on these sockets. Runs its
    /// `init.luau` and waits for their threads: not to be called where tasks run.
    pub fn serve(&self, order: &Order, sockets: Vec<OwnedFd>) {
        let name = order.plugin.name.as_ref().map_or("?", PluginName::as_str).to_owned();
        if let Err(why) = self.try_to_serve(order, sockets) {
            let why = Untrusted::from(why.as_str());
            tracing::error!(plugin = %name, %why, "a plug-in does not serve");
        }
        self.wake.notify_one();
    }

    fn try_to_serve(&self, order: &Order, sockets: Vec<OwnedFd>) -> Result<(), String> {
        let room = self.room.as_ref().ok_or("it serves after the next start")?;
        let name = order.plugin.name.as_ref().ok_or("it has no name")?;
        let plugin = match self.get(name) {
            Some(plugin) => plugin,
            None => {
                let plugin = Plugin::unloaded(&order.plugin, &room.facts, Vec::new());
                let plugin = Arc::new(plugin.ok_or("it has no name")?);
                let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
                if all.len() >= MAX_PLUGINS {
                    return Err(format!("more than {MAX_PLUGINS} plug-ins"));
                }
                all.push(Arc::clone(&plugin));
                plugin
            }
        };
        let mut problems = order.plugin.problems.clone();
        if let Some(Err(why)) = order.source.clone().map(|source| plugin.load(source)) {
            problems.push(why);
        }
        // The new ones begin before those that were there end; who comes
        // between waits in the kernel.
        let (before, next) = plugin.succeed();
        match room.pool(order, sockets, &plugin, &next) {
            Ok((pool, ports)) => {
                tracing::info!(plugin = %name, ports = ports.join(", "), "a plug-in serves here from now on; open sessions go on");
                *plugin.ports.lock().unwrap_or_else(PoisonError::into_inner) = ports;
                room.pool.blocking_send(pool).map_err(|_| "the honeypots end")?;
                before.cancel();
            }
            Err(why) => {
                // As before.
                *plugin.retire.lock().unwrap_or_else(PoisonError::into_inner) = before;
                problems.push(why);
            }
        }
        if let Some(why) = problems.first() {
            let why = Untrusted::from(why.as_str());
            tracing::error!(plugin = %name, %why, "a plug-in does not serve as it should");
        }
        plugin.note(problems);
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether there may be some later.
    pub(crate) fn may_grow(&self) -> bool {
        self.room.is_some()
    }

    /// Takes the changed files of one that is there. Runs its `init.luau` and may
    /// take a moment; call it where that may be waited for.
    pub fn replace(&self, source: Source) {
        match self.get(&source.name) {
            Some(plugin) => plugin.replace(source),
            None => {
                tracing::warn!(plugin = %source.name, "the files of a plug-in that does not serve were changed");
            }
        }
        self.wake.notify_one();
    }

    /// Tells the reports that have changed.
    async fn tell(&self, zone: &Zone, last: &mut Vec<Option<Counts>>) {
        let all = self.all();
        last.resize(all.len(), None);
        for (plugin, last) in all.iter().zip(last) {
            if let Some(event) = plugin.report(zone, last)
                && zone.out.send(event).await.is_ok()
            {
                zone.stats.events.increase();
            }
        }
    }

    /// Tells reports at the start, when something has changed, and at the end.
    pub(crate) async fn report(self, zone: Arc<Zone>, end: CancellationToken) {
        let mut last = Vec::new();
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                () = self.wake.notified() => {}
                _ = ticks.tick() => {}
            }
            self.tell(&zone, &mut last).await;
        }
        self.tell(&zone, &mut last).await;
    }
}
