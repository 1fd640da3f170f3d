//! Counts sightings against scenarios: sightings in, alerts out.
//!
//! Two steps. *Matching* looks at one sighting and keeps nothing, so that many
//! threads can do it ([`Matcher`] gives a [`Hit`]); *counting* changes state and
//! takes hits in their order ([`Counter`]). [`Engine`] does both. What comes
//! out depends on the sightings and their order alone: never on a clock, on the
//! number of threads or on the seed of a hash.
//!
//! Time is that of the sightings. One that is up to [`MAX_DISORDER_SECS`] older
//! than the newest of its group counts as if it were as new; one that is older
//! still means that a clock was set back, and its group begins anew, for nobody
//! is to be banned because of a wrong clock.

mod group;
mod hit;
mod index;
mod layout;
mod memory;
mod state;
mod table;
mod trace;

use std::net::IpAddr;
use std::sync::Arc;

use palisade_event::Timestamp;

pub use group::Group;
pub(crate) use hit::hash as stable_hash;
pub use hit::{Hit, Matcher};
pub use index::Index;
pub use table::MAX_DISORDER_SECS;
pub use trace::Trace;

use layout::{Part, Slot, plan};
use state::{Change, When};
use table::{Sought, Table};

use crate::Sighting;
use crate::scenario::{MAX_SCENARIOS, MAX_SEQUENCES, Rule, Scenario, ScenarioSet};

/// Most sources that are tracked at once, all tables together; beyond them those
/// that were not seen for longest go, counted.
pub const DEFAULT_MAX_TRACKED: usize = 1_000_000;

/// Hits that one table counts before the next one does: so many that asking for
/// memory ahead pays, so few that they stay in the cache for all tables.
const TOGETHER: usize = 512;
/// Hits that take a step of their look-ups one right after the other, so that the
/// processor finds the pages of several at once. While so many are counted, memory
/// has answered the next ones.
const STEP: usize = 8;

/// Hits that take steps together.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    /// Their places among those that are counted together.
    all: [(usize, Sought); STEP],
    used: usize,
}

impl Steps {
    #[inline]
    fn used(&mut self) -> &mut [(usize, Sought)] {
        self.all.get_mut(..self.used).unwrap_or_default()
    }
}

/// What scenarios are counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most groups in each table.
    pub max_tracked: usize,
    /// Makes the places of groups in memory unpredictable; changes no alert.
    pub seed: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { max_tracked: DEFAULT_MAX_TRACKED, seed: 0x9e37_79b9_7f4a_7c15 }
    }
}

/// The scenarios cannot be used together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There are too many.
    #[error("{0} scenarios are too many; at most {MAX_SCENARIOS} can be used")]
    TooMany(usize),
    /// Too many are sequences.
    #[error("{0} sequences are too many; at most {MAX_SEQUENCES} can be used")]
    TooManySequences(usize),
    /// Two have the same name.
    #[error("there are two scenarios named {0}")]
    Twice(String),
}

/// A scenario has seen what it looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The place of the scenario in [`Matcher::scenarios`].
    pub scenario: usize,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub group: Group,
    /// The address of the last sighting, where it has one.
    pub source: Option<IpAddr>,
    /// How many sightings or values made it.
    pub count: u32,
}

/// What an engine holds and has done, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Hits that were counted.
    pub hits: u64,
    /// Alerts that were made.
    pub alerts: u64,
    /// Groups tracked now.
    pub tracked: u64,
    /// Bytes of the tables.
    pub bytes: u64,
    /// Groups that were given up because there were too many.
    pub evicted: u64,
    /// Groups that began anew because a clock was set back.
    pub reset: u64,
}

/// The state of all scenarios.
#[derive(Clone, Debug)]
pub struct Counter {
    scenarios: Arc<[Scenario]>,
    parts: Vec<(Part, Table)>,
    hits: u64,
    alerts: u64,
}

impl Counter {
    fn new(scenarios: Arc<[Scenario]>, options: EngineOptions) -> Self {
        let parts = plan(&scenarios)
            .into_iter()
            .map(|part| {
                let table = Table::new(part.words, part.life_secs, options);
                (part, table)
            })
            .collect();
        Self { scenarios, parts, hits: 0, alerts: 0 }
    }

