//! Parsers: one line of a log to one [`Observation`].
//!
//! A parser never guesses. A line that it does not understand is
//! [`Parsed::Unparsed`], so that the caller can count it; a line that it
//! understands and that adds nothing is [`Parsed::Irrelevant`].

pub(crate) mod clock;
mod endlessh;
mod event;
mod format;
mod frames;
mod json;
mod lanes;
mod lines;
mod network;
mod peer;
mod reader;
pub mod ruleset;
mod search;
mod sshd;
mod syslog;
mod time;

use palisade_event::{
    AnalyzerName, AttributeValue, Attributes, Category, Credentials, Endpoint, Event, EventId,
    EventKind, Fingerprints, HostName, PayloadHash, SensorId, SessionId, Timestamp, Untrusted,
};

pub use clock::SyslogClock;
pub use format::{
    Declared, Glance, LogFormat, LogReader, MAX_REPEATED_EVENTS, ReadLine, UnknownFormat,
};
pub use frames::{BrokenStream, SyslogFrames};
pub use json::MAX_JSON_LINE_BYTES;
pub use network::received;
pub use reader::{LineReader, formats};
pub use ruleset::{InUse, LineState, Message, Parser, Ruleset, RulesetError, SHIPPED_PARSERS};
pub use sshd::{parse_sshd, parse_sshd_message, sight_sshd};
pub use time::LineClock;

/// What a line cannot say by itself.
#[derive(Clone, Debug)]
pub struct LineContext {
    /// The time of reading; the year of RFC 3164 times is found with it.
    pub now: Timestamp,
    /// The zone of times that are written without one.
    pub zone: jiff::tz::TimeZone,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Something happened.
    Observation(Box<Observation>),
    /// One line says that several things happened, in their order; never empty.
    Several(Vec<Observation>),
    /// Understood, and nothing new: the line of another program, a repetition
    /// of what another line says already, the housekeeping of the service.
    Irrelevant,
    /// Not understood.
    Unparsed,
}

/// What one line is to detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Something happened, and was handed over.
    Seen,
    /// Understood, and nothing new.
    Irrelevant,
    /// The line of another program.
    Foreign,
    /// Not understood.
    Unparsed,
}

/// What one line says, before it becomes an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What happened.
    pub kind: EventKind,
    /// When, by the clock that wrote the line.
    pub observed_at: Timestamp,
    /// The machine that the line names.
    pub host: Option<HostName>,
    /// Where it came from. `None` where the line has a name instead of an
    /// address (then `attributes.source_name`), or none at all.
    pub source: Option<Endpoint>,
    /// Where it went.
    pub target: Option<Endpoint>,
    /// What was tried at a login.
    pub credentials: Option<Credentials>,
    /// The client's own banner.
    pub client: Option<Untrusted>,
    /// What the client sent instead of the protocol.
    pub request: Option<Untrusted>,
    /// The session, where the log has an identifier that is unique.
    pub session: Option<SessionId>,
    /// The rest, by name.
    pub attributes: Attributes,
    /// The type of service, in the words of honeypot networks.
    pub category: Option<Category>,
    /// The daemon that wrote the log, where it is one of a honeypot.
    pub analyzer: Option<AnalyzerName>,
    /// What gives the client away.
    pub fingerprints: Option<Box<Fingerprints>>,
    /// The file that was captured.
    pub payload: Option<PayloadHash>,
    /// What the attacker called that file.
    pub payload_name: Option<Untrusted>,
    /// The vulnerability that was aimed at.
    pub cve: Option<Box<str>>,
    /// How many times it happened; more than 1 for "message repeated N times".
    pub repeat: u32,
}

impl Observation {
    /// An observation of which only the necessary is known.
    #[must_use]
    pub fn new(kind: EventKind, observed_at: Timestamp) -> Self {
        Self {
            kind,
            observed_at,
            host: None,
            source: None,
            target: None,
            credentials: None,
            client: None,
            request: None,
            session: None,
            attributes: Attributes::new(),
            category: None,
            analyzer: None,
            fingerprints: None,
            payload: None,
            payload_name: None,
            cve: None,
            repeat: 1,
        }
    }

    /// Adds an attribute.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<AttributeValue>) {
        self.attributes.insert(name.into(), value.into());
    }

    /// The event it is. Its id is the caller's, who knows where it was read.
    #[must_use]
    pub fn into_event(self, id: EventId, sensor: SensorId) -> Event {
        let mut event = Event::new(id, self.kind, self.observed_at, sensor);
        event.host = self.host;
        event.category = self.category;
        event.source = self.source;
        event.target = self.target;
        event.session = self.session;
        event.credentials = self.credentials;
        event.request = self.request;
        event.client = self.client;
        event.analyzer = self.analyzer;
        event.fingerprints = self.fingerprints;
        event.payload = self.payload;
        event.payload_name = self.payload_name;
        event.cve = self.cve;
        event.attributes = self.attributes;
        event
    }
}
