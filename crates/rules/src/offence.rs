//! What is remembered of whom decisions were about, in few bytes each.

use std::collections::HashMap;
use std::fmt;

use palisade_event::{CompactTarget, CompactTime, DecisionTarget, Timestamp};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is remembered of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    pub(crate) bans: u32,
    /// Seconds of the last ban before escalation: what its scenario asked for.
    pub(crate) base_secs: u64,
    pub(crate) until: Timestamp,
    /// Whether that was a ban, and not another word.
    pub(crate) ban: bool,
    /// When it was decided.
    pub(crate) from: Timestamp,
    /// Whether it was heard of from the hub, and not decided here.
    pub(crate) heard: bool,
}

/// The same in 21 bytes; a number that is too large becomes the largest.
#[derive(Clone, Copy)]
struct Compact {
    until: CompactTime,
    from: CompactTime,
    base_secs: [u8; 4],
    bans: [u8; 4],
    flags: u8,
}

const BAN: u8 = 1;
const HEARD: u8 = 2;

impl From<Offence> for Compact {
    fn from(offence: Offence) -> Self {
        Self {
            until: offence.until.into(),
            from: offence.from.into(),
            base_secs: u32::try_from(offence.base_secs).unwrap_or(u32::MAX).to_ne_bytes(),
            bans: offence.bans.to_ne_bytes(),
            flags: u8::from(offence.ban) * BAN + u8::from(offence.heard) * HEARD,
        }
    }
}

impl From<Compact> for Offence {
    fn from(compact: Compact) -> Self {
        Self {
            bans: u32::from_ne_bytes(compact.bans),
            base_secs: u32::from_ne_bytes(compact.base_secs).into(),
            until: compact.until.into(),
            ban: compact.flags & BAN != 0,
            from: compact.from.into(),
            heard: compact.flags & HEARD != 0,
        }
    }
}

/// What is remembered of a target, for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// Who.
    target: DecisionTarget,
    /// How many decisions there were.
    bans: u32,
    /// Seconds that the last one lasted before it was made longer for repetition.
    base_secs: u64,
    /// When the last one ends.
    until: Timestamp,
    /// Whether the last decision was a ban.
    #[serde(default = "yes")]
    ban: bool,
    /// When it was decided.
    #[serde(default = "long_ago")]
    from: Timestamp,
    /// Whether it was heard of from the hub.
    #[serde(default)]
    heard: bool,
}

fn yes() -> bool {
    true
}

fn long_ago() -> Timestamp {
    Timestamp::from_millis(0)
}

impl From<(DecisionTarget, Offence)> for Remembered {
    fn from((target, offence): (DecisionTarget, Offence)) -> Self {
        let Offence { bans, base_secs, until, ban, from, heard } = offence;
        Self { target, bans, base_secs, until, ban, from, heard }
    }
}

impl From<Remembered> for (DecisionTarget, Offence) {
    fn from(remembered: Remembered) -> Self {
        let Remembered { target, bans, base_secs, until, ban, from, heard } = remembered;
        (target, Offence { bans, base_secs, until, ban, from, heard })
    }
}

/// By target.
#[derive(Clone, Default)]
pub(crate) struct Offences(HashMap<CompactTarget, Compact>);

impl Offences {
    pub(crate) fn get(&self, target: &DecisionTarget) -> Option<Offence> {
        self.0.get(&(*target).into()).map(|compact| (*compact).into())
    }

    pub(crate) fn insert(&mut self, target: DecisionTarget, offence: Offence) {
        self.0.insert(target.into(), offence.into());
    }

    pub(crate) fn remove(&mut self, target: &DecisionTarget) {
        self.0.remove(&(*target).into());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DecisionTarget, Offence)> + '_ {
        self.0.iter().map(|(target, compact)| ((*target).into(), (*compact).into()))
    }

    /// Changes all.
    pub(crate) fn change(&mut self, change: impl Fn(&mut Offence)) {
        for compact in self.0.values_mut() {
            let mut offence = Offence::from(*compact);
            change(&mut offence);
            *compact = offence.into();
        }
    }
}

impl fmt::Debug for Offences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// What a policy remembers, for a checkpoint: written and read as a list of
/// objects of which only one is in memory.
#[derive(Clone, Debug, Default)]
pub struct OffenceList(pub(crate) Offences);

impl OffenceList {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for OffenceList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Remembered::from))
    }
}

impl<'de> Deserialize<'de> for OffenceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = OffenceList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of what is remembered")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OffenceList, A::Error> {
                let mut all = Offences::default();
                while let Some(remembered) = seq.next_element::<Remembered>()? {
                    let (target, offence) = remembered.into();
                    all.insert(target, offence);
                }
                Ok(OffenceList(all))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offence_comes_back_as_it_was_and_is_small() {
        let offence = Offence {
            bans: 3,
            base_secs: 315_360_000,
            until: Timestamp::from_millis(1_795_000_000_123),
            ban: true,
            from: Timestamp::from_millis(1_794_000_000_456),
            heard: true,
        };
        let mut all = Offences::default();
        let target = "2001:db8::/32".parse().unwrap();
        all.insert(target, offence);
        assert_eq!(all.get(&target), Some(offence));
        assert_eq!(all.iter().collect::<Vec<_>>(), [(target, offence)]);
        let none = Offence { bans: 0, ban: false, heard: false, ..offence };
        assert_eq!(Offence::from(Compact::from(none)), none);
        assert_eq!(size_of::<(CompactTarget, Compact)>(), 38);
    }
}
