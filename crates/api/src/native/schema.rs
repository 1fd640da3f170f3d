//! The shape of an event and of what goes with it, for the OpenAPI document.
//!
//! Not the types that are sent: those live in `palisade-event` and the store,
//! which know nothing of HTTP. A test fills an event completely and holds its
//! JSON keys equal to the ones here, so that neither can move alone.

#![allow(dead_code, reason = "these types are read by the derive macro alone")]

use std::collections::BTreeMap;

use palisade_event::EventKind;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{OneOfBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// One thing that happened. Unknown fields are left out, never null or empty.
#[derive(ToSchema)]
pub(crate) struct Event {
    /// Identity, a ULID; the same id is the same event.
    #[schema(example = "01KA7Z3N5XJ8QK2T0000000000", min_length = 26, max_length = 26)]
    id: String,
    /// What happened.
    kind: Kind,
    /// When it happened, by the sensor's clock.
    #[schema(format = DateTime, example = "2026-11-20T20:07:14.123Z")]
    observed_at: String,
    /// When the hub took it, by the hub's clock.
    #[schema(format = DateTime, nullable = false)]
    received_at: Option<String>,
    /// Who may see it.
    domain: Domain,
    /// The installation that observed it; set by the hub from the credential.
    #[schema(example = "edge-1")]
    sensor: String,
    /// The machine it happened on.
    #[schema(nullable = false)]
    host: Option<String>,
    /// The daemon on that machine that observed it, as it names itself.
    #[schema(nullable = false, max_length = 128)]
    analyzer: Option<String>,
    /// The type of service attacked.
    #[schema(nullable = false, example = "Telnet(palisade)")]
    category: Option<String>,
    /// Where it came from.
    #[schema(nullable = false)]
    source: Option<Endpoint>,
    /// Where it went.
    #[schema(nullable = false)]
    target: Option<Endpoint>,
    /// The connection or login session it belongs to.
    #[schema(nullable = false)]
    session: Option<String>,
    /// What was tried at a login.
    #[schema(nullable = false)]
    credentials: Option<Credentials>,
    /// What was asked for: a request line, a command, the first bytes.
    #[schema(nullable = false)]
    request: Option<Untrusted>,
    /// The client's own banner.
    #[schema(nullable = false)]
    client: Option<Untrusted>,
    /// What gives the client away.
    #[schema(nullable = false)]
    fingerprints: Option<Fingerprints>,
    /// SHA-256 of the captured file, 64 lower-case hex digits.
    #[schema(nullable = false)]
    payload: Option<String>,
    /// What the attacker called that file.
    #[schema(nullable = false)]
    payload_name: Option<Untrusted>,
    /// The vulnerability that was aimed at.
    #[schema(nullable = false, example = "CVE-2026-24061")]
    cve: Option<String>,
    /// Where the source is; added by the hub.
    #[schema(nullable = false)]
    source_geo: Option<Geo>,
    /// Where the target is; added by the hub.
    #[schema(nullable = false)]
    target_geo: Option<Geo>,
    /// Everything else, by name.
    #[schema(nullable = false)]
    attributes: Option<BTreeMap<String, AttributeValue>>,
}

/// A kind of event, by its name in the event catalogue.
pub(crate) struct Kind;

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .enum_values(Some(EventKind::ALL.iter().map(|kind| kind.as_str())))
            .description(Some("A kind of event, by its name in the event catalogue."))
            .into()
    }
}

impl ToSchema for Kind {
    fn name() -> std::borrow::Cow<'static, str> {
        "EventKind".into()
    }
}

/// Who may see an event.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Domain {
    /// Shared with the honeypot community.
    Community,
    /// Seen by the operator's own accounts alone.
    Private,
}

/// One end of a connection.
#[derive(ToSchema)]
pub(crate) struct Endpoint {
    /// The IP address.
    #[schema(example = "198.51.100.7")]
    address: String,
    /// The port.
    #[schema(nullable = false, minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// The transport protocol.
    #[schema(nullable = false)]
    transport: Option<Transport>,
}

/// The transport protocol of a connection.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Internet Control Message Protocol.
    Icmp,
}

/// What was tried at a login.
#[derive(ToSchema)]
pub(crate) struct Credentials {
    /// The login name.
    #[schema(nullable = false)]
    username: Option<Untrusted>,
    /// The password; logs of real services do not have it.
    #[schema(nullable = false)]
    password: Option<Untrusted>,
    /// Whether it let the client in.
    #[schema(nullable = false)]
    outcome: Option<Outcome>,
}

/// How a login attempt ended.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The client was let in.
    Accepted,
    /// The attempt was refused.
    Failed,
}

