//! Pure detection: log lines in, observations out.
//!
//! No I/O, no clock, no async: whoever calls passes the time and the zone in,
//! so that every line can be replayed and every result tested.

pub mod fail2ban;
pub mod parser;
mod sighting;

pub use parser::{
    BrokenStream, Declared, Glance, InUse, LineClock, LineContext, LineState, LogFormat, LogReader,
    MAX_JSON_LINE_BYTES, MAX_REPEATED_EVENTS, Message, Observation, Parsed, Parser, ReadLine,
    Ruleset, RulesetError, SHIPPED_PARSERS, SyslogFrames, UnknownFormat, parse_sshd,
    parse_sshd_message, received,
};
pub use sighting::Sighting;
