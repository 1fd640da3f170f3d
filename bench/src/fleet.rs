//! From one agent's decision to all others, over HTTP: agents that wait at the
//! change feed of a hub, all on the same machine, while decisions come in.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use palisade_agent::{FeedPosition, Follow as _, HttpUplink, HubConfig, Uplink as _};
use palisade_event::{
    Change, Decision, DecisionType, EventId, ScenarioName, SensorId, Timestamp, wire,
};

use crate::process::{self, Process};
use crate::table::{number, print};

/// How often decisions are delivered.
const TICK: Duration = Duration::from_millis(20);
/// Longest wait for what is still on its way at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Agents that wait
    #[arg(long, default_value_t = 100)]
    agents: usize,
    /// Decisions a second
    #[arg(long, default_value_t = 1_000)]
    rate: usize,
    /// For so long
    #[arg(long, default_value_t = 10)]
    secs: usize,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for rate in [1, args.rate] {
        rows.push(measure(args, rate).await?);
    }
    print(
        "Decisions from one agent to all others, over HTTP on one machine",
        &[
            "agents",
            "decisions/s",
            "heard",
            "half ms",
            "99 % ms (aim 250)",
            "most ms",
            "hub CPU %",
            "hub RSS MiB",
        ],
        &rows,
    );
    Ok(())
}

async fn measure(args: &Args, rate: usize) -> anyhow::Result<Vec<String>> {
    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), &home.path().join("data"))?;
    let key_file = process::key(home.path(), "bench", "ingest")?;
    let palisade = Process::up(home.path())?;
    let hub = HubConfig { url: palisade.url.clone(), key_file, ..HubConfig::default() };
    let total = (rate * args.secs).max(1);
    let mut agents = Vec::new();
    for _ in 0..args.agents {
        let uplink = HttpUplink::new(&hub)?;
        let first = uplink.page(FeedPosition::default()).await?;
        agents.push(tokio::spawn(listen(uplink, FeedPosition::after(&first), total)));
    }
    let (cpu_before, ..) = process::usage(palisade.pid())?;
    let (begun, sender) = (Instant::now(), HttpUplink::new(&hub)?);
    let mut sent = 0;
    let mut ticks = tokio::time::interval(TICK);
    while sent < total {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as usize + 1;
        let records: Vec<Vec<u8>> =
            (sent..due.min(total)).map(decided).collect::<Result<_, _>>()?;
        if records.is_empty() {
            continue;
        }
        sent += records.len();
        let receipt = sender.send(&records).await?;
        ensure!(receipt.accepted as usize == records.len(), "{receipt:?}");
    }
    let mut heard = Vec::new();
    for agent in agents {
        heard.extend(tokio::time::timeout(PATIENCE, agent).await.context("an agent waits")???);
    }
    let took = begun.elapsed().as_secs_f64();
    let (cpu, rss, _) = process::usage(palisade.pid())?;
    palisade.kill()?;
    heard.sort_unstable();
    let at = |share: f64| {
        let place = ((heard.len() as f64 * share) as usize).min(heard.len().saturating_sub(1));
        heard.get(place).copied().unwrap_or_default().to_string()
    };
    Ok(vec![
        args.agents.to_string(),
        number(total as f64 / took.max(args.secs as f64)),
        number(heard.len() as f64),
        at(0.5),
        at(0.99),
        at(1.0),
        format!("{:.0}", (cpu - cpu_before) / took * 100.0),
        format!("{:.0}", rss as f64 / 1_048_576.0),
    ])
}

/// Hears all of them once; how long each took, in milliseconds.
async fn listen(
    hub: HttpUplink,
    mut position: FeedPosition,
    total: usize,
) -> anyhow::Result<Vec<i64>> {
    let (mut late, mut seen) = (Vec::with_capacity(total), HashSet::new());
    while late.len() < total {
        let page = hub.page(position).await?;
        ensure!(!page.reset, "an agent that listens has to begin anew");
        position = FeedPosition::after(&page);
        let now = Timestamp::from(SystemTime::now());
        for change in page.changes {
            if let Change::Made(made) = change.change {
                ensure!(seen.insert(made.decision.id), "a decision came twice");
                late.push(now.as_millis() - made.decision.from.as_millis());
            }
        }
    }
    Ok(late)
}

/// Delivers so many decisions to a hub as an agent would.
pub(crate) fn decide(hub: &HubConfig, count: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let uplink = HttpUplink::new(hub)?;
        let all: Vec<usize> = (0..count as usize).collect();
        for part in all.chunks(1_000) {
            let records: Vec<Vec<u8>> =
                part.iter().map(|n| decided(*n)).collect::<Result<_, _>>()?;
            let receipt = uplink.send(&records).await?;
            ensure!(receipt.accepted as usize == records.len(), "{receipt:?}");
        }
        Ok(())
    })
}

/// A decision of now about an address of its own.
fn decided(n: usize) -> anyhow::Result<Vec<u8>> {
    let from = Timestamp::from(SystemTime::now());
    let number = u32::try_from(n)?;
    let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 | (number & 0x00ff_ffff));
    let decision = Decision {
        id: EventId::new(from, n as u128),
        kind: DecisionType::new("ban")?,
        target: address.to_string().parse()?,
        from,
        duration_secs: 3600,
        scenario: ScenarioName::new("ssh-bruteforce")?,
        reason: "6 failed logins within 40 s".into(),
        alert: EventId::new(from, n as u128 + (1 << 40)),
        evidence: vec![EventId::new(from, n as u128 + (2 << 40)); 6],
        simulated: false,
    };
    Ok(wire::encode_event(&decision.to_event(SensorId::new("bench")?)))
}
