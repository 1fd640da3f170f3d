//! The writer on a store in memory that fails on demand.

use super::sink::Sink;
use super::*;
use crate::config::{GeoConfig, NotifyConfig};
use palisade_event::{EventId, SensorId};
use palisade_spool::{Config, Spool, WhenFull};
use palisade_store::blob::PayloadConfig;
use palisade_store::state::{State, StateConfig};
use std::collections::{BTreeSet, VecDeque};

/// A store in memory that fails on demand and never takes some events.
#[derive(Default)]
struct Fragile {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    committed: BTreeSet<EventId>,
    appended: BTreeSet<EventId>,
    poison: BTreeSet<EventId>,
    /// Outcomes of the next commits; true fails.
    failing_commits: VecDeque<bool>,
}

impl Sink for Fragile {
    fn append(&self, events: &[Arc<Event>]) -> Result<Vec<bool>, AppendError> {
        let mut held = self.held.lock().unwrap();
        if events.iter().any(|event| held.poison.contains(&event.id)) {
            held.appended.clear();
            return Err(AppendError::Failed("poison".into()));
        }
        let Held { committed, appended, .. } = &mut *held;
        Ok(events
            .iter()
            .map(|event| !committed.contains(&event.id) && appended.insert(event.id))
            .collect())
    }
    fn commit(&self) -> Result<(), AppendError> {
        let mut held = self.held.lock().unwrap();
        let appended = std::mem::take(&mut held.appended);
        if held.failing_commits.pop_front() == Some(true) {
            return Err(AppendError::Failed("no luck".into()));
        }
        held.committed.extend(appended);
        Ok(())
    }
    fn roll_back(&self) {
        self.held.lock().unwrap().appended.clear();
    }
    fn probe(&self) -> Result<(), AppendError> {
        Ok(())
    }
    fn pace(&self) -> Pace {
        Pace::EMBEDDED
    }
    fn stats(&self) -> Stats {
        Stats::default()
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    spool: Spool,
    sink: Arc<Fragile>,
    quarantine: Arc<Quarantine>,
    live: broadcast::Receiver<Shown>,
    drain: CancellationToken,
    writer: tokio::task::JoinHandle<()>,
}

fn id(n: u128) -> EventId {
    EventId::new(Timestamp::from_millis(1000), n)
}

fn record(n: u128) -> Vec<u8> {
    let sensor = SensorId::new("unit").unwrap();
    let at = Timestamp::from_millis(1000);
    wire::encode_event(&Event::new(id(n), EventKind::ConnectionOpened, at, sensor))
}

async fn bench(held: Held, records: Vec<Vec<u8>>) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.db");
    let state = State::open(&file, &StateConfig::default()).await.unwrap();
    let config = Config { segment_bytes: 1 << 20, max_bytes: 1 << 24, when_full: WhenFull::Refuse };
    let (spool, reader) = Spool::open(&dir.path().join("spool"), config).unwrap();
    spool.append(records).await.unwrap();
    let sink = Arc::new(Fragile { held: Mutex::new(held) });
    let quarantine = Arc::new(Quarantine::open(&state, 1 << 20).await.unwrap());
    let (sender, live) = broadcast::channel(64);
    let drain = CancellationToken::new();
    let waiting = dir.path().join("sensors.json");
    let sensors = Sensors::open(&state, waiting, Timestamp::from_millis(0)).await.unwrap();
    let metrics = Arc::new(Metrics::new());
    let (config, counted) = (NotifyConfig::default(), Arc::clone(&metrics));
    let cves = Cves::new(&state, &config, Arc::default(), counted, dir.path());
    let hosts = Hosts::open(&state, Arc::clone(&metrics), dir.path()).await.unwrap();
    let settings = PayloadConfig::default();
    let blobs = Payloads::open_blobs(&settings, dir.path()).unwrap();
    let payloads = Payloads::new(&state, blobs, &settings);
    let waiting = dir.path().join("decisions-waiting");
    let decisions =
        Decisions::open(&state, Arc::clone(&metrics), waiting, drain.clone()).await.unwrap();
    let parts = Parts {
        decisions: Arc::new(decisions),
        cves: Arc::new(cves),
        hosts: Arc::new(hosts),
        sink: Arc::clone(&sink),
        handover: Arc::default(),
        enricher: Arc::new(Enricher::open(&GeoConfig::default()).unwrap()),
        quarantine: Arc::clone(&quarantine),
        sensors: Arc::new(sensors),
        payloads: Arc::new(payloads),
        recent: Arc::new(Mutex::new(Recent::new(Timestamp::from_millis(0)))),
        metrics,
        health: Arc::new(Health::default()),
        live: sender,
        outlets: Arc::default(),
        feed: broadcast::channel(1).0,
        drain: drain.clone(),
    };
    let writer = tokio::spawn(Writer::new(reader, parts).run());
    Bench { _dir: dir, spool, sink, quarantine, live, drain, writer }
}

