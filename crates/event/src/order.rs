//! The change feed: what agents are told about decisions, in order.
//!
//! A hub numbers every change; an agent asks for those after the one it has
//! seen last and carries them out. Data flows from the hub to agents; what an
//! agent decides goes the other way, as an event.
//!
//! A later hub may tell of more than this agent knows: fields that are not known
//! are left alone, and so are changes of another kind. What is known must fit.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Decision, DecisionTarget, Directions, HostName, SensorId, Timestamp};

/// Most changes of one page of the feed.
pub const MAX_FEED_CHANGES: usize = 2_000;
/// Longest page of the feed, in bytes.
pub const MAX_FEED_BYTES: usize = 8 * 1024 * 1024;
/// Longest note or reason that people write, in bytes.
pub const MAX_NOTE_BYTES: usize = 500;
/// Longest time that a decision is in force, in seconds: ten years.
pub const MAX_DURATION_SECS: u64 = 10 * 366 * 24 * 60 * 60;
/// Shortest prefix of an IPv4 network that may be banned.
pub const MIN_PREFIX_V4: u8 = 16;
/// Shortest prefix of an IPv6 network that may be banned.
pub const MIN_PREFIX_V6: u8 = 32;

/// Who made a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum DecisionOrigin {
    /// The detection of an agent.
    Sensor {
        /// The agent, by its credential.
        name: SensorId,
        /// The machine, as the agent names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostName>,
    },
    /// A person.
    Operator {
        /// The account or key.
        name: Box<str>,
    },
    /// The hub, which has seen what no single agent could.
    Hub,
}

/// A decision that is to be carried out everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeDecision {
    /// What, to whom, for how long.
    pub decision: Decision,
    /// Who made it.
    pub origin: DecisionOrigin,
    /// What an operator wrote about it; at most [`MAX_NOTE_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
}

/// Everything that is in force about a target ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lift {
    /// Whose decisions end.
    pub target: DecisionTarget,
    /// The account or key that ended them.
    pub by: Box<str>,
    /// When. Decisions about the target from before this are over.
    pub at: Timestamp,
    /// Why; at most [`MAX_NOTE_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A decision is in force.
    Made(Box<MadeDecision>),
    /// Decisions about somebody are over before their time. The end of a
    /// decision in its time is no change: who carries it out knows when it is.
    Lifted(Lift),
    /// Something that only a later version knows; it has no meaning here.
    Unknown {},
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Change;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one change, such as {\"made\": …}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Change, A::Error> {
                let name: Option<Box<str>> = map.next_key()?;
                let change = match name.as_deref() {
                    Some("made") => Change::Made(map.next_value()?),
                    Some("lifted") => Change::Lifted(map.next_value()?),
                    Some(_) => map.next_value::<IgnoredAny>().map(|_| Change::Unknown {})?,
                    None => return Err(serde::de::Error::custom("a change is missing")),
                };
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(change),
                    Some(_) => Err(serde::de::Error::custom("a change is one thing")),
                }
            }
        }
        deserializer.deserialize_map(One)
    }
}

/// A change with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionChange {
    /// Grows from change to change, with gaps.
    pub seq: u64,
    /// What has changed.
    pub change: Change,
}

/// One page of the feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionFeed {
    /// What to ask after next.
    pub cursor: u64,
    /// Changes, oldest first; at most [`MAX_FEED_CHANGES`].
    pub changes: Vec<DecisionChange>,
    /// The hub does not know what the asker has seen, so this page and those
    /// that follow it have all decisions in force: after the last of them, what
    /// was in none of them is over.
    #[serde(default)]
    pub reset: bool,
    /// More pages of a reset follow: ask with this beside the cursor. The last
    /// page has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
    /// What holds beside decisions, before the changes of this page are carried
    /// out; where the asker has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions: Option<Box<Directions>>,
}

