//! `palisade import logs`: lines of logs into a hub, which reads them. Running it
//! again changes nothing: an event's id comes from its line.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use palisade_agent::LogFormat;
use palisade_event::wire::Quarantined;
use serde::Deserialize;

use super::MAX_NAMED;
use super::rows::{Record, Text};
use crate::args::ImportLogsArgs;
use crate::out;
use crate::progress::{Progress, Show};
use crate::reach::Reach;
use crate::settings::Settings;

/// Most lines of one delivery.
const BATCH_LINES: usize = 5_000;
/// Bytes of lines of one delivery, give or take a line.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Longest line, in bytes.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What the hub answers.
#[derive(Debug, Default, Deserialize)]
struct Receipt {
    lines: u64,
    accepted: u64,
    duplicate: u64,
    irrelevant: u64,
    quarantined: Vec<Quarantined>,
}

/// What became of all lines.
#[derive(Default)]
struct Tally {
    lines: u64,
    accepted: u64,
    duplicate: u64,
    irrelevant: u64,
    bad: u64,
}

/// Imports.
///
/// # Errors
/// A file cannot be read, or the hub cannot be reached. What was taken stays.
pub(crate) async fn run(settings: &Settings, args: &ImportLogsArgs) -> anyhow::Result<ExitCode> {
    // A hub elsewhere may have parsers that are not here.
    if args.reach.hub.is_none()
        && let Err(error) = args.parser.parse::<LogFormat>()
    {
        eprintln!("palisade: {error}");
        return Ok(ExitCode::from(2));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if args.parser.is_empty() || !args.parser.chars().all(plain) {
        bail!("--parser: expected the name of a parser, such as nginx");
    }
    for file in &args.files {
        if !file.is_file() && file.as_os_str() != "-" {
            bail!("{} is no file", file.display());
        }
    }
    let sensor = args.sensor.clone().unwrap_or_else(|| settings.sensor());
    let mut path = format!("/api/v1/logs/{}?sensor={sensor}", args.parser);
    if let Some(zone) = &args.zone {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | ':');
        if !zone.chars().all(plain) {
            bail!("--zone: expected UTC or an offset such as +01:00");
        }
        path.push_str("&zone=");
        path.push_str(&zone.replace('+', "%2B"));
    }
    let hub = Reach::find(settings, &args.reach).await?;
    let mut tally = Tally::default();
    let mut result = Ok(());
    for file in &args.files {
        let progress = Progress::new(Show::from(&args.quiet), None, "bytes");
        progress.on(&file.display().to_string());
        let done = one(&hub, &path, file, &progress, &mut tally).await;
        progress.end();
        if let Err(error) = done {
            result = Err(error).with_context(|| file.display().to_string());
            break;
        }
    }
    hub.close().await;
    result?;
    if !args.quiet.quiet {
        let Tally { lines, accepted, duplicate, irrelevant, bad } = tally;
        out::line(&format!(
            "{lines} lines: {accepted} events imported, {duplicate} were there, \
             {irrelevant} lines say nothing new, {bad} could not be taken"
        ));
    }
    Ok(if tally.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn one(
    hub: &Reach,
    path: &str,
    file: &Path,
    progress: &Progress,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut text = match file.as_os_str() == "-" {
        true => Text::new(Box::new(std::io::stdin()))?,
        false => Text::new(Box::new(File::open(file).context("cannot open the file")?))?,
    };
    let mut bytes = 0;
    loop {
        let first = text.at + 1;
        let mut body = Vec::new();
        let mut lines = 0;
        let mut ended = false;
        while lines < BATCH_LINES && body.len() < BATCH_BYTES {
            match text.line(MAX_LINE_BYTES)? {
                Some(Record::Whole(line)) => {
                    body.extend_from_slice(&line);
                    if !line.ends_with(b"\n") {
                        body.push(b'\n');
                    }
                }
                Some(Record::TooLong) => {
                    complain(file, progress, tally, text.at, "longer than 1 MiB");
                    // Keeps the numbers of the lines after it.
                    body.push(b'\n');
                }
                None => {
                    ended = true;
                    break;
                }
            }
            lines += 1;
        }
        if lines > 0 {
            let receipt: Receipt = hub.deliver_as(path, "application/x-ndjson", &body).await?;
            tally.lines += receipt.lines;
            tally.accepted += receipt.accepted;
            tally.duplicate += receipt.duplicate;
            tally.irrelevant += receipt.irrelevant;
            for refused in &receipt.quarantined {
                complain(file, progress, tally, first + u64::from(refused.index), &refused.reason);
            }
            bytes += body.len() as u64;
            progress.at(bytes);
        }
        if ended {
            return Ok(());
        }
    }
}

fn complain(file: &Path, progress: &Progress, tally: &mut Tally, line: u64, reason: &str) {
    tally.bad += 1;
    if tally.bad <= MAX_NAMED {
        progress.complain(&format!("{} line {line}: {}", file.display(), reason.escape_debug()));
    }
}
