//! Every bound of the spool that is not the operator's to set, with its reason.

/// Longest frame on disk, in bytes, header included. Four times the longest
/// batch a hub accepts; a length beyond it in a file is damage, not data.
pub(crate) const MAX_FRAME_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes after which a group is written even though more appends are queued,
/// so that the first of them does not wait for the last.
pub(crate) const GROUP_BYTES: u64 = 1024 * 1024;

/// Appends and commits waiting for the writer. When full, the caller waits.
pub(crate) const QUEUED_COMMANDS: usize = 256;

/// Bytes read from a segment at once, unless a frame is longer.
pub(crate) const READ_BYTES: u64 = 64 * 1024;

/// Gaps in the numbering that are remembered to keep the count of pending
/// records exact. Beyond it the count is an upper bound.
pub(crate) const MAX_GAPS: usize = 1024;

/// Longest checkpoint that is read, in bytes.
pub(crate) const MAX_CHECKPOINT_BYTES: u64 = 16 * 1024;

/// A segment is never longer than this part of the spool, so that dropping
/// the oldest loses no more than this part (unless one append is longer).
pub(crate) const SEGMENTS_AT_LEAST: u64 = 4;

/// Stack of the writer thread, in bytes; its call depth is small and fixed.
pub(crate) const WRITER_STACK_BYTES: usize = 256 * 1024;

/// How often a lock is tried for before it is called taken.
pub(crate) const LOCK_TRIES: u32 = 10;

/// Pause between two tries for a lock: longer than a fork takes to its exec.
pub(crate) const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
