//! `palisade config check|show`.

use std::process::ExitCode;

use crate::out;
use crate::settings::Settings;

/// Lists every mistake, or says that there is none.
pub(crate) fn check(settings: &Settings) -> ExitCode {
    let mistakes = settings.mistakes();
    if mistakes.is_empty() {
        out::line("the settings are in order");
        return ExitCode::SUCCESS;
    }
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    ExitCode::FAILURE
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
