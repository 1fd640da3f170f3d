//! What detection looks at: one line of a log or one event, borrowed.
//!
//! A parser makes it without copying anything, scenarios read it, and only what
//! is kept becomes an [`Observation`](crate::Observation) and then an event. A
//! server's log has millions of lines of which few are kept, so this is what
//! the cost of a line depends on.

use std::net::IpAddr;

use palisade_event::{
    AnalyzerName, AttributeValue, Category, Event, EventKind, Outcome, Timestamp, Untrusted,
};

use crate::Observation;

/// One thing that was seen, for scenarios to count. `None` is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting<'a> {
    /// What happened.
    pub kind: EventKind,
    /// When, by the clock of who saw it.
    pub at: Timestamp,
    /// Which program was attacked: the parser's name (`sshd`, `nginx`) or the honeypot's.
    pub service: &'a str,
    /// The machine where it was seen.
    pub host: Option<&'a [u8]>,
    /// The sensor whose event it is, where it is one.
    pub sensor: Option<&'a [u8]>,
    /// Who did it; without an address nothing is counted by address.
    pub source: Option<IpAddr>,
    /// Where it was aimed: the port.
    pub target_port: Option<u16>,
    /// The login name, attacker text.
    pub user: Option<&'a [u8]>,
    /// How a login ended.
    pub outcome: Option<Outcome>,
    /// The path with the query, or what else was sent; attacker text.
    pub request: Option<&'a [u8]>,
    /// The method of an HTTP request.
    pub method: Option<&'a [u8]>,
    /// The status with which an HTTP server answered.
    pub status: Option<u16>,
    /// What the client calls itself, attacker text.
    pub client: Option<&'a [u8]>,
    /// The reason that the program gives.
    pub reason: Option<&'a [u8]>,
    /// The autonomous system of the source, where it is known.
    pub asn: Option<u32>,
    /// How many times it happened; more than 1 for "message repeated N times".
    pub repeat: u32,
}

impl<'a> Sighting<'a> {
    /// A sighting of which only the necessary is known.
    #[must_use]
    pub fn new(kind: EventKind, at: Timestamp, service: &'a str) -> Self {
        Self {
            kind,
            at,
            service,
            host: None,
            sensor: None,
            source: None,
            target_port: None,
            user: None,
            outcome: None,
            request: None,
            method: None,
            status: None,
            client: None,
            reason: None,
            asn: None,
            repeat: 1,
        }
    }

    /// The path of a request, without its query: of `/a?b`, `GET /a?b HTTP/1.1`
    /// and `/a#c` it is `/a`.
    #[must_use]
    pub fn path(&self) -> Option<&'a [u8]> {
        let request = self.request?;
        let target = match request.first() {
            Some(b'/') => request,
            _ => match memchr::memchr(b' ', request) {
                Some(space) if request.get(space + 1) == Some(&b'/') => request.get(space + 1..)?,
                _ => request,
            },
        };
        let end = target.iter().position(|b| matches!(b, b'?' | b'#' | b' '));
        target.get(..end.unwrap_or(target.len()))
    }
}

impl<'a> From<&'a Event> for Sighting<'a> {
    fn from(event: &'a Event) -> Self {
        let text = |name: &str| match event.attributes.get(name) {
            Some(AttributeValue::Text(text)) => Some(text.as_bytes()),
            _ => None,
        };
        let number = |name: &str| match event.attributes.get(name) {
            Some(AttributeValue::Integer(value)) => u16::try_from(*value).ok(),
            _ => None,
        };
        let service = service(event.analyzer.as_ref(), event.category.as_ref());
        let credentials = event.credentials.as_ref();
        let agent = event.fingerprints.as_deref().and_then(|prints| prints.user_agent.as_ref());
        Self {
            host: event.host.as_ref().map(|host| host.as_str().as_bytes()),
            sensor: Some(event.sensor.as_str().as_bytes()),
            source: event.source.map(|source| source.address),
            target_port: event.target.and_then(|target| target.port),
            user: credentials.and_then(|given| given.username.as_ref()).map(Untrusted::as_bytes),
            outcome: credentials.and_then(|given| given.outcome),
            request: event.request.as_ref().map(Untrusted::as_bytes),
            method: text("method"),
            status: number("status"),
            client: agent.or(event.client.as_ref()).map(Untrusted::as_bytes),
            reason: text("reason"),
            asn: event.source_geo.as_deref().and_then(|geo| geo.asn),
            ..Self::new(event.kind, event.observed_at, service)
        }
    }
}

