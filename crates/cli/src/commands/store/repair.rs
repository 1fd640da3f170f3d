//! `palisade store repair`: damaged days made whole from what can be read.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use palisade_store::{Store, life};

use super::{bar, events, lock, show, store_dir, without_panic_messages};
use crate::args::{FormatArgs, OutputFormat, QuietArgs};
use crate::out;
use crate::settings::Settings;

pub(super) fn run(
    settings: &Settings,
    quiet: &QuietArgs,
    format: FormatArgs,
) -> anyhow::Result<ExitCode> {
    let dir = store_dir(settings);
    if settings.hub.store.clickhouse.is_some() {
        bail!("events are in ClickHouse; repair them there");
    }
    if !dir.is_dir() {
        bail!("there is no embedded store in {}", settings.data_dir().display());
    }
    let _stopped = lock(settings)?;
    let progress = bar(quiet, "checking", events(&dir));
    let repaired = without_panic_messages(|| {
        let checked = life::check(&dir, &mut |step| show(&progress, "checking", step))
            .with_context(|| format!("cannot read {}", dir.display()))?;
        let step = &mut |step| show(&progress, "repairing", step);
        Ok::<_, anyhow::Error>(life::repair(&dir, &settings.hub.store, &checked, step)?)
    });
    progress.end();
    let repaired = repaired?;
    ready(settings)?;
    if format.format == OutputFormat::Json {
        out::json(&serde_json::json!({"repaired": repaired}));
        return Ok(ExitCode::SUCCESS);
    }
    let mut lost = 0;
    for day in &repaired {
        lost += day.lost;
        let kept: Vec<String> = day.kept.iter().map(|path| path.display().to_string()).collect();
        out::line(&format!(
            "{}: {} events are back, {} could not be read; the damaged files are in {}",
            day.day,
            day.events,
            day.lost,
            kept.join(" and ")
        ));
    }
    out::line(&match repaired.len() {
        0 => "nothing had to be repaired".to_owned(),
        days => format!("{days} days repaired, {lost} events lost"),
    });
    Ok(ExitCode::SUCCESS)
}

/// Aggregates that were counted in advance and are not right are counted anew.
fn ready(settings: &Settings) -> anyhow::Result<()> {
    let mut config = settings.hub.store.clone();
    config.clickhouse = None;
    let Store::Embedded(engine) = Store::open(&store_dir(settings), &config)? else {
        return Ok(());
    };
    if engine.check_ready()?.is_empty() {
        return Ok(());
    }
    for day in life::survey(&store_dir(settings))?.iter().filter(|day| day.in_use) {
        if let Ok(day) = day.folder.parse() {
            engine.rebuild_ready(day)?;
        }
    }
    Ok(())
}
