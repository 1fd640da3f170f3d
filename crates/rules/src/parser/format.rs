//! Log formats by name, and from a line of one to events.
//!
//! The id of an event that is read this way is derived from the line itself
//! (and, for lines that may repeat within a second, from how often the same
//! line came before it): wherever and however often it is read, it counts once.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use palisade_event::{AnalyzerName, Event, EventId, HostName, SensorId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::clock::Begin;
use super::ruleset::{self, Found, Input, LineState, Message, Parser, Read, Ruleset};
use super::sshd::{sight_head, sight_sshd};
use super::{
    LineContext, Observation, Parsed, Sight, endlessh, event, json, lines, parse_sshd,
    parse_sshd_message, syslog,
};
use crate::Sighting;
use crate::fail2ban::{JailLines, Now};

/// Lines that are remembered to tell a repetition within a second from another
/// reading; more: all are forgotten.
const MAX_REMEMBERED_LINES: usize = 65_536;
/// Most events that one "message repeated N times" becomes.
pub const MAX_REPEATED_EVENTS: u32 = 100;

/// A format of log lines that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Events of Palisade, one JSON object a line, as `palisade export` writes them.
    Palisade,
    /// Lines of many programs with syslog's head: each is read by the parser of
    /// its program.
    Syslog,
    /// Lines as they are, for rules that look for words in them; chosen by name
    /// alone, for it understands everything.
    Lines,
    /// One that a file describes ([`super::ruleset`]).
    Declared(Declared),
    /// The filter of a fail2ban jail; settings name the jail's folder instead.
    Jail(JailLines),
}

/// A declared parser; the same one has the same name.
#[derive(Clone, Debug)]
pub struct Declared(Arc<Parser>);

impl Declared {
    /// The parser.
    #[must_use]
    pub fn parser(&self) -> &Parser {
        &self.0
    }
}

impl From<Arc<Parser>> for LogFormat {
    fn from(parser: Arc<Parser>) -> Self {
        Self::Declared(Declared(parser))
    }
}

impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for Declared {}

/// What a look at a line found, without making an event of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Something was seen, and handed over.
    Seen,
    /// Understood, and nothing new.
    Irrelevant,
    /// Not understood.
    Unparsed,
}

impl From<Sight> for Glance {
    #[inline]
    fn from(sight: Sight) -> Self {
        match sight {
            Sight::Seen => Self::Seen,
            Sight::Irrelevant | Sight::Foreign => Self::Irrelevant,
            Sight::Unparsed => Self::Unparsed,
        }
    }
}

impl From<Read> for Glance {
    fn from(read: Read) -> Self {
        match read {
            Read::Found => Self::Seen,
            Read::Irrelevant => Self::Irrelevant,
            Read::Unparsed => Self::Unparsed,
        }
    }
}

impl LogFormat {
    /// Those that are built in.
    pub const BUILT_IN: [Self; 10] = [
        Self::Sshd,
        Self::Cowrie,
        Self::Dionaea,
        Self::Suricata,
        Self::Honeytrap,
        Self::OpenCanary,
        Self::Endlessh,
        Self::Palisade,
        Self::Syslog,
        Self::Lines,
    ];

    /// All that have a name: the built-in ones and those of the current ruleset.
    pub fn all() -> impl Iterator<Item = Self> {
        let declared = Ruleset::current().parsers().cloned().map(Self::from);
        Self::BUILT_IN.into_iter().chain(declared)
    }

