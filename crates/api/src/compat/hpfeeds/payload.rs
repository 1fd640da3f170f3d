//! What a payload is: events of Cowrie and its like, an event of our own, or
//! something else (EWS alerts too) that is kept as it is.
//!
//! The ids of known forms come from their content, so that a payload which is
//! published twice counts once. Of other bytes nobody can tell a repetition from
//! a second one; each gets an id of its own.

use palisade_event::{
    AttributeValue, Event, EventId, EventKind, MAX_TEXT_BYTES, SensorId, Timestamp, Untrusted, wire,
};
use palisade_hub::{LogFormat, read_log_line};
use serde_json::Value;

/// Who published, and when it came.
pub(super) struct Arrived {
    at: Timestamp,
    ident: Untrusted,
    /// Stands where the hub puts the sensor of the credential.
    sensor: Option<SensorId>,
}

impl Arrived {
    pub(super) fn now(ident: &[u8]) -> Self {
        Self::at(Timestamp::from(std::time::SystemTime::now()), ident)
    }

    fn at(at: Timestamp, ident: &[u8]) -> Self {
        Self { at, ident: Untrusted::from(ident), sensor: SensorId::new("hpfeeds").ok() }
    }
}

/// The events of a payload, as records for the hub. None where it is understood
/// and says nothing new.
pub(super) fn records(arrived: &Arrived, channel: &[u8], payload: &[u8]) -> Vec<Vec<u8>> {
    let Some(sensor) = &arrived.sensor else { return Vec::new() };
    let mut events = match known(arrived, sensor, payload) {
        Some(events) => events,
        None => vec![opaque(arrived, sensor, payload)],
    };
    for event in &mut events {
        let room = event.attributes.len() + 2 <= palisade_event::MAX_ATTRIBUTES;
        if room && !event.attributes.contains_key("channel") {
            let channel = channel.get(..256).unwrap_or(channel);
            event.attributes.insert("channel".into(), Untrusted::from(channel).into());
            let ident = AttributeValue::Text(arrived.ident.clone());
            event.attributes.entry("ident".into()).or_insert(ident);
        }
    }
    events.iter().map(wire::encode_event).collect()
}

fn known(arrived: &Arrived, sensor: &SensorId, payload: &[u8]) -> Option<Vec<Event>> {
    let text = payload.trim_ascii();
    match text.first()? {
        b'{' => {}
        _ => return None,
    }
    // Ours is told first: its reader is strict.
    if let Ok(event) = wire::decode_event(text) {
        return Some(vec![event]);
    }
    let object: Value = serde_json::from_slice(text).ok()?;
    let has = |key: &str| object.get(key).is_some();
    let eventid = object.get("eventid").and_then(Value::as_str);
    let format = if eventid.is_some_and(|id| id.starts_with("cowrie.")) || has("peerIP") {
        LogFormat::Cowrie
    } else if has("attack_connection") {
        LogFormat::Honeytrap
    } else if has("logtype") && has("node_id") {
        LogFormat::OpenCanary
    } else if has("event_type") && has("flow_id") {
        LogFormat::Suricata
    } else if object.get("connection").is_some_and(Value::is_object) && has("src_ip") {
        LogFormat::Dionaea
    } else {
        return None;
    };
    read_log_line(format, text, sensor, arrived.at)
}

/// Bytes whose meaning is not known, as many as an event may have.
fn opaque(arrived: &Arrived, sensor: &SensorId, payload: &[u8]) -> Event {
    let id = EventId::new(arrived.at, rand::random());
    let mut event = Event::new(id, EventKind::DataReceived, arrived.at, sensor.clone());
    let head = payload.get(..MAX_TEXT_BYTES).unwrap_or(payload);
    event.request = (!head.is_empty()).then(|| Untrusted::from(head));
    if head.len() < payload.len() {
        event = event.with("truncated", true).with("payload_bytes", payload.len() as u64);
    }
    event
}

/// For the fuzz target: whatever comes is within the limits of events.
pub(crate) fn fuzz(payload: &[u8]) {
    let arrived = Arrived::at(Timestamp::from_millis(1_795_208_400_000), b"fuzz");
    for record in records(&arrived, b"channel", payload) {
        assert!(wire::decode_event(&record).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(payload: &[u8]) -> Vec<Event> {
        let arrived = Arrived::at(Timestamp::from_millis(1_795_208_400_000), b"pot");
        let records = records(&arrived, b"ch", payload);
        records.iter().map(|record| wire::decode_event(record).unwrap()).collect()
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
        for payload in [&b"\x00\xffhello"[..], b"{\"a\":1}", b"{", b"[1]", b"<Alert", b""] {
            let got = events(payload);
            assert_eq!(got[0].kind, EventKind::DataReceived, "{payload:?}");
            let kept = got[0].request.as_ref().map_or(&b""[..], Untrusted::as_bytes);
            assert_eq!(kept, payload);
        }
        let long = vec![b'x'; 1024 * 1024 - 100];
        let got = events(&long);
        assert_eq!(got[0].request.as_ref().unwrap().len(), MAX_TEXT_BYTES);
        assert_eq!(
            got[0].attributes.get("payload_bytes"),
            Some(&AttributeValue::Integer(1_048_476))
        );
    }
}
