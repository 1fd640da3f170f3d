//! What holds on all agents beside decisions: whom the hub spares, and which
//! scenarios it has switched.
//!
//! It comes as a whole with a page of the change feed, to those who say that
//! they know of it, whenever theirs is another one: so nothing is added up, and
//! what was taken away is not missed. An agent keeps it on disk and goes by it
//! while the hub is away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DecisionTarget, MAX_NOTE_BYTES, ScenarioName, Timestamp};

/// The header in which an agent says what it has: a version, or `none`. Hubs
/// that do not know it leave it alone, and so do agents that do not send it.
pub const DIRECTIONS_HEADER: &str = "palisade-directions";
/// Most of whom the hub spares.
pub const MAX_DIRECTED: usize = 12_000;
/// Longest reason of an entry that agents are told, in bytes.
pub const MAX_DIRECTED_REASON_BYTES: usize = 100;
/// Most scenarios that are switched.
pub const MAX_SWITCHED: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directions {
    /// Another one is something else; a later one is greater.
    pub version: u64,
    /// Whom agents spare, whatever they detect.
    #[serde(default)]
    pub allow: Vec<DirectedEntry>,
    /// Scenarios that are simulated, or are not, whatever an agent's settings say.
    #[serde(default)]
    pub simulate: BTreeMap<ScenarioName, bool>,
}

/// Somebody whom the hub spares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectedEntry {
    /// Whom.
    pub target: DecisionTarget,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// Until when; without it for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Directions {
    /// Whether it keeps its limits.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.allow.len() > MAX_DIRECTED {
            return Err("it spares more than 12000 targets");
        }
        if self.simulate.len() > MAX_SWITCHED {
            return Err("it switches more than 1000 scenarios");
        }
        for entry in &self.allow {
            if let DecisionTarget::Range(range) = entry.target
                && range.prefix_len() == 0
            {
                return Err("it spares the whole Internet");
            }
            if entry.reason.as_ref().is_some_and(|reason| reason.len() > MAX_NOTE_BYTES) {
                return Err("a reason is longer than 500 bytes");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str) -> DirectedEntry {
        DirectedEntry { target: target.parse().unwrap(), reason: None, until: None }
    }

    #[test]
    fn limits_are_kept_and_what_a_later_hub_adds_is_left_alone() {
        let text =
            r#"{"version":7,"allow":[{"target":"192.0.2.0/24","reason":"office","x":1}],"y":2}"#;
        let read: Directions = serde_json::from_str(text).unwrap();
        assert_eq!((read.version, read.allow.len(), read.check()), (7, 1, Ok(())));
        let all = Directions { allow: vec![entry("::/0")], ..Directions::default() };
        assert!(all.check().is_err());
        let many = vec![entry("192.0.2.1"); MAX_DIRECTED + 1];
        assert!(Directions { allow: many, ..Directions::default() }.check().is_err());
        let long = DirectedEntry { reason: Some("x".repeat(501).into()), ..entry("192.0.2.1") };
        assert!(Directions { allow: vec![long], ..Directions::default() }.check().is_err());
    }
}
