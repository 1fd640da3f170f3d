//! How an event lies in the index, format version 2.
//!
//! Every field of the query language is one column. What columns cannot give
//! back exactly (attributes, bytes that are no UTF-8, long texts, …) is JSON in
//! the one stored value of a document, which most documents do not have. The
//! words of free text are indexed without positions.

use std::net::IpAddr;
use std::sync::OnceLock;

use palisade_event::{
    AttributeValue, Attributes, Credentials, Endpoint, Event, Fingerprints, Geo, GeoPrecision,
    Transport, Untrusted,
};
use serde::{Deserialize, Serialize};
use tantivy::schema::{
    BytesOptions, Field as Column, IndexRecordOption, IpAddrOptions, NumericOptions, Schema,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::rows::Cells;
use crate::query::{Field, FieldType, Value, tokens};

/// Name of the tokenizer in the index.
pub(super) const TOKENIZER: &str = "words";
pub(super) const ID_HIGH: &str = "id_high";
pub(super) const ID_LOW: &str = "id_low";
pub(super) const SHAPE: &str = "shape";
/// A column of format version 1, in place of `location`.
pub(super) const SOURCE_PLACE: &str = "source_place";
pub(super) const TARGET_PLACE: &str = "target_place";
pub(super) const REST: &str = "rest";

/// The columns by number.
pub(super) struct Layout {
    pub(super) schema: Schema,
    pub(super) fields: Vec<Option<Column>>,
    id_high: Column,
    id_low: Column,
    shape: Column,
    target_place: Column,
    pub(super) words: Column,
    pub(super) rest: Column,
}

impl Layout {
    /// The column of a field; the id has two, and none of that name.
    pub(super) fn column(&self, field: Field) -> Option<Column> {
        self.fields.get(field as usize).copied().flatten()
    }
}

pub(super) fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let mut schema = Schema::builder();
        let number = NumericOptions::default().set_fast();
        let text = TextOptions::default().set_fast("raw");
        let fields = Field::ALL.iter().map(|field| {
            let name = field.name();
            match field.field_type() {
                _ if *field == Field::Id => None,
                // Events of one address are looked for often, and are few.
                FieldType::Ip if *field == Field::Ip => {
                    let listed = IpAddrOptions::default().set_fast().set_indexed();
                    Some(schema.add_ip_addr_field(name, listed))
                }
                FieldType::Ip => {
                    Some(schema.add_ip_addr_field(name, IpAddrOptions::default().set_fast()))
                }
                FieldType::Integer | FieldType::Time => {
                    Some(schema.add_i64_field(name, number.clone()))
                }
                FieldType::Keyword | FieldType::Text => {
                    Some(schema.add_text_field(name, text.clone()))
                }
            }
        });
        let fields = fields.collect();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        Layout {
            fields,
            id_high: schema.add_u64_field(ID_HIGH, number.clone()),
            id_low: schema.add_u64_field(ID_LOW, number.clone()),
            shape: schema.add_u64_field(SHAPE, number),
            target_place: schema.add_text_field(TARGET_PLACE, text),
            words: schema
                .add_text_field("words", TextOptions::default().set_indexing_options(indexing)),
            rest: schema.add_bytes_field(REST, BytesOptions::default().set_stored()),
            schema: schema.build(),
        }
    })
}

// Bits of the `shape` column: which parts an event has, both transports, and how
// exact the place of the source is.
const HAS_CREDENTIALS: u64 = 1;
const HAS_FINGERPRINTS: u64 = 2;
const HAS_SOURCE_GEO: u64 = 4;
const HAS_TARGET_GEO: u64 = 8;
const SOURCE_TRANSPORT: u32 = 4;
const TARGET_TRANSPORT: u32 = 6;
pub(super) const HAS_REST: u64 = 256;
const PRECISION: u32 = 9;

/// What columns cannot give back.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rest {
    /// Texts by field name: no UTF-8, or longer than is compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<(String, Untrusted)>,
    /// Addresses written as IPv4 mapped to IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Box<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(Box<str>, RestValue)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_place: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_place: Option<Place>,
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

/// What of a place has no column of its own; few places come back often, so
/// the dictionary keeps this small.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    lat_bits: Option<u64>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
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

fn transport_bits(end: Option<&Endpoint>) -> u64 {
    match end.and_then(|end| end.transport) {
        None => 0,
        Some(Transport::Tcp) => 1,
        Some(Transport::Udp) => 2,
        Some(Transport::Icmp) => 3,
    }
}

fn precision_bits(precision: Option<GeoPrecision>) -> u64 {
    match precision {
        None => 0,
        Some(GeoPrecision::Country) => 1,
        Some(GeoPrecision::City) => 2,
    }
}

fn precision(bits: u64) -> Option<GeoPrecision> {
    match bits & 3 {
        1 => Some(GeoPrecision::Country),
        2 => Some(GeoPrecision::City),
        _ => None,
    }
}

/// Reads the text of a place: degrees north, degrees east.
pub(super) fn location(text: &str) -> Option<(f64, f64)> {
    let (lat, lon) = text.split_once(',')?;
    Some((lat.parse().ok()?, lon.parse().ok()?))
}