impl<'a> From<&'a Observation> for Sighting<'a> {
    fn from(seen: &'a Observation) -> Self {
        let text = |name: &str| match seen.attributes.get(name) {
            Some(AttributeValue::Text(text)) => Some(text.as_bytes()),
            _ => None,
        };
        let number = |name: &str| match seen.attributes.get(name) {
            Some(AttributeValue::Integer(value)) => u16::try_from(*value).ok(),
            _ => None,
        };
        let service = service(seen.analyzer.as_ref(), seen.category.as_ref());
        let credentials = seen.credentials.as_ref();
        let agent = seen.fingerprints.as_deref().and_then(|prints| prints.user_agent.as_ref());
        Self {
            host: seen.host.as_ref().map(|host| host.as_str().as_bytes()),
            source: seen.source.map(|source| source.address),
            target_port: seen.target.and_then(|target| target.port),
            user: credentials.and_then(|given| given.username.as_ref()).map(Untrusted::as_bytes),
            outcome: credentials.and_then(|given| given.outcome),
            request: seen.request.as_ref().map(Untrusted::as_bytes),
            method: text("method"),
            status: number("status"),
            client: agent.or(seen.client.as_ref()).map(Untrusted::as_bytes),
            reason: text("reason"),
            repeat: seen.repeat,
            ..Self::new(seen.kind, seen.observed_at, service)
        }
    }
}

/// The program that was attacked. Real services have a category alone, which
/// ends with their name: `SSH/login(sshd)`.
fn service<'a>(analyzer: Option<&'a AnalyzerName>, category: Option<&'a Category>) -> &'a str {
    let named = || Some(category?.as_str().strip_suffix(')')?.rsplit_once('(')?.1);
    analyzer.map(AnalyzerName::as_str).or_else(named).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, SensorId};

    use super::*;

    #[test]
    fn a_path_ends_before_its_query_and_begins_after_the_method() {
        let at = Timestamp::from_millis(0);
        let path = |request: &'static str| {
            let sighting = Sighting {
                request: Some(request.as_bytes()),
                ..Sighting::new(EventKind::HttpRequested, at, "nginx")
            };
            String::from_utf8(sighting.path().unwrap().to_vec()).unwrap()
        };
        assert_eq!(path("/a/b?c=/d"), "/a/b");
        assert_eq!(path("/a#b"), "/a");
        assert_eq!(path("GET /a?b HTTP/1.1"), "/a");
        assert_eq!(path("POST / HTTP/1.0"), "/");
        assert_eq!(path("\\x16\\x03 junk"), "\\x16\\x03");
        assert_eq!(path(""), "");
    }

    #[test]
    fn a_real_service_is_named_by_its_category() {
        let at = Timestamp::from_millis(0);
        let sensor = SensorId::new("unit").unwrap();
        let mut event = Event::new(EventId::new(at, 1), EventKind::AuthAttempted, at, sensor);
        assert_eq!(Sighting::from(&event).service, "");
        event.category = Category::new("SSH/login(sshd)").ok();
        assert_eq!(Sighting::from(&event).service, "sshd");
        event.analyzer = AnalyzerName::new("cowrie").ok();
        assert_eq!(Sighting::from(&event).service, "cowrie");
    }
}
