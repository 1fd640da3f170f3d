//! One dimension of an aggregation: the values of a field, numbered in the
//! order they come. Within a segment text goes by its ordinal in the segment's
//! dictionary; across segments by a keyed hash of 128 bits. Only what is
//! answered is read as text.

use std::collections::BinaryHeap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

use palisade_event::{EventId, Timestamp};
use siphasher::sip128::SipHasher13;
use tantivy::TantivyError;
use tantivy::columnar::{Column, StrColumn};

use super::quick::HashMap;
use super::segment::{AnyColumn, Segment};
use crate::Key;
use crate::query::{Buckets, Field, FieldType};

/// A document without the field.
pub(super) const ABSENT: u32 = u32::MAX;

/// What a dimension groups by.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Field(Field),
    /// Time; no bucket where there is no data.
    Time(Option<Buckets>),
}

/// One value of a dimension, the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Raw {
    Text(String),
    /// A value that is no text.
    Number(u128),
    /// A bucket of time.
    Bucket(u32),
}

impl Raw {
    /// How an answer says a value of a field.
    pub(super) fn key(&self, field: Field) -> Key {
        match self {
            Self::Text(text) => Key::Text(text.clone()),
            Self::Number(number) => number_key(field, *number),
            Self::Bucket(number) => Key::Integer((*number).into()),
        }
    }
}

fn number_key(field: Field, key: u128) -> Key {
    match field.field_type() {
        FieldType::Ip => Key::Text(IpAddr::V6(Ipv6Addr::from_bits(key)).to_canonical().to_string()),
        FieldType::Time => {
            Key::Text(Timestamp::from_millis((key as u64).cast_signed()).to_string())
        }
        FieldType::Integer => Key::Integer((key as u64).cast_signed()),
        FieldType::Keyword | FieldType::Text => Key::Text(EventId::from_u128(key).to_string()),
    }
}

/// One share of all values of a dimension: what is too much for the memory is
/// counted share by share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Share {
    fn holds(self, key: u128) -> bool {
        static RANDOM: OnceLock<foldhash::quality::RandomState> = OnceLock::new();
        RANDOM.get_or_init(Default::default).hash_one(key) % self.of == self.number
    }
}

/// The hash by which text is the same in two segments. The key is random, so
/// that nobody can choose texts that collide.
pub(super) fn text_hash(text: &[u8]) -> u128 {
    static KEYS: OnceLock<(u64, u64)> = OnceLock::new();
    let (a, b) = *KEYS.get_or_init(|| {
        let random = RandomState::new();
        (random.hash_one(0), random.hash_one(1))
    });
    SipHasher13::new_with_keys(a, b).hash(text).as_u128()
}

/// Reads the first value of each document; `docs` ascends.
pub(super) fn firsts<T>(column: &Column<T>, docs: &[u32]) -> Vec<Option<T>>
where
    T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static,
{
    let mut values = vec![None; docs.len()];
    column.first_vals(docs, &mut values);
    values
}

/// Calls `each` with the texts of ascending ordinals.
pub(super) fn read_texts(
    column: &StrColumn,
    ordinals: &[u64],
    each: impl FnMut(&[u8]),
) -> Result<(), TantivyError> {
    if column.dictionary().sorted_ords_to_term_cb(ordinals, each)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a dictionary is too short").into())
}

/// The number of a fixed-size value of a document, or the ordinal of its text.
pub(super) fn numbers(
    field: Field,
    segment: &Segment,
    docs: &[u32],
) -> Result<Vec<Option<u128>>, TantivyError> {
    if field == Field::Id {
        return Ok(docs.iter().map(|doc| Some(segment.id(*doc))).collect());
    }
    Ok(match segment.column(field)? {
        AnyColumn::Absent => vec![None; docs.len()],
        AnyColumn::Number(column) => {
            let number = |n: Option<i64>| n.map(|n| u128::from(n.cast_unsigned()));
            firsts(column, docs).into_iter().map(number).collect()
        }
        AnyColumn::Address(column) => {
            firsts(column, docs).into_iter().map(|a| a.map(|a| a.to_bits())).collect()
        }
        AnyColumn::Text(column) => {
            firsts(column.ords(), docs).into_iter().map(|ord| ord.map(u128::from)).collect()
        }
    })
}

/// Numbers the values of a field.
pub(super) struct Dimension {
    pub(super) source: Source,
    /// By code: the value, for text its hash.
    keys: Vec<u128>,
    codes: HashMap<u128, u32>,
    /// By code, for text: where it was first seen.
    origins: Vec<(u32, u32)>,
    segments: Vec<Arc<Segment>>,
    /// The only texts that count; others are as if absent.
    texts: Option<Vec<String>>,
    /// Codes of the ordinals of the segment that is read, where only some texts count.
    table: Vec<u32>,
    /// The ordinals of those texts in that segment.
    ordinals: Vec<Option<u32>>,
    /// The only share of the values that counts.
    share: Option<Share>,
    /// By ordinal of the segment that is read: whether it is of another share.
    elsewhere: Vec<bool>,
    /// Whether other values than those known are as if absent.
    closed: bool,
}

