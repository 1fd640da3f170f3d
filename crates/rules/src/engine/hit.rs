//! Matching: which scenarios look at a sighting, and what of it they count.

use std::net::IpAddr;
use std::sync::Arc;

use palisade_event::{EventKind, Timestamp};

use crate::Sighting;
use crate::scenario::{DistinctValue, GroupBy, Kinds, MAX_SCENARIOS, Rule, Scenario, kind_bit};

const _: () = assert!(MAX_SCENARIOS <= u64::BITS as usize);

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
    /// Scenarios whose filter matched, one bit each.
    pub(super) first: u64,
    /// Scenarios whose second filter matched.
    pub(super) then: u64,
    pub(super) user: Option<u64>,
    pub(super) path: u32,
    pub(super) has_path: bool,
    pub(super) port: Option<u16>,
    pub(super) asn: Option<u32>,
}

impl Hit {
    /// The autonomous system of the source, where it is known.
    #[must_use]
    pub fn asn(&self) -> Option<u32> {
        self.asn
    }

    /// A value to tell apart, hashed to 32 bits; two values that share a hash
    /// count as one, so that a collision can only make an alert later.
    pub(super) fn distinct(&self, of: DistinctValue) -> Option<u32> {
        match of {
            DistinctValue::User => self.user.map(|hash| (hash >> 32) as u32),
            DistinctValue::Path => self.has_path.then_some(self.path),
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
    /// By kind of event: places of the scenarios that may look at it.
    by_kind: Vec<Vec<Candidate>>,
    /// Kinds that any scenario looks at.
    kinds: Kinds,
    /// Scenarios that need the hash of the login name, of the path.
    needs_user: u64,
    needs_path: u64,
    /// Scenarios that count faster who was banned before.
    pub(super) weighs_known: u64,
}

/// A scenario to be tried, with the one service that it is about.
#[derive(Debug)]
struct Candidate {
    scenario: usize,
    service: Option<Box<[u8]>>,
}

impl Matcher {
    pub(super) fn new(scenarios: Arc<[Scenario]>) -> Self {
        let mut by_kind: Vec<Vec<Candidate>> = Vec::new();
        by_kind.resize_with(EventKind::ALL.len(), Vec::new);
        let (mut all, mut needs_user, mut needs_path, mut weighs_known) = (0, 0, 0, 0);
        for (place, scenario) in scenarios.iter().enumerate() {
            let mut kinds = scenario.filter.kinds();
            let mut service = scenario.filter.service();
            if let Rule::Sequence { then, .. } = &scenario.rule {
                kinds |= then.kinds();
                service = service.filter(|service| then.service() == Some(service));
            }
            all |= kinds;
            for (kind, candidates) in EventKind::ALL.iter().zip(&mut by_kind) {
                if kinds & kind_bit(*kind) != 0 {
                    let service = service.map(Into::into);
                    candidates.push(Candidate { scenario: place, service });
                }
            }
            let of = match scenario.rule {
                Rule::Distinct { of, .. } => Some(of),
                _ => None,
            };
            if matches!(scenario.rule, Rule::Rate { weighs_known: true, .. }) {
                weighs_known |= 1 << place;
            }
            if of == Some(DistinctValue::User) || scenario.group_by == GroupBy::User {
                needs_user |= 1 << place;
            }
            if of == Some(DistinctValue::Path) {
                needs_path |= 1 << place;
            }
        }
        Self { scenarios, by_kind, kinds: all, needs_user, needs_path, weighs_known }
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
        let (mut first, mut then) = (0u64, 0u64);
        for Candidate { scenario: place, service } in self.by_kind.get(sighting.kind as usize)? {
            if service.as_deref().is_some_and(|service| service != sighting.service.as_bytes()) {
                continue;
            }
            let Some(scenario) = self.scenarios.get(*place) else { continue };
            first |= u64::from(scenario.filter.matches(sighting)) << place;
            if let Rule::Sequence { then: second, .. } = &scenario.rule {
                then |= u64::from(second.matches(sighting)) << place;
            }
        }
        let matched = first | then;
        if matched == 0 {
            return None;
        }
        let user = sighting.user.filter(|_| matched & self.needs_user != 0).map(hash);
        let path = (matched & self.needs_path != 0).then(|| sighting.path()).flatten();
        Some(Hit {
            at: sighting.at,
            source: sighting.source.map(|source| source.to_canonical()),
            repeat: sighting.repeat.max(1),
            first,
            then,
            user,
            path: path.map_or(0, |path| (hash(path) >> 32) as u32),
            has_path: path.is_some(),
            port: sighting.target_port,
            asn: sighting.asn,
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
