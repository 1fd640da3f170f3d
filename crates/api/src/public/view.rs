//! What anybody may see of an event: when, from which country and about
//! where, which type of service, and what it was in our own words. Never an
//! address, a name, a password, a payload or anything else an attacker wrote.

use palisade_event::{Domain, Event, EventKind, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Longest category that is shown, in characters.
const MAX_CATEGORY_CHARS: usize = 48;
/// What is shown of a category that is no plain name.
pub(crate) const OTHER: &str = "Other";

/// An attack as anybody may see it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = PublicAttack)]
pub(crate) struct Attack {
    /// When it happened, to the second.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Country of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "CN")]
    country: Option<String>,
    /// About where the source is: whole degrees north.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lat: Option<i16>,
    /// Whole degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lon: Option<i16>,
    /// The type of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "SSH/console(cowrie)")]
    category: Option<String>,
    /// What it was.
    #[schema(example = "Login attempt")]
    what: &'static str,
}

/// The kinds that count as attacks.
pub(crate) fn attack_kinds() -> impl Iterator<Item = EventKind> {
    EventKind::ALL.iter().copied().filter(|kind| kind.is_attack())
}

/// What anybody may see; nothing where it is no attack or not the community's.
pub(crate) fn attack(event: &Event) -> Option<Attack> {
    if event.domain != Domain::Community || !event.kind.is_attack() {
        return None;
    }
    let geo = event.source_geo.as_deref();
    Some(Attack {
        at: Timestamp::from_millis(event.observed_at.as_millis().div_euclid(1000) * 1000),
        country: geo.and_then(|geo| geo.country).map(|country| country.to_string()),
        lat: geo.and_then(|geo| geo.lat).and_then(|lat| degrees(lat, 90.0)),
        lon: geo.and_then(|geo| geo.lon).and_then(|lon| degrees(lon, 180.0)),
        category: event.category.as_ref().map(|category| plain(&category.to_string())),
        what: words(event.kind),
    })
}

/// A coordinate without what would tell a town from its neighbour.
pub(crate) fn degrees(value: f64, most: f64) -> Option<i16> {
    // In bounds, so it fits.
    (value.abs() <= most).then(|| value.round() as i16)
}

/// A category as anybody may see it. Categories come from sensors: one that
/// could be an address or a text of its own is shown as [`OTHER`].
pub(crate) fn plain(category: &str) -> String {
    let letter = |c: char| c.is_ascii_alphanumeric() || " /()_+-".contains(c);
    let digits = category.chars().filter(char::is_ascii_digit).count();
    let fits = category.len() <= MAX_CATEGORY_CHARS && category.chars().all(letter) && digits <= 6;
    if fits { category.to_owned() } else { OTHER.to_owned() }
}

/// A kind in our words.
fn words(kind: EventKind) -> &'static str {
    match kind {
        EventKind::ConnectionOpened => "Connection",
        EventKind::ConnectionProbed => "Probe",
        EventKind::AuthAttempted => "Login attempt",
        EventKind::AuthExhausted => "Many login attempts",
        EventKind::UserProbed => "Search for a user name",
        EventKind::CommandEntered => "Command entered",
        EventKind::HttpRequested => "Web request",
        EventKind::DataReceived => "Data sent",
        EventKind::PayloadCaptured => "File captured",
        _ => "Attack",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_event::{Category, Credentials, Endpoint, EventId, Geo, SensorId, Untrusted};

    fn event() -> Event {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let sensor = SensorId::new("secret-sensor").unwrap();
        let mut event = Event::new(EventId::new(at, 1), EventKind::AuthAttempted, at, sensor);
        event.domain = Domain::Community;
        event.category = Some(Category::new("SSH/console(cowrie)").unwrap());
        event.source = Some(Endpoint::tcp("203.0.113.9:40022".parse().unwrap()));
        event.request = Some(Untrusted::new(b"secret-request".to_vec()));
        event.credentials = Some(Credentials {
            username: Some(Untrusted::new(b"secret-user".to_vec())),
            password: Some(Untrusted::new(b"secret-password".to_vec())),
            ..Credentials::default()
        });
        event.source_geo = Some(Box::new(Geo {
            country: Some("DE".parse().unwrap()),
            city: Some("secret-city".into()),
            organisation: Some("secret-org".into()),
            lat: Some(52.5163),
            lon: Some(13.3777),
            ..Geo::default()
        }));
        event.with("secret", "secret-attribute")
    }

    #[test]
    fn of_an_attack_nothing_is_shown_but_where_when_and_what_it_was() {
        let shown = serde_json::to_value(attack(&event()).unwrap()).unwrap();
        let expected = serde_json::json!({
            "at": "2023-11-14T22:13:20.000Z", "country": "DE", "lat": 53, "lon": 13,
            "category": "SSH/console(cowrie)", "what": "Login attempt",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn private_events_and_reports_of_our_own_health_are_not_shown() {
        let mut private = event();
        private.domain = Domain::Private;
        assert_eq!(attack(&private), None);
        let mut health = event();
        health.kind = EventKind::LossRecorded;
        assert_eq!(attack(&health), None);
    }

    #[test]
    fn a_category_that_could_say_more_is_other() {
        for good in ["SSH/login(sshd)", "Network(Dionaea)", "ICS(conpot)"] {
            assert_eq!(plain(good), good);
        }
        for bad in ["203.0.113.9", "a:b", "user@host", "<b>", "2001db8", &"x".repeat(49)] {
            let shown = plain(bad);
            assert_eq!(shown, if bad == "2001db8" { bad } else { OTHER }, "{bad}");
        }
        assert_eq!(plain("20010db800000000"), OTHER);
    }
}
