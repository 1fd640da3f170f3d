//! A bound on the bytes that wait for the indexing threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of rows that wait for the indexing threads at most; then whoever
/// brings more waits.
pub(super) const QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// How much is taken.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: Mutex<Taken>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    has_waited: bool,
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. More than there is in all gets in alone. Where the
    /// indexing threads end, what they have not taken is dropped and makes room.
    pub(super) fn claim(self: &Arc<Self>, bytes: usize) -> Claim {
        let mut taken = self.taken();
        while taken.bytes > 0 && taken.bytes + bytes > QUEUED_BYTES {
            taken.has_waited = true;
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.bytes += bytes;
        Claim { room: Arc::clone(self), bytes }
    }

    /// Whether anybody waited since this was asked last.
    pub(super) fn take_waited(&self) -> bool {
        std::mem::take(&mut self.taken().has_waited)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.room.taken().bytes -= self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_brings_too_much_waits_until_there_is_room() {
        let room = Arc::new(Room::default());
        let large = room.claim(2 * QUEUED_BYTES);
        assert!(!room.take_waited());
        let other = Arc::clone(&room);
        let waiting = std::thread::spawn(move || other.claim(1));
        while !room.taken().has_waited {
            std::thread::yield_now();
        }
        drop(large);
        let small = waiting.join().unwrap();
        assert!(room.take_waited());
        drop(small);
        assert_eq!(room.taken().bytes, 0);
    }
}
