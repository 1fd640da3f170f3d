//! How an event is taken apart into columns and put together again, as far as
//! both engines do the same: every field of the query language is one column,
//! some bits say which parts an event has, and what columns cannot give back
//! exactly (attributes, bytes that are no UTF-8, long texts, …) is [`Rest`].
//!
//! Not how columns lie on disk: that is `embedded/schema.rs` and
//! `clickhouse/row.rs`. Names in JSON are part of both formats: never change one.

use std::borrow::Cow;
use std::net::IpAddr;

use palisade_event::{
    AttributeValue, Credentials, Domain, Endpoint, Event, EventId, Fingerprints, Geo, GeoPrecision,
    Outcome, Timestamp, Transport, Untrusted,
};
use serde::{Deserialize, Serialize};

use crate::query::Field;

/// What columns cannot give back. The other names are those that format 2 of
/// the embedded store wrote.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rest {
    /// Texts by field name: no UTF-8, or longer than is compared.
    #[serde(rename = "t", alias = "texts", skip_serializing_if = "Vec::is_empty")]
    texts: Vec<(String, Untrusted)>,
    /// Addresses written as IPv4 mapped to IPv6.
    #[serde(rename = "s", alias = "source", skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(rename = "d", alias = "target", skip_serializing_if = "Option::is_none")]
    target: Option<IpAddr>,
    #[serde(rename = "h", alias = "distance", skip_serializing_if = "Option::is_none")]
    distance: Option<u8>,
    #[serde(rename = "u", alias = "uptime", skip_serializing_if = "Option::is_none")]
    uptime: Option<u64>,
    #[serde(rename = "l", alias = "link", skip_serializing_if = "Option::is_none")]
    link: Option<Box<str>>,
    #[serde(rename = "a", alias = "attributes", skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(Box<str>, RestValue)>,
    /// Where the source is, where it has but one of both or numbers that their
    /// text does not give back.
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    lat_bits: Option<u64>,
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    lon_bits: Option<u64>,
    /// A place of the target that is too long for its column.
    #[serde(rename = "p", alias = "target_place", skip_serializing_if = "Option::is_none")]
    pub(crate) target_place: Option<Place>,
    /// What format 2 of the embedded store wrote in place of latitude and longitude.
    #[serde(skip_serializing)]
    source_place: Option<Place>,
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

impl From<RestValue> for AttributeValue {
    fn from(value: RestValue) -> Self {
        match value {
            RestValue::Flag(value) => Self::Flag(value),
            RestValue::Integer(value) => Self::Integer(value),
            RestValue::RealBits(bits) => Self::Real(f64::from_bits(bits)),
            RestValue::Text(value) => Self::Text(value),
        }
    }
}

/// Where the target is, but for its country: the same for all of a sensor's
/// events, so a dictionary keeps this small.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    #[serde(rename = "y", alias = "a", skip_serializing_if = "Option::is_none")]
    lat_bits: Option<u64>,
    #[serde(rename = "x", alias = "o", skip_serializing_if = "Option::is_none")]
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

impl Place {
    /// Of the target; `None` where nothing is known beyond its country.
    pub(crate) fn of_target(event: &Event) -> Option<Self> {
        let geo = event.target_geo.as_deref()?;
        let place = Self {
            lat_bits: geo.lat.map(f64::to_bits),
            lon_bits: geo.lon.map(f64::to_bits),
            precision: geo.precision,
            city: geo.city.clone(),
            asn: geo.asn,
            organisation: geo.organisation.clone(),
        };
        (place != Self::default()).then_some(place)
    }
}

/// Which parts an event has, and the small sets that have no column of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) credentials: bool,
    pub(crate) fingerprints: bool,
    pub(crate) source_geo: bool,
    pub(crate) target_geo: bool,
    pub(crate) source_transport: Option<Transport>,
    pub(crate) target_transport: Option<Transport>,
    /// How exact the place of the source is.
    pub(crate) precision: Option<GeoPrecision>,
}

impl Shape {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            credentials: event.credentials.is_some(),
            fingerprints: event.fingerprints.is_some(),
            source_geo: event.source_geo.is_some(),
            target_geo: event.target_geo.is_some(),
            source_transport: event.source.and_then(|end| end.transport),
            target_transport: event.target.and_then(|end| end.transport),
            precision: event.source_geo.as_deref().and_then(|geo| geo.precision),
        }
    }
}

