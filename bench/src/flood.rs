//! A log that is flooded: lines written at a fixed rate into a file that is
//! rotated meanwhile, read by `palisade up` with detection. What is written must
//! be read, to the line.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::generate;
use crate::process::{self, Process};
use crate::table::{number, print};

/// Lines that are made once and written again and again.
const LINES_OF_BLOCK: usize = 100_000;
/// One of so many lines of a quiet log is sshd's.
const RARE: usize = 100;
/// Pieces of a second in which lines are written.
const PIECES: usize = 20;
/// Seconds between rotations.
const ROTATE_SECS: usize = 5;
/// Longest wait for what is left unread when the flood has ended.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Lines a second
    #[arg(long, default_value_t = 1_000_000)]
    rate: usize,
    /// Seconds of flood
    #[arg(long, default_value_t = 20)]
    seconds: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { rate: 1_000_000, seconds: 20 }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut attack = Vec::new();
    generate::auth_sessions(LINES_OF_BLOCK, &mut attack)?;
    let mut rows = Vec::new();
    for (what, block) in [
        ("other programs' lines, one of a hundred sshd's", mostly_noise(&attack)),
        ("an auth.log under attack", attack),
    ] {
        rows.push(flooded(what, &block, args).await?);
    }
    print(
        "A log that is flooded and rotated every five seconds",
        &[
            "lines",
            "wanted/s",
            "written/s",
            "unread at the end",
            "read after s",
            "lost",
            "CPU s",
            "peak RSS",
            "events",
        ],
        &rows,
    );
    Ok(())
}

/// The same number of lines, few of them of sshd.
fn mostly_noise(attack: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (place, line) in attack.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if place.is_multiple_of(RARE) {
            block.extend_from_slice(line);
        } else {
            let head = line.get(..22).unwrap_or_default();
            block.extend_from_slice(head);
            block.extend_from_slice(b"kernel: [UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.7 DST=192.0.2.1 LEN=40 TTL=245 PROTO=TCP SPT=51234 DPT=23\n");
        }
    }
    block
}

async fn flooded(what: &str, block: &[u8], args: &Args) -> anyhow::Result<Vec<String>> {
    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), &home.path().join("data"))?;
    let settings = home.path().join("palisade.toml");
    let text = std::fs::read_to_string(&settings)?;
    std::fs::write(&settings, format!("api.metrics_open = true\n{text}"))?;
    let log = home.path().join("auth.log");
    std::fs::write(&log, "")?;
    let palisade = Process::up(home.path())?;
    let watch = crate::ingest::Watch::of(palisade.pid());
    let (written, took) = {
        let (block, log, args) = (block.to_vec(), log.clone(), args.clone());
        tokio::task::spawn_blocking(move || write(&block, &log, &args)).await??
    };
    let (at_end, _) = read(&palisade.url)?;
    let begun = Instant::now();
    let mut now = (at_end, 0);
    while now.0 < written && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = read(&palisade.url)?;
    }
    let after = begun.elapsed().as_secs_f64();
    // One read twice would come a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    now = read(&palisade.url)?;
    let (cpu, ..) = process::usage(palisade.pid())?;
    let peak = watch.end().await;
    palisade.kill()?;
    Ok(vec![
        what.to_owned(),
        number(args.rate as f64),
        number(written as f64 / took),
        number(written.saturating_sub(at_end) as f64),
        format!("{after:.1}"),
        (written as i64 - now.0 as i64).to_string(),
        format!("{cpu:.1}"),
        format!("{:.0} MB", peak as f64 / 1048576.0),
        number(now.1 as f64),
    ])
}

/// Writes at the rate that is wanted, or as fast as it goes; lines and seconds.
fn write(block: &[u8], log: &Path, args: &Args) -> anyhow::Result<(u64, f64)> {
    let a_piece = args.rate / PIECES;
    let newlines = block.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = newlines.map(|(at, _)| at + 1).collect();
    ensure!(!ends.is_empty() && a_piece > 0, "there is nothing to write");
    let mut file = std::fs::File::options().append(true).open(log)?;
    let (begun, mut written, mut at) = (Instant::now(), 0u64, 0);
    for piece in 0..args.seconds * PIECES {
        if piece > 0 && piece.is_multiple_of(ROTATE_SECS * PIECES) {
            std::fs::rename(log, log.with_extension(format!("log.{piece}")))?;
            file = std::fs::File::create_new(log)?;
            // The same lines come again; without this one the file would begin and
            // go on as the one before it, as only a copy does.
            writeln!(file, "Nov 19 00:00:00 web01 logrotate[{piece}]: rotated")?;
            written += 1;
        }
        let mut left = a_piece;
        while left > 0 {
            let to = (at + left).min(ends.len());
            let from = at.checked_sub(1).and_then(|last| ends.get(last)).map_or(0, |end| *end);
            let end = ends.get(to - 1).map_or(from, |end| *end);
            file.write_all(block.get(from..end).context("no such lines")?)?;
            written += (to - at) as u64;
            left -= to - at;
            at = to % ends.len();
        }
        let due = begun + Duration::from_secs_f64((piece + 1) as f64 / PIECES as f64);
        #[allow(clippy::disallowed_methods, reason = "a thread that keeps a rate, no task")]
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok((written, begun.elapsed().as_secs_f64()))
}

/// Lines that were read, and events that were made of them.
fn read(url: &str) -> anyhow::Result<(u64, u64)> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().parse().ok())
            .with_context(|| format!("no {name} in {text}"))
    };
    Ok((value("palisade_agent_lines_total ")?, value("palisade_agent_events_total ")?))
}
