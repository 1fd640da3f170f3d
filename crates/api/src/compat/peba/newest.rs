//! Answers that are alerts: the ticker of the public page, and lists with
//! addresses for those who may see them.

use palisade_event::{Domain, Event};
use palisade_hub::Home;
use serde::Serialize;

use super::countries::name_of;
use super::params::written;
use super::question::Answer;
use super::show::{category, country, html, peer, place, request};
use super::xml::{self, Element};

/// `retrieveAlertsJson`: no addresses.
pub(super) fn ticker(events: &[Event], home: Option<Home>) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Alert<'a> {
        id: String,
        date_created: String,
        country: String,
        country_name: String,
        target_country: String,
        source_lat: String,
        source_lng: String,
        dest_lat: String,
        dest_lng: String,
        analyzer_type: &'a str,
        request_string: String,
        client_domain: bool,
    }
    #[derive(Serialize)]
    struct Alerts<'a> {
        alerts: Vec<Alert<'a>>,
    }
    let alerts = events.iter().map(|event| {
        let (source, target) = (event.source_geo.as_deref(), event.target_geo.as_deref());
        let code = country(source);
        let (source_lat, source_lng) = place(source, home);
        let (dest_lat, dest_lng) = place(target, home);
        Alert {
            id: event.id.to_string(),
            date_created: written(event.observed_at),
            country_name: name_of(&code).to_owned(),
            country: code,
            target_country: country(target),
            source_lat,
            source_lng,
            dest_lat,
            dest_lng,
            analyzer_type: category(event),
            request_string: html(&request(event)).into_owned(),
            client_domain: event.domain == Domain::Community,
        }
    });
    Answer::json(&Alerts { alerts: alerts.collect() })
}

fn list(alerts: Vec<Element<'_>>) -> Answer {
    Answer::xml(&xml::parent("EWSSimpleAlertInfo", vec![xml::parent("Alerts", alerts)]))
}

/// `retrieveAlertsCyber`
pub(super) fn cyber(events: &[Event], home: Option<Home>) -> Answer {
    let alert = |event: &'_ Event| {
        let source = event.source_geo.as_deref();
        let (lat, lon) = place(source, home);
        let address = event.source.map(|end| end.address.to_string()).unwrap_or_default();
        xml::parent(
            "Alert",
            vec![
                xml::text("Id", event.id.to_string()),
                xml::text("DateCreated", written(event.observed_at)),
                xml::parent(
                    "Peer",
                    vec![
                        xml::text("Id", peer(event).to_owned()),
                        xml::text("Type", category(event).to_owned()),
                        xml::text("Country", country(event.target_geo.as_deref())),
                    ],
                ),
                xml::text("Request", request(event)),
                xml::parent(
                    "Source",
                    vec![
                        xml::text("Address", address),
                        xml::text("Country", country(source)),
                        xml::text("Latitude", lat),
                        xml::text("Longitude", lon),
                    ],
                ),
            ],
        )
    };
    list(events.iter().map(alert).collect())
}

/// `querySingleIP`
pub(super) fn of_address(events: &[Event]) -> Answer {
    let alert = |event: &'_ Event| {
        xml::parent(
            "Alert",
            vec![
                xml::text("Id", event.id.to_string()),
                xml::text("DateCreated", written(event.observed_at)),
                xml::parent(
                    "Peer",
                    vec![
                        xml::text("Type", category(event).to_owned()),
                        xml::text("Country", country(event.target_geo.as_deref())),
                    ],
                ),
                xml::text("Request", request(event)),
            ],
        )
    };
    list(events.iter().map(alert).collect())
}
