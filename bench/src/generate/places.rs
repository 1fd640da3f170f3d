//! From where: networks, each of one operator in one city, and addresses in them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_event::{CountryCode, Geo, GeoPrecision};

use super::{mix, unit, zipf};

/// Networks of 65,536 addresses.
const NETWORKS: u64 = 4_096;
/// One network in so many is IPv6.
const IPV6_EVERY: u64 = 32;

/// Code and middle, most attacks first.
const COUNTRIES: &[(&str, f64, f64)] = &[
    ("CN", 35.0, 104.0),
    ("US", 39.8, -98.6),
    ("RU", 55.8, 37.6),
    ("VN", 16.0, 107.8),
    ("BR", -14.2, -51.9),
    ("IN", 22.0, 79.0),
    ("NL", 52.1, 5.3),
    ("DE", 51.2, 10.4),
    ("KR", 36.5, 127.9),
    ("SG", 1.35, 103.8),
    ("ID", -2.5, 118.0),
    ("FR", 46.6, 2.5),
    ("GB", 53.0, -1.6),
    ("TW", 23.7, 121.0),
    ("HK", 22.3, 114.2),
    ("UA", 49.0, 31.4),
    ("IR", 32.4, 53.7),
    ("TH", 15.9, 100.9),
    ("JP", 36.2, 138.3),
    ("IT", 42.8, 12.8),
    ("TR", 39.0, 35.2),
    ("PK", 30.4, 69.3),
    ("BG", 42.7, 25.5),
    ("RO", 45.9, 25.0),
    ("MX", 23.6, -102.6),
    ("CA", 56.1, -106.3),
    ("PL", 51.9, 19.1),
    ("AR", -38.4, -63.6),
    ("CO", 4.6, -74.3),
    ("EG", 26.8, 30.8),
    ("ES", 40.5, -3.7),
    ("BD", 23.7, 90.4),
    ("PH", 12.9, 121.8),
    ("MY", 4.2, 102.0),
    ("ZA", -30.6, 22.9),
    ("CZ", 49.8, 15.5),
    ("SE", 60.1, 18.6),
    ("AU", -25.3, 133.8),
    ("CL", -35.7, -71.5),
    ("VE", 6.4, -66.6),
    ("SA", 23.9, 45.1),
    ("KZ", 48.0, 66.9),
    ("GR", 39.1, 21.8),
    ("HU", 47.2, 19.5),
    ("PE", -9.2, -75.0),
    ("EC", -1.8, -78.2),
    ("NG", 9.1, 8.7),
    ("KE", 0.0, 37.9),
    ("MA", 31.8, -7.1),
    ("DZ", 28.0, 1.7),
    ("TN", 33.9, 9.5),
    ("LT", 55.2, 23.9),
    ("LV", 56.9, 24.6),
    ("EE", 58.6, 25.0),
    ("CH", 46.8, 8.2),
    ("AT", 47.5, 14.6),
    ("BE", 50.5, 4.5),
    ("PT", 39.4, -8.2),
    ("FI", 61.9, 25.7),
    ("NO", 60.5, 8.5),
    ("DK", 56.3, 9.5),
    ("IE", 53.4, -8.2),
    ("LK", 7.9, 80.8),
    ("PA", 8.5, -80.8),
];

struct Network {
    prefix: u16,
    geo: Option<Geo>,
}

/// All networks that attack.
pub(super) struct Places {
    networks: Vec<Network>,
}

impl Places {
    pub(super) fn new() -> Self {
        let mut taken = BTreeSet::new();
        let mut networks = Vec::new();
        let mut number = 0;
        while networks.len() < NETWORKS as usize {
            number += 1;
            let prefix = (mix(number, 11) % 0xdf00) as u16 + 0x0100;
            let special = matches!(prefix >> 8, 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203);
            if !special && taken.insert(prefix) {
                networks.push(Network { prefix, geo: geo(number) });
            }
        }
        Self { networks }
    }

    /// The address of an attacker and where it is.
    pub(super) fn of(&self, identity: u64) -> Option<(IpAddr, Option<Geo>)> {
        let number = zipf(mix(identity, 12), NETWORKS);
        let network = self.networks.get(number as usize)?;
        let host = mix(identity, 13);
        let address = if number % IPV6_EVERY == IPV6_EVERY - 1 {
            let bits = 0x2a00_u128 << 112 | u128::from(network.prefix) << 96 | u128::from(host);
            IpAddr::V6(Ipv6Addr::from(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from(u32::from(network.prefix) << 16 | (host & 0xffff) as u32))
        };
        Some((address, network.geo.clone()))
    }
}

fn geo(network: u64) -> Option<Geo> {
    let (code, lat, lon) = COUNTRIES.get(zipf(mix(network, 14), COUNTRIES.len() as u64) as usize)?;
    let place = mix(u64::from(code.as_bytes().first().copied()?), lat.to_bits());
    let city = mix(place, zipf(mix(network, 15), 60));
    let operator = zipf(mix(network, 16), 24);
    let degrees = |middle: f64, salt: u64| {
        ((middle + (unit(mix(city, salt)) - 0.5) * 6.0).clamp(-85.0, 85.0) * 1e4).round() / 1e4
    };
    Some(Geo {
        country: CountryCode::new(code).ok(),
        city: Some(format!("City {code}{}", city % 1000).into()),
        asn: Some((mix(place, operator) % 210_000) as u32 + 1_000),
        organisation: Some(format!("Operator {operator} of {code}").into()),
        lat: Some(degrees(*lat, 17)),
        lon: Some(degrees(*lon, 18)),
        precision: Some(GeoPrecision::City),
    })
}
