//! Who is counted together, and the key of that in a table.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::Hit;
use crate::scenario::GroupBy;

/// Whose sightings were counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// An address; never IPv4 mapped to IPv6.
    Address(IpAddr),
    /// A network.
    Network(IpNet),
    /// A login name, by its hash.
    User(u64),
    /// An autonomous system.
    Asn(u32),
}

impl Group {
    /// The group that a hit belongs to; `None` where the hit does not say.
    #[inline]
    pub(super) fn of(by: GroupBy, hit: &Hit) -> Option<Self> {
        match by {
            GroupBy::Address => hit.source.map(Self::Address),
            GroupBy::Network(v4, v6) => {
                let source = hit.source?;
                let bits = if source.is_ipv4() { v4 } else { v6 };
                IpNet::new(source, bits).ok().map(|net| Self::Network(net.trunc()))
            }
            GroupBy::User => hit.user.map(Self::User),
            GroupBy::Asn => hit.asn.map(Self::Asn),
        }
    }

    /// The key in a table that holds groups of one sort.
    #[inline]
    pub(super) fn key(self) -> u128 {
        match self {
            Self::Address(address) => address_key(address),
            Self::Network(net) => address_key(net.network()),
            Self::User(hash) => hash.into(),
            Self::Asn(asn) => asn.into(),
        }
    }
}

#[inline]
fn address_key(address: IpAddr) -> u128 {
    match address {
        // As mapped addresses, which do not occur otherwise.
        IpAddr::V4(v4) => 0xffff_0000_0000 | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Network(net) => net.fmt(f),
            Self::User(hash) => write!(f, "user #{hash:016x}"),
            Self::Asn(asn) => write!(f, "AS{asn}"),
        }
    }
}
