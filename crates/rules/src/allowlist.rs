//! Who must never be banned, whatever a scenario says.
//!
//! Entries are addresses, networks, DNS names, login names and autonomous
//! systems, each with a reason and maybe an end. Names are resolved by whoever
//! owns this list and passed in; a name that has never been resolved makes the
//! list *unknown*, and while it is unknown nobody is banned: the one to be
//! spared might be behind that name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use palisade_event::{DecisionTarget, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hub_list::{HubAllowed, HubList};

/// Most entries of a list.
pub const MAX_ALLOWED: usize = 10_000;
/// Most addresses that are kept of one name.
pub const MAX_RESOLVED: usize = 64;

/// What somebody who is logged in is called among what the system must not cut
/// off. It does not spare whoever has just broken in.
pub const LOGGED_IN: &str = "logged in";

/// What an entry spares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowValue {
    /// An address or a network.
    Network(IpNet),
    /// The addresses of a name in DNS.
    Name(Box<str>),
    /// A login name: alerts about sightings with it lead to nothing.
    User(Box<str>),
    /// An autonomous system.
    Asn(u32),
}

/// The text names nothing that can be allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' cannot be allowed; expected an address, a network such as 198.51.100.0/24, a DNS name, user:NAME or as:NUMBER", .0.escape_debug())]
pub struct ParseAllowError(String);

impl FromStr for AllowValue {
    type Err = ParseAllowError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseAllowError(text.chars().take(80).collect());
        if let Some(user) = text.strip_prefix("user:") {
            return match user.is_empty() || user.len() > 256 {
                true => Err(refuse()),
                false => Ok(Self::User(user.into())),
            };
        }
        if let Some(number) = text.strip_prefix("as:").or_else(|| text.strip_prefix("AS")) {
            return number.parse().map(Self::Asn).map_err(|_| refuse());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(IpNet::from(address.to_canonical())));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Network(net.trunc()));
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let like_a_name = text.len() <= 253
            && text.chars().all(letter)
            && text.chars().any(|c| c.is_ascii_alphabetic())
            && !text.starts_with(['.', '-']);
        if like_a_name { Ok(Self::Name(text.to_ascii_lowercase().into())) } else { Err(refuse()) }
    }
}

impl fmt::Display for AllowValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Network(net) => net.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Asn(asn) => write!(f, "as:{asn}"),
        }
    }
}

impl Serialize for AllowValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllowValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// What it spares.
    pub value: AllowValue,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// When it ends; without one it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Allowed {
    /// An entry without an end.
    #[must_use]
    pub fn new(value: AllowValue, reason: &str) -> Self {
        Self { value, reason: reason.to_owned(), until: None }
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What the list says of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Nothing.
    No,
    /// This entry spares them: its value and reason.
    By(String),
    /// The list is not complete yet: the name that was never resolved.
    Unknown(String),
}

/// Whom an alert is about, as far as entries can tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspect<'a> {
    /// The address or network that a decision would be about.
    pub target: Option<DecisionTarget>,
    /// The address of the last sighting.
    pub source: Option<IpAddr>,
    /// The login name of the last sighting.
    pub user: Option<&'a [u8]>,
    /// The autonomous system of the source.
    pub asn: Option<u32>,
    /// Whether the alert is that of a break-in.
    pub broke_in: bool,
}

/// The list.
#[derive(Clone, Debug, Default)]
pub struct Allowlist {
    entries: Vec<Allowed>,
    /// Addresses of names, where they have been resolved.
    resolved: BTreeMap<Box<str>, Vec<IpAddr>>,
    /// What this machine must not cut off: its own addresses, gateways,
    /// resolvers, and who administers it.
    system: Vec<(IpNet, Box<str>)>,
    /// Whom the hub spares.
    hub: HubList,
    hub_is_unknown: bool,
}

impl Allowlist {
    /// A list of these entries; those beyond [`MAX_ALLOWED`] are not taken.
    #[must_use]
    pub fn new(mut entries: Vec<Allowed>) -> Self {
        entries.truncate(MAX_ALLOWED);
        Self { entries, ..Self::default() }
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Allowed] {
        &self.entries
    }

