//! An event as one row of a table: the columns of CSV and Parquet files.
//!
//! Every field has a typed column. What columns cannot give back exactly (bytes
//! that are no UTF-8, parts that are there and empty) makes the last column,
//! `event`, hold the whole event as JSON; in most rows it is empty. So a table
//! that was written from events gives back the same events.

pub mod csv;

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use crate::{
    Attributes, Credentials, Domain, Endpoint, Event, EventId, EventKind, Fingerprints, Geo,
    GeoPrecision, Outcome, SensorId, Timestamp, Transport, Untrusted, wire,
};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text in UTF-8.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// An instant, in milliseconds, UTC.
    Time,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the header.
    pub name: &'static str,
    /// What it holds.
    pub column_type: ColumnType,
    /// One sentence for the documentation.
    pub holds: &'static str,
}

/// One value of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell<'a> {
    /// Unknown.
    #[default]
    Null,
    /// See [`ColumnType::Text`].
    Text(Cow<'a, str>),
    /// See [`ColumnType::Integer`].
    Integer(i64),
    /// See [`ColumnType::Real`].
    Real(f64),
    /// See [`ColumnType::Time`].
    Time(Timestamp),
}

macro_rules! columns {
    ($($id:ident $name:literal $kind:ident $holds:literal;)*) => {
        /// Places in a row.
        #[derive(Clone, Copy)]
        enum Place { $($id),* }

        /// The columns, in their order.
        pub const COLUMNS: &[Column] = &[$(
            Column { name: $name, column_type: ColumnType::$kind, holds: $holds }
        ),*];
    };
}

columns! {
    Id "id" Text "The event's id (ULID).";
    Kind "kind" Text "What happened, see docs/EVENTS.md.";
    ObservedAt "observed_at" Time "When it happened, by the sensor's clock.";
    ReceivedAt "received_at" Time "When the hub took it.";
    Domain "domain" Text "community or private.";
    Sensor "sensor" Text "The installation that observed it.";
    Host "host" Text "The machine it happened on.";
    Analyzer "analyzer" Text "The daemon on that machine that observed it.";
    Category "category" Text "The type of service attacked.";
    SourceAddress "source_address" Text "Where it came from.";
    SourcePort "source_port" Integer "The port it came from.";
    SourceTransport "source_transport" Text "tcp, udp or icmp.";
    TargetAddress "target_address" Text "Where it went.";
    TargetPort "target_port" Integer "The port it went to.";
    TargetTransport "target_transport" Text "tcp, udp or icmp.";
    Session "session" Text "The connection or login session.";
    Username "username" Text "The login name that was tried.";
    Password "password" Text "The password that was tried.";
    Outcome "outcome" Text "accepted or failed.";
    Request "request" Text "A request line, a command, the first bytes.";
    Client "client" Text "The client's own banner.";
    UserAgent "user_agent" Text "The HTTP User-Agent.";
    Os "os" Text "Operating system of the client.";
    Distance "distance" Integer "Network hops to the client.";
    UptimeSecs "uptime_secs" Integer "Seconds since the client's machine was started.";
    Link "link" Text "Link type of the client.";
    Hassh "hassh" Text "HASSH of the SSH client.";
    Ja4 "ja4" Text "JA4 of the TLS client.";
    Payload "payload" Text "SHA-256 of the captured file.";
    PayloadName "payload_name" Text "What the attacker called that file.";
    Cve "cve" Text "The vulnerability that was aimed at.";
    SourceCountry "source_country" Text "Country of the source, two letters or PIR.";
    SourceCity "source_city" Text "City of the source.";
    SourceAsn "source_asn" Integer "Autonomous system number of the source.";
    SourceOrganisation "source_organisation" Text "Who runs that autonomous system.";
    SourceLat "source_lat" Real "Degrees north.";
    SourceLon "source_lon" Real "Degrees east.";
    SourcePrecision "source_precision" Text "What the coordinates are the middle of: country or city.";
    TargetCountry "target_country" Text "As for the source.";
    TargetCity "target_city" Text "As for the source.";
    TargetAsn "target_asn" Integer "As for the source.";
    TargetOrganisation "target_organisation" Text "As for the source.";
    TargetLat "target_lat" Real "As for the source.";
    TargetLon "target_lon" Real "As for the source.";
    TargetPrecision "target_precision" Text "As for the source.";
    Attributes "attributes" Text "Everything else, a JSON object.";
    Event "event" Text "The whole event as JSON, where the other columns cannot give it back exactly.";
}

