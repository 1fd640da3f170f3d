//! Which of a filter's expressions are worth trying on a line.
//!
//! Most lines of a log are no failure. One pass of a linear-time automaton over
//! the relaxed forms of all expressions says so, and says for the others which
//! few expressions can match at all. It never hides a match.

use super::pattern::Pattern;

/// Below so many expressions trying them one by one is as fast.
const MIN_EXPRESSIONS: usize = 3;
/// Bytes the automaton may take, and its cache at run time.
const MAX_BYTES: usize = 32 * 1024 * 1024;
const MAX_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// The automata of one filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Sieve {
    /// Before prefregex has cut its part out: can any expression match there?
    whole: Option<regex::Regex>,
    /// Which expressions can match the text as it is.
    each: Option<regex::RegexSet>,
}

impl Sieve {
    /// For expressions in order; `cut` says that they see a part of the line.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern> + Clone, cut: Cut) -> Self {
        let count = patterns.clone().count();
        if count == 0 {
            return Self::default();
        }
        let whole = (cut == Cut::ByPrefregex).then(|| {
            let all: Vec<String> =
                patterns.clone().map(|pattern| format!("(?:{})", pattern.loose())).collect();
            regex::RegexBuilder::new(&all.join("|"))
                .size_limit(MAX_BYTES)
                .dfa_size_limit(MAX_CACHE_BYTES)
                .build()
        });
        let each = (count >= MIN_EXPRESSIONS).then(|| {
            regex::RegexSetBuilder::new(patterns.map(Pattern::relaxed))
                .size_limit(MAX_BYTES)
                .dfa_size_limit(MAX_CACHE_BYTES)
                .build()
        });
        // Too big for the limits: every expression is tried then.
        Self { whole: whole.and_then(Result::ok), each: each.and_then(Result::ok) }
    }

    /// Whether an expression can match a part of this line.
    pub(super) fn may_match(&self, line: &str) -> bool {
        self.whole.as_ref().is_none_or(|whole| whole.is_match(line))
    }

    /// The expressions that can match this text; `None` means all.
    pub(super) fn candidates(&self, text: &str) -> Option<regex::SetMatches> {
        self.each.as_ref().map(|each| each.matches(text))
    }
}

/// What the expressions see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The line.
    No,
    /// What prefregex leaves of it.
    ByPrefregex,
}
