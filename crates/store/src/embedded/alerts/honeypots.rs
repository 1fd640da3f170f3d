//! Counts the different honeypots and daemons of a day.

use std::sync::Arc;

use palisade_event::Day;
use tantivy::TantivyError;
use tantivy::columnar::StrColumn;

use super::super::dimension::{ABSENT, firsts, read_texts, text_hash};
use super::super::filter::Ready;
use super::super::quick::{HashMap, HashSet};
use super::super::scan::for_each_chunk;
use super::super::segment::{AnyColumn, Segment};
use super::super::{Embedded, lock};
use crate::alert::{Domains, HoneypotDay, UNCLASSIFIED};
use crate::query::Field;
use crate::{HoneypotCount, QueryError};

/// What names a honeypot, the first that is known. The number keeps a host and
/// an address apart.
const NAMES: [Field; 3] = [Field::Host, Field::Target, Field::Sensor];
/// What names a daemon of it.
const DAEMONS: [Field; 2] = [Field::Analyzer, Field::Sensor];

/// The alerts of one category, honeypot and daemon.
struct Pot {
    community: bool,
    /// Place of the category.
    category: u32,
    honeypot: u128,
    daemon: u128,
    alerts: u32,
}

/// The honeypots of one segment.
#[derive(Default)]
pub(super) struct Pots {
    all: Vec<Pot>,
    categories: Vec<String>,
}

impl Pots {
    pub(super) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<Pot>() + self.categories.capacity() * 64
    }

    fn count(segment: &Segment) -> Result<Self, TantivyError> {
        let alerts = Ready::new(&Domains::Both.filter(), segment)?;
        let community = match segment.column(Field::Domain)? {
            AnyColumn::Text(column) => column.dictionary().term_ord("community")?,
            _ => None,
        };
        // Domain, category, honeypot (which name, value), daemon (the same).
        type Code = (Option<u64>, u32, (u8, u128), (u8, u128));
        let mut counts: HashMap<Code, u32> = HashMap::default();
        for_each_chunk(&alerts, segment, |docs| {
            let domains = ordinals(Field::Domain, segment, docs)?;
            let categories = ordinals(Field::Category, segment, docs)?;
            let honeypots = first_known(&NAMES, segment, docs)?;
            let daemons = first_known(&DAEMONS, segment, docs)?;
            let rest = honeypots.into_iter().zip(daemons);
            for ((domain, category), (honeypot, daemon)) in
                domains.into_iter().zip(categories).zip(rest)
            {
                let category = category.map_or(ABSENT, |category| category as u32);
                *counts.entry((domain, category, honeypot, daemon)).or_insert(0) += 1;
            }
            Ok::<_, TantivyError>(())
        })?;
        let mut hashes = Hashes::new(segment);
        let mut pots = Self::default();
        let mut places: HashMap<u32, u32> = HashMap::default();
        for ((domain, category, honeypot, daemon), alerts) in counts {
            let place = match places.get(&category) {
                Some(place) => *place,
                None => {
                    let place = u32::try_from(pots.categories.len()).unwrap_or(ABSENT);
                    let name = name(Field::Category, segment, category)?;
                    pots.categories.push(name.unwrap_or_else(|| UNCLASSIFIED.to_owned()));
                    places.insert(category, place);
                    place
                }
            };
            let honeypot = hashes.of(&NAMES, honeypot)?;
            let daemon = hashes.of(&DAEMONS, daemon)?;
            let both = [honeypot.to_le_bytes(), daemon.to_le_bytes()].concat();
            pots.all.push(Pot {
                community: domain == community && domain.is_some(),
                category: place,
                honeypot,
                daemon: text_hash(&both),
                alerts,
            });
        }
        Ok(pots)
    }
}

fn column(field: Field, segment: &Segment) -> Result<Option<&StrColumn>, TantivyError> {
    Ok(match segment.column(field)? {
        AnyColumn::Text(column) => Some(column),
        _ => None,
    })
}

fn ordinals(
    field: Field,
    segment: &Segment,
    docs: &[u32],
) -> Result<Vec<Option<u64>>, TantivyError> {
    Ok(match column(field, segment)? {
        Some(column) => firsts(column.ords(), docs),
        None => vec![None; docs.len()],
    })
}

