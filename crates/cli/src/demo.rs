//! The recorded attacks of `fixtures/demo`, made fresh: new ids, new sessions,
//! times of now, the sensor `demo` and the attribute `demo`, so that nobody
//! takes them for real. A line with `every` comes in one of so many passes only:
//! break-ins are rarer than attempts. Lines with `after_ms` are one session that
//! was recorded: they keep their distance, so that a replay fits to them; what
//! is told of the last one is then a moment ago, of the first one some more.

use anyhow::Context as _;
use palisade_event::{AttributeValue, Event, EventId, SensorId, SessionId, Timestamp, wire};
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
    /// When the recorded session that is being replayed began.
    began: Timestamp,
}

/// A recorded event.
struct Template {
    event: Event,
    /// It comes in one of so many passes.
    every: u32,
    /// Milliseconds after the beginning of its session, where that was recorded.
    after_ms: Option<i64>,
    /// Where it begins one: how long that is.
    length_ms: i64,
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
        let mut templates = RECORDED
            .lines()
            .enumerate()
            .map(|(index, line)| {
                let mut value: Value = serde_json::from_str(line)?;
                let epoch = Timestamp::from_millis(0);
                let (mut every, mut after_ms) = (1, None);
                if let Some(fields) = value.as_object_mut() {
                    let said = fields.remove("every").and_then(|every| every.as_u64());
                    every = said.and_then(|every| u32::try_from(every).ok()).unwrap_or(1).max(1);
                    after_ms = fields.remove("after_ms").and_then(|after| after.as_i64());
                    fields.insert("id".into(), json!(EventId::new(epoch, 0)));
                    fields.insert("observed_at".into(), json!(epoch));
                    fields.insert("sensor".into(), json!(sensor));
                }
                let event = serde_json::from_value::<Event>(value)
                    .with_context(|| format!("line {} of the recorded attacks", index + 1))?;
                Ok(Template { event, every, after_ms, length_ms: 0 })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut length_ms = 0;
        for template in templates.iter_mut().rev() {
            length_ms = template.after_ms.unwrap_or(0).max(length_ms);
            if template.after_ms == Some(0) {
                template.length_ms = std::mem::take(&mut length_ms);
            }
        }
        // Else the search for the next one would not end.
        let common = templates.iter().any(|template| template.every == 1);
        anyhow::ensure!(common, "there are no recorded attacks");
        let began = Timestamp::from_millis(0);
        Ok(Self { templates, next: 0, passes: 0, pass: rand::random(), began })
    }

    /// How many events one pass has.
    pub(crate) fn len(&self) -> usize {
        self.templates.len()
    }

    /// The next event as if it happened at `at`, in wire form.
    pub(crate) fn next(&mut self, at: Timestamp) -> Vec<u8> {
        let Some((mut event, after_ms, length_ms)) = self.template() else { return Vec::new() };
        if length_ms > 0 {
            self.began = at.plus_millis(-length_ms);
        }
        let at = after_ms.map_or(at, |after| self.began.plus_millis(after));
        event.id = EventId::new(at, rand::random());
        event.observed_at = at;
        if let Some(AttributeValue::Integer(started)) = event.attributes.get_mut("started_ms") {
            *started += self.began.as_millis();
        }
        if let Some(session) = &event.session {
            event.session = SessionId::new(&format!("{session}-{:08x}", self.pass)).ok();
        }
        wire::encode_event(&event.with("demo", true))
    }

    /// The next one that comes in this pass.
    fn template(&mut self) -> Option<(Event, Option<i64>, i64)> {
        loop {
            let template = self.templates.get(self.next)?;
            let now = self.passes % template.every == RARE_PASS % template.every;
            let Template { event, after_ms, length_ms, .. } = template;
            let event = now.then(|| (event.clone(), *after_ms, *length_ms));
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
    use palisade_event::asciicast::parse_line;

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
    fn a_recorded_session_keeps_its_distances_and_can_be_replayed() {
        let mut replay = Replay::new().unwrap();
        let now = Timestamp::from_millis(1_000_000_000);
        let mut sessions: std::collections::BTreeMap<String, Vec<Event>> = Default::default();
        for second in 0..i64::try_from(replay.len()).unwrap() {
            let event = replay.next(now.plus_millis(second * 1_000));
            let event = wire::decode_event(&event).unwrap();
            if let Some(session) = &event.session {
                sessions.entry(session.to_string()).or_default().push(event);
            }
        }
        let is = |kind: &str, event: &&Event| event.kind.as_str() == kind;
        sessions.retain(|_, events| events.iter().any(|event| is("session.recorded", &event)));
        assert_eq!(sessions.len(), 2, "one of Telnet and one of SSH");
        for events in sessions.values() {
            assert!(events.is_sorted_by_key(|event| event.observed_at), "as they happened");
            let parts: Vec<_> = events.iter().filter(|e| is("session.recorded", e)).collect();
            let (mut began, mut end) = (0, 0);
            for part in parts {
                let (AttributeValue::Integer(started), AttributeValue::Text(lines)) =
                    (&part.attributes["started_ms"], &part.attributes["asciicast"])
                else {
                    panic!("{part:?}")
                };
                let lines = lines.as_utf8().unwrap().lines();
                let last = lines.map(|l| parse_line(l).unwrap()).next_back().unwrap();
                (began, end) = (*started, started + i64::try_from(last.at_ms).unwrap());
                assert!((0..3_000).contains(&(part.observed_at.as_millis() - end)));
            }
            // Each command lies within the replay.
            let commands: Vec<_> = events.iter().filter(|e| is("command.entered", e)).collect();
            assert!(commands.len() > 5);
            for command in commands {
                assert!((began..=end).contains(&command.observed_at.as_millis()));
            }
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
