//! From a line in a log of one host to the first packet dropped on another:
//! three network namespaces with wires between them, real packets, the real
//! binary as hub and as two agents.
//!
//! ```text
//!  attacker 198.18.0.0/15 ── 10.79.2.0/24 ── host B: agent, nftables
//!                                              │ 10.79.1.0/24
//!                                            host A: agent (a log), hub
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "waits for other processes, and sends at a steady rate"
)]

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use palisade_agent::HubConfig;
use palisade_event::Timestamp;

use crate::process;
use crate::table::{number, print};

const INSIDE: &str = "PALISADE_BENCH_INSIDE_NAMESPACE";
const HUB: &str = "10.79.1.1:18443";
const TARGET: &str = "10.79.2.2:9";
/// Time between two packets of an attacker: how exact the figures are.
const TICK: Duration = Duration::from_micros(500);
/// Nothing of an attacker has come for so long: it is kept out.
const SILENCE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Attackers, one after the other
    #[arg(long, default_value_t = 1_000)]
    bans: u32,
    /// Bans that are held by agent B at last, for its memory
    #[arg(long, default_value_t = 100_000)]
    held: u32,
}

/// A network namespace, kept by a process that sleeps in it.
struct Host(Child);

impl Host {
    fn new() -> anyhow::Result<Self> {
        let child = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn()?;
        let host = Self(child);
        let ours = fs::read_link("/proc/self/ns/net")?;
        let begun = Instant::now();
        while fs::read_link(host.path()).is_ok_and(|theirs| theirs == ours) {
            ensure!(begun.elapsed() < PATIENCE, "no network namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        host.sh("ip link set lo up")?;
        Ok(host)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    fn sh(&self, line: &str) -> anyhow::Result<()> {
        let status = self.command(Path::new("sh")).args(["-c", line]).status()?;
        ensure!(status.success(), "{line}: {status}");
        Ok(())
    }

    /// A socket of this host, whatever host the calling thread is in afterwards.
    fn socket(&self, address: &str) -> anyhow::Result<UdpSocket> {
        let (path, address) = (self.path(), address.to_owned());
        let made = std::thread::spawn(move || {
            let space = fs::File::open(path)?;
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(space.as_fd(), kind)?;
            UdpSocket::bind(address)
        });
        Ok(made.join().map_err(|_| anyhow::anyhow!("no thread"))??)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sh(line: &str) -> anyhow::Result<()> {
    let status = Command::new("sh").args(["-c", line]).status()?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// A process that is ended with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command, home: &Path, role: &str) -> anyhow::Result<Running> {
    let log = fs::File::create(home.join(format!("{role}.log")))?;
    let out = fs::File::create(home.join(format!("{role}.out")))?;
    let config = home.join(format!("{role}.toml"));
    let verb = if role == "hub" { "hub" } else { "agent" };
    let child = command
        .args([verb, "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(log)
        .spawn()?;
    let running = Running(child);
    let begun = Instant::now();
    while !fs::read_to_string(home.join(format!("{role}.out")))?.contains("ready") {
        let log = || fs::read_to_string(home.join(format!("{role}.log"))).unwrap_or_default();
        ensure!(begun.elapsed() < PATIENCE, "{role} does not start:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

fn write_hub(home: &Path) -> anyhow::Result<()> {
    let at = home.display();
    let hub = format!(
        "data = \"{at}/hub\"\nsensor = \"hub\"\n[log]\nfilter = \"warn\"\n[[api.listeners]]\naddress = \"{HUB}\"\n"
    );
    Ok(fs::write(home.join("hub.toml"), hub)?)
}

/// Settings of both agents, which trust the hub by its certificate.
fn write_agents(home: &Path) -> anyhow::Result<HubConfig> {
    let at = home.display();
    let printed = fs::read_to_string(home.join("hub.out"))?;
    let pin = printed.lines().find_map(|line| line.split("SHA-256 ").nth(1));
    let pin = pin.context("the hub prints no fingerprint")?.trim().to_owned();
    let source =
        format!("[[agent.sources]]\ntype = \"file\"\npath = \"{at}/auth.log\"\nfrom = \"start\"\n");
    for (role, method, source) in
        [("host-a", "dry-run", source), ("host-b", "nftables", String::new())]
    {
        let text = format!(
            "data = \"{at}/{role}\"\nsensor = \"{role}\"\n[log]\nfilter = \"warn\"\n[agent.hub]\nurl = \"https://{HUB}\"\nkey_file = \"{at}/{role}.key\"\npin = \"{pin}\"\n[agent.enforce]\nmethod = \"{method}\"\n{source}"
        );
        fs::write(home.join(format!("{role}.toml")), text)?;
        let key = process::key_in(home, &home.join("hub"), role, "ingest")?;
        fs::rename(key, home.join(format!("{role}.key")))?;
    }
    fs::write(home.join("auth.log"), "")?;
    Ok(HubConfig {
        url: format!("https://{HUB}"),
        key_file: home.join("host-a.key"),
        pin: Some(pin),
        ..HubConfig::default()
    })
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let status = Command::new("unshare")
            .args(["--map-root-user", "--net"])
            .arg(std::env::current_exe()?)
            .args(["across", "--bans", &args.bans.to_string(), "--held", &args.held.to_string()])
            .env(INSIDE, "1")
            .status()
            .context("unshare")?;
        ensure!(status.success(), "in its namespace: {status}");
        return Ok(());
    }
    sh("ip link set lo up")?;
    let (b, attacker) = (Host::new()?, Host::new()?);
    let (b_id, attacker_id) = (b.0.id(), attacker.0.id());
    sh(&format!("ip link add a-b type veth peer name b-a netns {b_id}"))?;
    sh("ip addr add 10.79.1.1/24 dev a-b; ip link set a-b up")?;
    b.sh(&format!("ip addr add 10.79.1.2/24 dev b-a; ip link set b-a up; ip link add b-x type veth peer name x-b netns {attacker_id}; ip addr add 10.79.2.2/24 dev b-x; ip link set b-x up"))?;
    attacker.sh("ip addr add 10.79.2.1/24 dev x-b; ip link set x-b up; ip route add local 198.18.0.0/15 dev lo")?;
    b.sh("ip route add 198.18.0.0/15 via 10.79.2.1")?;

    let folder = tempfile::tempdir_in(".")?;
    let home = folder.path().canonicalize()?;
    write_hub(&home)?;
    let palisade = process::binary()?;
    let _hub = start(Command::new(&palisade), &home, "hub")?;
    let uplink = write_agents(&home)?;
    let _a = start(Command::new(&palisade), &home, "host-a")?;
    let agent_b = start(b.command(&palisade), &home, "host-b")?;
    let (_, idle, _) = process::usage(agent_b.0.id())?;

    let received = receive(b.socket(TARGET)?)?;
    let mut log = fs::File::options().append(true).open(home.join("auth.log"))?;
    let mut all = Vec::new();
    for n in 0..args.bans {
        // In 512 networks of 256: many of one network would have it banned as a whole.
        let address = Ipv4Addr::from_bits(0xC612_0001 + ((n % 512) << 8) + n / 512);
        all.push(one(&attacker, address, &mut log, &received)?);
        if (n + 1).is_multiple_of(100) {
            eprintln!("{} of {} bans", n + 1, args.bans);
        }
    }
    all.sort_unstable();
    let at = |share: f64| {
        let place = ((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1));
        format!("{:.1}", all.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3)
    };
    print(
        &format!(
            "From a line in the log of host A to the first packet dropped on host B, {} attackers, real packets in three network namespaces",
            number(f64::from(args.bans))
        ),
        &["half ms", "90 % ms", "99 % ms (aim 250)", "most ms"],
        &[vec![at(0.5), at(0.9), at(0.99), at(1.0)]],
    );
    held(&uplink, &agent_b, &b, args.held, idle)
}

/// What host B has received of the attacker of now: who (its last 16 bits), and
/// the number of the last packet.
#[derive(Default)]
struct Received {
    who: AtomicU32,
    last: AtomicU64,
}

fn receive(socket: UdpSocket) -> anyhow::Result<Arc<Received>> {
    let received = Arc::new(Received::default());
    let seen = Arc::clone(&received);
    std::thread::Builder::new().name("receive".into()).spawn(move || {
        let mut packet = [0; 8];
        while let Ok((8, SocketAddr::V4(from))) = socket.recv_from(&mut packet) {
            if from.ip().to_bits() == seen.who.load(Ordering::Relaxed) {
                seen.last.fetch_max(u64::from_be_bytes(packet), Ordering::Relaxed);
            }
        }
    })?;
    Ok(received)
}

/// One attacker who sends packets to B and fails on A: the time from the line in
/// A's log to the first packet that B does not get.
fn one(
    attacker: &Host,
    address: Ipv4Addr,
    log: &mut fs::File,
    received: &Received,
) -> anyhow::Result<Duration> {
    let socket = attacker.socket(&format!("{address}:0"))?;
    received.who.store(address.to_bits(), Ordering::Relaxed);
    received.last.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    // When each packet left; its number is its place, from 1 on.
    let mut sent: Vec<Instant> = Vec::new();
    let (mut written, mut last, mut last_at) = (None, 0, Instant::now());
    loop {
        sent.push(Instant::now());
        socket.send_to(&(sent.len() as u64).to_be_bytes(), TARGET)?;
        std::thread::sleep(TICK);
        let now = received.last.load(Ordering::Relaxed);
        if now > last {
            (last, last_at) = (now, Instant::now());
        }
        if written.is_none() && last >= 3 {
            let at = Timestamp::from(SystemTime::now());
            let line =
                format!("{at} web sshd[9]: Failed password for root from {address} port 1 ssh2\n");
            let lines = line.repeat(8);
            written = Some(Instant::now());
            log.write_all(lines.as_bytes())?;
        }
        ensure!(begun.elapsed() < PATIENCE, "{address} is not kept out");
        if let Some(written) = written
            && last_at.elapsed() > SILENCE
        {
            // The first that was dropped is the one after the last that came.
            let dropped = sent.get(usize::try_from(last)?).context("no packet was dropped")?;
            return Ok(dropped.saturating_duration_since(written));
        }
    }
}

/// Orders many bans and tells the memory of the agent that holds them.
fn held(hub: &HubConfig, agent: &Running, b: &Host, most: u32, idle: u64) -> anyhow::Result<()> {
    if most == 0 {
        return Ok(());
    }
    let begun = Instant::now();
    crate::fleet::decide(hub, most)?;
    let in_kernel = || -> anyhow::Result<usize> {
        let listed = b
            .command(Path::new("nft"))
            .args(["list", "set", "inet", "palisade", "ban4"])
            .output()?;
        Ok(String::from_utf8_lossy(&listed.stdout).matches(" expires ").count())
    };
    while in_kernel()? < most as usize {
        if begun.elapsed() > 3 * PATIENCE {
            bail!("{} of {most} bans are in the kernel", in_kernel()?);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let took = begun.elapsed().as_secs_f64();
    // Long enough for what the agent saves and compares from time to time.
    std::thread::sleep(Duration::from_secs(70));
    let (_, now, _) = process::usage(agent.0.id())?;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    print(
        "Memory of an agent that holds bans of the hub",
        &["bans", "in the kernel after s", "RSS MiB (aim 40)", "most it ever had", "before MiB"],
        &[vec![
            number(f64::from(most)),
            format!("{took:.1}"),
            mb(now),
            peak.trim().to_owned(),
            mb(idle),
        ]],
    );
    Ok(())
}
