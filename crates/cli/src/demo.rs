//! The recorded attacks of `fixtures/demo`, made fresh: new ids, new sessions,
//! times of now, the sensor `demo` and the attribute `demo`, so that nobody
//! takes them for real. A line with `every` comes in one of so many passes only:
//! break-ins are rarer than attempts.

use anyhow::Context as _;
use palisade_event::{Event, EventId, SensorId, SessionId, Timestamp, wire};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../../../fixtures/demo/attacks.jsonl");

/// An endless replay of the recorded set.
pub(crate) struct Replay {
    templates: Vec<Template>,
    next: usize,
    /// Passes that are over.
    passes: u32,
    /// Tells the sessions of this pass from those of others.
    pass: u32,
}

/// A recorded event.
struct Template {
    event: Event,
    /// It comes in one of so many passes.
    every: u32,
}

/// Which of the passes it is.
const RARE_PASS: u32 = 2;

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
                let mut every = 1;
                if let Some(fields) = value.as_object_mut() {
                    let said = fields.remove("every").and_then(|every| every.as_u64());
                    every = said.and_then(|every| u32::try_from(every).ok()).unwrap_or(1).max(1);
                    fields.insert("id".into(), json!(EventId::new(epoch, 0)));
                    fields.insert("observed_at".into(), json!(epoch));
                    fields.insert("sensor".into(), json!(sensor));
                }
                let event = serde_json::from_value::<Event>(value)
                    .with_context(|| format!("line {} of the recorded attacks", index + 1))?;
                Ok(Template { event, every })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        // Else the search for the next one would not end.
        let common = templates.iter().any(|template| template.every == 1);
        anyhow::ensure!(common, "there are no recorded attacks");
        Ok(Self { templates, next: 0, passes: 0, pass: rand::random() })
    }

    /// How many events one pass has.
    pub(crate) fn len(&self) -> usize {
        self.templates.len()
    }

    /// The next event as if it happened at `at`, in wire form.
    pub(crate) fn next(&mut self, at: Timestamp) -> Vec<u8> {
        let Some(mut event) = self.template() else { return Vec::new() };
        event.id = EventId::new(at, rand::random());
        event.observed_at = at;
        if let Some(session) = &event.session {
            event.session = SessionId::new(&format!("{session}-{:08x}", self.pass)).ok();
        }
        wire::encode_event(&event.with("demo", true))
    }

    /// The next one that comes in this pass.
    fn template(&mut self) -> Option<Event> {
        loop {
            let template = self.templates.get(self.next)?;
            let now = self.passes % template.every == RARE_PASS % template.every;
            let event = now.then(|| template.event.clone());
            self.next += 1;
            if self.next == self.templates.len() {
                self.next = 0;
                self.passes = self.passes.wrapping_add(1);
                self.pass = self.pass.wrapping_add(1);
            }
            if event.is_some() {
                return event;
            }
        }
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

    #[test]
    fn what_is_rare_comes_in_one_of_many_passes() {
        let mut replay = Replay::new().unwrap();
        let rare =
            |event: &Event| event.analyzer.as_ref().is_some_and(|a| a.as_str() == "ssh-break-in");
        let mut passes = Vec::new();
        while replay.passes < 16 {
            let pass = replay.passes;
            let event = wire::decode_event(&replay.next(Timestamp::from_millis(1_000))).unwrap();
            if rare(&event) {
                passes.push(pass);
            }
        }
        assert_eq!(passes, [2, 2, 14, 14], "an alert and a decision each");
    }
}
