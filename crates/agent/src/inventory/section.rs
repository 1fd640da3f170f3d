//! A section of the inventory: what was seen, what was left out, and what could
//! not be seen.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::root::Unseen;

/// Longest text of one value, in characters.
const MAX_TEXT_CHARS: usize = 1_024;

/// One entry of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// What it is told apart by: a name, a path, a protocol with address and port.
    pub(crate) key: String,
    /// What stays the same while nothing changes.
    pub(crate) value: Value,
}

/// A section, collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) entries: Vec<Entry>,
    /// Entries beyond the bound.
    pub(crate) left_out: usize,
    /// What could not be seen and why, a sentence each.
    pub(crate) unseen: Vec<String>,
}

impl Section {
    /// A section of which nothing could be seen.
    pub(crate) fn hidden(what: &str, reason: &Unseen) -> Self {
        let mut section = Self::default();
        section.could_not(what, reason);
        section
    }

    pub(crate) fn add(&mut self, key: impl Into<String>, value: Value) {
        self.entries.push(Entry { key: key.into(), value: shortened(value) });
    }

    /// Adds an entry where there is room, else counts it.
    pub(crate) fn add_up_to(&mut self, most: usize, key: impl Into<String>, value: Value) {
        if self.entries.len() < most {
            self.add(key, value);
        } else {
            self.left_out += 1;
        }
    }

    /// Says what could not be seen.
    pub(crate) fn could_not(&mut self, what: &str, reason: &Unseen) {
        if self.unseen.len() < 16 {
            self.unseen.push(format!("{what}: {reason}"));
        }
    }

    /// Its content in short: the same while nothing changes. Numbers that move by
    /// themselves (bytes, uses, process ids) are not part of it.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for entry in &self.entries {
            hash.update(entry.key.as_bytes());
            hash.update([0]);
            hash.update(steady(&entry.value).to_string().as_bytes());
            hash.update([1]);
        }
        for sentence in &self.unseen {
            hash.update(sentence.as_bytes());
            hash.update([2]);
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Names of values that move by themselves.
const MOVING: [&str; 16] = [
    "usage",
    "cur_freq",
    "used",
    "free",
    "available",
    "uptime",
    "load",
    "inodes_used",
    "recv",
    "sent",
    "pid",
    "pids",
    "used_by",
    "since",
    "speed",
    "network",
];

/// A value without what moves by itself.
pub(crate) fn steady(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !MOVING.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), steady(value))).collect())
        }
        other => other.clone(),
    }
}

/// The value with its texts cut.
fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > MAX_TEXT_CHARS => {
            Value::String(text.chars().take(MAX_TEXT_CHARS).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(shortened).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, v)| (name, shortened(v))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_changes_with_what_matters_and_not_with_what_moves() {
        let section = |used: u64, device: &str| {
            let mut section = Section::default();
            section.add("/", json!({ "mount": "/", "device": device, "used": used }));
            section
        };
        assert_eq!(section(1, "a").digest(), section(2, "a").digest());
        assert_ne!(section(1, "a").digest(), section(1, "b").digest());
        let mut hidden = section(1, "a");
        hidden.could_not("x", &Unseen::NotRunning);
        assert_ne!(hidden.digest(), section(1, "a").digest());
    }
}
