//! What a query means: whether one event matches. Every engine answers the
//! same, and tests hold it to this file.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::{Event, EventId, Timestamp};

use super::field::FieldType;
use super::{Filter, FilterField, Pattern, Query, Value, compared, tokens};

impl Query {
    /// Whether one event matches: the definition both engines are held to.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.range.contains(event.observed_at) && self.filter.matches(event)
    }
}

impl Filter {
    /// Whether one event matches.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::And(all) => all.iter().all(|filter| filter.matches(event)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(event)),
            Self::Not(filter) => !filter.matches(event),
            Self::Exists(field) => field.value(event).is_some(),
            Self::In(field, values) => field.value(event).is_some_and(|have| {
                values.iter().filter_map(|value| Wanted::new(*field, value)).any(|w| w.is(&have))
            }),
            Self::Prefix(field, prefix) => match field.value(event) {
                Some(Value::Text(text)) => text.starts_with(compared(&field.fold(prefix))),
                _ => false,
            },
            Self::Wildcard(field, pattern) => match field.value(event) {
                Some(Value::Text(text)) => Pattern::new(&field.fold(pattern)).matches(&text),
                _ => false,
            },
            Self::Network(field, network, bits) => match field.value(event) {
                Some(Value::Address(address)) => in_network(address, *network, *bits),
                _ => false,
            },
            Self::Between(field, low, high) => match field.value(event) {
                Some(Value::Number(value)) => {
                    low.is_none_or(|low| low <= value) && high.is_none_or(|high| value <= high)
                }
                _ => false,
            },
            Self::Attribute(name, test) => {
                event.attributes.get(name.as_str()).is_some_and(|value| test.matches(value))
            }
            Self::Text(text) => {
                let mut missing: HashSet<String> = tokens::wanted(text).into_iter().collect();
                let mut buffer = String::new();
                for text in tokens::searched(event) {
                    tokens::words(&text.to_lossy(), &mut buffer, |word| {
                        missing.remove(word);
                    });
                }
                missing.is_empty()
            }
        }
    }
}

/// A query's value, read as the field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Text, folded and cut.
    Text(String),
    /// An address.
    Address(IpAddr),
    /// A number, or a time in milliseconds.
    Number(i64),
    /// The id of an event.
    Id(u128),
}

impl Wanted {
    /// `None` where no value of the field can be written so.
    #[must_use]
    pub fn new<F: FilterField>(field: F, text: &str) -> Option<Self> {
        match field.field_type() {
            FieldType::Ip => text.parse::<IpAddr>().ok().map(|a| Self::Address(a.to_canonical())),
            FieldType::Integer => text.parse().ok().map(Self::Number),
            FieldType::Time => {
                text.parse::<Timestamp>().ok().map(|at| Self::Number(at.as_millis()))
            }
            FieldType::Keyword if field.is_id() => {
                text.parse::<EventId>().ok().map(|id| Self::Id(id.as_u128()))
            }
            FieldType::Keyword | FieldType::Text => {
                Some(Self::Text(compared(&field.fold(text)).to_owned()))
            }
        }
    }

    fn is(&self, have: &Value<'_>) -> bool {
        match (self, have) {
            (Self::Text(want), Value::Text(have)) => want == have,
            (Self::Address(want), Value::Address(have)) => want == have,
            (Self::Number(want), Value::Number(have)) => want == have,
            (Self::Id(want), Value::Id(have)) => want == have,
            _ => false,
        }
    }
}

/// Whether an address lies in a network of the same family. A prefix longer
/// than the address matches nothing.
#[must_use]
pub fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match ipnet::IpNet::new(network, bits) {
        Ok(network) => network.contains(&address),
        Err(_) => false,
    }
}