impl Bench {
    /// Waits until nothing waits, ends the writer; what was announced.
    async fn end(mut self) -> (Vec<EventId>, BTreeSet<EventId>, Arc<Quarantine>) {
        let done = async {
            while self.spool.stats().pending_records > 0 {
                sleep(Duration::from_millis(5)).await;
            }
            self.drain.cancel();
            (&mut self.writer).await.unwrap();
        };
        timeout(Duration::from_secs(30), done).await.unwrap();
        let mut announced = Vec::new();
        while let Ok(shown) = self.live.try_recv() {
            let Shown::Event(event) = shown else { panic!("events were left out") };
            announced.push(event.id);
        }
        let committed = self.sink.held.lock().unwrap().committed.clone();
        (announced, committed, self.quarantine)
    }
}

#[tokio::test]
async fn a_failed_commit_is_repeated_and_each_event_announced_once() {
    let failing = Held { failing_commits: [true, true].into(), ..Held::default() };
    let bench = bench(failing, (0..6).map(record).collect()).await;
    let (announced, committed, quarantine) = bench.end().await;
    assert_eq!(announced, (0..6).map(id).collect::<Vec<_>>());
    assert_eq!(committed.len(), 6);
    assert_eq!(quarantine.kept(), 0);
}

#[tokio::test]
async fn a_record_that_the_store_never_takes_goes_to_quarantine_alone() {
    let poisoned = Held { poison: [id(2), id(3)].into(), ..Held::default() };
    let bench = bench(poisoned, (0..6).map(record).collect()).await;
    let (announced, committed, quarantine) = bench.end().await;
    assert_eq!(committed, [0, 1, 4, 5].map(id).into());
    assert_eq!(announced.iter().copied().collect::<BTreeSet<_>>(), committed);
    assert_eq!(announced.len(), 4);
    let listed = quarantine.list(10).await.unwrap();
    assert_eq!(listed.total, 2);
    assert!(listed.records[0].reason.contains("poison"), "{listed:?}");
}

#[tokio::test]
async fn a_record_that_the_store_never_takes_goes_to_quarantine_without_neighbours() {
    let poisoned = Held { poison: [id(2)].into(), ..Held::default() };
    let bench = bench(poisoned, (0..3).map(record).collect()).await;
    let (announced, committed, quarantine) = bench.end().await;
    assert_eq!(committed, [0, 1].map(id).into());
    assert_eq!(announced, [id(0), id(1)]);
    assert_eq!(quarantine.kept(), 1);
}

#[tokio::test]
async fn a_broken_store_costs_no_record() {
    let broken = Held { failing_commits: [true; 6].into(), ..Held::default() };
    let bench = bench(broken, (0..2).map(record).collect()).await;
    let (announced, committed, quarantine) = bench.end().await;
    assert_eq!((announced.len(), committed.len(), quarantine.kept()), (2, 2, 0));
}

#[tokio::test]
async fn a_record_that_is_no_event_does_not_block_the_others() {
    let records = vec![record(0), b"rubbish".to_vec(), record(1)];
    let bench = bench(Held::default(), records).await;
    let (announced, _, quarantine) = bench.end().await;
    assert_eq!(announced, [id(0), id(1)]);
    assert_eq!(quarantine.list(1).await.unwrap().records[0].preview, "rubbish");
}
