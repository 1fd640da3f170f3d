//! What was counted of segments, kept in memory within a bound.

use std::sync::{Arc, Mutex};

use palisade_event::Day;
use tantivy::TantivyError;
use tantivy::index::SegmentId;

use super::Unit;
use super::honeypots::Pots;
use super::scan::Zones;
use super::table::Table;
use crate::alert::{AlertField, Clock, Domains, HoneypotDay};
use crate::embedded::lock;
use crate::embedded::quick::HashMap;
use crate::embedded::segment::Segment;

/// Bytes that tables of alerts may take; of more the one unused for longest goes.
const MAX_TABLE_BYTES: usize = 128 * 1024 * 1024;
/// Days whose honeypots are remembered; of more all are forgotten.
const MAX_DAYS: usize = 4_096;
/// What a table takes beside its entries, about, in bytes.
const TABLE_BYTES: usize = 256;

/// What a table is of.
pub(super) type TableKey = (AlertField, Clock, Unit);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Table(TableKey),
    Zones(Clock),
    Pots,
}

#[derive(Clone)]
enum Kept {
    Table(Arc<Table>),
    Zones(Arc<Zones>),
    Pots(Arc<Pots>),
}

struct Slot {
    kept: Kept,
    bytes: usize,
    used: u64,
}

/// What was counted. Nothing of it needs to be made invalid: a segment never
/// changes, and a day has a new version when its list of segments does.
#[derive(Default)]
pub(in crate::embedded) struct Cache {
    slots: Mutex<Slots>,
    received: Mutex<Versioned<Day, Span>>,
    days: Mutex<Versioned<(Day, Domains), Arc<HoneypotDay>>>,
}

/// What was found of a day, and in which version of it.
type Versioned<K, V> = HashMap<K, (u64, V)>;

/// First and last instant, where there is any.
type Span = Option<(i64, i64)>;

#[derive(Default)]
struct Slots {
    all: HashMap<(SegmentId, What), Slot>,
    bytes: usize,
    clock: u64,
}

impl Slots {
    fn get(&mut self, key: &(SegmentId, What)) -> Option<Kept> {
        self.clock += 1;
        let clock = self.clock;
        let slot = self.all.get_mut(key)?;
        slot.used = clock;
        Some(slot.kept.clone())
    }

    fn keep(&mut self, key: (SegmentId, What), kept: Kept, bytes: usize) {
        let bytes = bytes + TABLE_BYTES;
        if bytes > MAX_TABLE_BYTES / 4 {
            return;
        }
        self.clock += 1;
        let slot = Slot { kept, bytes, used: self.clock };
        self.bytes += bytes;
        self.bytes -= self.all.insert(key, slot).map_or(0, |before| before.bytes);
        if self.bytes > MAX_TABLE_BYTES {
            // A quarter at once, so that this is rare.
            let mut by_use: Vec<_> = self.all.iter().map(|(key, s)| (s.used, *key)).collect();
            by_use.sort_unstable_by_key(|(used, _)| *used);
            for (_, key) in by_use {
                if self.bytes <= MAX_TABLE_BYTES / 4 * 3 {
                    break;
                }
                self.bytes -= self.all.remove(&key).map_or(0, |slot| slot.bytes);
            }
        }
    }
}

impl Cache {
    fn get(
        &self,
        segment: &Segment,
        what: What,
        make: impl FnOnce() -> Result<(Kept, usize), TantivyError>,
    ) -> Result<Kept, TantivyError> {
        let key = (segment.reader.segment_id(), what);
        // Some events were taken out of it, and the next merge makes that final.
        let is_cut = segment.reader.has_deletes();
        if !is_cut && let Some(kept) = lock(&self.slots).get(&key) {
            return Ok(kept);
        }
        let (kept, bytes) = make()?;
        if !is_cut {
            lock(&self.slots).keep(key, kept.clone(), bytes);
        }
        Ok(kept)
    }

    /// Whether a table is there.
    pub(super) fn has(&self, segment: &Segment, table: TableKey) -> bool {
        let key = (segment.reader.segment_id(), What::Table(table));
        lock(&self.slots).all.contains_key(&key)
    }

    pub(super) fn table(
        &self,
        segment: &Segment,
        table: TableKey,
        count: impl FnOnce() -> Result<Table, TantivyError>,
    ) -> Result<Arc<Table>, TantivyError> {
        let kept = self.get(segment, What::Table(table), || {
            let table = Arc::new(count()?);
            let bytes = table.bytes();
            Ok((Kept::Table(table), bytes))
        })?;
        Ok(match kept {
            Kept::Table(table) => table,
            Kept::Zones(_) | Kept::Pots(_) => Arc::default(),
        })
    }

    pub(super) fn zones(
        &self,
        segment: &Segment,
        clock: Clock,
        read: impl FnOnce() -> Result<Zones, TantivyError>,
    ) -> Result<Arc<Zones>, TantivyError> {
        let kept = self.get(segment, What::Zones(clock), || {
            let zones = Arc::new(read()?);
            let bytes = zones.bytes();
            Ok((Kept::Zones(zones), bytes))
        })?;
        Ok(match kept {
            Kept::Zones(zones) => zones,
            Kept::Table(_) | Kept::Pots(_) => Arc::default(),
        })
    }

    pub(super) fn pots(
        &self,
        segment: &Segment,
        count: impl FnOnce() -> Result<Pots, TantivyError>,
    ) -> Result<Arc<Pots>, TantivyError> {
        let kept = self.get(segment, What::Pots, || {
            let pots = Arc::new(count()?);
            let bytes = pots.bytes();
            Ok((Kept::Pots(pots), bytes))
        })?;
        Ok(match kept {
            Kept::Pots(pots) => pots,
            Kept::Table(_) | Kept::Zones(_) => Arc::default(),
        })
    }

    /// From when to when the events of a version of a day were received, where
    /// that is known.
    pub(super) fn received(&self, day: Day, version: u64) -> Option<Span> {
        let known = lock(&self.received);
        known.get(&day).filter(|(of, _)| *of == version).map(|(_, span)| *span)
    }

    pub(super) fn note_received(&self, day: Day, version: u64, span: Span) {
        lock(&self.received).insert(day, (version, span));
    }

    /// What is known of the honeypots of a version of a day.
    pub(super) fn day(&self, day: Day, domains: Domains, version: u64) -> Option<Arc<HoneypotDay>> {
        let known = lock(&self.days);
        let found = known.get(&(day, domains)).filter(|(of, _)| *of == version);
        found.map(|(_, day)| Arc::clone(day))
    }

    pub(super) fn note_day(
        &self,
        day: Day,
        domains: Domains,
        version: u64,
        found: Arc<HoneypotDay>,
    ) {
        let mut known = lock(&self.days);
        if known.len() >= MAX_DAYS {
            known.clear();
        }
        known.insert((day, domains), (version, found));
    }
}
