//! How an event lies in the table of events, version 1 of the schema.
//!
//! Every field of the query language is one column; an absent value is the
//! type's default, and `has` says which are there. What columns cannot give
//! back exactly (attributes, bytes that are no UTF-8, long texts, …) is JSON in
//! `rest`, which most events leave empty. `words` holds the words of free text
//! with a space around each.

use std::collections::HashSet;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr};

use palisade_event::{
    AttributeValue, Credentials, Domain, Endpoint, Event, EventId, Fingerprints, Geo, GeoPrecision,
    Outcome, Timestamp, Transport, Untrusted,
};
use serde::{Deserialize, Serialize};

use super::rows::{Rows, put_text};
use super::sql::address_bits;
use crate::query::{Field, FieldType, Value, tokens};

/// Columns that are no field of the query language, in the order of a row.
pub(super) const OTHER_COLUMNS: [&str; 5] = ["target_place", "rest", "words", "has", "batch"];
/// How many of them are read back; the rest is for queries alone.
pub(super) const READ_COLUMNS: [&str; 3] = ["target_place", "rest", "has"];

/// The bit of a field in `has`. Part of the schema: never change one.
pub(super) fn bit(field: Field) -> u32 {
    match field {
        Field::Kind => 0,
        Field::Domain => 1,
        Field::Sensor => 2,
        Field::Host => 3,
        Field::Category => 4,
        Field::Ip => 5,
        Field::SourcePort => 6,
        Field::Target => 7,
        Field::Port => 8,
        Field::Transport => 9,
        Field::Session => 10,
        Field::User => 11,
        Field::Password => 12,
        Field::Outcome => 13,
        Field::Request => 14,
        Field::Client => 15,
        Field::UserAgent => 16,
        Field::Os => 17,
        Field::Hassh => 18,
        Field::Ja4 => 19,
        Field::Payload => 20,
        Field::PayloadName => 21,
        Field::Cve => 22,
        Field::Country => 23,
        Field::City => 24,
        Field::Location => 25,
        Field::Asn => 26,
        Field::Org => 27,
        Field::TargetCountry => 28,
        Field::Id => 29,
        Field::ObservedAt => 30,
        Field::ReceivedAt => 31,
    }
}

// Further bits of `has`: which parts an event has, both transports, the precision.
const HAS_CREDENTIALS: u64 = 1 << 48;
const HAS_FINGERPRINTS: u64 = 1 << 49;
const HAS_SOURCE_GEO: u64 = 1 << 50;
const HAS_TARGET_GEO: u64 = 1 << 51;
const SOURCE_TRANSPORT: u32 = 52;
const TARGET_TRANSPORT: u32 = 54;
const SOURCE_PRECISION: u32 = 56;

/// How a field's values lie in their column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text from a small set.
    Name,
    /// Any text.
    Text,
    Bytes16,
    U16,
    U32,
    I64,
}

/// How a field's values lie in their column.
pub(super) fn kind(field: Field) -> Kind {
    match field {
        Field::Id => Kind::Bytes16,
        Field::SourcePort | Field::Port => Kind::U16,
        Field::Asn => Kind::U32,
        Field::Session | Field::Payload | Field::PayloadName | Field::Request => Kind::Text,
        _ => match field.field_type() {
            FieldType::Ip => Kind::Bytes16,
            FieldType::Integer | FieldType::Time => Kind::I64,
            FieldType::Keyword | FieldType::Text => Kind::Name,
        },
    }
}

/// What columns cannot give back.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Rest {
    /// Texts by field name: no UTF-8, or longer than is compared.
    #[serde(rename = "t", skip_serializing_if = "Vec::is_empty")]
    texts: Vec<(String, Untrusted)>,
    /// Addresses written as IPv4 mapped to IPv6.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    target: Option<IpAddr>,
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    distance: Option<u8>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    uptime: Option<u64>,
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    link: Option<Box<str>>,
    #[serde(rename = "a", skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(Box<str>, RestValue)>,
    /// Of a source that has but one of both.
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    lat_bits: Option<u64>,
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    lon_bits: Option<u64>,
}

/// An attribute's value; reals as bits, as JSON would round them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum RestValue {
    #[serde(rename = "f")]
    Flag(bool),
    #[serde(rename = "i")]
    Integer(i64),
    #[serde(rename = "r")]
    RealBits(u64),
    #[serde(rename = "t")]
    Text(Untrusted),
}

