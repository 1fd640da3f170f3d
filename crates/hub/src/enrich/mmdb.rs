//! Geolocation databases in the MaxMind DB format, in the two layouts that
//! are common: nested records (GeoLite2, DB-IP) and flat ones (IPinfo and the
//! country files made from public data).

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::Reader;
use palisade_event::{CountryCode, Geo, GeoPrecision};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::OpenError;

/// Largest database file; it is held in memory. GeoLite2-City has 60 MB.
const MAX_DATABASE_BYTES: u64 = 512 * 1024 * 1024;
/// Longest name that is taken from a record, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// A database of places, of autonomous systems, or of both.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
}

impl Database {
    /// Reads the whole file and checks that it is a database with an address
    /// tree. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] naming the file.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let refuse = |reason: &dyn fmt::Display| {
            OpenError(format!("cannot use the geolocation database {}: {reason}", path.display()))
        };
        let length = fs::metadata(path).map_err(|error| refuse(&error))?.len();
        if length > MAX_DATABASE_BYTES {
            return Err(refuse(&format_args!("it is larger than {MAX_DATABASE_BYTES} bytes")));
        }
        let bytes = fs::read(path).map_err(|error| refuse(&error))?;
        let reader = Reader::from_source(bytes).map_err(|error| refuse(&error))?;
        Ok(Self { reader })
    }

    /// What the database says about an address. A damaged record says nothing.
    pub(super) fn locate(&self, address: IpAddr) -> Option<Geo> {
        let found = self.reader.lookup(address).ok()?;
        match found.decode::<Record>() {
            Ok(record) => record.map(Record::into_geo),
            Err(error) => {
                tracing::debug!(%address, %error, "unreadable geolocation record");
                None
            }
        }
    }
}

