//! The event store at full size: every figure that was promised, beside its
//! aim. Loads thirty days of made-up attacks, asks what dashboards and analysts
//! ask (idle, and while events arrive), starts the real binary on the same files.
//!
//! `load` fills, `questions` is the list, `figures` the arithmetic, `hub` the
//! way through ingest, spool and writer, `life` opening, memory and retention,
//! `clickhouse` a server for the same questions.

mod clickhouse;
mod figures;
mod hub;
mod life;
mod load;
mod questions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use palisade_event::Timestamp;
use palisade_store::{Config, Store};

pub(crate) use self::load::{SEED, fill};
use crate::table::{number, print};
use figures::{Rows, Samples, ms};

/// Days of events.
pub(crate) const DAYS: u32 = 30;
/// How often a question is asked, where that takes no longer than [`MOST_SECONDS`].
const ASKED: usize = 60;
const MOST_SECONDS: f64 = 6.0;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many events
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Keeps the data here; data that is already there is used as it is
    #[arg(long)]
    data: Option<PathBuf>,
    /// Only loads, in a directory that `--data` names
    #[arg(long, requires = "data")]
    load_only: bool,
    /// Only asks the questions of the store
    #[arg(long)]
    questions_only: bool,
    /// In ClickHouse: `debian` or `chdb` (started here), or the URL of a server
    #[arg(long)]
    clickhouse: Option<String>,
}

impl Args {
    /// The defaults, for `all`.
    pub(crate) fn small() -> Self {
        Self {
            events: 2_000_000,
            data: None,
            load_only: false,
            questions_only: false,
            clickhouse: None,
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir_in(".")?;
    let data = args.data.clone().unwrap_or_else(|| temporary.path().join("data"));
    std::fs::create_dir_all(data.join("store"))?;
    let data = data.canonicalize()?;
    let server = match &args.clickhouse {
        Some(which) => Some(clickhouse::Server::start(which, &data)?),
        None => None,
    };
    let config = server.as_ref().map_or_else(Config::default, clickhouse::Server::config);
    // What was promised is of the embedded engine.
    let mut rows = Rows::new(server.is_none());
    let end = match load::end_of(&data) {
        Some(end) => end,
        None => {
            let now = Timestamp::from(std::time::SystemTime::now());
            let server = server.as_ref();
            tokio::task::block_in_place(|| {
                load::run(&data, args.events, now, &config, server, &mut rows)
            })?;
            now
        }
    };
    if args.load_only {
        rows.print(&format!("Load of {} events", number(args.events as f64)));
        return Ok(());
    }
    let clock = Clock { end, begun: Instant::now() };
    let store = match server {
        None => life::open(&data, &config, &mut rows)?,
        Some(_) => Store::open(&store_dir(&data), &config)?,
    };
    let events = store.stats().events;
    // What an earlier run broke off.
    tokio::task::block_in_place(|| -> anyhow::Result<()> {
        while store.maintain(end)? {}
        Ok(())
    })?;
    tokio::task::block_in_place(|| idle_questions(&store, clock, &mut rows))?;
    drop(store);
    hub::questions_under_load(&data, &config, clock, &mut rows).await?;
    let engine = store_name(&args);
    if let (Some(server), false) = (&server, args.questions_only) {
        hub::throughput(&config, &mut rows).await?;
        server.retention(&data, clock, &config, &mut rows)?;
    } else if !args.questions_only {
        hub::throughput(&config, &mut rows).await?;
        let http = crate::ingest::measure(1_000, 400_000).await?;
        rows.at_least(
            "events/s over HTTP, answered after fsync (4 senders on the same cores)",
            120_000.0,
            http.answered_per_second,
        );
        rows.plain("… until stored and found", format!("{}/s", number(http.stored_per_second)));
        life::memory(&data, clock, &mut rows).await?;
        life::retention(&data, clock, &config, &mut rows)?;
    }
    let events = number(events as f64);
    rows.print(&format!("Event store ({engine}) with {events} events of {DAYS} days"));
    Ok(())
}

fn store_name(args: &Args) -> String {
    args.clickhouse
        .as_ref()
        .map_or_else(|| "embedded".into(), |which| format!("ClickHouse {which}"))
}

/// The time in the data: goes on from where the made-up events end.
#[derive(Clone, Copy)]
struct Clock {
    end: Timestamp,
    begun: Instant,
}

impl Clock {
    fn now(self) -> Timestamp {
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(0);
        self.end.plus_millis(passed)
    }
}

/// Asks every question of the store itself.
fn idle_questions(store: &Store, clock: Clock, rows: &mut Rows) -> anyhow::Result<()> {
    let mut table = Vec::new();
    for question in questions::all(store, clock.now())? {
        let mut samples = Samples::default();
        let begun = Instant::now();
        let first = samples.time(|| question.ask(store, 0, clock.now()))?;
        let mut n = 1;
        while n < ASKED && begun.elapsed().as_secs_f64() < MOST_SECONDS {
            samples.time(|| question.ask(store, n, clock.now()))?;
            n += 1;
        }
        // The first time is shown by itself.
        let first_ms = ms(first);
        rows.question_idle(&question, &samples, &first_ms);
        table.push(vec![
            question.what.to_owned(),
            first_ms,
            ms(samples.quantile(0.5)),
            ms(samples.quantile(0.99)),
            samples.len().to_string(),
        ]);
    }
    print("Questions, store idle", &["question", "first ms", "p50 ms", "p99 ms", "times"], &table);
    Ok(())
}

/// Where the store of a data directory lies.
fn store_dir(data: &Path) -> PathBuf {
    data.join("store")
}

/// For `idle` and others that need a store with something in it.
pub(crate) fn filled(data: &Path, events: u64) -> anyhow::Result<()> {
    let store = Store::open(&store_dir(data), &Config::default())?;
    let now = Timestamp::from(std::time::SystemTime::now());
    fill(&Arc::new(store), events, now, |_| {})?;
    Ok(())
}
