//! The country of an address, by the registries' delegation tables that are
//! built into the program; and which addresses have none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_event::CountryCode;

/// The country that the registries delegated the address to.
pub(super) fn country(address: IpAddr) -> Option<CountryCode> {
    let code = match address {
        IpAddr::V4(v4) => iptocc::country_code(v4),
        IpAddr::V6(v6) => iptocc::country_code(v6),
    };
    code.and_then(|code| CountryCode::new(code).ok())
}

/// Whether the address is one of the public Internet.
///
/// The rest are the ranges that the IANA special-purpose registries (RFC 6890
/// and its updates) mark as not globally reachable, and multicast. That
/// includes the documentation ranges: nobody is there.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !is_special_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => !is_special_v4(v4),
            None => !is_special_v6(v6),
        },
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    match a {
        0 | 10 | 127 | 224..=255 => true,
        100 => (64..128).contains(&b), // shared, RFC 6598
        169 => b == 254,               // link-local
        172 => (16..32).contains(&b),
        192 => match (b, c) {
            (168, _) | (0, 2) | (88, 99) => true, // private, documentation, 6to4 relay
            (0, 0) => !matches!(d, 9 | 10),       // protocol assignments, but PCP and TURN
            _ => false,
        },
        198 => matches!((b, c), (18 | 19, _) | (51, 100)), // benchmarking, documentation
        203 => (b, c) == (0, 113),                         // documentation
        _ => false,
    }
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 1, ..] | [0x100, 0, 0, 0, ..] => true, // local NAT64, discard
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => false,              // NAT64, RFC 6052
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => true, // documentation
        [0x2001, 0..=0x1ff, ..] => true,                      // protocol assignments, Teredo
        [first, ..] => !(0x2000..=0x3fff).contains(&first),   // only 2000::/3 is in use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_ranges_end_where_the_registry_says() {
        let global = |text: &str| is_global(text.parse().unwrap());
        for (inside, outside) in [
            ("10.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("127.0.0.1", "128.0.0.1"),
            ("169.254.1.1", "169.253.1.1"),
            ("172.16.0.0", "172.15.255.255"),
            ("172.31.255.255", "172.32.0.0"),
            ("192.0.0.8", "192.0.0.9"),
            ("192.0.2.1", "192.0.3.1"),
            ("192.168.255.255", "192.169.0.0"),
            ("198.19.255.255", "198.20.0.0"),
            ("198.51.100.1", "198.51.101.1"),
            ("203.0.113.9", "203.0.114.9"),
            ("224.0.0.1", "223.255.255.255"),
            ("255.255.255.255", "1.1.1.1"),
            ("::1", "2606:4700::1111"),
            ("fc00::1", "2a00::1"),
            ("fe80::1", "2400::1"),
            ("ff02::1", "2600::1"),
            ("2001:db8::1", "2001:db9::1"),
            ("2001:1ff::1", "2001:200::1"),
            ("3fff::1", "3ffe::1"),
            ("::ffff:10.0.0.1", "::ffff:8.8.8.8"),
            ("64:ff9b:1::1", "64:ff9b::808:808"),
        ] {
            assert!(!global(inside), "{inside}");
            assert!(global(outside), "{outside}");
        }
    }

    #[test]
    fn known_addresses_have_their_country() {
        let of = |text: &str| country(text.parse().unwrap()).map(|code| code.to_string());
        assert_eq!(of("8.8.8.8").as_deref(), Some("US"));
        assert_eq!(of("193.0.6.139").as_deref(), Some("NL"));
        assert_eq!(of("2001:200::1").as_deref(), Some("JP"));
    }
}
