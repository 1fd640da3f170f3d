//! Work that nobody waits for, at a lower priority: merges, and counting in
//! advance. On few cores it would else take the time of questions.

use std::thread;

/// How much lower, in steps of nice: about a tenth of the time of what runs
/// beside it, and at once behind it when it wakes.
const LOWER: i32 = 10;
/// The lowest there is.
const LOWEST: i32 = 19;

/// Runs `work` on a thread of its own at a lower priority. Threads that it
/// starts inherit that.
pub(super) fn quietly<T: Send>(work: impl FnOnce() -> T + Send) -> thread::Result<T> {
    thread::scope(|scope| {
        let quiet = scope.spawn(|| {
            lower();
            work()
        });
        quiet.join()
    })
}

/// Lowers the priority of this thread: of Linux threads each has its own. Where
/// it cannot be lowered, the work is done as it is.
fn lower() {
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, (now + LOWER).min(LOWEST));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_work_and_what_it_starts_is_lower() {
        let now = || rustix::process::getpriority_process(None).unwrap();
        let before = now();
        let (here, below) = quietly(|| (now(), thread::spawn(now).join().unwrap())).unwrap();
        assert_eq!((here, below), ((before + LOWER).min(LOWEST), here));
        assert_eq!(now(), before);
    }
}
