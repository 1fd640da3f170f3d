//! Decisions: what is done about somebody, for how long and why.
//!
//! A decision is made by detection or by hand, travels as an event
//! (`decision.made`), and is carried out by whoever enforces it. This is not
//! the enforcement and not the policy that makes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    AnalyzerName, AttributeValue, DecisionType, Endpoint, Event, EventId, EventKind, ScenarioName,
    SensorId, Timestamp, Untrusted,
};

/// Most events that are named as the evidence of one decision or alert.
pub const MAX_EVIDENCE: usize = 16;

/// Whom a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecisionTarget {
    /// One address; never IPv4 mapped to IPv6.
    Ip(IpAddr),
    /// A network.
    Range(IpNet),
}

impl DecisionTarget {
    /// `ip` or `range`.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        match self {
            Self::Ip(_) => "ip",
            Self::Range(_) => "range",
        }
    }

    /// Whether an address is meant.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Ip(ip) => *ip == address.to_canonical(),
            Self::Range(range) => range.contains(&address.to_canonical()),
        }
    }
}

impl fmt::Display for DecisionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// The text is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is neither an address such as 198.51.100.7 nor a network such as 198.51.100.0/24", .0.escape_debug())]
pub struct ParseTargetError(String);

impl FromStr for DecisionTarget {
    type Err = ParseTargetError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address.to_canonical()));
        }
        match text.parse::<IpNet>() {
            Ok(net) => Ok(Self::Range(net.trunc())),
            Err(_) => Err(ParseTargetError(text.chars().take(64).collect())),
        }
    }
}

impl Serialize for DecisionTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::parsed::parsed(deserializer)
    }
}

/// What is done about somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The id of its event; the same for the same decision however often it is
    /// derived.
    pub id: EventId,
    /// What is done.
    #[serde(rename = "type")]
    pub kind: DecisionType,
    /// To whom.
    pub target: DecisionTarget,
    /// From when on.
    pub from: Timestamp,
    /// For how long, in seconds.
    pub duration_secs: u64,
    /// Which scenario asked for it.
    pub scenario: ScenarioName,
    /// Why, in a few words of our own.
    pub reason: Box<str>,
    /// The event of the alert behind it.
    pub alert: EventId,
    /// Events that show it, the newest last; at most [`MAX_EVIDENCE`].
    pub evidence: Vec<EventId>,
    /// It is recorded and never carried out.
    pub simulated: bool,
}

impl Decision {
    /// Whether it keeps its target out; other words are for those who know them.
    #[must_use]
    pub fn is_ban(&self) -> bool {
        self.kind.as_str() == "ban"
    }

    /// When it ends.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        let millis = i64::try_from(self.duration_secs).unwrap_or(i64::MAX).saturating_mul(1000);
        self.from.plus_millis(millis)
    }

    /// Seconds that it still lasts at `now`; 0 where it is over.
    #[must_use]
    pub fn remaining_secs(&self, now: Timestamp) -> u64 {
        let left = self.until().as_millis().saturating_sub(now.as_millis());
        u64::try_from(left).unwrap_or(0).div_ceil(1000)
    }

    /// The event that tells of it.
    #[must_use]
    pub fn to_event(&self, sensor: SensorId) -> Event {
        let mut event = Event::new(self.id, EventKind::DecisionMade, self.from, sensor)
            .with("type", self.kind.as_str())
            .with("scope", self.target.scope())
            .with("value", Untrusted::from(self.target.to_string()))
            .with("duration_secs", self.duration_secs)
            .with("until", Untrusted::from(self.until().to_string()))
            .with("scenario", self.scenario.as_str())
            .with("reason", Untrusted::from(&*self.reason))
            .with("alert", Untrusted::from(self.alert.to_string()))
            .with("simulated", self.simulated);
        if !self.evidence.is_empty() {
            event = event.with("evidence", Untrusted::from(join(&self.evidence)));
        }
        event.analyzer = AnalyzerName::new(self.scenario.as_str()).ok();
        if let DecisionTarget::Ip(address) = self.target {
            event.source = Some(Endpoint::address(address));
        }
        event
    }

    /// The decision that an event tells of; `None` where it is another event or
    /// misses what makes a decision.
    #[must_use]
    pub fn from_event(event: &Event) -> Option<Self> {
        if event.kind != EventKind::DecisionMade {
            return None;
        }
        let text = |name: &str| match event.attributes.get(name)? {
            AttributeValue::Text(text) => text.as_utf8(),
            _ => None,
        };
        let duration_secs = match event.attributes.get("duration_secs")? {
            AttributeValue::Integer(secs) => u64::try_from(*secs).ok()?,
            _ => return None,
        };
        Some(Self {
            id: event.id,
            kind: DecisionType::new(text("type")?).ok()?,
            target: text("value")?.parse().ok()?,
            from: event.observed_at,
            duration_secs,
            scenario: ScenarioName::new(text("scenario")?).ok()?,
            reason: text("reason").unwrap_or_default().into(),
            alert: text("alert")?.parse().ok()?,
            evidence: text("evidence")
                .unwrap_or_default()
                .split(',')
                .filter_map(|id| id.parse().ok())
                .take(MAX_EVIDENCE)
                .collect(),
            simulated: event.attributes.get("simulated") == Some(&AttributeValue::Flag(true)),
        })
    }
}

/// Ids as the text of an attribute.
#[must_use]
pub fn join(ids: &[EventId]) -> String {
    let ids: Vec<String> = ids.iter().take(MAX_EVIDENCE).map(ToString::to_string).collect();
    ids.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: &str) -> Decision {
        let from = Timestamp::from_millis(1_795_201_634_000);
        Decision {
            id: EventId::new(from, 1),
            kind: DecisionType::new("ban").unwrap(),
            target: target.parse().unwrap(),
            from,
            duration_secs: 14_400,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: "6 failed logins within 40 s".into(),
            alert: EventId::new(from, 2),
            evidence: vec![EventId::new(from, 3), EventId::new(from, 4)],
            simulated: false,
        }
    }

    #[test]
    fn a_decision_survives_the_way_through_an_event() {
        for target in ["198.51.100.7", "2001:db8::7", "198.51.100.0/24", "2001:db8::/48"] {
            let decision = sample(target);
            let event = decision.to_event(SensorId::new("web-1").unwrap());
            assert_eq!(event.validate(), Ok(()));
            assert_eq!(Decision::from_event(&event), Some(decision), "{target}");
        }
        let other = Event::new(
            EventId::new(Timestamp::from_millis(0), 0),
            EventKind::AuthAttempted,
            Timestamp::from_millis(0),
            SensorId::new("web-1").unwrap(),
        );
        assert_eq!(Decision::from_event(&other), None);
    }

    #[test]
    fn what_remains_of_a_ban_is_never_negative() {
        let decision = sample("198.51.100.7");
        assert_eq!(decision.remaining_secs(decision.from), 14_400);
        assert_eq!(decision.remaining_secs(decision.from.plus_millis(14_399_001)), 1);
        assert_eq!(decision.remaining_secs(decision.until()), 0);
        assert_eq!(decision.remaining_secs(decision.until().plus_millis(5)), 0);
    }

    #[test]
    fn targets_are_addresses_or_networks_and_one_address_has_one_form() {
        let target = |text: &str| text.parse::<DecisionTarget>();
        assert_eq!(target("::ffff:192.0.2.1"), target("192.0.2.1"));
        assert_eq!(target("192.0.2.77/24").unwrap().to_string(), "192.0.2.0/24");
        assert!(target("example.net").unwrap_err().to_string().contains("neither an address"));
    }
}
