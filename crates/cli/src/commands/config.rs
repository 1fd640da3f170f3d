//! `palisade config check|show`.

use std::process::ExitCode;

use palisade_store::state::State;

use crate::out;
use crate::settings::Settings;

/// Lists every mistake, or says that there is none.
pub(crate) fn check(settings: &Settings) -> ExitCode {
    let mut mistakes = settings.mistakes();
    if mistakes.is_empty() {
        mistakes.extend(detection(settings));
    }
    if mistakes.is_empty() {
        return match state_database(settings) {
            Ok(()) => {
                out::line("the settings are in order");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("[hub.state] {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    ExitCode::FAILURE
}

/// Reads scenarios and fail2ban's folder. What of its jails does not run is told
/// and is no mistake: the others run.
fn detection(settings: &Settings) -> Vec<String> {
    let detect = &settings.agent.detect;
    let Some(fail2ban) = &settings.agent.fail2ban else {
        let mistakes = detect.load_scenarios().err().unwrap_or_default();
        return mistakes.into_iter().map(|mistake| format!("[agent.detect] {mistake}")).collect();
    };
    let jails = match fail2ban.load() {
        Ok(jails) => jails,
        Err(mistakes) => {
            return mistakes.into_iter().map(|mistake| format!("[agent] {mistake}")).collect();
        }
    };
    for problem in &jails.problems {
        out::line(&format!("[agent.fail2ban] {problem}"));
    }
    let names: Vec<&str> = jails.names().collect();
    out::line(&format!("[agent.fail2ban] jails that run ({}): {}", names.len(), names.join(", ")));
    let mistakes = detect.detector_with(&jails, 0).err().unwrap_or_default();
    mistakes.into_iter().map(|mistake| format!("[agent.detect] {mistake}")).collect()
}

/// Signs in to PostgreSQL where the settings name one; changes nothing there.
fn state_database(settings: &Settings) -> anyhow::Result<()> {
    if settings.hub.state.postgres.is_some() {
        crate::run::runtime()?.block_on(State::examine(&settings.hub.state))?;
    }
    Ok(())
}

/// Prints the settings in force as TOML. Secrets are kept in files of their
/// own, so there is nothing to hide in it.
pub(crate) fn show(settings: &Settings) -> anyhow::Result<()> {
    let mut shown = settings.clone();
    shown.data = Some(settings.data_dir());
    shown.sensor = Some(settings.sensor());
    out::line(toml::to_string_pretty(&shown)?.trim_end());
    Ok(())
}
