//! The vocabulary of Palisade: what an event is, what it may contain and how
//! it is written down.
//!
//! Everything that observes (sources, honeypots) makes [`Event`]s, everything
//! that keeps or shows them takes [`Event`]s; nothing else crosses a crate
//! boundary. This crate does no I/O, reads no clock and draws no random
//! numbers: times and entropy are passed in, so that every use can be replayed.

pub mod asciicast;
mod attribute;
mod catalogue;
mod compact;
mod decision;
mod directions;
mod effect;
mod event;
mod id;
mod kind;
mod names;
mod net;
mod order;
mod parsed;
pub mod query;
pub mod table;
pub mod terminal;
mod time;
mod untrusted;
pub mod wire;

pub use attribute::AttributeValue;
pub use catalogue::catalogue_markdown;
pub use compact::{CompactTarget, CompactTime};
pub use decision::{Decision, DecisionTarget, MAX_EVIDENCE, ParseTargetError, join as join_ids};
pub use directions::{
    DIRECTIONS_HEADER, DirectedEntry, Directions, MAX_DIRECTED, MAX_DIRECTED_REASON_BYTES,
    MAX_SWITCHED,
};
pub use effect::{
    DroppedPackets, EffectError, EffectReceipt, EffectReport, Failing, MAX_EFFECT_BYTES,
    MAX_EFFECT_TARGETS, MAX_REFUSALS, MAX_REFUSED_TARGETS, Refused, report_text,
};
pub use event::{
    Attributes, Credentials, Domain, Event, Fingerprints, Geo, GeoPrecision, Invalid,
    MAX_ATTRIBUTE_NAME_BYTES, MAX_ATTRIBUTES, MAX_EVENT_TEXT_BYTES, MAX_TEXT_BYTES, Outcome,
    PayloadHash,
};
pub use id::{EventId, ParseIdError};
pub use kind::{EventKind, UnknownKind};
pub use names::{
    AnalyzerName, Category, CountryCode, DecisionType, HostName, InvalidName, ScenarioName,
    SensorId, SessionId,
};
pub use net::{Endpoint, Transport};
pub use order::{
    Change, DecisionChange, DecisionFeed, DecisionOrigin, FeedError, Lift, MAX_DURATION_SECS,
    MAX_FEED_BYTES, MAX_FEED_CHANGES, MAX_NOTE_BYTES, MIN_PREFIX_V4, MIN_PREFIX_V6, MadeDecision,
};
pub use time::{Day, ParseTimeError, Timestamp};
pub use untrusted::Untrusted;
