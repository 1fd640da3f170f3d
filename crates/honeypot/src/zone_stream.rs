//! What the process of the honeypots and its parent say to each other over a
//! socket pair, apart from how it is carried.
//!
//! A frame is four bytes of length (big-endian), one byte that names it, and
//! its body. The zone says [`FromZone`], the parent [`ToZone`]. Strangers talk
//! to the zone all day, so the parent's side takes every byte of it as hostile:
//! frames are bounded, events are decoded and checked like any from the
//! network, of the kinds that honeypots make and no other, and who observed
//! them is for the parent to say.

use std::collections::BTreeMap;

use palisade_event::wire::{MAX_EVENT_BYTES, decode_event, encode_event_into};
use palisade_event::{AnalyzerName, Event, EventKind};
use serde::{Deserialize, Serialize};

use crate::plugin::PluginName;

/// Longest frame after its length: an event and its number.
pub const MAX_FRAME_BYTES: usize = MAX_EVENT_BYTES + 16;
/// Events that may be on their way without the parent having said that they
/// are safe; then the zone waits, and so do the attackers.
pub const MAX_UNCONFIRMED_EVENTS: u64 = 1_024;
/// Bytes of the length before a frame.
const LENGTH_BYTES: usize = 4;
/// Most counters of one report, and most texts about the confinement.
const MAX_ENTRIES: usize = 64;
/// Longest name of a counter and longest text about a failure, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;

const READY: u8 = b'R';
const FAILED: u8 = b'F';
const EVENT: u8 = b'E';
const COUNTERS: u8 = b'C';
const ENDED: u8 = b'.';
const START: u8 = b'S';
const CONFIRMED: u8 = b'K';
const PLUGIN: u8 = b'P';
const SERVE: u8 = b'L';
const END: u8 = b'X';

/// What the zone says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromZone {
    /// It is confined and serves.
    Ready(Confinement),
    /// It cannot start; why.
    Failed(String),
    /// Something happened.
    Event {
        /// Counts the events of this process from 1, without a gap.
        number: u64,
        /// What; or why it is not taken, in words of ours.
        event: Result<Box<Event>, Refused>,
    },
    /// Its counters, by name.
    Counters(BTreeMap<String, u64>),
    /// It has ended as it was asked to, and all its events are safe.
    Ended,
}

/// Why an event of the zone is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// No event, or one that breaks a limit.
    Malformed,
    /// Of a kind that no honeypot makes.
    Kind,
}

/// What the parent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToZone {
    /// How to start: what that is does not concern this module.
    Start(Vec<u8>),
    /// All events up to this number are safe, or will never be taken.
    Confirmed(u64),
    /// A plug-in has changed: its files as JSON (a [`crate::plugin::Source`]).
    Plugin(Vec<u8>),
    /// A plug-in begins to serve, or serves elsewhere (a
    /// [`crate::plugin::Order`] as JSON). Its sockets come with the first bytes.
    Serve(Vec<u8>),
    /// Let nobody in any more, say what there is to say, end.
    End,
}

/// How the zone has locked itself in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The user it runs as.
    pub uid: u32,
    /// The version of landlock that the kernel has; 0: none.
    pub landlock: u32,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// What this kernel cannot keep it from, one sentence each.
    pub missing: Vec<String>,
}

/// The other side does not speak as agreed; there is no way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A frame is longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes; at most {MAX_FRAME_BYTES} are taken")]
    TooLong(usize),
    /// A frame of no known name, or with a body that is not its own.
    #[error("a malformed frame")]
    Malformed,
}

impl FromZone {
    /// The frame of an event.
    #[must_use]
    pub fn encode_event(number: u64, event: &Event) -> Vec<u8> {
        let mut frame = Vec::new();
        Self::encode_event_into(&mut frame, number, event);
        frame
    }

    /// Appends the frame of an event to others.
    pub fn encode_event_into(frames: &mut Vec<u8>, number: u64, event: &Event) {
        let begin = frames.len();
        frames.extend_from_slice(&[0, 0, 0, 0, EVENT]);
        frames.extend_from_slice(&number.to_be_bytes());
        encode_event_into(frames, event);
        let length = frames.len() - begin - LENGTH_BYTES;
        // A longer one than this is refused by the other side.
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = frames.get_mut(begin..begin + LENGTH_BYTES) {
            place.copy_from_slice(&length);
        }
    }

