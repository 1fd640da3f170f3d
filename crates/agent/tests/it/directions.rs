//! What a hub directs beside its decisions, at an agent: whom it spares and what
//! it simulates hold at once, while it is away, and after a restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a failure is a panic")]

use crate::support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use palisade_agent::{
    Agent, Config, DetectConfig, EnforceConfig, FeedPosition, Follow, FollowError, Guidance, Method,
};
use palisade_event::{Change, DecisionChange};
use palisade_event::{
    Decision, DecisionFeed, DecisionOrigin, DecisionType, DirectedEntry, Directions, EffectReceipt,
    EffectReport, Event, EventId, EventKind, MadeDecision, ScenarioName, SensorId, Timestamp,
};
use support::{MemoryHub, Mood, append_text, config, file_source, until};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The feed of a hub in memory: gives what it has to tell, once.
#[derive(Clone, Default)]
struct Feed(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pages: Mutex<Vec<DecisionFeed>>,
    asked: Mutex<Vec<FeedPosition>>,
    reports: Mutex<Vec<EffectReport>>,
    changed: Notify,
}

impl Feed {
    fn tell(&self, page: DecisionFeed) {
        self.0.pages.lock().unwrap().push(page);
        self.0.changed.notify_one();
    }

    fn direct(&self, cursor: u64, directions: Directions) {
        let directions = Some(Box::new(directions));
        self.tell(DecisionFeed { cursor, directions, ..DecisionFeed::default() });
    }

    fn reports(&self) -> Vec<EffectReport> {
        self.0.reports.lock().unwrap().clone()
    }

    async fn until_directed(&self, version: u64) {
        let directed = || self.reports().iter().any(|one| one.directions == Some(version));
        until(directed, || format!("{:?}", self.reports().last())).await;
    }
}

impl Follow for Feed {
    async fn page(&self, position: FeedPosition) -> Result<DecisionFeed, FollowError> {
        self.0.asked.lock().unwrap().push(position);
        loop {
            let page = {
                let mut pages = self.0.pages.lock().unwrap();
                (!pages.is_empty()).then(|| pages.remove(0))
            };
            match page {
                Some(page) => return Ok(page),
                None => self.0.changed.notified().await,
            }
        }
    }

    async fn report(&self, report: &EffectReport) -> Result<EffectReceipt, FollowError> {
        self.0.reports.lock().unwrap().push(report.clone());
        Ok(EffectReceipt::default())
    }
}

struct Running {
    agent: Agent,
    cancel: CancellationToken,
    _events: mpsc::Sender<Event>,
}

impl Running {
    fn start(folder: &Path, hub: &MemoryHub, feed: Option<Feed>) -> Self {
        let log = folder.join("auth.log");
        if !log.exists() {
            append_text(&log, b"");
        }
        let config = Config {
            detect: DetectConfig::default(),
            enforce: EnforceConfig {
                method: Method::Command,
                ban: vec!["true".into(), "{ip}".into()],
                unban: vec!["true".into(), "{ip}".into()],
                ..EnforceConfig::default()
            },
            ..config(vec![file_source(&log)])
        };
        let (events, receiver) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let guidance = Guidance { switches: None, decisions: feed.clone(), effect: feed };
        let (data, sensor) = (folder.join("data"), SensorId::new("test").unwrap());
        let agent =
            Agent::guided(&config, &data, sensor, hub.clone(), receiver, guidance, cancel.clone());
        Self { agent: agent.unwrap(), cancel, _events: events }
    }

