//! Parsers: one line of a log to one [`Observation`].
//!
//! A parser never guesses. A line that it does not understand is
//! [`Parsed::Unparsed`], so that the caller can count it; a line that it
//! understands and that adds nothing is [`Parsed::Irrelevant`].

mod peer;
mod sshd;
mod syslog;

use palisade_event::{
    Attributes, Category, Credentials, Endpoint, EventKind, HostName, SessionId, Timestamp,
    Untrusted,
};

pub use sshd::{parse_sshd, parse_sshd_message};

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
    /// Understood, and nothing new: the line of another program, a repetition
    /// of what another line says already, the housekeeping of the service.
    Irrelevant,
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
    /// How many times it happened; more than 1 for "message repeated N times".
    pub repeat: u32,
}