fn transport(bits: u64) -> Option<Transport> {
    match bits & 3 {
        1 => Some(Transport::Tcp),
        2 => Some(Transport::Udp),
        3 => Some(Transport::Icmp),
        _ => None,
    }
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

/// Writes an event as a document, in the order of the columns.
pub(super) fn encode(event: &Event, cells: &mut Cells<'_>) {
    let layout = layout();
    let mut rest = Rest::default();
    let mut shape = transport_bits(event.source.as_ref()) << SOURCE_TRANSPORT
        | transport_bits(event.target.as_ref()) << TARGET_TRANSPORT;
    let source_geo = event.source_geo.as_deref();
    for (field, column) in Field::ALL.iter().zip(&layout.fields) {
        let Some(column) = column else { continue };
        if *field == Field::Location {
            let Some(geo) = source_geo else { continue };
            let is_exact = match (geo.lat, geo.lon) {
                (Some(lat), Some(lon)) => cells.location(*column, lat, lon),
                (None, None) => true,
                _ => false,
            };
            if !is_exact {
                rest.source_place = Some(place(geo));
            }
            continue;
        }
        let Some(value) = field.value(event) else { continue };
        match value {
            Value::Text(text) => {
                cells.text(*column, &text);
                if let Some(full) = full_text(event, *field)
                    && full != text.as_bytes()
                {
                    rest.texts.push((field.name().to_owned(), Untrusted::new(full)));
                }
            }
            Value::Address(address) => cells.address(*column, to_v6(address)),
            Value::Number(number) => cells.signed(*column, number),
            Value::Id(_) => {}
        }
    }
    let id = event.id.as_u128();
    cells.unsigned(layout.id_high, (id >> 64) as u64);
    cells.unsigned(layout.id_low, id as u64);
    let mapped = |end: &Option<Endpoint>| {
        end.map(|end| end.address).filter(|address| *address != address.to_canonical())
    };
    rest.source = mapped(&event.source);
    rest.target = mapped(&event.target);
    if event.credentials.is_some() {
        shape |= HAS_CREDENTIALS;
    }
    if let Some(prints) = event.fingerprints.as_deref() {
        shape |= HAS_FINGERPRINTS;
        rest.distance = prints.distance;
        rest.uptime = prints.uptime_secs;
        rest.link.clone_from(&prints.link);
    }
    if let Some(geo) = source_geo {
        shape |= HAS_SOURCE_GEO | precision_bits(geo.precision) << PRECISION;
    }
    let target_place = event.target_geo.as_deref().and_then(|geo| {
        shape |= HAS_TARGET_GEO;
        let place = Place {
            city: geo.city.clone(),
            asn: geo.asn,
            organisation: geo.organisation.clone(),
            ..place(geo)
        };
        column_text(place, &mut rest)
    });
    rest.attributes.extend(event.attributes.iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::Flag(value) => RestValue::Flag(*value),
            AttributeValue::Integer(value) => RestValue::Integer(*value),
            AttributeValue::Real(value) => RestValue::RealBits(value.to_bits()),
            AttributeValue::Text(value) => RestValue::Text(value.clone()),
        };
        (name.clone(), value)
    }));
    let has_rest = rest != Rest::default();
    if has_rest {
        shape |= HAS_REST;
    }
    cells.unsigned(layout.shape, shape);
    if let Some(text) = target_place {
        cells.text(layout.target_place, &text);
    }
    cells.texts(layout.words, tokens::searched(event).map(Untrusted::to_lossy));
    if has_rest {
        // Writing to memory fails for map keys that are no strings; there are none.
        cells.json(layout.rest, &serde_json::to_string(&rest).unwrap_or_default());
    }
}

fn place(geo: &Geo) -> Place {
    Place {
        lat_bits: geo.lat.map(f64::to_bits),
        lon_bits: geo.lon.map(f64::to_bits),
        precision: geo.precision,
        ..Place::default()
    }
}

/// The place of the target as a column value; what is too long for that goes to `rest`.
fn column_text(place: Place, rest: &mut Rest) -> Option<String> {
    if place == Place::default() {
        return None;
    }
    let text = serde_json::to_string(&place).unwrap_or_default();
    if text.len() > crate::query::MAX_COMPARED_BYTES {
        rest.target_place = Some(place);
        return None;
    }
    Some(text)
}

pub(super) fn to_v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// What the columns of one document say.
pub(super) trait Stored {
    fn text(&self, field: Field) -> Option<String>;
    fn number(&self, field: Field) -> Option<i64>;
    fn address(&self, field: Field) -> Option<IpAddr>;
    fn id(&self) -> Option<u128>;
    fn shape(&self) -> u64;
    fn place(&self, column: &str) -> Option<String>;
    fn rest(&self) -> Option<Vec<u8>>;
}

