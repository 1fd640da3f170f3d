//! What a payload is: events of Cowrie and its like, an event of our own, EWS
//! alerts, or something else that is kept as it is.
//!
//! The ids of known forms come from their content, so that a payload which is
//! published twice counts once. Of other bytes nobody can tell a repetition from
//! a second one; each gets an id of its own.

use std::sync::Arc;

use palisade_event::{
    AttributeValue, Event, EventId, EventKind, MAX_ATTRIBUTES, MAX_TEXT_BYTES, SensorId, Timestamp,
    Untrusted, wire,
};
use palisade_hub::{LogFormat, NewPayload, Unfit, read_log_line};
use serde_json::Value;

use crate::compat::ews::alone;
use crate::compat::ews::analyzers::Analyzers;

/// Longest name of a channel that an event has, in bytes.
const MAX_CHANNEL_BYTES: usize = 256;
/// Longest part of a payload that is kept where it becomes no event, in bytes.
const MAX_UNFIT_BYTES: usize = 64 * 1024;

/// Where payloads came, and when.
pub(super) struct Arrived {
    pub(super) at: Timestamp,
    /// Whose events they become.
    pub(super) sensor: SensorId,
    pub(super) analyzers: Arc<Analyzers>,
}

/// What payloads are.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) events: Vec<Event>,
    /// Bytes for the payload store, each with the place of its event.
    pub(super) captured: Vec<(usize, NewPayload)>,
    /// What was known and is not in order.
    pub(super) unfit: Vec<Unfit>,
}

impl Taken {
    /// Adds what a payload is; nothing where it is understood and says nothing new.
    pub(super) fn add(&mut self, arrived: &Arrived, ident: &[u8], channel: &[u8], payload: &[u8]) {
        let mut events =
            known(arrived, payload, self).unwrap_or_else(|| vec![opaque(arrived, payload)]);
        for (event, _) in &mut events {
            if event.attributes.len() + 2 <= MAX_ATTRIBUTES
                && !event.attributes.contains_key("channel")
            {
                let channel = channel.get(..MAX_CHANNEL_BYTES).unwrap_or(channel);
                event.attributes.insert("channel".into(), Untrusted::from(channel).into());
                let ident = AttributeValue::Text(Untrusted::from(ident));
                event.attributes.entry("ident".into()).or_insert(ident);
            }
        }
        for (event, captured) in events {
            // What was near a bound of events may be past it now.
            if let Err(error) = event.validate() {
                let record = wire::encode_event(&event);
                let record = record.get(..MAX_UNFIT_BYTES).unwrap_or(&record).to_vec();
                self.unfit.push(Unfit { record, reason: error.to_string() });
                continue;
            }
            if let Some(captured) = captured {
                self.captured.push((self.events.len(), captured));
            }
            self.events.push(event);
        }
    }
}

/// An event, and what it captured.
type Found = (Event, Option<NewPayload>);

fn known(arrived: &Arrived, payload: &[u8], taken: &mut Taken) -> Option<Vec<Found>> {
    let Arrived { sensor, analyzers, .. } = arrived;
    let text = payload.trim_ascii();
    let alerts = match text.first()? {
        b'{' => None,
        b'<' | 0xef => Some(alone::from_xml(text, analyzers, sensor)?),
        _ => return None,
    };
    if alerts.is_none() {
        // Ours is told first: its reader is strict.
        if let Ok(event) = wire::decode_event(text) {
            return Some(vec![(event, None)]);
        }
        let object: Value = serde_json::from_slice(text).ok()?;
        if let Some(format) = format_of(&object) {
            let events = read_log_line(format, text, sensor, arrived.at)?;
            return Some(events.into_iter().map(|event| (event, None)).collect());
        }
    }
    let alerts = match alerts {
        Some(alerts) => alerts,
        None => alone::from_json(text, analyzers, sensor)?,
    };
    taken.unfit.extend(alerts.unfit);
    let found = alerts.alerts.into_iter().map(|mut alert| {
        alert.identify(sensor);
        let source = alert.event.source;
        let captured = alert.captured.map(|captured| NewPayload {
            bytes: captured.bytes,
            http: captured.http,
            source,
        });
        (alert.event, captured)
    });
    Some(found.collect())
}

/// Which daemon wrote an object, by the keys that it alone has.
fn format_of(object: &Value) -> Option<LogFormat> {
    let has = |key: &str| object.get(key).is_some();
    let eventid = object.get("eventid").and_then(Value::as_str);
    if eventid.is_some_and(|id| id.starts_with("cowrie.")) || has("peerIP") {
        Some(LogFormat::Cowrie)
    } else if has("attack_connection") {
        Some(LogFormat::Honeytrap)
    } else if has("logtype") && has("node_id") {
        Some(LogFormat::OpenCanary)
    } else if has("event_type") && has("flow_id") {
        Some(LogFormat::Suricata)
    } else if object.get("connection").is_some_and(Value::is_object) && has("src_ip") {
        Some(LogFormat::Dionaea)
    } else {
        None
    }
}

/// Bytes whose meaning is not known. What is longer than a text of an event may
/// be is kept whole in the payload store.
fn opaque(arrived: &Arrived, payload: &[u8]) -> Found {
    let id = EventId::new(arrived.at, rand::random());
    let mut event = Event::new(id, EventKind::DataReceived, arrived.at, arrived.sensor.clone());
    let head = payload.get(..MAX_TEXT_BYTES).unwrap_or(payload);
    event.request = (!head.is_empty()).then(|| Untrusted::from(head));
    if head.len() == payload.len() {
        return (event, None);
    }
    let whole = NewPayload { bytes: payload.to_vec(), http: false, source: None };
    (event.with("truncated", true).with("payload_bytes", payload.len() as u64), Some(whole))
}

