//! Pure detection: log lines in, observations out; observations in, decisions
//! out.
//!
//! No I/O, no clock, no async: whoever calls passes the time and the zone in,
//! so that every line can be replayed and every result tested.

mod allowlist;
mod detector;
mod engine;
mod evidence;
mod explain;
pub mod fail2ban;
mod hub_list;
mod offence;
pub mod parser;
mod policy;
pub mod scenario;
mod sighting;
mod strongmonitor;

pub use allowlist::{
    AllowValue, Allowed, Allowlist, LOGGED_IN, MAX_ALLOWED, MAX_RESOLVED, ParseAllowError, Spared,
    Suspect,
};
pub use detector::{Detector, Finding, Origin, Verdict, alert_address, alert_reason};
pub use engine::{
    Alert, Counter, DEFAULT_MAX_TRACKED, Engine, EngineError, EngineOptions, EngineStats, Group,
    Hit, Index, MAX_DISORDER_SECS, Matcher, Trace,
};
pub use evidence::{EVIDENCE_EVENTS, Evidence};
pub use explain::{
    ExplainedAlert, ExplainedDecision, ExplainedLine, ExplainedScenario, ExplainedSighting,
    Explainer, Shown, SightingFields,
};
pub use hub_list::HubAllowed;
pub use offence::OffenceList;
pub use parser::{
    BrokenStream, Declared, Glance, InUse, LineClock, LineContext, LineReader, LineState,
    LogFormat, LogReader, MAX_JSON_LINE_BYTES, MAX_REPEATED_EVENTS, Message, Observation, Parsed,
    Parser, ReadLine, Ruleset, RulesetError, SHIPPED_PARSERS, Sight, SyslogClock, SyslogFrames,
    UnknownFormat, parse_sshd, parse_sshd_message, received, sight_sshd,
};
pub use policy::{Grounds, MAX_OFFENDERS, Outcome as PolicyOutcome, Policy, PolicyConfig};
pub use scenario::{Scenario, Simulation, Switches};
pub use sighting::Sighting;
pub use strongmonitor::{StrongMonitor, read_strongmonitor};
