//! The stage behind the spool: events that are durable are counted, and what
//! that leads to becomes events.
//!
//! Every event is counted once, also over a crash: the state on disk says up to
//! which record of the spool it goes, later records are counted again from the
//! spool (but for those whose segment was delivered and freed in the seconds since), and lines that are read once more are known by their ids. An alert has
//! the id that its sighting gives it, so that the same alert is the same event.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_event::wire::decode_event;
use palisade_event::{
    Change, DecisionChange, DecisionFeed, Directions, Event, EventId, EventKind, HostName,
    SensorId, Timestamp,
};
use palisade_rules::{
    AllowValue, Allowlist, Detector, Finding, Hit, Matcher, Origin, Sighting, Switches, Verdict,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::checkpoint::{self, Snapshot};
use super::directions::Directed;
use super::enforced::Enforced;
use super::heard::{Heard, again};
use super::journal::Journal;
use super::{SystemNetworks, system_networks};
use crate::clock::Clocks;
use crate::knock::Knocked;
use crate::metrics::Metrics;

/// Ids of events that are remembered to know a line that is read again.
const MAX_RECENT: usize = 65_536;
/// How long after the start lines may be read again.
const REREAD: Duration = Duration::from_secs(300);
/// Least time between two writes of the state, and for each 16 MiB of it more.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
const SAVE_BYTES: u64 = 16 * 1024 * 1024;
/// Time between two looks at the machine and at names of the allowlist.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// An event that scenarios look at, before it is durable.
#[derive(Debug)]
pub(crate) struct Noticed {
    hit: Hit,
    id: EventId,
    /// The login name, where the allowlist has any.
    user: Option<Box<[u8]>>,
}

/// What only the machine knows about whom to spare.
#[derive(Clone, Debug, Default)]
struct Surroundings {
    system: SystemNetworks,
    names: Vec<(String, Vec<IpAddr>)>,
}

/// The stage.
pub(crate) struct Stage {
    detector: Detector,
    matcher: Arc<Matcher>,
    needs_user: bool,
    sensor: SensorId,
    host: Option<HostName>,
    recent: HashSet<EventId>,
    started: Instant,
    path: PathBuf,
    saved_at: Instant,
    changed: bool,
    saved_bytes: u64,
    saving: Option<JoinHandle<io::Result<()>>>,
    save_failing: bool,
    surroundings: watch::Receiver<Surroundings>,
    /// Who has knocked and is spared.
    knocked: Option<watch::Receiver<Vec<Knocked>>>,
    /// Where the hub is in this process, its switches; otherwise they come with
    /// its directions.
    switches: Option<watch::Receiver<Switches>>,
    directed: Directed,
    enforced: Enforced,
    heard: Heard,
    journal: Journal,
    clocks: Clocks,
    metrics: Arc<Metrics>,
    /// Looks at the machine for as long as the stage is there.
    _refresh: tokio_util::task::AbortOnDropHandle<()>,
}

impl Stage {
    /// Rebuilds the state from `folder` (the state on disk and the spool, which
    /// must not be open) and looks at the machine. Gives events that a crash
    /// kept from the spool. Blocks; must be called within a runtime.
    pub(crate) fn start(
        mut detector: Detector,
        folder: &Path,
        (sensor, host): (SensorId, Option<HostName>),
        (mut switches, enforced): (Option<watch::Receiver<Switches>>, Enforced),
        metrics: Arc<Metrics>,
    ) -> (Self, Vec<Event>) {
        let (directed, spares) = Directed::open(folder);
        match &mut switches {
            Some(switches) => detector.simulate(&switches.borrow_and_update()),
            None => detector.simulate(directed.switches()),
        }
        detector.allowlist.set_hub(spares);
        let system = system_networks();
        for problem in &system.problems {
            tracing::warn!(
                problem,
                "not all addresses of this machine are known; add them to [agent.detect] allow"
            );
        }
        detector.allowlist.set_system(system.networks.clone());
        let path = checkpoint::path(folder);
        let loaded = checkpoint::load(&path, &mut detector);
        let from = loaded.position.unwrap_or(0);
        let matcher = detector.engine().matcher();
        let rebuilt = rebuild(&mut detector, &matcher, &folder.join("spool"), from);
        let (missing, recent) = rebuilt.unwrap_or_else(|error| {
            tracing::error!(%error, "the spool cannot be read back; counting begins anew");
            Default::default()
        });
        let Detector { policy, allowlist, .. } = &mut detector;
        let journal = Journal::open(folder, |page| again(&page, policy, allowlist, now()));
        let names: Vec<String> =
            detector.allowlist.names().into_iter().map(str::to_owned).collect();
        let (tell, surroundings) = watch::channel(Surroundings { system, names: Vec::new() });
        let refresh = tokio::spawn(refresh(names, enforced.hub(), tell));
        let needs_user = needs_user(&detector.allowlist);
        let mut stage = Self {
            detector,
            matcher,
            needs_user,
            sensor,
            host,
            recent,
            started: Instant::now(),
            path,
            saved_at: Instant::now(),
            changed: from == 0,
            saved_bytes: 0,
            saving: None,
            save_failing: false,
            surroundings,
            knocked: None,
            switches,
            directed,
            enforced,
            heard: Heard::new(loaded.feed),
            journal,
            clocks: Clocks::now(),
            metrics,
            _refresh: tokio_util::task::AbortOnDropHandle::new(refresh),
        };
        let events = missing.iter().flat_map(|finding| stage.events(finding)).collect();
        stage.spare();
        stage.enforced.begin(&stage.detector.policy, now());
        stage.metrics.effect.heard(stage.heard.cursor(), stage.directed.version());
        stage.publish();
        (stage, events)
    }

    /// What is to be counted of an event, once it is durable.
    pub(crate) fn notice(&self, event: &Event) -> Option<Noticed> {
        // Decisions are counted where they are made.
        if !self.matcher.wants(event.kind) || event.kind == EventKind::DecisionMade {
            return None;
        }
        let sighting = Sighting::from(event);
        let hit = self.matcher.look(&sighting)?;
        let user = sighting.user.filter(|_| self.needs_user).map(Into::into);
        Some(Noticed { hit, id: event.id, user })
    }

    /// Counts what is durable. Gives the events of alerts and decisions.
    pub(crate) fn count(&mut self, noticed: Vec<Noticed>) -> Vec<Event> {
        self.look_around();
        let mut events = Vec::new();
        if !self.recent.is_empty() && self.started.elapsed() > REREAD {
            self.recent = HashSet::new();
        }
        for Noticed { hit, id, user } in noticed {
            if self.recent.remove(&id) {
                continue;
            }
            self.changed = true;
            let origin = Origin { event: Some(id), user: user.as_deref() };
            for finding in self.detector.count(&hit, origin) {
                self.tell(&finding);
                if let Verdict::Decided(decision) = &finding.verdict {
                    self.enforced.decided(decision);
                }
                events.extend(self.events(&finding));
            }
        }
        self.publish();
        events
    }

    /// How far the hub's feed of decisions is carried out.
    pub(crate) fn feed_cursor(&self) -> Option<u64> {
        self.heard.cursor()
    }

    /// The directions of the hub that hold here.
    pub(crate) fn directions(&self) -> Option<u64> {
        self.directed.version()
    }

    /// Carries out what the hub tells, as far as this machine lets it.
    pub(crate) async fn hear(&mut self, page: &DecisionFeed) {
        self.look_around();
        if let Some(directions) = &page.directions {
            let spares = self.directed.take(directions);
            tracing::info!(
                version = directions.version,
                spared = spares.len(),
                switched = directions.simulate.len(),
                "the hub directs whom to spare and what to simulate"
            );
            self.detector.allowlist.set_hub(Some(spares));
            if self.switches.is_none() {
                self.detector.simulate(&directions.simulate);
            }
            self.spare();
            self.directed.keep(Directions::clone(directions)).await;
        }
        let Detector { policy, allowlist, .. } = &mut self.detector;
        let outcome = self.heard.take(page, policy, allowlist, &self.enforced, now());
        self.journal.note(page.cursor, &outcome.obeyed);
        for DecisionChange { change, .. } in &page.changes {
            if let Change::Made(made) = change {
                self.metrics.effect.obey(&made.decision.target);
            }
        }
        self.metrics.orders_refused.add(outcome.refused.len() as u64);
        for (target, reason) in outcome.refused {
            self.metrics.effect.refuse(target, &reason);
        }
        self.metrics.effect.heard(self.heard.cursor(), self.directed.version());
        self.changed = true;
    }

    /// Lets in whom the allowlist spares by now.
    fn spare(&mut self) {
        let Detector { policy, allowlist, .. } = &mut self.detector;
        for (target, entry) in self.enforced.spare(policy, allowlist, now()) {
            self.metrics.effect.refuse(target, &format!("allowed by {entry}"));
        }
    }

    /// The events that [`Self::count`] gave are durable: what was decided is
    /// carried out.
    pub(crate) fn release(&mut self) {
        self.enforced.release();
    }

    /// From whom to hear who has knocked.
    pub(crate) fn listen_to_knocks(&mut self, mut knocked: watch::Receiver<Vec<Knocked>>) {
        knocked.mark_changed();
        self.knocked = Some(knocked);
    }

    /// Takes over what is newly known of the machine, and what was switched.
    pub(crate) fn look_around(&mut self) {
        let step = self.clocks.step();
        if step != 0 {
            self.detector.policy.shift(step);
            self.detector.allowlist.shift_hub(step);
        }
        if let Some(switches) = &mut self.switches
            && switches.has_changed().unwrap_or(false)
        {
            self.detector.simulate(&switches.borrow_and_update());
        }
        let knocked = self.knocked.as_ref();
        let is_news = knocked.is_some_and(|knocked| knocked.has_changed().unwrap_or(false));
        if !is_news && !self.surroundings.has_changed().unwrap_or(false) {
            return;
        }
        let mut new = self.surroundings.borrow_and_update().clone();
        if let Some(knocked) = &mut self.knocked {
            let nets = knocked.borrow_and_update();
            let nets = nets.iter().map(|one| (one.address.into(), "has knocked".into()));
            new.system.networks.extend(nets);
        }
        self.detector.allowlist.set_system(new.system.networks);
        for (name, addresses) in new.names {
            self.detector.allowlist.resolve(&name, &addresses);
        }
        let Detector { policy, allowlist, .. } = &mut self.detector;
        let obeyed = self.heard.look_again(policy, allowlist, &self.enforced, now());
        self.changed |= !obeyed.is_empty();
        for DecisionChange { change, .. } in &obeyed {
            if let Change::Made(made) = change {
                self.metrics.effect.obey(&made.decision.target);
            }
        }
        self.journal.note(self.heard.cursor().unwrap_or(0), &obeyed);
        self.spare();
    }

    fn events(&self, finding: &Finding) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(scenario) = self.matcher.scenarios().get(finding.alert.scenario) {
            events.push(finding.to_event(scenario, self.sensor.clone()));
        }
        if let Verdict::Decided(decision) = &finding.verdict {
            events.push(decision.to_event(self.sensor.clone()));
        }
        for event in &mut events {
            event.host.clone_from(&self.host);
        }
        events
    }

    fn tell(&self, finding: &Finding) {
        self.metrics.alerts.one();
        match &finding.verdict {
            Verdict::Decided(decision) => {
                self.metrics.decisions.one();
                tracing::warn!(
                    target = %decision.target,
                    action = decision.kind.as_str(),
                    duration_secs = decision.duration_secs,
                    scenario = decision.scenario.as_str(),
                    reason = &*decision.reason,
                    mode = self.enforced.mode(decision),
                    "decided"
                );
            }
            Verdict::Withheld(name) => {
                self.metrics.decisions_withheld.one();
                tracing::warn!(
                    group = %finding.alert.group,
                    name,
                    "nothing is decided while a name of the allowlist has not been resolved"
                );
            }
            Verdict::Spared(entry) => {
                self.metrics.decisions_spared.one();
                tracing::info!(group = %finding.alert.group, entry, "an alert about somebody who is allowed");
            }
            Verdict::Alerted | Verdict::InForce(_) => {}
        }
    }

    fn publish(&self) {
        let stats = self.detector.engine().stats();
        self.metrics.detect_tracked.set(stats.tracked);
        self.metrics.detect_bytes.set(stats.bytes);
        self.metrics.detect_evicted.set(stats.evicted);
        self.metrics.detect_reset.set(stats.reset);
    }

    /// Begins to write the state where it is time; `position` is the first
    /// record of the spool that is not in it. What is being written is awaited
    /// at the next call.
    pub(crate) async fn save(&mut self, position: u64, is_last: bool) {
        let interval = SAVE_INTERVAL
            + SAVE_INTERVAL * u32::try_from(self.saved_bytes / SAVE_BYTES).unwrap_or(u32::MAX / 64);
        let is_due = is_last || self.journal.is_full() || self.saved_at.elapsed() >= interval;
        if !self.changed || !is_due {
            return;
        }
        self.saved().await;
        self.journal.mark();
        let snapshot = Snapshot::take(&mut self.detector, position, self.heard.cursor());
        self.saved_at = Instant::now();
        self.saved_bytes = snapshot.bytes() as u64;
        self.changed = false;
        let path = self.path.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || snapshot.write(&path)));
        if is_last {
            self.saved().await;
        }
    }

    async fn saved(&mut self) {
        let Some(saving) = self.saving.take() else { return };
        match saving.await.map_err(io::Error::other).and_then(|done| done) {
            Ok(()) => {
                self.save_failing = false;
                self.journal.forget();
            }
            Err(error) => {
                self.changed = true;
                self.save_failed(&error);
            }
        }
    }

    fn save_failed(&mut self, error: &io::Error) {
        if !self.save_failing {
            tracing::error!(%error, path = %self.path.display(), "the state of detection cannot be written; a restart rebuilds it from the spool");
        }
        self.save_failing = true;
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

fn needs_user(list: &Allowlist) -> bool {
    list.entries().iter().any(|entry| matches!(entry.value, AllowValue::User(_)))
}

type Rebuilt = (Vec<Finding>, HashSet<EventId>);

/// Counts records of the spool from `from` on. Gives the alerts whose events
/// are not in it, and ids of the newest events.
fn rebuild(
    detector: &mut Detector,
    matcher: &Matcher,
    spool: &Path,
    from: u64,
) -> io::Result<Rebuilt> {
    let mut findings = Vec::new();
    let mut present = HashSet::new();
    let mut recent = HashSet::new();
    let mut order = std::collections::VecDeque::new();
    palisade_spool::replay(spool, |at, record| {
        let Ok(event) = decode_event(record) else { return };
        match event.kind {
            EventKind::ScenarioTriggered => {
                present.insert(event.id);
                return;
            }
            EventKind::DecisionMade => {
                present.insert(event.id);
                if let Some(decision) = palisade_event::Decision::from_event(&event) {
                    detector.policy.restore(&decision);
                }
                return;
            }
            kind if !matcher.wants(kind) => return,
            _ => {}
        }
        // What was read once more after a crash is in the spool twice.
        if !recent.insert(event.id) {
            return;
        }
        order.push_back(event.id);
        if order.len() > MAX_RECENT
            && let Some(old) = order.pop_front()
        {
            recent.remove(&old);
        }
        if at >= from {
            findings.extend(detector.see(&Sighting::from(&event), Some(event.id)));
        }
    })?;
    findings.retain(|finding| !present.contains(&finding.id));
    Ok((findings, recent))
}

/// Looks at the machine and resolves the names of the allowlist, again and again.
async fn refresh(names: Vec<String>, hub: Option<String>, tell: watch::Sender<Surroundings>) {
    loop {
        let mut resolved = Vec::with_capacity(names.len());
        for name in &names {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(found) => {
                    let addresses: Vec<IpAddr> =
                        found.take(palisade_rules::MAX_RESOLVED).map(|end| end.ip()).collect();
                    resolved.push((name.clone(), addresses));
                }
                Err(error) => {
                    tracing::warn!(name, %error, "a name of the allowlist cannot be resolved");
                }
            }
        }
        let system = tokio::task::spawn_blocking(system_networks).await;
        let mut system = system.unwrap_or_default();
        // Where it cannot be resolved nobody can reach it anyway.
        if let Some(hub) = &hub
            && let Ok(found) = tokio::net::lookup_host((hub.as_str(), 0)).await
        {
            let nets = found.take(palisade_rules::MAX_RESOLVED).map(|end| end.ip().to_canonical());
            system.networks.extend(nets.map(|address| (address.into(), "the hub".into())));
        }
        if tell.send(Surroundings { system, names: resolved }).is_err() {
            return;
        }
        tokio::time::sleep(REFRESH_INTERVAL).await;
    }
}
