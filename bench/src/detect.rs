//! Lines a second through parser, scenarios, counting and decisions: `palisade
//! scan` on made-up logs, on one core and on all, beside the tools that only
//! look for a text where they are installed; and what ever more addresses cost.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::generate;
use crate::process::binary;
use crate::table::{number, print};

/// How often each row is measured; the middle one counts.
const ROUNDS: usize = 5;
/// What a plain search for failures looks for.
const FAILURES: &str = "Failed password for|Invalid user |authentication failure;|maximum authentication attempts exceeded|Connection closed by (authenticating|invalid) user|Disconnected from (authenticating|invalid) user|Received disconnect from .*\\[preauth\\]|Unable to negotiate with|banner exchange: Connection from";

/// Sizes of the logs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Lines of the auth.log
    #[arg(long, default_value_t = 2_000_000)]
    lines: usize,
    /// Keep the logs here and use them again
    #[arg(long, value_name = "DIR")]
    logs: Option<std::path::PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self { lines: 2_000_000, logs: None }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = args.logs.as_deref().unwrap_or(temporary.path());
    let auth = folder.join("auth.log");
    let access = folder.join("access.log");
    if !auth.exists() {
        let mut out = BufWriter::new(std::fs::File::create(&auth)?);
        generate::auth_sessions(args.lines, &mut out)?;
        out.flush()?;
    }
    if !access.exists() {
        std::fs::write(&access, generate::access_log(args.lines / 2))?;
    }
    let mixed = folder.join("mixed.log");
    if !mixed.exists() {
        let mut out = BufWriter::new(std::fs::File::create(&mixed)?);
        generate::mixed_log(args.lines, &mut out)?;
        out.flush()?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = Vec::new();
    let logs = [
        ("auth.log", &auth, "sshd"),
        ("access.log", &access, "nginx"),
        ("mixed.log", &mixed, "syslog"),
    ];
    for (name, path, parser) in logs {
        let lines = count_lines(path)?;
        let rows_of = [(1, "table"), (cores, "table"), (1, "json")];
        for (threads, format) in rows_of {
            rows.extend(scan(name, path, lines, (parser, threads, format))?);
        }
    }
    let lines = count_lines(&auth)?;
    for (what, program, arguments) in [
        ("grep -cE, same failures", "grep", vec!["-cE", FAILURES]),
        ("grep -c 'Failed password'", "grep", vec!["-c", "Failed password"]),
        ("rg -c, same failures", "rg", vec!["-j1", "-c", FAILURES]),
    ] {
        rows.extend(peer(what, program, &arguments, &auth, lines)?);
    }
    rows.extend(fail2ban(&auth)?);
    print(
        "Detection: palisade scan with all shipped scenarios, counting and decisions",
        &["what", "log", "lines/s", "CPU s", "peak RSS", "found"],
        &rows,
    );
    crate::tracked::run()
}

fn count_lines(path: &Path) -> anyhow::Result<usize> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// What a child process took.
pub(crate) struct Took {
    pub(crate) wall: Duration,
    cpu: f64,
    pub(crate) peak_kib: u64,
    output: Vec<u8>,
}

/// Runs a command to its end and looks at it meanwhile.
pub(crate) fn measure(command: &mut Command) -> anyhow::Result<Took> {
    let begin = Instant::now();
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut out = child.stdout.take().context("no output")?;
    let pid = child.id();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut output).map(|_| output)
    });
    let ended = AtomicBool::new(false);
    let (status, wall, (cpu, peak_kib)) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(pid, &ended));
        let status = child.wait();
        let wall = begin.elapsed();
        ended.store(true, Ordering::Relaxed);
        (status, wall, watch.join().unwrap_or_default())
    });
    let status = status?;
    let output = reader.join().map_err(|_| anyhow::anyhow!("the reader failed"))??;
    // grep says 1 where nothing was found.
    if !status.success() && output.is_empty() {
        bail!("{command:?} ended with {status}");
    }
    Ok(Took { wall, cpu, peak_kib, output })
}

