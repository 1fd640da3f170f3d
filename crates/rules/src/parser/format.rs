//! Log formats by name, and from a line of one to events.
//!
//! The id of an event that is read this way is derived from the line itself
//! (and, for lines that may repeat within a second, from how often the same
//! line came before it): wherever and however often it is read, it counts once.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;

use palisade_event::{AnalyzerName, Event, EventId, SensorId};
use serde::{Deserialize, Serialize};

use super::{LineContext, Observation, Parsed, endlessh, json, parse_sshd};

/// Lines that are remembered to tell a repetition within a second from another
/// reading; more: all are forgotten.
const MAX_REMEMBERED_LINES: usize = 65_536;
/// Most events that one "message repeated N times" becomes.
pub const MAX_REPEATED_EVENTS: u32 = 100;

/// A format of log lines that can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// OpenSSH's server, through syslog.
    #[default]
    Sshd,
    /// Cowrie's `cowrie.json`.
    Cowrie,
    /// Dionaea's `dionaea.json`.
    Dionaea,
    /// Suricata's `eve.json`.
    Suricata,
    /// Honeytrap's `attackers.json`.
    Honeytrap,
    /// OpenCanary's log.
    OpenCanary,
    /// Endlessh's text log.
    Endlessh,
}

impl LogFormat {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sshd,
        Self::Cowrie,
        Self::Dionaea,
        Self::Suricata,
        Self::Honeytrap,
        Self::OpenCanary,
        Self::Endlessh,
    ];

    /// Its name in settings, addresses and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sshd => "sshd",
            Self::Cowrie => "cowrie",
            Self::Dionaea => "dionaea",
            Self::Suricata => "suricata",
            Self::Honeytrap => "honeytrap",
            Self::OpenCanary => "opencanary",
            Self::Endlessh => "endlessh",
        }
    }

    /// Whether its lines are JSON objects, which may be long and cannot be read
    /// in part.
    #[must_use]
    pub fn is_json(self) -> bool {
        !matches!(self, Self::Sshd | Self::Endlessh)
    }

    /// The id of what a line of this format says: its n-th observation, the
    /// n-th of its repetitions, the n-th time that this very line stands in the
    /// log.
    #[must_use]
    pub fn event_id(
        self,
        line: &[u8],
        seen: &Observation,
        (part, time, before): (u32, u32, u32),
    ) -> EventId {
        let place = [part.to_be_bytes(), time.to_be_bytes(), before.to_be_bytes()].concat();
        let line = line.trim_ascii();
        EventId::derived(seen.observed_at, &[b"log", self.as_str().as_bytes(), line, &place])
    }

    /// Parses one line. Never fails and never panics.
    #[must_use]
    pub fn parse(self, line: &[u8], cx: &LineContext) -> Parsed {
        let mut parsed = self.read(line, cx);
        // sshd is a real service, which its category says.
        let analyzer = AnalyzerName::new(self.as_str()).ok().filter(|_| self != Self::Sshd);
        match &mut parsed {
            Parsed::Observation(seen) => seen.analyzer = analyzer,
            Parsed::Several(all) => {
                all.iter_mut().for_each(|seen| seen.analyzer.clone_from(&analyzer));
            }
            Parsed::Irrelevant | Parsed::Unparsed => {}
        }
        parsed
    }

    fn read(self, line: &[u8], cx: &LineContext) -> Parsed {
        match self {
            Self::Sshd => parse_sshd(line, cx),
            Self::Cowrie => json::cowrie::parse(line),
            Self::Dionaea => json::dionaea::parse(line),
            Self::Suricata => json::suricata::parse(line, cx),
            Self::Honeytrap => json::honeytrap::parse(line, cx),
            Self::OpenCanary => json::opencanary::parse(line),
            Self::Endlessh => endlessh::parse(line, cx),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no log format of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log format '{}'; known are sshd, cowrie, dionaea, suricata, honeytrap, opencanary and endlessh", .0.escape_default())]
pub struct UnknownFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| UnknownFormat(text.chars().take(64).collect()))
    }
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadLine {
    /// These happened.
    Events(Vec<Event>),
    /// Understood, and nothing new.
    Irrelevant,
    /// Not understood.
    Unparsed,
}

