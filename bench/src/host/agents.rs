//! The samples of thousands of agents at one hub, by the agents' own client: each
//! has its key and its connections, by TLS, and tells every so many seconds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use palisade_agent::{HttpUplink, HubConfig, Uplink as _};
use palisade_event::{AttributeValue, Event, EventId, EventKind, HostName, SensorId, wire};

use super::Args;
use crate::process::{self, Process};
use crate::table::{number, print};

/// Keys that are made at a time.
const KEYS_AT_ONCE: usize = 32;

/// What an agent saw.
struct Seen {
    millis: Vec<f64>,
    failed: u64,
    told: u64,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    crate::honeypot::raise_files()?;
    let home = tempfile::tempdir_in(".")?;
    write_settings(home.path(), args.agents)?;
    let admin = process::key(home.path(), "bench", "admin")?;
    let hub = Process::up(home.path())?;
    let https = hub.https.clone().context("the hub has no TLS listener")?;
    let keys = make_keys(home.path(), &hub.url, &admin, args.agents).await?;
    let every = Duration::from_secs(args.every.max(1));
    // A first round in which all connect and become known, then those that count.
    let begun = Instant::now();
    let (from, until) = (begun + every, begun + every + Duration::from_secs(args.secs));
    let mut agents = Vec::with_capacity(args.agents);
    for (place, key_file) in keys.into_iter().enumerate() {
        let config = HubConfig {
            url: https.url.clone(),
            key_file,
            pin: Some(https.pin.clone()),
            ..HubConfig::default()
        };
        let first = begun + every.mul_f64(place as f64 / args.agents as f64);
        agents.push(tokio::spawn(agent(place, config, (first, every), (from, until))));
    }
    tokio::time::sleep_until(from.into()).await;
    let (before, ..) = process::usage(hub.pid())?;
    tokio::time::sleep_until(until.into()).await;
    let (after, resident, _) = process::usage(hub.pid())?;
    let (mut millis, mut failed) = (Vec::new(), 0);
    for agent in agents {
        let seen = agent.await??;
        millis.extend(seen.millis);
        failed += seen.failed;
    }
    let hosts = hosts(&hub.url, &admin)?;
    hub.kill()?;
    ensure!(!millis.is_empty(), "no sample was taken");
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = ((millis.len() as f64 * share) as usize).min(millis.len() - 1);
        format!("{:.0}", millis.get(place).copied().unwrap_or_default())
    };
    print(
        &format!("Samples of {} agents each {} s at one hub, by TLS", args.agents, args.every),
        &[
            "samples/s",
            "not taken",
            "half ms",
            "99 % ms",
            "most ms",
            "hub CPU % of a core",
            "hub RSS MiB",
            "hosts shown",
        ],
        &[vec![
            number(millis.len() as f64 / args.secs as f64),
            failed.to_string(),
            at(0.5),
            at(0.99),
            at(1.0),
            format!("{:.0}", (after - before) / args.secs as f64 * 100.0),
            format!("{:.0}", resident as f64 / 1_048_576.0),
            number(hosts as f64),
        ]],
    );
    Ok(())
}