/// Reads an event back; `None` where the document is not as [`encode`] writes it.
pub(super) fn decode(doc: &impl Stored) -> Option<Event> {
    let shape = doc.shape();
    let rest: Rest = match shape & HAS_REST {
        0 => Rest::default(),
        _ => serde_json::from_slice(&doc.rest()?).ok()?,
    };
    let long = |field: Field| {
        rest.texts.iter().find(|(name, _)| name == field.name()).map(|(_, text)| text.clone())
    };
    let hostile = |field: Field| long(field).or_else(|| doc.text(field).map(Untrusted::from));
    let plain = |field: Field| match long(field) {
        Some(text) => text.as_utf8().map(Box::from),
        None => doc.text(field).map(String::into_boxed_str),
    };
    let time = |field| doc.number(field).map(palisade_event::Timestamp::from_millis);
    let mut event = Event::new(
        palisade_event::EventId::from_u128(doc.id()?),
        doc.text(Field::Kind)?.parse().ok()?,
        time(Field::ObservedAt)?,
        doc.text(Field::Sensor)?.parse().ok()?,
    );
    event.received_at = time(Field::ReceivedAt);
    event.domain = match doc.text(Field::Domain)?.as_str() {
        "community" => palisade_event::Domain::Community,
        _ => palisade_event::Domain::Private,
    };
    event.host = doc.text(Field::Host).and_then(|v| v.parse().ok());
    event.category = doc.text(Field::Category).and_then(|v| v.parse().ok());
    event.session = doc.text(Field::Session).and_then(|v| v.parse().ok());
    let end = |address: Field, port: Field, mapped: Option<IpAddr>, at: u32| {
        Some(Endpoint {
            address: mapped.or_else(|| doc.address(address))?,
            port: doc.number(port).and_then(|port| u16::try_from(port).ok()),
            transport: transport(shape >> at),
        })
    };
    event.source = end(Field::Ip, Field::SourcePort, rest.source, SOURCE_TRANSPORT);
    event.target = end(Field::Target, Field::Port, rest.target, TARGET_TRANSPORT);
    if shape & HAS_CREDENTIALS != 0 {
        event.credentials = Some(Credentials {
            username: hostile(Field::User),
            password: hostile(Field::Password),
            outcome: doc.text(Field::Outcome).map(|outcome| match outcome.as_str() {
                "accepted" => palisade_event::Outcome::Accepted,
                _ => palisade_event::Outcome::Failed,
            }),
        });
    }
    event.request = hostile(Field::Request);
    event.client = hostile(Field::Client);
    if shape & HAS_FINGERPRINTS != 0 {
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
    event.payload = doc.text(Field::Payload).and_then(|v| v.parse().ok());
    event.payload_name = hostile(Field::PayloadName);
    event.cve = plain(Field::Cve);
    let country = |field| doc.text(field).and_then(|v| v.parse().ok());
    let place = |kept: &Option<Place>, column: &str| -> Option<Place> {
        let text = match (kept, doc.place(column)) {
            (Some(place), _) => serde_json::to_string(place).ok()?,
            (None, Some(text)) => text,
            (None, None) => return Some(Place::default()),
        };
        serde_json::from_str(&text).ok()
    };
    if shape & HAS_SOURCE_GEO != 0 {
        let place = match doc.text(Field::Location).as_deref().and_then(location) {
            Some((lat, lon)) if rest.source_place.is_none() => Place {
                lat_bits: Some(lat.to_bits()),
                lon_bits: Some(lon.to_bits()),
                precision: precision(shape >> PRECISION),
                ..Place::default()
            },
            _ => {
                let place = place(&rest.source_place, SOURCE_PLACE)?;
                let precision = place.precision.or_else(|| precision(shape >> PRECISION));
                Place { precision, ..place }
            }
        };
        event.source_geo = Some(Box::new(Geo {
            country: country(Field::Country),
            city: plain(Field::City),
            asn: doc.number(Field::Asn).and_then(|asn| u32::try_from(asn).ok()),
            organisation: plain(Field::Org),
            ..geo(place)
        }));
    }
    if shape & HAS_TARGET_GEO != 0 {
        let place = place(&rest.target_place, TARGET_PLACE)?;
        event.target_geo =
            Some(Box::new(Geo { country: country(Field::TargetCountry), ..geo(place) }));
    }
    let attributes: Attributes = rest
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
    event.attributes = attributes;
    Some(event)
}

fn geo(place: Place) -> Geo {
    Geo {
        country: None,
        city: place.city,
        asn: place.asn,
        organisation: place.organisation,
        lat: place.lat_bits.map(f64::from_bits),
        lon: place.lon_bits.map(f64::from_bits),
        precision: place.precision,
    }
}

/// Splits text into the same words as [`tokens::words`].
#[derive(Clone, Default)]
pub(super) struct Words {
    token: Token,
}

/// The words of one text.
pub(super) struct WordStream<'a> {
    rest: &'a str,
    token: &'a mut Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;
    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { rest: text, token: &mut self.token }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(start) = self.rest.find(char::is_alphanumeric) else { return false };
        let rest = self.rest.get(start..).unwrap_or_default();
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end).unwrap_or_default();
        tokens::fold(word, &mut self.token.text);
        self.token.position = self.token.position.wrapping_add(1);
        self.rest = rest;
        true
    }
    fn token(&self) -> &Token {
        self.token
    }
    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}
