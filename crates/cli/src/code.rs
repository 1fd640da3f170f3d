//! Keeps the memory of processes that wait small: code that nobody needed since the
//! last look is given back.

use std::time::Duration;

use palisade_resident::Code;

/// Long enough for what is needed again and again to be mapped only now and then.
const EVERY: Duration = Duration::from_secs(60);
/// After a start, whose code is needed once.
const FIRST: Duration = Duration::from_secs(10);

/// Where the code is; none where the kernel does not say, and then it stays.
pub(crate) fn find() -> Option<Code> {
    Code::find().inspect_err(|error| tracing::debug!(%error, "code cannot be given back")).ok()
}

/// Gives it back once, where something long begins.
pub(crate) fn give_back_once() {
    if let Some(Err(error)) = find().map(|code| code.give_back()) {
        tracing::debug!(%error, "code cannot be given back");
    }
}

/// Gives it back again and again. Ends with the runtime.
pub(crate) async fn give_back(code: Option<Code>) {
    let Some(code) = code else { return };
    let mut wait = FIRST;
    loop {
        tokio::time::sleep(wait).await;
        if let Err(error) = code.give_back() {
            tracing::debug!(%error, "code cannot be given back");
            return;
        }
        wait = EVERY;
    }
}
