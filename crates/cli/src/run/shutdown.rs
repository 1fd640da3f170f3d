//! Signals: the first SIGINT or SIGTERM ends in order, the second at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of an impatient end, as shells have it for SIGINT.
const IMPATIENT_EXIT: i32 = 130;

/// A token that the first signal cancels.
///
/// # Errors
/// The signals cannot be watched.
pub(crate) fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        first.cancel();
        next().await;
        eprintln!("palisade: second signal, ending at once");
        std::process::exit(IMPATIENT_EXIT);
    });
    Ok(stop)
}
