//! What is in the store in the end, held against what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_event::EventId;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::load::{Ledger, SharedLedger, WatchedLog, lock};
use crate::process;
use crate::table::print;

/// How long everything acknowledged may take to be found.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a query found: how often each id and each user name of the log is there.
#[derive(Default)]
pub(super) struct Found {
    ids: BTreeMap<EventId, u32>,
    users: BTreeMap<String, u32>,
}

/// Asks the running hub.
pub(super) async fn find(home: &Path, data: &Path, text: &str) -> anyhow::Result<Found> {
    let mut child = Command::new(process::binary()?)
        .args(["query", "--format", "json", "--limit", "100000000", "--data"])
        .arg(data)
        .arg(text)
        .current_dir(home)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut found = Found::default();
    let out = child.stdout.take().context("no output")?;
    let mut lines = BufReader::new(out).lines();
    while let Some(line) = lines.next_line().await? {
        let event: serde_json::Value = serde_json::from_str(&line)?;
        let id = event.get("id").and_then(serde_json::Value::as_str).context("no id")?;
        *found.ids.entry(id.parse()?).or_insert(0) += 1;
        if let Some(user) = event.pointer("/credentials/username").and_then(|user| user.as_str()) {
            *found.users.entry(user.to_owned()).or_insert(0) += 1;
        }
    }
    let output = child.wait_with_output().await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(found)
}

/// How often each session is there.
pub(super) async fn sessions(
    home: &Path,
    data: &Path,
    text: &str,
) -> anyhow::Result<BTreeMap<String, u32>> {
    let output = Command::new(process::binary()?)
        .args(["query", "--format", "json", "--limit", "100000000", "--data"])
        .arg(data)
        .arg(text)
        .current_dir(home)
        .output()
        .await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        let session = event.get("session").and_then(serde_json::Value::as_str);
        *found.entry(session.context("no session")?.to_owned()).or_insert(0) += 1;
    }
    Ok(found)
}

async fn count(home: &Path, data: &Path, text: &str) -> anyhow::Result<u64> {
    let output = Command::new(process::binary()?)
        .args(["query", "--count", "--data"])
        .arg(data)
        .arg(text)
        .current_dir(home)
        .output()
        .await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0))
}

/// How often each decision is among the bans.
async fn banned(home: &Path, data: &Path) -> anyhow::Result<BTreeMap<EventId, u32>> {
    let output = Command::new(process::binary()?)
        .args(["bans", "--format", "json", "--data"])
        .arg(data)
        .current_dir(home)
        .output()
        .await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut found = BTreeMap::new();
    for decision in listed.get("decisions").and_then(|all| all.as_array()).into_iter().flatten() {
        let id = decision.get("id").and_then(serde_json::Value::as_str).context("no id")?;
        *found.entry(id.parse()?).or_insert(0) += 1;
    }
    Ok(found)
}

/// Whether everything that this round acknowledged is there, once; else a
/// sentence that says what is not.
pub(super) async fn of_round(
    home: &Path,
    data: &Path,
    ledger: &SharedLedger,
    round: u32,
) -> anyhow::Result<Option<String>> {
    let wanted = lock(ledger).of_round(round);
    if wanted.is_empty() {
        return Ok(None);
    }
    let text = format!("session:round-{round}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What waits in the spool is stored a moment after the start.
        let enough = count(home, data, &text).await? >= wanted.len() as u64;
        if enough || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let found = find(home, data, &text).await?;
    let lost = wanted.iter().filter(|id| !found.ids.contains_key(id)).count();
    let doubled = found.ids.values().filter(|count| **count > 1).count();
    Ok((lost + doubled > 0).then(|| {
        format!(
            "round {round}: {lost} of {} acknowledged events lost, {doubled} doubled",
            wanted.len()
        )
    }))
}

/// Counts everything, prints the table, fails where something is lost or double.
pub(super) async fn of_all(
    title: &str,
    home: &Path,
    data: &Path,
    ledger: &SharedLedger,
    log: &WatchedLog,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = 0;
    loop {
        let lines = count(home, data, "user:line*").await?;
        if (lines >= log.lines && lines == last) || Instant::now() > deadline {
            break;
        }
        last = lines;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let found = find(home, data, "").await?;
    let banned = banned(home, data).await?;
    let ledger = lock(ledger);
    let Ledger { acknowledged, resent, decided, .. } = &*ledger;
    let bans_lost = decided.iter().filter(|id| !banned.contains_key(id)).count();
    let bans_doubled = banned.values().filter(|count| **count > 1).count();
    let lost = acknowledged.keys().filter(|id| !found.ids.contains_key(id)).count();
    let doubled = found.ids.values().filter(|count| **count > 1).count();
    let line = |n: u64| format!("line{n:08}");
    let lines_lost = (0..log.lines).filter(|n| !found.users.contains_key(&line(*n))).count();
    let lines_doubled = found.users.values().filter(|count| **count > 1).count();
    print(
        title,
        &["what", "acknowledged", "sent twice", "stored", "lost", "doubled"],
        &[
            vec![
                "events over HTTP".into(),
                acknowledged.len().to_string(),
                resent.to_string(),
                (found.ids.len() - found.users.len()).to_string(),
                lost.to_string(),
                doubled.to_string(),
            ],
            vec![
                "lines of a watched log".into(),
                log.lines.to_string(),
                "-".into(),
                found.users.len().to_string(),
                lines_lost.to_string(),
                lines_doubled.to_string(),
            ],
            vec![
                "decisions among them, in force".into(),
                decided.len().to_string(),
                "-".into(),
                banned.len().to_string(),
                bans_lost.to_string(),
                bans_doubled.to_string(),
            ],
        ],
    );
    anyhow::ensure!(
        lost + doubled + lines_lost + lines_doubled + bans_lost + bans_doubled == 0,
        "events were lost or doubled"
    );
    Ok(())
}
