//! Enrichment: where an address is and who runs it. Offline; nothing asks the
//! network. Comes after durability, so a failure costs the place, not the event.

mod centroid;
mod country;
mod mmdb;

use std::net::IpAddr;

pub(crate) use self::country::is_global;
use palisade_event::{CountryCode, Event, Geo, GeoPrecision};

use crate::config::GeoConfig;
use crate::error::OpenError;

/// Adds places to events.
pub(crate) struct Enricher {
    city: Option<mmdb::Database>,
    asn: Option<mmdb::Database>,
}

impl Enricher {
    /// Reads the databases that are configured. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] naming the file that cannot be read.
    pub(crate) fn open(config: &GeoConfig) -> Result<Self, OpenError> {
        let open = |path: &Option<_>| path.as_deref().map(mmdb::Database::open).transpose();
        Ok(Self { city: open(&config.city)?, asn: open(&config.asn)? })
    }

    /// Sets the places of both ends, where they have none: a place comes with
    /// events that are restored alone.
    pub(crate) fn enrich(&self, event: &mut Event) {
        let place = |end: Option<palisade_event::Endpoint>| {
            end.and_then(|end| self.locate(end.address)).map(Box::new)
        };
        if event.source_geo.is_none() {
            event.source_geo = place(event.source);
        }
        if event.target_geo.is_none() {
            event.target_geo = place(event.target);
        }
    }

    /// What is known of an address; `None` where nothing is.
    pub(crate) fn locate(&self, address: IpAddr) -> Option<Geo> {
        let address = address.to_canonical();
        if !country::is_global(address) {
            return Some(Geo { country: Some(CountryCode::PRIVATE), ..Geo::default() });
        }
        let mut geo = self.city.as_ref().and_then(|city| city.locate(address)).unwrap_or_default();
        if let Some(owner) = self.asn.as_ref().and_then(|asn| asn.locate(address)) {
            geo.asn = owner.asn.or(geo.asn);
            geo.organisation = owner.organisation.or(geo.organisation);
            geo.country = geo.country.or(owner.country);
        }
        geo.country = geo.country.or_else(|| country::country(address));
        if geo.lat.is_none()
            && let Some((lat, lon)) = geo.country.and_then(centroid::centroid)
        {
            (geo.lat, geo.lon) = (Some(lat), Some(lon));
            geo.precision = Some(GeoPrecision::Country);
        }
        (geo != Geo::default()).then_some(geo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(address: &str) -> Option<Geo> {
        Enricher::open(&GeoConfig::default()).unwrap().locate(address.parse().unwrap())
    }

    #[test]
    fn a_public_address_gets_its_country_and_the_middle_of_it() {
        let geo = locate("8.8.8.8").unwrap();
        assert_eq!(geo.country, Some(CountryCode::new("US").unwrap()));
        assert_eq!(geo.precision, Some(GeoPrecision::Country));
        let (lat, lon) = (geo.lat.unwrap(), geo.lon.unwrap());
        assert!((30.0..45.0).contains(&lat) && (-110.0..-85.0).contains(&lon), "{lat} {lon}");
        let geo = locate("2a02:c207::1").unwrap();
        assert_eq!(geo.country, Some(CountryCode::new("DE").unwrap()));
    }

    #[test]
    fn a_private_address_is_marked_and_has_no_place() {
        for address in ["10.0.0.1", "fe80::1", "::1", "::ffff:192.168.1.1"] {
            let geo = locate(address).unwrap();
            assert_eq!(geo.country, Some(CountryCode::PRIVATE), "{address}");
            assert_eq!((geo.lat, geo.precision), (None, None), "{address}");
        }
    }

    #[test]
    fn a_missing_database_is_refused_by_name() {
        let config = GeoConfig { city: Some("/nowhere/city.mmdb".into()), asn: None };
        let error = Enricher::open(&config).err().unwrap().to_string();
        assert!(error.contains("/nowhere/city.mmdb"), "{error}");
    }
}
