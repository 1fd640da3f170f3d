//! One expression of a filter: the pattern, and what its named groups mean.

use std::sync::Arc;

use super::super::failure::{Failure, Value};
use super::super::host::{UseDns, expand_tags, option_name};
use super::super::pattern::{Groups, Pattern};
use super::super::python_regex::Anchors;

/// An expression with what its groups mean.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) pattern: Pattern,
    /// `alt_user_1` may give `user`: group names in order.
    alternatives: Vec<(Arc<str>, Arc<str>)>,
    tuples: Vec<(Arc<str>, Arc<str>)>,
    pub(super) skips: Vec<usize>,
}

impl Expression {
    pub(super) fn new(source: &str, use_dns: UseDns, anchors: Anchors) -> Result<Self, String> {
        let source = expand_tags(source, use_dns);
        if source.trim_start().is_empty() {
            return Err("the expression is empty".into());
        }
        let pattern = Pattern::new(&source, anchors)?;
        let mut alternatives = Vec::new();
        let mut tuples = Vec::new();
        let mut skips = Vec::new();
        for (name, number) in pattern.names() {
            if let Some(rest) = name.strip_prefix("alt_") {
                alternatives.push((Arc::clone(name), without_number(rest)));
            } else if let Some(rest) = name.strip_prefix("tuple_") {
                tuples.push((Arc::clone(name), without_number(rest)));
            } else if name.starts_with("skiplines") {
                skips.push(*number);
            }
        }
        alternatives.sort();
        tuples.sort();
        Ok(Self { source, pattern, alternatives, tuples, skips })
    }

    /// Whether it says who failed, or of which session the line is.
    pub(super) fn identifies(&self) -> bool {
        ["fid", "ip4", "ip6", "dns", "mlfid"].iter().any(|n| self.pattern.number(n).is_some())
    }

    pub(super) fn groups(&self, found: &Groups, text: &str) -> Failure {
        let mut failure = Failure::default();
        for (name, number) in self.pattern.names() {
            let value = found.text(*number, text);
            let value = value.map_or(Value::Unset, |text| Value::Text(text.to_owned()));
            failure.groups.insert(Arc::clone(name), value);
        }
        for (from, to) in &self.alternatives {
            if failure.has(from)
                && !failure.has(to)
                && let Some(value) = failure.groups.get(from).cloned()
            {
                failure.groups.insert(Arc::clone(to), value);
            }
        }
        for (from, to) in &self.tuples {
            let added = failure.get(from).map(str::to_owned);
            let mut parts = match failure.groups.remove(to) {
                Some(Value::Tuple(parts)) => parts,
                Some(Value::Text(text)) => vec![Some(text)],
                Some(Value::Unset) | None => vec![None],
            };
            parts.push(added);
            failure.groups.insert(Arc::clone(to), Value::Tuple(parts));
        }
        failure
    }
}

/// `user_1` is `user`; `id` is `fid`.
fn without_number(name: &str) -> Arc<str> {
    let stem = match name.rsplit_once('_') {
        Some((stem, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            stem
        }
        _ => name,
    };
    option_name(stem).into()
}
