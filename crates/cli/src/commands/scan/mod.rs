//! `palisade scan`: what detection makes of logs that are there already.
//!
//! ```text
//! files ─► chunks of whole lines ─► threads: parse, match, add up ─► one: count and judge, by time ─► report
//! ```
//!
//! The report does not depend on the number of threads: what is added up does
//! not care for order, and what does is counted in the order of its times, those
//! of one log in the order of its lines.

mod input;
mod merge;
mod pieces;
mod report;
mod tally;
mod users;
mod work;

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use palisade_agent::LogFormat;
use palisade_event::Timestamp;
use palisade_rules::Detector;

use crate::args::QuietArgs;
use crate::out;
use crate::progress::{Progress, Show};
use crate::settings::Settings;
use input::{NotUnderstood, Source};
use merge::Scanned;
use report::Report;

/// Most threads.
const MAX_THREADS: usize = 64;
/// Files that stay open from the look at their first lines on.
const KEPT_OPEN: usize = 16;

/// Looks for attacks in logs.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScanArgs {
    /// Files or folders to read (also .gz, .xz, .zst, .bz2), or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What wrote them [default: found out by their first lines]
    #[arg(long, value_name = "NAME")]
    parser: Option<String>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// Zone of times without one: UTC, Europe/Berlin or an offset such as +01:00 [default: the
    /// system's]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    zone: Option<String>,
    /// The present, for dates without a year [default: when each file was last written]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Attackers in the table
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// Threads [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    quiet: QuietArgs,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// A page that stands alone.
    Html,
}

/// Scans. Files that cannot be read are named, and then the exit code is 1.
///
/// # Errors
/// The settings or scenarios are wrong, or there is no file to read.
pub(crate) fn run(settings: &Settings, args: &ScanArgs) -> anyhow::Result<ExitCode> {
    // Not while arguments are read: the settings name parsers too.
    let parser: Option<LogFormat> = args.parser.as_deref().map(str::parse).transpose()?;
    let mut detector = detector(settings)?;
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
        .clamp(1, MAX_THREADS);
    let zone = zone(args.zone.as_deref())?;
    let (mut problems, mut skipped) = (Vec::new(), Vec::new());
    let paths = input::collect(&args.files, &mut problems)?;
    let mut sources = Vec::new();
    let total: u64 = paths.iter().map(|path| input::bytes(path)).sum();
    let progress = Progress::new(Show::from(&args.quiet), (total > 0).then_some(total), "bytes");
    for path in paths {
        match Source::open(&path, parser.clone(), &zone, args.now) {
            Ok(mut source) => {
                if sources.len() >= KEPT_OPEN {
                    source.close();
                }
                sources.push(source);
            }
            // A folder has files that are no logs; one that was named is one.
            Err(error) if error.is::<NotUnderstood>() && !args.files.contains(&path) => {
                skipped.push(path.display().to_string());
            }
            Err(error) => problems.push(format!("{}: {error:#}", path.display())),
        }
    }
    // Rotated logs are read from the oldest on, whatever they are called.
    sources.sort_by(|a, b| (a.first_at, &a.name).cmp(&(b.first_at, &b.name)));
    let names: Vec<(String, LogFormat)> =
        sources.iter().map(|source| (source.name.clone(), source.format.clone())).collect();
    // Of the start: arguments, settings, scenarios.
    crate::code::give_back_once();
    let scanned = merge::scan(sources, &mut detector, threads, &mut |name, bytes| {
        progress.on(name);
        progress.at(bytes);
    });
    let Scanned { tally, judged, logs } = scanned;
    let mut read = Vec::new();
    for ((path, format), log) in names.into_iter().zip(logs) {
        if let Some(error) = log.error {
            problems.push(format!("{path}: {error:#}"));
        }
        let (bytes, lines) = (log.bytes, log.lines);
        read.push(report::FileRead { path, parser: format.to_string(), bytes, lines });
    }
    progress.end();
    for problem in &problems {
        eprintln!("palisade: {problem}");
    }
    let matcher = detector.engine().matcher();
    // What was counted is not needed any more.
    drop(detector);
    crate::code::give_back_once();
    let report = Report::new(matcher, read, tally, judged, (problems, skipped));
    match args.format {
        ReportFormat::Table => report.print(args.top),
        // A closed pipe ends the process quietly, as it would end `cat`.
        ReportFormat::Json => {
            if report.write_json(std::io::stdout().lock()).is_err() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        ReportFormat::Html => out::line(&report.html()),
    }
    Ok(if report.has_problems() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The detector of the settings, names of the allowlist resolved.
pub(super) fn detector(settings: &Settings) -> anyhow::Result<Detector> {
    let config = &settings.agent.detect;
    // Changes no decision; who chose the addresses of a log is not to know it.
    let seed = std::hash::RandomState::new().hash_one(0);
    let mut detector = config.detector(seed).map_err(|mistakes| {
        anyhow::anyhow!("the scenarios have mistakes:\n  {}", mistakes.join("\n  "))
    })?;
    let names: Vec<String> = detector.allowlist.names().into_iter().map(str::to_owned).collect();
    for name in names {
        match (name.as_str(), 0).to_socket_addrs() {
            Ok(found) => {
                let addresses: Vec<_> = found.map(|end| end.ip()).collect();
                detector.allowlist.resolve(&name, &addresses);
            }
            Err(error) => {
                eprintln!("palisade: the allowed name {name} cannot be resolved: {error}")
            }
        }
    }
    Ok(detector)
}

/// A zone by its name or offset; the system's where none is given.
pub(super) fn zone(name: Option<&str>) -> anyhow::Result<jiff::tz::TimeZone> {
    let Some(name) = name else { return Ok(jiff::tz::TimeZone::system()) };
    if name.eq_ignore_ascii_case("utc") || name == "Z" {
        return Ok(jiff::tz::TimeZone::UTC);
    }
    if name.starts_with(['+', '-']) {
        let minutes = palisade_rules::fail2ban::offset_minutes(name);
        let offset = minutes.and_then(|minutes| jiff::tz::Offset::from_seconds(minutes * 60).ok());
        let Some(offset) = offset else { bail!("--zone: '{name}' is no offset such as +01:00") };
        return Ok(jiff::tz::TimeZone::fixed(offset));
    }
    jiff::tz::TimeZone::get(name).with_context(|| {
        format!("--zone: there is no zone '{}'; try Europe/Berlin or +01:00", name.escape_debug())
    })
}

/// How often each value occurs, the most frequent first, then by value.
fn ranked<K: Ord + Clone>(values: impl Iterator<Item = K>) -> Vec<(K, u64)> {
    let mut counts: BTreeMap<K, u64> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut ranked: Vec<(K, u64)> = counts.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked
}