/// Reads lines of one log to events.
#[derive(Debug)]
pub struct LogReader {
    format: LogFormat,
    sensor: SensorId,
    cx: LineContext,
    seen: HashMap<u64, u32>,
    hasher: RandomState,
}

impl LogReader {
    /// A reader of `format`; `sensor` is who the events say has seen them.
    #[must_use]
    pub fn new(format: LogFormat, sensor: SensorId, cx: LineContext) -> Self {
        Self { format, sensor, cx, seen: HashMap::new(), hasher: RandomState::new() }
    }

    /// Reads the next line.
    pub fn read(&mut self, line: &[u8]) -> ReadLine {
        let line = line.trim_ascii_end();
        let before = self.before(line);
        let observations = match self.format.parse(line, &self.cx) {
            Parsed::Observation(observation) => vec![*observation],
            Parsed::Several(observations) => observations,
            Parsed::Irrelevant => return ReadLine::Irrelevant,
            Parsed::Unparsed => return ReadLine::Unparsed,
        };
        let mut events = Vec::with_capacity(observations.len());
        for (index, mut observation) in observations.into_iter().enumerate() {
            let times = observation.repeat.clamp(1, MAX_REPEATED_EVENTS);
            if observation.repeat > 1 {
                observation.note("repeated", i64::from(observation.repeat));
            }
            let part = u32::try_from(index).unwrap_or(u32::MAX);
            for time in 0..times {
                let id = self.format.event_id(line, &observation, (part, time, before));
                events.push(observation.clone().into_event(id, self.sensor.clone()));
            }
        }
        ReadLine::Events(events)
    }

    /// How often the same line came before.
    fn before(&mut self, line: &[u8]) -> u32 {
        // JSON lines have microseconds and ports in them.
        if self.format.is_json() {
            return 0;
        }
        if self.seen.len() >= MAX_REMEMBERED_LINES {
            self.seen.clear();
        }
        let count = self.seen.entry(self.hasher.hash_one(line)).or_default();
        let before = *count;
        *count = count.saturating_add(1);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(format: LogFormat) -> LogReader {
        let now = "2026-11-20T21:00:00Z".parse().unwrap();
        let cx = LineContext { now, zone: jiff::tz::TimeZone::UTC };
        LogReader::new(format, SensorId::new("unit").unwrap(), cx)
    }

    fn ids(read: ReadLine) -> Vec<EventId> {
        match read {
            ReadLine::Events(events) => events.iter().map(|event| event.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_formats_are_read_back_and_others_are_refused_with_the_known_ones() {
        for format in LogFormat::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            let error = "kippo".parse::<LogFormat>().unwrap_err().to_string();
            assert!(error.contains(format.as_str()), "{error}");
        }
    }

    #[test]
    fn a_line_read_again_is_the_same_event_and_a_repeated_one_another() {
        let line = b"2026-11-20T20:07:14+00:00 web-1 sshd[7]: Failed password for root from 198.51.100.7 port 5 ssh2";
        let mut first = reader(LogFormat::Sshd);
        let (one, two) = (ids(first.read(line)), ids(first.read(line)));
        assert_ne!(one, two);
        let mut again = reader(LogFormat::Sshd);
        assert_eq!((ids(again.read(line)), ids(again.read(line))), (one, two));
        let line = br#"{"eventid":"cowrie.command.input","timestamp":"2026-11-20T20:07:14.000001Z","src_ip":"198.51.100.7","session":"a","input":"id"}"#;
        let mut cowrie = reader(LogFormat::Cowrie);
        assert_eq!(ids(cowrie.read(line)), ids(cowrie.read(b"{\"eventid\":\"cowrie.command.input\",\"timestamp\":\"2026-11-20T20:07:14.000001Z\",\"src_ip\":\"198.51.100.7\",\"session\":\"a\",\"input\":\"id\"}\n")));
    }
}