/// Where the target is, but for its country: the same for all of a sensor's events.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TargetPlace {
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    lat_bits: Option<u64>,
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    lon_bits: Option<u64>,
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    precision: Option<GeoPrecision>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    city: Option<Box<str>>,
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    asn: Option<u32>,
    #[serde(rename = "g", skip_serializing_if = "Option::is_none")]
    organisation: Option<Box<str>>,
}

/// The text of a field in full, where it has one that may be long or hostile.
fn full_text(event: &Event, field: Field) -> Option<&[u8]> {
    let login = event.credentials.as_ref();
    let prints = event.fingerprints.as_deref();
    let geo = event.source_geo.as_deref();
    match field {
        Field::User => login?.username.as_ref().map(Untrusted::as_bytes),
        Field::Password => login?.password.as_ref().map(Untrusted::as_bytes),
        Field::Request => event.request.as_ref().map(Untrusted::as_bytes),
        Field::Client => event.client.as_ref().map(Untrusted::as_bytes),
        Field::PayloadName => event.payload_name.as_ref().map(Untrusted::as_bytes),
        Field::UserAgent => prints?.user_agent.as_ref().map(Untrusted::as_bytes),
        Field::Os => prints?.os.as_deref().map(str::as_bytes),
        Field::Hassh => prints?.hassh.as_deref().map(str::as_bytes),
        Field::Ja4 => prints?.ja4.as_deref().map(str::as_bytes),
        Field::Cve => event.cve.as_deref().map(str::as_bytes),
        Field::City => geo?.city.as_deref().map(str::as_bytes),
        Field::Org => geo?.organisation.as_deref().map(str::as_bytes),
        _ => None,
    }
}

fn transport_bits(end: Option<&Endpoint>) -> u64 {
    match end.and_then(|end| end.transport) {
        None => 0,
        Some(Transport::Tcp) => 1,
        Some(Transport::Udp) => 2,
        Some(Transport::Icmp) => 3,
    }
}

fn transport(bits: u64) -> Option<Transport> {
    match bits & 3 {
        1 => Some(Transport::Tcp),
        2 => Some(Transport::Udp),
        3 => Some(Transport::Icmp),
        _ => None,
    }
}

/// Appends an event as one row: the fields in order, then [`OTHER_COLUMNS`].
pub(super) fn encode(event: &Event, batch: u64, to: &mut Vec<u8>) {
    let mut rest = Rest::default();
    let mut has = 0u64;
    for field in Field::ALL {
        let value = field.value(event);
        if value.is_some() {
            has |= 1 << bit(*field);
        }
        match kind(*field) {
            Kind::Name | Kind::Text => match &value {
                Some(Value::Text(text)) => {
                    put_text(to, text.as_bytes());
                    if let Some(full) = full_text(event, *field)
                        && full != text.as_bytes()
                    {
                        rest.texts.push((field.name().to_owned(), Untrusted::new(full)));
                    }
                }
                _ => put_text(to, b""),
            },
            Kind::Bytes16 => {
                let bits = match value {
                    Some(Value::Address(address)) => address_bits(address),
                    Some(Value::Id(id)) => id,
                    _ => 0,
                };
                to.extend_from_slice(&bits.to_be_bytes());
            }
            Kind::U16 => to.extend_from_slice(&(number(value) as u16).to_le_bytes()),
            Kind::U32 => to.extend_from_slice(&(number(value) as u32).to_le_bytes()),
            Kind::I64 => to.extend_from_slice(&number(value).to_le_bytes()),
        }
    }
    has |= transport_bits(event.source.as_ref()) << SOURCE_TRANSPORT
        | transport_bits(event.target.as_ref()) << TARGET_TRANSPORT;
    let mapped = |end: &Option<Endpoint>| {
        end.map(|end| end.address).filter(|address| *address != address.to_canonical())
    };
    rest.source = mapped(&event.source);
    rest.target = mapped(&event.target);
    if event.credentials.is_some() {
        has |= HAS_CREDENTIALS;
    }
    if let Some(prints) = event.fingerprints.as_deref() {
        has |= HAS_FINGERPRINTS;
        rest.distance = prints.distance;
        rest.uptime = prints.uptime_secs;
        rest.link.clone_from(&prints.link);
    }
    if let Some(geo) = event.source_geo.as_deref() {
        has |= HAS_SOURCE_GEO;
        has |= match geo.precision {
            None => 0,
            Some(GeoPrecision::Country) => 1 << SOURCE_PRECISION,
            Some(GeoPrecision::City) => 2 << SOURCE_PRECISION,
        };
        if geo.lat.is_none() || geo.lon.is_none() {
            rest.lat_bits = geo.lat.map(f64::to_bits);
            rest.lon_bits = geo.lon.map(f64::to_bits);
        }
    }
    rest.attributes.extend(event.attributes.iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::Flag(value) => RestValue::Flag(*value),
            AttributeValue::Integer(value) => RestValue::Integer(*value),
            AttributeValue::Real(value) => RestValue::RealBits(value.to_bits()),
            AttributeValue::Text(value) => RestValue::Text(value.clone()),
        };
        (name.clone(), value)
    }));
    match event.target_geo.as_deref() {
        Some(geo) => {
            has |= HAS_TARGET_GEO;
            let place = TargetPlace {
                lat_bits: geo.lat.map(f64::to_bits),
                lon_bits: geo.lon.map(f64::to_bits),
                precision: geo.precision,
                city: geo.city.clone(),
                asn: geo.asn,
                organisation: geo.organisation.clone(),
            };
            put_json(to, &place);
        }
        None => put_text(to, b""),
    }
    put_json(to, &rest);
    put_text(to, words(event).as_bytes());
    to.extend_from_slice(&has.to_le_bytes());
    to.extend_from_slice(&batch.to_le_bytes());
}