/// The place of a column, by its name.
#[must_use]
pub fn place(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

/// A row is no event.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A cell does not hold what its column says.
    #[error("column '{column}': {reason}")]
    Cell {
        /// The column's name.
        column: &'static str,
        /// What was expected.
        reason: String,
    },
    /// The column `event` holds no event.
    #[error("column 'event': {0}")]
    Event(#[from] wire::EventError),
    /// A limit is broken.
    #[error("{0}")]
    Invalid(#[from] crate::Invalid),
}

/// The row of an event, in the order of [`COLUMNS`]. Its last cell is empty
/// where the others give the event back exactly.
#[must_use]
pub fn row(event: &Event) -> Vec<Cell<'_>> {
    let mut cells = columns(event);
    if !self::event(&cells).is_ok_and(|back| back == *event) {
        set(&mut cells, Place::Event, whole(event));
    }
    cells
}

/// The whole event, for the last column.
fn whole(event: &Event) -> Cell<'static> {
    Cell::Text(String::from_utf8_lossy(&wire::encode_event(event)).into_owned().into())
}

fn set<'a>(cells: &mut [Cell<'a>], place: Place, cell: Cell<'a>) {
    if let Some(slot) = cells.get_mut(place as usize) {
        *slot = cell;
    }
}

fn text<'a>(text: &'a (impl AsRef<str> + ?Sized)) -> Cell<'a> {
    Cell::Text(Cow::Borrowed(text.as_ref()))
}

fn shown<'a>(value: impl ToString) -> Cell<'a> {
    Cell::Text(Cow::Owned(value.to_string()))
}

fn hostile(text: &Untrusted) -> Cell<'_> {
    Cell::Text(text.to_lossy())
}

fn columns(event: &Event) -> Vec<Cell<'_>> {
    let mut cells = vec![Cell::Null; COLUMNS.len()];
    let source = event.source.as_ref();
    let target = event.target.as_ref();
    let login = event.credentials.as_ref();
    let prints = event.fingerprints.as_deref();
    let port = |end: Option<&Endpoint>| end?.port.map(|port| Cell::Integer(port.into()));
    let transport = |end: Option<&Endpoint>| end?.transport.map(|name| text(name.as_str()));
    let given: [(Place, Option<Cell<'_>>); 32] = [
        (Place::Id, Some(shown(event.id))),
        (Place::Kind, Some(text(event.kind.as_str()))),
        (Place::ObservedAt, Some(Cell::Time(event.observed_at))),
        (Place::ReceivedAt, event.received_at.map(Cell::Time)),
        (Place::Domain, Some(text(event.domain.as_str()))),
        (Place::Sensor, Some(text(event.sensor.as_str()))),
        (Place::Host, event.host.as_ref().map(|name| text(name.as_str()))),
        (Place::Analyzer, event.analyzer.as_ref().map(|name| text(name.as_str()))),
        (Place::Category, event.category.as_ref().map(|name| text(name.as_str()))),
        (Place::SourceAddress, source.map(|end| shown(end.address))),
        (Place::SourcePort, port(source)),
        (Place::SourceTransport, transport(source)),
        (Place::TargetAddress, target.map(|end| shown(end.address))),
        (Place::TargetPort, port(target)),
        (Place::TargetTransport, transport(target)),
        (Place::Session, event.session.as_ref().map(|name| text(name.as_str()))),
        (Place::Username, login.and_then(|v| v.username.as_ref()).map(hostile)),
        (Place::Password, login.and_then(|v| v.password.as_ref()).map(hostile)),
        (Place::Outcome, login.and_then(|v| v.outcome).map(|v| text(v.as_str()))),
        (Place::Request, event.request.as_ref().map(hostile)),
        (Place::Client, event.client.as_ref().map(hostile)),
        (Place::UserAgent, prints.and_then(|v| v.user_agent.as_ref()).map(hostile)),
        (Place::Os, prints.and_then(|v| v.os.as_deref()).map(text)),
        (Place::Distance, prints.and_then(|v| v.distance).map(|v| Cell::Integer(v.into()))),
        (Place::UptimeSecs, prints.and_then(|v| v.uptime_secs).and_then(integer)),
        (Place::Link, prints.and_then(|v| v.link.as_deref()).map(text)),
        (Place::Hassh, prints.and_then(|v| v.hassh.as_deref()).map(text)),
        (Place::Ja4, prints.and_then(|v| v.ja4.as_deref()).map(text)),
        (Place::Payload, event.payload.map(shown)),
        (Place::PayloadName, event.payload_name.as_ref().map(hostile)),
        (Place::Cve, event.cve.as_deref().map(text)),
        (Place::Attributes, attributes(event)),
    ];
    for (place, cell) in given {
        set(&mut cells, place, cell.unwrap_or_default());
    }
    add_place(&mut cells, SOURCE_GEO, event.source_geo.as_deref());
    add_place(&mut cells, TARGET_GEO, event.target_geo.as_deref());
    cells
}

