//! What ever more tracked addresses cost: a sighting in the tables of the scenarios,
//! and a line of `palisade scan`, which adds up what each address did as well.

use std::io::{BufWriter, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use palisade_event::{EventKind, Outcome, Timestamp};
use palisade_rules::scenario::shipped_scenarios;
use palisade_rules::{Engine, EngineOptions, Sighting};

use crate::detect::{measure, middle};
use crate::generate::Random;
use crate::process::binary;
use crate::table::{number, print};

/// Hits that are counted at once, as those of a chunk of a log are.
const BATCH: usize = 4096;
/// Sightings that are measured.
const SIGHTINGS: u64 = 4_000_000;
/// Lines of a log that begins with each address once; then as many again.
const LINES: u64 = 2_000_000;
/// Tracked addresses, one row each.
const ADDRESSES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Login names that are tried.
const USERS: [&str; 12] = [
    "root", "admin", "test", "oracle", "git", "postgres", "ubuntu", "pi", "user", "ftp", "www",
    "deploy",
];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for addresses in ADDRESSES {
        rows.push(sighting(addresses)?);
    }
    print(
        "Counting: one failed login of a random address, scenarios of sshd",
        &["addresses", "a sighting", "bytes an address", "alerts"],
        &rows,
    );
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for addresses in ADDRESSES {
        rows.push(line(folder.path(), addresses)?);
    }
    print(
        "palisade scan: a failed login a line, of a random address and name, one thread",
        &["addresses", "a line once all are known", "lines/s from the first", "peak RSS"],
        &rows,
    );
    Ok(())
}

/// The n-th address; neighbours in number are none in the network.
fn address(n: u64) -> Ipv4Addr {
    Ipv4Addr::from(0x0b00_0000 + (n as u32).wrapping_mul(2_654_435_761) % 0x6000_0000)
}

/// A failed login of the n-th address.
fn failure(n: u64, at: i64) -> Sighting<'static> {
    Sighting {
        source: Some(address(n).into()),
        user: Some(b"root"),
        outcome: Some(Outcome::Failed),
        ..Sighting::new(EventKind::AuthAttempted, Timestamp::from_millis(at), "sshd")
    }
}

fn sighting(addresses: u64) -> anyhow::Result<Vec<String>> {
    let options = EngineOptions { max_tracked: 2_000_000, ..EngineOptions::default() };
    let mut engine = Engine::new(shipped_scenarios()?, options)?;
    let mut random = Random::new(addresses);
    let base = 1_795_000_000_000i64;
    for n in 0..addresses {
        engine.see(&failure(n, base));
    }
    let matcher = engine.matcher();
    let mut hits = Vec::with_capacity(BATCH);
    let begin = Instant::now();
    let mut alerts = 0;
    for turn in 0..SIGHTINGS {
        let n = random.next() % addresses;
        hits.extend(matcher.look(&failure(n, base + (turn / 1000) as i64)));
        if hits.len() == BATCH {
            engine.counter().count_all(&hits, |_, _| alerts += 1);
            hits.clear();
        }
    }
    let nanos = begin.elapsed().as_nanos() as f64 / SIGHTINGS as f64;
    let stats = engine.stats();
    Ok(vec![
        number(addresses as f64),
        format!("{nanos:.0} ns"),
        format!("{:.0}", stats.bytes as f64 / stats.tracked as f64),
        number(alerts as f64),
    ])
}

/// A line of a log of sshd: the difference between a log where each address comes
/// for the first time and one that goes on as long again.
fn line(folder: &Path, addresses: u64) -> anyhow::Result<Vec<String>> {
    let (short, long) = (folder.join("short.log"), folder.join("long.log"));
    for (path, lines) in [(&short, LINES), (&long, 2 * LINES)] {
        let mut out = BufWriter::new(std::fs::File::create(path)?);
        write(&mut out, lines, addresses)?;
        out.flush()?;
    }
    let scan = |path: &Path| {
        let program = binary()?;
        middle(|| {
            let mut command = Command::new(&program);
            command.args(["scan", "--quiet", "--zone", "UTC", "--parser", "sshd"]);
            command.args(["--now", "2026-11-20T00:00:00Z", "--threads", "1"]).arg(path);
            measure(&mut command)
        })
    };
    let (short, long) = (scan(&short)?, scan(&long)?);
    let more = long.wall.checked_sub(short.wall).context("twice the lines took no longer")?;
    Ok(vec![
        number(addresses as f64),
        format!("{:.0} ns", more.as_nanos() as f64 / LINES as f64),
        number(2.0 * LINES as f64 / long.wall.as_secs_f64()),
        format!("{:.0} MB", long.peak_kib as f64 / 1024.0),
    ])
}

fn write(out: &mut impl std::io::Write, lines: u64, addresses: u64) -> std::io::Result<()> {
    let mut random = Random::new(addresses);
    for turn in 0..lines {
        let value = random.next();
        let from = address(if turn < addresses { turn } else { value % addresses });
        let (secs, pid, port) = (turn / 400, 1000 + value % 30_000, 1024 + (value >> 20) % 60_000);
        let user = USERS.get((value >> 40) as usize % USERS.len()).unwrap_or(&"root");
        writeln!(
            out,
            "Nov 12 {:02}:{:02}:{:02} web1 sshd[{pid}]: Failed password for {user} from {from} \
             port {port} ssh2",
            secs / 3600,
            secs / 60 % 60,
            secs % 60,
        )?;
    }
    Ok(())
}