fn number(value: Option<Value<'_>>) -> i64 {
    match value {
        Some(Value::Number(number)) => number,
        _ => 0,
    }
}

/// JSON, or nothing where there is nothing to say.
fn put_json<T: Serialize + Default + PartialEq>(to: &mut Vec<u8>, value: &T) {
    if *value == T::default() {
        return put_text(to, b"");
    }
    // Writing to memory fails for map keys that are no strings; there are none.
    put_text(to, &serde_json::to_vec(value).unwrap_or_default());
}

/// The different words of free text, a space before and after each.
fn words(event: &Event) -> String {
    let mut all = String::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut buffer = String::new();
    for text in tokens::searched(event) {
        tokens::words(&text.to_lossy(), &mut buffer, |word| {
            if !seen.contains(word) {
                seen.insert(word.to_owned());
                if all.is_empty() {
                    all.push(' ');
                }
                all.push_str(word);
                all.push(' ');
            }
        });
    }
    all
}

/// What a row's columns say.
struct Columns {
    texts: Vec<(Field, String)>,
    numbers: Vec<(Field, i64)>,
    bytes: Vec<(Field, u128)>,
    has: u64,
}

impl Columns {
    fn has(&self, field: Field) -> bool {
        self.has >> bit(field) & 1 == 1
    }
    fn text(&self, field: Field) -> Option<&str> {
        let found = self.texts.iter().find(|(f, _)| *f == field);
        found.filter(|_| self.has(field)).map(|(_, text)| text.as_str())
    }
    fn number(&self, field: Field) -> Option<i64> {
        let found = self.numbers.iter().find(|(f, _)| *f == field);
        found.filter(|_| self.has(field)).map(|(_, number)| *number)
    }
    fn bytes(&self, field: Field) -> Option<u128> {
        let found = self.bytes.iter().find(|(f, _)| *f == field);
        found.filter(|_| self.has(field)).map(|(_, bytes)| *bytes)
    }
}

/// Reads one row: the fields in order, then [`READ_COLUMNS`].
pub(super) fn decode<R: Read>(rows: &mut Rows<R>) -> io::Result<Event> {
    let mut columns = Columns { texts: Vec::new(), numbers: Vec::new(), bytes: Vec::new(), has: 0 };
    for field in Field::ALL {
        match kind(*field) {
            Kind::Name | Kind::Text => columns.texts.push((*field, rows.text()?)),
            Kind::Bytes16 => columns.bytes.push((*field, rows.bytes16()?)),
            Kind::U16 => columns.numbers.push((*field, rows.u16()?.into())),
            Kind::U32 => columns.numbers.push((*field, rows.u32()?.into())),
            Kind::I64 => columns.numbers.push((*field, rows.i64()?)),
        }
    }
    let (place, rest) = (rows.text()?, rows.text()?);
    columns.has = rows.u64()?;
    event(&columns, &place, &rest)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a row is no event"))
}

fn json<T: Default + for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    if text.is_empty() { Some(T::default()) } else { serde_json::from_str(text).ok() }
}

