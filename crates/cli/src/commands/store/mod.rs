//! `palisade store stats|check|repair|backup|move`: the life of the files.

mod backup;
mod check;
mod moving;
mod repair;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palisade_store::life::Step;

use crate::args::{QuietArgs, StoreCommand};
use crate::progress::{Progress, Show};
use crate::settings::Settings;

/// Runs the command.
///
/// # Errors
/// One sentence of what could not be done.
pub(crate) async fn run(settings: &Settings, command: StoreCommand) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Stats { reach, format } => stats::run(settings, &reach, format).await,
        StoreCommand::Check { quiet, format } => check::run(settings, &quiet, format),
        StoreCommand::Repair { quiet, format } => repair::run(settings, &quiet, format),
        StoreCommand::Backup { to, quiet } => backup::run(settings, &to, &quiet).await,
        StoreCommand::Move { to, quiet } => moving::run(settings, to, &quiet),
    }
}

/// Where the embedded store lies.
fn store_dir(settings: &Settings) -> PathBuf {
    settings.data_dir().join("store")
}

/// Whether a hub runs on the data directory; otherwise, none can start as long
/// as the lock is held.
fn lock(settings: &Settings) -> Result<palisade_hub::DataLock, palisade_hub::OpenError> {
    palisade_hub::DataLock::take(&settings.data_dir())
}

/// A bar that a long piece of work moves.
fn bar(quiet: &QuietArgs, what: &str, events: u64) -> Progress {
    let progress = Progress::new(Show::from(quiet), Some(events), "events");
    progress.on(what);
    progress
}

fn show(progress: &Progress, what: &str, step: Step) {
    progress.on(&format!("{what} {}", step.day));
    progress.at(step.events);
}

/// Events that the folders of a store say they have.
fn events(dir: &Path) -> u64 {
    let days = palisade_store::life::survey(dir).unwrap_or_default();
    days.iter().filter(|day| day.in_use).map(|day| day.events).sum()
}

/// The index library panics on some damage, which is caught and told as a
/// finding; its message on standard error would only be in the way.
fn without_panic_messages<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}