    /// Counts one hit. Alerts come in the order of the scenarios.
    pub fn count(&mut self, hit: &Hit) -> Vec<Alert> {
        self.count_with(hit, &mut |_, _, _, _| {})
    }

    /// Counts hits in their order and hands over the alerts, each with the place
    /// of its hit. The same as one by one; but where the tables are larger than
    /// the processor's caches, memory is asked for while hits before it are counted.
    pub fn count_all(&mut self, hits: &[Hit], mut alert: impl FnMut(usize, Alert)) {
        let mut alerts: Vec<(usize, Alert)> = Vec::new();
        for (batch, hits) in hits.chunks(TOGETHER).enumerate() {
            self.hits += hits.len() as u64;
            let matched =
                hits.iter().fold(ScenarioSet::default(), |all, hit| all.with(&hit.matched));
            let wanted = |(part, _): &&mut (Part, Table)| part.filters.meets(&matched);
            for (part, table) in self.parts.iter_mut().filter(wanted) {
                part.count_all(table, hits, &mut |place, alert| {
                    alerts.push((batch * TOGETHER + place, alert));
                });
            }
            if alerts.is_empty() {
                continue;
            }
            alerts.sort_by_key(|(place, alert)| (*place, alert.scenario));
            self.alerts += alerts.len() as u64;
            alerts.drain(..).for_each(|(place, one)| alert(place, one));
        }
    }

    /// Counts one hit and tells of each scenario that it touched.
    fn count_with(
        &mut self,
        hit: &Hit,
        tell: &mut impl FnMut(&Slot, &[u32], When, Change),
    ) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.hits += 1;
        for (part, table) in &mut self.parts {
            if !hit.matched.meets(&part.filters) {
                continue;
            }
            let Some(group) = Group::of(part.group_by, hit) else { continue };
            let sought = table.aim(group.key());
            part.step(table, hit, &sought, tell, &mut |alert| alerts.push(alert));
        }
        if alerts.len() > 1 {
            alerts.sort_by_key(|alert| alert.scenario);
        }
        self.alerts += alerts.len() as u64;
        alerts
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let mut stats =
            EngineStats { hits: self.hits, alerts: self.alerts, ..EngineStats::default() };
        for (_, table) in &self.parts {
            stats.tracked += table.len() as u64;
            stats.bytes += table.bytes() as u64;
            stats.evicted += table.evicted();
            stats.reset += table.resets();
        }
        stats
    }

    /// Its state, for a checkpoint. Only an engine with the same scenarios
    /// takes it back.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = layout::fingerprint(&self.scenarios).to_le_bytes().to_vec();
        for (_, table) in &self.parts {
            table.save(&mut bytes);
        }
        bytes
    }

    /// Takes a saved state back. `false` where it is of other scenarios or
    /// damaged; then nothing has changed.
    pub fn restore(&mut self, bytes: &[u8]) -> bool {
        let Some((mark, mut rest)) = bytes.split_first_chunk::<8>() else { return false };
        if u64::from_le_bytes(*mark) != layout::fingerprint(&self.scenarios) {
            return false;
        }
        let mut tables = Vec::with_capacity(self.parts.len());
        for (_, table) in &self.parts {
            match table.restored(&mut rest) {
                Some(table) => tables.push(table),
                None => return false,
            }
        }
        if !rest.is_empty() {
            return false;
        }
        for ((_, table), restored) in self.parts.iter_mut().zip(tables) {
            *table = restored;
        }
        true
    }
}

impl Part {
    /// Counts those of the hits that it is meant for, in their order. While some are
    /// counted, the entries of the next ones come from memory, and of those after
    /// them the places in the index: nobody waits.
    #[inline]
    fn count_all(&self, table: &mut Table, hits: &[Hit], alert: &mut impl FnMut(usize, Alert)) {
        let mut wanted = hits.iter().enumerate().filter_map(|(place, hit)| {
            let is_meant = hit.matched.meets(&self.filters);
            Some((place, is_meant.then(|| Group::of(self.group_by, hit))??.key()))
        });
        let [first, second, third] = &mut [Steps::default(); 3];
        let (mut aimed, mut sought, mut counted) = (first, second, third);
        loop {
            aimed.used = 0;
            for (one, (place, key)) in aimed.all.iter_mut().zip(wanted.by_ref()) {
                *one = (place, table.aim(key));
                aimed.used += 1;
            }
            sought.used().iter_mut().for_each(|(_, sought)| table.seek(sought));
            for (place, sought) in counted.used() {
                let Some(hit) = hits.get(*place) else { continue };
                self.step(table, hit, sought, &mut |_, _, _, _| {}, &mut |one| {
                    alert(*place, one);
                });
            }
            if aimed.used + sought.used == 0 {
                return;
            }
            (aimed, sought, counted) = (counted, aimed, sought);
        }
    }