fn integer<'a>(value: u64) -> Option<Cell<'a>> {
    i64::try_from(value).ok().map(Cell::Integer)
}

fn attributes<'a>(event: &Event) -> Option<Cell<'a>> {
    let json = || serde_json::to_string(&event.attributes).ok();
    if event.attributes.is_empty() { None } else { json().map(|json| Cell::Text(json.into())) }
}

/// Country, city, number, organisation, latitude, longitude, precision.
const SOURCE_GEO: [Place; 7] = [
    Place::SourceCountry,
    Place::SourceCity,
    Place::SourceAsn,
    Place::SourceOrganisation,
    Place::SourceLat,
    Place::SourceLon,
    Place::SourcePrecision,
];
const TARGET_GEO: [Place; 7] = [
    Place::TargetCountry,
    Place::TargetCity,
    Place::TargetAsn,
    Place::TargetOrganisation,
    Place::TargetLat,
    Place::TargetLon,
    Place::TargetPrecision,
];

fn add_place<'a>(cells: &mut [Cell<'a>], places: [Place; 7], geo: Option<&'a Geo>) {
    let Some(geo) = geo else { return };
    let precision = geo.precision.map(|precision| match precision {
        GeoPrecision::Country => text("country"),
        GeoPrecision::City => text("city"),
    });
    let values = [
        geo.country.map(shown),
        geo.city.as_deref().map(text),
        geo.asn.map(|asn| Cell::Integer(asn.into())),
        geo.organisation.as_deref().map(text),
        geo.lat.map(Cell::Real),
        geo.lon.map(Cell::Real),
        precision,
    ];
    for (place, value) in places.into_iter().zip(values) {
        set(cells, place, value.unwrap_or_default());
    }
}

