//! Which of an engine's scenarios: a bit for the place of each, and one for the
//! second filter of each sequence.

use super::{MAX_SCENARIOS, MAX_SEQUENCES, Rule, Scenario};

/// Most filters of one engine.
const MAX_FILTERS: usize = MAX_SCENARIOS + MAX_SEQUENCES;
const WORDS: usize = MAX_FILTERS.div_ceil(u64::BITS as usize);

/// The scenarios with their places and, of sequences, the places of their second
/// filters: those follow all scenarios.
pub(crate) fn with_places(
    scenarios: &[Scenario],
) -> impl Iterator<Item = (usize, Option<usize>, &Scenario)> {
    let mut next = scenarios.len();
    scenarios.iter().enumerate().map(move |(place, scenario)| {
        let then = matches!(scenario.rule, Rule::Sequence { .. }).then(|| {
            next += 1;
            next - 1
        });
        (place, then, scenario)
    })
}

/// Some of the scenarios of an engine, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScenarioSet([u64; WORDS]);

impl ScenarioSet {
    /// The word and the bit of a place.
    #[inline]
    const fn split(place: usize) -> (usize, u64) {
        (place / u64::BITS as usize, 1 << (place % u64::BITS as usize))
    }

    /// Adds the scenario at a place; one that no engine can have is left out.
    #[inline]
    pub fn insert(&mut self, place: usize) {
        let (word, bit) = Self::split(place);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether the scenario at a place is one of them.
    #[inline]
    #[must_use]
    pub fn has(&self, place: usize) -> bool {
        let (word, bit) = Self::split(place);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// Whether any is in both.
    #[inline]
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | a & b) != 0
    }

    /// Those that are in either.
    #[inline]
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
        self
    }

    /// Those that are in both.
    pub(crate) fn within(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= b);
        self
    }

    /// The lowest place.
    pub(crate) fn first(&self) -> Option<usize> {
        let (word, bits) = self.0.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        Some(word * u64::BITS as usize + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_a_member_of_its_own() {
        let mut all = ScenarioSet::default();
        assert!(all.is_empty() && all.first().is_none());
        for place in (0..MAX_FILTERS).rev() {
            let mut one = ScenarioSet::default();
            one.insert(place);
            assert!(!one.is_empty() && !one.meets(&all) && !all.has(place));
            assert!((0..MAX_FILTERS).all(|other| one.has(other) == (other == place)));
            all.insert(place);
            assert_eq!((all.first(), one.first()), (Some(place), Some(place)));
            assert_eq!((all.with(&one), all.within(&one)), (all, one));
        }
        all.insert(MAX_FILTERS);
        assert!(!all.has(MAX_FILTERS));
    }
}
