//! What the agent costs its machine: the first inventory, hashing of files, an
//! audit, and memory and CPU at rest with everything switched on; and what the
//! samples of many agents cost their hub ([`agents`]).

mod agents;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use palisade_agent::audit::{Catalogue, Machine, audit};
use palisade_agent::{hash_folder, take_inventory};

use crate::process::{self, Process};
use crate::table::{number, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files that are hashed
    #[arg(long, default_value_t = 100_000)]
    files: u64,
    /// Bytes of each of them
    #[arg(long, default_value_t = 32 * 1024)]
    bytes: usize,
    /// Seconds at rest over which CPU is counted
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Agents that tell a hub; 0: none
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Seconds between two samples of an agent
    #[arg(long, default_value_t = 15)]
    every: u64,
    /// Seconds over which their samples are counted
    #[arg(long, default_value_t = 60)]
    secs: u64,
}

impl Default for Args {
    fn default() -> Self {
        Self { files: 100_000, bytes: 32 * 1024, rest: 60, agents: 10_000, every: 15, secs: 60 }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    tokio::task::block_in_place(|| at_once(args))?;
    at_rest(args).await?;
    if args.agents == 0 {
        return Ok(());
    }
    agents::run(args).await
}

/// The first inventory, an audit, hashing.
fn at_once(args: &Args) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let begun = Instant::now();
    let (events, bytes) = take_inventory(data.path());
    let inventory = begun.elapsed();
    let catalogue = Catalogue::shipped().map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
    let begun = Instant::now();
    let report = audit(&Machine::here(), &catalogue, SystemTime::now().into(), |_, _| {});
    let audited = begun.elapsed();

    let files = tempfile::tempdir_in(".")?;
    make_files(files.path(), args)?;
    // Once to have all of it in memory, once to count.
    hash_folder(files.path())?;
    let (cpu, begun) = (process::thread_cpu_seconds(), Instant::now());
    let (hashed, hashed_bytes) = hash_folder(files.path())?;
    let (cpu, wall) = (process::thread_cpu_seconds() - cpu, begun.elapsed().as_secs_f64());
    ensure!(hashed == args.files, "{hashed} files instead of {}", args.files);

    let millis = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    print(
        "The machine, at once",
        &["what", "count", "ms", "GB/s a core"],
        &[
            vec![
                format!("first inventory ({bytes} bytes)"),
                number(events as f64),
                millis(inventory),
                String::new(),
            ],
            vec![
                "audit, checks".to_owned(),
                number(report.findings.len() as f64),
                millis(audited),
                String::new(),
            ],
            vec![
                format!("SHA-256 of files of {} bytes", args.bytes),
                number(hashed as f64),
                format!("{:.0}", wall * 1e3),
                format!("{:.2}", hashed_bytes as f64 / cpu / 1e9),
            ],
        ],
    );
    Ok(())
}

fn make_files(folder: &Path, args: &Args) -> anyhow::Result<()> {
    let mut content = vec![0u8; args.bytes];
    for file in 0..args.files {
        let below = folder.join((file / 1000).to_string());
        if file.is_multiple_of(1000) {
            std::fs::create_dir(&below)?;
        }
        if let Some(head) = content.get_mut(..8) {
            head.copy_from_slice(&file.to_be_bytes());
        }
        std::fs::File::create(below.join(file.to_string()))?.write_all(&content)?;
    }
    Ok(())
}

/// `palisade agent` on the defaults, delivering to a hub.
async fn at_rest(args: &Args) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), &home.path().join("data"))?;
    let key = process::key(home.path(), "bench", "ingest")?;
    let hub = Process::up(home.path())?;
    let log = std::fs::File::create(home.path().join("agent.log"))?;
    let mut agent = Command::new(process::binary()?)
        .args(["agent", "--hub", &hub.url, "--data", "agent-data", "--key-file"])
        .arg(&key)
        .current_dir(home.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    let pid = agent.id();
    let baseline = home.path().join("agent-data/agent/integrity.ndjson");
    let begun = Instant::now();
    let mut peak = 0;
    while !baseline.exists() || begun.elapsed() < Duration::from_secs(60) {
        ensure!(begun.elapsed() < Duration::from_secs(600), "the agent makes no baseline");
        ensure!(agent.try_wait()?.is_none(), "the agent has ended; see agent.log");
        peak = peak.max(process::usage(pid)?.1);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let files = std::fs::read_to_string(&baseline)?.lines().count().saturating_sub(1);
    let (before, ..) = process::usage(pid)?;
    tokio::time::sleep(Duration::from_secs(args.rest)).await;
    let (after, resident, anonymous) = process::usage(pid).context("the agent has ended")?;
    agent.kill()?;
    agent.wait()?;
    hub.kill()?;
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1048576.0);
    print(
        "`palisade agent` at rest: samples each 15 s, inventory, audit and integrity on",
        &["files watched", "RSS MiB", "of it anonymous", "peak RSS MiB", "CPU % of a core"],
        &[vec![
            number(files as f64),
            mib(resident),
            mib(anonymous),
            mib(peak),
            format!("{:.2}", (after - before) / args.rest as f64 * 100.0),
        ]],
    );
    Ok(())
}