/// For the fuzz target: whatever comes is within the limits of events.
pub(crate) fn fuzz(payload: &[u8]) {
    static TABLE: std::sync::OnceLock<Arc<Analyzers>> = std::sync::OnceLock::new();
    let analyzers = TABLE.get_or_init(|| Arc::new(Analyzers::load(None).unwrap_or_default()));
    let Ok(sensor) = SensorId::new("fuzz") else { return };
    let at = Timestamp::from_millis(1_795_208_400_000);
    let arrived = Arrived { at, sensor, analyzers: Arc::clone(analyzers) };
    let mut taken = Taken::default();
    taken.add(&arrived, b"fuzz", b"channel", payload);
    assert!(taken.captured.iter().all(|(place, _)| *place < taken.events.len()));
    for event in taken.events {
        assert!(wire::decode_event(&wire::encode_event(&event)).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(payload: &[u8]) -> Taken {
        let arrived = Arrived {
            at: Timestamp::from_millis(1_795_208_400_000),
            sensor: SensorId::new("pot-1").unwrap(),
            analyzers: Arc::new(Analyzers::load(None).unwrap()),
        };
        let mut taken = Taken::default();
        taken.add(&arrived, b"pot", b"ch", payload);
        taken
    }

    fn events(payload: &[u8]) -> Vec<Event> {
        let taken = take(payload);
        assert!(taken.unfit.is_empty(), "{:?}", taken.unfit);
        taken.events
    }

    #[test]
    fn an_ews_alert_is_an_event_with_what_it_captured() {
        let xml = b"<Alert><Analyzer id='tanner-1'/>\
            <CreateTime tz='+0200'>2026-11-20 22:07:14</CreateTime>\
            <Source port='4711' protocol='tcp'>198.51.100.7</Source>\
            <Target port='80' protocol='tcp'>203.0.113.5</Target>\
            <Request type='raw'>R0VUIC94IEhUVFAvMS4xDQpIb3N0OiBhDQoNCg==</Request></Alert>";
        let (first, again) = (take(xml), take(xml));
        let event = &first.events[0];
        assert_eq!((event.kind, event.sensor.as_str()), (EventKind::HttpRequested, "pot-1"));
        assert_eq!(event.attributes.get("channel"), Some(&AttributeValue::from("ch")));
        assert_eq!(event.id, again.events[0].id);
        let (place, captured) = &first.captured[0];
        assert_eq!((*place, captured.http, captured.bytes.len()), (0, true, 28));
        let json = br##"{"Alert":{"Analyzer":{"@id":"tanner-1"},
            "CreateTime":{"@tz":"+0200","#text":"2026-11-20 22:07:14"},
            "Source":{"@port":"4711","@protocol":"tcp","#text":"198.51.100.7"},
            "Target":{"@port":"80","@protocol":"tcp","#text":"203.0.113.5"},
            "Request":{"@type":"raw","#text":"R0VUIC94IEhUVFAvMS4xDQpIb3N0OiBhDQoNCg=="}}}"##;
        assert_eq!(take(json).events[0].id, event.id);
        let bad = take(&xml.map(|c| if c == b'7' { b'x' } else { c }));
        assert!(bad.events.is_empty());
        assert!(bad.unfit[0].reason.starts_with("EWS alert: "), "{}", bad.unfit[0].reason);
    }

    #[test]
    fn a_cowrie_event_keeps_its_id_however_often_it_comes() {
        let payload = br#"{"eventid":"cowrie.login.failed","username":"root","password":"x","timestamp":"2026-11-20T20:07:15.001002Z","src_ip":"198.51.100.23","session":"5a1f0c3e9b77"}"#;
        let (first, again) = (events(payload), events(payload));
        assert_eq!(first[0].kind, EventKind::AuthAttempted);
        assert_eq!(first, again);
        assert_eq!(first[0].attributes.get("channel"), Some(&AttributeValue::from("ch")));
    }

    #[test]
    fn an_event_of_ours_stays_what_it_is() {
        let at = Timestamp::from_millis(1_795_208_400_000);
        let sensor = SensorId::new("far").unwrap();
        let event = Event::new(EventId::new(at, 7), EventKind::CommandEntered, at, sensor);
        let got = events(&wire::encode_event(&event));
        assert_eq!((got[0].id, got[0].kind), (event.id, event.kind));
    }

    #[test]
    fn other_bytes_are_kept_as_they_are_up_to_the_bound() {
        for payload in
            [&b"\x00\xffhello"[..], b"{\"a\":1}", b"{", b"[1]", b"<Alert", b"<html/>", b""]
        {
            let got = events(payload);
            assert_eq!(got[0].kind, EventKind::DataReceived, "{payload:?}");
            let kept = got[0].request.as_ref().map_or(&b""[..], Untrusted::as_bytes);
            assert_eq!(kept, payload);
        }
        let long = vec![b'x'; 1024 * 1024 - 100];
        let taken = take(&long);
        assert!(taken.captured[0].0 == 0 && taken.captured[0].1.bytes == long, "it is kept whole");
        let got = taken.events;
        assert_eq!(got[0].request.as_ref().unwrap().len(), MAX_TEXT_BYTES);
        assert_eq!(
            got[0].attributes.get("payload_bytes"),
            Some(&AttributeValue::Integer(1_048_476))
        );
    }
}
