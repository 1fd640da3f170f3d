//! Kills the whole process with SIGKILL at random moments while batches come in
//! through HTTP (of today and of days before, some sent twice, some again rounds
//! later) and lines through a watched log; now and then during its start, or in
//! the middle of merging days that are over. Counts in the end: nothing
//! acknowledged is missing, nothing is there twice.

use std::time::{Duration, Instant};

use super::load::{Load, SharedLedger, WatchedLog, lock};
use super::{maintain, verdict};
use crate::generate::Random;
use crate::process::{self, Process};

/// Longest life of the process under load.
const MOST_ALIVE_MS: u64 = 900;
/// Longest life of one that is killed during its start.
const MOST_STARTING_MS: u64 = 60;
/// Longest time that merging goes on.
const MOST_MERGING_MS: u64 = 500;

pub(crate) async fn run(rounds: u32) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    let data = home.path().join("data");
    process::settings(home.path(), &data)?;
    let key_file = process::key(home.path(), "load", "ingest")?;
    let mut log = WatchedLog::new(home.path())?;
    let ledger = SharedLedger::default();
    let mut random = Random::new(u64::from(std::process::id()));
    let (mut merges, mut starts) = (0, 0);
    let begin = Instant::now();
    for round in 0..rounds {
        match round % 10 {
            4 => {
                let mut child = process::start(home.path())?;
                tokio::time::sleep(Duration::from_millis(random.next() % MOST_STARTING_MS)).await;
                child.kill()?;
                child.wait()?;
                starts += 1;
            }
            9 => {
                let mut child = maintain::start(home.path(), &data)?;
                tokio::time::sleep(Duration::from_millis(random.next() % MOST_MERGING_MS)).await;
                child.kill()?;
                child.wait()?;
                merges += 1;
            }
            _ => {
                let palisade = Process::up(home.path())?;
                let load = Load::start(&palisade.url, &key_file, &ledger, round, &mut random)?;
                let alive = Duration::from_millis(20 + random.next() % MOST_ALIVE_MS);
                log.write_for(alive, &mut random).await?;
                palisade.kill()?;
                load.end().await?;
            }
        }
        if round % 20 == 19 {
            let acknowledged = lock(&ledger).acknowledged.len();
            eprintln!("{} of {rounds} kills, {acknowledged} events acknowledged", round + 1);
        }
    }
    let title = format!(
        "{rounds} times kill -9 under load ({starts} while starting, {merges} while merging), {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    let palisade = Process::up(home.path())?;
    let verdict = verdict::of_all(&title, home.path(), &data, &ledger, &log).await;
    palisade.kill()?;
    verdict
}
