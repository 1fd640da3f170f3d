//! Work that may block, apart from the tasks that wait.

use crate::source::Ended;

/// Does work of a task on a thread that may block, and gives the task back with
/// what came of it.
///
/// # Errors
/// The work has failed; `lost` says in the log what does not go on.
pub(crate) async fn blocking<O: Send + 'static, T: Send + 'static>(
    mut own: O,
    lost: &'static str,
    work: impl FnOnce(&mut O) -> T + Send + 'static,
) -> Result<(O, T), Ended> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut own);
        (own, done)
    });
    done.await.map_err(|error| {
        tracing::error!(%error, "{lost}");
        Ended
    })
}
