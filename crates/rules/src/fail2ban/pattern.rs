//! A compiled expression with its groups.

use std::ops::Range;
use std::sync::Arc;

use super::python_regex::{Anchors, translate};

/// Steps one search of the backtracking engine may take. A search that needs
/// more finds nothing and is counted.
const MAX_STEPS: usize = 300_000;
/// Bytes a compiled expression may take.
const MAX_COMPILED_BYTES: usize = 16 * 1024 * 1024;
/// Longest expression, in bytes, after all substitutions.
const MAX_PATTERN_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
enum Engine {
    /// Linear time. Groups in `equal` must hold the same text; where they do
    /// not, `exact` decides.
    Linear {
        regex: regex::Regex,
        groups: Vec<usize>,
        equal: Vec<(usize, usize)>,
        exact: Option<fancy_regex::Regex>,
    },
    /// Look-around, back-references or conditions. `sieve` finds at least the
    /// texts that `regex` finds.
    Backtracking { sieve: Option<regex::Regex>, regex: fancy_regex::Regex },
}

/// An expression in Python's syntax, ready to search.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    engine: Engine,
    /// Named groups in the order of their numbers.
    names: Vec<(Arc<str>, usize)>,
    relaxed: String,
    loose: String,
}

/// The groups of a match; number 0 is the whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    spans: Vec<Option<Range<usize>>>,
}

impl Groups {
    pub(crate) fn span(&self, number: usize) -> Option<Range<usize>> {
        self.spans.get(number).cloned().flatten()
    }

    pub(crate) fn text<'t>(&self, number: usize, text: &'t str) -> Option<&'t str> {
        text.get(self.span(number)?)
    }
}

/// What a search came to.
#[derive(Clone, Debug)]
pub(crate) enum Search {
    Found(Groups),
    Nothing,
    /// The step limit was reached.
    GaveUp,
}

impl Pattern {
    /// # Errors
    /// What is wrong with the expression, for a person.
    pub(crate) fn new(source: &str, anchors: Anchors) -> Result<Self, String> {
        if source.len() > MAX_PATTERN_BYTES {
            return Err(format!("the expression has more than {MAX_PATTERN_BYTES} bytes"));
        }
        let t = translate(source, anchors)?;
        let mut names: Vec<(Arc<str>, usize)> =
            t.names.iter().map(|(name, number)| (name.as_str().into(), *number)).collect();
        names.sort_by_key(|(_, number)| *number);
        let linear = || {
            regex::RegexBuilder::new(&t.relaxed)
                .size_limit(MAX_COMPILED_BYTES)
                .build()
                .map_err(|error| last_line(&error.to_string()))
        };
        let fancy = || {
            fancy_regex::RegexBuilder::new(&t.exact)
                .backtrack_limit(MAX_STEPS)
                .delegate_size_limit(MAX_COMPILED_BYTES)
                .build()
                .map_err(|error| last_line(&error.to_string()))
        };
        let engine = if t.linear {
            let exact = if t.equal.is_empty() { None } else { Some(fancy()?) };
            Engine::Linear { regex: linear()?, groups: t.relaxed_groups, equal: t.equal, exact }
        } else {
            Engine::Backtracking { sieve: linear().ok(), regex: fancy()? }
        };
        Ok(Self { engine, names, relaxed: t.relaxed, loose: t.loose })
    }

    /// Named groups with their numbers, in the order they are written.
    pub(crate) fn names(&self) -> &[(Arc<str>, usize)] {
        &self.names
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(own, _)| **own == *name).map(|(_, number)| *number)
    }

    /// An expression for the linear engine that finds at least what this one
    /// finds.
    pub(crate) fn relaxed(&self) -> &str {
        &self.relaxed
    }

    /// Like [`Self::relaxed`], for a text of which this one sees a part.
    pub(crate) fn loose(&self) -> &str {
        &self.loose
    }

    /// Whether the backtracking engine is needed.
    pub(crate) fn backtracks(&self) -> bool {
        matches!(self.engine, Engine::Backtracking { .. })
    }

    /// The first match in `text` at or after byte `from`; what stands before
    /// `from` is seen by `^` and `\b`.
    pub(crate) fn search(&self, text: &str, from: usize) -> Search {
        match &self.engine {
            Engine::Linear { regex, groups, equal, exact } => {
                let mut slots = regex.capture_locations();
                if regex.captures_read_at(&mut slots, text, from).is_none() {
                    return Search::Nothing;
                }
                let same = |number: usize| slots.get(number).and_then(|(a, b)| text.get(a..b));
                if !equal.iter().all(|&(a, b)| same(a) == same(b)) {
                    return exact
                        .as_ref()
                        .map_or(Search::Nothing, |exact| fancy(exact, text, from));
                }
                let spans =
                    groups.iter().map(|&number| slots.get(number).map(|(a, b)| a..b)).collect();
                Search::Found(Groups { spans })
            }
            Engine::Backtracking { sieve, regex } => {
                if sieve.as_ref().is_some_and(|sieve| !sieve.is_match_at(text, from)) {
                    return Search::Nothing;
                }
                fancy(regex, text, from)
            }
        }
    }
}

fn fancy(regex: &fancy_regex::Regex, text: &str, from: usize) -> Search {
    match regex.captures_from_pos(text, from) {
        Ok(Some(found)) => {
            let spans = (0..found.len()).map(|i| found.get(i).map(|m| m.range())).collect();
            Search::Found(Groups { spans })
        }
        Ok(None) => Search::Nothing,
        Err(_) => Search::GaveUp,
    }
}

/// The errors of `regex` draw the expression above their reason.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim().to_owned()
}