/// Of each document, the first of these fields that it has, and its value: the
/// ordinal of a text, the bits of an address.
fn first_known(
    fields: &[Field],
    segment: &Segment,
    docs: &[u32],
) -> Result<Vec<(u8, u128)>, TantivyError> {
    let mut found = vec![(u8::MAX, 0); docs.len()];
    for (number, field) in (0u8..).zip(fields) {
        if found.iter().all(|(of, _)| *of != u8::MAX) {
            break;
        }
        let values = super::super::dimension::numbers(*field, segment, docs)?;
        for (found, value) in found.iter_mut().zip(values) {
            if let (u8::MAX, Some(value)) = (found.0, value) {
                *found = (number, value);
            }
        }
    }
    Ok(found)
}

fn name(field: Field, segment: &Segment, ordinal: u32) -> Result<Option<String>, TantivyError> {
    let mut text = String::new();
    Ok(match column(field, segment)? {
        Some(column) if ordinal != ABSENT => {
            column.ord_to_str(ordinal.into(), &mut text)?.then_some(text)
        }
        _ => None,
    })
}

/// Hashes of names that hold in every segment.
struct Hashes<'a> {
    segment: &'a Segment,
    known: HashMap<(Field, u8, u128), u128>,
}

impl<'a> Hashes<'a> {
    fn new(segment: &'a Segment) -> Self {
        Self { segment, known: HashMap::default() }
    }

    fn of(&mut self, fields: &[Field], (number, value): (u8, u128)) -> Result<u128, TantivyError> {
        let Some(field) = fields.get(usize::from(number)) else { return Ok(0) };
        if let Some(hash) = self.known.get(&(*field, number, value)) {
            return Ok(*hash);
        }
        let mut bytes = vec![number];
        match column(*field, self.segment)? {
            Some(column) if field.is_text() => {
                read_texts(column, &[value as u64], |text| bytes.extend_from_slice(text))?;
            }
            _ => bytes.extend_from_slice(&value.to_le_bytes()),
        }
        let hash = text_hash(&bytes);
        self.known.insert((*field, number, value), hash);
        Ok(hash)
    }
}

impl Embedded {
    pub(crate) fn count_honeypots(
        &self,
        day: Day,
        domains: Domains,
    ) -> Result<HoneypotDay, QueryError> {
        let version = lock(&self.days).all.get(&day).map(|entry| entry.version);
        let Some(version) = version else { return Ok(HoneypotDay::default()) };
        if let Some(known) = self.alerts.day(day, domains, version) {
            return Ok(HoneypotDay::clone(&known));
        }
        let mut found = HoneypotDay::default();
        let mut categories: Vec<(String, u64, HashSet<u128>)> = Vec::new();
        let (mut honeypots, mut daemons) = (HashSet::default(), HashSet::default());
        for segment in self.segments(day)?.unwrap_or_default().iter() {
            let pots = self.alerts.pots(segment, || Pots::count(segment))?;
            let mut places = Vec::with_capacity(pots.categories.len());
            for name in &pots.categories {
                let place = categories.iter().position(|(known, ..)| known == name);
                places.push(place.unwrap_or_else(|| {
                    categories.push((name.clone(), 0, HashSet::default()));
                    categories.len() - 1
                }));
            }
            for pot in &pots.all {
                let counts = match domains {
                    Domains::Both => true,
                    Domains::Community => pot.community,
                    Domains::Private => !pot.community,
                };
                let place = places.get(pot.category as usize);
                let category = place.and_then(|place| categories.get_mut(*place));
                let Some((_, alerts, of_category)) = category.filter(|_| counts) else { continue };
                *alerts += u64::from(pot.alerts);
                of_category.insert(pot.honeypot);
                honeypots.insert(pot.honeypot);
                daemons.insert(pot.daemon);
                found.alerts += u64::from(pot.alerts);
            }
        }
        found.honeypots = honeypots.len() as u64;
        found.daemons = daemons.len() as u64;
        let with_alerts = categories.into_iter().filter(|(_, alerts, _)| *alerts > 0);
        found.by_category = with_alerts
            .map(|(name, alerts, pots)| {
                (name, HoneypotCount { alerts, honeypots: pots.len() as u64 })
            })
            .collect();
        self.alerts.note_day(day, domains, version, Arc::new(found.clone()));
        Ok(found)
    }
}
