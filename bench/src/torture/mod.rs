//! What must never be lost: the real binary under load, killed or cut off from
//! power at random moments, and everything counted afterwards.
//!
//! `load` sends and remembers what was acknowledged, `verdict` asks what is
//! there, `kill9` and `powercut` are the two ways to end it, `disk` and `mount`
//! the disk that the power is cut from, `maintain` the housekeeping of a
//! stopped store, which is ended in the middle as well. `slow` is the same disk
//! when it takes its time.

mod disk;
pub(crate) mod ews;
pub(crate) mod kill9;
mod load;
pub(crate) mod maintain;
mod mount;
pub(crate) mod powercut;
pub(crate) mod slow;
mod verdict;