/// A transport in two bits.
pub(crate) fn transport_bits(transport: Option<Transport>) -> u64 {
    match transport {
        None => 0,
        Some(Transport::Tcp) => 1,
        Some(Transport::Udp) => 2,
        Some(Transport::Icmp) => 3,
    }
}

/// The transport in the lowest two bits.
pub(crate) fn transport(bits: u64) -> Option<Transport> {
    match bits & 3 {
        1 => Some(Transport::Tcp),
        2 => Some(Transport::Udp),
        3 => Some(Transport::Icmp),
        _ => None,
    }
}

/// A precision in two bits.
pub(crate) fn precision_bits(precision: Option<GeoPrecision>) -> u64 {
    match precision {
        None => 0,
        Some(GeoPrecision::Country) => 1,
        Some(GeoPrecision::City) => 2,
    }
}

/// The precision in the lowest two bits.
pub(crate) fn precision(bits: u64) -> Option<GeoPrecision> {
    match bits & 3 {
        1 => Some(GeoPrecision::Country),
        2 => Some(GeoPrecision::City),
        _ => None,
    }
}

/// Reads the text of a place: degrees north, degrees east.
pub(crate) fn location(text: &str) -> Option<(f64, f64)> {
    let (lat, lon) = text.split_once(',')?;
    Some((lat.parse().ok()?, lon.parse().ok()?))
}

