//! Hash tables for numbers and for what is hashed already: seeded by chance,
//! and several times faster than the standard library's hash.

use foldhash::fast::RandomState;

pub(super) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(super) type HashSet<T> = std::collections::HashSet<T, RandomState>;
