//! The recorded attacks of `fixtures/demo`, made fresh: new ids, new sessions,
//! times of now, the sensor `demo` and the attribute `demo`, so that nobody
//! takes them for real.

use anyhow::Context as _;
use palisade_event::{Event, EventId, SensorId, SessionId, Timestamp, wire};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../../../fixtures/demo/attacks.jsonl");

/// An endless replay of the recorded set.
pub(crate) struct Replay {
    templates: Vec<Event>,
    next: usize,
    /// Tells the sessions of this pass from those of others.
    pass: u32,
}

impl Replay {
    /// Reads the recorded set.
    ///
    /// # Errors
    /// A line is no event; a test holds that this does not happen.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let sensor = SensorId::new("demo")?;
        let templates = RECORDED
            .lines()
            .enumerate()
            .map(|(index, line)| {
                let mut value: Value = serde_json::from_str(line)?;
                let epoch = Timestamp::from_millis(0);
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("id".into(), json!(EventId::new(epoch, 0)));
                    fields.insert("observed_at".into(), json!(epoch));
                    fields.insert("sensor".into(), json!(sensor));
                }
                serde_json::from_value::<Event>(value)
                    .with_context(|| format!("line {} of the recorded attacks", index + 1))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!templates.is_empty(), "there are no recorded attacks");
        Ok(Self { templates, next: 0, pass: rand::random() })
    }

    /// How many events one pass has.
    pub(crate) fn len(&self) -> usize {
        self.templates.len()
    }

    /// The next event as if it happened at `at`, in wire form.
    pub(crate) fn next(&mut self, at: Timestamp) -> Vec<u8> {
        let mut event = match self.templates.get(self.next) {
            Some(event) => event.clone(),
            None => return Vec::new(),
        };
        event.id = EventId::new(at, rand::random());
        event.observed_at = at;
        if let Some(session) = &event.session {
            event.session = SessionId::new(&format!("{session}-{:08x}", self.pass)).ok();
        }
        self.next += 1;
        if self.next == self.templates.len() {
            self.next = 0;
            self.pass = self.pass.wrapping_add(1);
        }
        wire::encode_event(&event.with("demo", true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_attack_is_a_valid_event_marked_as_demo() {
        let mut replay = Replay::new().unwrap();
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..2 * replay.len() {
            let event = wire::decode_event(&replay.next(Timestamp::from_millis(1_000))).unwrap();
            assert_eq!(event.sensor.as_str(), "demo");
            assert!(event.attributes.contains_key("demo"));
            assert!(ids.insert(event.id));
        }
    }
}
