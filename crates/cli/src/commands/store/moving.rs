//! `palisade store move`: all events from one engine to the other.
//!
//! Each append skips what is there, and the place reached is written down after
//! each commit, so a move that broke off goes on and nothing counts twice. At
//! the end both sides are counted and their ids summed up, day by day.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use palisade_event::{Day, Event};
use palisade_store::query::{Aggregation, Cursor, Filter, Query, TimeRange};
use palisade_store::{Aggregated, Config, Store};
use serde::{Deserialize, Serialize};

use super::{bar, lock, store_dir};
use crate::args::{Engine, QuietArgs};
use crate::out;
use crate::settings::Settings;

/// Events that are read at a time.
const PAGE_EVENTS: usize = 5_000;
/// Pages between two commits.
const PAGES_A_COMMIT: u32 = 4;

/// How far a move is, in `store-move.json` of the data directory.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    to: String,
    /// The last event that is safe on the other side.
    cursor: Option<Cursor>,
    events: u64,
}

pub(super) fn run(settings: &Settings, to: Engine, quiet: &QuietArgs) -> anyhow::Result<ExitCode> {
    let config = &settings.hub.store;
    if config.clickhouse.is_none() {
        bail!(
            "no ClickHouse is configured; write [hub.store.clickhouse] with its urls into the \
             settings and give them with --config"
        );
    }
    let _stopped = lock(settings).context("a move needs a stopped hub")?;
    let dir = store_dir(settings);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let embedded = Store::open(&dir, &Config { clickhouse: None, ..config.clone() })?;
    let clickhouse = Store::open(&dir, config)?;
    let (from, target, name) = match to {
        Engine::Clickhouse => (&embedded, &clickhouse, "clickhouse"),
        Engine::Embedded => (&clickhouse, &embedded, "embedded"),
    };
    let path = settings.data_dir().join("store-move.json");
    let moved = transfer(from, target, name, &path, quiet)?;
    let days = verify(from, target, quiet)?;
    std::fs::remove_file(&path).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    out::line(&format!("{moved} events moved; counts and ids of {days} days agree"));
    out::line(match to {
        Engine::Clickhouse => {
            "start the hub with [hub.store.clickhouse] in its settings; the folder store/days is \
             no longer used and may be removed"
        }
        Engine::Embedded => {
            "take [hub.store.clickhouse] out of the settings and start the hub; the table in \
             ClickHouse is no longer used"
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn transfer(
    from: &Store,
    to: &Store,
    name: &str,
    path: &Path,
    quiet: &QuietArgs,
) -> anyhow::Result<u64> {
    let mut state = load(path, name)?;
    let total = count(from, &Query::ALL)?;
    let progress = bar(quiet, "moving", total);
    let mut cursor = state.cursor;
    let mut pages = 0;
    loop {
        let page = from.search(&Query::ALL, PAGE_EVENTS, cursor)?;
        let last = page.events.last();
        let reached = last.map(|event| Cursor { observed_at: event.observed_at, id: event.id });
        cursor = reached.or(cursor);
        state.events += page.events.len() as u64;
        let events: Vec<Arc<Event>> = page.events.into_iter().map(Arc::new).collect();
        to.append(&events)?;
        pages += 1;
        if page.next.is_none() || pages % PAGES_A_COMMIT == 0 {
            to.commit()?;
            state.cursor = cursor;
            save(path, &state)?;
        }
        progress.at(state.events);
        if page.next.is_none() {
            break;
        }
    }
    progress.end();
    Ok(state.events)
}

/// Compares both sides day by day.
fn verify(from: &Store, to: &Store, quiet: &QuietArgs) -> anyhow::Result<usize> {
    let progress = bar(quiet, "verifying", count(from, &Query::ALL)?);
    let mut done = 0;
    let mut wrong = Vec::new();
    let days = days(from)?;
    for day in &days {
        let range = TimeRange { from: Some(day.start()), to: Some(day.end()) };
        let query = Query { range, filter: Filter::All };
        let (here, there) = (sum(from, &query)?, sum(to, &query)?);
        let counted = count(to, &query)?;
        if here != there || counted != here.events {
            wrong.push(format!("{day} ({} here, {counted} there)", here.events));
        }
        done += here.events;
        progress.at(done);
    }
    progress.end();
    if !wrong.is_empty() {
        bail!("the sides differ on {}; run the move again", wrong.join(", "));
    }
    Ok(days.len())
}

/// What stands for the events of a day: how many, and their ids added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    events: u64,
    ids: u128,
    mixed: u128,
}

fn sum(store: &Store, query: &Query) -> anyhow::Result<Sum> {
    let mut sum = Sum::default();
    let mut cursor = None;
    loop {
        let page = store.search(query, PAGE_EVENTS, cursor)?;
        for event in &page.events {
            let id = event.id.as_u128();
            sum.events += 1;
            sum.ids = sum.ids.wrapping_add(id);
            // Two ids that are wrong by the same amount would cancel out.
            sum.mixed = sum.mixed.wrapping_add(id.wrapping_mul(id | 1).rotate_left(61) ^ id);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(sum);
        }
    }
}

/// The days that have events, oldest first.
fn days(store: &Store) -> anyhow::Result<BTreeSet<Day>> {
    let mut days = BTreeSet::new();
    let mut range = TimeRange::default();
    // The newest event before the day that was found last.
    while let Some(event) =
        store.search(&Query { range, filter: Filter::All }, 1, None)?.events.first()
    {
        let day = event.observed_at.day();
        days.insert(day);
        range.to = Some(day.start());
    }
    Ok(days)
}

fn count(store: &Store, query: &Query) -> anyhow::Result<u64> {
    match store.aggregate(query, &Aggregation::Count)? {
        Aggregated::Count { count } => Ok(count),
        _ => bail!("the store answered another question"),
    }
}

fn load(path: &Path, to: &str) -> anyhow::Result<State> {
    let new = || State { to: to.to_owned(), ..State::default() };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let state: State = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not the state of a move", path.display()))?;
    Ok(if state.to == to { state } else { new() })
}

fn save(path: &Path, state: &State) -> anyhow::Result<()> {
    let new: PathBuf = path.with_extension("json.new");
    let write = || {
        let mut file = std::fs::File::create(&new)?;
        std::io::Write::write_all(&mut file, &serde_json::to_vec(state)?)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
