//! Matching: which scenarios look at a sighting, and what of it they count.

use std::net::IpAddr;
use std::sync::Arc;

use palisade_event::{EventKind, Outcome, Timestamp};

use crate::Sighting;
use crate::scenario::{
    DistinctValue, Given, GroupBy, Kinds, Known, KnownService, Rule, Scenario, ScenarioSet, Test,
    kind_bit, with_places,
};

/// What counting needs of a sighting that some scenario looks at. Owns nothing
/// and borrows nothing, so that it can wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// When.
    pub at: Timestamp,
    /// The address, never IPv4 mapped to IPv6.
    pub source: Option<IpAddr>,
    /// How many times it happened.
    pub repeat: u32,
    /// Filters that matched, by their places.
    pub(super) matched: ScenarioSet,
    pub(super) user: Option<u64>,
    pub(super) path: u32,
    pub(super) has_path: bool,
    pub(super) port: Option<u16>,
    pub(super) asn: Option<u32>,
    /// The machine where it was seen, else the sensor; the sensor. Hashed, and 0
    /// where no scenario that looks at it counts them.
    pub(super) host: u32,
    pub(super) sensor: u32,
}

impl Hit {
    /// The autonomous system of the source, where it is known.
    #[must_use]
    pub fn asn(&self) -> Option<u32> {
        self.asn
    }

    /// One that happened so many times and says nothing else.
    #[cfg(test)]
    pub(super) fn of_sequence(repeat: u32) -> Self {
        Self {
            at: Timestamp::from_millis(0),
            source: None,
            repeat,
            matched: ScenarioSet::default(),
            user: None,
            path: 0,
            has_path: false,
            port: None,
            asn: None,
            host: 0,
            sensor: 0,
        }
    }

    /// A value to tell apart, hashed to 32 bits; two values that share a hash
    /// count as one, so that a collision can only make an alert later.
    pub(super) fn distinct(&self, of: DistinctValue) -> Option<u32> {
        match of {
            DistinctValue::User => self.user.map(|hash| (hash >> 32) as u32),
            DistinctValue::Path => self.has_path.then_some(self.path),
            DistinctValue::Host => (self.host != 0).then_some(self.host),
            DistinctValue::Sensor => (self.sensor != 0).then_some(self.sensor),
            DistinctValue::Port => self.port.map(u32::from),
            DistinctValue::Address => self.source.map(|source| match source {
                IpAddr::V4(v4) => v4.to_bits(),
                IpAddr::V6(v6) => (hash(&v6.octets()) >> 32) as u32,
            }),
        }
    }
}

/// Which scenarios look at what. Keeps no state.
#[derive(Debug)]
pub struct Matcher {
    scenarios: Arc<[Scenario]>,
    /// Kinds that any scenario looks at.
    kinds: Kinds,
    /// Services that filters compare with; after them comes any other one.
    services: Vec<Box<[u8]>>,
    /// What is known of a sighting by its kind, outcome and service, in the order
    /// of [`Matcher::case`].
    cases: Vec<Case>,
    /// Scenarios that need the hash of the login name, of the path.
    needs_user: ScenarioSet,
    needs_path: ScenarioSet,
    /// Scenarios that count machines or sensors.
    needs_place: ScenarioSet,
    /// Scenarios that count faster who was banned before.
    pub(super) weighs_known: ScenarioSet,
}

/// Most services whose filters are worked out in advance; where scenarios name
/// more, each sighting is compared with them.
const MAX_SERVICES: usize = 32;
/// A login that has no outcome, was accepted, has failed.
const OUTCOMES: [Option<Outcome>; 3] = [None, Some(Outcome::Accepted), Some(Outcome::Failed)];

/// What filters say of all sightings of one kind, outcome and service.
#[derive(Clone, Debug, Default)]
struct Case {
    /// Filters that match them all.
    matched: ScenarioSet,
    /// Those where that depends on more.
    open: Box<[Open]>,
}

/// A filter of which something is left to be looked at.
#[derive(Clone, Debug)]
struct Open {
    /// The place of the filter.
    place: usize,
    test: Test,
}

impl Case {
    fn new(scenarios: &[Scenario], known: &Known<'_>) -> Self {
        let mut case = Self::default();
        let mut open = Vec::new();
        for (place, second, scenario) in with_places(scenarios) {
            let then = match &scenario.rule {
                Rule::Sequence { then, .. } => second.map(|place| (place, &**then)),
                _ => None,
            };
            for (place, filter) in std::iter::once((place, &scenario.filter)).chain(then) {
                match filter.given(known) {
                    Given::Never => {}
                    Given::Always => case.matched.insert(place),
                    Given::If(test) => open.push(Open { place, test }),
                }
            }
        }
        case.open = open.into();
        case
    }
}

