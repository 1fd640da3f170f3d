//! What all agents are directed to beside decisions: whom to spare, where
//! operators are signed in from, which scenarios are switched. Written out once
//! for all who ask.
//!
//! It is read from the state, which all hubs share, so whoever changes something
//! there need not tell anybody; its number says which of two is the newer one.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_event::{
    DirectedEntry, Directions, MAX_DIRECTED, MAX_DIRECTED_REASON_BYTES, MAX_SWITCHED, ScenarioName,
    Timestamp,
};
use palisade_store::state::{State, StateError, StoredDirections};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::detection::{SWITCHES, SimulationSwitch};

/// An operator's address is spared for at least so long while the hub is away:
/// an hour. What agents are told of it is renewed in steps of half an hour.
const OPERATOR_STEP_MILLIS: i64 = 30 * 60 * 1000;
const OPERATOR_STEPS: i64 = 3;

/// See the module.
pub(super) struct Directing {
    state: State,
    current: watch::Sender<Arc<Written>>,
}

/// Directions as they are sent.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) version: u64,
    pub(super) text: Vec<u8>,
}

impl Directing {
    pub(super) async fn open(state: &State, now: Timestamp) -> Result<Self, StateError> {
        let none = Arc::new(Written { version: u64::MAX, text: Vec::new() });
        let opened = Self { state: state.clone(), current: watch::Sender::new(none) };
        opened.refresh(now).await?;
        Ok(opened)
    }

    pub(super) fn version(&self) -> u64 {
        self.current.borrow().version
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Written>> {
        self.current.subscribe()
    }

    /// Takes over what has changed, whoever changed it.
    pub(super) async fn refresh(&self, now: Timestamp) -> Result<(), StateError> {
        let mark = |stored: &StoredDirections| mark(&contents(stored, now));
        let mut stored = self.state.directions(SWITCHES, now).await?;
        if mark(&stored) != stored.mark {
            stored = self.state.number_directions(SWITCHES, now, mark).await?;
        }
        if stored.version == self.version() {
            return Ok(());
        }
        let written = Directions { version: stored.version, ..contents(&stored, now) };
        // Writing to memory can only fail for map keys that are no strings; there are none.
        let text = serde_json::to_vec(&written).unwrap_or_default();
        self.current.send_replace(Arc::new(Written { version: stored.version, text }));
        Ok(())
    }

    /// What is news to somebody who has another version, or none.
    pub(super) async fn news(&self, known: Option<u64>, now: Timestamp) -> Option<Arc<Written>> {
        let is_ahead = |version| known.is_some_and(|known| known > version);
        if is_ahead(self.version()) {
            // Another hub may have told of something that this one has not seen yet.
            if let Err(error) = self.refresh(now).await {
                tracing::debug!(%error, "directions cannot be read");
                return None;
            }
        }
        let current = Arc::clone(&self.current.borrow());
        (known != Some(current.version)).then_some(current)
    }
}

/// What agents are told; without its number.
fn contents(stored: &StoredDirections, now: Timestamp) -> Directions {
    let entries = stored.allow.iter().map(|entry| DirectedEntry {
        target: entry.target,
        reason: entry.reason.as_deref().map(cut),
        until: entry.until,
    });
    let step = now.as_millis().div_euclid(OPERATOR_STEP_MILLIS) + OPERATOR_STEPS;
    let until = Timestamp::from_millis(step.saturating_mul(OPERATOR_STEP_MILLIS));
    let operators = stored.operators.iter().map(|target| DirectedEntry {
        target: *target,
        reason: Some("an operator is signed in from there".into()),
        until: Some(until),
    });
    let switch = |(name, value): &(String, String)| {
        let name = ScenarioName::new(name.strip_prefix(SWITCHES)?).ok()?;
        let switch: SimulationSwitch = serde_json::from_str(value).ok()?;
        Some((name, switch.simulated))
    };
    let simulate: BTreeMap<ScenarioName, bool> =
        stored.switches.iter().filter_map(switch).take(MAX_SWITCHED).collect();
    Directions {
        version: 0,
        allow: entries.chain(operators).take(MAX_DIRECTED).collect(),
        simulate,
    }
}

fn mark(contents: &Directions) -> String {
    let text = serde_json::to_vec(contents).unwrap_or_default();
    Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn cut(text: &str) -> Box<str> {
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += c.len_utf8();
        bytes <= MAX_DIRECTED_REASON_BYTES
    };
    text.chars().take_while(fits).collect()
}
