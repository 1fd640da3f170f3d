//! What each scenario made of one sighting, for people who ask why.

use super::hit::Matcher;
use super::state::Change;
use super::{Alert, Counter};
use crate::Sighting;
use crate::scenario::{ScenarioSet, with_places};

/// What one scenario made of a sighting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Its filter does not match; the first condition that is not met.
    Unmatched {
        /// The place of the scenario.
        scenario: usize,
        /// The condition, as text.
        unmet: String,
    },
    /// It matches, but there is nothing to count it by.
    NoGroup {
        /// The place of the scenario.
        scenario: usize,
    },
    /// It matches, but does not have the value that is told apart.
    NoValue {
        /// The place of the scenario.
        scenario: usize,
    },
    /// It was counted.
    Counted {
        /// The place of the scenario.
        scenario: usize,
        /// So many now.
        count: u32,
        /// So many make an alert.
        of: u32,
    },
    /// It matches, and the last alert was a short time ago.
    Silent {
        /// The place of the scenario.
        scenario: usize,
    },
    /// It made an alert.
    Triggered {
        /// The place of the scenario.
        scenario: usize,
        /// What made it.
        count: u32,
    },
}

pub(super) fn explain(
    matcher: &Matcher,
    counter: &mut Counter,
    sighting: &Sighting<'_>,
) -> (Vec<Trace>, Vec<Alert>) {
    let mut traces: Vec<Option<Trace>> = vec![None; matcher.scenarios().len()];
    let mut alerts = Vec::new();
    let hit = matcher.look(sighting);
    if let Some(hit) = &hit {
        alerts = counter.count_with(hit, &mut |slot, words, at, change| {
            let scenario = slot.scenario;
            if let Some(trace) = traces.get_mut(scenario) {
                *trace = Some(match change {
                    Change::Counted => {
                        let (count, of) = slot.level(words, at);
                        Trace::Counted { scenario, count, of }
                    }
                    Change::Silent => Trace::Silent { scenario },
                    Change::Lacks => Trace::NoValue { scenario },
                    Change::Alert(count) => Trace::Triggered { scenario, count },
                });
            }
        });
    }
    let matched = hit.map_or(ScenarioSet::default(), |hit| hit.matched);
    let traces = traces.into_iter().zip(with_places(matcher.scenarios()));
    let traces = traces.map(|(trace, (scenario, then, rules))| {
        trace.unwrap_or_else(|| {
            if matched.has(scenario) || then.is_some_and(|then| matched.has(then)) {
                return Trace::NoGroup { scenario };
            }
            let unmet = rules.filter.unmet(sighting).unwrap_or_default().to_owned();
            Trace::Unmatched { scenario, unmet }
        })
    });
    (traces.collect(), alerts)
}