    /// Its name in settings, addresses and on the command line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sshd => "sshd",
            Self::Cowrie => "cowrie",
            Self::Dionaea => "dionaea",
            Self::Suricata => "suricata",
            Self::Honeytrap => "honeytrap",
            Self::OpenCanary => "opencanary",
            Self::Endlessh => "endlessh",
            Self::Palisade => "palisade",
            Self::Syslog => "syslog",
            Self::Lines => "lines",
            Self::Declared(declared) => declared.0.name(),
            Self::Jail(jail) => jail.jail().name(),
        }
    }

    /// Whether its lines are JSON objects, which may be long and cannot be read
    /// in part.
    #[must_use]
    pub fn is_json(&self) -> bool {
        match self {
            Self::Sshd | Self::Endlessh | Self::Syslog | Self::Lines | Self::Jail(_) => false,
            Self::Cowrie
            | Self::Dionaea
            | Self::Suricata
            | Self::Honeytrap
            | Self::OpenCanary
            | Self::Palisade => true,
            Self::Declared(declared) => declared.0.reads_json(),
        }
    }

    /// Whether the same text never stands in its log twice for two things that
    /// happened, so that a line is enough to identify them.
    #[must_use]
    pub fn has_unique_lines(&self) -> bool {
        self.is_json() && !matches!(self, Self::Declared(_))
    }

    /// The id of what a line of this format says: its n-th observation, the
    /// n-th of its repetitions, the n-th time that this very line stands in the
    /// log.
    #[must_use]
    pub fn event_id(
        &self,
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
    pub fn parse(&self, line: &[u8], state: &mut LineState) -> Parsed {
        match self {
            Self::Declared(declared) => observe(&declared.0, Input::Line(line), state),
            Self::Syslog => {
                let Some(head) = syslog_head(line) else { return no_head(line) };
                match writer(head.tag, head.message) {
                    Writer::Sshd => self.attributed(parse_sshd(line, state.clock.context())),
                    Writer::Declared(parser) => observe(parser, Input::Head(&head), state),
                    Writer::Unknown => Parsed::Irrelevant,
                }
            }
            Self::Jail(jail) => {
                let now = now(state.clock.context());
                jail.jail().line(&mut state.jail, line, &now)
            }
            _ => {
                let parsed = self.copy(line, state.clock.context());
                self.attributed(parsed)
            }
        }
    }

    /// Parses a message that came without a line's head. Never fails and never
    /// panics.
    #[must_use]
    pub fn parse_message(&self, message: &Message<'_>, state: &mut LineState) -> Parsed {
        let host = || message.host.and_then(host_name);
        match self {
            Self::Declared(declared) => observe(&declared.0, Input::Message(message), state),
            Self::Sshd => parse_sshd_message(message.text, message.at, host(), message.pid),
            Self::Syslog => match writer(message.program, message.text) {
                Writer::Sshd => parse_sshd_message(message.text, message.at, host(), message.pid),
                Writer::Declared(parser) => observe(parser, Input::Message(message), state),
                Writer::Unknown => Parsed::Irrelevant,
            },
            Self::Lines => lines::parse_message(message.program, message.text, message.at, host()),
            Self::Jail(jail) => {
                let now = now(state.clock.context());
                jail.jail().message(&mut state.jail, message, &now)
            }
            // Their lines have times of their own.
            _ => self.parse(message.text, state),
        }
    }

    /// Hands what a line says to `see`, without copying where that is possible.
    /// Never fails and never panics.
    pub fn glance(
        &self,
        line: &[u8],
        state: &mut LineState,
        see: &mut dyn FnMut(&Sighting<'_>),
    ) -> Glance {
        match self {
            Self::Declared(declared) => ruleset::glance(&declared.0, line, state, see).into(),
            Self::Sshd => sight_sshd(line, &mut state.syslog, see).into(),
            Self::Syslog => glance_syslog(line, state, see),
            _ => {
                let parsed = self.parse(line, state);
                match &parsed {
                    Parsed::Observation(seen) => see(&Sighting::from(&**seen)),
                    Parsed::Several(all) => all.iter().for_each(|seen| see(&seen.into())),
                    Parsed::Irrelevant | Parsed::Unparsed => {}
                }
                glance_of(&parsed)
            }
        }
    }

    /// Names the daemon. sshd is a real service, which its category says; events
    /// name theirs by themselves.
    fn attributed(&self, mut parsed: Parsed) -> Parsed {
        if matches!(self, Self::Sshd | Self::Syslog | Self::Palisade | Self::Lines) {
            return parsed;
        }
        let analyzer = AnalyzerName::new(self.as_str()).ok();
        match &mut parsed {
            Parsed::Observation(seen) => seen.analyzer = analyzer,
            Parsed::Several(all) => {
                all.iter_mut().for_each(|seen| seen.analyzer.clone_from(&analyzer));
            }
            Parsed::Irrelevant | Parsed::Unparsed => {}
        }
        parsed
    }

    fn copy(&self, line: &[u8], cx: &LineContext) -> Parsed {
        match self {
            Self::Sshd => parse_sshd(line, cx),
            Self::Cowrie => json::cowrie::parse(line),
            Self::Dionaea => json::dionaea::parse(line),
            Self::Suricata => json::suricata::parse(line, cx),
            Self::Honeytrap => json::honeytrap::parse(line, cx),
            Self::OpenCanary => json::opencanary::parse(line),
            Self::Endlessh => endlessh::parse(line, cx),
            Self::Palisade => event::parse(line),
            Self::Lines => lines::parse(line, cx),
            Self::Syslog | Self::Declared(_) | Self::Jail(_) => Parsed::Unparsed,
        }
    }
}

/// The present, as fail2ban's filters take it.
fn now(cx: &LineContext) -> Now {
    Now { epoch: cx.now.as_millis() as f64 / 1000.0, zone: cx.zone.clone() }
}

/// Looks at a line of many programs' syslog.
#[inline]
fn glance_syslog(line: &[u8], state: &mut LineState, see: &mut dyn FnMut(&Sighting<'_>)) -> Glance {
    let line = line.trim_ascii_end();
    let head = match state.syslog.head(line) {
        Begin::Head(head) => head,
        Begin::NoTime => return glance_without_time(line, state, see),
        Begin::Other => return glance_of(&no_head(line)),
    };
    match sight_head(&head, see) {
        Sight::Foreign => {}
        sight => return sight.into(),
    }
    let Writer::Declared(parser) = writer(head.tag, head.message) else {
        return Glance::Irrelevant;
    };
    let message = Message {
        program: head.tag,
        text: head.message,
        at: head.at,
        host: Some(head.host),
        pid: None,
    };
    let mut take = |_: &Parser, found: &Found<'_>| see(&found.sighting);
    ruleset::read(parser, Input::Message(&message), state, &mut take).into()
}

/// A line with a date that does not exist; its message may have another time.
#[cold]
fn glance_without_time(
    line: &[u8],
    state: &mut LineState,
    see: &mut dyn FnMut(&Sighting<'_>),
) -> Glance {
    let Some(head) = syslog_head(line) else { return glance_of(&no_head(line)) };
    match writer(head.tag, head.message) {
        Writer::Sshd => sight_sshd(line, &mut state.syslog, see).into(),
        Writer::Declared(parser) => {
            let mut take = |_: &Parser, found: &Found<'_>| see(&found.sighting);
            ruleset::read(parser, Input::Head(&head), state, &mut take).into()
        }
        Writer::Unknown => Glance::Irrelevant,
    }
}

/// Who reads the messages of a program.
enum Writer {
    Sshd,
    Declared(&'static Parser),
    Unknown,
}

/// By the program's name; PAM's messages bear the names of all programs.
fn writer(program: &[u8], message: &[u8]) -> Writer {
    if matches!(program, b"sshd" | b"sshd-session" | b"sshd-auth") {
        return Writer::Sshd;
    }
    let ruleset = Ruleset::current();
    match ruleset.of_program(program) {
        Some(parser) => Writer::Declared(parser),
        None => match ruleset.of_any().filter(|_| message.starts_with(b"pam_")) {
            Some(parser) => Writer::Declared(parser),
            None => Writer::Unknown,
        },
    }
}

fn observe(parser: &Parser, input: Input<'_>, state: &mut LineState) -> Parsed {
    let mut kept = None;
    let mut take = |parser: &Parser, found: &Found<'_>| kept = parser.observation(found);
    match ruleset::read(parser, input, state, &mut take) {
        // What is not kept is known, and no event.
        Read::Found => kept.map_or(Parsed::Irrelevant, |seen| Parsed::Observation(Box::new(seen))),
        Read::Irrelevant => Parsed::Irrelevant,
        Read::Unparsed => Parsed::Unparsed,
    }
}

fn syslog_head(line: &[u8]) -> Option<syslog::Line<'_>> {
    syslog::split(line.trim_ascii_end())
}

/// journalctl's own remarks ("-- Boot … --") and empty lines say nothing.
fn no_head(line: &[u8]) -> Parsed {
    match line.trim_ascii_end() {
        b"" => Parsed::Irrelevant,
        line if line.starts_with(b"-- ") => Parsed::Irrelevant,
        _ => Parsed::Unparsed,
    }
}

fn glance_of(parsed: &Parsed) -> Glance {
    match parsed {
        Parsed::Observation(_) | Parsed::Several(_) => Glance::Seen,
        Parsed::Irrelevant => Glance::Irrelevant,
        Parsed::Unparsed => Glance::Unparsed,
    }
}

fn host_name(name: &[u8]) -> Option<HostName> {
    HostName::new(std::str::from_utf8(name).ok()?).ok()
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for LogFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// There is no log format of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl std::error::Error for UnknownFormat {}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown log format '{}'; known are ", self.0.escape_default())?;
        let mut names: Vec<String> = LogFormat::all().map(|format| format.to_string()).collect();
        let last = names.pop().unwrap_or_default();
        write!(f, "{} and {last}", names.join(", "))
    }
}

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(format) = Self::BUILT_IN.into_iter().find(|format| format.as_str() == text) {
            return Ok(format);
        }
        match Ruleset::current().parser(text) {
            Some(parser) => Ok(Arc::clone(parser).into()),
            None => Err(UnknownFormat(text.chars().take(64).collect())),
        }
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
    state: LineState,
    seen: HashMap<u64, u32>,
    hasher: RandomState,
}

impl LogReader {
    /// A reader of `format`; `sensor` is who the events say has seen them.
    #[must_use]
    pub fn new(format: LogFormat, sensor: SensorId, cx: LineContext) -> Self {
        Self {
            format,
            sensor,
            state: LineState::new(cx),
            seen: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// Reads the next line.
    pub fn read(&mut self, line: &[u8]) -> ReadLine {
        let line = line.trim_ascii_end();
        let before = self.before(line);
        let observations = match self.format.parse(line, &mut self.state) {
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
        // Lines of honeypots have microseconds and ports in them.
        if self.format.has_unique_lines() {
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
        for format in LogFormat::all() {
            assert_eq!(format.as_str().parse().as_ref(), Ok(&format));
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
