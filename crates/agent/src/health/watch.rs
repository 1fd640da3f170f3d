//! One value over time: when it is in trouble and when it is well again.

use palisade_event::{EventId, Timestamp};

use super::config::Threshold;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Warning,
    Alert,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Alert => "alert",
        }
    }
}

/// What is to be told.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The level now; none: it is well again.
    pub(super) level: Option<Level>,
    /// The worst level of this trouble.
    pub(super) worst: Level,
    /// When the trouble began.
    pub(super) since: Timestamp,
    /// The id of this trouble, in all its events.
    pub(super) alert: String,
}

/// A trouble that was told.
#[derive(Clone, Debug)]
struct Trouble {
    level: Level,
    worst: Level,
    since: Timestamp,
    alert: String,
}

/// A value.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    trouble: Option<Trouble>,
    /// Another level than the one told, and since when (steady and wall clock).
    pending: Option<(Option<Level>, u64, Timestamp)>,
}

impl Watch {
    /// Sees a value.
    pub(super) fn see(
        &mut self,
        threshold: &Threshold,
        value: f64,
        steady_ms: u64,
        now: Timestamp,
    ) -> Option<Change> {
        let told = self.trouble.as_ref().map(|trouble| trouble.level);
        let level = threshold.level(value, told);
        if level == told {
            self.pending = None;
            return None;
        }
        let (since_ms, since) = match self.pending {
            // Of rising values the time over the lower level counts for the upper too.
            Some((pending, ms, at)) if pending == level || pending.is_some() && level.is_some() => {
                (ms, at)
            }
            _ => (steady_ms, now),
        };
        self.pending = Some((level, since_ms, since));
        let hold_ms = threshold.hold_secs.saturating_mul(1000);
        if steady_ms.saturating_sub(since_ms) < hold_ms {
            return None;
        }
        self.pending = None;
        match (level, self.trouble.take()) {
            (None, Some(trouble)) => Some(trouble.over()),
            (None, None) => None,
            (Some(level), before) => {
                let trouble = match before {
                    Some(before) => Trouble { level, worst: before.worst.max(level), ..before },
                    None => Trouble {
                        level,
                        worst: level,
                        since,
                        alert: EventId::new(now, rand::random()).to_string(),
                    },
                };
                let change = Change {
                    level: Some(level),
                    worst: trouble.worst,
                    since: trouble.since,
                    alert: trouble.alert.clone(),
                };
                self.trouble = Some(trouble);
                Some(change)
            }
        }
    }

    /// Whether nothing is to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        self.trouble.is_none() && self.pending.is_none()
    }

    /// The end of what is watched.
    pub(super) fn end(self) -> Option<Change> {
        self.trouble.map(Trouble::over)
    }
}

impl Trouble {
    fn over(self) -> Change {
        Change { level: None, worst: self.worst, since: self.since, alert: self.alert }
    }
}