/// Both layouts at once: each field is there in one of them or none.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record {
    country: Option<TextOr<Country>>,
    country_code: Option<String>,
    registered_country: Option<TextOr<Country>>,
    city: Option<TextOr<Named>>,
    location: Option<Location>,
    latitude: Option<Number>,
    longitude: Option<Number>,
    lat: Option<Number>,
    lng: Option<Number>,
    loc: Option<String>,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
    asn: Option<TextOr<u32>>,
    as_name: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country {
    iso_code: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    names: Names,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    en: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

/// A field that is text in one layout and something else in the other.
enum TextOr<T> {
    Text(String),
    Other(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number or a map")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOr<T>, E> {
                Ok(TextOr::Text(text.to_owned()))
            }
            fn visit_u16<E: de::Error>(self, number: u16) -> Result<TextOr<T>, E> {
                T::deserialize(de::value::U16Deserializer::new(number)).map(TextOr::Other)
            }
            fn visit_u32<E: de::Error>(self, number: u32) -> Result<TextOr<T>, E> {
                T::deserialize(de::value::U32Deserializer::new(number)).map(TextOr::Other)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<TextOr<T>, E> {
                T::deserialize(de::value::U64Deserializer::new(number)).map(TextOr::Other)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<TextOr<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(TextOr::Other)
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

/// A number that some databases write as text.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or text that is one")
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number))
            }
            fn visit_f32<E: de::Error>(self, number: f32) -> Result<Number, E> {
                Ok(Number(f64::from(number)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Record {
    fn into_geo(self) -> Geo {
        let country_of = |field: Option<TextOr<Country>>| match field? {
            TextOr::Text(text) => country_code(&text),
            TextOr::Other(country) => country_code(&country.iso_code?),
        };
        // In flat files `country` may be the name, which is no code, or the code.
        let country = self
            .country_code
            .as_deref()
            .and_then(country_code)
            .or_else(|| country_of(self.country))
            .or_else(|| country_of(self.registered_country));
        let city = self.city.and_then(|city| match city {
            TextOr::Text(text) => name(text),
            TextOr::Other(named) => named.names.en.and_then(name),
        });
        let asn = self.autonomous_system_number.or_else(|| match self.asn? {
            TextOr::Other(number) => Some(number),
            TextOr::Text(text) => text.trim_start_matches("AS").parse().ok(),
        });
        let organisation = self.autonomous_system_organization.or(self.as_name).or(self.name);
        let nested = self.location.and_then(|at| Some((at.latitude?, at.longitude?)));
        let flat = || {
            let lat = self.latitude.or(self.lat)?;
            let lon = self.longitude.or(self.lng)?;
            Some((lat.0, lon.0))
        };
        let joined = || {
            let (lat, lon) = self.loc.as_deref()?.split_once(',')?;
            Some((lat.trim().parse().ok()?, lon.trim().parse().ok()?))
        };
        let place = nested
            .or_else(flat)
            .or_else(joined)
            .filter(|(lat, lon)| (-90.0..=90.0).contains(lat) && (-180.0..=180.0).contains(lon));
        // A record that knows no city has its coordinates for the country.
        let precision = place.map(|_| match city {
            Some(_) => GeoPrecision::City,
            None => GeoPrecision::Country,
        });
        Geo {
            country,
            city,
            asn,
            organisation: organisation.and_then(name),
            lat: place.map(|(lat, _)| lat),
            lon: place.map(|(_, lon)| lon),
            precision,
        }
    }
}

fn country_code(text: &str) -> Option<CountryCode> {
    CountryCode::new(text).ok().filter(|code| *code != CountryCode::PRIVATE)
}

fn name(text: String) -> Option<Box<str>> {
    (!text.is_empty() && text.len() <= MAX_NAME_BYTES).then(|| text.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the data section of the format (MaxMind DB file format 2.0):
    /// maps, strings, unsigned numbers and doubles, no pointers.
    enum Value<'a> {
        Map(&'a [(&'a str, Value<'a>)]),
        Text(&'a str),
        Unsigned16(u16),
        Unsigned32(u32),
        Unsigned64(u64),
        Double(f64),
        Texts(&'a [&'a str]),
    }

    fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
        assert!(size < 285);
        let low = if size < 29 { size as u8 } else { 29 };
        out.push(if kind <= 7 { kind << 5 | low } else { low });
        if kind > 7 {
            out.push(kind - 7);
        }
        if size >= 29 {
            out.push((size - 29) as u8);
        }
    }

    fn write(value: &Value<'_>, out: &mut Vec<u8>) {
        let text = |text: &str, out: &mut Vec<u8>| {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        };
        match value {
            Value::Map(entries) => {
                control(7, entries.len(), out);
                for (key, value) in *entries {
                    text(key, out);
                    write(value, out);
                }
            }
            Value::Text(value) => text(value, out),
            Value::Texts(values) => {
                control(11, values.len(), out);
                values.iter().for_each(|value| text(value, out));
            }
            Value::Unsigned16(value) => {
                control(5, 2, out);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::Unsigned32(value) => {
                control(6, 4, out);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::Unsigned64(value) => {
                control(9, 8, out);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::Double(value) => {
                control(3, 8, out);
                out.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// A database of one node: the lower half of the IPv4 addresses has the
    /// record, the upper half has nothing.
    fn database(record: &Value<'_>) -> Vec<u8> {
        let nodes = 1u32;
        let mut out = Vec::new();
        out.extend_from_slice(&(nodes + 16).to_be_bytes()[1..]); // left: first byte of the data
        out.extend_from_slice(&nodes.to_be_bytes()[1..]); // right: nothing
        out.extend_from_slice(&[0; 16]);
        write(record, &mut out);
        out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let metadata = Value::Map(&[
            ("binary_format_major_version", Value::Unsigned16(2)),
            ("binary_format_minor_version", Value::Unsigned16(0)),
            ("build_epoch", Value::Unsigned64(1_700_000_000)),
            ("database_type", Value::Text("Test")),
            ("description", Value::Map(&[("en", Value::Text("test"))])),
            ("ip_version", Value::Unsigned16(4)),
            ("languages", Value::Texts(&["en"])),
            ("node_count", Value::Unsigned32(nodes)),
            ("record_size", Value::Unsigned16(24)),
        ]);
        write(&metadata, &mut out);
        out
    }

    fn opened(record: &Value<'_>) -> Database {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.mmdb");
        fs::write(&path, database(record)).unwrap();
        Database::open(&path).unwrap()
    }

    fn located(record: &Value<'_>) -> Geo {
        let database = opened(record);
        assert_eq!(database.locate("200.0.0.1".parse().unwrap()), None);
        database.locate("8.8.8.8".parse().unwrap()).unwrap()
    }

    #[test]
    fn nested_records_are_read() {
        let geo = located(&Value::Map(&[
            ("city", Value::Map(&[("names", Value::Map(&[("en", Value::Text("Bonn"))]))])),
            ("country", Value::Map(&[("iso_code", Value::Text("DE"))])),
            (
                "location",
                Value::Map(&[("latitude", Value::Double(50.7)), ("longitude", Value::Double(7.1))]),
            ),
        ]));
        let expected = Geo {
            country: Some(CountryCode::new("DE").unwrap()),
            city: Some("Bonn".into()),
            lat: Some(50.7),
            lon: Some(7.1),
            precision: Some(GeoPrecision::City),
            ..Geo::default()
        };
        assert_eq!(geo, expected);
    }

    #[test]
    fn nested_records_of_autonomous_systems_are_read() {
        let geo = located(&Value::Map(&[
            ("autonomous_system_number", Value::Unsigned32(15169)),
            ("autonomous_system_organization", Value::Text("Google LLC")),
        ]));
        assert_eq!((geo.asn, geo.organisation.as_deref()), (Some(15169), Some("Google LLC")));
        assert_eq!(geo.country, None);
    }

    #[test]
    fn flat_records_are_read() {
        let geo = located(&Value::Map(&[
            ("country", Value::Text("Germany")),
            ("country_code", Value::Text("DE")),
            ("city", Value::Text("Bonn")),
            ("lat", Value::Text("50.7")),
            ("lng", Value::Text("7.1")),
            ("asn", Value::Text("AS3320")),
            ("as_name", Value::Text("Deutsche Telekom AG")),
        ]));
        assert_eq!(geo.country, Some(CountryCode::new("DE").unwrap()));
        assert_eq!((geo.lat, geo.lon, geo.city.as_deref()), (Some(50.7), Some(7.1), Some("Bonn")));
        assert_eq!(
            (geo.asn, geo.organisation.as_deref()),
            (Some(3320), Some("Deutsche Telekom AG"))
        );
        let geo = located(&Value::Map(&[("country", Value::Text("NL"))]));
        assert_eq!(geo.country, Some(CountryCode::new("NL").unwrap()));
    }

    #[test]
    fn a_place_that_is_not_on_earth_is_left_out() {
        let location = Value::Map(&[
            ("latitude", Value::Double(150.7)),
            ("longitude", Value::Double(f64::NAN)),
        ]);
        let geo = located(&Value::Map(&[("location", location)]));
        assert_eq!((geo.lat, geo.lon, geo.precision), (None, None, None));
    }

    #[test]
    fn a_broken_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.mmdb");
        fs::write(&path, b"no database").unwrap();
        let error = Database::open(&path).err().unwrap().to_string();
        assert!(error.contains("broken.mmdb"), "{error}");
    }
}
