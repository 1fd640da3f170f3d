//! Honeytrap: `attackers.json` of its `logJSON` module, one attack a line (and
//! an empty line between them). What was sent stands in it in hexadecimal.

use palisade_event::{EventKind, Timestamp};
use serde_json::{Map, Value};

use super::fields::{Fields, brief, keep, time, transport};
use super::{Line, MAX_REQUEST_BYTES, category, is_http, object};
use crate::parser::{LineContext, Observation, Parsed};

/// The type of attack, as honeypot networks call it.
const CATEGORY: &str = "Network(honeytrap)";

/// Parses a line.
pub(crate) fn parse(line: &[u8], cx: &LineContext) -> Parsed {
    match object(line) {
        Line::Object(object) => attack(&object, cx).unwrap_or(Parsed::Unparsed),
        Line::Empty => Parsed::Irrelevant,
        Line::Other => Parsed::Unparsed,
    }
}

fn attack(object: &Map<String, Value>, cx: &LineContext) -> Option<Parsed> {
    let fields = Fields(object);
    let connection = fields.object("attack_connection")?;
    let exact = fields.time("@timestamp").or_else(|| fields.time("timestamp"));
    let at = exact.or_else(|| local(fields.text("start_time")?, cx))?;
    let mut seen = Observation::new(EventKind::ConnectionOpened, at);
    seen.category = category(CATEGORY);
    let transport = connection.text("protocol").and_then(transport);
    seen.source = connection.endpoint("remote_ip", "remote_port", transport);
    seen.target = connection.endpoint("local_ip", "local_port", transport);
    if let Some(payload) = connection.object("payload") {
        let (sent, whole) = bytes(payload.text("data_hex").unwrap_or_default())?;
        if !sent.is_empty() {
            seen.kind =
                if is_http(&sent) { EventKind::HttpRequested } else { EventKind::DataReceived };
            seen.request = Some(palisade_event::Untrusted::new(sent));
            for (name, key) in [("payload_md5", "md5_hash"), ("payload_sha512", "sha512_hash")] {
                if let Some(hash) = payload.text(key) {
                    seen.note(name, brief(hash));
                }
            }
        }
        if !whole {
            seen.note("truncated", true);
        }
        if let Some(length) = payload.number("length") {
            seen.note("payload_bytes", length);
        }
    }
    let used = ["attack_connection", "proxy_connection", "@timestamp", "timestamp", "start_time"];
    keep(object, &used, &mut seen.attributes);
    Some(Parsed::Observation(Box::new(seen)))
}

/// `2026-11-20 21:07:14 CET`: the abbreviation names no zone for sure, so it
/// is the zone of the log unless it is UTC's.
fn local(text: &str, cx: &LineContext) -> Option<Timestamp> {
    if let Some(at) = time(text).filter(|_| text.contains('T')) {
        return Some(at);
    }
    let mut words = text.split(' ');
    let (date, clock, zone) = (words.next()?, words.next()?, words.next().unwrap_or("UTC"));
    if matches!(zone, "UTC" | "GMT" | "Z") {
        return time(&format!("{date}T{clock}Z"));
    }
    let civil: jiff::civil::DateTime = format!("{date}T{clock}").parse().ok()?;
    let zoned = civil.to_zoned(cx.zone.clone()).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

/// Bytes of their hexadecimal form, as many as are kept, and whether that is
/// all; `None` where it is no hexadecimal.
fn bytes(hex: &str) -> Option<(Vec<u8>, bool)> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .take(MAX_REQUEST_BYTES)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect();
    Some((bytes?, digits.len() / 2 <= MAX_REQUEST_BYTES))
}
