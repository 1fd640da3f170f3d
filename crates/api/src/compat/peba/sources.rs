//! Answers about where attacks come from and go to: addresses, countries, places.

use std::net::IpAddr;

use palisade_event::Day;
use palisade_hub::alerts::{Counted, Month};
use palisade_store::Place;
use serde::Serialize;

use super::countries::{UNKNOWN, name_of};
use super::question::Answer;
use super::show::degrees;
use super::xml;

/// `retrieveIPs`, `retrieveIPs15m`
pub(super) fn addresses(addresses: &[(IpAddr, u64)], json: bool) -> Answer {
    #[derive(Serialize)]
    struct Source {
        ip: IpAddr,
        count: u64,
    }
    if json {
        let sources = addresses.iter().map(|(ip, count)| Source { ip: *ip, count: *count });
        return Answer::json(&sources.collect::<Vec<_>>());
    }
    let source = |(address, count): &(IpAddr, u64)| {
        xml::parent(
            "Source",
            vec![xml::text("Address", address.to_string()), xml::number("Count", *count)],
        )
    };
    let sources = xml::parent("Sources", addresses.iter().map(source).collect());
    Answer::xml(&xml::parent("EWSSimpleIPInfo", vec![sources]))
}

/// `topCountriesAttacks`; `given` is the offset as it was asked for.
pub(super) fn countries(month: &Month, months_ago: u16, given: &str) -> Answer {
    #[derive(Serialize)]
    struct Country<'a> {
        code: &'a str,
        country: &'a str,
        count: u64,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Id<'a> {
        ThisMonth(u8),
        Given(&'a str),
    }
    #[derive(Serialize)]
    struct Countries<'a> {
        id: Id<'a>,
        date: &'a str,
        #[serde(rename = "attacksPerCountry")]
        sources: Vec<Country<'a>>,
        #[serde(rename = "attacksToTargetCountry")]
        targets: Vec<Country<'a>>,
    }
    fn listed(counted: &[Counted]) -> Vec<Country<'_>> {
        let country = |counted: &'_ Counted| counted.count;
        let list = counted.iter().map(|counted| {
            let code = counted.name.as_deref().unwrap_or(UNKNOWN);
            Country { code, country: name_of(code), count: country(counted) }
        });
        list.collect()
    }
    let id = if months_ago == 0 { Id::ThisMonth(0) } else { Id::Given(given) };
    let (sources, targets) = (listed(&month.sources), listed(&month.targets));
    Answer::json(&[Countries { id, date: &month.name, sources, targets }])
}

/// `retrieveLatLonAttacks`
pub(super) fn places(places: &[(Place, u64)], since: Day) -> Answer {
    #[derive(Serialize)]
    struct Attacks {
        lat: String,
        lng: String,
        count: u64,
    }
    #[derive(Serialize)]
    struct Places {
        #[serde(rename = "statsSince")]
        since: String,
        #[serde(rename = "latLonAttacks")]
        attacks: Vec<Attacks>,
    }
    let attacks = places.iter().map(|(place, count)| Attacks {
        lat: degrees(place.lat),
        lng: degrees(place.lon),
        count: *count,
    });
    Answer::json(&[Places { since: since.to_string(), attacks: attacks.collect() }])
}
