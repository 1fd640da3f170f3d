//! `palisade config check|show`.

use std::process::ExitCode;

use palisade_store::state::State;

use crate::out;
use crate::settings::Settings;

/// Lists every mistake, or says that there is none.
pub(crate) fn check(settings: &Settings) -> ExitCode {
    let mut mistakes = settings.mistakes();
    if mistakes.is_empty() {
        let scenarios = settings.agent.detect.load_scenarios().err().unwrap_or_default();
        mistakes.extend(scenarios.into_iter().map(|mistake| format!("[agent.detect] {mistake}")));
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
