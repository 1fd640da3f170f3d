//! Puts the parts together, starts and ends them in order.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use palisade_event::{HostName, SensorId};
use palisade_rules::Switches;
use palisade_spool::{Config as SpoolSettings, Spool, WhenFull};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::audit::Audits;
use crate::config::{Config, SourceConfig, is_pattern};
use crate::dead_letter::DeadLetters;
use crate::detect::{Enforced, Stage};
use crate::enforce::{Enforcer, Orders};
use crate::fail2ban::{LoadedJails, Spare, keep_resolved};
use crate::forward::{Forward, LAST_TRY};
use crate::intake::Intake;
use crate::integrity::Integrity;
use crate::inventory::{Inventory, host_name};
use crate::knock::Knock;
use crate::loss::Losses;
use crate::metrics::Metrics;
use crate::outage::Outage;
use crate::pipeline::{DRAIN_DEADLINE, LossReport, Pipeline};
use crate::source::file::FileTask;
use crate::source::glob::GlobTask;
use crate::source::journal::JournalTask;
use crate::source::syslog::SyslogTask;
use crate::source::{Keepers, Outlet, Registry, stdin};
use crate::uplink::{Follow, HttpUplink, Target, Uplink, follow, report_effect};
use crate::zone;

/// Pages of decisions that wait to be carried out.
const FEED_PAGES: usize = 2;
/// How long a source or a cursor's keeper may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The agent cannot start; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are wrong.
    #[error("the agent's settings are wrong: {}", .0.join("; "))]
    Config(Vec<String>),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Folder {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] palisade_spool::OpenError),
}

/// What an agent is told from outside while it runs.
#[derive(Debug)]
pub struct Guidance<F> {
    /// Which scenarios are simulated, where the hub is in this process; a hub
    /// elsewhere says it with its decisions.
    pub switches: Option<watch::Receiver<Switches>>,
    /// The hub whose decisions are carried out here too.
    pub decisions: Option<F>,
    /// The same hub by another connection, to tell it what comes of them.
    pub effect: Option<F>,
}

/// A running agent. Dropping it stops everything at once, as a crash would;
/// [`Self::join`] ends it in order.
pub struct Agent {
    sources: Vec<AbortOnDropHandle<()>>,
    /// Look up for as long as the agent is there what fail2ban's lists name.
    _resolving: Vec<AbortOnDropHandle<()>>,
    /// Asks the hub for decisions; ends with the token.
    _listening: Option<AbortOnDropHandle<()>>,
    /// Tells the hub what comes of them; ends with the token.
    _telling: Option<AbortOnDropHandle<()>>,
    pipeline: AbortOnDropHandle<()>,
    enforcer: AbortOnDropHandle<()>,
    keepers: Arc<Keepers>,
    forward: AbortOnDropHandle<()>,
    finishing: CancellationToken,
    spool: Spool,
    metrics: Arc<Metrics>,
}

impl Agent {
    /// Opens the spool below `data_dir` and starts to read, store and forward.
    /// `events` come from the honeypots. Must be called within a runtime.
    ///
    /// After `cancel` no more lines are read, what is queued goes to the spool,
    /// and [`Self::join`] returns.
    ///
    /// # Errors
    /// [`StartError`]: nothing was started.
    pub fn start<U: Uplink>(
        config: &Config,
        data_dir: &Path,
        sensor: SensorId,
        uplink: U,
        events: impl Into<Intake>,
        cancel: CancellationToken,
    ) -> Result<Self, StartError> {
        let guidance = Guidance { switches: None, decisions: None::<HttpUplink>, effect: None };
        Self::guided(config, data_dir, sensor, uplink, events, guidance, cancel)
    }

