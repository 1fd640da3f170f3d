//! Pure detection: log lines in, observations out.
//!
//! No I/O, no clock, no async: whoever calls passes the time and the zone in,
//! so that every line can be replayed and every result tested.

pub mod fail2ban;
pub mod parser;

pub use parser::{LineContext, Observation, Parsed, parse_sshd, parse_sshd_message};
