//! Objects whose names come in an order of their own, which the dialect's
//! clients see.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// An object: names and values in this order.
pub(super) struct Object<K, V>(pub(super) Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Object<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Whatever it is, as JSON.
pub(super) fn write(value: &impl Serialize) -> Vec<u8> {
    // Writing to memory fails for names that are no strings; there are none.
    serde_json::to_vec(value).unwrap_or_default()
}