    /// The same, and does what it is told: simulates scenarios as they are
    /// switched, from the next event on, and bans whom the hub has banned.
    ///
    /// # Errors
    /// [`StartError`]: nothing was started.
    pub fn guided<U: Uplink, F: Follow>(
        config: &Config,
        data_dir: &Path,
        sensor: SensorId,
        uplink: U,
        events: impl Into<Intake>,
        guidance: Guidance<F>,
        cancel: CancellationToken,
    ) -> Result<Self, StartError> {
        let Guidance { switches, decisions, effect } = guidance;
        config.validate().map_err(StartError::Config)?;
        let folder = data_dir.join("agent");
        let cursors = folder.join("cursors");
        palisade_spool::make_dir(&cursors)
            .map_err(|source| StartError::Folder { path: cursors.clone(), source })?;
        let settings = SpoolSettings {
            segment_bytes: config.spool.segment_bytes,
            max_bytes: config.spool.max_bytes,
            when_full: WhenFull::DropOldest,
        };
        let metrics = Arc::new(Metrics::default());
        let host = config.host.as_deref().and_then(|name| HostName::new(name).ok());
        let orders = Orders::new(Arc::clone(&metrics));
        let jails = match &config.fail2ban {
            Some(fail2ban) => fail2ban.load().map_err(StartError::Config)?,
            None => LoadedJails::default(),
        };
        for problem in &jails.problems {
            tracing::warn!(problem, "fail2ban's configuration is not taken over as a whole");
        }
        let (stage, found) = match config.detect.enabled {
            true => {
                let detector = config.detect.detector_with(&jails, rand::random());
                let detector = detector.map_err(StartError::Config)?;
                let who = (sensor.clone(), host.clone());
                let hub = config.hub.as_ref().and_then(|hub| Target::parse(&hub.url).ok());
                let hub = hub.map(|hub| hub.host().to_owned());
                let enforced = Enforced::new(&config.enforce, hub, Arc::clone(&orders));
                let metrics = Arc::clone(&metrics);
                let (stage, found) =
                    Stage::start(detector, &folder, who, (switches, enforced), metrics);
                (Some(stage), found)
            }
            false => (None, Vec::new()),
        };
        let (spool, reader) = Spool::open(&folder.join("spool"), settings)?;
        let telling = effect.filter(|_| config.detect.enabled).map(|hub| {
            let (metrics, who) = (Arc::clone(&metrics), (config.enforce.method, host.clone()));
            let stop = cancel.clone();
            let tell = async move { report_effect(&hub, metrics, who, stop).await };
            AbortOnDropHandle::new(tokio::spawn(tell))
        });
        let enforcer = Enforcer::new(&config.enforce, &folder, orders, Arc::clone(&metrics));
        let (outlet, items) = Outlet::new(sensor.clone(), Arc::clone(&metrics), cancel.clone());

        let keepers = Arc::new(Keepers::default());
        let registry = Registry::new(cursors, &keepers);
        let mut sources = Vec::new();
        let resolving = jails.jails.into_iter().map(keep_resolved);
        let resolving = resolving.map(|task| AbortOnDropHandle::new(tokio::spawn(task))).collect();
        for source in config.sources.iter().chain(&jails.sources) {
            sources.push(start(source, &registry, &outlet)?);
        }
        let mut stage = stage;
        if let Some(knock) = &config.knock {
            let opened = Knock::open(knock, sensor.clone(), &folder);
            let (knock, knocked) = opened.map_err(|mistake| StartError::Config(vec![mistake]))?;
            if let Some(stage) = &mut stage {
                stage.listen_to_knocks(knocked);
            }
            let task = knock.run(outlet.clone(), cancel.clone());
            sources.push(AbortOnDropHandle::new(tokio::spawn(task)));
        }
        if config.machine {
            let who = (sensor.clone(), host_name(host.as_ref()));
            sources.extend(tell_of_machine(config, &who, &folder, &outlet));
        }
        drop(outlet);

        let delivered = Arc::new(Notify::new());
        let pipeline = Pipeline {
            sensor,
            host,
            spool: spool.clone(),
            losses: LossReport::new(Losses::open(&folder), Arc::clone(&delivered)),
            stage,
            found,
            spare: Spare::default(),
            outage: Outage::default(),
            metrics: Arc::clone(&metrics),
            cancel: cancel.clone(),
        };
        let finishing = CancellationToken::new();
        let forward = Forward {
            uplink,
            reader,
            spool: spool.clone(),
            letters: DeadLetters::new(&folder),
            metrics: Arc::clone(&metrics),
            delivered,
            finishing: finishing.clone(),
        };
        let enforcer = enforcer.run(cancel.clone());
        let (pages, heard) = mpsc::channel(FEED_PAGES);
        let position = pipeline.feed_position();
        let stop = cancel.clone();
        let listening = decisions.filter(|_| config.detect.enabled).map(|hub| {
            let listen = async move { follow(&hub, position, pages, stop).await };
            AbortOnDropHandle::new(tokio::spawn(listen))
        });
        let pipeline = pipeline.run(items, events.into(), heard);
        Ok(Self {
            sources,
            _resolving: resolving,
            _listening: listening,
            _telling: telling,
            pipeline: AbortOnDropHandle::new(tokio::spawn(pipeline)),
            enforcer: AbortOnDropHandle::new(tokio::spawn(enforcer)),
            keepers,
            forward: AbortOnDropHandle::new(tokio::spawn(forward.run())),
            finishing,
            spool,
            metrics,
        })
    }