/// A page of the feed cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Longer than [`MAX_FEED_BYTES`].
    #[error("the page has {0} bytes; at most {MAX_FEED_BYTES} are read")]
    TooLong(usize),
    /// More than [`MAX_FEED_CHANGES`].
    #[error("the page has {0} changes; at most {MAX_FEED_CHANGES} are read")]
    TooMany(usize),
    /// Not the JSON of a page.
    #[error("the page cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// What it directs breaks a limit.
    #[error("directions: {0}")]
    Directions(&'static str),
    /// A change is out of order or breaks a limit.
    #[error("change {seq}: {rule}")]
    Unfit {
        /// Its number.
        seq: u64,
        /// Which rule.
        rule: &'static str,
    },
}

impl DecisionFeed {
    /// Moves all times by so many milliseconds: to the clock of another machine.
    pub fn shift(&mut self, millis: i64) {
        for change in &mut self.changes {
            let time = match &mut change.change {
                Change::Made(made) => &mut made.decision.from,
                Change::Lifted(lift) => &mut lift.at,
                Change::Unknown {} => continue,
            };
            *time = time.plus_millis(millis);
        }
        for entry in self.directions.iter_mut().flat_map(|directions| &mut directions.allow) {
            entry.until = entry.until.map(|until| until.plus_millis(millis));
        }
    }

    /// Reads a page and checks every limit: order, targets, durations, texts.
    ///
    /// # Errors
    /// [`FeedError`]: nothing of the page is used.
    pub fn decode(body: &[u8]) -> Result<Self, FeedError> {
        if body.len() > MAX_FEED_BYTES {
            return Err(FeedError::TooLong(body.len()));
        }
        let page: Self = serde_json::from_slice(body)?;
        if page.changes.len() > MAX_FEED_CHANGES {
            return Err(FeedError::TooMany(page.changes.len()));
        }
        let mut last = 0;
        for DecisionChange { seq, change } in &page.changes {
            let unfit = |rule| FeedError::Unfit { seq: *seq, rule };
            if *seq <= last || *seq > page.cursor {
                return Err(unfit("numbers must grow, up to the cursor"));
            }
            last = *seq;
            change.check().map_err(unfit)?;
        }
        if let Some(directions) = &page.directions {
            directions.check().map_err(FeedError::Directions)?;
        }
        Ok(page)
    }

    /// Writes a page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory can only fail for map keys that are no strings; there are none.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Change {
    /// Whether it may be carried out.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        let fits =
            |text: &Option<Box<str>>| text.as_ref().is_none_or(|text| text.len() <= MAX_NOTE_BYTES);
        let texts = match self {
            Self::Made(made) => {
                made.decision.target.check()?;
                made.decision.check()?;
                fits(&made.note)
                    && match &made.origin {
                        DecisionOrigin::Operator { name } => name.len() <= MAX_NOTE_BYTES,
                        DecisionOrigin::Sensor { .. } | DecisionOrigin::Hub => true,
                    }
            }
            Self::Lifted(lift) => lift.by.len() <= MAX_NOTE_BYTES && fits(&lift.reason),
            Self::Unknown {} => true,
        };
        if texts { Ok(()) } else { Err("a text is longer than 500 bytes") }
    }
}

impl Decision {
    /// Whether its length and texts are within their limits.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.duration_secs == 0 || self.duration_secs > MAX_DURATION_SECS {
            return Err("a decision lasts from 1 second to 10 years");
        }
        if self.reason.len() > MAX_NOTE_BYTES {
            return Err("its reason is longer than 500 bytes");
        }
        if self.evidence.len() > crate::MAX_EVIDENCE {
            return Err("it names more than 16 events");
        }
        Ok(())
    }
}