/// Reads the place in the text of a target's [`Place`].
pub(crate) fn target_location(text: &str) -> Option<(f64, f64)> {
    let place: Place = serde_json::from_str(text).ok()?;
    Some((f64::from_bits(place.lat_bits?), f64::from_bits(place.lon_bits?)))
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

impl Rest {
    /// What of an event no column ever holds; texts and places that their
    /// columns do not give back are added while those are written.
    pub(crate) fn of(event: &Event) -> Self {
        let mapped = |end: &Option<Endpoint>| {
            end.map(|end| end.address).filter(|address| *address != address.to_canonical())
        };
        let prints = event.fingerprints.as_deref();
        let attributes = event.attributes.iter().map(|(name, value)| {
            let value = match value {
                AttributeValue::Flag(value) => RestValue::Flag(*value),
                AttributeValue::Integer(value) => RestValue::Integer(*value),
                AttributeValue::Real(value) => RestValue::RealBits(value.to_bits()),
                AttributeValue::Text(value) => RestValue::Text(value.clone()),
            };
            (name.clone(), value)
        });
        Self {
            source: mapped(&event.source),
            target: mapped(&event.target),
            distance: prints.and_then(|prints| prints.distance),
            uptime: prints.and_then(|prints| prints.uptime_secs),
            link: prints.and_then(|prints| prints.link.clone()),
            attributes: attributes.collect(),
            ..Self::default()
        }
    }

    /// Keeps the text of a field in full where its column holds another one.
    pub(crate) fn keep_text(&mut self, event: &Event, field: Field, column: &str) {
        if let Some(full) = full_text(event, field).filter(|full| *full != column.as_bytes()) {
            self.texts.push((field.name().to_owned(), Untrusted::new(full)));
        }
    }

    /// Keeps the place of the source, which its column does not give back.
    pub(crate) fn keep_place(&mut self, geo: &Geo) {
        self.lat_bits = geo.lat.map(f64::to_bits);
        self.lon_bits = geo.lon.map(f64::to_bits);
    }

    /// The value of an attribute.
    pub(crate) fn attribute(self, name: &str) -> Option<AttributeValue> {
        let found = self.attributes.into_iter().find(|(have, _)| &**have == name);
        found.map(|(_, value)| value.into())
    }

    fn text(&self, field: Field) -> Option<Untrusted> {
        self.texts.iter().find(|(name, _)| name == field.name()).map(|(_, text)| text.clone())
    }
}

/// What the columns of one event say.
pub(crate) trait Columns {
    fn text(&self, field: Field) -> Option<Cow<'_, str>>;
    fn number(&self, field: Field) -> Option<i64>;
    fn address(&self, field: Field) -> Option<IpAddr>;
    fn id(&self) -> Option<u128>;
}

/// Puts an event together. `source_place` is what format 1 of the embedded store
/// kept in a column. `None` where no event was ever written like this.
pub(crate) fn event(
    columns: &impl Columns,
    shape: Shape,
    rest: Rest,
    source_place: Option<Place>,
    target_place: Place,
) -> Option<Event> {
    let hostile = |field: Field| {
        rest.text(field).or_else(|| columns.text(field).map(|text| Untrusted::from(&*text)))
    };
    let plain = |field: Field| match rest.text(field) {
        Some(text) => text.as_utf8().map(Box::from),
        None => columns.text(field).map(Box::from),
    };
    let time = |field| columns.number(field).map(Timestamp::from_millis);
    let mut event = Event::new(
        EventId::from_u128(columns.id()?),
        columns.text(Field::Kind)?.parse().ok()?,
        time(Field::ObservedAt)?,
        columns.text(Field::Sensor)?.parse().ok()?,
    );
    event.received_at = time(Field::ReceivedAt);
    event.domain = match &*columns.text(Field::Domain)? {
        "community" => Domain::Community,
        _ => Domain::Private,
    };
    event.host = columns.text(Field::Host).and_then(|v| v.parse().ok());
    event.analyzer = columns.text(Field::Analyzer).and_then(|v| v.parse().ok());
    event.category = columns.text(Field::Category).and_then(|v| v.parse().ok());
    event.session = columns.text(Field::Session).and_then(|v| v.parse().ok());
    let end = |address: Field, port: Field, mapped: Option<IpAddr>, transport| {
        let stored = columns.address(address)?;
        let port = columns.number(port).and_then(|port| u16::try_from(port).ok());
        Some(Endpoint { address: mapped.unwrap_or(stored), port, transport })
    };
    event.source = end(Field::Ip, Field::SourcePort, rest.source, shape.source_transport);
    event.target = end(Field::Target, Field::Port, rest.target, shape.target_transport);
    event.credentials = shape.credentials.then(|| Credentials {
        username: hostile(Field::User),
        password: hostile(Field::Password),
        outcome: columns.text(Field::Outcome).map(|outcome| match &*outcome {
            "accepted" => Outcome::Accepted,
            _ => Outcome::Failed,
        }),
    });
    event.request = hostile(Field::Request);
    event.client = hostile(Field::Client);
    event.fingerprints = shape.fingerprints.then(|| {
        Box::new(Fingerprints {
            os: plain(Field::Os),
            distance: rest.distance,
            uptime_secs: rest.uptime,
            link: rest.link.clone(),
            hassh: plain(Field::Hassh),
            ja4: plain(Field::Ja4),
            user_agent: hostile(Field::UserAgent),
        })
    });
    event.payload = columns.text(Field::Payload).and_then(|v| v.parse().ok());
    event.payload_name = hostile(Field::PayloadName);
    event.cve = plain(Field::Cve);
    let country = |field| columns.text(field).and_then(|v| v.parse().ok());
    event.source_geo = shape.source_geo.then(|| {
        let old = rest.source_place.as_ref().or(source_place.as_ref());
        let text = columns.text(Field::Location);
        let both = text.as_deref().and_then(location).filter(|_| old.is_none());
        let bits = |bits: Option<u64>| bits.map(f64::from_bits);
        let (lat, lon) = match old {
            Some(place) => (bits(place.lat_bits), bits(place.lon_bits)),
            None => (bits(rest.lat_bits), bits(rest.lon_bits)),
        };
        Box::new(Geo {
            country: country(Field::Country),
            city: plain(Field::City),
            asn: columns.number(Field::Asn).and_then(|asn| u32::try_from(asn).ok()),
            organisation: plain(Field::Org),
            lat: lat.or(both.map(|both| both.0)),
            lon: lon.or(both.map(|both| both.1)),
            precision: old.and_then(|place| place.precision).or(shape.precision),
        })
    });
    event.target_geo = shape.target_geo.then(|| {
        let place = rest.target_place.unwrap_or(target_place);
        Box::new(Geo {
            country: country(Field::TargetCountry),
            city: place.city,
            asn: place.asn,
            organisation: place.organisation,
            lat: place.lat_bits.map(f64::from_bits),
            lon: place.lon_bits.map(f64::from_bits),
            precision: place.precision,
        })
    });
    let attribute = |(name, value): (Box<str>, RestValue)| (name, value.into());
    event.attributes = rest.attributes.into_iter().map(attribute).collect();
    Some(event)
}
