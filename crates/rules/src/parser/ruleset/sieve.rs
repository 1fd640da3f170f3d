//! Which patterns of a parser a message could match: one pass that looks for the
//! texts which they need.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind};

use super::pattern::Pattern;

/// Texts of which a message must have one for its pattern to be tried.
#[derive(Debug)]
pub(super) struct Sieve {
    texts: Vec<Box<[u8]>>,
    /// By text: the patterns that need it, one bit each.
    wanted: Vec<u64>,
    /// Patterns that are always tried.
    always: u64,
    /// All patterns.
    all: u64,
    /// Made for the first message.
    search: OnceLock<Option<AhoCorasick>>,
}

impl Sieve {
    /// The texts of patterns, which are 64 at most.
    pub(super) fn new(patterns: &[Pattern]) -> Self {
        let mut texts: Vec<Box<[u8]>> = Vec::new();
        let mut wanted: Vec<u64> = Vec::new();
        let (mut always, mut all) = (0, 0);
        for (index, pattern) in patterns.iter().enumerate() {
            let bit = 1u64 << index;
            all |= bit;
            let Some(needle) = pattern.needle.as_deref() else {
                always |= bit;
                continue;
            };
            match texts.iter().position(|text| **text == *needle) {
                Some(place) => {
                    if let Some(bits) = wanted.get_mut(place) {
                        *bits |= bit;
                    }
                }
                None => {
                    texts.push(needle.into());
                    wanted.push(bit);
                }
            }
        }
        Self { texts, wanted, always, all, search: OnceLock::new() }
    }

    /// The patterns that are worth trying, one bit each.
    pub(super) fn candidates(&self, message: &[u8]) -> u64 {
        if self.texts.is_empty() {
            return self.always;
        }
        let search = self.search.get_or_init(|| {
            AhoCorasickBuilder::new().kind(Some(AhoCorasickKind::DFA)).build(&self.texts).ok()
        });
        // Texts that are too many for a search leave everything to be tried.
        let Some(search) = search else { return self.all };
        let mut candidates = self.always;
        for found in search.find_overlapping_iter(message) {
            candidates |= self.wanted.get(found.pattern().as_usize()).copied().unwrap_or(0);
        }
        candidates
    }
}
