//! Looking things up in the object of a line, whatever types its writer chose,
//! and keeping what has no place in an event.

use std::net::IpAddr;

use palisade_event::{
    AttributeValue, Attributes, Endpoint, HostName, SessionId, Timestamp, Transport, Untrusted,
};
use serde_json::{Map, Value};

/// Most attributes that are made of fields without a place in an event.
const MAX_LEFTOVERS: usize = 40;
/// Longest text of one, in bytes.
const MAX_LEFTOVER_BYTES: usize = 2048;
/// Longest name, password, banner or hash that is kept, in bytes.
const MAX_BRIEF_BYTES: usize = 4096;
/// How deep objects are taken apart; deeper ones are kept as text.
const MAX_LEFTOVER_DEPTH: usize = 3;
/// Longest name of an attribute.
const MAX_NAME_BYTES: usize = palisade_event::MAX_ATTRIBUTE_NAME_BYTES;

/// An object, read only.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// A text that is there and not empty.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.0.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A text, a number or a flag, as text.
    pub(super) fn any_text(self, key: &str) -> Option<Untrusted> {
        match self.0.get(key)? {
            Value::String(text) => Some(brief(text)),
            Value::Number(number) => Some(Untrusted::from(number.to_string())),
            Value::Bool(flag) => Some(Untrusted::from(flag.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A whole number, also where it is written as text.
    pub(super) fn number(self, key: &str) -> Option<i64> {
        match self.0.get(key)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn object(self, key: &str) -> Option<Self> {
        self.0.get(key).and_then(Value::as_object).map(Fields)
    }

    pub(super) fn array(self, key: &str) -> &'a [Value] {
        self.0.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn address(self, key: &str) -> Option<IpAddr> {
        self.text(key)?.trim().parse().ok()
    }

    /// Address, port and transport, as far as they are known and possible.
    pub(super) fn endpoint(
        self,
        address: &str,
        port: &str,
        transport: Option<Transport>,
    ) -> Option<Endpoint> {
        let port = self.number(port).and_then(|port| u16::try_from(port).ok()).filter(|p| *p > 0);
        Some(Endpoint { port, transport, ..Endpoint::address(self.address(address)?) })
    }

    /// A host's name, where it can be one.
    pub(super) fn host(self, key: &str) -> Option<HostName> {
        HostName::new(self.text(key)?).ok()
    }

    /// A session, where its name can be one.
    pub(super) fn session(self, key: &str) -> Option<SessionId> {
        SessionId::new(self.text(key)?).ok()
    }

    /// A time in ISO 8601; one without a zone is UTC.
    pub(super) fn time(self, key: &str) -> Option<Timestamp> {
        time(self.text(key)?)
    }
}

/// As much of a name, password, banner or hash as is kept.
pub(super) fn brief(text: &str) -> Untrusted {
    let bytes = text.as_bytes();
    Untrusted::from(bytes.get(..MAX_BRIEF_BYTES).unwrap_or(bytes))
}

/// Reads ISO 8601 with `T` or a space, and a zone `Z`, `+01:00`, `+0100` or
/// none (UTC).
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > 40 || !text.is_ascii() {
        return None;
    }
    // A date has dashes too; the zone comes after the time.
    let (date, rest) = text.split_once(['T', ' '])?;
    let zoned = match rest.find(['Z', 'z', '+', '-']) {
        None => format!("{date}T{rest}Z"),
        Some(at) => {
            let (clock, zone) = rest.split_at_checked(at)?;
            match zone.len() {
                5 if !zone.contains(':') => {
                    let (hours, minutes) = zone.split_at_checked(3)?;
                    format!("{date}T{clock}{hours}:{minutes}")
                }
                _ => format!("{date}T{clock}{zone}"),
            }
        }
    };
    zoned.parse().ok()
}

/// A transport by its name in any case.
pub(super) fn transport(name: &str) -> Option<Transport> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" | "tls" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        "icmp" | "ipv6-icmp" | "icmpv6" => Some(Transport::Icmp),
        _ => None,
    }
}

/// Keeps the fields of an object that are not in `used` as attributes:
/// nested ones with their path as name, lists as JSON text. Beyond the bound
/// `left_out` says how many there were.
pub(super) fn keep(object: &Map<String, Value>, used: &[&str], attributes: &mut Attributes) {
    let mut left_out = 0_u64;
    let mut kept = 0;
    for (key, value) in object.iter().filter(|(key, _)| !used.contains(&key.as_str())) {
        walk(&name(key), value, 0, &mut |name, value| {
            if kept >= MAX_LEFTOVERS || attributes.contains_key(name) {
                left_out += 1;
                return;
            }
            kept += 1;
            attributes.insert(name.into(), value);
        });
    }
    if left_out > 0 {
        attributes.insert("left_out".into(), AttributeValue::from(left_out));
    }
}

fn walk(path: &str, value: &Value, depth: usize, out: &mut impl FnMut(&str, AttributeValue)) {
    let value = match value {
        Value::Null => return,
        Value::String(text) if text.is_empty() => return,
        Value::Array(list) if list.is_empty() => return,
        Value::Object(object) if depth < MAX_LEFTOVER_DEPTH => {
            for (key, value) in object {
                walk(&name(&format!("{path}_{key}")), value, depth + 1, out);
            }
            return;
        }
        Value::Bool(flag) => AttributeValue::Flag(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AttributeValue::Integer(whole),
            (None, Some(real)) if real.is_finite() => AttributeValue::Real(real),
            _ => text(&number.to_string()),
        },
        Value::String(string) => text(string),
        other => text(&other.to_string()),
    };
    out(path, value);
}

fn text(text: &str) -> AttributeValue {
    let bytes = text.as_bytes();
    AttributeValue::Text(Untrusted::from(bytes.get(..MAX_LEFTOVER_BYTES).unwrap_or(bytes)))
}

/// A name as attributes have it.
fn name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = text.chars().map(plain).take(MAX_NAME_BYTES).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_every_zone_that_logs_have() {
        for text in [
            "2026-11-20T20:07:14.123456Z",
            "2026-11-20T21:07:14.123456+0100",
            "2026-11-20T21:07:14.123+01:00",
            "2026-11-20 20:07:14.123456",
            "2026-11-20T20:07:14.123",
        ] {
            assert_eq!(time(text).unwrap().to_string(), "2026-11-20T20:07:14.123Z", "{text}");
        }
        for text in ["", "yesterday", "2026-11-20", "2026-11-20T", "2026-13-20T20:07:14", "é T"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn what_has_no_place_is_kept_within_bounds() {
        let object: Map<String, Value> = serde_json::from_str(
            r#"{"A b":1,"used":2,"deep":{"er":{"and":{"deeper":{"x":1}}}},"list":[1,"a"],"none":null}"#,
        )
        .unwrap();
        let mut attributes = Attributes::new();
        keep(&object, &["used"], &mut attributes);
        let shown: Vec<String> = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["a_b=1", "deep_er_and_deeper={\"x\":1}", "list=[1,\"a\"]"]);
        let many: Map<String, Value> =
            (0..100).map(|n| (format!("k{n}"), Value::from(n))).collect();
        let mut attributes = Attributes::new();
        keep(&many, &[], &mut attributes);
        assert_eq!(attributes.len(), MAX_LEFTOVERS + 1);
        assert_eq!(attributes.get("left_out"), Some(&AttributeValue::Integer(60)));
    }
}
