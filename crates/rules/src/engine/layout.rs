//! Where the state of each scenario lies.
//!
//! Scenarios that look at the same service and count by the same sort of group
//! share a table, so that a failed login at sshd costs one look-up however many
//! scenarios count it. Each has a few words of 32 bits in the entry of a group.

use crate::engine::hit::hash;
use crate::scenario::{GroupBy, Rule, Scenario, ScenarioSet, kind_bit, with_places};

use palisade_event::EventKind;

/// The words of one scenario in an entry, and how they are used.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) scenario: usize,
    /// The place of its second filter, where it has one; else the same.
    pub(super) then: usize,
    /// Its words: from the first, to the one after the last.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) rule: SlotRule,
    /// Seconds of silence after an alert.
    pub(super) quiet_secs: u32,
}

/// A counting rule without what matching alone needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum SlotRule {
    Leaky { capacity: u32, leak_millis: i64 },
    Window { count: u32, within_secs: u32 },
    Forever { count: u32 },
    Distinct { of: crate::scenario::DistinctValue, count: u32, within_secs: u32 },
    Rate { count: u32, within_millis: i64 },
    Trigger,
    Sequence { count: u32, within_secs: u32 },
}

impl SlotRule {
    fn of(rule: &Rule) -> Self {
        match rule {
            Rule::LeakyBucket { capacity, leak } => {
                Self::Leaky { capacity: *capacity, leak_millis: leak.as_millis() }
            }
            Rule::SlidingWindow { count, within: Some(within) } => {
                Self::Window { count: *count, within_secs: within.as_secs() }
            }
            Rule::SlidingWindow { count, within: None } => Self::Forever { count: *count },
            Rule::Distinct { of, count, within } => {
                Self::Distinct { of: *of, count: *count, within_secs: within.as_secs() }
            }
            Rule::Rate { count, within, .. } => {
                Self::Rate { count: *count, within_millis: within.as_millis() }
            }
            Rule::Trigger => Self::Trigger,
            Rule::Sequence { count, within, .. } => {
                Self::Sequence { count: *count, within_secs: within.as_secs() }
            }
        }
    }

    /// Words that it needs; the first is always when its silence ends.
    fn words(self) -> usize {
        1 + match self {
            Self::Leaky { .. } => 2,
            Self::Window { count, .. } => 1 + count.saturating_sub(1) as usize,
            Self::Forever { .. } => 1,
            Self::Distinct { count, .. } => 1 + 2 * count.saturating_sub(1) as usize,
            Self::Rate { .. } => 5,
            Self::Trigger => 0,
            Self::Sequence { count, .. } => 1 + count as usize,
        }
    }

    /// Seconds after which nothing of it is left; `None` where that never is.
    fn life_secs(self) -> Option<u32> {
        match self {
            Self::Leaky { capacity, leak_millis } => {
                let millis = leak_millis.saturating_mul(i64::from(capacity) + 1);
                Some(u32::try_from(millis / 1000 + 1).unwrap_or(u32::MAX))
            }
            Self::Window { within_secs, .. }
            | Self::Distinct { within_secs, .. }
            | Self::Sequence { within_secs, .. } => Some(within_secs.saturating_add(1)),
            Self::Forever { .. } => None,
            Self::Rate { within_millis, .. } => {
                Some(u32::try_from(within_millis / 1000 + 1).unwrap_or(u32::MAX))
            }
            Self::Trigger => Some(1),
        }
    }
}

/// Scenarios that share a table.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) group_by: GroupBy,
    /// The filters of its scenarios.
    pub(super) filters: ScenarioSet,
    pub(super) slots: Vec<Slot>,
    /// Words of an entry.
    pub(super) words: usize,
    /// Seconds after which an entry holds nothing; `None`: never.
    pub(super) life_secs: Option<u32>,
}

/// Spreads scenarios over tables.
pub(super) fn plan(scenarios: &[Scenario]) -> Vec<Part> {
    let mut parts: Vec<(Vec<u8>, Part)> = Vec::new();
    for (place, second, scenario) in with_places(scenarios) {
        let key = scenario.filter.service().unwrap_or(b"").to_vec();
        // Decisions are counted by their own times, which in an old log come
        // after everything else.
        let key = match scenario.filter.kinds() == kind_bit(EventKind::DecisionMade) {
            true => b"\0decisions".to_vec(),
            false => key,
        };
        let found = parts
            .iter()
            .position(|(known, part)| *known == key && part.group_by == scenario.group_by);
        let index = found.unwrap_or_else(|| {
            let part = Part {
                group_by: scenario.group_by,
                filters: ScenarioSet::default(),
                slots: Vec::new(),
                words: 0,
                life_secs: Some(0),
            };
            parts.push((key, part));
            parts.len() - 1
        });
        let Some((_, part)) = parts.get_mut(index) else { continue };
        let rule = SlotRule::of(&scenario.rule);
        let quiet_secs = scenario.blackhole.map_or(0, crate::scenario::Span::as_secs);
        let then = second.unwrap_or(place);
        let (from, to) = (part.words, part.words + rule.words());
        part.slots.push(Slot { scenario: place, then, from, to, rule, quiet_secs });
        part.words = to;
        part.filters.insert(place);
        part.filters.insert(then);
        part.life_secs = part
            .life_secs
            .zip(rule.life_secs())
            .map(|(life, own)| life.max(own).max(quiet_secs.saturating_add(1)));
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// A number that differs where saved state of other scenarios would be misread.
pub(super) fn fingerprint(scenarios: &[Scenario]) -> u64 {
    let mut text = String::from("state 1;");
    for scenario in scenarios {
        text.push_str(&format!(
            "{} {:?} {:?} {:?} {};",
            scenario.name,
            SlotRule::of(&scenario.rule),
            scenario.group_by,
            scenario.blackhole,
            scenario.filter.text()
        ));
    }
    hash(text.as_bytes())
}
