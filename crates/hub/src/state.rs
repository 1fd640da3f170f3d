//! Opens the state database, waiting for a server that is not up yet.

use std::path::Path;
use std::time::Duration;

use palisade_store::state::{State, StateConfig, StateOpenError};
use tokio::time::{Instant, sleep};

use crate::error::OpenError;

/// First wait for the server; doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Opens it. A server that does not answer is waited for, up to a bound, as it
/// may be starting beside the hub; what the operator must mend ends the start
/// at once.
pub(crate) async fn open(file: &Path, config: &StateConfig) -> Result<State, OpenError> {
    let until = Instant::now() + Duration::from_secs(config.start_wait_secs.into());
    let mut wait = FIRST_WAIT;
    loop {
        let reason = match State::open(file, config).await {
            Ok(state) => break greet(state, file, config).await,
            Err(StateOpenError::Unreachable(reason)) if Instant::now() + wait < until => reason,
            Err(error) => return Err(OpenError(error.to_string())),
        };
        tracing::warn!(%reason, "waiting for the state database");
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Says so where accounts were left behind in the file of before.
async fn greet(state: State, file: &Path, config: &StateConfig) -> Result<State, OpenError> {
    if config.postgres.is_some()
        && file.exists()
        && state.accounts().await.is_ok_and(|accounts| accounts.is_empty())
    {
        tracing::warn!(
            file = %file.display(),
            "PostgreSQL holds no accounts yet, but this file may; `palisade state move` brings them"
        );
    }
    Ok(state)
}
