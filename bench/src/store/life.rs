//! Opening, resident memory of the real binary, retention of a day.

use std::path::Path;
use std::time::{Duration, Instant};

use palisade_event::Day;
use palisade_store::query::Query;
use palisade_store::{Config, Store};

use super::figures::{Rows, ms};
use super::{Clock, store_dir};
use crate::idle::folder_bytes;
use crate::process::{self, Process};

const MIB: f64 = 1048576.0;

/// Opens cold (where this process may empty the page cache) and warm, each up
/// to the newest events; returns the open store.
pub(super) fn open(data: &Path, config: &Config, rows: &mut Rows) -> anyhow::Result<Store> {
    let dir = store_dir(data);
    let timed = || -> anyhow::Result<(Store, Duration, Duration)> {
        let begun = Instant::now();
        let store = Store::open(&dir, config)?;
        let opened = begun.elapsed();
        store.search(&Query::ALL, 35, None)?;
        Ok((store, opened, begun.elapsed()))
    };
    if process::drop_caches().is_ok() {
        let (_store, opened, answered) = timed()?;
        let found = format!("{} / {} ms", ms(opened), ms(answered));
        rows.plain("open, page cache empty: open / newest 35", found);
    }
    timed()?;
    let (store, opened, answered) = timed()?;
    rows.at_most("open warm, with the newest 35", "ms", 300.0, answered.as_secs_f64() * 1e3);
    rows.plain("… open alone", format!("{} ms", ms(opened)));
    Ok(store)
}

/// Resident memory of `palisade up`: empty, on the loaded data, and while
/// events come in over HTTP as fast as they are taken.
pub(super) async fn memory(data: &Path, clock: Clock, rows: &mut Rows) -> anyhow::Result<()> {
    let empty = tempfile::tempdir_in(".")?;
    process::settings(empty.path(), &empty.path().join("data"))?;
    let idle = |palisade: &Process| process::usage(palisade.pid());
    let palisade = Process::up(empty.path())?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (_, rss, anon) = idle(&palisade)?;
    palisade.kill()?;
    rows.at_most("resident memory of `palisade up`, idle, empty", "MB", 32.0, rss as f64 / MIB);
    rows.plain("… of it anonymous", format!("{:.1} MB", anon as f64 / MIB));

    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), data)?;
    // The first hub ever looks through the whole store for vulnerabilities.
    let palisade = Process::up(home.path())?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (_, rss, _) = idle(&palisade)?;
    rows.plain("… loaded, the very first start", format!("{:.1} MB", rss as f64 / MIB));
    palisade.end()?;
    let palisade = Process::up(home.path())?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (_, rss, anon) = idle(&palisade)?;
    rows.at_most("… idle, loaded", "MB", 64.0, rss as f64 / MIB);
    rows.plain("… of it anonymous", format!("{:.1} MB", anon as f64 / MIB));
    // Another each time, as the data may be of an earlier run.
    let name = format!("bench-{}", palisade.pid());
    let key = process::key_in(home.path(), data, &name, "ingest")?;
    let (peak, per_second) = crate::ingest::flood(&palisade, key, clock.now(), 400_000).await?;
    rows.at_most("… under full ingest, loaded, highest", "MB", 600.0, peak as f64 / MIB);
    rows.plain("… events/s answered meanwhile", crate::table::number(per_second));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (_, rss, anon) = idle(&palisade)?;
    rows.plain(
        "… 10 s after that",
        format!("{:.1} MB, of it {:.1} anonymous", rss as f64 / MIB, anon as f64 / MIB),
    );
    palisade.kill()
}

/// Removes the oldest day from a copy of the store that has this day alone.
pub(super) fn retention(
    data: &Path,
    clock: Clock,
    config: &Config,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let dir = store_dir(data);
    let mut days: Vec<Day> = std::fs::read_dir(dir.join("days"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    days.sort();
    // The oldest is a part of a day.
    let Some(day) = days.get(1) else { return Ok(()) };
    let copy = tempfile::tempdir_in(".")?;
    copy_matching(&dir, copy.path(), &day.to_string())?;
    let keep_days = clock.now().day().number() - day.number() - 1;
    let config = Config { retention_days: u32::try_from(keep_days)?.max(1), ..config.clone() };
    let store = Store::open(copy.path(), &config)?;
    rustix::fs::sync();
    let events = store.stats().events;
    let before = folder_bytes(copy.path());
    let begun = Instant::now();
    let gone = store.retain(clock.now())?;
    let took = begun.elapsed();
    let after = folder_bytes(copy.path());
    anyhow::ensure!(gone == 1, "{gone} days went");
    rows.at_most("retention of a day", "ms", 50.0, took.as_secs_f64() * 1e3);
    rows.plain(
        "… space of it",
        format!(
            "{events} events, {:.0} MB, after it {:.1} MB",
            before as f64 / MIB,
            after as f64 / MIB
        ),
    );
    Ok(())
}

/// Copies files at the top and everything whose path names the day.
fn copy_matching(from: &Path, to: &Path, day: &str) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            let name = entry.file_name();
            let other =
                name.to_str().is_some_and(|name| name.parse::<Day>().is_ok() && name != day);
            if !other {
                std::fs::create_dir_all(&target)?;
                copy_matching(&entry.path(), &target, day)?;
            }
        } else {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_other =
                name.get(..10).is_some_and(|head| head.parse::<Day>().is_ok() && head != day);
            if !of_other && !name.ends_with(".sock") {
                std::fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}