/// What gives a client away.
#[derive(ToSchema)]
pub(crate) struct Fingerprints {
    /// Operating system.
    #[schema(nullable = false)]
    os: Option<String>,
    /// Network hops to the client.
    #[schema(nullable = false)]
    distance: Option<u8>,
    /// Seconds since the client's machine was started.
    #[schema(nullable = false)]
    uptime_secs: Option<u64>,
    /// Link type.
    #[schema(nullable = false)]
    link: Option<String>,
    /// HASSH of the SSH client.
    #[schema(nullable = false)]
    hassh: Option<String>,
    /// JA4 of the TLS client.
    #[schema(nullable = false)]
    ja4: Option<String>,
    /// The HTTP `User-Agent`.
    #[schema(nullable = false)]
    user_agent: Option<Untrusted>,
}

/// Where an address is and who runs it.
#[derive(ToSchema)]
pub(crate) struct Geo {
    /// ISO 3166-1 alpha-2 code, `PIR` for private ranges.
    #[schema(nullable = false, example = "DE")]
    country: Option<String>,
    /// The city's English name.
    #[schema(nullable = false)]
    city: Option<String>,
    /// Autonomous system number.
    #[schema(nullable = false)]
    asn: Option<u32>,
    /// The organisation that runs the autonomous system.
    #[schema(nullable = false)]
    organisation: Option<String>,
    /// Degrees north.
    #[schema(nullable = false)]
    lat: Option<f64>,
    /// Degrees east.
    #[schema(nullable = false)]
    lon: Option<f64>,
    /// What the coordinates are the middle of.
    #[schema(nullable = false)]
    precision: Option<GeoPrecision>,
}

/// How exact a place is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum GeoPrecision {
    /// The middle of the country.
    Country,
    /// The city.
    City,
}

/// Text made by an attacker: a string, or `{"base64": …}`.
pub(crate) struct Untrusted;

impl PartialSchema for Untrusted {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(SchemaType::new(Type::String)))
            .item(utoipa::openapi::Ref::from_schema_name("UntrustedBytes"))
            .description(Some(
                "Text made by an attacker: a string where its bytes are UTF-8, else the bytes in \
                 base64. Show it as text only, with control characters escaped.",
            ))
            .into()
    }
}

impl ToSchema for Untrusted {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((UntrustedBytes::name().into_owned(), UntrustedBytes::schema()));
    }
}

/// Bytes that are no UTF-8.
#[derive(ToSchema)]
pub(crate) struct UntrustedBytes {
    /// The bytes (RFC 4648, with padding).
    base64: String,
}

/// The value of an attribute.
pub(crate) struct AttributeValue;

impl PartialSchema for AttributeValue {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(SchemaType::new(kind));
        OneOfBuilder::new()
            .item(of(Type::Boolean))
            .item(of(Type::Number))
            .item(utoipa::openapi::Ref::from_schema_name("Untrusted"))
            .description(Some("The value of an attribute: a flag, a number or text."))
            .into()
    }
}

impl ToSchema for AttributeValue {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Untrusted::name().into_owned(), Untrusted::schema()));
        Untrusted::schemas(schemas);
    }
}

/// A batch of events on its way to the hub.
#[derive(ToSchema)]
pub(crate) struct Batch {
    /// Version of the envelope and of the events in it.
    #[schema(minimum = 1, maximum = 1)]
    version: u32,
    /// At most 10,000 events.
    #[schema(max_items = 10000)]
    events: Vec<Event>,
}

/// What the hub answers to a batch, after everything in it is durable.
#[derive(ToSchema)]
pub(crate) struct Receipt {
    /// Events that were new.
    accepted: u32,
    /// Events that were here already and were not counted again.
    duplicate: u32,
    /// Records that could not be understood; kept by the hub, not to be sent again.
    quarantined: Vec<Quarantined>,
}

/// One record that went to quarantine.
#[derive(ToSchema)]
pub(crate) struct Quarantined {
    /// Its place in the batch, from 0.
    index: u32,
    /// Why it could not be taken.
    reason: String,
}

/// The answer to an aggregation.
#[derive(serde::Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Aggregated {
    /// How many events.
    Count {
        /// Events.
        count: u64,
    },
    /// How many different values.
    Distinct {
        /// Values.
        count: u64,
        /// Whether the count is exact; else it is an estimate.
        exact: bool,
    },
    /// Groups: of a histogram by time and zero-filled, of a top list most first.
    Buckets {
        /// The groups.
        buckets: Vec<Bucket>,
        /// Events in groups that were cut off; 0 for histograms.
        other: u64,
    },
}

/// One group.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct Bucket {
    /// Field values, one for each field grouped by; for a histogram the
    /// bucket's first instant (RFC 3339).
    key: Vec<Key>,
    /// Events in the group.
    count: u64,
    /// The nested aggregation's answer.
    #[schema(no_recursion, nullable = false)]
    sub: Option<Box<Aggregated>>,
}

/// A field value: ports and AS numbers are integers, all else is text.
#[derive(serde::Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Key {
    /// Ports, AS numbers.
    Integer(i64),
    /// Everything else.
    Text(String),
}

