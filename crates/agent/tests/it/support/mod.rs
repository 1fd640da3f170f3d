//! A hub in memory, a log that can be written to, and waiting with a deadline.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a failure is a panic, and not every test uses all of this"
)]

pub(crate) mod namespace;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_agent::{
    Agent, Config, DetectConfig, FileSource, LogFormat, SendError, SourceConfig, SpoolConfig,
    StartFrom, Uplink,
};
use palisade_event::wire::{Receipt, decode_event};
use palisade_event::{Event, EventId, EventKind, SensorId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What the hub in memory does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    Away,
    /// Takes the batch, and the answer is lost.
    TakesSilently,
    /// Refuses batches with more than so many records.
    AtMost(usize),
    /// Does not understand batches with a record that contains `poison`.
    Picky,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) events: BTreeMap<EventId, Event>,
    pub(crate) deliveries: u64,
    pub(crate) calls: u64,
    pub(crate) mood: Mood,
}

/// A hub in memory that counts by id.
#[derive(Clone, Debug)]
pub(crate) struct MemoryHub(pub(crate) Arc<Mutex<Inner>>);

impl MemoryHub {
    pub(crate) fn new(mood: Mood) -> Self {
        let inner = Inner { events: BTreeMap::new(), deliveries: 0, calls: 0, mood };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    pub(crate) fn of(&self, kind: EventKind) -> Vec<Event> {
        let inner = self.0.lock().unwrap();
        inner.events.values().filter(|event| event.kind == kind).cloned().collect()
    }

    /// How often each user name was attempted.
    pub(crate) fn users(&self) -> BTreeMap<String, u32> {
        let mut users = BTreeMap::new();
        for event in self.of(EventKind::AuthAttempted) {
            let name = event.credentials.unwrap().username.unwrap().to_string();
            *users.entry(name).or_default() += 1;
        }
        users
    }

    /// Waits until users 0 to `count` are there, and checks that each is there once.
    pub(crate) async fn has_each_once(&self, count: usize) {
        until(
            || self.users().len() >= count,
            || format!("{} of {count} users", self.users().len()),
        )
        .await;
        let users = self.users();
        assert_eq!(users.len(), count);
        for number in 0..count {
            assert_eq!(users.get(&format!("u{number}")), Some(&1), "user u{number}");
        }
    }
}

impl Uplink for MemoryHub {
    async fn send(&self, records: &[Vec<u8>]) -> Result<Receipt, SendError> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        match inner.mood {
            Mood::Away => return Err(SendError::Unreachable("away".into())),
            Mood::AtMost(most) if records.len() > most => return Err(SendError::TooLarge),
            Mood::Picky => {
                let poison = |record: &Vec<u8>| String::from_utf8_lossy(record).contains("poison");
                if records.iter().any(poison) {
                    return Err(SendError::Malformed("poison".into()));
                }
            }
            Mood::Takes | Mood::TakesSilently | Mood::AtMost(_) => {}
        }
        let mut receipt = Receipt::default();
        for record in records {
            let event = decode_event(record).unwrap();
            inner.deliveries += 1;
            match inner.events.insert(event.id, event) {
                Some(_) => receipt.duplicate += 1,
                None => receipt.accepted += 1,
            }
        }
        match inner.mood {
            Mood::TakesSilently => Err(SendError::Unreachable("answer lost".into())),
            _ => Ok(receipt),
        }
    }
}

/// Waits until something is true; fails with `what` after [`DEADLINE`].
pub(crate) async fn until(mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "waited in vain: {}", what());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The line of a failed login as user `uN`.
pub(crate) fn line(number: usize) -> String {
    format!(
        "2026-11-20T20:07:14.{:06}Z web01 sshd[{}]: Failed password for invalid user u{number} from 203.0.113.9 port 4711 ssh2\n",
        number % 1_000_000,
        number + 1
    )
}

/// Appends lines `from..to` in one write.
pub(crate) fn append(path: &Path, numbers: std::ops::Range<usize>) {
    let text: String = numbers.map(line).collect();
    append_text(path, text.as_bytes());
}

pub(crate) fn append_text(path: &Path, text: &[u8]) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text).unwrap();
}

/// A source from the start of the file.
pub(crate) fn file_source(path: &Path) -> SourceConfig {
    SourceConfig::File(FileSource {
        path: path.into(),
        parser: LogFormat::Sshd,
        zone: Some("UTC".into()),
        from: StartFrom::Start,
    })
}

pub(crate) fn config(sources: Vec<SourceConfig>) -> Config {
    let spool = SpoolConfig { max_bytes: 64 * 1024 * 1024, segment_bytes: 1024 * 1024 };
    // Tests of the way of events count all of them.
    let detect = DetectConfig { enabled: false, ..DetectConfig::default() };
    Config { sources, spool, detect, ..Config::default() }
}

/// A running agent with its end.
pub(crate) struct Running {
    pub(crate) agent: Agent,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) cancel: CancellationToken,
}

impl Running {
    /// Starts; waits while the spool is still held by an agent that crashed.
    pub(crate) async fn start(config: &Config, data: &Path, hub: impl Uplink + Clone) -> Self {
        let begun = std::time::Instant::now();
        loop {
            let (events, receiver) = mpsc::channel(16);
            let cancel = CancellationToken::new();
            let sensor = SensorId::new("test").unwrap();
            match Agent::start(config, data, sensor, hub.clone(), receiver, cancel.clone()) {
                Ok(agent) => return Self { agent, events, cancel },
                Err(error) => assert!(begun.elapsed() < DEADLINE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends in order.
    pub(crate) async fn end(self) {
        self.cancel.cancel();
        drop(self.events);
        self.agent.join().await;
    }

    /// Stops as a crash would.
    pub(crate) fn crash(self) {
        drop(self.agent);
    }
}