/// `None` where the row is not as [`encode`] writes it.
fn event(columns: &Columns, place: &str, rest: &str) -> Option<Event> {
    let has = columns.has;
    let rest: Rest = json(rest)?;
    let long = |field: Field| {
        rest.texts.iter().find(|(name, _)| name == field.name()).map(|(_, text)| text.clone())
    };
    let hostile = |field: Field| long(field).or_else(|| columns.text(field).map(Untrusted::from));
    let plain = |field: Field| match long(field) {
        Some(text) => text.as_utf8().map(Box::from),
        None => columns.text(field).map(Box::from),
    };
    let time = |field| columns.number(field).map(Timestamp::from_millis);
    let mut event = Event::new(
        EventId::from_u128(columns.bytes(Field::Id)?),
        columns.text(Field::Kind)?.parse().ok()?,
        time(Field::ObservedAt)?,
        columns.text(Field::Sensor)?.parse().ok()?,
    );
    event.received_at = time(Field::ReceivedAt);
    event.domain = match columns.text(Field::Domain)? {
        "community" => Domain::Community,
        _ => Domain::Private,
    };
    event.host = columns.text(Field::Host).and_then(|v| v.parse().ok());
    event.category = columns.text(Field::Category).and_then(|v| v.parse().ok());
    event.session = columns.text(Field::Session).and_then(|v| v.parse().ok());
    let end = |address: Field, port: Field, mapped: Option<IpAddr>, at: u32| {
        let stored = columns.bytes(address)?;
        Some(Endpoint {
            address: mapped
                .unwrap_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(stored)).to_canonical()),
            port: columns.number(port).and_then(|port| u16::try_from(port).ok()),
            transport: transport(has >> at),
        })
    };
    event.source = end(Field::Ip, Field::SourcePort, rest.source, SOURCE_TRANSPORT);
    event.target = end(Field::Target, Field::Port, rest.target, TARGET_TRANSPORT);
    if has & HAS_CREDENTIALS != 0 {
        event.credentials = Some(Credentials {
            username: hostile(Field::User),
            password: hostile(Field::Password),
            outcome: columns.text(Field::Outcome).map(|outcome| match outcome {
                "accepted" => Outcome::Accepted,
                _ => Outcome::Failed,
            }),
        });
    }
    event.request = hostile(Field::Request);
    event.client = hostile(Field::Client);
    if has & HAS_FINGERPRINTS != 0 {
        event.fingerprints = Some(Box::new(Fingerprints {
            os: plain(Field::Os),
            distance: rest.distance,
            uptime_secs: rest.uptime,
            link: rest.link.clone(),
            hassh: plain(Field::Hassh),
            ja4: plain(Field::Ja4),
            user_agent: hostile(Field::UserAgent),
        }));
    }
    event.payload = columns.text(Field::Payload).and_then(|v| v.parse().ok());
    event.payload_name = hostile(Field::PayloadName);
    event.cve = plain(Field::Cve);
    if has & HAS_SOURCE_GEO != 0 {
        // A number that Rust writes it reads back as the same.
        let both = columns.text(Field::Location).and_then(|text| text.split_once(','));
        let half = |bits: Option<u64>, text: Option<&str>| {
            bits.map(f64::from_bits).or_else(|| text.and_then(|text| text.parse().ok()))
        };
        event.source_geo = Some(Box::new(Geo {
            country: columns.text(Field::Country).and_then(|v| v.parse().ok()),
            city: plain(Field::City),
            asn: columns.number(Field::Asn).and_then(|asn| u32::try_from(asn).ok()),
            organisation: plain(Field::Org),
            lat: half(rest.lat_bits, both.map(|both| both.0)),
            lon: half(rest.lon_bits, both.map(|both| both.1)),
            precision: match has >> SOURCE_PRECISION & 3 {
                1 => Some(GeoPrecision::Country),
                2 => Some(GeoPrecision::City),
                _ => None,
            },
        }));
    }
    if has & HAS_TARGET_GEO != 0 {
        let place: TargetPlace = json(place)?;
        event.target_geo = Some(Box::new(Geo {
            country: columns.text(Field::TargetCountry).and_then(|v| v.parse().ok()),
            city: place.city,
            asn: place.asn,
            organisation: place.organisation,
            lat: place.lat_bits.map(f64::from_bits),
            lon: place.lon_bits.map(f64::from_bits),
            precision: place.precision,
        }));
    }
    event.attributes = rest
        .attributes
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                RestValue::Flag(value) => AttributeValue::Flag(value),
                RestValue::Integer(value) => AttributeValue::Integer(value),
                RestValue::RealBits(bits) => AttributeValue::Real(f64::from_bits(bits)),
                RestValue::Text(value) => AttributeValue::Text(value),
            };
            (name, value)
        })
        .collect();
    Some(event)
}
