//! A plug-in of a running zone: what all threads share of it, its change while
//! it runs, and what is reported of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use palisade_event::{AnalyzerName, Event, EventKind, Untrusted};
use serde_json::json;
use tokio::sync::Notify;

use super::facts::Facts;
use super::fault::Fault;
use super::manifest::Manifest;
use super::source::{Origin, PluginName, Source};
use super::stats::{Counts, PluginStats};
use super::vm::Vm;
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
    ports: Vec<String>,
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
        let name = config.name.clone().or_else(|| {
            let path = config.path.as_ref()?;
            PluginName::new(&path.file_name()?.to_string_lossy()).ok()
        })?;
        let plugin = Self {
            name,
            facts: Arc::clone(facts),
            stats: Arc::default(),
            loaded: RwLock::new(None),
            generation: AtomicU64::new(0),
            problems: Mutex::new(config.problems.clone()),
            ports,
            origin: Mutex::new(if config.path.is_some() {
                Origin::Folder
            } else {
                Origin::Shipped
            }),
            changed: AtomicBool::new(true),
        };
        if let Err(why) = config.source().and_then(|source| plugin.load(source)) {
            plugin.note(vec![why]);
        }
        Some(plugin)
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
            Ok(()) => {
                let new = self.loaded();
                let ports = |loaded: &Arc<Loaded>| {
                    let Manifest { tcp, tls, udp, .. } = &*loaded.manifest;
                    (tcp.clone(), tls.clone(), udp.clone())
                };
                if before.as_ref().map(ports) == new.as_ref().map(ports) {
                    Vec::new()
                } else {
                    vec!["its changed ports are used after the next start".to_owned()]
                }
            }
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
        let serving = loaded.is_some() && !self.ports.is_empty();
        event = event
            .with("plugin", self.name.as_str())
            .with("origin", origin)
            .with("state", if serving { "serving" } else { "failed" })
            .with("ports", cut(self.ports.join(", ")).as_str())
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
    all: Arc<Vec<Arc<Plugin>>>,
    wake: Arc<Notify>,
}

impl Plugins {
    pub(crate) fn new(all: Vec<Arc<Plugin>>) -> Self {
        Self { all: Arc::new(all), wake: Arc::default() }
    }

    pub(crate) fn get(&self, name: &PluginName) -> Option<&Arc<Plugin>> {
        self.all.iter().find(|plugin| plugin.name == *name)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes the changed files of one. Runs its `init.luau` and may take a
    /// moment; call it where that may be waited for. A plug-in that was not
    /// there at the start is left out: it has no socket.
    pub fn replace(&self, source: Source) {
        match self.get(&source.name) {
            Some(plugin) => plugin.replace(source),
            None => {
                tracing::warn!(plugin = %source.name, "a new plug-in serves after the next start");
            }
        }
        self.wake.notify_one();
    }

    /// Tells the reports that have changed.
    async fn tell(&self, zone: &Zone, last: &mut [Option<Counts>]) {
        for (plugin, last) in self.all.iter().zip(last) {
            if let Some(event) = plugin.report(zone, last)
                && zone.out.send(event).await.is_ok()
            {
                zone.stats.events.increase();
            }
        }
    }

    /// Tells reports at the start, when something has changed, and at the end.
    pub(crate) async fn report(self, zone: Arc<Zone>, end: tokio_util::sync::CancellationToken) {
        let mut last = vec![None; self.all.len()];
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
