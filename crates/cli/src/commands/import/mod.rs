//! `palisade import`: events of an export, or any events in the wire form, back
//! into a hub. Counts once however often it is run.

mod logs;
pub(super) mod parquet;
mod rows;
mod state;
pub(crate) mod strongmonitor;
pub(crate) mod users;

pub(crate) use self::logs::run as logs;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use palisade_event::wire;

use self::rows::{Bad, Rows};
use self::state::State;
use crate::args::{ImportArgs, RowFormat};
use crate::out;
use crate::progress::{Progress, Show};
use crate::reach::Reach;
use crate::settings::Settings;

/// Most events of one delivery.
const BATCH_EVENTS: usize = 5_000;
/// Bytes of JSON of one delivery, give or take an event: below what the API
/// takes even where nothing can be packed.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Bad rows that are named; the others are counted.
const MAX_NAMED: u64 = 100;

/// What became of rows.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    bad: u64,
}

/// Imports.
///
/// # Errors
/// A file cannot be read at all, the hub cannot be reached, or, with
/// `--strict`, a row is bad. What was taken stays; a second run goes on.
pub(crate) async fn run(settings: &Settings, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    for file in &args.files {
        if !file.is_file() && file.as_os_str() != "-" {
            bail!("{} is no file", file.display());
        }
    }
    let hub = Reach::find(settings, &args.reach).await?;
    let mut total = Tally::default();
    let mut result = Ok(());
    for file in &args.files {
        match one(&hub, args, file).await {
            Ok(tally) => {
                total.accepted += tally.accepted;
                total.duplicate += tally.duplicate;
                total.bad += tally.bad;
            }
            Err(error) => {
                result = Err(error).with_context(|| file.display().to_string());
                break;
            }
        }
    }
    hub.close().await;
    result?;
    if !args.quiet.quiet {
        let Tally { accepted, duplicate, bad } = total;
        out::line(&format!("{accepted} events imported, {duplicate} were there, {bad} rows bad"));
    }
    Ok(if total.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Events on their way, with the places they came from.
#[derive(Default)]
struct Batch {
    records: Vec<Vec<u8>>,
    at: Vec<u64>,
    bytes: usize,
}

async fn one(hub: &Reach, args: &ImportArgs, file: &Path) -> anyhow::Result<Tally> {
    let format = args.format.unwrap_or_else(|| RowFormat::of_path(file));
    let mut state = if args.restart { State::new(file) } else { State::load(file) };
    let mut rows = Rows::open(file, format)?;
    let progress = Progress::new(Show::from(&args.quiet), rows.total(), rows.unit());
    progress.on(&file.display().to_string());
    if state.rows > 0 && !args.quiet.quiet {
        progress.complain(&format!(
            "{}: going on after {} {}",
            file.display(),
            state.rows,
            rows.noun()
        ));
    }
    rows.skip(state.rows)?;
    let mut batch = Batch::default();
    let mut done = state.rows;
    let complain = |bad: &Bad, tally: &mut Tally| {
        tally.bad += 1;
        if tally.bad <= MAX_NAMED {
            progress.complain(&format!("{}: {bad}", file.display()));
        }
        match args.strict {
            true => Err(anyhow::anyhow!("{bad}")),
            false => Ok(()),
        }
    };
    loop {
        let row = rows.next()?;
        let ended = row.is_none();
        match row {
            Some(Ok((at, event))) => {
                let json = wire::encode_event(&event);
                batch.bytes += json.len();
                batch.records.push(json);
                batch.at.push(at);
                done = at;
            }
            Some(Err(bad)) => {
                done = bad.at;
                complain(&bad, &mut state.tally)?;
            }
            None => {}
        }
        let full = batch.records.len() >= BATCH_EVENTS || batch.bytes >= BATCH_BYTES;
        if (full || ended) && !batch.records.is_empty() {
            let sent = std::mem::take(&mut batch);
            let receipt = hub.deliver(path(args), &wire::encode_batch(&sent.records)).await?;
            state.tally.accepted += u64::from(receipt.accepted);
            state.tally.duplicate += u64::from(receipt.duplicate);
            for refused in &receipt.quarantined {
                let at = usize::try_from(refused.index).ok().and_then(|index| sent.at.get(index));
                let at = at.copied().unwrap_or_default();
                complain(
                    &Bad { noun: rows.noun(), at, reason: refused.reason.clone() },
                    &mut state.tally,
                )?;
            }
            state.rows = done;
            state.save();
        }
        progress.at(rows.done());
        if ended {
            break;
        }
    }
    progress.end();
    if state.tally.bad > MAX_NAMED {
        progress.complain(&format!("{}: {} bad rows in all", file.display(), state.tally.bad));
    }
    state.remove();
    Ok(state.tally)
}

/// Which door: that of sensors, or that of administrators.
fn path(args: &ImportArgs) -> &'static str {
    if args.as_sensor { "/api/v1/events" } else { "/api/v1/events/restore" }
}