impl DecisionTarget {
    /// Whether anybody may be told to keep this target out. Whoever could say
    /// otherwise could cut a whole fleet off from itself.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Ip(address) => check_address(*address),
            Self::Range(range) => {
                let narrowest = match range {
                    IpNet::V4(_) => MIN_PREFIX_V4,
                    IpNet::V6(_) => MIN_PREFIX_V6,
                };
                if range.prefix_len() < narrowest {
                    return Err("a network is at least a /16 (IPv4) or a /32 (IPv6)");
                }
                if let IpNet::V6(v6) = range
                    && v6.network().to_ipv4_mapped().is_some()
                {
                    return Err("IPv4 networks are written as such");
                }
                // All special networks are wider than what may be banned, or
                // begin with the special address.
                check_address(range.network())
            }
        }
    }

    /// First and last address, both as IPv6; IPv4 as mapped to it.
    #[must_use]
    pub fn bounds(&self) -> (Ipv6Addr, Ipv6Addr) {
        match self {
            Self::Ip(address) => (wide(*address), wide(*address)),
            Self::Range(range) => (wide(range.network()), wide(range.broadcast())),
        }
    }

    /// Whether both have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let ((low, high), (from, to)) = (self.bounds(), other.bounds());
        low <= to && from <= high
    }
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn check_address(address: IpAddr) -> Result<(), &'static str> {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match address {
        _ if address.is_loopback() => Err("a loopback address is never banned"),
        _ if address.is_unspecified() => Err("the unspecified address is never banned"),
        _ if address.is_multicast() => Err("a multicast address is never banned"),
        _ if link_local => Err("a link-local address is never banned"),
        // 0.0.0.0/8 is this network, 240.0.0.0/4 is reserved and ends with broadcast.
        IpAddr::V4(v4) if matches!(v4.octets(), [0 | 240.., ..]) => {
            Err("an address that nobody has is never banned")
        }
        // ::/32 holds the loopback address.
        IpAddr::V6(v6) if v6.segments().get(..2) == Some(&[0, 0]) => {
            Err("an address that nobody has is never banned")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecisionType, EventId, ScenarioName};

    fn made(target: &str, secs: u64) -> Change {
        let from = Timestamp::from_millis(1_795_201_634_000);
        let decision = Decision {
            id: EventId::new(from, 1),
            kind: DecisionType::new("ban").unwrap(),
            target: target.parse().unwrap(),
            from,
            duration_secs: secs,
            scenario: ScenarioName::new("ssh-bruteforce").unwrap(),
            reason: "6 failed logins".into(),
            alert: EventId::new(from, 2),
            evidence: vec![EventId::new(from, 3)],
            simulated: false,
        };
        let origin = DecisionOrigin::Sensor {
            name: SensorId::new("web-1").unwrap(),
            host: Some(HostName::new("web-1.example").unwrap()),
        };
        Change::Made(Box::new(MadeDecision { decision, origin, note: None }))
    }

    fn lifted(reason: Option<&str>) -> Change {
        Change::Lifted(Lift {
            target: "198.51.100.7".parse().unwrap(),
            by: "anna".into(),
            at: Timestamp::from_millis(1_795_201_635_000),
            reason: reason.map(Into::into),
        })
    }

    fn page(changes: Vec<Change>) -> DecisionFeed {
        let cursor = changes.len() as u64 + 6;
        let number = |(seq, change)| DecisionChange { seq, change };
        let changes = (7..).zip(changes).map(number).collect();
        DecisionFeed { cursor, changes, ..DecisionFeed::default() }
    }

    #[test]
    fn a_page_survives_the_way_and_looks_as_documented() {
        let page = page(vec![made("198.51.100.7", 60), lifted(Some("our own scan"))]);
        let text = page.encode();
        assert_eq!(DecisionFeed::decode(&text).unwrap(), page);
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json["changes"][0]["change"]["made"]["origin"]["sensor"]["name"], "web-1");
        assert_eq!(json["changes"][1]["change"]["lifted"]["target"], "198.51.100.7");
    }

    #[test]
    fn nobody_is_told_to_ban_what_keeps_a_network_alive() {
        for target in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/15",
            "127.0.0.0/16",
            "127.4.0.0/24",
            "0.0.0.0/16",
            "224.0.0.1",
            "ff02::1",
            "169.254.1.1",
            "169.254.0.0/16",
            "fe80::1",
            "255.255.255.255",
            "2001:db8::/31",
            "::/32",
            "::ffff:127.0.0.1",
            "::ffff:127.0.0.0/104",
            "::ffff:0.0.0.0/96",
        ] {
            let parsed: DecisionTarget = target.parse().unwrap();
            assert!(parsed.check().is_err(), "{target}");
            assert!(DecisionFeed::decode(&page(vec![made(target, 60)]).encode()).is_err());
        }
        for target in ["198.51.100.7", "10.0.0.0/16", "2001:db8::/32", "::ffff:192.0.2.1"] {
            assert_eq!(target.parse::<DecisionTarget>().unwrap().check(), Ok(()), "{target}");
        }
    }

    #[test]
    fn a_page_that_breaks_a_limit_is_not_used() {
        let long = "x".repeat(MAX_NOTE_BYTES + 1);
        for change in [made("198.51.100.7", 0), made("192.0.2.1", u64::MAX), lifted(Some(&long))] {
            assert!(DecisionFeed::decode(&page(vec![change]).encode()).is_err());
        }
        let mut backwards = page(vec![lifted(None), lifted(None)]);
        backwards.changes.reverse();
        assert!(DecisionFeed::decode(&backwards.encode()).is_err());
        let mut ahead = page(vec![lifted(None)]);
        ahead.cursor = 0;
        assert!(DecisionFeed::decode(&ahead.encode()).is_err());
        let many = page(vec![lifted(None); MAX_FEED_CHANGES + 1]);
        assert!(matches!(DecisionFeed::decode(&many.encode()), Err(FeedError::TooMany(_))));
        let long = vec![b' '; MAX_FEED_BYTES + 1];
        assert!(matches!(DecisionFeed::decode(&long), Err(FeedError::TooLong(_))));
        for malformed in ["{}", "[]", r#"{"made":{}}"#, r#"{"made":1,"lifted":1}"#, "\"x\""] {
            let text = format!(r#"{{"cursor":9,"changes":[{{"seq":8,"change":{malformed}}}]}}"#);
            assert!(DecisionFeed::decode(text.as_bytes()).is_err(), "{malformed}");
        }
    }

    #[test]
    fn what_a_later_hub_tells_stops_nobody() {
        let mut json: serde_json::Value =
            serde_json::from_slice(&page(vec![made("198.51.100.7", 60), lifted(None)]).encode())
                .unwrap();
        json["more"] = serde_json::json!({"x": [1]});
        json["changes"][0]["change"]["made"]["more"] = 7.into();
        json["changes"][1]["change"] = serde_json::json!({"grounded": {"plane": [1, 2]}});
        let read = DecisionFeed::decode(json.to_string().as_bytes()).unwrap();
        assert!(matches!(read.changes[0].change, Change::Made(_)));
        assert_eq!(read.changes[1].change, Change::Unknown {});
        assert_eq!(DecisionFeed::decode(&read.encode()).unwrap(), read);
    }

    #[test]
    fn directions_come_with_a_page_and_break_no_limit() {
        let entry = |target: &str| crate::DirectedEntry {
            target: target.parse().unwrap(),
            reason: Some("office".into()),
            until: Some(Timestamp::from_millis(1_795_201_635_000)),
        };
        let with = |allow| {
            let simulate = [(ScenarioName::new("port-scan").unwrap(), true)].into();
            let directions = Some(Box::new(Directions { version: 7, allow, simulate }));
            DecisionFeed { directions, ..page(vec![]) }
        };
        let good = with(vec![entry("192.0.2.0/24")]);
        assert_eq!(DecisionFeed::decode(&good.encode()).unwrap(), good);
        let bad = with(vec![entry("0.0.0.0/0")]);
        assert!(matches!(DecisionFeed::decode(&bad.encode()), Err(FeedError::Directions(_))));
    }

    #[test]
    fn networks_overlap_where_they_share_an_address() {
        let target = |text: &str| text.parse::<DecisionTarget>().unwrap();
        assert!(target("192.0.2.0/24").overlaps(&target("192.0.2.7")));
        assert!(target("192.0.2.7").overlaps(&target("192.0.0.0/16")));
        assert!(!target("192.0.2.0/24").overlaps(&target("192.0.3.0/24")));
        assert!(!target("2001:db8::/32").overlaps(&target("192.0.2.1")));
    }
}