impl Matcher {
    pub(super) fn new(scenarios: Arc<[Scenario]>) -> Self {
        let mut all = 0;
        let [mut needs_user, mut needs_path, mut needs_place, mut weighs_known] =
            [ScenarioSet::default(); 4];
        let mut services: Vec<Box<[u8]>> = Vec::new();
        for (place, second, scenario) in with_places(&scenarios) {
            let places = std::iter::once(place).chain(second);
            all |= scenario.filter.kinds();
            let mut named = scenario.filter.services();
            if let Rule::Sequence { then, .. } = &scenario.rule {
                all |= then.kinds();
                named.extend(then.services());
            }
            services.extend(named.into_iter().map(Into::into));
            let of = match scenario.rule {
                Rule::Distinct { of, .. } => Some(of),
                _ => None,
            };
            if matches!(scenario.rule, Rule::Rate { weighs_known: true, .. }) {
                weighs_known.insert(place);
            }
            if of == Some(DistinctValue::User) || scenario.group_by == GroupBy::User {
                places.clone().for_each(|place| needs_user.insert(place));
            }
            if of == Some(DistinctValue::Path) {
                places.clone().for_each(|place| needs_path.insert(place));
            }
            if matches!(of, Some(DistinctValue::Host | DistinctValue::Sensor)) {
                places.clone().for_each(|place| needs_place.insert(place));
            }
        }
        services.sort();
        services.dedup();
        let other = if services.len() > MAX_SERVICES {
            services.clear();
            KnownService::Any
        } else {
            KnownService::Other
        };
        let mut cases = Vec::with_capacity(EventKind::ALL.len() * 3 * (services.len() + 1));
        for kind in EventKind::ALL.iter().copied() {
            for outcome in OUTCOMES {
                let named = services.iter().map(|service| KnownService::Is(service));
                for service in named.chain([other]) {
                    let known = Known { kind, outcome, service };
                    cases.push(match all & kind_bit(kind) {
                        0 => Case::default(),
                        _ => Case::new(&scenarios, &known),
                    });
                }
            }
        }
        Self {
            scenarios,
            kinds: all,
            services,
            cases,
            needs_user,
            needs_path,
            needs_place,
            weighs_known,
        }
    }

    /// What is known of a sighting by its kind, outcome and service.
    #[inline]
    fn case(&self, sighting: &Sighting<'_>) -> Option<&Case> {
        let outcome = match sighting.outcome {
            None => 0,
            Some(Outcome::Accepted) => 1,
            Some(Outcome::Failed) => 2,
        };
        let services = &self.services;
        let service = sighting.service.as_bytes();
        let service = services.iter().position(|known| **known == *service);
        let service = service.unwrap_or(services.len());
        self.cases.get((sighting.kind as usize * 3 + outcome) * (services.len() + 1) + service)
    }

    /// The scenarios, in the order of their bits.
    #[must_use]
    pub fn scenarios(&self) -> &[Scenario] {
        &self.scenarios
    }

    /// Whether any scenario may look at a kind of event.
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        self.kinds & kind_bit(kind) != 0
    }

    /// What is to be counted of a sighting; `None` where no scenario looks at it.
    #[inline]
    #[must_use]
    pub fn look(&self, sighting: &Sighting<'_>) -> Option<Hit> {
        if !self.wants(sighting.kind) {
            return None;
        }
        let case = self.case(sighting)?;
        let mut matched = case.matched;
        for Open { place, test } in &case.open {
            if test.holds(sighting) {
                matched.insert(*place);
            }
        }
        if matched.is_empty() {
            return None;
        }
        let user = sighting.user.filter(|_| matched.meets(&self.needs_user)).map(hash);
        let path = matched.meets(&self.needs_path).then(|| sighting.path()).flatten();
        let (mut host, mut sensor) = (0, 0);
        if matched.meets(&self.needs_place) {
            // 0 is none; two that share a hash count as one.
            let short = |text: &[u8]| ((hash(text) >> 32) as u32).max(1);
            sensor = sighting.sensor.map_or(0, short);
            host = sighting.host.map_or(sensor, short);
        }
        Some(Hit {
            at: sighting.at,
            source: sighting.source.map(|source| source.to_canonical()),
            repeat: sighting.repeat.max(1),
            matched,
            user,
            path: path.map_or(0, |path| (hash(path) >> 32) as u32),
            has_path: path.is_some(),
            port: sighting.target_port,
            asn: sighting.asn,
            host,
            sensor,
        })
    }
}

/// A hash that is the same in every run (FNV-1a by words, then mixed): what is
/// counted must not depend on the process.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(PRIME).rotate_left(29);
    }
    for byte in chunks.remainder() {
        state = (state ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    state ^= state >> 32;
    state = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
    state ^ state >> 32
}
