//! `palisade export`: all events of a query as a file, newest first, however
//! many there are.
//!
//! Events are asked for chunk by chunk after the last event seen, so memory is
//! bounded and an export goes on where it broke off. A file is written beside
//! its name (`.part`, with its state in `.part.json`) and renamed at the end.

mod lines;
mod parquet;
mod state;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use http::Method;
use palisade_event::{Event, Timestamp, wire};
use palisade_store::query::{Cursor, Query};
use serde_json::{Value, json};

use self::lines::Lines;
use self::parquet::Parquet;
use self::state::State;
use crate::args::{ExportArgs, RowFormat};
use crate::commands::query::encoded;
use crate::out;
use crate::progress::{Progress, Show};
use crate::reach::Reach;
use crate::settings::Settings;

/// Events of the first chunk, and the least.
const FIRST_CHUNK: usize = 1_000;
/// Most events of a chunk.
const LONGEST_CHUNK: usize = 20_000;
/// Bytes that a chunk should have.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Tries of a chunk before the export gives up.
const TRIES: u32 = 5;

/// Where rows go.
enum Target {
    Lines(Lines),
    Parquet(Box<Parquet>),
}

/// Exports.
///
/// # Errors
/// The hub cannot be reached, the query is malformed, or the file cannot be
/// written. What was written stays for `--resume`.
pub(crate) async fn run(settings: &Settings, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let format = args.format.unwrap_or_else(|| RowFormat::of_path(&args.output));
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && format == RowFormat::Parquet {
        bail!("a Parquet file cannot be written to standard output; give --output FILE");
    }
    let state = if to_stdout { State::new(args, format)? } else { State::open(args, format)? };
    let Some(state) = state else {
        out_of_the_way(args, "is complete already");
        return Ok(ExitCode::SUCCESS);
    };
    let hub = Reach::find(settings, &args.reach).await?;
    hub.settle().await;
    let done = export(&hub, args, format, state, to_stdout).await;
    hub.close().await;
    let events = done?;
    out_of_the_way(args, &format!("has {events} events"));
    Ok(ExitCode::SUCCESS)
}

/// The final line; not among the rows.
fn out_of_the_way(args: &ExportArgs, said: &str) {
    if args.quiet.quiet {
        return;
    }
    match args.output.to_str() {
        Some("-") => eprintln!("palisade: standard output {said}"),
        _ => out::line(&format!("{} {said}", args.output.display())),
    }
}

async fn export(
    hub: &Reach,
    args: &ExportArgs,
    format: RowFormat,
    mut state: State,
    to_stdout: bool,
) -> anyhow::Result<u64> {
    let mut target = match format {
        RowFormat::Parquet => Target::Parquet(Box::new(Parquet::open(&args.output, &state)?)),
        _ if to_stdout => Target::Lines(Lines::stdout(format)?),
        _ => Target::Lines(Lines::file(format, &args.output, &state)?),
    };
    let total = count(hub, &state.query).await;
    let progress = Progress::new(Show::from(&args.quiet), total, "events");
    progress.on("exporting");
    let mut chunk = FIRST_CHUNK;
    loop {
        let (text, asked) = fetch(hub, &state, chunk).await?;
        let mut rows = Vec::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event =
                wire::decode_event(line).context("the hub sent something else than events")?;
            rows.push((line, event));
        }
        if let Some((_, event)) = rows.last() {
            state.cursor = Some(Cursor { observed_at: event.observed_at, id: event.id });
        }
        state.events += rows.len() as u64;
        let ended = rows.len() < asked;
        match &mut target {
            Target::Lines(lines) => lines.write(&rows, &mut state)?,
            Target::Parquet(parquet) => parquet.write(rows, &mut state)?,
        }
        progress.at(state.events);
        if ended {
            break;
        }
        chunk = next_chunk(asked, text.len());
    }
    progress.end();
    match target {
        Target::Lines(lines) => lines.finish()?,
        Target::Parquet(parquet) => parquet.finish(&mut state)?,
    }
    Ok(state.events)
}

