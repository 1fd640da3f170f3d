//! The values that alerts are grouped by, as the columns of a segment have
//! them: by code within it, by a key of 128 bits across segments.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use tantivy::TantivyError;
use tantivy::columnar::StrColumn;

use super::super::dimension::{ABSENT, firsts, read_texts, text_hash};
use super::super::filter::Ready;
use super::super::schema;
use super::super::segment::{AnyColumn, Segment};
use crate::alert::{AlertKey, Place, WEB_CATEGORY};
use crate::query::{Field, Filter};
use crate::{AlertField, Domains, stored};

/// The key of alerts whose value is not known.
pub(super) const UNKNOWN: u128 = u128::MAX;
/// The key of a place of an address of a private range.
pub(super) const PRIVATE: u128 = u128::MAX - 1;
/// Its code.
const PRIVATE_CODE: u32 = ABSENT - 1;

/// The columns that a question needs of a segment.
pub(super) struct Columns<'a> {
    field: AlertField,
    segment: &'a Segment,
    /// Which documents are alerts that count.
    pub(super) alerts: Ready<'a>,
    domain: &'a AnyColumn,
    community: Option<u64>,
    /// Of a place: its texts, the countries, and the ordinal of a private range.
    place: Option<Cow<'a, StrColumn>>,
    /// By ordinal of such a text: whether it says no degrees.
    nowhere: Vec<bool>,
    country: Option<(&'a StrColumn, u64)>,
}

/// The condition of the alerts that count.
fn filter(field: AlertField) -> Filter {
    let mut filter = vec![Domains::Both.filter()];
    if field == AlertField::WebRequest {
        filter.push(Filter::In(Field::Category, vec![WEB_CATEGORY.to_owned()]));
        filter.push(Filter::Exists(Field::Request));
    }
    Filter::And(filter)
}

fn text(column: &AnyColumn) -> Option<&StrColumn> {
    match column {
        AnyColumn::Text(column) => Some(column),
        _ => None,
    }
}

/// The column of a field that is text.
fn field_of(field: AlertField) -> Option<Field> {
    match field {
        AlertField::Category => Some(Field::Category),
        AlertField::Country => Some(Field::Country),
        AlertField::TargetCountry => Some(Field::TargetCountry),
        AlertField::WebRequest => Some(Field::Request),
        AlertField::Place | AlertField::TargetPlace | AlertField::Port | AlertField::Source => None,
    }
}

/// The texts of places.
fn places<'a>(
    field: AlertField,
    segment: &'a Segment,
) -> Result<Option<Cow<'a, StrColumn>>, TantivyError> {
    Ok(match field {
        AlertField::Place => text(segment.column(Field::Location)?).map(Cow::Borrowed),
        AlertField::TargetPlace => {
            segment.reader.fast_fields().str(schema::TARGET_PLACE)?.map(Cow::Owned)
        }
        _ => None,
    })
}

impl<'a> Columns<'a> {
    pub(super) fn open(field: AlertField, segment: &'a Segment) -> Result<Self, TantivyError> {
        let domain = segment.column(Field::Domain)?;
        let community = match text(domain) {
            Some(column) => column.dictionary().term_ord("community")?,
            None => None,
        };
        let country = match field {
            AlertField::Place => text(segment.column(Field::Country)?),
            AlertField::TargetPlace => text(segment.column(Field::TargetCountry)?),
            _ => None,
        };
        let country = match country {
            Some(column) => {
                let private = palisade_event::CountryCode::PRIVATE;
                column.dictionary().term_ord(private.as_str())?.map(|ordinal| (column, ordinal))
            }
            None => None,
        };
        let alerts = Ready::new(&filter(field), segment)?;
        let place = places(field, segment)?;
        let mut nowhere = Vec::new();
        if let (AlertField::TargetPlace, Some(column)) = (field, &place) {
            let mut texts = column.dictionary().stream()?;
            while texts.advance() {
                let text = String::from_utf8_lossy(texts.key());
                nowhere.push(stored::target_location(&text).is_none());
            }
        }
        Ok(Self { field, segment, alerts, domain, community, place, nowhere, country })
    }

    /// Whether each document is of the community.
    pub(super) fn communities(&self, docs: &[u32]) -> Vec<bool> {
        match (text(self.domain), self.community) {
            (Some(column), Some(community)) => {
                firsts(column.ords(), docs).into_iter().map(|o| o == Some(community)).collect()
            }
            _ => vec![false; docs.len()],
        }
    }

