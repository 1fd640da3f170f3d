//! The counts of one segment as one of the lists that `top` compares.

use std::sync::Arc;

use super::super::dimension::{Raw, read_texts, text_hash};
use super::super::segment::{AnyColumn, Segment};
use super::cover::Part;
use super::slice::Slice;
use crate::QueryError;
use crate::query::Field;

/// The same value everywhere: for each field its value, for text its hash.
pub(super) type Ident = [u128; 2];

/// The counts of one segment.
pub(super) struct List {
    segment: Arc<Segment>,
    part: Part,
    /// By ascending code, where the range covers a part of the segment; else
    /// they are read from the file.
    counts: Option<Arc<Slice>>,
    /// All counts together.
    pub(super) sum: u64,
    /// The largest.
    pub(super) most: u64,
}

impl List {
    /// `None` where the file is damaged; so below.
    pub(super) fn new(segment: Arc<Segment>, part: Part) -> Option<Self> {
        if part.is_whole() {
            let section = part.section()?;
            let (sum, most) = (section.total.sum(), section.order().next()?.1);
            return Some(Self { segment, part, counts: None, sum, most });
        }
        let counts = part.summed()?;
        let (sum, most) = (counts.sum, counts.most());
        Some(Self { segment, part, counts: Some(counts), sum, most })
    }

    /// The count of a code.
    fn get(&self, code: u32) -> Option<u64> {
        match &self.counts {
            Some(counts) => Some(counts.get(code)),
            None => self.part.section()?.total.get(code),
        }
    }

    /// The largest counts, by ascending code.
    pub(super) fn largest(&self, most: usize) -> Option<Vec<(u32, u64)>> {
        let mut largest: Vec<(u32, u64)> = match &self.counts {
            None => self.part.section()?.order().take(most).collect(),
            Some(counts) => counts.largest(most),
        };
        largest.sort_unstable();
        Some(largest)
    }

    /// The counts that are at least so large, by ascending code.
    pub(super) fn at_least(&self, least: u64) -> Option<Vec<(u32, u64)>> {
        let mut found = Vec::new();
        if let Some(counts) = &self.counts {
            found.extend(counts.at_least(least));
            found.sort_unstable();
            return Some(found);
        }
        let section = self.part.section()?;
        let mut ended = false;
        for entry in section.order() {
            if entry.1 < least {
                ended = true;
                break;
            }
            found.push(entry);
        }
        if ended || found.len() >= section.total.len() {
            found.sort_unstable();
            return Some(found);
        }
        // The order does not reach so far.
        found.clear();
        section.total.for_each(|code, count| {
            if count >= least {
                found.push((code, count));
            }
        })?;
        Some(found)
    }

    /// The codes of each field, by place in the section's fields.
    fn columns(&self, codes: &[u32]) -> Option<[Vec<u32>; 2]> {
        let section = self.part.section()?;
        let Some(pairs) = section.pairs() else { return Some([codes.to_vec(), Vec::new()]) };
        let pairs: Option<Vec<u128>> = codes.iter().map(|code| pairs.get(*code)).collect();
        let pairs = pairs?;
        let first = pairs.iter().map(|pair| (pair >> 32) as u32).collect();
        Some([first, pairs.iter().map(|pair| *pair as u32).collect()])
    }

    /// What these codes stand for, in the order of the fields that were asked for.
    pub(super) fn idents(
        &self,
        fields: &[Field],
        codes: &[u32],
    ) -> Result<Option<Vec<Ident>>, QueryError> {
        let (Some(section), Some(columns)) = (self.part.section(), self.columns(codes)) else {
            return Ok(None);
        };
        let mut idents = vec![[0; 2]; codes.len()];
        for (place, field) in section.fields.iter().enumerate() {
            let Some(at) = fields.iter().position(|other| other == field) else { return Ok(None) };
            let Some(column) = columns.get(place) else { return Ok(None) };
            let values: Vec<u128> = if field.is_text() {
                let AnyColumn::Text(texts) = self.segment.column(*field)? else { return Ok(None) };
                let mut ordinals: Vec<u64> = column.iter().map(|code| u64::from(*code)).collect();
                ordinals.sort_unstable();
                ordinals.dedup();
                let mut hashes = Vec::with_capacity(ordinals.len());
                read_texts(texts, &ordinals, |text| hashes.push(text_hash(text)))?;
                let hash = |code: &u32| {
                    let place = ordinals.binary_search(&u64::from(*code)).unwrap_or(usize::MAX);
                    hashes.get(place).copied().unwrap_or(0)
                };
                column.iter().map(hash).collect()
            } else {
                let values = section.dictionary(place);
                let value = |code: &u32| values.and_then(|values| values.get(*code));
                match column.iter().map(value).collect() {
                    Some(values) => values,
                    None => return Ok(None),
                }
            };
            for (ident, value) in idents.iter_mut().zip(values) {
                if let Some(slot) = ident.get_mut(at) {
                    *slot = value;
                }
            }
        }
        Ok(Some(idents))
    }

    /// The values that a code stands for.
    pub(super) fn raw(&self, fields: &[Field], code: u32) -> Result<Option<Vec<Raw>>, QueryError> {
        let (Some(section), Some(columns)) = (self.part.section(), self.columns(&[code])) else {
            return Ok(None);
        };
        let mut values = Vec::new();
        for field in fields {
            let place = section.fields.iter().position(|other| other == field);
            let code = place.and_then(|place| columns.get(place)).and_then(|column| column.first());
            let (Some(place), Some(code)) = (place, code) else { return Ok(None) };
            if field.is_text() {
                let AnyColumn::Text(texts) = self.segment.column(*field)? else { return Ok(None) };
                let mut text = String::new();
                texts
                    .ord_to_str(u64::from(*code), &mut text)
                    .map_err(tantivy::TantivyError::from)?;
                values.push(Raw::Text(text));
            } else {
                let value = section.dictionary(place).and_then(|values| values.get(*code));
                let Some(value) = value else { return Ok(None) };
                values.push(Raw::Number(value));
            }
        }
        Ok(Some(values))
    }

    /// The count of some values; `None` where the file is damaged.
    pub(super) fn look_up(&self, fields: &[Field], raw: &[Raw]) -> Result<Option<u64>, QueryError> {
        let Some(section) = self.part.section() else { return Ok(None) };
        let mut key = 0u128;
        for (place, field) in section.fields.iter().enumerate() {
            let at = fields.iter().position(|other| other == field);
            let code = match at.and_then(|at| raw.get(at)) {
                Some(Raw::Text(text)) => {
                    let AnyColumn::Text(texts) = self.segment.column(*field)? else {
                        return Ok(Some(0));
                    };
                    let found =
                        texts.dictionary().term_ord(text).map_err(tantivy::TantivyError::from)?;
                    found.map(|ordinal| ordinal as u32)
                }
                Some(Raw::Number(value)) => {
                    match section.dictionary(place).and_then(|values| values.find(*value)) {
                        Some(found) => found,
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            };
            let Some(code) = code else { return Ok(Some(0)) };
            key = key << 32 | u128::from(code);
        }
        let code = match section.pairs() {
            None => key as u32,
            Some(pairs) => match pairs.find(key) {
                None => return Ok(None),
                Some(None) => return Ok(Some(0)),
                Some(Some(code)) => code,
            },
        };
        Ok(self.get(code))
    }
}
