//! Bans in the kernel: from an event to a set of nftables, in a network
//! namespace of its own. The real agent: detection, spool, enforcement.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use palisade_agent::{Agent, Config, EnforceConfig, Method, Metrics, SendError, Uplink};
use palisade_event::wire::Receipt;
use palisade_event::{Endpoint, Event, EventId, EventKind, SensorId, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::process;
use crate::table::{number, print};

const INSIDE: &str = "PALISADE_BENCH_INSIDE_NAMESPACE";
/// Single bans whose time is taken.
const SINGLE: u32 = 200;
const AT_ONCE: u32 = 10_000;
const HELD: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// A hub that takes everything.
#[derive(Clone)]
struct Sink;

impl Uplink for Sink {
    async fn send(&self, records: &[Vec<u8>]) -> Result<Receipt, SendError> {
        Ok(Receipt {
            accepted: u32::try_from(records.len()).unwrap_or(u32::MAX),
            ..Receipt::default()
        })
    }
}

/// Someone touches a honeypot, which is enough for a ban.
fn touch(number: u32) -> anyhow::Result<Event> {
    let at = Timestamp::from(SystemTime::now());
    let id = EventId::new(at, u128::from(number) + 1);
    let mut event = Event::new(id, EventKind::ConnectionOpened, at, SensorId::new("bench")?);
    // 198.18.0.0/15 is for benchmarks (RFC 2544).
    let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
    event.source = Some(Endpoint::address(address.into()));
    Ok(event)
}

struct Bench {
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    sent: u32,
}

impl Bench {
    /// Sends touches and waits until all of them are in the kernel.
    async fn ban(&mut self, count: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for number in self.sent..self.sent + count {
            self.events.send(touch(number)?).await?;
        }
        self.sent += count;
        // Counted when nft has said that its transaction is done; that all of them
        // are there is seen at the end.
        while self.metrics.enforce_changes.get() < u64::from(self.sent) {
            ensure!(begun.elapsed() < PATIENCE, "not all of {} are banned", self.sent);
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(begun.elapsed())
    }
}

pub(crate) async fn run() -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let status = Command::new("unshare")
            .args(["--map-root-user", "--net"])
            .arg(std::env::current_exe()?)
            .arg("enforce")
            .env(INSIDE, "1")
            .status()
            .context("unshare")?;
        ensure!(status.success(), "in its namespace: {status}");
        return Ok(());
    }
    let home = tempfile::tempdir_in(".")?;
    let enforce = EnforceConfig { method: Method::Nftables, ..EnforceConfig::default() };
    let config = Config { enforce, ..Config::default() };
    let (events, receiver) = mpsc::channel(1024);
    let cancel = CancellationToken::new();
    let sensor = SensorId::new("bench")?;
    let agent = Agent::start(&config, home.path(), sensor, Sink, receiver, cancel.clone())?;
    let mut bench = Bench { events, metrics: agent.metrics(), sent: 0 };
    bench.ban(1).await?;
    let (_, idle, _) = process::usage(std::process::id())?;
    let mut rows = Vec::new();
    let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let mut single = singles(&mut bench).await?;
    rows.push(vec!["one ban, p50".into(), millis(quantile(&mut single, 0.5)), String::new()]);
    rows.push(vec!["one ban, p99".into(), millis(quantile(&mut single, 0.99)), String::new()]);
    let at_once = bench.ban(AT_ONCE).await?;
    rows.push(vec![
        format!("{} at once", number(f64::from(AT_ONCE))),
        millis(at_once),
        "1000".into(),
    ]);
    bench.ban(HELD - bench.sent).await?;
    let in_kernel = in_kernel()?;
    ensure!(in_kernel == HELD as usize, "{in_kernel} of {HELD} are in the kernel");
    let mut single = singles(&mut bench).await?;
    let held = number(f64::from(HELD));
    rows.push(vec![
        format!("one more of {held}, p50"),
        millis(quantile(&mut single, 0.5)),
        String::new(),
    ]);
    rows.push(vec![
        format!("one more of {held}, p99"),
        millis(quantile(&mut single, 0.99)),
        String::new(),
    ]);
    let (_, full, _) = process::usage(std::process::id())?;
    print(
        &format!(
            "Bans, from the event to the kernel's set (agent with detection and spool; memory {:.1} MB with {held} bans, {:.1} with one)",
            full as f64 / 1048576.0,
            idle as f64 / 1048576.0
        ),
        &["what", "ms", "aim"],
        &rows,
    );
    cancel.cancel();
    drop(bench);
    agent.join().await;
    Ok(())
}

/// How many addresses are in the kernel's set, as nft lists them.
fn in_kernel() -> anyhow::Result<usize> {
    let output = Command::new("nft").args(["list", "set", "inet", "palisade", "ban4"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).matches(" expires ").count())
}

async fn singles(bench: &mut Bench) -> anyhow::Result<Vec<Duration>> {
    let mut all = Vec::new();
    for _ in 0..SINGLE {
        all.push(bench.ban(1).await?);
    }
    Ok(all)
}

fn quantile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let rank = (share * samples.len() as f64).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
