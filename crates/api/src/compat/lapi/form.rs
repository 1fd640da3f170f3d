//! A decision as CrowdSec writes it, and what a bouncer can do with it.
//!
//! Debian's firewall bouncer puts only the first address of a network into its
//! sets. So a network is given to it address by address where it is small, and
//! not at all where it is not: dropping one address of 65,536 helps nobody.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_event::{DecisionTarget, Timestamp};
use palisade_hub::{DecisionRecord, Ranges};
use serde::Serialize;

use super::params::origin;

/// Largest network that is given address by address.
const MAX_EXPANDED: usize = 256;
/// Most decisions of one list of an answer.
const MAX_LISTED: usize = 400_000;

/// What becomes of networks where the key does not say: by what the bouncer
/// calls itself.
pub(super) fn ranges_of(agent: &str) -> Ranges {
    match agent.split('/').next() {
        Some("crowdsec-firewall-bouncer") => Ranges::Expand,
        _ => Ranges::Pass,
    }
}

/// A decision as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    id: u64,
    uuid: String,
    origin: &'static str,
    #[serde(rename = "type")]
    kind: String,
    scope: &'static str,
    value: String,
    duration: String,
    scenario: String,
}

/// Decisions as they are sent: of each value and type the longest.
#[derive(Debug, Default)]
pub(super) struct Listing {
    sent: Vec<(Sent, Timestamp)>,
    places: HashMap<(String, String), usize>,
    /// Networks that were left out.
    pub(super) withheld: u64,
}

impl Listing {
    /// Adds a decision; where networks are expanded, each address that `skip`
    /// does not name.
    pub(super) fn add(
        &mut self,
        record: &DecisionRecord,
        ranges: Ranges,
        now: Timestamp,
        skip: impl Fn(IpAddr) -> bool,
    ) {
        match (record.made.decision.target, ranges) {
            (DecisionTarget::Ip(address), Ranges::Expand) if skip(address) => {}
            (DecisionTarget::Range(range), Ranges::Expand) => match addresses(&range) {
                Some(all) => {
                    for address in all.filter(|address| !skip(*address)) {
                        self.push(record, "Ip", address.to_string(), now);
                    }
                }
                None => self.withheld += 1,
            },
            (DecisionTarget::Range(_), Ranges::Withhold) => self.withheld += 1,
            (DecisionTarget::Ip(address), _) => self.push(record, "Ip", address.to_string(), now),
            (DecisionTarget::Range(range), Ranges::Pass) => {
                self.push(record, "Range", range.to_string(), now);
            }
        }
    }

    fn push(
        &mut self,
        record: &DecisionRecord,
        scope: &'static str,
        value: String,
        now: Timestamp,
    ) {
        let decision = &record.made.decision;
        let key = (value.clone(), decision.kind.to_string());
        let sent = Sent {
            id: record.seq.unwrap_or_default(),
            uuid: decision.id.to_string(),
            origin: origin(&record.made.origin),
            kind: decision.kind.to_string(),
            scope,
            value,
            duration: duration(record.ended_at.as_millis().saturating_sub(now.as_millis())),
            scenario: decision.scenario.to_string(),
        };
        let count = self.sent.len();
        let place = *self.places.entry(key).or_insert(count);
        match self.sent.get_mut(place) {
            Some(other) if other.1 < record.ended_at => *other = (sent, record.ended_at),
            Some(_) => {}
            None if count >= MAX_LISTED => self.withheld += 1,
            None => self.sent.push((sent, record.ended_at)),
        }
    }

    /// The list; `None` where it is empty, as CrowdSec writes it.
    pub(super) fn finish(self) -> Option<Vec<Sent>> {
        let sent: Vec<Sent> = self.sent.into_iter().map(|(sent, _)| sent).collect();
        (!sent.is_empty()).then_some(sent)
    }
}

/// All addresses of a small network.
pub(super) fn addresses(range: &IpNet) -> Option<impl Iterator<Item = IpAddr> + use<>> {
    let bits = range.max_prefix_len().saturating_sub(range.prefix_len());
    let count = 1_usize.checked_shl(u32::from(bits)).filter(|count| *count <= MAX_EXPANDED)?;
    let first = match range.network() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let is_v4 = matches!(range, IpNet::V4(_));
    Some((0..count as u128).map(move |offset| {
        let bits = first.saturating_add(offset);
        match u32::try_from(bits) {
            Ok(bits) if is_v4 => IpAddr::V4(bits.into()),
            _ => IpAddr::V6(bits.into()),
        }
    }))
}

/// Milliseconds as Go's `time.Duration` writes them: `3h59m58.6s`, `-1.002s`.
pub(super) fn duration(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let all = millis.unsigned_abs();
    if all == 0 {
        return "0s".to_owned();
    }
    if all < 1000 {
        return format!("{sign}{all}ms");
    }
    let (secs, rest) = (all / 1000, all % 1000);
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    let mut text = String::from(sign);
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    let fraction = format!("{rest:03}");
    match fraction.trim_end_matches('0') {
        "" => text.push_str(&format!("{secs}s")),
        fraction => text.push_str(&format!("{secs}.{fraction}s")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (millis, text) in [
            (14_398_600, "3h59m58.6s"),
            (14_400_000, "4h0m0s"),
            (1_798_694, "29m58.694s"),
            (604_799_000, "167h59m59s"),
            (-1_002, "-1.002s"),
            (-250, "-250ms"),
            (60_000, "1m0s"),
            (0, "0s"),
            (i64::MIN, "-2562047788015h12m55.808s"),
        ] {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn small_networks_have_all_their_addresses_and_large_ones_none() {
        let all = |text: &str| -> Option<Vec<String>> {
            let range: IpNet = text.parse().unwrap();
            addresses(&range).map(|all| all.map(|address| address.to_string()).collect())
        };
        assert_eq!(
            all("192.0.2.252/30").unwrap(),
            ["192.0.2.252", "192.0.2.253", "192.0.2.254", "192.0.2.255"]
        );
        assert_eq!(all("255.255.255.0/24").unwrap().len(), 256);
        assert_eq!(all("2001:db8::fffe/127").unwrap(), ["2001:db8::fffe", "2001:db8::ffff"]);
        assert_eq!(all("192.0.2.1/32").unwrap(), ["192.0.2.1"]);
        for large in ["192.0.2.0/23", "2001:db8::/64", "2001:db8::/32"] {
            assert_eq!(all(large), None, "{large}");
        }
    }

    #[test]
    fn only_the_firewall_bouncer_has_networks_expanded() {
        assert_eq!(ranges_of("crowdsec-firewall-bouncer/-"), Ranges::Expand);
        assert_eq!(ranges_of("crowdsec-firewall-bouncer/v0.0.31"), Ranges::Expand);
        assert_eq!(ranges_of("crowdsec-custom-bouncer/-"), Ranges::Pass);
        assert_eq!(ranges_of(""), Ranges::Pass);
    }
}