    /// The frame; of an event that is refused, one that is refused again.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Maps of texts and numbers can always be written.
        let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
        match self {
            Self::Ready(confinement) => {
                frame(READY, &[json(serde_json::to_vec(confinement)).as_slice()])
            }
            Self::Failed(why) => frame(FAILED, &[why.as_bytes()]),
            Self::Event { number, event: Ok(event) } => Self::encode_event(*number, event),
            Self::Event { number, event: Err(_) } => frame(EVENT, &[&number.to_be_bytes()]),
            Self::Counters(counters) => {
                frame(COUNTERS, &[json(serde_json::to_vec(counters)).as_slice()])
            }
            Self::Ended => frame(ENDED, &[]),
        }
    }

    /// Takes the first frame off `bytes`; says how long it was. `None`: it is
    /// not complete yet.
    ///
    /// # Errors
    /// [`StreamError`]: whoever sends this is no zone of ours.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, StreamError> {
        let Some((name, body, length)) = split(bytes)? else { return Ok(None) };
        let frame = match name {
            READY => {
                let confinement: Confinement =
                    serde_json::from_slice(body).map_err(|_| StreamError::Malformed)?;
                let long = |text: &String| text.len() > MAX_TEXT_BYTES;
                if confinement.missing.len() > MAX_ENTRIES || confinement.missing.iter().any(long) {
                    return Err(StreamError::Malformed);
                }
                Self::Ready(confinement)
            }
            FAILED => {
                let why = body.get(..MAX_TEXT_BYTES).unwrap_or(body);
                Self::Failed(String::from_utf8_lossy(why).into_owned())
            }
            EVENT => {
                let (number, record) = body.split_at_checked(8).ok_or(StreamError::Malformed)?;
                let number = number.try_into().map_err(|_| StreamError::Malformed)?;
                Self::Event { number: u64::from_be_bytes(number), event: take(record) }
            }
            COUNTERS => {
                let counters: BTreeMap<String, u64> =
                    serde_json::from_slice(body).map_err(|_| StreamError::Malformed)?;
                if counters.len() > MAX_ENTRIES
                    || counters.keys().any(|name| name.len() > MAX_TEXT_BYTES)
                {
                    return Err(StreamError::Malformed);
                }
                Self::Counters(counters)
            }
            ENDED if body.is_empty() => Self::Ended,
            _ => return Err(StreamError::Malformed),
        };
        Ok(Some((frame, length)))
    }
}

/// An event of the zone, if it is one that a honeypot may tell.
fn take(record: &[u8]) -> Result<Box<Event>, Refused> {
    let mut event = decode_event(record).map_err(|_| Refused::Malformed)?;
    if !is_of_a_honeypot(event.kind) {
        return Err(Refused::Kind);
    }
    // The hub adds these; from here they could only be false.
    (event.received_at, event.source_geo, event.target_geo) = (None, None, None);
    event.domain = palisade_event::Domain::default();
    // A plug-in has a plain name, and nothing else names itself in the zone.
    let plugin = |name: &AnalyzerName| PluginName::new(name.as_str()).is_ok();
    event.analyzer = event.analyzer.filter(plugin);
    Ok(Box::new(event))
}

/// Whether honeypots make events of this kind; what they may not say are
/// decisions, alerts, losses, and what logs of real services tell.
#[must_use]
pub fn is_of_a_honeypot(kind: EventKind) -> bool {
    kind.made_by().split(", ").any(|maker| maker == "honeypot")
}

impl ToZone {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Start(how) => frame(START, &[how]),
            Self::Confirmed(number) => frame(CONFIRMED, &[&number.to_be_bytes()]),
            Self::Plugin(source) => frame(PLUGIN, &[source]),
            Self::Serve(order) => frame(SERVE, &[order]),
            Self::End => frame(END, &[]),
        }
    }

    /// Takes the first frame off `bytes`; says how long it was. `None`: it is
    /// not complete yet.
    ///
    /// # Errors
    /// [`StreamError`]: this is not said by a parent of ours.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, StreamError> {
        let Some((name, body, length)) = split(bytes)? else { return Ok(None) };
        let frame = match name {
            START => Self::Start(body.to_vec()),
            PLUGIN => Self::Plugin(body.to_vec()),
            SERVE => Self::Serve(body.to_vec()),
            CONFIRMED => {
                let number = body.try_into().map_err(|_| StreamError::Malformed)?;
                Self::Confirmed(u64::from_be_bytes(number))
            }
            END if body.is_empty() => Self::End,
            _ => return Err(StreamError::Malformed),
        };
        Ok(Some((frame, length)))
    }
}

