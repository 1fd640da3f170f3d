//! Scenarios: what sightings of one attacker, taken together, mean.
//!
//! A scenario is a TOML file: a filter says which sightings count, a counting
//! rule when there are too many, `group_by` whose they are. `ruleset/scenarios`
//! has those that are shipped; a user's folder adds others, or replaces one by
//! its name. Counting is the [engine](crate::Engine)'s, what follows from an
//! alert the [policy](crate::Policy)'s.

mod field;
mod file;
mod filter;
mod given;
mod set;
mod shipped;
mod span;

use std::collections::BTreeMap;

use palisade_event::{DecisionType, ScenarioName};

use crate::fail2ban::BanTime;

pub use field::{SightingField, sighting_fields_markdown};
pub use file::{ScenarioError, parse_scenario};
pub use filter::SightingFilter;
pub(crate) use filter::{Kinds, Test, kind_bit};
pub(crate) use given::{Given, Known, KnownService};
pub use set::ScenarioSet;
pub(crate) use set::with_places;
pub use shipped::{SHIPPED_SCENARIOS, Shipped, shipped_for, shipped_scenarios};
pub use span::{ParseSpanError, Span};

/// Most scenarios of one engine: one bit each of what a sighting has matched.
pub const MAX_SCENARIOS: usize = 192;
/// Most of them that are sequences, which have two filters.
pub const MAX_SEQUENCES: usize = 64;
/// Most sightings of a sliding window or a sequence; each tracked source holds
/// the times of all but the last.
pub const MAX_WINDOW_COUNT: u32 = 256;
/// Most values of a distinct count; each tracked source holds all but the last.
pub const MAX_DISTINCT_COUNT: u32 = 128;

/// What is counted, when it is too much, and what is then asked for.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name; another one of the same name replaces it.
    pub name: ScenarioName,
    /// What it finds, in one sentence.
    pub description: Box<str>,
    /// Which sightings it looks at.
    pub filter: SightingFilter,
    /// When there are too many.
    pub rule: Rule,
    /// Who is counted.
    pub group_by: GroupBy,
    /// How long after an alert the same group is not counted.
    pub blackhole: Option<Span>,
    /// What is asked for; `None` where an alert is enough.
    pub decision: Option<DecisionType>,
    /// How long for the first time, instead of the policy's.
    pub ban: Option<Span>,
    /// How long it is each time, instead of what the policy makes of `ban`.
    pub ban_time: Option<BanTime>,
    /// Its decisions are recorded and never carried out.
    pub simulation: bool,
    /// Who counts for it.
    pub runs: Runs,
    /// The file that it was read from; `None` where it is shipped.
    pub file: Option<Box<str>>,
}

/// Where a scenario is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// On each machine, over what is seen there.
    #[default]
    Agent,
    /// On the hub, over what all have seen.
    Hub,
}

impl Runs {
    /// Its name in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Hub => "hub",
        }
    }
}

/// Scenarios whose simulation was turned on or off, whatever their files say.
pub type Switches = BTreeMap<ScenarioName, bool>;

/// Whether decisions are only recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// They are carried out.
    Off,
    /// They are recorded, never carried out, and count for nothing.
    On,
}

impl Simulation {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl From<bool> for Simulation {
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

/// How sightings are counted.
#[derive(Clone, Debug)]
pub enum Rule {
    /// A bucket that holds `capacity` sightings and loses one each `leak`; the
    /// one that does not fit is the alert.
    LeakyBucket {
        /// Sightings that fit.
        capacity: u32,
        /// After how long one has leaked.
        leak: Span,
    },
    /// `count` sightings within a span; without a span they count for ever.
    SlidingWindow {
        /// How many make an alert.
        count: u32,
        /// Within which time.
        within: Option<Span>,
    },
    /// `count` different values within a span.
    Distinct {
        /// Of what.
        of: DistinctValue,
        /// How many make an alert.
        count: u32,
        /// Within which time.
        within: Span,
    },
    /// `count` sightings at a rate of at least `count` in a span, by fail2ban's
    /// arithmetic: what is older than the span is scaled to the rate so far.
    /// Each of an address that was banned before weighs more where `weighs_known`.
    Rate {
        /// How many make an alert.
        count: u32,
        /// In which time.
        within: Span,
        /// Whether those who were banned before are counted faster.
        weighs_known: bool,
    },
    /// Every sighting is an alert.
    Trigger,
    /// `count` sightings, and then one of another kind, within a span.
    Sequence {
        /// How many come first.
        count: u32,
        /// What makes the alert.
        then: Box<SightingFilter>,
        /// Within which time.
        within: Span,
    },
}

impl Rule {
    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LeakyBucket { .. } => "leaky-bucket",
            Self::SlidingWindow { .. } => "sliding-window",
            Self::Distinct { .. } => "distinct",
            Self::Rate { .. } => "rate",
            Self::Trigger => "trigger",
            Self::Sequence { .. } => "sequence",
        }
    }

    /// What makes the alert, where it is something else than what is counted:
    /// then somebody got in.
    #[must_use]
    pub fn then(&self) -> Option<&SightingFilter> {
        match self {
            Self::Sequence { then, .. } => Some(then),
            _ => None,
        }
    }

    /// When there are too many, in words.
    #[must_use]
    pub fn threshold(&self) -> String {
        match self {
            Self::LeakyBucket { capacity, leak } => {
                format!("more than {capacity} at once, one forgotten each {leak}")
            }
            Self::SlidingWindow { count, within: Some(within) } => {
                format!("{count} within {within}")
            }
            Self::SlidingWindow { count, within: None } => {
                format!("{count}, however long it takes")
            }
            Self::Distinct { of, count, within } => {
                format!("{count} different {} within {within}", of.plural())
            }
            Self::Rate { count, within, .. } => {
                format!("at a rate of {count} within {within}")
            }
            Self::Trigger => "one is enough".to_owned(),
            Self::Sequence { count, within, .. } => {
                format!("{count} within {within}, then one that is another")
            }
        }
    }
}

/// Whose sightings are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Those of an address.
    Address,
    /// Those of a network: prefix lengths of IPv4 and IPv6.
    Network(u8, u8),
    /// Those with a login name.
    User,
    /// Those of an autonomous system.
    Asn,
}

/// What a distinct count tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistinctValue {
    /// Login names.
    User,
    /// Paths of requests.
    Path,
    /// Ports of the target.
    Port,
    /// Addresses that they come from.
    Address,
    /// Machines where they were seen; where that is not said, sensors.
    Host,
    /// Sensors that told of them.
    Sensor,
}

impl DistinctValue {
    fn plural(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Path => "paths",
            Self::Port => "ports",
            Self::Address => "addresses",
            Self::Host => "machines",
            Self::Sensor => "sensors",
        }
    }
}
