//! What a filter says of all sightings of one kind, outcome and service.
//!
//! Scenarios mostly ask for these three. Worked out once for each of them, little
//! or nothing is left to be looked at for a line.

use palisade_event::{EventKind, Outcome};

use super::field::SightingField;
use super::filter::{SightingFilter, Test, kind_bit};

/// What is known of sightings before one of them is seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) kind: EventKind,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) service: KnownService<'a>,
}

/// What is known of the service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KnownService<'a> {
    /// It is this one.
    Is(&'a [u8]),
    /// It is none of those that filters compare it with.
    Other,
    /// Nothing.
    Any,
}

/// What a filter says of all sightings of which the same is known.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    Always,
    Never,
    /// That depends on this.
    If(Test),
}

impl Given {
    fn of(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }
}

impl SightingFilter {
    /// What it says where kind, outcome and service are known.
    pub(crate) fn given(&self, known: &Known<'_>) -> Given {
        all(self.parts.iter().map(|(_, test)| test.given(known)))
    }

    /// The services that it compares with, by their whole names.
    pub(crate) fn services(&self) -> Vec<&[u8]> {
        let mut services = Vec::new();
        self.parts.iter().for_each(|(_, test)| test.services(&mut services));
        services
    }
}

/// All of these.
fn all(parts: impl Iterator<Item = Given>) -> Given {
    let mut left = Vec::new();
    for part in parts {
        match part {
            Given::Always => {}
            Given::Never => return Given::Never,
            Given::If(test) => left.push(test),
        }
    }
    match left.len() {
        0 => Given::Always,
        1 => left.pop().map_or(Given::Always, Given::If),
        _ => Given::If(Test::And(left.into())),
    }
}

impl Test {
    /// What it says where kind, outcome and service are known.
    fn given(&self, known: &Known<'_>) -> Given {
        match self {
            Self::Kinds(kinds) => Given::of(kinds & kind_bit(known.kind) != 0),
            Self::Outcome(accepted, failed) => Given::of(
                known.outcome.is_some() && (known.outcome == *accepted || known.outcome == *failed),
            ),
            Self::Has(SightingField::Kind) => Given::Always,
            Self::Has(SightingField::Outcome) => Given::of(known.outcome.is_some()),
            Self::Equal(SightingField::Service, values) => match known.service {
                KnownService::Is(service) => {
                    Given::of(!service.is_empty() && values.iter().any(|value| **value == *service))
                }
                KnownService::Other => Given::Never,
                KnownService::Any => Given::If(self.clone()),
            },
            Self::And(parts) => all(parts.iter().map(|part| part.given(known))),
            Self::Or(parts) => {
                let mut left = Vec::new();
                for part in parts {
                    match part.given(known) {
                        Given::Always => return Given::Always,
                        Given::Never => {}
                        Given::If(test) => left.push(test),
                    }
                }
                match left.len() {
                    0 => Given::Never,
                    1 => left.pop().map_or(Given::Never, Given::If),
                    _ => Given::If(Self::Or(left.into())),
                }
            }
            Self::Not(test) => match test.given(known) {
                Given::Always => Given::Never,
                Given::Never => Given::Always,
                Given::If(test) => Given::If(Self::Not(Box::new(test))),
            },
            other => Given::If(other.clone()),
        }
    }

    /// The services that it compares with, by their whole names.
    fn services<'t>(&'t self, services: &mut Vec<&'t [u8]>) {
        match self {
            Self::Equal(SightingField::Service, values) => {
                services.extend(values.iter().map(|value| &**value));
            }
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.services(services));
            }
            Self::Not(test) => test.services(services),
            _ => {}
        }
    }
}