    /// What it has done so far.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Waits for the end that the cancelled token asked for, in order: sources
    /// stop, what is queued goes into the spool, cursors are written, the
    /// forwarder tries once more, the spool closes. Takes at most some 30 s.
    pub async fn join(self) {
        for source in self.sources {
            within("a log source", END_TIMEOUT, source).await;
        }
        within("the enforcer", END_TIMEOUT, self.enforcer).await;
        within("the pipeline", DRAIN_DEADLINE + END_TIMEOUT, self.pipeline).await;
        // The sources have ended, so that there will be no more of them.
        let keepers =
            std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        for keeper in keepers {
            within("a cursor's keeper", END_TIMEOUT, keeper).await;
        }
        self.finishing.cancel();
        within("the last delivery", LAST_TRY, self.forward).await;
        self.spool.close().await;
    }
}

/// Starts what tells of the machine itself.
fn tell_of_machine(
    config: &Config,
    who: &(SensorId, Option<HostName>),
    folder: &Path,
    outlet: &Outlet,
) -> Vec<AbortOnDropHandle<()>> {
    let mut tasks = Vec::new();
    let mut start = |task: JoinHandle<()>| tasks.push(AbortOnDropHandle::new(task));
    if config.inventory.enabled {
        let (inventory, health) = (&config.inventory, &config.health);
        let task = Inventory::new(inventory, health, who.clone(), folder, outlet.clone());
        start(tokio::spawn(task.run()));
    }
    if config.audit.enabled {
        let task = Audits::new(&config.audit, who.clone(), folder, outlet.clone());
        start(tokio::spawn(task.run()));
    }
    if config.integrity.enabled {
        let task = Integrity::new(&config.integrity, who.clone(), folder, outlet.clone());
        start(tokio::spawn(task.run()));
    }
    tasks
}

/// Starts one source.
fn start(
    config: &SourceConfig,
    registry: &Registry,
    outlet: &Outlet,
) -> Result<AbortOnDropHandle<()>, StartError> {
    let wrong = |mistake| StartError::Config(vec![mistake]);
    let (parser, zone) = match config {
        SourceConfig::File(file) => (&file.parser, zone::find(file.zone.as_deref())),
        SourceConfig::Journal(journal) => (&journal.parser, Ok(TimeZone::UTC)),
        SourceConfig::Syslog(syslog) => (&syslog.parser, zone::find(syslog.zone.as_deref())),
        SourceConfig::Stdin(stdin) => (&stdin.parser, zone::find(stdin.zone.as_deref())),
    };
    let zone = zone.map_err(wrong)?;
    let name = config.to_string();
    let (source, cursor) = registry
        .open(&name, parser, &zone)
        .ok_or_else(|| wrong(format!("sources: {name} is listed twice")))?;
    let outlet = outlet.clone();
    let task = match config {
        SourceConfig::File(file) if is_pattern(&file.path) => {
            let task = GlobTask::new(source, file, zone, registry.clone(), outlet);
            tokio::spawn(task.run(cursor))
        }
        SourceConfig::File(file) => {
            let task = FileTask::new(&source, &file.path, file.from, outlet);
            tokio::spawn(task.run(cursor))
        }
        SourceConfig::Journal(journal) => {
            let cursor = cursor.and_then(|cursor| cursor.journal);
            tokio::spawn(JournalTask::new(&source, journal, outlet, cursor).run())
        }
        SourceConfig::Syslog(syslog) => tokio::spawn(SyslogTask::new(source, syslog, outlet).run()),
        SourceConfig::Stdin(_) => tokio::spawn(stdin::run(source, outlet)),
    };
    Ok(AbortOnDropHandle::new(task))
}

/// Waits for a task; one that takes too long is stopped.
async fn within(what: &'static str, time: Duration, task: AbortOnDropHandle<()>) {
    match tokio::time::timeout(time, task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(part = what, %error, "a part of the agent failed"),
        Err(_) => {
            tracing::warn!(part = what, "a part of the agent did not end in time and was stopped")
        }
    }
}