/// What is asked over the matching events.
#[derive(serde::Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Aggregation {
    /// How many events.
    Count {},
    /// How many different values of a field.
    Distinct {
        /// A field of `GET /api/v1/fields`.
        #[schema(example = "ip")]
        field: String,
    },
    /// How many events in each interval, zero-filled over the range.
    Histogram {
        /// A number and `s`, `m`, `h`, `d` or `w`, a divisor or multiple of a
        /// day, aligned to UTC; `1mo` for calendar months; or `auto`.
        #[schema(example = "1h")]
        interval: String,
        /// Computed in each interval as well; nesting ends at depth two.
        #[schema(no_recursion, nullable = false)]
        sub: Option<Box<Aggregation>>,
    },
    /// The most frequent values of one or two fields.
    Top {
        /// One or two fields of `GET /api/v1/fields`.
        #[schema(example = json!(["user", "password"]), min_items = 1, max_items = 2)]
        fields: Vec<String>,
        /// How many groups, 1 to 1000.
        #[schema(example = 10, minimum = 1, maximum = 1000)]
        k: usize,
        /// Computed in each group as well; nesting ends at depth two.
        #[schema(no_recursion, nullable = false)]
        sub: Option<Box<Aggregation>>,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use palisade_event as event;
    use serde_json::Value;

    fn full() -> event::Event {
        let at = event::Timestamp::from_millis(0);
        let text = || Some(event::Untrusted::from("x"));
        let end = event::Endpoint::tcp("192.0.2.1:22".parse().unwrap());
        let geo = Some(Box::new(event::Geo {
            country: Some(event::CountryCode::PRIVATE),
            city: Some("x".into()),
            asn: Some(1),
            organisation: Some("x".into()),
            lat: Some(1.0),
            lon: Some(1.0),
            precision: Some(event::GeoPrecision::City),
        }));
        // Every field by name: a new one does not compile until it is here.
        event::Event {
            id: event::EventId::new(at, 1),
            kind: event::EventKind::AuthAttempted,
            observed_at: at,
            received_at: Some(at),
            domain: event::Domain::Private,
            sensor: event::SensorId::new("x").unwrap(),
            host: event::HostName::new("x").ok(),
            analyzer: event::AnalyzerName::new("x").ok(),
            category: event::Category::new("x").ok(),
            source: Some(end),
            target: Some(end),
            session: event::SessionId::new("x").ok(),
            credentials: Some(event::Credentials {
                username: text(),
                password: text(),
                outcome: Some(event::Outcome::Failed),
            }),
            request: text(),
            client: text(),
            fingerprints: Some(Box::new(event::Fingerprints {
                os: Some("x".into()),
                distance: Some(1),
                uptime_secs: Some(1),
                link: Some("x".into()),
                hassh: Some("x".into()),
                ja4: Some("x".into()),
                user_agent: text(),
            })),
            payload: Some(event::PayloadHash([0; 32])),
            payload_name: text(),
            cve: Some("x".into()),
            source_geo: geo.clone(),
            target_geo: geo,
            attributes: event::Attributes::from([("x".into(), true.into())]),
        }
    }

    /// Holds the keys of `value` equal to the properties of the schema, and so
    /// on in the objects below it.
    fn compare(value: &Value, name: &str, schemas: &Value) {
        let properties = schemas[name]["properties"].as_object().unwrap();
        let object = value.as_object().unwrap();
        let keys: BTreeSet<_> = object.keys().collect();
        assert_eq!(keys, properties.keys().collect(), "{name}");
        for (key, property) in properties {
            let below = property["$ref"].as_str().and_then(|path| path.rsplit('/').next());
            if let Some(below) = below
                && object[key].is_object()
            {
                compare(&object[key], below, schemas);
            }
        }
    }

    #[test]
    fn a_full_event_has_the_keys_of_the_schema_and_no_others() {
        let document: Value = serde_json::from_str(&crate::docs::openapi_json()).unwrap();
        let value = serde_json::to_value(full()).unwrap();
        compare(&value, "Event", &document["components"]["schemas"]);
        assert_eq!(value.as_object().unwrap().len(), 22);
    }

    #[test]
    fn the_closed_sets_of_the_document_are_those_of_the_code() {
        let document: Value = serde_json::from_str(&crate::docs::openapi_json()).unwrap();
        let names = |schema: &str| document["components"]["schemas"][schema]["enum"].clone();
        for domain in [event::Domain::Community, event::Domain::Private] {
            assert!(names("Domain").as_array().unwrap().contains(&domain.as_str().into()));
        }
        for kind in event::EventKind::ALL {
            assert!(names("EventKind").as_array().unwrap().contains(&kind.as_str().into()));
        }
        for transport in [event::Transport::Tcp, event::Transport::Udp, event::Transport::Icmp] {
            assert!(names("Transport").as_array().unwrap().contains(&transport.as_str().into()));
        }
    }
}
