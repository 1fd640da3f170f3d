//! A recording, put together from the parts that `session.recorded` events
//! carry. They come from sensors, so every line is looked at.

use std::collections::BTreeMap;

use palisade_event::asciicast::{self, clamp_size};
use palisade_event::{AttributeValue, Event, SensorId, SessionId, Timestamp, Untrusted};

/// Most parts of a recording that are looked at.
pub(super) const MAX_PARTS: usize = 400;
/// Most bytes of a recording that is given out.
pub(crate) const MAX_RECORDING_BYTES: usize = 4 * 1024 * 1024;
/// Longest name of a terminal that is passed on.
const MAX_TERM_BYTES: usize = 64;

/// The recording of a session's terminal, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The session.
    pub session: SessionId,
    /// The sensor that recorded it.
    pub sensor: SensorId,
    /// When it began.
    pub started_at: Timestamp,
    /// Columns and rows of the terminal when it began.
    pub size: (u16, u16),
    /// What the terminal is, as the client says.
    pub term: Option<Untrusted>,
    /// Lines of asciicast v2 without the header, each ending in LF, in the order
    /// of their parts.
    pub lines: String,
    /// How long it is, in milliseconds.
    pub length_ms: u64,
    /// Whether the session had ended and no part is missing.
    pub complete: bool,
    /// Whether it was cut at a bound.
    pub truncated: bool,
}

impl Recording {
    /// Puts parts together, by their numbers; the first of each number counts.
    /// `None` where there is none.
    pub(super) fn assemble(events: Vec<Event>) -> Option<Self> {
        let mut parts: BTreeMap<i64, Event> = BTreeMap::new();
        for event in events {
            if let Some(number) = number(&event, "part").filter(|number| *number >= 0) {
                parts.entry(number).or_insert(event);
            }
        }
        let (_, first) = parts.first_key_value()?;
        let size = |name| number(first, name).and_then(|size| u32::try_from(size).ok());
        let mut recording = Self {
            session: first.session.clone()?,
            sensor: first.sensor.clone(),
            started_at: number(first, "started_ms")
                .map_or(first.observed_at, Timestamp::from_millis),
            size: clamp_size(size("width").unwrap_or(0), size("height").unwrap_or(0)),
            term: text(first, "term").filter(|term| term.len() <= MAX_TERM_BYTES).cloned(),
            lines: String::new(),
            length_ms: 0,
            complete: false,
            truncated: false,
        };
        let mut expected = 0;
        for (number, event) in &parts {
            recording.truncated |= flag(event, "truncated");
            recording.complete = *number == expected && flag(event, "last");
            expected = if *number == expected { number + 1 } else { i64::MAX };
            let lines = text(event, "asciicast").map(Untrusted::to_lossy).unwrap_or_default();
            recording.add(&lines);
        }
        Some(recording)
    }

    fn add(&mut self, lines: &str) {
        for line in lines.lines() {
            let Some(read) = asciicast::parse_line(line) else { continue };
            if self.lines.len() + line.len() >= MAX_RECORDING_BYTES {
                self.truncated = true;
                return;
            }
            self.length_ms = self.length_ms.max(read.at_ms);
            self.lines.push_str(line);
            self.lines.push('\n');
        }
    }

    /// The whole as a file in asciicast v2.
    #[must_use]
    pub fn asciicast(&self) -> String {
        let title = format!("session {}", self.session);
        let term = self.term.as_ref().and_then(Untrusted::as_utf8);
        let started = self.started_at.as_millis().div_euclid(1_000);
        let header = asciicast::header(self.size, started, &title, term);
        format!("{header}\n{}", self.lines)
    }
}

fn number(event: &Event, name: &str) -> Option<i64> {
    match event.attributes.get(name) {
        Some(AttributeValue::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn text<'a>(event: &'a Event, name: &str) -> Option<&'a Untrusted> {
    match event.attributes.get(name) {
        Some(AttributeValue::Text(text)) => Some(text),
        _ => None,
    }
}

fn flag(event: &Event, name: &str) -> bool {
    event.attributes.get(name) == Some(&AttributeValue::Flag(true))
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, EventKind};

    use super::*;

    fn part(number: i64, lines: &str) -> Event {
        let at: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let id = EventId::new(at, u128::from(number.unsigned_abs()));
        let sensor = SensorId::new("s").unwrap();
        let mut event = Event::new(id, EventKind::SessionRecorded, at, sensor)
            .with("part", number)
            .with("width", 100_i64)
            .with("height", 30_i64)
            .with("started_ms", at.as_millis() - 1_500)
            .with("term", "xterm")
            .with("asciicast", lines);
        event.session = Some(SessionId::new("abc").unwrap());
        event
    }

    #[test]
    fn parts_are_joined_in_order_and_count_once() {
        let events = vec![
            part(2, "[2.0,\"o\",\"c\"]\n").with("last", true),
            part(0, "[0.0,\"o\",\"a\"]\n"),
            part(1, "[1.0,\"o\",\"b\"]\n"),
            part(1, "[1.0,\"o\",\"again\"]\n"),
        ];
        let recording = Recording::assemble(events).unwrap();
        assert!(recording.complete && !recording.truncated);
        assert_eq!(recording.length_ms, 2_000);
        let mut lines = recording.asciicast();
        let body = lines.split_off(lines.find('\n').unwrap());
        assert_eq!(body, "\n[0.0,\"o\",\"a\"]\n[1.0,\"o\",\"b\"]\n[2.0,\"o\",\"c\"]\n");
        let header: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!((&header["width"], &header["height"]), (&100.into(), &30.into()));
        assert_eq!(header["timestamp"], 1_795_168_798);
    }

    #[test]
    fn a_recording_that_goes_on_or_lacks_a_part_is_not_complete() {
        assert!(Recording::assemble(Vec::new()).is_none());
        let open = Recording::assemble(vec![part(0, "[0.0,\"o\",\"a\"]\n")]).unwrap();
        assert!(!open.complete);
        let lost = vec![part(0, ""), part(2, "[2.0,\"o\",\"c\"]\n").with("last", true)];
        let lost = Recording::assemble(lost).unwrap();
        assert!(!lost.complete);
        assert_eq!(lost.lines, "[2.0,\"o\",\"c\"]\n");
    }

    #[test]
    fn what_is_no_line_is_left_out_and_the_whole_is_bounded() {
        let hostile = "{}\n[0.0,\"o\",\"a\"]\n[1,\"x\",\"\"]\n<script>\n[1.0,\"o\",\"b\"]";
        let recording = Recording::assemble(vec![part(0, hostile)]).unwrap();
        assert_eq!(recording.lines, "[0.0,\"o\",\"a\"]\n[1.0,\"o\",\"b\"]\n");
        let line = format!("[0.0,\"o\",\"{}\"]\n", "x".repeat(60_000));
        let large = (0..100).map(|number| part(number, &line)).collect();
        let recording = Recording::assemble(large).unwrap();
        assert!(recording.truncated && recording.lines.len() <= MAX_RECORDING_BYTES);
    }
}
