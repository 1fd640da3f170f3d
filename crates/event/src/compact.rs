//! Targets and times in as few bytes as they need, for tables of a hundred
//! thousand bans on small machines. Not a wire form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{DecisionTarget, Timestamp};

/// In the last byte: an address, or a network by its prefix length.
const ADDRESS_V4: u8 = 0xf4;
const ADDRESS_V6: u8 = 0xf6;
/// Added to the prefix length of IPv6.
const NET_V6: u8 = 0x40;

/// A [`DecisionTarget`] in 17 bytes: its address, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CompactTarget([u8; 17]);

impl CompactTarget {
    /// Whether it is a network.
    #[must_use]
    pub fn is_net(self) -> bool {
        !matches!(self.0, [.., ADDRESS_V4 | ADDRESS_V6])
    }
}

impl From<DecisionTarget> for CompactTarget {
    fn from(target: DecisionTarget) -> Self {
        let (address, what) = match target {
            DecisionTarget::Ip(address @ IpAddr::V4(_)) => (address, ADDRESS_V4),
            DecisionTarget::Ip(address @ IpAddr::V6(_)) => (address, ADDRESS_V6),
            DecisionTarget::Range(net @ IpNet::V4(_)) => (net.addr(), net.prefix_len()),
            DecisionTarget::Range(net @ IpNet::V6(_)) => (net.addr(), net.prefix_len() + NET_V6),
        };
        // An IPv4 address is its mapped one here; the last byte tells them apart.
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, what])
    }
}

impl From<CompactTarget> for DecisionTarget {
    fn from(CompactTarget(bytes): CompactTarget) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, what] = bytes;
        let v4 = Ipv4Addr::new(m, n, o, p);
        let v6 = Ipv6Addr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
        match what {
            ADDRESS_V4 => Self::Ip(v4.into()),
            ADDRESS_V6 => Self::Ip(v6.into()),
            prefix @ ..NET_V6 => match Ipv4Net::new(v4, prefix) {
                Ok(net) => Self::Range(net.into()),
                Err(_) => Self::Ip(v4.into()),
            },
            prefix => match Ipv6Net::new(v6, prefix - NET_V6) {
                Ok(net) => Self::Range(net.into()),
                Err(_) => Self::Ip(v6.into()),
            },
        }
    }
}

impl fmt::Debug for CompactTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DecisionTarget::from(*self).fmt(f)
    }
}

/// A [`Timestamp`] in six bytes: milliseconds from 1970 to the year 10889, in
/// their order; what is before 1970 becomes that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CompactTime([u8; 6]);

impl CompactTime {
    /// Later than any time there is.
    pub const MAX: Self = Self([0xff; 6]);
}

impl From<Timestamp> for CompactTime {
    fn from(time: Timestamp) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(0);
        if millis >= 1 << 48 {
            return Self::MAX;
        }
        let [_, _, a, b, c, d, e, f] = millis.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl From<CompactTime> for Timestamp {
    fn from(CompactTime([a, b, c, d, e, f]): CompactTime) -> Self {
        let millis = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Self::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for CompactTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_times_come_back_as_they_were() {
        for text in [
            "0.0.0.0",
            "192.0.2.1",
            "255.255.255.255",
            "::",
            "2001:db8::7",
            "::ffff:0:192.0.2.1",
            "0.0.0.0/0",
            "198.51.100.0/24",
            "192.0.2.1/32",
            "::/0",
            "2001:db8::/32",
            "2001:db8::7/128",
        ] {
            let target: DecisionTarget = text.parse().unwrap();
            let compact = CompactTarget::from(target);
            assert_eq!(DecisionTarget::from(compact), target, "{text}");
            assert_eq!(compact.is_net(), text.contains('/'), "{text}");
        }
        let mut all: Vec<CompactTarget> = ["192.0.2.1", "192.0.2.1/32", "::ffff:c000:201/128"]
            .map(|text| text.parse::<DecisionTarget>().unwrap().into())
            .to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3, "the same bits, and three targets");
        for (millis, expected) in [
            (0, 0),
            (1_795_000_000_123, 1_795_000_000_123),
            (253_402_207_200_000, 253_402_207_200_000),
            (-5, 0),
            // No later time can be written.
            (i64::MAX, 253_402_207_200_000),
        ] {
            let compact = CompactTime::from(Timestamp::from_millis(millis));
            assert_eq!(Timestamp::from(compact).as_millis(), expected);
        }
        let early = CompactTime::from(Timestamp::from_millis(255));
        assert!(early < Timestamp::from_millis(256).into() && early < CompactTime::MAX);
    }
}
