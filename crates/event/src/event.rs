//! The event: one thing that happened, as it is stored, sent and shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AnalyzerName, AttributeValue, Category, CountryCode, Endpoint, EventId, EventKind, HostName,
    SensorId, SessionId, Timestamp, Untrusted,
};

/// Longest text of one field, in bytes. A honeypot records request bodies up
/// to this size.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most bytes of attacker text in all fields of one event together.
pub const MAX_EVENT_TEXT_BYTES: usize = 160 * 1024;
/// Most attributes of one event.
pub const MAX_ATTRIBUTES: usize = 64;
/// Longest attribute name, in bytes.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 64;

/// Facts of an event beyond the common fields, by name (`a-z`, `0-9`, `_`).
pub type Attributes = BTreeMap<Box<str>, AttributeValue>;

/// One thing that happened.
///
/// Unknown is `None`, never an empty string, a dash or a zero. `observed_at`
/// is the sensor's clock, `received_at` the hub's. `domain`, `sensor` and
/// `received_at` are set by the hub and whatever a sender put there is
/// replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Identity; the same id is the same event.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// When it happened, by the sensor's clock.
    pub observed_at: Timestamp,
    /// When the hub took it, by the hub's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// Who may see it.
    #[serde(default)]
    pub domain: Domain,
    /// The installation that observed it.
    pub sensor: SensorId,
    /// The machine it happened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The daemon on that machine that observed it, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analyzer: Option<AnalyzerName>,
    /// The type of service attacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// Where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Endpoint>,
    /// The connection or login session it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What was tried at a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// What was asked for: a request line, a command, the first bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Untrusted>,
    /// The client's own banner, such as `SSH-2.0-Go`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Untrusted>,
    /// What gives the client away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprints: Option<Box<Fingerprints>>,
    /// The file that was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadHash>,
    /// What the attacker called that file: a name, a path, or where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_name: Option<Untrusted>,
    /// The vulnerability that was aimed at, such as `CVE-2026-24061`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cve: Option<Box<str>>,
    /// Where the source is; added by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_geo: Option<Box<Geo>>,
    /// Where the target is; added by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_geo: Option<Box<Geo>>,
    /// Everything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
}

impl Event {
    /// An event of which only the necessary is known.
    #[must_use]
    pub fn new(id: EventId, kind: EventKind, observed_at: Timestamp, sensor: SensorId) -> Self {
        Self {
            id,
            kind,
            observed_at,
            received_at: None,
            domain: Domain::default(),
            sensor,
            host: None,
            analyzer: None,
            category: None,
            source: None,
            target: None,
            session: None,
            credentials: None,
            request: None,
            client: None,
            fingerprints: None,
            payload: None,
            payload_name: None,
            cve: None,
            source_geo: None,
            target_geo: None,
            attributes: Attributes::new(),
        }
    }

    /// Adds an attribute; see [`Self::validate`] for the rules of names.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<AttributeValue>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Checks the limits that the types do not.
    ///
    /// # Errors
    /// [`Invalid`], naming the first field that is too long or malformed.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(Invalid::new("attributes", "at most 64 are allowed"));
        }
        let mut total = 0usize;
        let mut check = |field: &str, length: usize| {
            total = total.saturating_add(length);
            if length > MAX_TEXT_BYTES {
                return Err(Invalid::new(field, "longer than 65536 bytes"));
            }
            if total > MAX_EVENT_TEXT_BYTES {
                return Err(Invalid::new(field, "the event's text exceeds 163840 bytes in all"));
            }
            Ok(())
        };
        for (name, value) in &self.attributes {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if name.is_empty() || name.len() > MAX_ATTRIBUTE_NAME_BYTES || !name.bytes().all(plain)
            {
                let rule = "attribute names are 1 to 64 of a-z, 0-9 and _";
                return Err(Invalid::new(&name.escape_default().to_string(), rule));
            }
            if let AttributeValue::Text(text) = value {
                check(name, text.len())?;
            }
        }
        check("request", self.request.as_ref().map_or(0, Untrusted::len))?;
        check("client", self.client.as_ref().map_or(0, Untrusted::len))?;
        check("payload_name", self.payload_name.as_ref().map_or(0, Untrusted::len))?;
        if let Some(credentials) = &self.credentials {
            check("username", credentials.username.as_ref().map_or(0, Untrusted::len))?;
            check("password", credentials.password.as_ref().map_or(0, Untrusted::len))?;
        }
        if let Some(prints) = &self.fingerprints {
            check("user_agent", prints.user_agent.as_ref().map_or(0, Untrusted::len))?;
        }
        if self.cve.as_ref().is_some_and(|cve| cve.len() > 32 || !cve.is_ascii()) {
            return Err(Invalid::new("cve", "at most 32 ASCII characters"));
        }
        for end in [&self.source, &self.target].into_iter().flatten() {
            if end.port == Some(0) {
                return Err(Invalid::new("port", "0 is no port; leave it out if unknown"));
            }
        }
        Ok(())
    }
}

