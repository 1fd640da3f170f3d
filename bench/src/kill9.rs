//! Kills the whole process with SIGKILL at random moments while batches come in
//! through HTTP (some of them sent twice) and lines through a watched log, and
//! counts in the end: nothing acknowledged is missing, nothing is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use palisade_agent::{HttpUplink, HubConfig, Uplink as _};
use palisade_event::{Event, EventId, EventKind, SensorId, Timestamp, wire};
use tokio::process::Command;

use crate::generate::Random;
use crate::process::{self, Process};
use crate::table::print;

const SENDERS: u64 = 4;
/// Most events of one batch.
const MOST_EVENTS: u64 = 60;
/// Longest pause of a sender between two batches, so that the count in the end
/// stays in the millions.
const MOST_PAUSE_MS: u64 = 10;

pub(crate) async fn run(rounds: u32) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), &home.path().join("data"))?;
    let key_file = process::key(home.path(), "load", "ingest")?;
    let log_path = home.path().join("auth.log");
    std::fs::write(&log_path, "")?;
    let acknowledged: Arc<Mutex<BTreeSet<EventId>>> = Arc::default();
    let mut random = Random::new(u64::from(std::process::id()));
    let (mut lines, mut resent) = (0u64, 0u64);
    let begin = Instant::now();
    for round in 0..rounds {
        let palisade = Process::up(home.path())?;
        let hub = HubConfig {
            url: palisade.url.clone(),
            key_file: key_file.clone(),
            ..HubConfig::default()
        };
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let uplink = HttpUplink::new(&hub)?;
            let acknowledged = Arc::clone(&acknowledged);
            let random = Random::new(random.next() ^ sender);
            senders.push(tokio::spawn(send(uplink, acknowledged, random)));
        }
        let mut log = std::fs::File::options().append(true).open(&log_path)?;
        let alive = Duration::from_millis(20 + random.next() % 900);
        let end = Instant::now() + alive;
        while Instant::now() < end {
            for _ in 0..1 + random.next() % 50 {
                let at = jiff::Timestamp::now();
                writeln!(
                    log,
                    "{at:.6} host sshd[1]: Failed password for line{lines:08} from 198.51.100.9 port 1 ssh2"
                )?;
                lines += 1;
            }
            tokio::time::sleep(Duration::from_millis(1 + random.next() % 10)).await;
        }
        palisade.kill()?;
        for sender in senders {
            resent += sender.await?;
        }
        if round % 20 == 19 {
            let acknowledged = acknowledged.lock().map(|set| set.len()).unwrap_or(0);
            eprintln!("{} of {rounds} kills, {acknowledged} events acknowledged", round + 1);
        }
    }
    let took = begin.elapsed();
    let acknowledged = acknowledged.lock().map(|set| set.clone()).unwrap_or_default();
    let palisade = Process::up(home.path())?;
    let (stored, users) = settled(home.path(), lines).await?;
    palisade.kill()?;
    let lost = acknowledged.iter().filter(|id| !stored.contains_key(&id.to_string())).count();
    let doubled = stored.values().filter(|count| **count > 1).count();
    let lines_lost = (0..lines).filter(|n| !users.contains_key(&format!("line{n:08}"))).count();
    let lines_doubled = users.values().filter(|count| **count > 1).count();
    print(
        &format!("{rounds} times kill -9 under load, {:.0} s", took.as_secs_f64()),
        &["what", "acknowledged", "sent twice", "stored", "lost", "doubled"],
        &[
            vec![
                "events over HTTP".into(),
                acknowledged.len().to_string(),
                resent.to_string(),
                (stored.len() - users.len()).to_string(),
                lost.to_string(),
                doubled.to_string(),
            ],
            vec![
                "lines of a watched log".into(),
                lines.to_string(),
                "-".into(),
                users.len().to_string(),
                lines_lost.to_string(),
                lines_doubled.to_string(),
            ],
        ],
    );
    anyhow::ensure!(
        lost + doubled + lines_lost + lines_doubled == 0,
        "events were lost or doubled"
    );
    Ok(())
}

/// Sends batches until the hub is gone; every fourth is sent twice. Returns how
/// many events were sent again.
async fn send(
    uplink: HttpUplink,
    acknowledged: Arc<Mutex<BTreeSet<EventId>>>,
    mut random: Random,
) -> u64 {
    let mut resent = 0;
    let Ok(sensor) = SensorId::new("x") else { return 0 };
    loop {
        tokio::time::sleep(Duration::from_millis(random.next() % MOST_PAUSE_MS)).await;
        let mut ids = Vec::new();
        let mut records = Vec::new();
        for _ in 0..1 + random.next() % MOST_EVENTS {
            let at = Timestamp::from(SystemTime::now());
            let entropy = (u128::from(random.next()) << 64) | u128::from(random.next());
            let id = EventId::new(at, entropy);
            let event = Event::new(id, EventKind::ConnectionOpened, at, sensor.clone());
            records.push(wire::encode_event(&event));
            ids.push(id);
        }
        for _ in 0..if random.next().is_multiple_of(4) { 2 } else { 1 } {
            match uplink.send(&records).await {
                Ok(receipt) => {
                    let Ok(mut acknowledged) = acknowledged.lock() else { return resent };
                    if (receipt.accepted + receipt.duplicate) as usize == ids.len() {
                        resent += u64::from(receipt.duplicate);
                        acknowledged.extend(ids.iter().copied());
                    }
                }
                Err(_) => return resent,
            }
        }
    }
}

/// Everything stored, once the log has been read to its end: how often each id
/// and each user name of the log is there.
async fn settled(
    home: &std::path::Path,
    lines: u64,
) -> anyhow::Result<(BTreeMap<String, u32>, BTreeMap<String, u32>)> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = 0;
    loop {
        let output = Command::new(process::binary()?)
            .args(["query", "--data", "data", "--count", "user:line*"])
            .current_dir(home)
            .output()
            .await?;
        let count = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().unwrap_or(0);
        if (count >= lines && count == last) || Instant::now() > deadline {
            break;
        }
        last = count;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let output = Command::new(process::binary()?)
        .args(["query", "--data", "data", "--format", "json", "--limit", "10000000", ""])
        .current_dir(home)
        .output()
        .await?;
    let (mut ids, mut users) = (BTreeMap::new(), BTreeMap::new());
    for line in String::from_utf8(output.stdout)?.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        let id = event.get("id").and_then(serde_json::Value::as_str).context("no id")?;
        *ids.entry(id.to_owned()).or_insert(0) += 1;
        if let Some(user) = event.pointer("/credentials/username").and_then(|user| user.as_str()) {
            *users.entry(user.to_owned()).or_insert(0) += 1;
        }
    }
    Ok((ids, users))
}