impl Dimension {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            keys: Vec::new(),
            codes: HashMap::default(),
            origins: Vec::new(),
            segments: Vec::new(),
            texts: None,
            table: Vec::new(),
            ordinals: Vec::new(),
            share: None,
            elsewhere: Vec::new(),
            closed: false,
        }
    }

    /// Counts a share of the values only.
    pub(super) fn shared(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// With these values only, numbered in this order. Buckets of time keep
    /// their numbers.
    pub(super) fn only(source: Source, values: &[&Raw]) -> Self {
        let mut dimension = Self::new(source);
        if dimension.is_text() {
            let text = |value: &&Raw| match value {
                Raw::Text(text) => text.clone(),
                Raw::Number(_) | Raw::Bucket(_) => String::new(),
            };
            dimension.texts = Some(values.iter().map(text).collect());
        }
        for value in values {
            if let Raw::Number(number) = value {
                dimension.code(*number);
            }
        }
        dimension.closed = true;
        dimension
    }

    /// Makes ready for a segment.
    pub(super) fn enter(&mut self, segment: &Segment) -> Result<(), TantivyError> {
        let Source::Field(field) = self.source else { return Ok(()) };
        self.table.clear();
        self.ordinals.clear();
        self.elsewhere.clear();
        if !field.is_text() {
            return Ok(());
        }
        let AnyColumn::Text(column) = segment.column(field)? else { return Ok(()) };
        if let Some(texts) = &self.texts {
            self.table.resize(column.num_terms(), ABSENT);
            for (code, text) in (0u32..).zip(texts) {
                let ordinal = column.dictionary().term_ord(text)?.map(|ordinal| ordinal as u32);
                self.ordinals.push(ordinal);
                let slot = ordinal.and_then(|ordinal| self.table.get_mut(ordinal as usize));
                if let Some(slot) = slot {
                    *slot = code;
                }
            }
        } else if let Some(share) = self.share {
            let mut terms = column.dictionary().stream()?;
            while terms.advance() {
                self.elsewhere.push(!share.holds(text_hash(terms.key())));
            }
        }
        Ok(())
    }

    /// About how many bytes it takes.
    pub(super) fn memory(&self) -> usize {
        self.keys.capacity() * size_of::<u128>()
            + table_bytes(self.codes.capacity(), size_of::<(u128, u32)>())
            + self.origins.capacity() * size_of::<(u32, u32)>()
            + self.table.capacity() * size_of::<u32>()
            + self.elsewhere.capacity()
    }

    /// What an ordinal of the segment that is read goes by in it.
    pub(super) fn of_ordinal(&self, ordinal: u32) -> u32 {
        let place = ordinal as usize;
        match &self.texts {
            Some(_) => self.table.get(place).copied().unwrap_or(ABSENT),
            None if self.elsewhere.get(place) == Some(&true) => ABSENT,
            None => ordinal,
        }
    }

    /// The code of a value that is no text.
    pub(super) fn of_value(&mut self, value: u128) -> u32 {
        self.code(value)
    }

    /// The code of a value, for text of its hash, where it has one.
    pub(super) fn find(&self, value: u128) -> Option<u32> {
        self.codes.get(&value).copied()
    }

    /// The ordinal of one of the only texts in the segment that is read.
    pub(super) fn ordinal_of(&self, code: u32) -> Option<u32> {
        self.ordinals.get(code as usize).copied().flatten()
    }

    /// The value with a code, for text its hash.
    pub(super) fn value_of(&self, code: u32) -> Option<u128> {
        self.keys.get(code as usize).copied()
    }

    /// How many values it holds.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn is_text(&self) -> bool {
        matches!(self.source, Source::Field(field) if field.is_text())
    }

    fn code(&mut self, key: u128) -> u32 {
        if let Some(code) = self.codes.get(&key) {
            return *code;
        }
        if self.closed || self.share.is_some_and(|share| !share.holds(key)) {
            return ABSENT;
        }
        let code = u32::try_from(self.keys.len()).unwrap_or(ABSENT);
        self.keys.push(key);
        self.codes.insert(key, code);
        code
    }

    /// How many local codes a segment has, where they are ordinals.
    pub(super) fn ordinals(&self, segment: &Segment) -> Result<Option<usize>, TantivyError> {
        match self.source {
            Source::Field(field) if field.is_text() && self.texts.is_none() => {
                match segment.column(field)? {
                    AnyColumn::Text(column) => Ok(Some(column.num_terms())),
                    _ => Ok(Some(0)),
                }
            }
            _ => Ok(None),
        }
    }

    /// Codes of documents that hold in one segment: ordinals for text, else
    /// codes that hold everywhere.
    pub(super) fn local(
        &mut self,
        segment: &Segment,
        docs: &[u32],
    ) -> Result<Vec<u32>, TantivyError> {
        match self.source {
            Source::Time(None) => Ok(vec![ABSENT; docs.len()]),
            Source::Time(Some(buckets)) => {
                let bucket = |at: Option<i64>| {
                    // An event that was committed since the buckets were made has none.
                    buckets.code(buckets.number(at.unwrap_or(0))).unwrap_or(ABSENT)
                };
                Ok(firsts(&segment.time, docs).into_iter().map(bucket).collect())
            }
            Source::Field(field) if field.is_text() => {
                let AnyColumn::Text(column) = segment.column(field)? else {
                    return Ok(vec![ABSENT; docs.len()]);
                };
                let code = |ord: Option<u64>| ord.map_or(ABSENT, |ord| self.of_ordinal(ord as u32));
                Ok(firsts(column.ords(), docs).into_iter().map(code).collect())
            }
            Source::Field(field) => {
                let values = numbers(field, segment, docs)?;
                let mut code = |value: Option<u128>| value.map_or(ABSENT, |value| self.code(value));
                Ok(values.into_iter().map(&mut code).collect())
            }
        }
    }

    /// Codes that hold everywhere, for ascending ordinals of a segment.
    pub(super) fn resolve(
        &mut self,
        segment: &Arc<Segment>,
        ordinals: &[u64],
    ) -> Result<Vec<u32>, TantivyError> {
        let Source::Field(field) = self.source else { return Ok(Vec::new()) };
        let AnyColumn::Text(column) = segment.column(field)? else { return Ok(Vec::new()) };
        let place = u32::try_from(self.segments.len()).unwrap_or(ABSENT);
        let before = self.keys.len();
        if before == 0 && !self.closed {
            self.codes.reserve(ordinals.len());
        }
        let mut codes = Vec::with_capacity(ordinals.len());
        let mut ordinal = ordinals.iter();
        read_texts(column, ordinals, |text| {
            let known = self.keys.len();
            codes.push(self.code(text_hash(text)));
            let ordinal = ordinal.next().map_or(0, |ordinal| *ordinal as u32);
            if self.keys.len() > known {
                self.origins.push((place, ordinal));
            }
        })?;
        if self.keys.len() > before {
            self.segments.push(Arc::clone(segment));
        }
        Ok(codes)
    }

    /// Takes over the values of another; says what each of its codes became.
    pub(super) fn absorb(&mut self, other: &mut Self) -> Vec<u32> {
        let base = u32::try_from(self.segments.len()).unwrap_or(ABSENT);
        self.segments.append(&mut other.segments);
        let mut codes = Vec::with_capacity(other.keys.len());
        for (number, key) in other.keys.iter().enumerate() {
            let known = self.keys.len();
            codes.push(self.code(*key));
            if self.keys.len() > known
                && let Some((place, ordinal)) = other.origins.get(number)
            {
                self.origins.push((base + place, *ordinal));
            }
        }
        codes
    }

    /// The values of these codes in the order of keys, at most `most`.
    pub(super) fn smallest(
        &self,
        codes: impl Iterator<Item = u32>,
        most: usize,
    ) -> Result<Vec<(Key, u32)>, TantivyError> {
        if !self.is_text() {
            // The largest of the kept stands on top.
            let mut kept = BinaryHeap::new();
            for (key, code) in codes.filter_map(|code| self.key(code).map(|key| (key, code))) {
                kept.push((key, code));
                if kept.len() > most {
                    kept.pop();
                }
            }
            return Ok(kept.into_sorted_vec());
        }
        let origin = |code: u32| self.origins.get(code as usize).map(|origin| (*origin, code));
        let mut places: Vec<((u32, u32), u32)> = codes.filter_map(origin).collect();
        places.sort_unstable();
        let mut found = Vec::new();
        for part in places.chunk_by(|a, b| a.0.0 == b.0.0) {
            // Ordinals are in the order of the texts, so what follows cannot be among the first.
            let part = part.get(..most).unwrap_or(part);
            let Some(((place, _), _)) = part.first() else { continue };
            let Some(segment) = self.segments.get(*place as usize) else { continue };
            let Source::Field(field) = self.source else { continue };
            let AnyColumn::Text(column) = segment.column(field)? else { continue };
            let ordinals: Vec<u64> = part.iter().map(|((_, ord), _)| u64::from(*ord)).collect();
            let mut codes = part.iter().map(|(_, code)| *code);
            read_texts(column, &ordinals, |text| {
                let text = String::from_utf8_lossy(text).into_owned();
                found.extend(codes.next().map(|code| (Key::Text(text), code)));
            })?;
        }
        found.sort_unstable();
        found.truncate(most);
        Ok(found)
    }

    /// The value with a code, whose key in an answer is this.
    pub(super) fn raw(&self, code: u32, key: &Key) -> Raw {
        match (self.source, key) {
            (Source::Time(_), _) => Raw::Bucket(code),
            (Source::Field(_), Key::Text(text)) if self.is_text() => Raw::Text(text.clone()),
            (Source::Field(_), _) => Raw::Number(self.value_of(code).unwrap_or(0)),
        }
    }

    fn key(&self, code: u32) -> Option<Key> {
        let Source::Field(field) = self.source else { return None };
        self.value_of(code).map(|key| number_key(field, key))
    }
}

/// Bytes of a hash table that has room for so many entries.
pub(super) fn table_bytes(capacity: usize, entry: usize) -> usize {
    // An eighth stays free, and a byte an entry says what is in it.
    capacity / 7 * 8 * (entry + 1)
}