    /// Counts a hit in the entry of its group.
    #[inline]
    fn step(
        &self,
        table: &mut Table,
        hit: &Hit,
        sought: &Sought,
        tell: &mut impl FnMut(&Slot, &[u32], When, Change),
        alert: &mut impl FnMut(Alert),
    ) {
        let is_meant = |slot: &&Slot| hit.matched.has(slot.scenario) || hit.matched.has(slot.then);
        let (words, at) = table.entry(sought, hit.at);
        for slot in self.slots.iter().filter(is_meant) {
            let Some(words) = words.get_mut(slot.from..slot.to) else { continue };
            let change = slot.step(words, hit, at);
            tell(slot, words, at, change);
            if let Change::Alert(count) = change
                && let Some(group) = Group::of(self.group_by, hit)
            {
                alert(Alert {
                    scenario: slot.scenario,
                    at: hit.at,
                    group,
                    source: hit.source,
                    count,
                });
            }
        }
    }
}

/// Matches and counts.
#[derive(Clone, Debug)]
pub struct Engine {
    matcher: Arc<Matcher>,
    counter: Counter,
}

impl Engine {
    /// An engine that has seen nothing.
    ///
    /// # Errors
    /// [`EngineError`]: two scenarios have the same name, or there are too many.
    pub fn new(scenarios: Vec<Scenario>, options: EngineOptions) -> Result<Self, EngineError> {
        if scenarios.len() > MAX_SCENARIOS {
            return Err(EngineError::TooMany(scenarios.len()));
        }
        let is_sequence = |one: &&Scenario| matches!(one.rule, Rule::Sequence { .. });
        let sequences = scenarios.iter().filter(is_sequence).count();
        if sequences > MAX_SEQUENCES {
            return Err(EngineError::TooManySequences(sequences));
        }
        for (index, scenario) in scenarios.iter().enumerate() {
            if scenarios.iter().take(index).any(|other| other.name == scenario.name) {
                return Err(EngineError::Twice(scenario.name.to_string()));
            }
        }
        let scenarios: Arc<[Scenario]> = scenarios.into();
        let counter = Counter::new(Arc::clone(&scenarios), options);
        Ok(Self { matcher: Arc::new(Matcher::new(scenarios)), counter })
    }

    /// Looks at one sighting.
    #[inline]
    pub fn see(&mut self, sighting: &Sighting<'_>) -> Vec<Alert> {
        match self.matcher.look(sighting) {
            Some(hit) => self.counter.count(&hit),
            None => Vec::new(),
        }
    }

    /// Looks at one sighting and says what each scenario makes of it.
    pub fn explain(&mut self, sighting: &Sighting<'_>) -> (Vec<Trace>, Vec<Alert>) {
        trace::explain(&self.matcher, &mut self.counter, sighting)
    }

    /// What is to be counted of a sighting.
    #[inline]
    #[must_use]
    pub fn look(&self, sighting: &Sighting<'_>) -> Option<Hit> {
        self.matcher.look(sighting)
    }

    /// What matches, for threads of their own.
    #[must_use]
    pub fn matcher(&self) -> Arc<Matcher> {
        Arc::clone(&self.matcher)
    }

    /// What counts.
    pub fn counter(&mut self) -> &mut Counter {
        &mut self.counter
    }

    /// Where a hit counts for a scenario that weighs who was banned before: how
    /// many make an alert there.
    pub(crate) fn weigher(&self, hit: &Hit) -> Option<u32> {
        let counts = hit.matched.within(&self.matcher.weighs_known);
        let scenario = self.scenarios().get(counts.first()?)?;
        match scenario.rule {
            Rule::Rate { count, weighs_known: true, .. } => Some(count),
            _ => None,
        }
    }

    /// The scenarios.
    #[must_use]
    pub fn scenarios(&self) -> &[Scenario] {
        self.matcher.scenarios()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.counter.stats()
    }
}

#[cfg(test)]
mod tests;