/// So many events that the next chunk has about [`CHUNK_BYTES`].
fn next_chunk(events: usize, bytes: usize) -> usize {
    let each = (bytes / events.max(1)).max(1);
    (CHUNK_BYTES / each).clamp(FIRST_CHUNK, LONGEST_CHUNK).min(events * 2)
}

/// How many events match, as far as that is known.
async fn count(hub: &Reach, query: &str) -> Option<u64> {
    let body = json!({"q": query, "aggregations": {"n": {"type": "count"}}});
    let answer = hub.call(Method::POST, "/api/v1/aggregate", Some(&body)).await.ok()?;
    answer.pointer("/results/n/count").and_then(Value::as_u64)
}

/// The next chunk as lines, and how many events were asked for. Asks for fewer
/// where the answer is too long, and again where the way to the hub fails.
async fn fetch(
    hub: &Reach,
    state: &State,
    mut events: usize,
) -> anyhow::Result<(hyper::body::Bytes, usize)> {
    let mut tries = 0;
    loop {
        let query = encoded(&state.query);
        let mut path = format!("/api/v1/events?format=ndjson&limit={events}&q={query}");
        if let Some(cursor) = &state.cursor {
            path.push_str(&format!("&cursor={}", encoded(&cursor.to_string())));
        }
        match hub.text(&path).await {
            Ok(text) => return Ok((text, events)),
            Err(error) if error.is_final() => return Err(error.into()),
            Err(_) if events > 10 => events = events.div_ceil(8),
            Err(error) => {
                tries += 1;
                if tries >= TRIES {
                    return Err(error).context("the export stopped; go on with --resume");
                }
                tokio::time::sleep(Duration::from_secs(1 << tries)).await;
            }
        }
    }
}

impl State {
    /// The state of an export that begins.
    fn new(args: &ExportArgs, format: RowFormat) -> anyhow::Result<Option<Self>> {
        let now = Timestamp::from(SystemTime::now());
        let query =
            Query::parse(&args.query, now).with_context(|| format!("query '{}'", args.query))?;
        Ok(Some(Self {
            version: state::VERSION,
            asked: args.query.clone(),
            // Times are absolute in it, so that `since:7d` means the same to the end.
            query: query.to_string(),
            format,
            cursor: None,
            events: 0,
            bytes: 0,
            parts: 0,
        }))
    }

    /// The state of an export to a file: that of one that broke off, or a new
    /// one; `None` where the file is complete.
    fn open(args: &ExportArgs, format: RowFormat) -> anyhow::Result<Option<Self>> {
        let (file, saved) = (&args.output, State::load(&args.output)?);
        let name = file.display();
        if !args.resume {
            if file.exists() {
                bail!("{name} is there already; choose another name or remove it");
            }
            if saved.is_some() {
                bail!(
                    "an export to {name} broke off; go on with --resume, or remove {name}.part.json"
                );
            }
        }
        match saved {
            None if file.exists() => Ok(None),
            None => Self::new(args, format),
            Some(saved) if saved.asked == args.query && saved.format == format => Ok(Some(saved)),
            Some(saved) => bail!(
                "the export to {name} that broke off was of '{}' as {}; give the same, or remove \
                 {name}.part.json",
                saved.asked,
                saved.format
            ),
        }
    }
}

/// Makes a rename durable.
fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot make {}", to.display()))?;
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).context("cannot sync the directory")
}

/// A line of a chunk and the event in it.
type Row<'a> = (&'a [u8], Event);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_for_short_events_and_shrink_for_long_ones() {
        assert_eq!(next_chunk(1_000, 400_000), 2_000);
        assert_eq!(next_chunk(16_000, 16_000 * 400), LONGEST_CHUNK);
        assert_eq!(next_chunk(1_000, 1_000 * 100_000), FIRST_CHUNK);
        assert_eq!(next_chunk(10, 10 * 1_000_000), 20);
    }
}