fn frame(name: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Vec::with_capacity(4 + length);
    // A longer one than this is refused by the other side.
    frame.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    frame.push(name);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

/// Name, body and whole length of a frame.
type Split<'a> = (u8, &'a [u8], usize);

/// Takes the first frame apart.
fn split(bytes: &[u8]) -> Result<Option<Split<'_>>, StreamError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(StreamError::TooLong(length));
    }
    if length == 0 {
        return Err(StreamError::Malformed);
    }
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    let (name, body) = frame.split_first().ok_or(StreamError::Malformed)?;
    Ok(Some((*name, body, 4 + length)))
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, SensorId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn event(kind: EventKind) -> Event {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Event::new(EventId::new(now, 7), kind, now, SensorId::new("a").unwrap())
    }

    #[test]
    fn what_is_said_is_understood_byte_by_byte() {
        let confinement =
            Confinement { uid: 65_534, landlock: 7, seccomp: true, missing: vec!["x".into()] };
        let said = [
            FromZone::Ready(confinement),
            FromZone::Failed("no key".into()),
            FromZone::Event { number: 9, event: Ok(Box::new(event(EventKind::AuthAttempted))) },
            FromZone::Counters(BTreeMap::from([("accepted".into(), 3)])),
            FromZone::Ended,
        ];
        for frame in said {
            let bytes = frame.encode();
            for cut in 0..bytes.len() {
                assert_eq!(FromZone::decode(&bytes[..cut]), Ok(None));
            }
            assert_eq!(FromZone::decode(&bytes), Ok(Some((frame, bytes.len()))));
        }
        for frame in [
            ToZone::Start(b"{}".to_vec()),
            ToZone::Plugin(b"{}".to_vec()),
            ToZone::Confirmed(1 << 40),
            ToZone::End,
        ] {
            let bytes = frame.encode();
            assert_eq!(ToZone::decode(&bytes), Ok(Some((frame, bytes.len()))));
        }
    }

    #[test]
    fn the_zone_may_tell_what_strangers_did_and_nothing_else() {
        for kind in EventKind::ALL {
            let bytes = FromZone::encode_event(1, &event(*kind));
            let Ok(Some((FromZone::Event { event, .. }, _))) = FromZone::decode(&bytes) else {
                panic!("{kind}");
            };
            assert_eq!(event.is_ok(), is_of_a_honeypot(*kind), "{kind}");
        }
        assert!(is_of_a_honeypot(EventKind::PayloadCaptured));
        assert!(!is_of_a_honeypot(EventKind::DecisionMade));
        assert!(!is_of_a_honeypot(EventKind::LossRecorded));
        assert!(!is_of_a_honeypot(EventKind::KnockAccepted));
    }

    #[test]
    fn what_the_hub_adds_is_not_taken_from_the_zone() {
        let mut false_one = event(EventKind::AuthAttempted);
        false_one.domain = palisade_event::Domain::Community;
        false_one.received_at = Some(Timestamp::from_millis(1));
        let bytes = FromZone::encode_event(1, &false_one);
        let Ok(Some((FromZone::Event { event: Ok(event), .. }, _))) = FromZone::decode(&bytes)
        else {
            panic!("refused");
        };
        assert_eq!(event.domain, palisade_event::Domain::default());
        assert_eq!(event.received_at, None);
    }

    #[test]
    fn a_frame_too_long_is_refused_before_it_is_there() {
        let long = (MAX_FRAME_BYTES as u32 + 1).to_be_bytes();
        assert_eq!(FromZone::decode(&long), Err(StreamError::TooLong(MAX_FRAME_BYTES + 1)));
        assert_eq!(FromZone::decode(&[0; 4]), Err(StreamError::Malformed));
        assert_eq!(FromZone::decode(&[0, 0, 0, 1, b'?']), Err(StreamError::Malformed));
        assert_eq!(FromZone::decode(&[0, 0, 0, 2, b'E', 0]), Err(StreamError::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FromZone::decode(&bytes);
            let _ = ToZone::decode(&bytes);
            let framed = frame(bytes.first().copied().unwrap_or(b'E'), &[&bytes]);
            let _ = FromZone::decode(&framed);
        }
    }
}
