//! The middle of a country, for events of which no better place is known.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use palisade_event::CountryCode;

/// `code,lat,lon` lines; the head of the file says where they are from.
static TABLE: &str = include_str!("centroids.csv");

static CENTROIDS: LazyLock<BTreeMap<CountryCode, (f64, f64)>> =
    LazyLock::new(|| TABLE.lines().filter_map(entry).collect());

/// Degrees north and east of the middle of a country.
pub(super) fn centroid(code: CountryCode) -> Option<(f64, f64)> {
    CENTROIDS.get(&code).copied()
}

fn entry(line: &str) -> Option<(CountryCode, (f64, f64))> {
    let mut fields = line.split(',');
    let code = CountryCode::new(fields.next()?).ok()?;
    Some((code, (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::country;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(CENTROIDS.len(), lines);
        for (code, (lat, lon)) in CENTROIDS.iter() {
            assert!(lat.abs() <= 90.0 && lon.abs() <= 180.0, "{code}");
        }
    }

    #[test]
    fn every_country_that_addresses_can_have_has_a_middle() {
        let v4 = (0..1u32 << 20).map(|block| IpAddr::V4(Ipv4Addr::from_bits(block << 12)));
        let v6 = (0x0020_0000_u128..0x0040_0000)
            .map(|block| IpAddr::V6(Ipv6Addr::from_bits(block << 104)));
        let mut seen = std::collections::BTreeSet::new();
        for address in v4.chain(v6) {
            seen.extend(country::country(address));
        }
        assert!(seen.len() > 200, "{}", seen.len());
        let without: Vec<_> = seen.iter().filter(|code| centroid(**code).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
