//! The threads that answer aggregations.
//!
//! A question is worked on by two threads where that helps. The second one is
//! never waited for before it has begun: on a busy machine the scheduler may
//! let it begin late, and most questions are answered by then. So the halves
//! are jobs of a pool (rayon's `join`: what nobody has taken is done by whoever
//! offered it), and not threads that are started and joined.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::aggregate::MAX_RUNNING;

/// Two for each question that runs.
const THREADS: usize = 2 * MAX_RUNNING;

/// The pool; `None` where the system gives no more threads.
fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let build = || {
        let name = |number| format!("question-{number}");
        ThreadPoolBuilder::new().num_threads(THREADS).thread_name(name).build().ok()
    };
    POOL.get_or_init(build).as_ref()
}

/// Answers a question on a thread of the pool.
pub(super) fn answer<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match pool() {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// Does two things, at once where a thread is free. Nothing that `other` needs
/// may be locked meanwhile.
pub(super) fn both<A: Send, B: Send>(
    mine: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    match pool() {
        Some(_) if rayon::current_thread_index().is_some() => rayon::join(mine, other),
        Some(pool) => pool.join(mine, other),
        None => (mine(), other()),
    }
}
