//! What is known of a failure: the texts of its groups, its users, its lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Lines kept with a failure; older ones go first. fail2ban keeps as many as
/// the jail's `maxmatches`, which is rarely more than ten.
const MAX_MATCHES: usize = 200;
/// Users kept with a session.
const MAX_USERS: usize = 100;

/// A line in three parts: before its time, the time, behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitLine {
    /// Before the time.
    pub before: String,
    /// The text of the time.
    pub time: String,
    /// Behind the time.
    pub after: String,
}

impl SplitLine {
    /// The line as it was.
    #[must_use]
    pub fn whole(&self) -> String {
        [self.before.as_str(), &self.time, &self.after].concat()
    }

    /// The line without its time: what the expressions see.
    #[must_use]
    pub fn timeless(&self) -> String {
        [self.before.as_str(), &self.after].concat()
    }
}

/// The text of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The group took no part in the match.
    Unset,
    /// The text it matched.
    Text(String),
    /// The texts of `<F-TUPLE_X>` groups in order.
    Tuple(Vec<Option<String>>),
}

impl Value {
    /// The text of a plain group.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unset | Self::Tuple(_) => None,
        }
    }
}

/// What is known of one failure or of a session so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub(super) groups: BTreeMap<Arc<str>, Value>,
    pub(super) users: BTreeSet<String>,
    pub(super) matches: Vec<Arc<SplitLine>>,
    pub(super) nofail_matches: Vec<Arc<SplitLine>>,
    /// A failure was seen, but not yet whose.
    pub(super) pending: bool,
}

impl Failure {
    /// The text of a group; `None` where it is unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.groups.get(name).and_then(Value::text)
    }

    /// The groups by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.groups.iter().map(|(name, value)| (&**name, value))
    }

    /// All users a session named, in order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str)
    }

    /// The lines that made this failure, oldest first.
    #[must_use]
    pub fn matches(&self) -> &[Arc<SplitLine>] {
        &self.matches
    }

    /// Whether this only says more about a session and is no failure itself.
    #[must_use]
    pub fn is_context(&self) -> bool {
        self.has("nofail")
    }

    /// Whether a group has a text that is not empty.
    pub(super) fn has(&self, name: &str) -> bool {
        match self.groups.get(name) {
            Some(Value::Text(text)) => !text.is_empty(),
            Some(Value::Tuple(_)) => true,
            Some(Value::Unset) | None => false,
        }
    }

    /// Takes a group out and says whether it had a text.
    pub(super) fn take(&mut self, name: &str) -> bool {
        let had = self.has(name);
        self.groups.remove(name);
        had
    }

    pub(super) fn add_user(&mut self, user: &str) {
        if self.users.len() < MAX_USERS {
            self.users.insert(user.to_owned());
        }
    }

    pub(super) fn add_matches(&mut self, lines: &[Arc<SplitLine>]) {
        extend(&mut self.matches, lines);
    }

    pub(super) fn add_nofail_matches(&mut self, lines: &[Arc<SplitLine>]) {
        extend(&mut self.nofail_matches, lines);
    }
}

fn extend(list: &mut Vec<Arc<SplitLine>>, lines: &[Arc<SplitLine>]) {
    list.extend(lines.iter().cloned());
    let over = list.len().saturating_sub(MAX_MATCHES);
    list.drain(..over);
}
