//! `palisade doctor --honeypots`: what a detector would see of the honeypots of
//! the settings. The page shows the same of those that `palisade up` runs.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use palisade_api::{HoneypotTell, TellReport};
use palisade_event::{Event, EventId, EventKind, HostName, MAX_TEXT_BYTES, Timestamp, Untrusted};
use palisade_honeypot::ServiceKind;
use palisade_honeypot::tells::{Installation, Tell, Verdict, check};
use serde_json::json;

use crate::args::{FormatArgs, OutputFormat};
use crate::out;
use crate::settings::{Settings, host_name};

/// Tries and prints; exits with 1 where something shows.
///
/// # Errors
/// The settings of the honeypots have mistakes.
pub(crate) async fn run(settings: &Settings, format: FormatArgs) -> anyhow::Result<ExitCode> {
    let report = report(settings).await?;
    let shown = report.tells.iter().filter(|tell| tell.verdict == word(Verdict::Shown));
    let shown: Vec<&HoneypotTell> = shown.collect();
    match format.format {
        OutputFormat::Json => out::json(&json!(report)),
        OutputFormat::Table => {
            let row = |tell: &HoneypotTell| {
                let HoneypotTell { id, place, verdict, seen, .. } = tell;
                vec![verdict.clone(), id.clone(), place.clone(), seen.clone()]
            };
            let rows = report.tells.iter().map(row).collect();
            out::table(&["verdict", "check", "where", "seen"], rows, "");
            for tell in &shown {
                out::line("");
                out::line(&format!("{} ({}): {}", tell.id, tell.place, tell.looks_at));
                out::line(&format!("  known from  {}", tell.known_from));
                out::line(&format!("  what to do  {}", tell.advice));
            }
        }
    }
    Ok(if shown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is found on the honeypots of the settings.
///
/// # Errors
/// The settings of the honeypots have mistakes.
pub(crate) async fn report(settings: &Settings) -> anyhow::Result<TellReport> {
    let data = settings.data_dir();
    let mut config = settings.honeypot.clone();
    for service in &mut config.services {
        if service.kind == ServiceKind::Ssh {
            let folder = || data.join("ssh-host-keys");
            service.ssh.get_or_insert_default().host_keys.get_or_insert_with(folder);
        }
    }
    let drawn = std::fs::read_to_string(data.join("persona.seed")).ok();
    let seed = drawn.and_then(|text| text.trim().parse().ok()).unwrap_or_else(rand::random);
    let now = Timestamp::from(SystemTime::now());
    let here = Installation { sensor: settings.sensor(), seed: Some(seed), now };
    match check(&config, &here).await {
        Ok(tells) => Ok(TellReport {
            sensor: here.sensor.to_string(),
            checked_at: now,
            tells: tells.into_iter().map(told).collect(),
        }),
        Err(mistakes) => bail!("the honeypots have mistakes:\n  {}", mistakes.join("\n  ")),
    }
}

/// What is found on the honeypots of the settings, for the hub; of a report that
/// is too long for an event, what shows.
pub(crate) async fn event(settings: Option<&Settings>) -> Option<Event> {
    let settings = settings?;
    let mut report = match report(settings).await {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(%error, "what the honeypots are known by was not tried");
            return None;
        }
    };
    let checked = report.tells.len() as u64;
    let shown = |tell: &HoneypotTell| tell.verdict == word(Verdict::Shown);
    let count = report.tells.iter().filter(|tell| shown(tell)).count() as u64;
    let mut text = json!(report).to_string();
    if text.len() > MAX_TEXT_BYTES {
        report.tells.retain(shown);
        text = json!(report).to_string();
    }
    let now = Timestamp::from(SystemTime::now());
    let id = EventId::new(now, rand::random());
    let mut event = Event::new(id, EventKind::SensorChecked, now, settings.sensor())
        .with("shown", count)
        .with("checked", checked);
    if text.len() <= MAX_TEXT_BYTES {
        event = event.with("report", Untrusted::from(text));
    }
    event.host = HostName::new(&host_name()).ok();
    Some(event)
}

fn told(tell: Tell) -> HoneypotTell {
    HoneypotTell {
        id: tell.id.to_owned(),
        place: tell.place,
        looks_at: tell.looks_at.to_owned(),
        known_from: tell.known_from.to_owned(),
        verdict: word(tell.verdict).to_owned(),
        seen: tell.seen,
        advice: tell.advice.to_owned(),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Hidden => "hidden",
        Verdict::Shown => "shown",
        Verdict::NotApplicable => "not-applicable",
    }
}