    async fn end(self) {
        self.cancel.cancel();
        drop(self._events);
        self.agent.join().await;
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn attack(folder: &Path, address: &str) {
    let line =
        format!("{} web sshd[9]: Failed password for root from {address} port 1 ssh2\n", now());
    append_text(&folder.join("auth.log"), line.repeat(6).as_bytes());
}

/// Who was banned by the agent's own detection, for real.
fn banned(hub: &MemoryHub) -> Vec<String> {
    let decisions = hub.of(EventKind::DecisionMade);
    let real = decisions.iter().filter_map(Decision::from_event).filter(|one| !one.simulated);
    let mut all: Vec<String> = real.map(|one| one.target.to_string()).collect();
    all.sort();
    all
}

async fn until_alerts(hub: &MemoryHub, count: usize) {
    let alerts = || hub.of(EventKind::ScenarioTriggered).len();
    until(|| alerts() >= count, || format!("{} alerts", alerts())).await;
}

fn entry(target: &str, until: Option<Timestamp>) -> DirectedEntry {
    DirectedEntry { target: target.parse().unwrap(), reason: Some("office".into()), until }
}

fn directions(version: u64, allow: Vec<DirectedEntry>) -> Directions {
    Directions { version, allow, ..Directions::default() }
}

fn ban(seq: u64, target: &str) -> DecisionChange {
    let decision = Decision {
        id: EventId::new(now(), u128::from(seq)),
        kind: DecisionType::new("ban").unwrap(),
        target: target.parse().unwrap(),
        from: now(),
        duration_secs: 3600,
        scenario: ScenarioName::new("manual").unwrap(),
        reason: "by hand".into(),
        alert: EventId::from_u128(1),
        evidence: Vec::new(),
        simulated: false,
    };
    let made = MadeDecision { decision, origin: DecisionOrigin::Hub, note: None };
    DecisionChange { seq, change: Change::Made(Box::new(made)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_hub_allows_is_not_banned_also_while_it_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, feed) = (MemoryHub::new(Mood::Takes), Feed::default());
    let running = Running::start(folder.path(), &hub, Some(feed.clone()));
    feed.direct(5, directions(7, vec![entry("198.51.100.0/24", None)]));
    feed.until_directed(7).await;
    attack(folder.path(), "198.51.100.7");
    until_alerts(&hub, 1).await;
    attack(folder.path(), "203.0.113.7");
    until(|| !banned(&hub).is_empty(), || format!("{:?}", banned(&hub))).await;
    assert_eq!(banned(&hub), ["203.0.113.7"]);
    running.end().await;
    // A restart, and no hub anywhere.
    let running = Running::start(folder.path(), &hub, None);
    attack(folder.path(), "198.51.100.8");
    until_alerts(&hub, 3).await;
    attack(folder.path(), "203.0.113.8");
    until(|| banned(&hub).len() == 2, || format!("{:?}", banned(&hub))).await;
    assert_eq!(banned(&hub), ["203.0.113.7", "203.0.113.8"]);
    running.end().await;
    // It says what it has, and a removal reaches it.
    let running = Running::start(folder.path(), &hub, Some(feed.clone()));
    until(
        || feed.0.asked.lock().unwrap().iter().any(|asked| asked.directions == Some(7)),
        || "not asked".into(),
    )
    .await;
    feed.direct(6, directions(8, Vec::new()));
    feed.until_directed(8).await;
    attack(folder.path(), "198.51.100.9");
    until(|| banned(&hub).len() == 3, || format!("{:?}", banned(&hub))).await;
    assert_eq!(banned(&hub)[0], "198.51.100.9");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_ends_in_its_time_and_frees_who_is_banned() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, feed) = (MemoryHub::new(Mood::Takes), Feed::default());
    let running = Running::start(folder.path(), &hub, Some(feed.clone()));
    let metrics = running.agent.metrics();
    let changes = vec![ban(4, "198.51.100.7"), ban(5, "203.0.113.9")];
    // A page of all that is in force brings directions too; they come first.
    let given = Some(Box::new(directions(3, vec![entry("203.0.113.9", None)])));
    let page = DecisionFeed { cursor: 5, changes, reset: true, directions: given, snapshot: None };
    feed.tell(page);
    until(|| metrics.enforce_held.get() == 1, || format!("{}", metrics.enforce_held.get())).await;
    let refused = || feed.reports().into_iter().rev().find(|one| !one.refused.is_empty());
    until(|| refused().is_some(), || format!("{:?}", feed.reports())).await;
    let refused = refused().unwrap();
    assert_eq!(&*refused.refused[0].reason, "allowed by 203.0.113.9, by the hub: office");
    assert_eq!((refused.cursor, &*refused.method), (Some(5), "command"));
    // Who is allowed is let in; for as long as was said.
    let soon = now().plus_millis(3_000);
    feed.direct(6, directions(4, vec![entry("198.51.100.0/24", Some(soon))]));
    until(|| metrics.enforce_held.get() == 0, || format!("{}", metrics.enforce_held.get())).await;
    attack(folder.path(), "198.51.100.8");
    until_alerts(&hub, 1).await;
    assert_eq!(banned(&hub), [""; 0]);
    until(|| now() > soon, || "time passes".into()).await;
    attack(folder.path(), "198.51.100.10");
    until(|| !banned(&hub).is_empty(), || format!("{:?}", banned(&hub))).await;
    assert_eq!(banned(&hub), ["198.51.100.10"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_hub_switches_is_simulated_from_the_next_event_on_and_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, feed) = (MemoryHub::new(Mood::Takes), Feed::default());
    let name = ScenarioName::new("ssh-bruteforce").unwrap();
    let running = Running::start(folder.path(), &hub, Some(feed.clone()));
    let simulate = [(name, true)].into();
    feed.direct(5, Directions { version: 7, simulate, ..Directions::default() });
    feed.until_directed(7).await;
    let decisions = || hub.of(EventKind::DecisionMade).len();
    attack(folder.path(), "198.51.100.7");
    until(|| decisions() == 1, || format!("{}", decisions())).await;
    running.end().await;
    let running = Running::start(folder.path(), &hub, None);
    attack(folder.path(), "198.51.100.8");
    until(|| decisions() == 2, || format!("{}", decisions())).await;
    assert_eq!(banned(&hub), [""; 0]);
    running.end().await;
    let running = Running::start(folder.path(), &hub, Some(feed.clone()));
    feed.direct(6, directions(8, Vec::new()));
    feed.until_directed(8).await;
    attack(folder.path(), "198.51.100.9");
    until(|| decisions() == 3, || format!("{}", decisions())).await;
    assert_eq!(banned(&hub), ["198.51.100.9"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_not_known_whom_the_hub_allows_nobody_is_banned() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, feed) = (MemoryHub::new(Mood::Takes), Feed::default());
    std::fs::create_dir_all(folder.path().join("data/agent")).unwrap();
    std::fs::write(folder.path().join("data/agent/directions.json"), "{\"vers").unwrap();
    let running = Running::start(folder.path(), &hub, Some(feed.clone()));
    attack(folder.path(), "198.51.100.7");
    until_alerts(&hub, 1).await;
    assert_eq!(banned(&hub), [""; 0]);
    feed.direct(5, directions(7, Vec::new()));
    feed.until_directed(7).await;
    attack(folder.path(), "198.51.100.8");
    until(|| !banned(&hub).is_empty(), || format!("{:?}", banned(&hub))).await;
    running.end().await;
}