/// An event breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field '{field}': {rule}")]
pub struct Invalid {
    field: String,
    rule: &'static str,
}

impl Invalid {
    fn new(field: &str, rule: &'static str) -> Self {
        Self { field: field.chars().take(80).collect(), rule }
    }
}

/// Who may see an event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Shared with the honeypot community.
    Community,
    /// Seen by the operator's own accounts alone. The default, as the safe one.
    #[default]
    Private,
}

impl Domain {
    /// Its lower-case name, as in the wire form and in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Community => "community",
            Self::Private => "private",
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a login attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The attacker (or user) was let in.
    Accepted,
    /// The attempt was refused.
    Failed,
}

impl Outcome {
    /// Its lower-case name, as in the wire form and in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Failed => "failed",
        }
    }
}

/// What was tried at a login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The login name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Untrusted>,
    /// The password; logs of real services do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Untrusted>,
    /// Whether it let the client in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What gives a client away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Operating system, such as `Linux 3.11 and newer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Box<str>>,
    /// Network hops to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<u8>,
    /// Seconds since the client's machine was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_secs: Option<u64>,
    /// Link type, such as `Ethernet or modem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Box<str>>,
    /// HASSH of the SSH client (MD5 in hex).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hassh: Option<Box<str>>,
    /// JA4 of the TLS client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja4: Option<Box<str>>,
    /// The HTTP `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Untrusted>,
}

/// SHA-256 of a captured file, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadHash(pub [u8; 32]);

impl fmt::Display for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PayloadHash {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || Invalid::new("payload", "a SHA-256 is 64 lower-case hex digits");
        let mut hash = [0u8; 32];
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for PayloadHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PayloadHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::parsed::parsed(deserializer)
    }
}

/// How exact a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeoPrecision {
    /// The middle of the country.
    Country,
    /// The city, by a geolocation database.
    City,
}

/// Where an address is and who runs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    /// The country, `PIR` for private ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<CountryCode>,
    /// The city's English name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<Box<str>>,
    /// Autonomous system number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The organisation that runs the autonomous system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<Box<str>>,
    /// Degrees north.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    /// Degrees east.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    /// What the coordinates are the middle of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<GeoPrecision>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event {
        let at = Timestamp::from_millis(1_763_669_234_123);
        let mut event = Event::new(
            EventId::new(at, 7),
            EventKind::AuthAttempted,
            at,
            SensorId::new("edge-1").unwrap(),
        );
        event.source = Some(Endpoint::tcp("198.51.100.7:40022".parse().unwrap()));
        event.credentials = Some(Credentials {
            username: Some("root".into()),
            password: Some(Untrusted::new(b"\xff\xfe".to_vec())),
            outcome: Some(Outcome::Failed),
        });
        event.payload = Some(PayloadHash([0xab; 32]));
        event.source_geo = Some(Box::new(Geo {
            country: CountryCode::new("DE").ok(),
            lat: Some(51.1),
            ..Geo::default()
        }));
        event.with("method", "password").with("port", 22i64).with("real", AttributeValue::Real(0.5))
    }

    #[test]
    fn json_round_trips_and_keeps_its_form() {
        let event = sample();
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        let frozen = include_str!("../../../fixtures/format/v1/event.json").trim_end();
        assert_eq!(json, frozen, "the wire form of version 1 is frozen");
    }

    #[test]
    fn unknown_fields_and_kinds_are_refused_by_name() {
        let json = serde_json::to_string(&sample()).unwrap();
        let extra = json.replacen('{', r#"{"colour":"red","#, 1);
        let error = serde_json::from_str::<Event>(&extra).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
        let kind = json.replace("auth.attempted", "auth.dreamt");
        let error = serde_json::from_str::<Event>(&kind).unwrap_err().to_string();
        assert!(error.contains("unknown event kind 'auth.dreamt'"), "{error}");
    }

    #[test]
    fn limits_are_checked_with_the_field_named() {
        let long = sample().with("note", Untrusted::new(vec![b'x'; MAX_TEXT_BYTES + 1]));
        let error = long.validate().unwrap_err().to_string();
        assert_eq!(error, "field 'note': longer than 65536 bytes");
        let mut many = sample();
        many.request = Some(Untrusted::new(vec![b'x'; MAX_TEXT_BYTES]));
        many.client = Some(Untrusted::new(vec![b'x'; MAX_TEXT_BYTES]));
        let many = many.with("body", Untrusted::new(vec![b'x'; MAX_TEXT_BYTES]));
        assert!(many.validate().unwrap_err().to_string().contains("in all"));
        assert!(sample().with("Bad Name", true).validate().is_err());
        assert_eq!(sample().validate(), Ok(()));
    }
}
