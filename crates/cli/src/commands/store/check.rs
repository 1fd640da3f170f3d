//! `palisade store check`: reads everything, changes nothing.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use palisade_store::life::{Checked, Finding};
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
        let mut checked = Checked::default();
        spool(settings, &mut checked)?;
        let note = "events are in ClickHouse, which checks its parts itself (CHECK TABLE); the \
                    spool was read";
        report(&checked, &[note], format);
        return Ok(code(&checked));
    }
    if !dir.is_dir() {
        bail!("there is no embedded store in {}", settings.data_dir().display());
    }
    // Held to the end: a hub that starts meanwhile would change what is read.
    let stopped = lock(settings);
    let progress = bar(quiet, "checking", events(&dir));
    let checked =
        without_panic_messages(|| life::check(&dir, &mut |step| show(&progress, "checking", step)));
    progress.end();
    let mut checked = checked.with_context(|| format!("cannot read {}", dir.display()))?;
    spool(settings, &mut checked)?;
    let mut notes = Vec::new();
    match &stopped {
        Ok(_) if checked.findings.is_empty() => ready(settings, &mut checked)?,
        Ok(_) => notes.push("aggregates counted in advance were not compared: repair first"),
        Err(_) => notes.push(
            "a hub runs here, so aggregates counted in advance were not compared; stop it for that",
        ),
    }
    report(&checked, &notes, format);
    Ok(code(&checked))
}

fn code(checked: &Checked) -> ExitCode {
    if checked.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The hub's spool: events that were acknowledged and are not stored yet.
fn spool(settings: &Settings, checked: &mut Checked) -> anyhow::Result<()> {
    let dir = settings.data_dir().join("hub/spool");
    let found =
        palisade_spool::inspect(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for (path, offset) in found.damaged {
        let what = format!("{} is damaged from byte {offset} on", path.display());
        checked.findings.push(Finding { folder: None, what });
    }
    Ok(())
}

/// Aggregates that were counted in advance, against the events.
fn ready(settings: &Settings, checked: &mut Checked) -> anyhow::Result<()> {
    let mut config = settings.hub.store.clone();
    config.clickhouse = None;
    if let Store::Embedded(engine) = Store::open(&store_dir(settings), &config)? {
        let found = engine.check_ready()?;
        checked.findings.extend(found.into_iter().map(|what| Finding { folder: None, what }));
    }
    Ok(())
}

fn report(checked: &Checked, notes: &[&str], format: FormatArgs) {
    if format.format == OutputFormat::Json {
        let Checked { days, events, findings } = checked;
        return out::json(&serde_json::json!({
            "days": days, "events": events, "findings": findings, "notes": notes,
        }));
    }
    for finding in &checked.findings {
        out::line(&finding.to_string());
    }
    for note in notes {
        out::line(note);
    }
    let Checked { days, events, findings } = checked;
    out::line(&match findings.len() {
        0 => format!("{events} events of {days} days: nothing is wrong"),
        found => format!(
            "{events} events of {days} days: {found} findings; stop the hub and run \
             `palisade store repair`"
        ),
    });
}