/// The event of a row with the cells of [`COLUMNS`]; cells that are missing at
/// its end are empty. Where the column `event` holds something, it is that.
///
/// # Errors
/// [`RowError`] names the column.
pub fn event(cells: &[Cell<'_>]) -> Result<Event, RowError> {
    let row = Row(cells);
    if let Some(json) = row.text(Place::Event)? {
        return Ok(wire::decode_event(json.as_bytes())?);
    }
    let mut event = Event::new(
        row.needed::<EventId>(Place::Id)?,
        row.needed::<EventKind>(Place::Kind)?,
        row.time(Place::ObservedAt)?.ok_or_else(|| missing(Place::ObservedAt))?,
        row.needed::<SensorId>(Place::Sensor)?,
    );
    event.received_at = row.time(Place::ReceivedAt)?;
    event.domain = row
        .one_of(Place::Domain, &[Domain::Community, Domain::Private], |domain| domain.as_str())?
        .unwrap_or_default();
    event.host = row.parsed(Place::Host)?;
    event.analyzer = row.parsed(Place::Analyzer)?;
    event.category = row.parsed(Place::Category)?;
    event.session = row.parsed(Place::Session)?;
    event.source = row.end([Place::SourceAddress, Place::SourcePort, Place::SourceTransport])?;
    event.target = row.end([Place::TargetAddress, Place::TargetPort, Place::TargetTransport])?;
    let login = Credentials {
        username: row.hostile(Place::Username)?,
        password: row.hostile(Place::Password)?,
        outcome: row.one_of(Place::Outcome, &[Outcome::Accepted, Outcome::Failed], |outcome| {
            outcome.as_str()
        })?,
    };
    event.credentials = (login != Credentials::default()).then_some(login);
    event.request = row.hostile(Place::Request)?;
    event.client = row.hostile(Place::Client)?;
    let prints = Fingerprints {
        os: row.boxed(Place::Os)?,
        distance: row.small(Place::Distance)?,
        uptime_secs: row.small(Place::UptimeSecs)?,
        link: row.boxed(Place::Link)?,
        hassh: row.boxed(Place::Hassh)?,
        ja4: row.boxed(Place::Ja4)?,
        user_agent: row.hostile(Place::UserAgent)?,
    };
    event.fingerprints = (prints != Fingerprints::default()).then(|| Box::new(prints));
    event.payload = row.parsed(Place::Payload)?;
    event.payload_name = row.hostile(Place::PayloadName)?;
    event.cve = row.boxed(Place::Cve)?;
    event.source_geo = row.geo(SOURCE_GEO)?.map(Box::new);
    event.target_geo = row.geo(TARGET_GEO)?.map(Box::new);
    if let Some(json) = row.text(Place::Attributes)? {
        let attributes: Result<Attributes, _> = serde_json::from_str(json);
        event.attributes = attributes.map_err(|error| wrong(Place::Attributes, &error))?;
    }
    event.validate()?;
    Ok(event)
}

fn wrong(place: Place, reason: &impl ToString) -> RowError {
    let column = COLUMNS.get(place as usize).map_or("", |column| column.name);
    RowError::Cell { column, reason: reason.to_string().chars().take(200).collect() }
}

fn missing(place: Place) -> RowError {
    wrong(place, &"it is empty")
}

struct Row<'a>(&'a [Cell<'a>]);

impl Row<'_> {
    fn text(&self, place: Place) -> Result<Option<&str>, RowError> {
        match self.0.get(place as usize) {
            None | Some(Cell::Null) => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(place, &"expected text")),
        }
    }

    fn parsed<T: FromStr<Err: ToString>>(&self, place: Place) -> Result<Option<T>, RowError> {
        let parse = |text: &str| text.parse().map_err(|error: T::Err| wrong(place, &error));
        self.text(place)?.map(parse).transpose()
    }

    fn needed<T: FromStr<Err: ToString>>(&self, place: Place) -> Result<T, RowError> {
        self.parsed(place)?.ok_or_else(|| missing(place))
    }

    fn hostile(&self, place: Place) -> Result<Option<Untrusted>, RowError> {
        Ok(self.text(place)?.map(Untrusted::from))
    }

    fn boxed(&self, place: Place) -> Result<Option<Box<str>>, RowError> {
        Ok(self.text(place)?.map(Box::from))
    }

    fn time(&self, place: Place) -> Result<Option<Timestamp>, RowError> {
        match self.0.get(place as usize) {
            Some(Cell::Time(at)) => Ok(Some(*at)),
            None | Some(Cell::Null) => Ok(None),
            Some(_) => Err(wrong(place, &"expected a time")),
        }
    }

    fn real(&self, place: Place) -> Result<Option<f64>, RowError> {
        match self.0.get(place as usize) {
            Some(Cell::Real(value)) if value.is_finite() => Ok(Some(*value)),
            None | Some(Cell::Null) => Ok(None),
            Some(_) => Err(wrong(place, &"expected a finite number")),
        }
    }

    fn small<T: TryFrom<i64>>(&self, place: Place) -> Result<Option<T>, RowError> {
        match self.0.get(place as usize) {
            None | Some(Cell::Null) => Ok(None),
            Some(Cell::Integer(value)) => {
                let fits =
                    T::try_from(*value).map_err(|_| wrong(place, &"the number does not fit"));
                fits.map(Some)
            }
            Some(_) => Err(wrong(place, &"expected a whole number")),
        }
    }

    fn one_of<T: Copy>(
        &self,
        place: Place,
        values: &[T],
        name: impl Fn(&T) -> &'static str,
    ) -> Result<Option<T>, RowError> {
        let Some(text) = self.text(place)? else { return Ok(None) };
        let found = values.iter().find(|value| name(value) == text).copied();
        let names = || values.iter().map(&name).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| wrong(place, &format!("expected one of {}", names())))
    }

    fn end(&self, [address, port, transport]: [Place; 3]) -> Result<Option<Endpoint>, RowError> {
        let Some(address) = self.parsed::<IpAddr>(address)? else { return Ok(None) };
        let transports = [Transport::Tcp, Transport::Udp, Transport::Icmp];
        let transport = self.one_of(transport, &transports, |name| name.as_str())?;
        Ok(Some(Endpoint { address, port: self.small(port)?, transport }))
    }

    fn geo(&self, places: [Place; 7]) -> Result<Option<Geo>, RowError> {
        let [country, city, asn, organisation, lat, lon, precision] = places;
        let precisions = [GeoPrecision::Country, GeoPrecision::City];
        let geo = Geo {
            country: self.parsed(country)?,
            city: self.boxed(city)?,
            asn: self.small(asn)?,
            organisation: self.boxed(organisation)?,
            lat: self.real(lat)?,
            lon: self.real(lon)?,
            precision: self.one_of(precision, &precisions, |precision| match precision {
                GeoPrecision::Country => "country",
                GeoPrecision::City => "city",
            })?,
        };
        Ok((geo != Geo::default()).then_some(geo))
    }
}

/// The columns as a Markdown table, for the documentation.
#[must_use]
pub fn columns_markdown() -> String {
    let mut text = String::from("| column | type | holds |\n|---|---|---|\n");
    for column in COLUMNS {
        let name = match column.column_type {
            ColumnType::Text => "text",
            ColumnType::Integer => "integer",
            ColumnType::Real => "real",
            ColumnType::Time => "time",
        };
        text.push_str(&format!("| `{}` | {name} | {} |\n", column.name, column.holds));
    }
    text
}

#[cfg(test)]
mod tests;