    /// The names that somebody has to resolve, again from time to time.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.value {
                AllowValue::Name(name) => Some(&**name),
                _ => None,
            })
            .collect()
    }

    /// The addresses of a name. An empty list, as of a failed look-up, leaves
    /// those that were known.
    pub fn resolve(&mut self, name: &str, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            return;
        }
        let addresses = addresses.iter().take(MAX_RESOLVED).map(IpAddr::to_canonical).collect();
        self.resolved.insert(name.into(), addresses);
    }

    /// Replaces what this machine must not cut off, each with what it is.
    pub fn set_system(&mut self, networks: Vec<(IpNet, Box<str>)>) {
        self.system = networks;
    }

    /// Replaces whom the hub spares; `None` where that was known once and cannot
    /// be read any more, and then nobody is banned.
    pub fn set_hub(&mut self, entries: Option<Vec<HubAllowed>>) {
        self.hub_is_unknown = entries.is_none();
        self.hub = HubList::new(entries.unwrap_or_default());
    }

    /// The clock was set by so many milliseconds: what the hub spares for a time
    /// is spared as long as it was. Ends in the settings are of that clock.
    pub fn shift_hub(&mut self, millis: i64) {
        self.hub.shift(millis);
    }

    /// What the list says of a suspect.
    #[must_use]
    pub fn check(&self, suspect: &Suspect<'_>, now: Timestamp) -> Spared {
        let target = suspect.target.or_else(|| Some(DecisionTarget::Ip(suspect.source?)));
        if let Some(target) = target {
            if let Some(what) = never(&target) {
                return Spared::By(what.to_owned());
            }
            for (net, what) in &self.system {
                if suspect.broke_in && &**what == LOGGED_IN {
                    continue;
                }
                if touches(&target, net) {
                    return Spared::By(format!("{net}: {what}"));
                }
            }
        }
        if let Some(entry) = target.and_then(|target| self.hub.spares(&target, now)) {
            return Spared::By(match &*entry.reason {
                "" => format!("{}, by the hub", entry.target),
                reason => format!("{}, by the hub: {reason}", entry.target),
            });
        }
        let mut unknown = self.hub_is_unknown.then(|| "whom the hub spares".to_owned());
        for entry in self.entries.iter().filter(|entry| entry.holds(now)) {
            let spares = match &entry.value {
                AllowValue::Network(net) => target.is_some_and(|target| touches(&target, net)),
                AllowValue::Name(name) => match self.resolved.get(name) {
                    Some(addresses) => target.is_some_and(|target| {
                        addresses.iter().any(|address| target.contains(*address))
                    }),
                    None => {
                        unknown.get_or_insert_with(|| name.to_string());
                        false
                    }
                },
                AllowValue::User(user) => suspect.user == Some(user.as_bytes()),
                AllowValue::Asn(asn) => suspect.asn == Some(*asn),
            };
            if spares {
                let reason = match entry.reason.as_str() {
                    "" => entry.value.to_string(),
                    reason => format!("{}: {reason}", entry.value),
                };
                return Spared::By(reason);
            }
        }
        unknown.map_or(Spared::No, Spared::Unknown)
    }
}

/// Whether a decision about `target` would reach into `net`.
fn touches(target: &DecisionTarget, net: &IpNet) -> bool {
    match target {
        DecisionTarget::Ip(address) => net.contains(&address.to_canonical()),
        DecisionTarget::Range(range) => net.contains(range) || range.contains(net),
    }
}