    /// The code of each document's value; [`ABSENT`] where it is not known.
    pub(super) fn codes(&self, docs: &[u32]) -> Result<Vec<u32>, TantivyError> {
        let ordinals = |column: Option<&StrColumn>| match column {
            Some(column) => {
                let code = |ordinal: Option<u64>| ordinal.map_or(ABSENT, |ord| ord as u32);
                firsts(column.ords(), docs).into_iter().map(code).collect()
            }
            None => vec![ABSENT; docs.len()],
        };
        if let Some(field) = field_of(self.field) {
            return Ok(ordinals(text(self.segment.column(field)?)));
        }
        if self.field == AlertField::Port {
            let AnyColumn::Number(column) = self.segment.column(Field::Port)? else {
                return Ok(vec![ABSENT; docs.len()]);
            };
            let code = |port: Option<i64>| port.map_or(ABSENT, |port| port as u32);
            return Ok(firsts(column, docs).into_iter().map(code).collect());
        }
        let mut codes = ordinals(self.place.as_deref());
        for code in &mut codes {
            if self.nowhere.get(*code as usize) == Some(&true) {
                *code = ABSENT;
            }
        }
        if let Some((column, private)) = self.country {
            let countries = firsts(column.ords(), docs);
            for (code, country) in codes.iter_mut().zip(countries) {
                if *code == ABSENT && country == Some(private) {
                    *code = PRIVATE_CODE;
                }
            }
        }
        Ok(codes)
    }

    /// The address of each document's source.
    pub(super) fn addresses(&self, docs: &[u32]) -> Result<Vec<Option<u128>>, TantivyError> {
        let AnyColumn::Address(column) = self.segment.column(Field::Ip)? else {
            return Ok(vec![None; docs.len()]);
        };
        let bits = |address: Option<Ipv6Addr>| address.map(|address| address.to_bits());
        Ok(firsts(column, docs).into_iter().map(bits).collect())
    }

    /// Whether alerts without a value count.
    pub(super) fn counts_unknown(&self) -> bool {
        !matches!(self.field, AlertField::Port | AlertField::WebRequest | AlertField::Source)
    }

    /// The keys of ascending codes.
    pub(super) fn keys(&self, codes: &[u32]) -> Result<Vec<u128>, TantivyError> {
        if self.field == AlertField::Port {
            let key = |code: &u32| if *code == ABSENT { UNKNOWN } else { u128::from(*code) };
            return Ok(codes.iter().map(key).collect());
        }
        let own = match field_of(self.field) {
            Some(field) => text(self.segment.column(field)?),
            None => self.place.as_deref(),
        };
        let ordinals: Vec<u64> = codes
            .iter()
            .filter(|code| **code < PRIVATE_CODE)
            .map(|code| u64::from(*code))
            .collect();
        let mut keys = Vec::with_capacity(codes.len());
        if let Some(column) = own {
            read_texts(column, &ordinals, |text| {
                keys.push(match self.field {
                    AlertField::Place => {
                        place_key(stored::location(&String::from_utf8_lossy(text)))
                    }
                    AlertField::TargetPlace => {
                        place_key(stored::target_location(&String::from_utf8_lossy(text)))
                    }
                    _ => text_hash(text),
                });
            })?;
        }
        let others = codes.iter().filter(|code| **code >= PRIVATE_CODE);
        keys.extend(others.map(|code| if *code == ABSENT { UNKNOWN } else { PRIVATE }));
        Ok(keys)
    }
}

fn place_key(place: Option<(f64, f64)>) -> u128 {
    // Adding 0 makes one zero of the two that there are.
    let bits = |degrees: f64| u128::from((degrees + 0.0).to_bits());
    place.map_or(UNKNOWN, |(lat, lon)| bits(lat) << 64 | bits(lon))
}

/// The value with a key, read where it is text.
pub(super) fn key_of(
    field: AlertField,
    key: u128,
    code: u32,
    segment: &Segment,
) -> Result<AlertKey, TantivyError> {
    Ok(match (field, key) {
        (_, UNKNOWN) => AlertKey::Unknown,
        (AlertField::Place | AlertField::TargetPlace, PRIVATE) => AlertKey::Private,
        (AlertField::Place | AlertField::TargetPlace, key) => AlertKey::Place(Place {
            lat: f64::from_bits((key >> 64) as u64),
            lon: f64::from_bits(key as u64),
        }),
        (AlertField::Port, key) => AlertKey::Port(key as u16),
        (AlertField::Source, key) => {
            AlertKey::Address(IpAddr::V6(Ipv6Addr::from_bits(key)).to_canonical())
        }
        (field, _) => {
            let mut value = String::new();
            let field = field_of(field).unwrap_or(Field::Category);
            if let Some(column) = text(segment.column(field)?) {
                column.ord_to_str(code.into(), &mut value)?;
            }
            AlertKey::Text(value)
        }
    })
}
