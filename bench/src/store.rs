//! The embedded store by itself: events a second, bytes an event, queries.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use palisade_event::{Event, Timestamp};
use palisade_store::query::{Aggregation, Field, Interval, Query};
use palisade_store::{Config, Store};

use crate::generate::Events;
use crate::table::{number, print};

const DAYS: i64 = 7;

/// Fills a store in `dir` with events of the last week.
pub(crate) fn fill(store: &Store, events: u64) -> anyhow::Result<()> {
    let now = Timestamp::from(SystemTime::now());
    let span = DAYS * 86_400_000 - 3_600_000;
    let step = (span / i64::try_from(events)?).max(1);
    let mut source = Events::new(42, now.plus_millis(-span), step).take(usize::try_from(events)?);
    let mut committed = Instant::now();
    loop {
        let batch: Vec<Arc<Event>> = source.by_ref().take(1_000).map(Arc::new).collect();
        if batch.is_empty() {
            break;
        }
        store.append(&batch)?;
        if committed.elapsed() > Duration::from_secs(1) {
            store.commit()?;
            committed = Instant::now();
        }
    }
    store.commit()?;
    Ok(())
}

pub(crate) fn run(events: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(".")?;
    let store = Store::open(dir.path(), &Config::default())?;
    let begin = Instant::now();
    fill(&store, events)?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = crate::idle::folder_bytes(dir.path());
    print(
        &format!(
            "Embedded store, {events} events over {DAYS} days, one thread, commit every second"
        ),
        &["events/s (generator included)", "B/event on disk"],
        &[vec![number(events as f64 / seconds), format!("{:.0}", bytes as f64 / events as f64)]],
    );
    let now = Timestamp::from(SystemTime::now());
    let ask = |text: &str| Query::parse(text, now).map_err(|error| anyhow::anyhow!("{error}"));
    let mut rows = Vec::new();
    let mut time = |what: &str, work: &dyn Fn() -> anyhow::Result<()>| -> anyhow::Result<()> {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begin = Instant::now();
            work()?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        rows.push(vec![
            what.to_owned(),
            times.get(2).map(|ms| format!("{ms:.1}")).unwrap_or_default(),
        ]);
        Ok(())
    };
    let aggregate = |text: &str, aggregation: Aggregation| -> anyhow::Result<()> {
        store.aggregate(&ask(text)?, &aggregation)?;
        Ok(())
    };
    time("newest 50", &|| Ok(store.search(&ask("")?, 50, None).map(drop)?))?;
    time("newest 50 of user root", &|| {
        Ok(store.search(&ask("user:root")?, 50, None).map(drop)?)
    })?;
    time("newest 50 with the word wget", &|| {
        Ok(store.search(&ask("wget")?, 50, None).map(drop)?)
    })?;
    time("count, 24 h", &|| aggregate("since:24h", Aggregation::Count))?;
    time("histogram by hour, 7 d", &|| {
        aggregate("since:7d", Aggregation::Histogram(Interval { millis: 3_600_000 }, None))
    })?;
    time("top 10 addresses, 24 h", &|| {
        aggregate("since:24h", Aggregation::Top(vec![Field::Ip], 10, None))
    })?;
    time("top 10 user and password, 7 d", &|| {
        aggregate("since:7d", Aggregation::Top(vec![Field::User, Field::Password], 10, None))
    })?;
    time("distinct addresses, 7 d", &|| aggregate("since:7d", Aggregation::Distinct(Field::Ip)))?;
    print("Queries, median of 5, warm", &["query", "ms"], &rows);
    Ok(())
}
