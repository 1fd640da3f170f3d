//! Sessions of several lines, held together by `<F-MLFID>`.
//!
//! A line that is no failure itself (`<F-NOFAIL>`) may say whose session it is;
//! a failure without an address waits for such a line. `<F-MLFFORGET>` ends a
//! session, `<F-MLFGAINED>` (a login) clears what is pending.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::failure::{Failure, SplitLine, Value};

/// Sessions remembered; the oldest goes first.
const MAX_SESSIONS: usize = 100;
/// Seconds a session is remembered after its first line.
const SESSION_SECS: f64 = 300.0;

#[derive(Clone, Debug)]
struct Entry {
    failure: Failure,
    until: f64,
}

/// The sessions of one filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    entries: HashMap<String, Entry>,
    order: VecDeque<String>,
}

/// A merged failure and whether its session goes on.
pub(super) struct Merged {
    pub(super) failure: Failure,
    pub(super) goes_on: bool,
}

impl Sessions {
    /// Puts what a line says together with what its session said before. When
    /// the session goes on, the caller gives the failure back with
    /// [`Sessions::keep`].
    pub(super) fn merge(
        &mut self,
        id: &str,
        mut new: Failure,
        lines: &[Arc<SplitLine>],
        now: f64,
    ) -> Merged {
        let gained = new.has("mlfgained");
        let mut context = gained;
        if gained {
            if !new.has("nofail")
                && let Some(text) = new.groups.get("mlfgained").cloned()
            {
                new.groups.insert("nofail".into(), text);
            }
        } else if new.has("nofail") {
            context = true;
        }
        let forget = new.take("mlfforget");
        let user = new.get("user").filter(|user| !user.is_empty()).map(str::to_owned);
        let known = self.take(id, now);
        let goes_on = !forget;
        let mut check_users = true;
        let mut failure = match known {
            Some(mut old) => {
                if let Some(user) = &user {
                    old.add_user(user);
                }
                let mut was_context = old.take("nofail");
                was_context |= old.take("mlfgained");
                if gained {
                    old.pending = false;
                }
                // Its lines were handed out with the failure before.
                if !was_context && !old.pending {
                    old.matches.clear();
                }
                for (name, value) in new.groups {
                    if value != Value::Unset {
                        old.groups.insert(name, value);
                    }
                }
                old
            }
            None => {
                if forget {
                    check_users = false;
                } else if let Some(user) = &user {
                    new.add_user(user);
                }
                new
            }
        };
        let mut still_gained = gained;
        // Pending failures or several users: this is no harmless session.
        if std::mem::take(&mut failure.pending) || (check_users && failure.users.len() > 1) {
            failure.groups.remove("nofail");
            failure.groups.remove("mlfgained");
            context = false;
            still_gained = false;
        }
        if !context {
            let mut merged = std::mem::take(&mut failure.nofail_matches);
            merged.append(&mut failure.matches);
            failure.matches = merged;
            if !still_gained {
                failure.add_matches(lines);
            }
        } else if !forget {
            failure.add_nofail_matches(lines);
        }
        Merged { failure, goes_on }
    }

    /// Remembers a session that goes on.
    pub(super) fn keep(&mut self, id: &str, failure: Failure, now: f64) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.failure = failure;
            return;
        }
        if self.entries.len() >= MAX_SESSIONS {
            while let Some(oldest) = self.order.pop_front() {
                let gone = self.entries.remove(&oldest);
                if gone.is_some_and(|gone| gone.until > now) && self.entries.len() < MAX_SESSIONS {
                    break;
                }
            }
        }
        self.order.push_back(id.to_owned());
        self.entries.insert(id.to_owned(), Entry { failure, until: now + SESSION_SECS });
    }

    /// Ends a session.
    pub(super) fn forget(&mut self, id: &str) {
        if self.entries.remove(id).is_some() {
            self.order.retain(|own| own != id);
        }
    }

    fn take(&mut self, id: &str, now: f64) -> Option<Failure> {
        let entry = self.entries.get_mut(id)?;
        if entry.until > now {
            return Some(std::mem::take(&mut entry.failure));
        }
        self.forget(id);
        None
    }
}