/// Tells a sample every so often; what falls between the two instants counts.
async fn agent(
    place: usize,
    config: HubConfig,
    (mut next, every): (Instant, Duration),
    (from, until): (Instant, Instant),
) -> anyhow::Result<Seen> {
    let uplink = HttpUplink::new(&config)?;
    let name = HostName::new(&format!("host-{place}"))?;
    let mut seen = Seen { millis: Vec::new(), failed: 0, told: 0 };
    while next < until {
        tokio::time::sleep_until(next.into()).await;
        let record = wire::encode_event(&sample(&name, place, seen.told)?);
        let begun = Instant::now();
        let sent = uplink.send(&[record]).await;
        if next >= from {
            match sent {
                Ok(receipt) if receipt.accepted == 1 => {
                    seen.millis.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                _ => seen.failed += 1,
            }
        }
        seen.told += 1;
        next += every;
    }
    Ok(seen)
}

/// What an agent says each time, with all numbers that it has.
fn sample(name: &HostName, place: usize, told: u64) -> anyhow::Result<Event> {
    let now = SystemTime::now().into();
    let number = (u64::try_from(place)? << 24) + told;
    let id = EventId::new(now, number.into());
    // Another number each time, as of a machine that works.
    let drawn = |salt: usize| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(salt as u32);
    let mut event = Event::new(id, EventKind::HostSampled, now, SensorId::new("bench")?);
    event.host = Some(name.clone());
    let reals = ["cpu_pct", "load1", "load5", "load15", "disk_worst_pct"];
    for (salt, name) in reals.into_iter().enumerate() {
        let hundredths = (drawn(salt) >> 48) % 10_000;
        event = event.with(name, AttributeValue::Real(hundredths as f64 / 100.0));
    }
    let integers = [
        "cpus",
        "cpu_mhz",
        "tasks",
        "mem_total",
        "mem_used",
        "mem_available",
        "swap_total",
        "swap_used",
        "disk_total",
        "disk_used",
        "disk_read",
        "disk_written",
        "net_recv",
        "net_sent",
        "uptime_secs",
        "tcp_established",
    ];
    for (salt, name) in integers.into_iter().enumerate() {
        event = event.with(name, (drawn(salt + 8) >> 28) as i64);
    }
    Ok(event.with("disk_worst", "/"))
}

fn write_settings(home: &Path, agents: usize) -> anyhow::Result<()> {
    process::settings(home, &home.join("data"))?;
    let path = home.join("palisade.toml");
    let text = std::fs::read_to_string(&path)?;
    // All come from one address here.
    let connections = agents * 2 + 100;
    let more = format!(
        "\n[[api.listeners]]\naddress = \"127.0.0.1:0\"\ntls = true\n\n[api.limits]\nconnections = {connections}\nconnections_per_address = {connections}\n"
    );
    Ok(std::fs::write(path, text + &more)?)
}

/// A key for each agent, by the API.
async fn make_keys(
    home: &Path,
    url: &str,
    admin: &Path,
    agents: usize,
) -> anyhow::Result<Vec<PathBuf>> {
    let folder = home.join("keys");
    std::fs::create_dir(&folder)?;
    let mut made = Vec::with_capacity(agents);
    let mut left = 0..agents;
    loop {
        let places: Vec<usize> = left.by_ref().take(KEYS_AT_ONCE).collect();
        if places.is_empty() {
            return Ok(made);
        }
        // One process of curl for many requests: each answer is a line.
        let mut command = Command::new("curl");
        command.args(["-s", "-S", "--fail"]);
        for (position, place) in places.iter().enumerate() {
            if position > 0 {
                command.args(["--next", "-s", "-S", "--fail"]);
            }
            let body = format!(r#"{{"name":"host-{place}","scopes":["ingest"]}}"#);
            command.args(["-H", &bearer(admin)?, "-H", "Content-Type: application/json"]);
            command.args(["-d", &body, "-w", "\n", &format!("{url}/api/v1/keys")]);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = String::from_utf8(output.stdout)?;
        let keys: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(keys.len() == places.len(), "keys cannot be made: {error}");
        for (place, answer) in places.iter().zip(&keys) {
            let key = answer.get("key").and_then(serde_json::Value::as_str).context("no key")?;
            let path = folder.join(place.to_string());
            std::fs::write(&path, key)?;
            made.push(path);
        }
    }
}

fn bearer(key: &Path) -> anyhow::Result<String> {
    Ok(format!("Authorization: Bearer {}", std::fs::read_to_string(key)?.trim()))
}

/// How many machines the hub shows.
fn hosts(url: &str, admin: &Path) -> anyhow::Result<usize> {
    let output = Command::new("curl")
        .args(["-s", "-S", "--fail", "-H", &bearer(admin)?, &format!("{url}/api/v1/hosts")])
        .output()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(answer.get("hosts").and_then(serde_json::Value::as_array).map_or(0, Vec::len))
}
