//! Cuts the power at random moments: the data of the running binary lies on a
//! disk that forgets what was not synced (see `disk`). After each cut the
//! process is killed, the disk mounted again with what is left, and everything
//! acknowledged must be there, once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::disk::{Disk, Leftover};
use super::load::{Load, SharedLedger, WatchedLog, lock};
use super::mount::{self, Mounted, SharedDisk};
use super::{maintain, verdict};
use crate::generate::Random;
use crate::process::{self, Process};

/// Longest life of the process under load.
const MOST_ALIVE_MS: u64 = 1_500;
/// Longest life of one that is cut off during its start.
const MOST_STARTING_MS: u64 = 200;
/// Longest time that merging goes on.
const MOST_MERGING_MS: u64 = 400;

/// How often, and from which random numbers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Seed of the cuts; what the processes do meanwhile differs each time
    #[arg(long)]
    seed: Option<u64>,
}

/// Cuts the power; what is on the disk afterwards.
fn cut(disk: &SharedDisk, leftover: Leftover, random: &mut Random) -> SharedDisk {
    let after = mount::lock(disk).cut(leftover, random);
    Arc::new(Mutex::new(after))
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    let at = home.path().join("disk");
    let data = at.join("data");
    std::fs::create_dir(&at)?;
    process::settings(home.path(), &data)?;
    let mut log = WatchedLog::new(home.path())?;
    let ledger = SharedLedger::default();
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = Random::new(seed);
    let mut disk: SharedDisk = Arc::new(Mutex::new(Disk::new()));
    let mut mounted = Mounted::new(&disk, &at)?;
    let key_file = process::key_in(home.path(), &data, "load", "ingest")?;
    let (mut merges, mut starts, mut syncs) = (0, 0, 0);
    let mut complaints = Vec::new();
    let begin = Instant::now();
    for round in 0..args.rounds {
        let leftover = if round % 3 == 0 { Leftover::Nothing } else { Leftover::Some };
        let after = match round % 10 {
            4 => {
                let mut child = process::start(home.path())?;
                tokio::time::sleep(Duration::from_millis(random.next() % MOST_STARTING_MS)).await;
                let after = cut(&disk, leftover, &mut random);
                child.kill()?;
                child.wait()?;
                starts += 1;
                after
            }
            9 => {
                let mut child = maintain::start(home.path(), &data)?;
                tokio::time::sleep(Duration::from_millis(random.next() % MOST_MERGING_MS)).await;
                let after = cut(&disk, leftover, &mut random);
                child.kill()?;
                child.wait()?;
                merges += 1;
                after
            }
            _ => {
                let palisade = Process::up(home.path())?;
                if let Some(before) = round.checked_sub(1) {
                    let complaint = verdict::of_round(home.path(), &data, &ledger, before).await?;
                    complaints.extend(complaint.inspect(|complaint| eprintln!("{complaint}")));
                }
                let load = Load::start(&palisade.url, &key_file, &ledger, round, &mut random)?;
                let alive = Duration::from_millis(20 + random.next() % MOST_ALIVE_MS);
                log.write_for(alive, &mut random).await?;
                let after = cut(&disk, leftover, &mut random);
                palisade.kill()?;
                load.end().await?;
                after
            }
        };
        mounted.unmount()?;
        syncs += mount::lock(&disk).syncs;
        disk = after;
        mounted = Mounted::new(&disk, &at)?;
        if round % 10 == 9 {
            let acknowledged = lock(&ledger).acknowledged.len();
            let bytes = mount::lock(&disk).bytes() / (1 << 20);
            eprintln!(
                "{} of {} cuts, {acknowledged} events acknowledged, {bytes} MiB",
                round + 1,
                args.rounds
            );
        }
    }
    let title = format!(
        "{} power cuts under load ({starts} while starting, {merges} while merging), {syncs} syncs, seed {seed}, {:.0} s",
        args.rounds,
        begin.elapsed().as_secs_f64()
    );
    let palisade = Process::up(home.path())?;
    let verdict = verdict::of_all(&title, home.path(), &data, &ledger, &log).await;
    palisade.kill()?;
    mounted.unmount()?;
    if verdict.is_err() || !complaints.is_empty() {
        let home = home.keep();
        eprintln!("what the processes said is in {}", home.join("log").display());
    }
    anyhow::ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    verdict
}
