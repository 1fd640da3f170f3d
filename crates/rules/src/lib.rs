//! Pure detection: log lines in, observations out.
//!
//! No I/O, no clock, no async: whoever calls passes the time and the zone in,
//! so that every line can be replayed and every result tested.

pub mod fail2ban;
pub mod parser;
mod sighting;

pub use parser::{
    LineContext, LogFormat, LogReader, MAX_JSON_LINE_BYTES, MAX_REPEATED_EVENTS, Observation,
    Parsed, ReadLine, UnknownFormat, parse_sshd, parse_sshd_message,
};
pub use sighting::Sighting;