/// Addresses that are no attacker anywhere.
fn never(target: &DecisionTarget) -> Option<&'static str> {
    let of = |address: IpAddr| match address {
        IpAddr::V4(v4) if v4.is_loopback() => Some("loopback"),
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_broadcast() => Some("no address of a host"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("link-local"),
        IpAddr::V4(v4) if v4.is_multicast() => Some("multicast"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("loopback"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("no address of a host"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("multicast"),
        _ => None,
    };
    match target {
        DecisionTarget::Ip(address) => of(*address),
        DecisionTarget::Range(net) => of(net.network()).or_else(|| of(net.broadcast())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: &[&str]) -> Allowlist {
        let entry = |value: &&str| Allowed::new(value.parse().unwrap(), "test");
        Allowlist::new(values.iter().map(entry).collect())
    }

    fn spared(list: &Allowlist, target: &str) -> bool {
        let suspect = Suspect { target: Some(target.parse().unwrap()), ..Suspect::default() };
        list.check(&suspect, Timestamp::from_millis(0)) != Spared::No
    }

    #[test]
    fn addresses_and_networks_spare_what_a_ban_would_reach() {
        let list = list(&["192.0.2.7", "2001:db8:1::/48"]);
        for target in ["192.0.2.7", "::ffff:192.0.2.7", "192.0.2.0/24", "2001:db8:1::9"] {
            assert!(spared(&list, target), "{target}");
        }
        for target in ["192.0.2.8", "192.0.3.0/24", "2001:db8:2::9"] {
            assert!(!spared(&list, target), "{target}");
        }
    }

    #[test]
    fn loopback_and_the_machine_itself_are_always_spared() {
        let mut list = list(&[]);
        list.set_system(vec![
            ("198.51.100.1/32".parse().unwrap(), "own address".into()),
            ("203.0.113.4/32".parse().unwrap(), LOGGED_IN.into()),
        ]);
        let mut who = Suspect { source: "203.0.113.4".parse().ok(), ..Suspect::default() };
        assert!(matches!(list.check(&who, Timestamp::from_millis(0)), Spared::By(_)));
        who.broke_in = true;
        assert_eq!(list.check(&who, Timestamp::from_millis(0)), Spared::No);
        for target in ["127.0.0.1", "::1", "169.254.1.1", "198.51.100.1", "224.0.0.1", "0.0.0.0"] {
            assert!(spared(&list, target), "{target}");
        }
        assert!(!spared(&list, "198.51.100.2"));
    }

    #[test]
    fn a_name_that_was_never_resolved_leaves_everybody_unknown() {
        let mut list = list(&["Office.example.net", "192.0.2.1"]);
        assert_eq!(list.names(), ["office.example.net"]);
        let suspect =
            |target: &str| Suspect { target: Some(target.parse().unwrap()), ..Suspect::default() };
        let now = Timestamp::from_millis(0);
        assert_eq!(
            list.check(&suspect("203.0.113.5"), now),
            Spared::Unknown("office.example.net".into())
        );
        assert!(matches!(list.check(&suspect("192.0.2.1"), now), Spared::By(_)));
        list.resolve("office.example.net", &["203.0.113.5".parse().unwrap()]);
        assert!(matches!(list.check(&suspect("203.0.113.5"), now), Spared::By(_)));
        assert_eq!(list.check(&suspect("203.0.113.6"), now), Spared::No);
        list.resolve("office.example.net", &[]);
        assert!(matches!(list.check(&suspect("203.0.113.5"), now), Spared::By(_)), "kept");
    }

    #[test]
    fn users_systems_and_ends_are_observed() {
        let mut entries = list(&["user:deploy", "as:64500"]).entries;
        entries.push(Allowed {
            until: Some(Timestamp::from_millis(1000)),
            ..Allowed::new("192.0.2.9".parse().unwrap(), "")
        });
        let list = Allowlist::new(entries);
        let now = Timestamp::from_millis(0);
        let deploy = Suspect { user: Some(b"deploy"), ..Suspect::default() };
        assert_eq!(list.check(&deploy, now), Spared::By("user:deploy: test".into()));
        let asn = Suspect { asn: Some(64500), ..Suspect::default() };
        assert!(matches!(list.check(&asn, now), Spared::By(_)));
        let guest = Suspect { source: "192.0.2.9".parse().ok(), ..Suspect::default() };
        assert_eq!(list.check(&guest, now), Spared::By("192.0.2.9".into()));
        assert_eq!(list.check(&guest, Timestamp::from_millis(1000)), Spared::No);
    }

    #[test]
    fn the_hub_spares_beside_the_own_list_and_what_it_said_must_be_known() {
        let mut list = list(&["192.0.2.1"]);
        let entry = |until| crate::HubAllowed {
            target: "198.51.100.0/24".parse().unwrap(),
            reason: "office".into(),
            until,
        };
        list.set_hub(Some(vec![entry(Some(Timestamp::from_millis(5)))]));
        let suspect =
            Suspect { target: Some("198.51.100.7".parse().unwrap()), ..Suspect::default() };
        let said = Spared::By("198.51.100.0/24, by the hub: office".into());
        assert_eq!(list.check(&suspect, Timestamp::from_millis(4)), said);
        assert_eq!(list.check(&suspect, Timestamp::from_millis(5)), Spared::No);
        assert!(spared(&list, "192.0.2.1"), "the own list goes on");
        list.set_hub(None);
        let unknown = Spared::Unknown("whom the hub spares".into());
        assert_eq!(list.check(&suspect, Timestamp::from_millis(4)), unknown);
        list.set_hub(Some(Vec::new()));
        assert_eq!(list.check(&suspect, Timestamp::from_millis(4)), Spared::No);
    }

    #[test]
    fn what_cannot_be_allowed_is_said_with_what_can() {
        for bad in ["", "user:", "as:x", "a b", "192.0.2.0/33", "1.2.3", "-x", &"a".repeat(300)] {
            let error = bad.parse::<AllowValue>().unwrap_err().to_string();
            assert!(error.contains("user:NAME"), "{bad}");
        }
        for good in ["192.0.2.1", "192.0.2.0/24", "example.net", "user:x", "as:5"] {
            assert_eq!(good.parse::<AllowValue>().unwrap().to_string(), good);
        }
    }
}
