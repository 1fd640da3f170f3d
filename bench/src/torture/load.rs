//! Senders over HTTP and a watched log, and the ledger of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use palisade_agent::{HttpUplink, HubConfig, Uplink as _};
use palisade_event::{
    Decision, DecisionTarget, DecisionType, Event, EventId, EventKind, ScenarioName, SensorId,
    SessionId, Timestamp, wire,
};

use crate::generate::Random;

const SENDERS: u64 = 4;
/// Most events of one batch.
const MOST_EVENTS: u64 = 60;
/// Longest pause of a sender between two batches, so that the count in the end
/// stays in the millions.
const MOST_PAUSE_MS: u64 = 10;
/// Batches of earlier rounds that may be sent again.
const KEPT_BATCHES: usize = 400;
/// Days back that events may have.
const DAYS_BACK: u64 = 5;
const DAY_MS: i64 = 86_400_000;

/// One batch in so many has a decision.
const DECIDED_IN: u64 = 8;

type Batch = (Vec<EventId>, Vec<Vec<u8>>);

/// What was acknowledged.
#[derive(Default)]
pub(super) struct Ledger {
    /// With the round of the first acknowledgement.
    pub(super) acknowledged: BTreeMap<EventId, u32>,
    /// Those of them that are decisions: somebody is banned from then on.
    pub(super) decided: BTreeSet<EventId>,
    /// Receipts that said "I have that already".
    pub(super) resent: u64,
    kept: Vec<Batch>,
}

/// The ledger, shared by the senders.
pub(super) type SharedLedger = Arc<Mutex<Ledger>>;

/// Locks it.
pub(super) fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Ids acknowledged first in this round.
    pub(super) fn of_round(&self, round: u32) -> BTreeSet<EventId> {
        self.acknowledged
            .iter()
            .filter(|(_, in_round)| **in_round == round)
            .map(|(id, _)| *id)
            .collect()
    }

    fn keep(&mut self, batch: Batch, random: &mut Random) {
        if self.kept.len() < KEPT_BATCHES {
            self.kept.push(batch);
        } else if let Some(place) =
            self.kept.get_mut((random.next() % KEPT_BATCHES as u64) as usize)
        {
            *place = batch;
        }
    }
}

/// The senders of one round.
pub(super) struct Load {
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Starts them.
    pub(super) fn start(
        url: &str,
        key_file: &Path,
        ledger: &SharedLedger,
        round: u32,
        random: &mut Random,
    ) -> anyhow::Result<Self> {
        let hub = HubConfig {
            url: url.to_owned(),
            key_file: key_file.to_owned(),
            ..HubConfig::default()
        };
        let mut tasks = Vec::new();
        for sender in 0..SENDERS {
            let uplink = HttpUplink::new(&hub)?;
            let random = Random::new(random.next() ^ sender);
            tasks.push(tokio::spawn(send(uplink, Arc::clone(ledger), random, round)));
        }
        Ok(Self { tasks })
    }

    /// Waits for their end, which comes with the hub's.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

fn batch(random: &mut Random, round: u32) -> Option<Batch> {
    let sensor = SensorId::new("x").ok()?;
    let session = SessionId::new(&format!("round-{round}")).ok();
    let back = if random.next() % 10 < 3 { 1 + random.next() % DAYS_BACK } else { 0 };
    let at = Timestamp::from(SystemTime::now()).plus_millis(-(back as i64) * DAY_MS);
    let mut ids = Vec::new();
    let mut records = Vec::new();
    for _ in 0..1 + random.next() % MOST_EVENTS {
        let entropy = u128::from(random.next()) << 64 | u128::from(random.next());
        let id = EventId::new(at, entropy & !DECIDED);
        let mut event = Event::new(id, EventKind::ConnectionOpened, at, sensor.clone());
        event.session.clone_from(&session);
        records.push(wire::encode_event(&event));
        ids.push(id);
    }
    if random.next().is_multiple_of(DECIDED_IN) {
        let at = Timestamp::from(SystemTime::now());
        let mut event = decision(random, at)?.to_event(sensor);
        event.session = session;
        records.push(wire::encode_event(&event));
        ids.push(event.id);
    }
    Some((ids, records))
}

/// What makes the id of a decision known in the ledger: the last bits are ones.
const DECIDED: u128 = 0xffff;

/// A ban of somebody in 2001:db8::/32.
fn decision(random: &mut Random, at: Timestamp) -> Option<Decision> {
    let entropy = u128::from(random.next()) << 16;
    let bits = 0x2001_0db8 << 96 | (entropy >> 16);
    Some(Decision {
        id: EventId::new(at, entropy | DECIDED),
        kind: DecisionType::new("ban").ok()?,
        target: DecisionTarget::Ip(Ipv6Addr::from_bits(bits).into()),
        from: at,
        duration_secs: 86_400,
        scenario: ScenarioName::new("torture").ok()?,
        reason: "kill -9".into(),
        alert: EventId::new(at, entropy),
        evidence: Vec::new(),
        simulated: false,
    })
}

/// Sends batches until the hub is gone; every fourth is sent twice, and now and
/// then one of an earlier round comes again.
async fn send(uplink: HttpUplink, ledger: SharedLedger, mut random: Random, round: u32) {
    loop {
        tokio::time::sleep(Duration::from_millis(random.next() % MOST_PAUSE_MS)).await;
        let old = (random.next().is_multiple_of(8))
            .then(|| {
                let ledger = lock(&ledger);
                let at = random.next() % (ledger.kept.len() as u64).max(1);
                ledger.kept.get(at as usize).cloned()
            })
            .flatten();
        let fresh = old.is_none();
        let Some((ids, records)) = old.or_else(|| batch(&mut random, round)) else { return };
        for _ in 0..if random.next().is_multiple_of(4) { 2 } else { 1 } {
            let Ok(receipt) = uplink.send(&records).await else { return };
            if (receipt.accepted + receipt.duplicate) as usize == ids.len() {
                let mut ledger = lock(&ledger);
                ledger.resent += u64::from(receipt.duplicate);
                for id in &ids {
                    ledger.acknowledged.entry(*id).or_insert(round);
                    if id.as_u128() & DECIDED == DECIDED {
                        ledger.decided.insert(*id);
                    }
                }
            }
        }
        if fresh && random.next().is_multiple_of(16) {
            lock(&ledger).keep((ids, records), &mut random);
        }
    }
}

/// A log that the agent watches.
pub(super) struct WatchedLog {
    path: PathBuf,
    /// Lines written.
    pub(super) lines: u64,
}

impl WatchedLog {
    pub(super) fn new(home: &Path) -> anyhow::Result<Self> {
        let path = home.join("auth.log");
        std::fs::write(&path, "")?;
        Ok(Self { path, lines: 0 })
    }

    /// Writes lines for so long.
    pub(super) async fn write_for(
        &mut self,
        time: Duration,
        random: &mut Random,
    ) -> anyhow::Result<()> {
        let mut log = std::fs::File::options().append(true).open(&self.path)?;
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..1 + random.next() % 50 {
                let at = jiff::Timestamp::now();
                let number = self.lines;
                writeln!(
                    log,
                    "{at:.6} host sshd[1]: Failed password for line{number:08} from 198.51.100.9 port 1 ssh2"
                )?;
                self.lines += 1;
            }
            tokio::time::sleep(Duration::from_millis(1 + random.next() % 10)).await;
        }
        Ok(())
    }
}