/// CPU seconds and the most memory of a process, in KiB, until it has ended.
fn watch(pid: u32, ended: &AtomicBool) -> (f64, u64) {
    let (mut cpu, mut peak_kib) = (0.0, 0);
    while !ended.load(Ordering::Relaxed) {
        if let Ok((seconds, ..)) = crate::process::usage(pid) {
            cpu = seconds;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        #[allow(clippy::disallowed_methods, reason = "a watch on another process, no task")]
        std::thread::sleep(Duration::from_millis(2));
    }
    (cpu, peak_kib)
}

/// The middle of several runs, by time.
pub(crate) fn middle(mut run: impl FnMut() -> anyhow::Result<Took>) -> anyhow::Result<Took> {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(run()?);
    }
    all.sort_by_key(|took| took.wall);
    all.into_iter().nth(ROUNDS / 2).context("no run")
}

fn row(what: &str, log: &str, lines: usize, took: &Took, found: String) -> Vec<String> {
    vec![
        what.to_owned(),
        log.to_owned(),
        number(lines as f64 / took.wall.as_secs_f64()),
        format!("{:.2}", took.cpu),
        format!("{:.1} MB", took.peak_kib as f64 / 1024.0),
        found,
    ]
}

/// `palisade scan`; `None` where this binary has no such parser. What it found is
/// told of the one that tells all of it.
fn scan(
    log: &str,
    path: &Path,
    lines: usize,
    (parser, threads, format): (&str, usize, &str),
) -> anyhow::Result<Option<Vec<String>>> {
    let binary = binary()?;
    let command = || {
        let mut command = Command::new(&binary);
        command
            .args(["scan", "--quiet", "--format", format, "--zone", "UTC", "--parser", parser])
            .args(["--now", "2026-11-20T00:00:00Z", "--threads", &threads.to_string()])
            .arg(path);
        command
    };
    let Ok(took) = middle(|| measure(&mut command())) else { return Ok(None) };
    let found = if format == "json" { found(&took.output)? } else { String::new() };
    let all = if format == "json" { ", everything as JSON" } else { "" };
    let what =
        format!("palisade scan, {threads} thread{}{all}", if threads == 1 { "" } else { "s" });
    Ok(Some(row(&what, log, lines, &took, found)))
}

fn found(report: &[u8]) -> anyhow::Result<String> {
    let report: serde_json::Value = serde_json::from_slice(report)?;
    let length =
        |name: &str| report.get(name).and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    Ok(format!(
        "{} attackers, {} alerts, {} decisions, {} break-ins",
        length("attackers"),
        length("alerts"),
        length("decisions"),
        length("break_ins")
    ))
}

/// Another program, where it is installed.
fn peer(
    what: &str,
    program: &str,
    arguments: &[&str],
    path: &Path,
    lines: usize,
) -> anyhow::Result<Option<Vec<String>>> {
    if Command::new(program).arg("--version").output().is_err() {
        return Ok(None);
    }
    let took = middle(|| measure(Command::new(program).args(arguments).arg(path)))?;
    let found = format!("{} lines match", String::from_utf8_lossy(&took.output).trim());
    Ok(Some(row(what, "auth.log", lines, &took, found)))
}

/// `fail2ban-regex` on the first lines, its start subtracted.
fn fail2ban(auth: &Path) -> anyhow::Result<Option<Vec<String>>> {
    const SAMPLE: usize = 50_000;
    if Command::new("fail2ban-regex").arg("--version").output().is_err() {
        return Ok(None);
    }
    let log = std::fs::read(auth)?;
    let folder = tempfile::tempdir()?;
    let run = |lines: usize| -> anyhow::Result<Took> {
        let end = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(lines - 1);
        let end = end.context("too few lines")?.0;
        let path = folder.path().join("part.log");
        std::fs::write(&path, log.get(..=end).unwrap_or_default())?;
        let arguments = ["--no-check-all", "--usedns", "no"];
        measure(Command::new("fail2ban-regex").args(arguments).arg(&path).arg("sshd"))
    };
    let (start, mut all) = (run(1)?, run(SAMPLE)?);
    all.wall = all.wall.saturating_sub(start.wall);
    Ok(Some(row("fail2ban-regex, stock sshd", "first 50,000", SAMPLE, &all, String::new())))
}
